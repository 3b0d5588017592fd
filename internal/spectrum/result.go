// Package spectrum is the result file: its schema, how it is put together from quadratures, written, and read back.
package spectrum

import (
	"slices"

	"hessdens/internal/density"
	"hessdens/internal/lanczos"
)

// Schema names the version of the result file that this package writes and reads. docs/spectrum.schema.json
// says the same as the types here.
const Schema = "hessdens.spectrum/v1"

// Values of fields that are one of a few words.
const (
	MethodSLQ   = "slq"
	MethodExact = "exact"

	Float32 = "float32"
	Float64 = "float64"

	Reorthogonalisation = "full" // against the whole basis, in float64

	BatchNormEval  = "eval"
	BatchNormBatch = "batch"
)

var (
	methods    = []string{MethodSLQ, MethodExact}
	precisions = []string{Float32, Float64}
	operators  = []string{"hessian", "ggn", "moment", "covariance", "residual", "preconditioned"}
	batchNorms = []string{BatchNormEval, BatchNormBatch}
)

// Result is one spectrum. A nil pointer, and a nil slice marked nullable, is JSON's null: not known.
// Everything that two equal runs may differ in is in Provenance.
type Result struct {
	Schema      string            `json:"schema"`
	Model       Model             `json:"model"`
	Data        Data              `json:"data"`
	Risk        Risk              `json:"risk"`
	Operator    string            `json:"operator"` // hessian, ggn, moment, covariance, residual or preconditioned
	Estimator   Estimator         `json:"estimator"`
	Summary     Summary           `json:"summary"`
	Eigenvalues []Eigenvalue      `json:"eigenvalues"` // converged, descending; exact: all
	Probes      []Probe           `json:"probes"`      // exact: none
	Density     *Density          `json:"density"`     // nil for the zero operator
	Warnings    []density.Warning `json:"warnings"`
	Provenance  Provenance        `json:"provenance"`
}

// Model is the network at the checkpoint.
type Model struct {
	Name       string  `json:"name"`
	Parameters int     `json:"parameters"` // n: what varies
	SHA256     *string `json:"sha256"`     // of the parameters' names, shapes and values
	Groups     []Group `json:"groups"`
}

// Group is a named tensor of parameters.
type Group struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// Data is what the risk averages over.
type Data struct {
	Name     string  `json:"name"`
	Examples int     `json:"examples"`
	Tokens   *int    `json:"tokens"` // language models only
	SHA256   *string `json:"sha256"`

	// Of what the examples are a part: of Total in the files, the first, or so many of the first DrawnFrom at random; nil: the
	// first. Blocks is the number of parts of the examples whose spread the errors by the data are from; nil: there are none.
	Total     *int     `json:"total"`
	DrawnFrom *int     `json:"drawn_from"`
	Blocks    *int     `json:"blocks"`
	Subsets   []Subset `json:"subsets" nullable:"true"` // nil: no run was repeated
}

// Subset holds what a repetition of the run gave on one of disjoint parts of the data. The first is the run itself.
type Subset struct {
	LambdaMax   float64 `json:"lambda_max"`
	LambdaMin   float64 `json:"lambda_min"`
	Trace       float64 `json:"trace"`
	FrobeniusSq float64 `json:"frobenius_sq"`
}

// Risk is the function whose Hessian is measured, at the checkpoint.
type Risk struct {
	Loss           *float64  `json:"loss"`
	GradientNorm   *float64  `json:"gradient_norm"`
	LossKind       string    `json:"loss_kind"`
	LabelSmoothing float64   `json:"label_smoothing"`               // of cross-entropy
	ClassWeights   []float64 `json:"class_weights" nullable:"true"` // of cross-entropy; nil: all are 1
	Ignored        int       `json:"ignored"`                       // targets that the loss leaves out
	WeightDecay    float64   `json:"weight_decay"`
	BatchNorm      *string   `json:"batchnorm"` // eval or batch; nil: the network has none
}

