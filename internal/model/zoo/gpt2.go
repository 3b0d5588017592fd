package zoo

import (
	"fmt"
	"math"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

type gptConfig struct{ layers, heads, width, context, vocab int }

// masked is added to the scores of later positions: their probabilities are then exactly 0, in
// float32 too, and no infinity appears.
const masked = -1e30

// gpt2 is the decoder of Radford et al. 2019: normalisation before attention and before the
// perceptron, learned positions, GELU in its tanh form, the embedding used again for the outputs.
// Weights of its layers are [in, out].
func gpt2(c gptConfig) *model.Network {
	var t tensors
	t.add("transformer.wte.weight", c.vocab, c.width)
	t.add("transformer.wpe.weight", c.context, c.width)
	for i := range c.layers {
		p := fmt.Sprintf("transformer.h.%d.", i)
		t.layer(p+"ln_1", c.width, c.width)
		t.layer(p+"ln_2", c.width, c.width)
		t.layer(p+"attn.c_attn", 3*c.width, c.width, 3*c.width)
		t.layer(p+"attn.c_proj", c.width, c.width, c.width)
		t.layer(p+"mlp.c_fc", 4*c.width, c.width, 4*c.width)
		t.layer(p+"mlp.c_proj", c.width, 4*c.width, c.width)
	}
	t.layer("transformer.ln_f", c.width, c.width)
	return &model.Network{
		Name:    fmt.Sprintf("gpt2:layers=%d,heads=%d,width=%d,context=%d,vocab=%d", c.layers, c.heads, c.width, c.context, c.vocab),
		Params:  t.params,
		Input:   []int{c.context},
		Tokens:  true,
		Vocab:   c.vocab,
		Outputs: c.vocab,
		Match:   matchGPT,
		Forward: c.forward,
	}
}

func (c gptConfig) forward(b *model.Builder, ids *graph.Node) *graph.Node {
	g, t := b.G, ids.Dim(1)
	wte := b.Param("transformer.wte.weight")
	pos := g.Slice(b.Param("transformer.wpe.weight"), []int{0, 0}, nil, []int{t, c.width})
	x := g.Reshape(g.Add(g.Gather(wte, ids), pos), b.Batch*t, c.width)
	dense := func(x *graph.Node, prefix string) *graph.Node {
		return g.Affine(x, b.Param(prefix+".weight"), b.Param(prefix+".bias"))
	}
	mask := b.G.Const(causal(t), t, t)
	for i := range c.layers {
		p := fmt.Sprintf("transformer.h.%d.", i)
		qkv := dense(b.LayerNorm(x, p+"ln_1"), p+"attn.c_attn")
		x = g.Add(x, dense(c.attention(b, qkv, mask), p+"attn.c_proj"))
		h := g.GELUTanh(dense(b.LayerNorm(x, p+"ln_2"), p+"mlp.c_fc"))
		x = g.Add(x, dense(h, p+"mlp.c_proj"))
	}
	return g.Linear(b.LayerNorm(x, "transformer.ln_f"), wte, nil)
}

// attention is softmax(QKᵀ/√d + mask)·V for each head of size d: qkv [B·T, 3·width], side by
// side, and mask [T, T], to [B·T, width].
func (c gptConfig) attention(b *model.Builder, qkv, mask *graph.Node) *graph.Node {
	g, size, t := b.G, c.width/c.heads, mask.Dim(0)
	part := func(i int) *graph.Node {
		z := g.Slice(qkv, []int{0, i * c.width}, nil, []int{b.Batch * t, c.width})
		return g.Transpose(g.Reshape(z, b.Batch, t, c.heads, size), 0, 2, 1, 3) // [B, heads, T, size]
	}
	scores := g.Scale(g.MatMul(part(0), part(1), false, true), 1/math.Sqrt(float64(size)))
	a := g.MatMul(g.Softmax(g.Add(scores, mask)), part(2), false, false)
	return g.Reshape(g.Transpose(a, 0, 2, 1, 3), b.Batch*t, c.width)
}

// causal is the mask of t positions: row i holds 0 up to column i, then masked.
func causal(t int) []float64 {
	mask := make([]float64, t*t)
	for i := range t {
		for j := i + 1; j < t; j++ {
			mask[i*t+j] = masked
		}
	}
	return mask
}

// matchGPT takes names without transformer., the head as another name of the embedding, and leaves
// out the stored masks.
func matchGPT(names []string) map[string]string {
	to := map[string]string{}
	for _, name := range names {
		bare := strings.TrimPrefix(name, "transformer.")
		switch {
		case bare == "lm_head.weight":
			to[name] = "transformer.wte.weight"
		case strings.HasSuffix(bare, ".attn.bias"), strings.HasSuffix(bare, ".attn.masked_bias"):
			to[name] = ""
		default:
			to[name] = "transformer." + bare
		}
	}
	return to
}
