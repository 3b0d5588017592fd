package secondopinion

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sbinet/npyio/npz"

	"hessdens/internal/graph"
)

// mlp is a network of Linear layers with the mean of a loss over rows, and its parameters.
func mlp(g *graph.Graph, rows int, sizes []int, act func(*graph.Node) *graph.Node, loss func(f *graph.Node) *graph.Node) (x, mean *graph.Node, params []*graph.Node) {
	x = g.Input("x", graph.Float, rows, sizes[0])
	h := x
	for i := range len(sizes) - 1 {
		w, b := g.Param(fmt.Sprint("w", i), sizes[i+1], sizes[i]), g.Param(fmt.Sprint("b", i), sizes[i+1])
		params = append(params, w, b)
		h = g.Linear(h, w, b)
		if i < len(sizes)-2 {
			h = act(h)
		}
	}
	return x, g.Drop(g.Mean(loss(h), 0), 0), params
}

// TestReference holds an MLP to PyTorch's gradient and Hessian-vector product.
func TestReference(t *testing.T) {
	const (
		gradTol = 1e-12
		hvTol   = 1e-9 // a difference of fourth order, off by h⁴ and by ε/h
	)
	f, err := npz.Open("testdata/mlp-tanh.npz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var x, theta, grad, hv []float64
	var y []int64
	var v []float32
	for name, dst := range map[string]any{"x": &x, "theta": &theta, "g": &grad, "Hv": &hv, "y": &y, "v": &v} {
		if err := f.Read(name+".npy", dst); err != nil {
			t.Fatal(name, err)
		}
	}
	g := graph.New()
	labels := g.Input("y", graph.Int, 50)
	in, loss, params := mlp(g, 50, []int{20, 16, 8, 5}, g.Tanh, func(f *graph.Node) *graph.Node { return g.CrossEntropy(f, labels) })
	at := func(step float64) map[*graph.Node][]float64 {
		leaves := map[*graph.Node][]float64{}
		i := 0
		for _, p := range params {
			for range p.Size() {
				leaves[p] = append(leaves[p], theta[i]+step*float64(v[i]))
				i++
			}
		}
		return leaves
	}
	leaves := at(0)
	leaves[in] = x
	m, err := New(Problem{Loss: loss, Leaves: leaves, Ints: map[*graph.Node][]int64{labels: y}, Wrt: params})
	if err != nil {
		t.Fatal(err)
	}
	gradient := func(step float64) []float64 {
		_, grads, err := m.Gradient(at(step))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(grads...)
	}
	if d := distance(gradient(0), grad, 0); !(d <= gradTol) {
		t.Errorf("gradient is off by %.1e", d)
	}
	const h = 2e-4 // |v| is 22
	got := make([]float64, len(theta))
	for _, c := range []struct{ step, weight float64 }{{1, 8}, {-1, -8}, {2, -1}, {-2, 1}} {
		for i, x := range gradient(c.step * h) {
			got[i] += c.weight * x / (12 * h)
		}
	}
	if d := distance(got, hv, 0); !(d <= hvTol) {
		t.Errorf("difference of gradients is off by %.1e from H·v", d)
	}
	if d := distance(gradient(0), grad, 0); !(d <= gradTol) {
		t.Errorf("gradient after other values is off by %.1e", d)
	}
}

// TestNetworks holds whole networks and losses to differences.
func TestNetworks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	g := graph.New()
	acts := map[string]func(*graph.Node) *graph.Node{"tanh": g.Tanh, "relu": g.Relu, "sigmoid": g.Sigmoid, "softplus": g.Softplus, "gelu": g.GELU, "silu": g.SiLU}
	for _, name := range slices.Sorted(maps.Keys(acts)) { // in order, so that each draws the same point every time: no difference across a kink
		const rows = 6
		labels, target := g.Input("y", graph.Int, rows), g.Input("target", graph.Float, rows, 3)
		losses := map[string]func(f *graph.Node) *graph.Node{
			"cross-entropy": func(f *graph.Node) *graph.Node { return g.CrossEntropy(f, labels) },
			"soft":          func(f *graph.Node) *graph.Node { return g.CrossEntropySoft(f, g.Softmax(target)) },
			"mse":           func(f *graph.Node) *graph.Node { return g.MSE(f, target) },
			"bce":           func(f *graph.Node) *graph.Node { return g.BCEWithLogits(f, g.Step(target)) },
		}
		for _, loss := range slices.Sorted(maps.Keys(losses)) {
			t.Run(name+" "+loss, func(t *testing.T) {
				x, mean, params := mlp(g, rows, []int{5, 4, 4, 3}, acts[name], losses[loss])
				for _, w := range params {
					mean = g.Add(mean, g.Scale(g.Drop(g.Sum(g.Reshape(g.Mul(w, w), w.Size()), 0), 0), 0.01))
				}
				p := Problem{Loss: mean, Leaves: map[*graph.Node][]float64{}, Ints: map[*graph.Node][]int64{labels: {0, 1, 2, 2, 1, 0}}, Wrt: params}
				for _, n := range append([]*graph.Node{x, target}, params...) {
					p.Leaves[n] = make([]float64, n.Size())
					for i := range p.Leaves[n] {
						p.Leaves[n][i] = rng.NormFloat64()
					}
				}
				check(t, p)
			})
		}
	}
	t.Run("cnn", func(t *testing.T) {
		g := graph.New()
		x := g.Input("x", graph.Float, 3, 64, 1)
		c1 := g.Geometry(graph.Square(8, 8, 3, 1, 1))
		h := g.Tanh(g.Add(g.Conv(x, g.Param("c1", 9, 1, 3), c1), g.Param("b1", 3)))
		h = g.AvgPool(h, g.Geometry(graph.Square(8, 8, 2, 2, 0)), true)
		h = g.BatchNormBatch(h, g.Param("gamma", 3), g.Param("beta", 3), 1e-5)
		h = g.Softplus(g.Conv(h, g.Param("c2", 9, 3, 2), g.Geometry(graph.Square(4, 4, 3, 2, 1))))
		f := g.Linear(g.Reshape(h, 3, 8), g.Param("w", 4, 8), nil)
		loss := g.Mean(g.CrossEntropy(f, g.ConstInt([]int64{3, 0, 1}, 3)), 0)
		check(t, problem(g, loss, rng, rng.NormFloat64))
	})
	t.Run("attention", func(t *testing.T) {
		const examples, tokens, width, heads = 2, 3, 4, 2
		g := graph.New()
		table := g.Param("table", 5, width)
		ids := g.ConstInt([]int64{0, 3, 1, 4, 4, 2}, examples, tokens)
		x := g.Reshape(g.LayerNorm(g.Gather(table, ids), g.Param("a", width), g.Param("b", width), 1e-5), examples*tokens, width)
		split := func(name string) *graph.Node {
			y := g.Linear(x, g.Param(name, width, width), nil)
			return g.Transpose(g.Reshape(y, examples, tokens, heads, width/heads), 0, 2, 1, 3)
		}
		mask := make([]float64, tokens*tokens)
		for i := range mask {
			if i%tokens > i/tokens {
				mask[i] = -1e9
			}
		}
		scores := g.Scale(g.MatMul(split("q"), split("k"), false, true), 0.7)
		att := g.Softmax(g.Add(scores, g.Const(mask, tokens, tokens)))
		y := g.Reshape(g.Transpose(g.MatMul(att, split("v"), false, false), 0, 2, 1, 3), examples*tokens, width)
		f := g.MatMul(g.Add(x, y), table, false, true)
		loss := g.Mean(g.CrossEntropy(f, g.Reshape(ids, examples*tokens)), 0)
		check(t, problem(g, loss, rng, rng.NormFloat64))
	})
}

