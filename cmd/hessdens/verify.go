package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"hessdens/internal/density"
	"hessdens/internal/graph"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/secondopinion"
	"hessdens/internal/tensor"
)

type verifyOptions struct {
	subject    subjectOptions
	estimator  estimatorOptions
	exactLimit int
	format     string
}

func newVerify(a *app) *cobra.Command {
	o := &verifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Estimate and exact side by side, and self-checks on your own network",
		Long: `verify checks, on the network and data that you measure, each with its limit:

  symmetry         uᵀHv = vᵀHu for random u, v
  repeat           two products of the same vector have the same bits
  difference       H·v against a central difference of the gradient, in float64, on at most
                   64 examples; the step is halved until no ReLU changes its sign and no
                   maximum its place between θ−εv and θ+εv (skipped, and said, if none is found)
  gorgonia_*       the gradient against that of Gorgonia, an independent program, and H·v
                   against differences of Gorgonia's gradient (skipped where Gorgonia lacks
                   an operation or would need too much memory)
  orthogonality    of the Lanczos basis
  exact_*          up to --exact-limit parameters: converged eigenvalues, trace and Frobenius
                   norm of the estimate against all eigenvalues of the dense Hessian

It exits 1 when a check does not hold.`,
		Example: `  hessdens verify
  hessdens verify --weights net.safetensors --data x.npy,y.npy
  hessdens verify --params '3.*'       one layer, small enough for the exact spectrum`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.subject.check(cmd); err != nil {
				return err
			}
			if err := o.estimator.check(cmd); err != nil {
				return err
			}
			if o.exactLimit < 0 {
				return usagef("--exact-limit %d: a number of parameters of at least 0", o.exactLimit)
			}
			return o.run(cmd.Context(), a)
		},
	}
	o.subject.register(cmd)
	o.estimator.register(cmd)
	f := cmd.Flags()
	f.IntVar(&o.exactLimit, "exact-limit", 3000, "largest number `N` of parameters for the dense Hessian")
	f.StringVar(&o.format, "format", "", "`FORM` of the output: text or json (default text on a terminal, else json)")
	return cmd
}

// check is one line of a verification: it holds when Value is at most Limit. A check that could
// not be made has no value, and says why.
type check struct {
	Name    string   `json:"name"`
	Value   *float64 `json:"value"`
	Limit   float64  `json:"limit"`
	OK      bool     `json:"ok"`
	Skipped string   `json:"skipped,omitempty"`
}

type verification struct {
	Checks []check `json:"checks"`
	OK     bool    `json:"ok"`
}

func (v *verification) add(name string, value, limit float64) {
	ok := value <= limit
	v.Checks = append(v.Checks, check{Name: name, Value: finite(value), Limit: limit, OK: ok})
	v.OK = v.OK && ok
}

func (v *verification) skip(name string, limit float64, why string) {
	v.Checks = append(v.Checks, check{Name: name, Limit: limit, OK: true, Skipped: why})
}

// Limits of the checks, relative where a size is named.
const (
	limitSymmetry64      = 1e-12 // of ‖u‖‖Hv‖: rounding of n terms
	limitSymmetry32      = 1e-5
	limitDifference      = 1e-5 // of ‖Hv‖: truncation ε² and rounding 1e-16/ε of a central difference
	limitGradient        = 1e-9 // of ‖g‖: two programs in float64
	limitOrthogonality   = 1e-12
	limitOrthogonality32 = 1e-6 // two columns are rounded by 2⁻²⁴ of their length
	limitExact           = 1e-9 // of ‖H‖, beyond the residual
	limitSigmas          = 5    // standard errors

	differenceExamples = 64
	firstStep          = 1e-4 // of a unit direction
	lastStep           = 1e-9 // below, rounding takes over
)