// Estimator says how the spectrum was found. For the method exact Probes and Steps are 0 and the pointers nil.
type Estimator struct {
	Method              string   `json:"method"` // slq or exact
	Probes              int      `json:"probes"`
	Steps               int      `json:"steps"` // as asked for; a probe may end earlier
	Seed                *uint64  `json:"seed"`
	Precision           string   `json:"precision"` // of the products: float32 or float64
	Reorthogonalisation *string  `json:"reorthogonalisation"`
	Basis               *string  `json:"basis"`         // float32 or float64: as the Lanczos vectors are kept
	Orthogonality       *float64 `json:"orthogonality"` // max |QᵀQ − I| of the bases Q
	Confidence          float64  `json:"confidence"`    // level of bands and intervals

	// What a run that grows was asked for, and what ended it: a word of density.Stops.
	Tolerance   *float64 `json:"tolerance"`
	MaxProducts *int     `json:"max_products"`
	Stopped     *string  `json:"stopped"`

	// What is foretold of the Wasserstein-1 distance to the spectrum, relative to the mean |λ|: at most the sum of a
	// part that falls with the probes and one that falls with the steps. nil for the zero operator.
	W1Sampling   *float64 `json:"w1_sampling"`
	W1Quadrature *float64 `json:"w1_quadrature"`
}

// Interval is [lower, upper].
type Interval [2]float64

// Summary holds the numbers that need no smoothing. An error that is not known is nil; a share of a total that
// is 0 is nil.
type Summary struct {
	LambdaMax                float64   `json:"lambda_max"`
	LambdaMaxInterval        *Interval `json:"lambda_max_interval"`
	LambdaMaxDataStderr      *float64  `json:"lambda_max_data_stderr"` // of another sample's, as of the data used; nil: all data are used, or not measured
	LambdaMin                float64   `json:"lambda_min"`
	LambdaMinInterval        *Interval `json:"lambda_min_interval"`
	LambdaMinDataStderr      *float64  `json:"lambda_min_data_stderr"`
	Trace                    float64   `json:"trace"`
	TraceStderr              *float64  `json:"trace_stderr"`
	TraceInterval            *Interval `json:"trace_interval"`
	TraceDataStderr          *float64  `json:"trace_data_stderr"` // without what the probes add, which TraceStderr is
	FrobeniusSq              float64   `json:"frobenius_sq"`
	FrobeniusSqStderr        *float64  `json:"frobenius_sq_stderr"`
	FrobeniusSqInterval      *Interval `json:"frobenius_sq_interval"`
	Mean                     float64   `json:"mean"`
	MeanStderr               *float64  `json:"mean_stderr"`
	MeanInterval             *Interval `json:"mean_interval"`
	MeanAbs                  float64   `json:"mean_abs"` // E|λ|
	MeanAbsInterval          *Interval `json:"mean_abs_interval"`
	Variance                 float64   `json:"variance"`
	VarianceInterval         *Interval `json:"variance_interval"`
	Moment3                  *float64  `json:"moment3"` // E[λ³]
	Moment3Interval          *Interval `json:"moment3_interval"`
	Moment4                  *float64  `json:"moment4"` // E[λ⁴]
	Moment4Interval          *Interval `json:"moment4_interval"`
	MassNegative             float64   `json:"mass_negative"` // below −σ
	MassNegativeInterval     *Interval `json:"mass_negative_interval"`
	MassZero                 float64   `json:"mass_zero"` // within ±σ
	MassZeroInterval         *Interval `json:"mass_zero_interval"`
	MassPositive             float64   `json:"mass_positive"` // above σ
	MassPositiveInterval     *Interval `json:"mass_positive_interval"`
	NegativeEnergyL1         *float64  `json:"negative_energy_l1"` // share of ∫|λ|
	NegativeEnergyL1Interval *Interval `json:"negative_energy_l1_interval"`
	NegativeEnergyL2         *float64  `json:"negative_energy_l2"` // share of ∫λ²
	NegativeEnergyL2Interval *Interval `json:"negative_energy_l2_interval"`
}

