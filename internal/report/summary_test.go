package report

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"hessdens/internal/density"
	"hessdens/internal/spectrum"
)

func result() *spectrum.Result {
	return &spectrum.Result{
		Model:    spectrum.Model{Name: "mlp:784-20-10", Parameters: 15910},
		Data:     spectrum.Data{Name: "Fashion-MNIST", Examples: 1000},
		Risk:     spectrum.Risk{Loss: new(0.02898381), GradientNorm: new(0.0389), LossKind: "cross-entropy", WeightDecay: 5e-4},
		Operator: "hessian",
		Estimator: spectrum.Estimator{
			Method: spectrum.MethodSLQ, Probes: 10, Steps: 90, Seed: new(uint64(0)), Precision: spectrum.Float32,
		},
		Summary: spectrum.Summary{
			LambdaMax: 0.31755365, LambdaMaxInterval: &spectrum.Interval{0.317553, 0.317554},
			LambdaMin: -0.00050546374, LambdaMinInterval: &spectrum.Interval{-0.0007, -0.0005},
			Trace: 3.184748, TraceStderr: new(0.0302), FrobeniusSq: 0.35299531, FrobeniusSqStderr: new(3e-4),
			MassNegative: 0.1234567, MassZero: 0.8, MassPositive: 0.0765433,
			NegativeEnergyL1: new(0.0079539), NegativeEnergyL2: new(1.2e-5),
		},
		Eigenvalues: []spectrum.Eigenvalue{{Value: 0.318}, {Value: 0.269}, {Value: 0.212}},
		Density: &spectrum.Density{
			Sigma2: 1e-4, Grid: []float64{-0.1, 0, 0.1}, Density: []float64{0.1, 9, 0.2},
			Lower: []float64{0, 8, 0}, Upper: []float64{1, 10, 1},
		},
		Warnings: []density.Warning{{Code: "spike", Message: "the spike at zero is not resolved"}},
	}
}

func TestSummary(t *testing.T) {
	var b bytes.Buffer
	if err := Summary(&b, result()); err != nil {
		t.Fatal(err)
	}
	want := `mlp:784-20-10 on Fashion-MNIST
  parameters n      15,910
  examples N        1,000
  loss              0.0289838  cross-entropy, weight decay 5e-4
  gradient norm     0.0389
  operator          hessian: slq, 10 probes x 90 steps, seed 0, float32

  λ max             0.3176
  λ min             -5.055e-4  [-7e-4, -5e-4]
  trace             3.185 ± 0.030
  ‖H‖_F             0.59413 ± 0.00025
  eigenvalues       12.3 % negative, 80 % within ±σ of zero, 7.65 % positive
  negative energy   0.795 % of ∫|λ|, 0.0012 % of ∫λ²
  converged         3 eigenvalues: 0.318  0.269  0.212
  warning           the spike at zero is not resolved
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSummaryWithIntervals(t *testing.T) {
	r := result()
	r.Summary.MassNegativeInterval = &spectrum.Interval{0.1, 0.1456}
	r.Summary.NegativeEnergyL1Interval = &spectrum.Interval{0.0079539, 0.0079539}
	r.Estimator.W1Sampling, r.Estimator.W1Quadrature, r.Estimator.Confidence = new(0.031), new(0.02), 0.5
	r.Estimator.MaxProducts, r.Estimator.Stopped = new(1000), new("max_products")
	var b bytes.Buffer
	if err := Summary(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  eigenvalues       12.3 %  [10, 14.6] negative\n                    80 % within ±σ of zero\n                    7.65 % positive\n",
		"  negative energy   0.795 % of ∫|λ|, 0.0012 % of ∫λ²\n",
		"  error foretold    5.1 % of the mean |λ| (Wasserstein-1); run ended: max_products\n",
		"  intervals         of 50 %\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestSummaryOfLittle(t *testing.T) {
	many := result()
	many.Eigenvalues = make([]spectrum.Eigenvalue, 5000)
	for name, r := range map[string]*spectrum.Result{"zero value": {}, "many": many} {
		var b bytes.Buffer
		if err := Summary(&b, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for l := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(l); n > summaryLine+1 {
				t.Errorf("%s: a line of %d characters: %q", name, n, l)
			}
		}
	}
}

func TestWithStderr(t *testing.T) {
	for _, c := range []struct {
		v, stderr float64
		want      string
	}{
		{137.04, 12.6, "137 ± 13"},
		{137.04, 0.126, "137.04 ± 0.13"},
		{-2.5e-7, 3.1e-8, "-2.50e-7 ± 3.1e-8"},
		{1e12, 5e9, "1.0000e12 ± 5.0e9"},
		{0, 0.5, "0.00 ± 0.50"},
		{1, 0, "1"},
		{3.14159, 0, "3.142"},
	} {
		if got := withStderr(c.v, &c.stderr); got != c.want {
			t.Errorf("%v ± %v: %q, want %q", c.v, c.stderr, got, c.want)
		}
	}
	if got := withStderr(1.5, nil); got != "1.5" {
		t.Errorf("without an error: %q", got)
	}
}

func TestTable(t *testing.T) {
	little := result()
	little.Risk.Loss, little.Summary.TraceStderr, little.Summary.NegativeEnergyL1 = nil, nil, nil
	var b bytes.Buffer
	names := []string{"epoch090.json", "/a/very/long/path/to/the/checkpoints/of/a/training/epoch100.safetensors"}
	if err := Table(&b, names, []*spectrum.Result{result(), little}); err != nil {
		t.Fatal(err)
	}
	want := `                                     loss   λ max      λ min          trace   ‖H‖_F  negative  neg. energy  converged
epoch090.json                     0.02898  0.3176  -5.055e-4  3.185 ± 0.030  0.5941    12.3 %      0.795 %          3
/a/very/lo…/epoch100.safetensors        –  0.3176  -5.055e-4          3.185  0.5941    12.3 %            –          3
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := Table(io.Discard, nil, nil); err != nil {
		t.Errorf("a table of nothing: %v", err)
	}
}

func TestFromResult(t *testing.T) {
	r := result()
	c := FromResult("a name", r)
	if err := c.check(); err != nil {
		t.Error(err)
	}
	if c.Name != "a name" || c.Parameters != 15910 || c.Sigma2 != 1e-4 || len(c.Upper) != 3 || len(c.Eigenvalues) != 3 || c.Max != r.Summary.LambdaMax {
		t.Errorf("%+v", c)
	}
	r.Density = nil
	if err := Plot(io.Discard, SVG, []Curve{FromResult("null", r)}, Options{}); err != nil {
		t.Error(err)
	}
}
