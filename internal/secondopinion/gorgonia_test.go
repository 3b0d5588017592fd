package secondopinion

import (
	"fmt"
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// gorgonias is Gorgonia's value of an expression of one leaf, and its gradient of the sum of it.
// With tape it is run by its tape machine, else by the machine of this package.
func gorgonias(shape []int, x []float64, tape bool, build func(x *gorgonia.Node) *gorgonia.Node) (value, grad []float64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	g := gorgonia.NewGraph()
	dense := func(v []float64, shape tensor.Shape) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	in := gorgonia.NewTensor(g, gorgonia.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName("x"), gorgonia.WithValue(dense(x, shape)))
	y := build(in)
	v := make([]float64, y.Shape().TotalSize())
	for i := range v {
		v[i] = 1
	}
	seed := gorgonia.NewTensor(g, gorgonia.Float64, y.Dims(), gorgonia.WithShape(y.Shape()...), gorgonia.WithName("seed"), gorgonia.WithValue(dense(v, y.Shape())))
	grads, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{seed}, gorgonia.Nodes{in})
	if err != nil {
		return nil, nil, err
	}
	var out, d gorgonia.Value
	if tape {
		gorgonia.Read(y, &out)
		gorgonia.Read(grads[0], &d)
		m := gorgonia.NewTapeMachine(g)
		defer m.Close()
		if err := m.RunAll(); err != nil {
			return nil, nil, err
		}
	} else {
		var eval func(n *gorgonia.Node) gorgonia.Value
		known := map[int64]gorgonia.Value{}
		eval = func(n *gorgonia.Node) gorgonia.Value {
			if v, ok := known[n.ID()]; ok {
				return v
			}
			var in []gorgonia.Value
			for it := g.From(n.ID()); it.Next(); {
				in = append(in, eval(it.Node().(*gorgonia.Node)))
			}
			v := n.Value()
			if len(in) > 0 {
				if v, err = n.Op().Do(in...); err != nil {
					panic(err)
				}
			}
			known[n.ID()] = v
			return v
		}
		out, d = eval(y), eval(grads[0])
	}
	return floats(out), floats(d), nil
}

func must(n *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		panic(err)
	}
	return n
}

// TestGorgonia holds what was found wrong in Gorgonia v0.9.18 and is avoided in translate.go. A
// failure says that it has been repaired there, and that the detour can go.
func TestGorgonia(t *testing.T) {
	one := func(x float64, f func(*gorgonia.Node) (*gorgonia.Node, error)) (value, grad float64) {
		v, d, err := gorgonias([]int{1}, []float64{x}, true, func(x *gorgonia.Node) *gorgonia.Node { return must(f(x)) })
		if err != nil {
			t.Fatal(err)
		}
		return v[0], d[0]
	}
	if _, d := one(0.25, gorgonia.InverseSqrt); d != -0.0625 {
		t.Errorf("InverseSqrt at 1/4 has derivative %v, not the wrong -1/16 for -4", d)
	}
	if _, d := one(0, gorgonia.Rectify); d != 1 {
		t.Errorf("Rectify at 0 has derivative %v, not 1", d)
	}
	if v, _ := one(19.01, gorgonia.Sigmoid); v != 1 {
		t.Errorf("Sigmoid at 19.01 is %v, not the wrong 1", v)
	}
	if v, _ := one(16.01, gorgonia.Softplus); v != 16.01 {
		t.Errorf("Softplus at 16.01 is %v, not the wrong 16.01", v)
	}
	if v, _, err := gorgonias([]int{3}, []float64{1, 2, 3}, true, func(x *gorgonia.Node) *gorgonia.Node { return must(gorgonia.LogSumExp(x, 0)) }); err == nil && math.Abs(v[0]-3.4076) < 1e-3 {
		t.Errorf("LogSumExp of 1, 2, 3 is right")
	}

	// tanh y + y, y = x², where tanh is taken of a reshaped y.
	reshaped := func(x *gorgonia.Node) *gorgonia.Node {
		y := must(gorgonia.Square(x))
		r := must(gorgonia.Reshape(y, tensor.Shape{1, 2}))
		return must(gorgonia.Add(must(gorgonia.Reshape(must(gorgonia.Tanh(r)), tensor.Shape{2})), y))
	}
	want := []float64{math.Tanh(1) + 1, math.Tanh(4) + 4}
	if v, _, err := gorgonias([]int{2}, []float64{1, 2}, true, reshaped); err != nil || distance(v, want, 1) < 0.1 {
		t.Errorf("the tape machine does not overwrite a reshaped value: %v, %v", v, err)
	}
	if v, _, err := gorgonias([]int{2}, []float64{1, 2}, false, reshaped); err != nil || distance(v, want, 1) > 1e-15 {
		t.Errorf("without the tape machine got %v, want %v (%v)", v, want, err)
	}

	// Slices from 1 and from 257.
	x := make([]float64, 300)
	x[1], x[257] = 1, 10
	v, _, err := gorgonias([]int{300}, x, true, func(x *gorgonia.Node) *gorgonia.Node {
		return must(gorgonia.Sub(must(gorgonia.Slice(x, gorgonia.S(257, 259))), must(gorgonia.Slice(x, gorgonia.S(1, 3)))))
	})
	if err != nil || v[0] != 0 {
		t.Errorf("slices 256 apart differ by %v, not the wrong 0 (%v)", v, err)
	}

	// Sums of tensors of four axes over the third: the shapes with each axis from 1 to 3.
	wrong, panics := 0, 0
	for i := range 81 {
		s := []int{i%3 + 1, i/3%3 + 1, i/9%3 + 1, i/27 + 1}
		x := make([]float64, tensor.Shape(s).TotalSize())
		o := []int{s[0], s[1], 1, s[3]}
		want := make([]float64, len(x)/s[2])
		for j := range x {
			x[j] = float64(j)
			c := coordinates(j, s)
			c[2] = 0
			want[offset(c, o)] += x[j]
		}
		v, _, err := gorgonias(s, x, false, func(x *gorgonia.Node) *gorgonia.Node { return must(gorgonia.Sum(x, 2)) })
		switch {
		case err != nil:
			panics++
		case distance(v, want, 1) > 1e-12:
			wrong++
		}
	}
	if wrong != 18 || panics != 18 {
		t.Errorf("of 81 sums over an inner axis %d are wrong and %d panic, not 18 and 18", wrong, panics)
	}
}