func (o *verifyOptions) run(ctx context.Context, a *app) error {
	if o.format == "" {
		o.format = "json"
		if a.outTerminal {
			o.format = "text"
		}
	}
	if o.format != "json" && o.format != "text" {
		return usagef("--format %s: no such form (give text or json)", o.format)
	}
	s, err := o.subject.open(a)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.needWeights(); err != nil {
		return err
	}
	v := &verification{OK: true}
	if err := o.whole(ctx, a, s, v); err != nil {
		return err
	}
	if err := o.few(ctx, a, s, v); err != nil {
		return err
	}
	a.line.clear()
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		err = e.Encode(v)
	} else {
		err = v.text(a)
	}
	if err != nil {
		return toStdout(err)
	}
	if !v.OK {
		return errCheck
	}
	return nil
}

func (v *verification) text(a *app) error {
	for _, c := range v.Checks {
		verdict := "ok"
		switch {
		case c.Skipped != "":
			fmt.Fprintf(a.stdout, "%-22s skipped: %s\n", c.Name, c.Skipped)
			continue
		case !c.OK:
			verdict = "FAILED"
		}
		value := "not finite"
		if c.Value != nil {
			value = fmt.Sprintf("%.3g", *c.Value)
		}
		fmt.Fprintf(a.stdout, "%-22s %-12s limit %-8.3g %s\n", c.Name, value, c.Limit, verdict)
	}
	verdict := "all checks hold"
	if !v.OK {
		verdict = "a check does not hold"
	}
	_, err := fmt.Fprintln(a.stdout, verdict)
	return err
}

// gaussian is a unit vector of the numbered stream.
func gaussian(n int, seed uint64, p int) []float64 {
	v := make([]float64, n)
	lanczos.Gaussian(v, seed, p)
	size := norm(v)
	for i := range v {
		v[i] /= size
	}
	return v
}

