package onnx

import (
	"math"
	"slices"

	"hessdens/internal/graph"
)

func lossOperators() map[string]operator {
	return map[string]operator{
		"SoftmaxCrossEntropyLoss": {least: 2, build: crossEntropy},
		"NegativeLogLikelihoodLoss": one(2, func(b *builder, n *node, in []*value) *value {
			return b.likelihood(n, in, b.classes(in[0]))
		}),
	}
}

// classes is scores [N, C, d…] with the classes last: [N, d…, C].
func (b *builder) classes(x *value) *graph.Node {
	if x.rank() < 2 {
		b.fail("scores of shape %v", x.shape)
	}
	if x.rank() == 2 {
		return b.real(x)
	}
	return b.g.Reshape(b.image(x), slices.Concat(x.shape[:1], x.shape[2:], x.shape[1:2])...)
}

func crossEntropy(b *builder, n *node, in []*value) []*value {
	logs := b.g.LogSoftmax(b.classes(in[0]))
	out := []*value{b.likelihood(n, in, logs), nil}
	perm := []int{0, logs.Rank() - 1}
	for i := 1; i < logs.Rank()-1; i++ {
		perm = append(perm, i)
	}
	out[1] = made(in[0].dt, b.g.Transpose(logs, perm...))
	return out
}

// likelihood is −Σ w·log p of the targets, reduced as the node says.
func (b *builder) likelihood(n *node, in []*value, logs *graph.Node) *value {
	g, c := b.g, logs.Dim(-1)
	y := in[1]
	ignore, has := n.int("ignore_index", 0), n.has("ignore_index")
	var hot *graph.Node // [..., C], weighted
	if y.c != nil {
		hot = b.plain(b.knownOf(dtFloat, append(slices.Clone(y.shape), c), func(i int) float64 {
			t := int(y.c.at(i / c))
			if has && t == ignore {
				return 0
			}
			if t < 0 || t >= c {
				b.fail("class %d of %d", t, c)
			}
			return float64(truth(t == i%c))
		}))
	} else {
		b.name(y.n, c)
		at := make([]float64, c)
		for i := range at {
			at[i] = float64(i)
			if has && i == ignore {
				at[i] = math.NaN() // which no label is
			}
		}
		x := b.real(y)
		hot = g.Equal(g.Reshape(x, append(slices.Clone(x.Shape()), 1)...), g.Const(at, c))
	}
	if v := opt(in, 2); v != nil {
		hot = g.Mul(hot, b.vector(v, c))
	}
	each := g.Neg(g.Drop(g.Sum(g.Mul(hot, logs), -1), -1))
	switch n.str("reduction", "mean") {
	case "none":
		return made(in[0].dt, each)
	case "sum":
		return made(in[0].dt, g.Reshape(g.Sum(g.Reshape(each, each.Size()), 0)))
	case "mean":
		total := g.Sum(g.Reshape(each, each.Size()), 0)
		return made(in[0].dt, g.Reshape(g.Div(total, g.Sum(g.Reshape(hot, hot.Size()), 0))))
	}
	b.fail("the reduction %q", n.str("reduction", ""))
	return nil
}