// Eigenvalue is one that the probes agree on: one lies within Residual of Value. Weight is its share of all
// eigenvalues, 1/n. One of multiplicity d stands there d times.
type Eigenvalue struct {
	Value    float64 `json:"value"`
	Residual float64 `json:"residual"`
	Weight   float64 `json:"weight"`

	DataStderr *float64 `json:"data_stderr"` // as LambdaMaxDataStderr
}

// Probe is one quadrature: nodes ascending, weights that sum to 1, and β_m, 0 when the quadrature is exact.
type Probe struct {
	Nodes    []float64 `json:"nodes"`
	Weights  []float64 `json:"weights"`
	BetaLast float64   `json:"beta_last"`
}

// Density is the smoothed density, mass per unit of λ, and the smoothed distribution function, the mass below each point, both
// with bands.
type Density struct {
	Sigma2  float64   `json:"sigma2"` // variance of the kernel
	Grid    []float64 `json:"grid"`
	Density []float64 `json:"density"`
	Lower   []float64 `json:"lower" nullable:"true"`
	Upper   []float64 `json:"upper" nullable:"true"`

	Distribution      []float64 `json:"distribution" nullable:"true"`
	DistributionLower []float64 `json:"distribution_lower" nullable:"true"`
	DistributionUpper []float64 `json:"distribution_upper" nullable:"true"`

	DataStderr []float64 `json:"data_stderr" nullable:"true"` // of the density at each point, of one of Data.Subsets; nil without them
}

// Provenance holds all that two equal runs may differ in, and nothing else.
type Provenance struct {
	Version    string  `json:"version"`
	Commit     string  `json:"commit"`
	Go         string  `json:"go"`
	CPU        string  `json:"cpu"`
	KernelPath string  `json:"kernel_path"`
	Threads    int     `json:"threads"`
	Seconds    float64 `json:"seconds"`
	Products   int     `json:"products"` // Hessian-vector products of the probes
	Command    string  `json:"command"`
}

// Measures returns the quadrature of each probe as it is, or the whole spectrum as one measure when the method is
// exact. It shares the slices of r where it can.
func (r *Result) Measures() []density.Measure {
	if len(r.Probes) == 0 {
		m := density.Measure{Nodes: make([]float64, len(r.Eigenvalues)), Weights: make([]float64, len(r.Eigenvalues))}
		for i, e := range slices.Backward(r.Eigenvalues) {
			at := len(r.Eigenvalues) - 1 - i
			m.Nodes[at], m.Weights[at] = e.Value, e.Weight
		}
		return []density.Measure{m}
	}
	out := make([]density.Measure, len(r.Probes))
	for i, p := range r.Probes {
		out[i] = density.Measure{Nodes: p.Nodes, Weights: p.Weights}
	}
	return out
}

// Measure returns the spectrum that the summary and the density describe: the eigenvalues that are known, and what is
// left of the probes without them.
func (r *Result) Measure() density.Measure {
	if len(r.Probes) == 0 {
		return r.Measures()[0]
	}
	probes := make([]lanczos.Probe, len(r.Probes))
	e := lanczos.Eigenvalues{Order: r.Model.Parameters}
	for i, p := range r.Probes {
		probes[i] = lanczos.FromQuadrature(i, p.Nodes, p.Weights, p.BetaLast)
		e.Norm = max(e.Norm, -p.Nodes[0], p.Nodes[len(p.Nodes)-1])
	}
	e.Rounding = ProductError(r.Estimator.Precision) * e.Norm
	for _, v := range r.Eigenvalues {
		e.List = append(e.List, lanczos.Eigenvalue{Value: v.Value, Bound: v.Residual})
	}
	return density.NewEstimate(probes, e).Measure()
}