func TestZeroGradients(t *testing.T) {
	g := graph.New()
	x, y, z := g.Param("x", 2), g.Param("y", 2), g.Param("z", 2)
	loss := g.Sum(g.Mul(x, g.Add(g.Step(y), g.Detach(x))), 0)
	p := Problem{Loss: loss, Leaves: map[*graph.Node][]float64{x: {3, 5}, y: {1, -1}, z: {0, 0}}, Wrt: []*graph.Node{x, y, z, x}}
	want := "39 [[4 5] [0 0] [0 0] [4 5]]"
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	if loss, grads, err := m.Gradient(nil); err != nil || fmt.Sprint(loss-(3*4+5*5)+39, grads) != want {
		t.Errorf("got %v %v, %v", loss, grads, err)
	}
	p.Wrt = []*graph.Node{y}
	if m, err = New(p); err != nil {
		t.Fatal(err)
	}
	if _, grads, err := m.Gradient(nil); err != nil || fmt.Sprint(grads) != "[[0 0]]" {
		t.Errorf("got %v, %v", grads, err)
	}
	one := g.Param("one", 1)
	if m, err = New(Problem{Loss: one, Leaves: map[*graph.Node][]float64{one: {7}}, Wrt: []*graph.Node{one}}); err != nil {
		t.Fatal(err)
	}
	if loss, grads, err := m.Gradient(nil); err != nil || loss != 7 || grads[0][0] != 1 {
		t.Errorf("got %v %v, %v", loss, grads, err)
	}
}

