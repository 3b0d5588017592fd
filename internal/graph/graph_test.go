package graph_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
)

// TestConstructorErrors holds that operands that do not fit are an *Error that names the operation.
func TestConstructorErrors(t *testing.T) {
	g := graph.New()
	x, y, cube := g.Param("x", 2, 3), g.Param("y", 4, 3), g.Param("cube", 2, 16, 6)
	scalar, ids, image := g.Param("s"), g.Input("ids", graph.Int, 4), g.Input("image", graph.Int, 2, 16, 6)
	window := graph.Square(4, 4, 3, 1, 1)
	geo := g.Geometry(window)
	grouped := window
	grouped.Groups = 2
	pairs := g.Geometry(grouped)
	square := func(change func(w *graph.Window)) func() {
		return func() {
			w := graph.Square(4, 4, 3, 1, 1)
			change(&w)
			g.Geometry(w)
		}
	}
	tests := []struct {
		name  string
		build func()
		want  string
	}{
		{"too few values", func() { g.Const([]float64{1, 2}, 3) }, "constant of shape [3] has 2 values"},
		{"too many values", func() { g.ConstInt([]int64{1, 2}) }, "has 2 values"},
		{"sum of two shapes", func() { g.Add(x, y) }, "add: shapes"},
		{"product of two shapes", func() { g.Mul(x, y) }, "mul: shapes"},
		{"where", func() { g.Where(x, x, y) }, "where: shapes"},
		{"a function of integers", func() { g.Exp(ids) }, "exp: integers"},
		{"a sum of integers", func() { g.Add(ids, ids) }, "add: integers"},
		{"reshape", func() { g.Reshape(x, 5) }, "reshape"},
		{"transpose, too few", func() { g.Transpose(x, 0) }, "transpose: 1 axes"},
		{"transpose, twice", func() { g.Transpose(x, 0, 0) }, "no permutation"},
		{"transpose, beyond", func() { g.Transpose(x, 0, 2) }, "no permutation"},
		{"broadcast of another rank", func() { g.Broadcast(x, 5, 2, 3) }, "rank"},
		{"broadcast", func() { g.Broadcast(x, 2, 6) }, "cannot become"},
		{"sum beyond", func() { g.Sum(x, 2) }, "no axis 2"},
		{"sum before", func() { g.Sum(x, -3) }, "no axis -1"},
		{"maximum beyond", func() { g.ReduceMax(x, 2) }, "no axis 2"},
		{"maximum of a scalar", func() { g.ReduceMax(scalar, -1) }, "no axis"},
		{"drop", func() { g.Drop(x, 1) }, "not of size 1"},
		{"slice of too few axes", func() { g.Slice(x, []int{0}, nil, []int{1}) }, "number of axes"},
		{"slice of nothing", func() { g.Slice(x, []int{0, 0}, nil, []int{0, 3}) }, "0 elements"},
		{"slice beyond", func() { g.Slice(x, []int{1, 0}, nil, []int{2, 3}) }, "2 elements from 1"},
		{"slice before", func() { g.Slice(x, []int{0, 0}, []int{-1, 1}, []int{2, 3}) }, "by -1"},
		{"slice that stands still", func() { g.Slice(x, []int{0, 0}, []int{0, 1}, []int{2, 3}) }, "by 0"},
		{"pad of too few axes", func() { g.Pad(x, []int{1}, []int{1}, nil) }, "number of axes"},
		{"negative pad", func() { g.Pad(x, []int{-1, 0}, []int{0, 0}, nil) }, "negative padding"},
		{"concat of nothing", func() { g.Concat(0) }, "nothing to join"},
		{"concat beyond", func() { g.Concat(2, x, y) }, "no axis 2"},
		{"concat of two shapes", func() { g.Concat(1, x, y) }, "does not fit"},
		{"concat of two kinds", func() { g.Concat(0, g.Param("v", 4), ids) }, "does not fit"},
		{"matmul", func() { g.MatMul(x, y, false, false) }, "matmul: shapes"},
		{"matmul, transposed", func() { g.MatMul(x, y, true, true) }, "matmul: shapes"},
		{"matmul of vectors", func() { g.MatMul(g.Param("v", 3), g.Param("v", 3), false, false) }, "matmul: shapes"},
		{"matmul of two batches", func() { g.MatMul(cube, g.Param("w", 3, 6, 6), false, false) }, "matmul: shapes"},
		{"gather by reals", func() { g.Gather(x, y) }, "gather"},
		{"gather from a cube", func() { g.Gather(cube, ids) }, "gather"},
		{"scatter", func() { g.Scatter(x, ids, 5) }, "scatter"},
		{"take", func() { g.Take(g.Param("other", 3, 16, 6), image) }, "take"},
		{"put", func() { g.Put(g.Param("few", 2, 4, 6), image, 16) }, "put"},
		{"one-hot of reals", func() { g.OneHot(x, 3) }, "onehot"},
		{"conv of other positions", func() { g.Conv(g.Param("p", 2, 15, 6), g.Param("k", 9, 6, 4), geo) }, "conv: input"},
		{"conv of other taps", func() { g.Conv(cube, g.Param("k", 8, 6, 4), geo) }, "conv: input"},
		{"conv of other channels", func() { g.Conv(cube, g.Param("k", 9, 3, 4), geo) }, "conv: input"},
		{"conv of odd groups", func() { g.Conv(cube, g.Param("k", 9, 3, 5), pairs) }, "conv: input"},
		{"convw of another batch", func() { g.ConvW(cube, g.Param("d", 3, 16, 4), geo) }, "convw: input"},
		{"convw of odd groups", func() { g.ConvW(cube, g.Param("d", 2, 16, 5), pairs) }, "convw: input"},
		{"argmax", func() { g.ArgMax(g.Param("p", 2, 15, 6), geo) }, "argmax: input"},
		{"argmax outside", func() { g.ArgMax(cube, g.Geometry(graph.Square(4, 4, 1, 1, 1))) }, "outside its input"},
		{"rows", func() { g.AvgPool(g.Param("p", 2, 15, 6), geo, false) }, "rows"},
		{"linear", func() { g.Linear(x, g.Param("w", 5, 4), nil) }, "matmul: shapes"},
		{"linear with a bias of another size", func() { g.Linear(x, g.Param("w", 5, 3), g.Param("b", 4)) }, "add: shapes"},
		{"labels of another batch", func() { g.CrossEntropy(x, ids) }, "mul: shapes"},
		{"window of mixed axes", square(func(w *graph.Window) { w.Stride = []int{1} }), "number of axes"},
		{"window without a step", square(func(w *graph.Window) { w.Stride = []int{0, 1} }), "below 1"},
		{"window that cuts", square(func(w *graph.Window) { w.Low = []int{-1, 0} }), "negative padding"},
		{"window that does not fit", square(func(w *graph.Window) { w.Dilation = []int{3, 3} }), "does not fit"},
		{"window of billions", func() { g.Geometry(graph.Square(40000, 40000, 3, 1, 1)) }, "too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := graph.Catch(func() error { test.build(); return nil })
			var e *graph.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestCatch holds that Catch gives what build returns, and lets every other panic through.
func TestCatch(t *testing.T) {
	want := errors.New("mine")
	if err := graph.Catch(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	if err := graph.Catch(func() error { return nil }); err != nil {
		t.Errorf("error %v", err)
	}
	defer func() {
		if r := recover(); r != "another" {
			t.Errorf("panic %v", r)
		}
	}()
	_ = graph.Catch(func() error { panic("another") })
}

// TestOtherGraph holds that operands of two graphs are a caller's bug.
func TestOtherGraph(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	graph.New().Tanh(graph.New().Param("x", 3))
}

// TestSharing holds that equal operations on equal operands are one node, and others are not.
func TestSharing(t *testing.T) {
	g := graph.New()
	x, y := g.Param("x", 2, 3), g.Param("y", 2, 3)
	geo := g.Geometry(graph.Square(4, 4, 3, 1, 1))
	same := []struct {
		name string
		a, b *graph.Node
	}{
		{"parameter", x, g.Param("x", 2, 3)},
		{"tanh", g.Tanh(x), g.Tanh(x)},
		{"whole expressions", g.Mul(g.Tanh(x), g.Add(x, y)), g.Mul(g.Tanh(x), g.Add(x, y))},
		{"scale", g.Scale(x, 0.1), g.Scale(x, 0.1)},
		{"scalar", g.Scalar(0.5), g.Scalar(0.5)},
		{"direction", g.Direction(x), g.Direction(x)},
		{"sum over axes in any order", g.Sum(x, 0, 1), g.Sum(x, 1, -2)},
	}
	for _, p := range same {
		if p.a != p.b {
			t.Errorf("%s: %v and %v", p.name, p.a, p.b)
		}
	}
	different := []struct {
		name string
		a, b *graph.Node
	}{
		{"names", x, y},
		{"shapes", x, g.Param("x", 3, 2)},
		{"kinds of leaf", x, g.Input("x", graph.Float, 2, 3)},
		{"kinds of value", g.Input("i", graph.Float, 2), g.Input("i", graph.Int, 2)},
		{"order", g.Sub(x, y), g.Sub(y, x)},
		{"attributes that print alike", g.Scale(x, 0.1), g.Scale(x, math.Nextafter(0.1, 1))},
		{"signs of zero", g.Scalar(0), g.Scalar(math.Copysign(0, -1))},
		{"constants", g.Const([]float64{1, 2}, 2), g.Const([]float64{1, 2}, 2)},
		{"transposed factors", g.MatMul(x, y, true, false), g.MatMul(y, x, true, false)},
		{"flags", g.MatMul(x, y, true, false), g.MatMul(x, y, false, true)},
	}
	for _, p := range different {
		if p.a == p.b {
			t.Errorf("%s: both are %v", p.name, p.a)
		}
	}
	if g.Geometry(graph.Square(4, 4, 3, 1, 1)) != geo || g.Geometry(graph.Square(4, 4, 3, 2, 1)) == geo {
		t.Error("equal windows share a table, others do not")
	}
	for i, n := range g.Nodes() {
		if n.ID() != i || slices.ContainsFunc(n.Inputs(), func(x *graph.Node) bool { return x.ID() >= i }) {
			t.Errorf("%v stands at %d", n, i)
		}
	}
}

// TestSimplifications holds what constructors give where an operation does nothing or less than it says.
func TestSimplifications(t *testing.T) {
	g := graph.New()
	x, y, b := g.Param("x", 2, 3), g.Param("y", 2, 3), g.Param("b", 1, 3)
	wide := g.Broadcast(b, 4, 3)
	half := g.Broadcast(g.Reshape(g.Scalar(0.5), 1, 1), 2, 3)
	tests := []struct {
		name      string
		got, want *graph.Node
	}{
		{"reshape to the same", g.Reshape(x, 2, 3), x},
		{"reshape there and back", g.Reshape(g.Reshape(x, 6), 2, 3), x},
		{"two reshapes", g.Reshape(g.Reshape(x, 6), 3, 2), g.Reshape(x, 3, 2)},
		{"transpose by nothing", g.Transpose(x, 0, 1), x},
		{"transpose twice", g.Transpose(g.Transpose(x, 1, 0), 1, 0), x},
		{"broadcast to the same", g.Broadcast(x, 2, 3), x},
		{"two broadcasts", g.Broadcast(g.Broadcast(g.Param("one", 1, 1), 1, 3), 2, 3), g.Broadcast(g.Param("one", 1, 1), 2, 3)},
		{"sum over nothing", g.Sum(x), x},
		{"sum over size 1", g.Sum(b, 0), b},
		{"sum of equal values", g.Sum(wide, 0), g.Scale(b, 4)},
		{"sum of equal values and others", g.Sum(wide, 0, 1), g.Scale(g.Sum(b, 1), 4)},
		{"mean of equal values", g.Mean(wide, 0), b},
		{"sum to the same shape", g.SumTo(x, 2, 3), x},
		{"the whole slice", g.Slice(x, []int{0, 0}, []int{1, 1}, []int{2, 3}), x},
		{"pad by nothing", g.Pad(x, []int{0, 0}, []int{0, 0}, nil), x},
		{"concat of one", g.Concat(0, x), x},
		{"scale by 1", g.Scale(x, 1), x},
		{"scale twice", g.Scale(g.Scale(x, 2), 3), g.Scale(x, 6)},
		{"minus minus", g.Neg(g.Neg(x)), x},
		{"add 0", g.AddC(x, 0), x},
		{"add a constant", g.Add(half, x), g.AddC(x, 0.5)},
		{"subtract a constant", g.Sub(x, half), g.AddC(x, -0.5)},
		{"add the negative", g.Add(x, g.Neg(y)), g.Sub(x, y)},
		{"multiply by a constant", g.Mul(x, half), g.Scale(x, 0.5)},
		{"divide a constant", g.Div(half, x), g.Scale(g.Recip(x), 0.5)},
		{"power 1", g.PowC(x, 1), x},
		{"power 2", g.PowC(x, 2), g.Mul(x, x)},
		{"power ½", g.Pow(x, half), g.Sqrt(x)},
		{"power -½", g.PowC(x, -0.5), g.Rsqrt(x)},
		{"power -1", g.PowC(x, -1), g.Recip(x)},
		{"constants add up", g.Add(g.Scalar(2), g.Scalar(3)), g.Scalar(5)},
		{"functions of constants", g.Exp(g.Scalar(0)), g.Scalar(1)},
		{"scale of a constant", g.Scale(g.Scalar(2), 3), g.Scalar(6)},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if z := g.Mul(g.Broadcast(g.Reshape(g.Scalar(2), 1, 1, 1), 5, 1, 1), x); !slices.Equal(z.Shape(), []int{5, 2, 3}) {
		t.Errorf("a constant that widens the result gives %v", z)
	}
}

// TestZeroDerivatives holds that derivatives which are zero whatever the values do not exist.
func TestZeroDerivatives(t *testing.T) {
	g := graph.New()
	x, y := g.Param("x", 4, 3), g.Param("y", 4, 3)
	ct := g.Const(make([]float64, 12), 4, 3)
	seeds := map[*graph.Node]*graph.Node{x: g.Direction(x)}
	for _, f := range []*graph.Node{g.Step(x), g.Sign(x), g.Less(x, y), g.Equal(x, y), g.Detach(x), g.Tanh(y), g.Mul(g.Step(x), y),
		g.Where(g.Less(x, y), g.Exp(y), y)} {
		if d := graph.JVP([]*graph.Node{f}, seeds); d[0] != nil {
			t.Errorf("%v along x is %v", f, d[0])
		}
		if d := graph.VJP([]*graph.Node{f}, []*graph.Node{ct}, []*graph.Node{x}); d[0] != nil {
			t.Errorf("the gradient of %v in x is %v", f, d[0])
		}
	}
	relu := g.Relu(x)
	grad := graph.VJP([]*graph.Node{relu}, []*graph.Node{ct}, []*graph.Node{x})
	if d := graph.JVP(grad, seeds); d[0] != nil {
		t.Errorf("the second derivative of relu is %v", d[0])
	}
	if d := graph.VJP([]*graph.Node{relu}, []*graph.Node{nil}, []*graph.Node{x}); d[0] != nil {
		t.Errorf("without a cotangent the gradient is %v", d[0])
	}
	if d := graph.VJP([]*graph.Node{x}, []*graph.Node{ct}, []*graph.Node{x, y}); d[0] != ct || d[1] != nil {
		t.Errorf("the gradients of x itself are %v", d)
	}
}

// TestDirectionOfInput holds that derivatives along an input are those along a parameter.
func TestDirectionOfInput(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Float, 3)
	d := graph.JVP([]*graph.Node{g.Sin(x)}, map[*graph.Node]*graph.Node{x: g.Direction(x)})
	if want := g.Mul(g.Cos(x), g.Direction(x)); d[0] != want {
		t.Errorf("%v, want %v", d[0], want)
	}
}

// TestKinks holds which nodes say on what branch a point lies.
func TestKinks(t *testing.T) {
	g := graph.New()
	x := g.Param("x", 4, 3)
	gradient := func(f *graph.Node) *graph.Node {
		ct := g.Const(make([]float64, f.Size()), f.Shape()...)
		return graph.VJP([]*graph.Node{f}, []*graph.Node{ct}, []*graph.Node{x})[0]
	}
	ops := func(outs ...*graph.Node) []graph.Op {
		var ops []graph.Op
		for _, n := range graph.Kinks(outs...) {
			ops = append(ops, n.Op())
		}
		return ops
	}
	tests := []struct {
		name string
		out  *graph.Node
		want []graph.Op
	}{
		{"relu itself", g.Relu(x), nil},
		{"relu", gradient(g.Relu(x)), []graph.Op{graph.OpStep}},
		{"abs", gradient(g.Abs(x)), []graph.Op{graph.OpSign}},
		{"max", gradient(g.Max(x, g.Param("y", 4, 3))), []graph.Op{graph.OpLess}},
		{"maximum", g.ReduceMax(x, -1), []graph.Op{graph.OpArgMax}},
		{"smooth", gradient(g.Tanh(x)), nil},
		{"softmax, whose maximum is detached", gradient(g.Softmax(x)), nil},
		{"what is detached", g.Add(x, g.Detach(g.ReduceMax(x, -1))), nil},
		{"two layers", gradient(g.Relu(g.MatMul(g.Relu(x), g.Param("w", 3, 3), false, false))), []graph.Op{graph.OpStep, graph.OpStep}},
	}
	for _, test := range tests {
		if got := ops(test.out); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := ops(nil, gradient(g.Relu(x)), gradient(g.Relu(x)), nil); len(got) != 1 {
		t.Errorf("a node given twice and none: %v", got)
	}
	kinks := graph.Kinks(gradient(g.Abs(g.Relu(g.Max(x, g.Scalar(0.1))))))
	if !slices.IsSortedFunc(kinks, func(a, b *graph.Node) int { return a.ID() - b.ID() }) || len(kinks) != 3 {
		t.Errorf("kinks %v", kinks)
	}
}

// TestWindow holds sizes against the formula's values for known networks, and each table against the definition.
func TestWindow(t *testing.T) {
	for _, test := range []struct {
		w    graph.Window
		want int
	}{
		{graph.Square(28, 28, 5, 1, 0), 24}, {graph.Square(32, 32, 3, 2, 1), 16}, {graph.Square(224, 224, 7, 2, 3), 112}, {graph.Square(5, 5, 2, 2, 0), 2},
		{graph.Window{Size: []int{10, 10}, Kernel: []int{3, 3}, Stride: []int{1, 1}, Dilation: []int{2, 2}, Low: []int{1, 0}, High: []int{0, 1}}, 7},
	} {
		if got := test.w.Out(); !slices.Equal(got, []int{test.want, test.want}) {
			t.Errorf("%v gives %v, want %d", test.w, got, test.want)
		}
	}
	g := graph.New()
	geo := g.Geometry(graph.Window{Size: []int{5}, Kernel: []int{3}, Stride: []int{2}, Dilation: []int{1}, Low: []int{1}, High: []int{1}})
	if want := []int32{-1, 0, 1, 1, 2, 3, 3, 4, -1}; !slices.Equal(geo.Index, want) {
		t.Errorf("table %v, want %v", geo.Index, want)
	}
	tr := geo.Transposed()
	if tr.In != geo.Out || tr.Out != geo.In || tr.Transposed() != geo {
		t.Errorf("transposed: %d to %d", tr.In, tr.Out)
	}
	for q := range geo.Out {
		for tap := range geo.Taps {
			if p := geo.Index[q*geo.Taps+tap]; p >= 0 && tr.Index[int(p)*geo.Taps+tap] != int32(q) {
				t.Errorf("output %d reads %d by tap %d; transposed: %d", q, p, tap, tr.Index[int(p)*geo.Taps+tap])
			}
		}
	}
	inside := func(index []int32) (n int) {
		for _, p := range index {
			if p >= 0 {
				n++
			}
		}
		return n
	}
	if inside(geo.Index) != inside(tr.Index) {
		t.Errorf("%d positions read, transposed %d", inside(geo.Index), inside(tr.Index))
	}
}

// TestSparse holds the transposed matrix against the matrix.
func TestSparse(t *testing.T) {
	s := graph.NewSparse("s", 3, 4, func(r int) ([]int32, []float64) {
		return [][]int32{{3, 0}, {}, {0, 1, 2}}[r], [][]float64{{1, 2}, {}, {3, 4, 5}}[r]
	})
	dense := func(s *graph.Sparse) map[[2]int]float64 {
		m := map[[2]int]float64{}
		for r := range s.Rows {
			for e := s.Start[r]; e < s.Start[r+1]; e++ {
				m[[2]int{r, int(s.Col[e])}] += s.Val[e]
			}
		}
		return m
	}
	tr := s.Transposed()
	a, b := dense(s), dense(tr)
	if tr.Rows != 4 || tr.Cols != 3 || len(a) != len(b) || tr.Transposed() != s {
		t.Errorf("%v transposed is %v", a, b)
	}
	for at, v := range a {
		if b[[2]int{at[1], at[0]}] != v {
			t.Errorf("element %v is %v, transposed %v", at, v, b[[2]int{at[1], at[0]}])
		}
	}
}

// TestEveryOperation holds that each entry of the table has a name of its own.
func TestEveryOperation(t *testing.T) {
	seen := map[string]bool{}
	for op := graph.OpParam; op <= graph.OpReal; op++ {
		name := op.String()
		if name == "" || seen[name] {
			t.Errorf("operation %d is named %q", uint8(op), name)
		}
		seen[name] = true
	}
	if s := (graph.OpReal + 1).String(); !strings.HasPrefix(s, "op") {
		t.Errorf("an operation beyond the table is named %q", s)
	}
	g := graph.New()
	if got, want := g.Tanh(g.Param("x", 2, 3)).String(), "%1 = tanh(%0) [2 3]"; got != want {
		t.Errorf("a node prints as %q, want %q", got, want)
	}
}
