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
	x = g.Reshape(x, h.batch, h.t, 3*h.count, h.size) // sliced before it is transposed: what leads back puts each part where it belongs at once
	part := func(i int) *graph.Node {
		return g.Transpose(g.Slice(x, []int{0, 0, i * h.count, 0}, nil, []int{h.batch, h.t, h.count, h.size}), 0, 2, 1, 3)
	}
	return part(0), part(1), part(2)
}

// attend is softmax(scale·QKᵀ + mask)·V for q [B, count, T, size], k and v [B, groups, T, size], to
// [B·T, count·size]. mask is added to scores [B, count, T, T]; nil: none.
func (h heads) attend(g *graph.Graph, q, k, v *graph.Node, scale float64, mask *graph.Node) *graph.Node {
	return h.join(g, h.mix(g, q, k, v, scale, mask))
}

// mix is attend for any numbers of queries and of keys, to [B, count, queries, size].
func (h heads) mix(g *graph.Graph, q, k, v *graph.Node, scale float64, mask *graph.Node) *graph.Node {
	queries, keys := q.Dim(2), k.Dim(2)
	rows := h.count / h.groups * queries // of the heads that share keys, one below the other
	q = g.Reshape(q, h.batch, h.groups, rows, h.size)
	scores := g.Reshape(g.Scale(g.MatMul(q, k, false, true), scale), h.batch, h.count, queries, keys)
	if mask != nil {
		scores = g.Add(scores, mask)
	}
	a := g.MatMul(g.Reshape(g.Softmax(scores), h.batch, h.groups, rows, keys), v, false, false)
	return g.Reshape(a, h.batch, h.count, queries, h.size)
}

// join is the inverse of split.
func (h heads) join(g *graph.Graph, a *graph.Node) *graph.Node {
	return g.Reshape(g.Transpose(a, 0, 2, 1, 3), h.batch*h.t, h.count*h.size)
}

// causal is attend where a position sees itself and those before.
func (h heads) causal(g *graph.Graph, q, k, v *graph.Node, scale float64, sights []sight) *graph.Node {
	var parts []*graph.Node
	for _, s := range sights {
		of := func(x *graph.Node, from, to int) *graph.Node {
			return g.Slice(x, []int{0, 0, from, 0}, nil, []int{h.batch, x.Dim(1), to - from, h.size})
		}
		a := h.mix(g, of(q, s.from, s.to), of(k, s.first, s.to), of(v, s.first, s.to), scale, s.mask)
		parts = append(parts, g.Transpose(a, 0, 2, 1, 3))
	}
	return g.Reshape(g.Concat(1, parts...), h.batch*h.t, h.count*h.size)
}

// sight says what the positions from ≤ i < to see: of those from the first on what mask [to−from, to−first] leaves.
type sight struct {
	from, to, first int
	mask            *graph.Node
}

// Positions are taken in few pieces, none of which multiplies with what all of it does not see: that spares up to three eighths of the
// scores. More pieces would spare little more, and sums of the keys' and values' derivatives cost as much as there are pieces.
const (
	sightPieces = 4
	leastSight  = 32
)

// sights are those of t positions that see themselves and those before, the nearest window of them; all for a window
// of 0.
func sights(g *graph.Graph, t, window int) []sight {
	var all []sight
	size := max((t+sightPieces-1)/sightPieces, leastSight)
	for from := 0; from < t; from += size {
		s := sight{from: from, to: min(from+size, t)}
		if window > 0 {
			s.first = max(0, from-window+1)
		}
		mask := make([]float64, 0, (s.to-from)*(s.to-s.first))
		for i := from; i < s.to; i++ {
			for j := s.first; j < s.to; j++ {
				hidden := 0.0
				if j > i || window > 0 && j <= i-window {
					hidden = masked
				}
				mask = append(mask, hidden)
			}
		}
		s.mask = g.Const(mask, s.to-from, s.to-s.first)
		all = append(all, s)
	}
	return all
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
