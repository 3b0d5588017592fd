package zoo

import (
	"fmt"
	"math"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// llamaConfig is what makes a decoder of the Llama family (Touvron et al. 2023): root-mean-square normalisation
// before attention and before the gated perceptron, rotary positions, keys and values that several heads share.
type llamaConfig struct {
	layers, heads, groups, size     int // groups of keys and values; size of a head
	width, inner, context, vocab    int
	activation                      string // one of transformerActivations
	eps                             float64
	rope                            rope
	window, full                    int // a position sees the window before it, 0: all; not so the first full layers
	qkvBias, outBias, mlpBias, tied bool
	qkNorm                          bool // queries and keys of a head are normalised before they turn
	names                           *llamaNames
}

// llamaNames are those of the tensors; layer takes the layer's number. perceptron has gate, up and down in the
// order of named_parameters().
type llamaNames struct {
	family, embedding, layer                  string
	query, key, value, out                    string
	queryNorm, keyNorm                        string
	gate, up, down                            string
	perceptron                                []string
	attentionNorm, perceptronNorm, norm, head string
}

// transformersNames are those of Hugging Face's transformers.
var transformersNames = &llamaNames{
	family: "llama", embedding: "model.embed_tokens", layer: "model.layers.%d.",
	query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", out: "self_attn.o_proj",
	queryNorm: "self_attn.q_norm", keyNorm: "self_attn.k_norm",
	gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj", perceptron: []string{"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
	attentionNorm: "input_layernorm", perceptronNorm: "post_attention_layernorm", norm: "model.norm", head: "lm_head",
}

// metaNames are those of Meta's own files and of llama2.c, whose rotary pairs are neighbours.
var metaNames = &llamaNames{
	family: "llama2c", embedding: "tok_embeddings", layer: "layers.%d.",
	query: "attention.wq", key: "attention.wk", value: "attention.wv", out: "attention.wo",
	gate: "feed_forward.w1", up: "feed_forward.w3", down: "feed_forward.w2", perceptron: []string{"feed_forward.w1", "feed_forward.w2", "feed_forward.w3"},
	attentionNorm: "attention_norm", perceptronNorm: "ffn_norm", norm: "norm", head: "output",
}

// Defaults of the two: those of LlamaConfig in transformers, and of ModelArgs in llama2.c.
func (n *llamaNames) eps() float64 {
	if n == metaNames {
		return 1e-5
	}
	return 1e-6
}

const ropeTheta = 10000

func parseLlama(names *llamaNames, o *options) (*model.Network, error) {
	c := llamaConfig{names: names, layers: o.number("layers", 0, maxLayers), heads: o.number("heads", 0, maxWidth)}
	c.groups = o.number("kv_heads", c.heads, maxWidth)
	c.width, c.inner = o.number("width", 0, maxWidth), o.number("inner", 0, maxWidth)
	c.size = o.number("head_dim", max(c.width/c.heads, 1), maxWidth)
	c.context, c.vocab = o.number("context", 0, maxWidth), o.number("vocab", 0, maxWidth)
	c.activation = o.activation("silu")
	c.eps = o.real("eps", names.eps())
	c.rope = o.rope()
	c.window, c.full = o.optional("window", maxWidth), o.optional("full", maxLayers)
	bias := o.choice("bias", "none", "qkv", "qkvo")
	c.qkvBias, c.outBias, c.mlpBias = bias != "none", bias == "qkvo", o.yes("mlp_bias", false)
	c.tied = o.yes("tied", false)
	if names == transformersNames {
		c.qkNorm = o.yes("qk_norm", false)
	}
	if err := o.done(); err != nil {
		return nil, err
	}
	return llama(c)
}

// configLlama reads the config.json of llama, mistral, qwen2 or qwen3.
func configLlama(family, class string) func(c *config, _ *checkpoint) (*model.Network, error) {
	return func(c *config, _ *checkpoint) (*model.Network, error) {
		c.architecture(class)
		l := llamaConfig{
			names: transformersNames, layers: c.number("num_hidden_layers", 32, maxLayers), heads: c.number("num_attention_heads", 32, maxWidth),
			width: c.number("hidden_size", 4096, maxWidth), vocab: c.number("vocab_size", 0, maxWidth),
			activation: c.activation("hidden_act", "silu"), eps: c.positive("rms_norm_eps", 1e-6), tied: c.yes("tie_word_embeddings", false),
		}
		groups, size, inner, context := l.heads, max(l.width/l.heads, 1), 11008, 2048
		switch family {
		case "llama":
			l.qkvBias = c.yes("attention_bias", false)
			l.outBias, l.mlpBias = l.qkvBias, c.yes("mlp_bias", false)
		case "mistral":
			inner, context = 14336, 4096*32
			if !c.given("num_key_value_heads") {
				groups = 8
			}
			window := -1
			if !c.given("sliding_window") {
				window = 4096
			}
			l.window = max(c.number("sliding_window", window, math.MaxInt32), 0)
		case "qwen2", "qwen3":
			inner, context = 22016, 32768
			if !c.given("num_key_value_heads") {
				groups = 32
			}
			if l.qkvBias = true; family == "qwen3" {
				l.qkvBias, l.qkNorm, size = c.yes("attention_bias", false), true, 128
				l.outBias = l.qkvBias
			}
			if c.yes("use_sliding_window", false) {
				window := -1
				if !c.given("sliding_window") {
					window = 4096
				}
				l.window = max(c.number("sliding_window", window, math.MaxInt32), 0)
				l.full = min(c.natural("max_window_layers", 28), l.layers)
			}
			l.layerTypes(c)
		}
		l.groups = c.number("num_key_value_heads", groups, maxWidth)
		l.size = c.number("head_dim", size, maxWidth)
		l.inner, l.context = c.number("intermediate_size", inner, maxWidth), c.number("max_position_embeddings", context, maxWidth)
		l.rope = c.rope()
		if c.err != nil {
			return nil, c.err
		}
		n, err := llama(l)
		if err == nil && c.values["pad_token_id"] != nil {
			n.Notes = append(n.Notes, fmt.Sprintf("pad_token_id is %s: PyTorch holds the embedding of that token fixed, here it varies as the others do", show(c.values["pad_token_id"])))
		}
		return n, err
	}
}

// layerTypes holds the list of kinds of attention against what the other settings say: some layers that see
// everything, then those with a window.
func (l *llamaConfig) layerTypes(c *config) {
	list, ok := c.values["layer_types"].([]any)
	if !ok && c.values["layer_types"] != nil {
		c.fail("layer_types is %s, not a list", show(c.values["layer_types"]))
	}
	if !ok {
		return
	}
	full := 0
	for full < len(list) && list[full] == "full_attention" {
		full++
	}
	for i, kind := range list {
		if i >= full && kind != "sliding_attention" || len(list) != l.layers {
			c.fail("layer_types is %s, which is not built in (full_attention, then sliding_attention, one a layer)", show(c.values["layer_types"]))
			return
		}
	}
	if full < len(list) && l.window == 0 {
		c.fail("layer_types has sliding_attention, and there is no sliding_window (check use_sliding_window)")
	}
	l.full = full
}

// rope reads the settings of rotary positions: rope_parameters, or rope_scaling and rope_theta as they were before.
func (c *config) rope() rope {
	key := "rope_parameters"
	if c.values[key] == nil || c.values["rope_scaling"] != nil {
		key = "rope_scaling"
	}
	values, ok := c.values[key].(map[string]any)
	if !ok && c.values[key] != nil {
		c.fail("%s is %s, not an object", key, show(c.values[key]))
	}
	p := &config{values: values}
	r := rope{theta: p.positive("rope_theta", c.positive("rope_theta", ropeTheta))}
	kind := p.text("rope_type", p.text("type", "default"))
	switch kind {
	case "default":
	case "linear":
		r.scaling, r.factor = kind, p.positive("factor", 0)
	case "llama3":
		r.scaling, r.factor, r.low, r.high = kind, p.positive("factor", 0), p.positive("low_freq_factor", 0), p.positive("high_freq_factor", 0)
		r.context = p.positive("original_max_position_embeddings", c.positive("max_position_embeddings", 0))
		if r.high <= r.low {
			p.fail("high_freq_factor is not above low_freq_factor")
		}
	default:
		p.fail("rope_type %q is not built in (default, linear and llama3 are)", kind)
	}
	p.only("partial_rotary_factor", 1.0)
	if p.err != nil {
		c.fail("%s: %w", key, p.err)
	}
	c.only("partial_rotary_factor", 1.0)
	return r
}

// String is the rope option of a specification.
func (r rope) String() string {
	switch r.scaling {
	case "linear":
		return "linear:" + number(r.factor)
	case "llama3":
		return strings.Join([]string{"llama3", number(r.factor), number(r.low), number(r.high), number(r.context)}, ":")
	}
	return "default"
}

// name is the specification, with texts for what may be open.
func (c *llamaConfig) name(heads, groups, context, size string) string {
	bias := "none"
	switch {
	case c.outBias:
		bias = "qkvo"
	case c.qkvBias:
		bias = "qkv"
	}
	return name(c.names.family, fmt.Sprintf("layers=%d,heads=%s", c.layers, heads), unless(heads, "kv_heads", groups),
		fmt.Sprintf("width=%d,inner=%d,context=%s,vocab=%d", c.width, c.inner, context, c.vocab), unless("", "head_dim", size),
		unless("silu", "act", c.activation), unless(number(c.names.eps()), "eps", number(c.eps)),
		unless(number(ropeTheta), "theta", number(c.rope.theta)), unless("default", "rope", c.rope.String()),
		unless(0, "window", c.window), unless(0, "full", c.full), unless("none", "bias", bias), unless(false, "mlp_bias", c.mlpBias), unless(false, "tied", c.tied), unless(false, "qk_norm", c.qkNorm))
}

func llama(c llamaConfig) (*model.Network, error) {
	switch {
	case c.heads%c.groups != 0:
		return nil, fmt.Errorf("%d heads are no multiple of %d heads of keys and values", c.heads, c.groups)
	case c.size%2 != 0:
		return nil, fmt.Errorf("heads of %d numbers cannot turn in pairs", c.size)
	case c.size == c.width/c.heads: // not a size of its own
		if err := wholeHeads(c.width, c.heads); err != nil {
			return nil, err
		}
	}
	c.rope.interleaved = c.names == metaNames
	if c.window == 0 {
		c.full = 0
	}
	var t tensors
	n := c.names
	bias := func(has bool, size int) int {
		if has {
			return size
		}
		return 0
	}
	t.layer(n.embedding, 0, c.vocab, c.width)
	for i := range c.layers {
		p := fmt.Sprintf(n.layer, i)
		queries, keys := c.heads*c.size, c.groups*c.size
		t.layer(p+n.query, bias(c.qkvBias, queries), queries, c.width)
		t.layer(p+n.key, bias(c.qkvBias, keys), keys, c.width)
		t.layer(p+n.value, bias(c.qkvBias, keys), keys, c.width)
		t.layer(p+n.out, bias(c.outBias, c.width), c.width, queries)
		if c.qkNorm {
			t.add(p+n.queryNorm+".weight", c.size)
			t.add(p+n.keyNorm+".weight", c.size)
		}
		for _, name := range n.perceptron {
			out, in := c.inner, c.width
			if name == n.down {
				out, in = in, out
			}
			t.layer(p+name, bias(c.mlpBias, out), out, in)
		}
		t.add(p+n.attentionNorm+".weight", c.width)
		t.add(p+n.perceptronNorm+".weight", c.width)
	}
	t.add(n.norm+".weight", c.width)
	if !c.tied {
		t.layer(n.head, 0, c.vocab, c.width)
	}
	size := ""
	if c.size != c.width/c.heads {
		size = fmt.Sprint(c.size)
	}
	return &model.Network{
		Name:    c.name(fmt.Sprint(c.heads), fmt.Sprint(c.groups), fmt.Sprint(c.context), size),
		Params:  t.params,
		Input:   []int{c.context},
		Tokens:  true,
		Vocab:   c.vocab,
		Pairs:   true,
		Outputs: c.vocab,
		Match:   c.match,
		Forward: c.forward,
	}, nil
}

func (c llamaConfig) forward(b *model.Builder, ids *graph.Node) *graph.Node {
	g, t, n := b.G, ids.Dim(1), c.names
	h := heads{b.Batch, t, c.heads, c.groups, c.size}
	cos, sin := c.rope.table(g, t, c.size)
	whole := sights(g, t, 0)
	near := whole
	if c.window > 0 && c.window < t {
		near = sights(g, t, c.window)
	}
	x := g.Reshape(g.Gather(b.Param(n.embedding+".weight"), ids), b.Batch*t, c.width)
	for i := range c.layers {
		p := fmt.Sprintf(n.layer, i)
		seen := near
		if i < c.full {
			seen = whole
		}
		y := b.RMSNorm(x, p+n.attentionNorm, c.eps)
		q, k := h.split(g, b.Linear(y, p+n.query), c.heads), h.split(g, b.Linear(y, p+n.key), c.groups)
		if c.qkNorm {
			q, k = b.RMSNorm(q, p+n.queryNorm, c.eps), b.RMSNorm(k, p+n.keyNorm, c.eps)
		}
		q, k = c.rope.turn(g, q, cos, sin), c.rope.turn(g, k, cos, sin)
		v := h.split(g, b.Linear(y, p+n.value), c.groups)
		x = g.Add(x, b.Linear(h.causal(g, q, k, v, 1/math.Sqrt(float64(c.size)), seen), p+n.out))
		y = b.RMSNorm(x, p+n.perceptronNorm, c.eps)
		y = g.Mul(transformerActivations[c.activation](g, b.Linear(y, p+n.gate)), b.Linear(y, p+n.up))
		x = g.Add(x, b.Linear(y, p+n.down))
	}
	head := n.head
	if c.tied {
		head = n.embedding
	}
	return b.Linear(b.RMSNorm(x, n.norm, c.eps), head)
}

// match takes names without model., the head by the name of the embedding where that is tied, and leaves out the
// stored tables of rotary positions.
func (c llamaConfig) match(names []string) map[string]string {
	to := map[string]string{}
	for _, name := range names {
		full := name
		if c.names == transformersNames && !strings.HasPrefix(name, "model.") && !strings.HasPrefix(name, "lm_head.") {
			full = "model." + name
		}
		switch {
		case c.tied && name == c.names.head+".weight":
			to[name] = c.names.embedding + ".weight"
		case strings.HasSuffix(name, "rotary_emb.inv_freq"), name == "rope.freqs", name == "freqs_cos", name == "freqs_sin":
			to[name] = ""
		default:
			to[name] = full
		}
	}
	return to
}

// guessLlama finds all but the heads, the settings of normalisation and positions.
func guessLlama(ck *checkpoint) (*model.Network, error) {
	for _, n := range []*llamaNames{transformersNames, metaNames} {
		prefix := ""
		if n == transformersNames && !ck.has(n.embedding+".weight") {
			prefix = "model." // which was taken for a wrapper's
		}
		at := func(name string) string { return strings.TrimPrefix(name, prefix) + ".weight" }
		in := func(layer int, name string) string { return at(fmt.Sprintf(n.layer, layer) + name) }
		c := llamaConfig{names: n, activation: "silu", eps: n.eps(), rope: rope{theta: ropeTheta}, context: 1, groups: 1,
			vocab: ck.dim(at(n.embedding), 0), width: ck.dim(at(n.embedding), 1), inner: ck.dim(in(0, n.gate), 0), tied: !ck.has(at(n.head))}
		c.layers = ck.count(func(i int) string { return in(i, n.query) })
		queries, keys := ck.dim(in(0, n.query), 0), ck.dim(in(0, n.key), 0)
		bias := func(name string) bool { return ck.has(strings.TrimSuffix(in(0, name), "weight") + "bias") }
		c.qkvBias, c.outBias, c.mlpBias = bias(n.query), bias(n.out), bias(n.gate)
		c.size = keys // or any that has the shapes
		if c.qkNorm = n.queryNorm != "" && ck.has(in(0, n.queryNorm)); c.qkNorm {
			c.size = ck.dim(in(0, n.queryNorm), 0)
		}
		if c.layers == 0 || c.vocab == 0 || c.width == 0 || c.inner == 0 || c.size == 0 || queries%c.size != 0 || keys%c.size != 0 || keys == 0 || queries%keys != 0 {
			continue
		}
		c.heads, c.groups = queries/c.size, keys/c.size
		net, err := llama(c)
		if err != nil {
			return nil, nil
		}
		heads, groups, size, where := "H", "H", "", "H the number of heads, "
		switch {
		case c.qkNorm: // its size is that of a head
			heads, groups, size, where = fmt.Sprint(c.heads), fmt.Sprint(c.groups), fmt.Sprint(c.size), ""
		case queries != keys:
			groups, where = "K", where+fmt.Sprintf("K = H/%d, ", queries/keys)
		}
		if !c.qkNorm && queries != c.width {
			size, where = "D", where+fmt.Sprintf("D = %d/H, ", queries)
		}
		net.Name = c.name(heads, groups, "T", size)
		if err := ck.fits(net); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the weights are those of a %s, and their names and shapes do not tell its heads and positions (give --model DIR with its config.json, or --model %s with %sT the longest sequence, and theta=… and eps=… where they are not %v and %v)",
			n.family, net.Name, where, float64(ropeTheta), n.eps())
	}
	return nil, nil
}
