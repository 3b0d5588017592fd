package hvp_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// lossCase is an entry of losses.json: names of arrays in losses.npz, and PyTorch's options of the loss.
type lossCase struct {
	Name         string    `json:"name"`
	Network      string    `json:"network"`
	Theta        string    `json:"theta"`
	V            string    `json:"v"`
	X            string    `json:"x"`
	Y            string    `json:"y"`
	Loss         string    `json:"loss"`
	Count        int       `json:"N"`
	L            float64   `json:"L"`
	Smoothing    float64   `json:"label_smoothing"`
	ClassWeights []float64 `json:"class_weights"`
	Ignore       *int64    `json:"ignore_index"`
}

func lossCases(t *testing.T) (cases []lossCase, array func(name string) *tensor.Tensor) {
	t.Helper()
	dir := referenceDirs[0]
	b, err := os.ReadFile(filepath.Join(dir, "losses.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases, func(name string) *tensor.Tensor { return arrayOf(t, filepath.Join(dir, "losses.npz"), name) }
}

// network is that of a case, with its weights, and its data.
func (c *lossCase) network(t *testing.T, array func(name string) *tensor.Tensor) (*model.Network, hvp.Data) {
	t.Helper()
	net, err := zoo.Parse(c.Network)
	if err != nil {
		t.Fatal(err)
	}
	theta := array(c.Theta).Float64s()
	for i := range net.Params {
		n := tensor.Count(net.Params[i].Shape)
		net.Params[i].Values, theta = theta[:n], theta[n:]
	}
	x, y := array(c.X), array(c.Y)
	return net, hvp.Data{N: x.Shape[0], X: memory{shape: x.Shape[1:], f: x.F64, i: x.I64}, Y: memory{shape: y.Shape[1:], f: y.F64, i: y.I64}}
}

func (c *lossCase) operator(t *testing.T, array func(name string) *tensor.Tensor, batch int) *hvp.Operator {
	t.Helper()
	net, data := c.network(t, array)
	o, err := hvp.New(net, data, hvp.Options{Loss: c.Loss, Smoothing: c.Smoothing, ClassWeights: c.ClassWeights, Ignore: c.Ignore, BatchSize: batch, Precision: hvp.Float64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// TestLosses holds every form of loss against PyTorch's over the whole set at once, in batches too: weights and
// ignored labels count over the set, never within a batch.
func TestLosses(t *testing.T) {
	const tol = 1e-12
	cases, array := lossCases(t)
	for _, c := range cases {
		for _, batch := range []int{0, 4} {
			o := c.operator(t, array, batch)
			if o.Total() != c.Count {
				t.Errorf("%s: %d targets count, want %d", c.Name, o.Total(), c.Count)
			}
			loss, grad, err := o.Gradient(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			hv := apply(t, o, array(c.V).Float64s())[0]
			dl, dg, dh := math.Abs(loss-c.L)/c.L, relative(grad, array(c.Name+".g").Float64s()), relative(hv, array(c.Name+".Hv").Float64s())
			if !(dl <= tol) || !(dg <= tol) || !(dh <= tol) {
				t.Errorf("%s, batches of %d: relative errors of loss %.2e, gradient %.2e, product %.2e; want at most %g", c.Name, o.BatchSize(), dl, dg, dh, tol)
			}
		}
	}
}

// TestLossErrors holds what is refused of a loss's options.
func TestLossErrors(t *testing.T) {
	net, err := zoo.Parse("mlp:2-3")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 0)
	x := memory{shape: []int{2}, f: []float64{1, 2, 3, 4}}
	labels := func(y ...int64) memory { return memory{shape: []int{}, i: y} }
	ignore := int64(-100)
	for _, c := range []struct {
		opt  hvp.Options
		y    memory
		want string
	}{
		{hvp.Options{Smoothing: 1}, labels(0, 1), "--label-smoothing 1: a number from 0 to below 1"},
		{hvp.Options{Smoothing: -0.1}, labels(0, 1), "--label-smoothing -0.1"},
		{hvp.Options{Smoothing: math.NaN()}, labels(0, 1), "--label-smoothing NaN"},
		{hvp.Options{Smoothing: 0.1, Loss: model.BCE}, labels(0, 1), "--label-smoothing: belongs to cross-entropy"},
		{hvp.Options{ClassWeights: []float64{1, 2, 3}, Loss: model.MSE}, labels(0, 1), "--class-weights: belong to cross-entropy"},
		{hvp.Options{ClassWeights: []float64{1, 2}}, labels(0, 1), "2 class weights for the 3 outputs"},
		{hvp.Options{ClassWeights: []float64{1, -2, 1}}, labels(0, 1), "--class-weights: weight 1 is -2"},
		{hvp.Options{ClassWeights: []float64{0, 0, 1}}, labels(0, 1), "--class-weights: those of all targets are 0"},
		{hvp.Options{Ignore: &ignore}, labels(-100, -100), "all targets are -100"},
		{hvp.Options{Ignore: &ignore}, labels(-100, -1), "example 1 has label -1"},
		{hvp.Options{}, labels(0, 3), "example 1 has label 3"},
		{hvp.Options{Loss: model.Own}, labels(0, 1), "has no loss of its own"},
	} {
		o, err := hvp.New(net, hvp.Data{N: 2, X: x, Y: c.y}, c.opt)
		if err == nil {
			o.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// ownLoss is the network of a case with its loss inside, as the mean over a batch, and its data.
func ownLoss(t *testing.T, c *lossCase, array func(name string) *tensor.Tensor) (*model.Network, hvp.Data) {
	t.Helper()
	net, data := c.network(t, array)
	net.OwnLoss = func(b *model.Builder, x, y *graph.Node) *graph.Node {
		f := net.Forward(b, x)
		classes := f.Dim(-1)
		soft := b.G.AddC(b.G.Scale(b.G.OneHot(y, classes), 1-c.Smoothing), c.Smoothing/float64(classes))
		return b.G.Mean(b.G.CrossEntropySoft(f, soft), 0)
	}
	return net, data
}

// TestOwnLoss holds that a network's own loss, a mean over a batch, weighs batches by their examples.
func TestOwnLoss(t *testing.T) {
	const tol = 1e-13
	cases, array := lossCases(t)
	i := slices.IndexFunc(cases, func(c lossCase) bool { return c.Name == "smoothed" })
	c := &cases[i]
	want := c.operator(t, array, 0)
	wantLoss, wantGrad, err := want.Gradient(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	v := array(c.V).Float64s()
	wantHv := apply(t, want, v)[0]
	net, data := ownLoss(t, c, array)
	for _, batch := range []int{0, 1, 4, 41} {
		o, err := hvp.New(net, data, hvp.Options{BatchSize: batch, Precision: hvp.Float64})
		if err != nil {
			t.Fatal(err)
		}
		loss, grad, err := o.Gradient(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if o.Loss() != model.Own || o.Total() != 41 || !(math.Abs(loss-wantLoss) <= tol*wantLoss) || !(relative(grad, wantGrad) <= tol) || !(relative(apply(t, o, v)[0], wantHv) <= tol) {
			t.Errorf("batches of %d: loss %v of kind %s over %d, want %v; gradient off by %g", batch, loss, o.Loss(), o.Total(), wantLoss, relative(grad, wantGrad))
		}
		o.Close()
	}
}

// TestEvaluate holds that the loss without derivatives is the one with them, and that outputs come once for each example.
func TestEvaluate(t *testing.T) {
	cases, array := lossCases(t)
	for _, c := range cases {
		o := c.operator(t, array, 7)
		want, _, err := o.Gradient(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		next := 0
		got, err := o.Evaluate(context.Background(), func(first int, f []float64) error {
			if first != next {
				t.Errorf("%s: example %d comes after %d", c.Name, first, next)
			}
			examples := min(7, array(c.X).Shape[0]-first)
			if want := examples * array(c.X).Len() / array(c.X).Shape[0]; c.X == "tokens" && len(f) != want*11 || c.X == "x" && len(f) != examples*6 {
				t.Errorf("%s: %d outputs of %d examples", c.Name, len(f), examples)
			}
			next += examples
			return nil
		})
		if err != nil || !(math.Abs(got-want) <= 1e-14*want) || next != array(c.X).Shape[0] {
			t.Errorf("%s: loss %v, want %v; outputs of %d examples (%v)", c.Name, got, want, next, err)
		}
	}
}