func dot(x, y []float64) float64 {
	var s float64
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

// ratio is a/b, and 0 where both are.
func ratio(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return a / b
}

// whole makes the checks on all data, in the precision that is asked for.
func (o *verifyOptions) whole(ctx context.Context, a *app, s *subject, v *verification) error {
	op, err := s.operator(a, int64(keepShare*float64(availableMemory())))
	if err != nil {
		return err
	}
	defer op.Close()
	n := op.Dim()
	a.line.begin("symmetry", 2)
	u, w := gaussian(n, o.estimator.seed, 1<<20), gaussian(n, o.estimator.seed, 1<<20+1)
	product := func() ([][]float64, error) {
		src, dst := [][]float64{u, w}, [][]float64{make([]float64, n), make([]float64, n)}
		if err := op.Apply(ctx, dst, src); err != nil {
			return nil, err
		}
		for j, d := range dst {
			if size := norm(d); size-size != 0 {
				if err := op.Explain(ctx, src[j]); err != nil {
					return nil, err
				}
			}
		}
		return dst, nil
	}
	first, err := product()
	if err != nil {
		return s.product(ctx, op, err)
	}
	second, err := product()
	if err != nil {
		return s.product(ctx, op, err)
	}
	asymmetry := ratio(math.Abs(dot(u, first[1])-dot(w, first[0])), norm(first[1]))
	limit := limitSymmetry32
	if s.o.precision == hvp.Float64 {
		limit = limitSymmetry64
	}
	v.add("symmetry", asymmetry, limit)
	differ := 0.0
	for j := range first {
		for i := range first[j] {
			if math.Float64bits(first[j][i]) != math.Float64bits(second[j][i]) {
				differ++
			}
		}
	}
	v.add("repeat", differ, 0)

	e := o.estimator
	if n > o.exactLimit { // the whole estimate is not needed
		e.probes = 1
	}
	groups, err := s.fit(a, op, &e, memoryLeft())
	if err != nil {
		return err
	}
	a.line.begin(fmt.Sprintf("%d probes x %d steps", e.probes, min(e.steps, n)), len(groups)*min(e.steps, n))
	opt := e.lanczos(groups, s)
	opt.Progress = a.line.lanczos
	probes, err := lanczos.Run(ctx, op, opt)
	if err != nil {
		return s.product(ctx, op, err)
	}
	worst := 0.0
	for _, p := range probes {
		worst = max(worst, p.Orthogonality)
	}
	limit = limitOrthogonality
	if opt.Storage == lanczos.Single {
		limit = limitOrthogonality32
	}
	v.add("orthogonality", worst, limit)
	if n > o.exactLimit {
		why := fmt.Sprintf("%d parameters are more than --exact-limit %d", n, o.exactLimit)
		v.skip("exact_eigenvalues", 0, why)
		v.skip("exact_trace", limitSigmas, why)
		v.skip("exact_frobenius_sq", limitSigmas, why)
		return nil
	}
	_, values, err := s.eigenvalues(ctx, a, op)
	if err != nil {
		return err
	}
	v.exact(values, probes, opt.Storage.ProductError(opt.ProductError))
	return nil
}

// exact holds an estimate against all eigenvalues, ascending.
func (v *verification) exact(values []float64, probes []lanczos.Probe, productError float64) {
	n := len(values)
	size := max(-values[0], values[n-1])
	beyond := 0.0
	agreed := lanczos.Agree(probes, n, productError)
	for _, e := range agreed.List {
		i, _ := slices.BinarySearch(values, e.Value)
		d := math.Inf(1)
		for _, j := range []int{i - 1, i} {
			if j >= 0 && j < n {
				d = min(d, math.Abs(values[j]-e.Value))
			}
		}
		beyond = max(beyond, d-e.Bound)
	}
	v.add("exact_eigenvalues", beyond, limitExact*size)
	truth := density.NewExact(values, 0, density.Width{}).Numbers(0, 0.95)
	got := density.NewEstimate(probes, agreed).Numbers(0, 0.95)
	deviation := func(got, want density.Number) float64 {
		d := math.Abs(got.Value - want.Value)
		if d <= limitExact*size*float64(n) {
			return 0 // equal but for rounding, were the standard error zero
		}
		return d / got.Stderr
	}
	v.add("exact_trace", deviation(got.Trace, truth.Trace), limitSigmas)
	v.add("exact_frobenius_sq", deviation(got.FrobeniusSq, truth.FrobeniusSq), limitSigmas)
}

// few makes the checks on a few examples in float64: differences of gradients, ours and
// Gorgonia's.
func (o *verifyOptions) few(ctx context.Context, a *app, s *subject, v *verification) error {
	so := *s.o
	so.precision = hvp.Float64
	if so.batchSize != "" {
		so.batchSize = "all"
	}
	part := *s
	part.o = &so
	n := min(differenceExamples, s.set.N)
	op, err := part.operatorOn(a, n, 0)
	if err != nil {
		return err
	}
	defer op.Close()
	theta := slices.Clone(op.Theta())
	w := gaussian(op.Dim(), o.estimator.seed, 1<<20+2)
	hw := make([]float64, op.Dim())
	a.line.begin("differences of gradients", 0)
	if err := op.Apply(ctx, [][]float64{hw}, [][]float64{w}); err != nil {
		return s.product(ctx, op, err)
	}
	_, grad, err := s.gradient(ctx, op)
	if err != nil {
		return err
	}
	at := func(step float64) { op.SetTheta(shifted(theta, w, step)) }
	step, err := smoothStep(ctx, op, at)
	if err != nil {
		return err
	}
	const none = "every step from 1e-4 to 1e-9 crosses a kink of a ReLU or a maximum"
	difference := func(gradient func(theta []float64) ([]float64, error)) (float64, error) {
		plus, err := gradient(shifted(theta, w, step))
		if err != nil {
			return 0, err
		}
		minus, err := gradient(shifted(theta, w, -step))
		if err != nil {
			return 0, err
		}
		var off float64
		for i := range hw {
			off += math.Pow((plus[i]-minus[i])/(2*step)-hw[i], 2)
		}
		return ratio(math.Sqrt(off), norm(hw)), nil
	}
	if step == 0 {
		v.skip("difference", limitDifference, none)
	} else {
		d, err := difference(func(t []float64) ([]float64, error) {
			op.SetTheta(t)
			_, g, err := op.Gradient(ctx)
			return g, err
		})
		if err != nil {
			return err
		}
		v.add("difference", d, limitDifference)
	}
	op.SetTheta(theta)
	second, err := part.secondOpinion(op, n)
	if err != nil {
		var unsupported *secondopinion.UnsupportedError
		why := err.Error()
		if !errors.As(err, &unsupported) {
			why = "Gorgonia: " + why
		}
		v.skip("gorgonia_gradient", limitGradient, why)
		v.skip("gorgonia_product", limitDifference, why)
		return nil
	}
	g, err := second(theta)
	if err != nil {
		v.skip("gorgonia_gradient", limitGradient, "Gorgonia: "+err.Error())
		v.skip("gorgonia_product", limitDifference, "Gorgonia: "+err.Error())
		return nil
	}
	var off float64
	for i := range g {
		off += (g[i] - grad[i]) * (g[i] - grad[i])
	}
	v.add("gorgonia_gradient", ratio(math.Sqrt(off), norm(grad)), limitGradient)
	if step == 0 {
		v.skip("gorgonia_product", limitDifference, none)
		return nil
	}
	d, err := difference(second)
	if err != nil {
		return err
	}
	v.add("gorgonia_product", d, limitDifference)
	return nil
}

func shifted(theta, w []float64, step float64) []float64 {
	out := slices.Clone(theta)
	for i, x := range w {
		out[i] += step * x
	}
	return out
}

// smoothStep is the largest step, halving, between whose ends no branch changes; 0 if there is
// none.
func smoothStep(ctx context.Context, op *hvp.Operator, at func(step float64)) (float64, error) {
	at(0)
	here, err := op.Branches(ctx)
	if err != nil {
		return 0, err
	}
	for step := firstStep; step >= lastStep; step /= 2 {
		same := true
		for _, side := range []float64{step, -step} {
			at(side)
			b, err := op.Branches(ctx)
			if err != nil {
				return 0, err
			}
			if same = b == here; !same {
				break
			}
		}
		if same {
			return step, nil
		}
	}
	return 0, nil
}

// secondOpinion is Gorgonia's gradient of the risk on the first examples.
func (s *subject) secondOpinion(op *hvp.Operator, examples int) (func(theta []float64) ([]float64, error), error) {
	m, err := s.net.Build(examples, op.Settings())
	if err != nil {
		return nil, err
	}
	if err := secondopinion.Supported(m.Loss); err != nil {
		return nil, err
	}
	p := secondopinion.Problem{Loss: m.Loss, Leaves: map[*graph.Node][]float64{}, Ints: map[*graph.Node][]int64{}}
	leaf := map[string]*graph.Node{}
	for i, l := range m.Params {
		p.Leaves[l] = s.net.Params[i].Values
		leaf[s.net.Params[i].Name] = l
	}
	for i, l := range m.Buffers {
		p.Leaves[l] = s.net.Buffers[i].Values
	}
	for _, side := range []struct {
		c hvp.Column
		l *graph.Node
	}{{s.set.X, m.X}, {s.set.Y, m.Y}} {
		count := examples * tensor.Count(side.c.Shape())
		if side.c.Integer() {
			values := make([]int64, count)
			if err := side.c.Ints(values, 0, examples); err != nil {
				return nil, err
			}
			if side.l == m.Y {
				for i, v := range values {
					if op.Settings().Ignore && v == s.o.ignoreIndex {
						values[i] = -1 // how graphs know labels that are left out
					}
				}
			}
			p.Ints[side.l] = values
			continue
		}
		values := make([]float64, count)
		if err := side.c.Floats(values, 0, examples); err != nil {
			return nil, err
		}
		p.Leaves[side.l] = values
	}
	for _, g := range op.Groups() {
		p.Wrt = append(p.Wrt, leaf[g.Name])
	}
	machine, err := secondopinion.New(p)
	if err != nil {
		return nil, err
	}
	return func(theta []float64) ([]float64, error) {
		at := map[*graph.Node][]float64{}
		for _, g := range op.Groups() {
			at[leaf[g.Name]] = theta[g.Offset : g.Offset+g.Size]
		}
		_, grads, err := machine.Gradient(at)
		if err != nil {
			return nil, err
		}
		out := make([]float64, 0, len(theta))
		for _, g := range grads {
			out = append(out, g...)
		}
		for i, t := range theta {
			out[i] += s.o.weightDecay * t
		}
		return out, nil
	}, nil
}
