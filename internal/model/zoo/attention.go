package zoo

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"hessdens/internal/graph"
)

// masked is added to scores that must not count: their probabilities are then exactly 0, in
// float32 too, and no infinity appears.
const masked = -1e30

// heads are those of an attention over sequences of t positions: count of queries, groups of keys and values, a
// divisor of it, each of the given size. Head i reads the keys and values of group i·groups/count.
type heads struct{ batch, t, count, groups, size int }

// wholeHeads fails where heads of one size do not make up a width.
func wholeHeads(width, count int) error {
	if width%count != 0 {
		return fmt.Errorf("a width of %d is no multiple of %d heads", width, count)
	}
	return nil
}

// split is x [B·T, n·size] as [B, n, T, size].
func (h heads) split(g *graph.Graph, x *graph.Node, n int) *graph.Node {
	return g.Transpose(g.Reshape(x, h.batch, h.t, n, h.size), 0, 2, 1, 3)
}

// cut is the queries, keys and values of x [B·T, 3·count·size], one beside the other, as split has them.
func (h heads) cut(g *graph.Graph, x *graph.Node) (q, k, v *graph.Node) {
	part := func(i int) *graph.Node {
		return h.split(g, g.Slice(x, []int{0, i * h.count * h.size}, nil, []int{h.batch * h.t, h.count * h.size}), h.count)
	}
	return part(0), part(1), part(2)
}

// attend is softmax(scale·QKᵀ + mask)·V for q [B, count, T, size], k and v [B, groups, T, size], to
// [B·T, count·size]. mask is added to scores [B, count, T, T]; nil: none.
func (h heads) attend(g *graph.Graph, q, k, v *graph.Node, scale float64, mask *graph.Node) *graph.Node {
	rows := h.count / h.groups * h.t // of the heads that share keys, one below the other
	q = g.Reshape(q, h.batch, h.groups, rows, h.size)
	scores := g.Reshape(g.Scale(g.MatMul(q, k, false, true), scale), h.batch, h.count, h.t, h.t)
	if mask != nil {
		scores = g.Add(scores, mask)
	}
	a := g.MatMul(g.Reshape(g.Softmax(scores), h.batch, h.groups, rows, h.t), v, false, false)
	a = g.Transpose(g.Reshape(a, h.batch, h.count, h.t, h.size), 0, 2, 1, 3)
	return g.Reshape(a, h.batch*h.t, h.count*h.size)
}

// causal is the mask [t, t] in which a position sees itself and those before, the nearest window of them; all
// for a window of 0.
func causal(g *graph.Graph, t, window int) *graph.Node {
	mask := make([]float64, t*t)
	for i := range t {
		for j := range t {
			if j > i || window > 0 && j <= i-window {
				mask[i*t+j] = masked
			}
		}
	}
	return g.Const(mask, t, t)
}

// rope is rotary positions (Su et al. 2021): in a head of the given size, pair i of numbers turns by position·f_i,
// f_i = theta^(−2i/size) before scaling.
type rope struct {
	theta       float64
	scaling     string  // "", linear or llama3
	factor      float64 // divides frequencies: all, or with llama3
	low, high   float64 // those of less than low turns in context positions, and less and less up to high turns
	context     float64
	interleaved bool // pairs are neighbours, not numbers half a head apart
}

// frequencies are f_0, …. Each step is rounded to float32, as networks are trained with them.
func (r rope) frequencies(size int) []float32 {
	f := make([]float32, size/2)
	factor, low, high := float32(r.factor), float32(r.low), float32(r.high)
	for i := range f {
		f[i] = 1 / float32(math.Pow(r.theta, float64(float32(2*i)/float32(size))))
		switch r.scaling {
		case "linear":
			f[i] /= factor
		case "llama3":
			length := float32(2*math.Pi) / f[i]
			turns := float32(r.context) / length
			switch kept := (turns - low) / (high - low); {
			case turns < low:
				f[i] /= factor
			case turns <= high:
				f[i] = float32(float32((1-kept)*f[i])/factor) + float32(kept*f[i]) // conversions keep a processor from joining steps
			}
		}
	}
	return f
}

// table makes cosines and sines [t, size/2]. Angles are rounded to float32, as networks are trained with them.
func (r rope) table(g *graph.Graph, t, size int) (cos, sin *graph.Node) {
	c, s := make([]float64, 0, t*size/2), make([]float64, 0, t*size/2)
	f := r.frequencies(size)
	for p := range t {
		for _, f := range f {
			sin, cos := math.Sincos(float64(float32(p) * f))
			c, s = append(c, cos), append(s, sin)
		}
	}
	return g.Const(c, t, size/2), g.Const(s, t, size/2)
}

// turn turns x [B, n, T, size]. Pairs come out half a head apart in either form: scores do not depend on the order.
func (r rope) turn(g *graph.Graph, x, cos, sin *graph.Node) *graph.Node {
	half := x.Dim(-1) / 2
	shape := []int{x.Dim(0), x.Dim(1), x.Dim(2), half}
	part := func(i int) *graph.Node {
		if r.interleaved {
			return g.Slice(x, []int{0, 0, 0, i}, []int{1, 1, 1, 2}, shape)
		}
		return g.Slice(x, []int{0, 0, 0, i * half}, nil, shape)
	}
	a, b := part(0), part(1)
	return g.Concat(-1, g.Sub(g.Mul(a, cos), g.Mul(b, sin)), g.Add(g.Mul(b, cos), g.Mul(a, sin)))
}

// pointwise is a function of each value of a tensor.
type pointwise func(g *graph.Graph, x *graph.Node) *graph.Node

// transformerActivations are those of Hugging Face's transformers, by one name each; see activationNames.
var transformerActivations = map[string]pointwise{
	"gelu":       (*graph.Graph).GELU,
	"gelu_new":   (*graph.Graph).GELUTanh,
	"quick_gelu": func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Mul(x, g.Sigmoid(g.Scale(x, 1.702))) },
	"relu":       (*graph.Graph).Relu,
	"relu2":      func(g *graph.Graph, x *graph.Node) *graph.Node { y := g.Relu(x); return g.Mul(y, y) },
	"sigmoid":    (*graph.Graph).Sigmoid,
	"silu":       (*graph.Graph).SiLU,
	"tanh":       (*graph.Graph).Tanh,
}

// activationNames are other names of transformerActivations.
var activationNames = map[string]string{
	"gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_new", "gelu_python_tanh": "gelu_new", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu",
}

// activationName is the name in transformerActivations of one that has several.
func activationName(s string) (string, error) {
	if other := activationNames[s]; other != "" {
		s = other
	}
	if transformerActivations[s] == nil {
		return "", fmt.Errorf("is not built in (%s are)", strings.Join(slices.Sorted(maps.Keys(transformerActivations)), ", "))
	}
	return s, nil
}
