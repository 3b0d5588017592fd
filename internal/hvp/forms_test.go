package hvp_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"hessdens/internal/hvp"
)

// some is a column that begins and ends elsewhere.
type some struct {
	hvp.Column
	from int
}

func (s some) Floats(dst []float64, lo, hi int) error {
	return s.Column.Floats(dst, s.from+lo, s.from+hi)
}

func (s some) Ints(dst []int64, lo, hi int) error { return s.Column.Ints(dst, s.from+lo, s.from+hi) }

// TestForms holds the form of each batch against the Hessian of that batch alone, and their sum against that of all; with weights
// and ignored labels, and with a last batch that is shorter.
func TestForms(t *testing.T) {
	const batch, tol = 5, 1e-12
	cases, array := lossCases(t)
	weighted := 0
	for _, c := range cases {
		net, data := c.network(t, array)
		if data.N <= batch {
			t.Fatalf("%s: a single batch", c.Name)
		}
		opt := hvp.Options{Loss: c.Loss, Smoothing: c.Smoothing, ClassWeights: c.ClassWeights, Ignore: c.Ignore, BatchSize: batch, Precision: hvp.Float64, WeightDecay: 0.1}
		over := func(lo, hi int, opt hvp.Options) *hvp.Operator {
			o, err := hvp.New(net, hvp.Data{N: hi - lo, X: some{data.X, lo}, Y: some{data.Y, lo}}, opt)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			t.Cleanup(o.Close)
			return o
		}
		o := over(0, data.N, opt)
		u := randomVectors(4, 3, o.Dim())
		forms, share, err := o.Forms(context.Background(), u)
		if err != nil {
			t.Fatal(err)
		}
		if len(forms) != o.Batches() || len(share) != o.Batches() {
			t.Fatalf("%s: %d forms and %d shares of %d batches", c.Name, len(forms), len(share), o.Batches())
		}
		form := func(o *hvp.Operator, j int) float64 {
			sum := 0.0
			for i, y := range apply(t, o, u[j])[0] {
				sum += u[j][i] * y
			}
			return sum
		}
		whole, sum := make([]float64, len(u)), 0.0
		for b, q := range forms {
			sum += share[b]
			if share[b] != float64(min(batch, data.N-b*batch))/float64(data.N) {
				weighted++
			}
			alone := opt
			alone.WeightDecay = 0
			for j := range q {
				whole[j] += q[j]
				if share[b] == 0 {
					continue
				}
				want := form(over(b*batch, min((b+1)*batch, data.N), alone), j)
				if got := q[j] / share[b]; !(math.Abs(got-want) <= tol*math.Abs(want)) {
					t.Errorf("%s, batch %d: form %v, want %v", c.Name, b, got, want)
				}
			}
		}
		if !(math.Abs(sum-1) <= tol) {
			t.Errorf("%s: shares sum to %v", c.Name, sum)
		}
		for j := range u {
			if got, want := whole[j]+0.1*norm(u[j])*norm(u[j]), form(o, j); !(math.Abs(got-want) <= tol*math.Abs(want)) {
				t.Errorf("%s: forms sum to %v, want %v", c.Name, got, want)
			}
		}
		single, _, err := o.Forms(context.Background(), u[1:2])
		if err != nil {
			t.Fatal(err)
		}
		for b := range forms {
			if single[b][0] != forms[b][1] {
				t.Errorf("%s, batch %d: a form alone is %v, among others %v", c.Name, b, single[b][0], forms[b][1])
			}
		}
	}
	if weighted == 0 {
		t.Error("no batch has another share than that of its examples: the test shows nothing of weights")
	}
}

// TestBatches holds that a size which is chosen leaves as many batches as are asked for.
func TestBatches(t *testing.T) {
	c := find(t, "mlp-tanh")
	for _, want := range []int{1, 3, c.Inputs / 2, c.Inputs, 2 * c.Inputs} {
		o := c.operator(t, func(o *hvp.Options) { o.BatchSize, o.Batches = 0, want })
		if got := o.Batches(); got < min(want, c.Inputs) {
			t.Errorf("%d batches of %d examples, want at least %d", got, c.Inputs, want)
		}
	}
}

// Batches with statistics of their own are those of the risk.
func TestFormsOfBatchStatistics(t *testing.T) {
	const tol = 1e-12
	c := find(t, "smallcnn-bn-ghost")
	o := c.operator(t, func(o *hvp.Options) { o.Precision = hvp.Float64 })
	u := randomVectors(5, 1, o.Dim())
	forms, _, err := o.Forms(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	sum, want := 0.0, 0.0
	for _, q := range forms {
		sum += q[0]
	}
	for i, y := range apply(t, o, u[0])[0] {
		want += u[0][i] * y
	}
	if len(forms) < 2 || !(math.Abs(sum-want) <= tol*math.Abs(want)) {
		t.Errorf("%d forms sum to %v, want %v", len(forms), sum, want)
	}
	if slices.ContainsFunc(forms[1:], func(q []float64) bool { return q[0] == forms[0][0] }) {
		t.Error("two batches have the same form")
	}
}