func TestErrors(t *testing.T) {
	g := graph.New()
	x, i := g.Param("x", 2), g.Input("i", graph.Int, 2)
	loss := g.Sum(x, 0)
	values := map[*graph.Node][]float64{x: {1, 2}}
	d := g.Direction(x)
	var unsupported *UnsupportedError
	err := Supported(g.Sum(g.Put(g.Reshape(d, 1, 2, 1), g.Reshape(i, 1, 2, 1), 2), 1))
	if !errors.As(err, &unsupported) || fmt.Sprint(unsupported.Ops) != "[direction put]" {
		t.Errorf("got %v", err)
	}
	hot := g.Sum(g.Mul(g.OneHot(i, 2), g.Reshape(x, 1, 2)), 0, 1)
	for want, p := range map[string]Problem{
		"not one value":     {Loss: x, Leaves: values},
		"operations put":    {Loss: g.Sum(g.Put(g.Reshape(x, 1, 2, 1), g.Reshape(i, 1, 2, 1), 1), 1), Leaves: values},
		`no values for "x"`: {Loss: loss},
		`no values for "i"`: {Loss: hot, Leaves: values},
		`3 values for "x"`:  {Loss: loss, Leaves: map[*graph.Node][]float64{x: {1, 2, 3}}},
		"no real input":     {Loss: hot, Leaves: values, Ints: map[*graph.Node][]int64{i: {0, 1}}, Wrt: []*graph.Node{i}},
		"too large":         {Loss: g.Sum(g.Exp(g.Broadcast(g.Reshape(x, 2, 1), 2, 1<<26)), 0, 1), Leaves: values},
	} {
		if _, err := New(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	m, err := New(Problem{Loss: hot, Leaves: values, Ints: map[*graph.Node][]int64{i: {0, 2}}, Wrt: []*graph.Node{x}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Gradient(nil); err == nil || !strings.Contains(err.Error(), "class 2 of 2") {
		t.Errorf("got %v", err)
	}
	if _, _, err := m.Gradient(map[*graph.Node][]float64{x: {1}}); err == nil || !strings.Contains(err.Error(), `1 values for "x"`) {
		t.Errorf("got %v", err)
	}
	if _, _, err := m.Gradient(map[*graph.Node][]float64{i: {1, 1}}); err == nil || !strings.Contains(err.Error(), "no real leaf") {
		t.Errorf("got %v", err)
	}
}
