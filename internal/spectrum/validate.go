package spectrum

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/density"
)

// massTolerance is how far weights may be from summing to 1: well above the rounding of any writer, well below
// a weight that is missing.
const massTolerance = 1e-6

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// FormatError says what in a result is not as the schema has it.
type FormatError struct {
	Path   string // of the field, as in probes[3].weights; may be empty
	Offset int64  // of the byte in the file; −1 when not known
	Err    string
}

func (e *FormatError) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Err)
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " (at byte %d)", e.Offset)
	}
	return b.String()
}

// check collects the first thing that is wrong.
type check struct{ err *FormatError }

func (c *check) that(ok bool, path, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = &FormatError{Path: path, Offset: -1, Err: fmt.Sprintf(format, args...)}
	}
}

// Validate says whether r is a result as the schema and the arithmetic have it. The error is a *FormatError.
func (r *Result) Validate() error {
	c := &check{}
	c.that(r.Schema == Schema, "schema", "is %q, not %q", r.Schema, Schema)
	if path, x := nonFinite(reflect.ValueOf(*r), ""); path != "" {
		c.that(false, path, "is %v", x)
	}

	c.that(r.Model.Parameters > 0, "model.parameters", "is %d, not positive", r.Model.Parameters)
	for i, g := range r.Model.Groups {
		c.that(g.Size >= 0, indexed("model.groups", i), "size is negative")
	}
	for path, s := range map[string]*string{"model.sha256": r.Model.SHA256, "data.sha256": r.Data.SHA256} {
		c.that(s == nil || digest.MatchString(*s), path, "is not 64 hexadecimal digits")
	}
	r.Data.validate(c)
	c.that(r.Risk.GradientNorm == nil || *r.Risk.GradientNorm >= 0, "risk.gradient_norm", "is negative")
	c.that(r.Risk.LabelSmoothing >= 0 && r.Risk.LabelSmoothing < 1, "risk.label_smoothing", "is %v, not from 0 to below 1", r.Risk.LabelSmoothing)
	for i, w := range r.Risk.ClassWeights {
		c.that(w >= 0, indexed("risk.class_weights", i), "is negative")
	}
	c.that(r.Risk.Ignored >= 0, "risk.ignored", "is negative")
	c.that(r.Risk.WeightDecay >= 0, "risk.weight_decay", "is negative")
	if b := r.Risk.BatchNorm; b != nil {
		c.oneOf(*b, batchNorms, "risk.batchnorm")
	}
	c.oneOf(r.Operator, operators, "operator")

	e := r.Estimator
	c.oneOf(e.Method, methods, "estimator.method")
	c.oneOf(e.Precision, precisions, "estimator.precision")
	c.that(e.Reorthogonalisation == nil || *e.Reorthogonalisation == Reorthogonalisation, "estimator.reorthogonalisation", "is not %q", Reorthogonalisation)
	c.that(e.Confidence > 0 && e.Confidence < 1, "estimator.confidence", "is %v, not between 0 and 1", e.Confidence)
	c.that(e.Tolerance == nil || *e.Tolerance > 0, "estimator.tolerance", "is not positive")
	c.that(e.MaxProducts == nil || *e.MaxProducts > 0, "estimator.max_products", "is not positive")
	if e.Stopped != nil {
		c.oneOf(*e.Stopped, density.Stops, "estimator.stopped")
	}
	for path, x := range map[string]*float64{"w1_sampling": e.W1Sampling, "w1_quadrature": e.W1Quadrature} {
		c.that(x == nil || *x >= 0, "estimator."+path, "is negative")
	}
	if e.Basis != nil {
		c.oneOf(*e.Basis, precisions, "estimator.basis")
	}
	c.that(e.Orthogonality == nil || *e.Orthogonality >= 0, "estimator.orthogonality", "is negative")
	c.that(e.Probes == len(r.Probes), "estimator.probes", "is %d, but probes has %d", e.Probes, len(r.Probes))
	if e.Method == MethodExact {
		c.that(len(r.Probes) == 0, "probes", "is not empty, though the method is exact")
		c.that(e.Steps == 0, "estimator.steps", "is not 0, though the method is exact")
		c.that(len(r.Eigenvalues) == r.Model.Parameters, "eigenvalues", "has %d of the %d of an exact spectrum", len(r.Eigenvalues), r.Model.Parameters)
	} else {
		c.that(len(r.Probes) > 0, "probes", "is empty")
		c.that(e.Steps > 0, "estimator.steps", "is %d, not positive", e.Steps)
	}

	mass := 0.0
	for i, v := range r.Eigenvalues {
		path := indexed("eigenvalues", i)
		c.that(v.Residual >= 0, path, "residual is negative")
		c.that(v.Weight >= 0, path, "weight is negative")
		c.that(v.DataStderr == nil || *v.DataStderr >= 0, path, "data_stderr is negative")
		c.that(i == 0 || v.Value <= r.Eigenvalues[i-1].Value, path, "is larger than the one before: not descending")
		mass += v.Weight
	}
	c.that(mass <= 1+massTolerance, "eigenvalues", "weights sum to %v, more than 1", mass)
	c.that(e.Method != MethodExact || mass >= 1-massTolerance, "eigenvalues", "weights sum to %v, not 1", mass)
	for i, p := range r.Probes {
		path := indexed("probes", i)
		c.that(len(p.Nodes) == len(p.Weights), path, "has %d nodes and %d weights", len(p.Nodes), len(p.Weights))
		c.that(len(p.Nodes) > 0, path, "has no nodes")
		c.that(len(p.Nodes) <= e.Steps, path, "has %d nodes after %d steps", len(p.Nodes), e.Steps)
		c.that(slices.IsSorted(p.Nodes), path+".nodes", "is not ascending")
		c.that(p.BetaLast >= 0, path+".beta_last", "is negative")
		sum := 0.0
		for _, w := range p.Weights {
			c.that(w >= 0, path+".weights", "holds a negative weight")
			sum += w
		}
		c.that(math.Abs(sum-1) <= massTolerance, path+".weights", "sum to %v, not 1", sum)
	}

	r.Summary.validate(c)
	if r.Density != nil {
		r.Density.validate(c)
	}
	p := r.Provenance
	c.that(p.Threads >= 0, "provenance.threads", "is negative")
	c.that(p.Products >= 0, "provenance.products", "is negative")
	c.that(p.Seconds >= 0, "provenance.seconds", "is negative")
	for i, w := range r.Warnings {
		c.that(w.Code != "", indexed("warnings", i), "has no code")
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

func (d *Data) validate(c *check) {
	c.that(d.Examples >= 0, "data.examples", "is negative")
	c.that(d.Tokens == nil || *d.Tokens >= 0, "data.tokens", "is negative")
	for path, x := range map[string]*int{"data.total": d.Total, "data.drawn_from": d.DrawnFrom} {
		c.that(x == nil || *x >= d.Examples, path, "is below data.examples")
	}
	c.that(d.Blocks == nil || *d.Blocks > 1, "data.blocks", "is below 2")
	c.that(d.Subsets == nil || len(d.Subsets) > 1, "data.subsets", "has fewer than 2")
	for i, s := range d.Subsets {
		c.that(s.LambdaMin <= s.LambdaMax, indexed("data.subsets", i), "lambda_min is above lambda_max")
		c.that(s.FrobeniusSq >= 0, indexed("data.subsets", i), "frobenius_sq is negative")
	}
}

func (s *Summary) validate(c *check) {
	c.that(s.LambdaMin <= s.LambdaMax, "summary.lambda_min", "is above lambda_max")
	for path, x := range map[string]float64{
		"frobenius_sq": s.FrobeniusSq, "mean_abs": s.MeanAbs, "variance": s.Variance, "mass_negative": s.MassNegative, "mass_zero": s.MassZero, "mass_positive": s.MassPositive,
	} {
		c.that(x >= 0, "summary."+path, "is negative")
	}
	mass := s.MassNegative + s.MassZero + s.MassPositive
	c.that(math.Abs(mass-1) <= massTolerance, "summary", "masses sum to %v, not 1", mass)
	for path, x := range map[string]*float64{
		"lambda_max_data_stderr": s.LambdaMaxDataStderr, "lambda_min_data_stderr": s.LambdaMinDataStderr, "trace_data_stderr": s.TraceDataStderr,
		"trace_stderr": s.TraceStderr, "frobenius_sq_stderr": s.FrobeniusSqStderr, "mean_stderr": s.MeanStderr,
		"negative_energy_l1": s.NegativeEnergyL1, "negative_energy_l2": s.NegativeEnergyL2, "moment4": s.Moment4,
	} {
		c.that(x == nil || *x >= 0, "summary."+path, "is negative")
	}
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		if interval, ok := v.Field(i).Interface().(*Interval); ok && interval != nil {
			c.that(interval[0] <= interval[1], "summary."+v.Type().Field(i).Tag.Get("json"), "is upside down")
		}
	}
}

func (d *Density) validate(c *check) {
	c.that(d.Sigma2 > 0, "density.sigma2", "is not positive")
	n := len(d.Grid)
	c.that(n >= 2, "density.grid", "has %d points", n)
	c.that(len(d.Density) == n, "density.density", "has %d values on %d grid points", len(d.Density), n)
	c.that((d.Lower == nil) == (d.Upper == nil), "density", "has one edge of a band")
	for i := 1; i < n; i++ {
		c.that(d.Grid[i] > d.Grid[i-1], "density.grid", "is not ascending at point %d", i)
	}
	for _, y := range d.Density {
		c.that(y >= 0, "density.density", "holds a negative value")
	}
	for name, list := range map[string][]float64{"lower": d.Lower, "upper": d.Upper, "data_stderr": d.DataStderr,
		"distribution": d.Distribution, "distribution_lower": d.DistributionLower, "distribution_upper": d.DistributionUpper} {
		c.that(list == nil || len(list) == n, "density."+name, "has %d values on %d grid points", len(list), n)
	}
	for _, e := range d.DataStderr {
		c.that(e >= 0, "density.data_stderr", "holds a negative value")
	}
	for i := range min(len(d.Lower), len(d.Upper)) {
		c.that(d.Lower[i] >= 0 && d.Lower[i] <= d.Upper[i], "density.lower", "is negative or above upper at point %d", i)
	}
	whole := (d.Distribution == nil) == (d.DistributionLower == nil) && (d.Distribution == nil) == (d.DistributionUpper == nil)
	c.that(whole, "density", "has a distribution function without a band, or a band without one")
	for i := range min(len(d.Distribution), len(d.DistributionLower), len(d.DistributionUpper)) {
		lower, upper := d.DistributionLower[i], d.DistributionUpper[i]
		c.that(0 <= lower && lower <= d.Distribution[i] && d.Distribution[i] <= upper && upper <= 1,
			"density.distribution", "is outside its band, or that outside 0 and 1, at point %d", i)
	}
}

func (c *check) oneOf(got string, want []string, path string) {
	c.that(slices.Contains(want, got), path, "is %q, not one of %s", got, strings.Join(want, ", "))
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// nonFinite returns the path of a number that JSON cannot hold; empty: there is none.
func nonFinite(v reflect.Value, path string) (string, float64) {
	switch v.Kind() {
	case reflect.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			return path, x
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return nonFinite(v.Elem(), path)
		}
	case reflect.Slice, reflect.Array:
		if numbers, ok := v.Interface().([]float64); ok {
			for i, x := range numbers {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					return indexed(path, i), x
				}
			}
			return "", 0
		}
		for i := range v.Len() {
			if p, x := nonFinite(v.Index(i), indexed(path, i)); p != "" {
				return p, x
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if p, x := nonFinite(v.Field(i), join(path, v.Type().Field(i).Tag.Get("json"))); p != "" {
				return p, x
			}
		}
	}
	return "", 0
}
