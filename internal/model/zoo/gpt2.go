package zoo

import (
	"fmt"
	"math"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// gptConfig is what makes a GPT-2; activation is one of transformerActivations. Scores are divided by the
// square root of a head's size where scaled says so, and by the number of the layer, from 1, where byLayer does.
type gptConfig struct {
	layers, heads, width, inner, context, vocab int
	activation                                  string
	eps                                         float64
	scaled, byLayer, tied                       bool
}

func parseGPT(o *options) (*model.Network, error) {
	c := gptConfig{layers: o.number("layers", 0, maxLayers), heads: o.number("heads", 0, maxWidth), width: o.number("width", 0, maxWidth)}
	c.inner = o.number("inner", 4*c.width, 4*maxWidth)
	c.context, c.vocab = o.number("context", 0, maxWidth), o.number("vocab", 0, maxWidth)
	c.activation = o.activation("gelu_new")
	c.eps = o.real("eps", model.NormEps)
	c.scaled, c.byLayer, c.tied = o.yes("scaled", true), o.yes("by_layer", false), o.yes("tied", true)
	if err := o.done(); err != nil {
		return nil, err
	}
	return gpt2(c)
}

func configGPT(c *config, _ *checkpoint) (*model.Network, error) {
	c.architecture("GPT2LMHeadModel")
	c.only("add_cross_attention", false)
	g := gptConfig{
		layers: c.number("n_layer", 12, maxLayers), heads: c.number("n_head", 12, maxWidth), width: c.number("n_embd", 768, maxWidth),
		context: c.number("n_positions", 1024, maxWidth), vocab: c.number("vocab_size", 50257, maxWidth),
		activation: c.activation("activation_function", "gelu_new"), eps: c.positive("layer_norm_epsilon", 1e-5),
		scaled: c.yes("scale_attn_weights", true), byLayer: c.yes("scale_attn_by_inverse_layer_idx", false), tied: c.yes("tie_word_embeddings", true),
	}
	g.inner = c.number("n_inner", 4*g.width, 4*maxWidth)
	if c.err != nil {
		return nil, c.err
	}
	return gpt2(g)
}

// gpt2 is the decoder of Radford et al. 2019: normalisation before attention and before the
// perceptron, learned positions, the embedding used again for the outputs where tied says so.
// Weights of its layers are [in, out].
func gpt2(c gptConfig) (*model.Network, error) {
	if err := wholeHeads(c.width, c.heads); err != nil {
		return nil, err
	}
	var t tensors
	t.add("transformer.wte.weight", c.vocab, c.width)
	t.add("transformer.wpe.weight", c.context, c.width)
	for i := range c.layers {
		p := fmt.Sprintf("transformer.h.%d.", i)
		t.layer(p+"ln_1", c.width, c.width)
		t.layer(p+"ln_2", c.width, c.width)
		t.layer(p+"attn.c_attn", 3*c.width, c.width, 3*c.width)
		t.layer(p+"attn.c_proj", c.width, c.width, c.width)
		t.layer(p+"mlp.c_fc", c.inner, c.width, c.inner)
		t.layer(p+"mlp.c_proj", c.width, c.inner, c.width)
	}
	t.layer("transformer.ln_f", c.width, c.width)
	head := "transformer.wte.weight"
	if !c.tied {
		head = "lm_head.weight"
		t.add(head, c.vocab, c.width)
	}
	size := func(key string, v int) string { return fmt.Sprintf("%s=%d", key, v) }
	return &model.Network{
		Name: name("gpt2", size("layers", c.layers), size("heads", c.heads), size("width", c.width), size("context", c.context), size("vocab", c.vocab),
			unless(4*c.width, "inner", c.inner), unless("gelu_new", "act", c.activation), unless(model.NormEps, "eps", c.eps),
			unless(true, "scaled", c.scaled), unless(false, "by_layer", c.byLayer), unless(true, "tied", c.tied)),
		Params:  t.params,
		Input:   []int{c.context},
		Tokens:  true,
		Vocab:   c.vocab,
		Pairs:   true,
		Outputs: c.vocab,
		Match:   matchGPT(head),
		Forward: func(b *model.Builder, ids *graph.Node) *graph.Node { return c.forward(b, ids, head) },
	}, nil
}

func (c gptConfig) forward(b *model.Builder, ids *graph.Node, head string) *graph.Node {
	g, t := b.G, ids.Dim(1)
	pos := g.Slice(b.Param("transformer.wpe.weight"), []int{0, 0}, nil, []int{t, c.width})
	x := g.Reshape(g.Add(g.Gather(b.Param("transformer.wte.weight"), ids), pos), b.Batch*t, c.width)
	dense := func(x *graph.Node, prefix string) *graph.Node {
		return g.Affine(x, b.Param(prefix+".weight"), b.Param(prefix+".bias"))
	}
	norm := func(x *graph.Node, prefix string) *graph.Node { return b.LayerNorm(x, prefix, c.eps) }
	h := heads{b.Batch, t, c.heads, c.heads, c.width / c.heads}
	all := sights(g, t, 0)
	for i := range c.layers {
		p := fmt.Sprintf("transformer.h.%d.", i)
		q, k, v := h.cut(g, dense(norm(x, p+"ln_1"), p+"attn.c_attn"))
		a := h.causal(g, q, k, v, c.scale(i), all)
		x = g.Add(x, dense(a, p+"attn.c_proj"))
		y := transformerActivations[c.activation](g, dense(norm(x, p+"ln_2"), p+"mlp.c_fc"))
		x = g.Add(x, dense(y, p+"mlp.c_proj"))
	}
	return g.Linear(norm(x, "transformer.ln_f"), b.Param(head), nil)
}

// scale multiplies the scores of a layer.
func (c gptConfig) scale(layer int) float64 {
	s := 1.0
	if c.scaled {
		s = 1 / math.Sqrt(float64(c.width/c.heads))
	}
	if c.byLayer {
		s /= float64(layer + 1)
	}
	return s
}

// matchGPT takes names without transformer., the head by the name of its tensor (the embedding, where that is tied), and
// leaves out the stored masks.
func matchGPT(head string) func(names []string) map[string]string {
	return func(names []string) map[string]string {
		to := map[string]string{}
		for _, name := range names {
			bare := strings.TrimPrefix(name, "transformer.")
			switch {
			case bare == "lm_head.weight":
				to[name] = head
			case strings.HasSuffix(bare, ".attn.bias"), strings.HasSuffix(bare, ".attn.masked_bias"):
				to[name] = ""
			default:
				to[name] = "transformer." + bare
			}
		}
		return to
	}
}

// guessGPT finds all but the heads.
func guessGPT(c *checkpoint) (*model.Network, error) {
	prefix := "transformer."
	if !c.has(prefix + "wte.weight") {
		prefix = ""
	}
	g := gptConfig{heads: 1, width: c.dim(prefix+"wte.weight", 1), vocab: c.dim(prefix+"wte.weight", 0), context: c.dim(prefix+"wpe.weight", 0)}
	g.layers = c.count(func(i int) string { return fmt.Sprintf("%sh.%d.ln_1.weight", prefix, i) })
	if g.width == 0 || g.context == 0 || g.vocab == 0 || g.layers == 0 {
		return nil, nil
	}
	g.inner = max(c.dim(prefix+"h.0.mlp.c_fc.weight", 1), 1)
	g.activation, g.eps, g.scaled, g.tied = "gelu_new", model.NormEps, true, true
	n, err := gpt2(g)
	if err != nil {
		return nil, err
	}
	n.Name = strings.Replace(n.Name, "heads=1", "heads=H", 1)
	if err := c.fits(n); err != nil {
		return nil, err
	}
	return nil, errHeads("gpt2", n.Name)
}
