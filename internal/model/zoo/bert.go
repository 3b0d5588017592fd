package zoo

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// encoderConfig is what makes an encoder that classifies sequences by their first position (Devlin et al. 2019):
// learned positions, and normalisation after attention and after the perceptron.
type encoderConfig struct {
	layers, heads, width, inner, vocab, classes int
	positions                                   int // rows of the table of positions
	types                                       int // rows of the table of token types, of which the first is taken
	pad                                         int // the token that is padding, −1: there is none
	activation                                  string
	eps                                         float64
	names                                       *encoderNames
}

// encoderNames are those of the tensors and what else differs; layer takes the layer's number.
type encoderNames struct {
	family, class                         string
	layer                                 string
	query, key, value, out, attentionNorm string
	up, down, norm                        string
	pooler                                string // a layer before the classifier
	squash                                func(g *graph.Graph, x *graph.Node) *graph.Node
	classifier                            string
	counted                               bool // positions count what is not padding, from pad + 1 on
	pad                                   int  // the usual padding
	typed                                 bool // has token types
	eps                                   float64
	normFixed                             bool // eps is no setting
}

var bertNames = &encoderNames{
	family: "bert", class: "BertForSequenceClassification", layer: "bert.encoder.layer.%d.",
	query: "attention.self.query", key: "attention.self.key", value: "attention.self.value", out: "attention.output.dense", attentionNorm: "attention.output.LayerNorm",
	up: "intermediate.dense", down: "output.dense", norm: "output.LayerNorm",
	pooler: "bert.pooler.dense", squash: (*graph.Graph).Tanh, classifier: "classifier", typed: true, eps: 1e-12,
}

var robertaNames = &encoderNames{
	family: "roberta", class: "RobertaForSequenceClassification", layer: "roberta.encoder.layer.%d.",
	query: bertNames.query, key: bertNames.key, value: bertNames.value, out: bertNames.out, attentionNorm: bertNames.attentionNorm,
	up: bertNames.up, down: bertNames.down, norm: bertNames.norm,
	pooler: "classifier.dense", squash: (*graph.Graph).Tanh, classifier: "classifier.out_proj", counted: true, pad: 1, typed: true, eps: 1e-12,
}

var distilbertNames = &encoderNames{
	family: "distilbert", class: "DistilBertForSequenceClassification", layer: "distilbert.transformer.layer.%d.",
	query: "attention.q_lin", key: "attention.k_lin", value: "attention.v_lin", out: "attention.out_lin", attentionNorm: "sa_layer_norm",
	up: "ffn.lin1", down: "ffn.lin2", norm: "output_layer_norm",
	pooler: "pre_classifier", squash: (*graph.Graph).Relu, classifier: "classifier", eps: 1e-12, normFixed: true,
}

var encoders = map[string]*encoderNames{"bert": bertNames, "roberta": robertaNames, "distilbert": distilbertNames}

func (n *encoderNames) embedding(name string) string { return n.family + ".embeddings." + name }

func parseEncoder(names *encoderNames, o *options) (*model.Network, error) {
	c := encoderConfig{names: names, layers: o.number("layers", 0, maxLayers), heads: o.number("heads", 0, maxWidth),
		width: o.number("width", 0, maxWidth), inner: o.number("inner", 0, maxWidth)}
	context := o.number("context", 0, maxWidth)
	c.vocab, c.classes = o.number("vocab", 0, maxWidth), o.number("classes", 0, maxWidth)
	if names.typed {
		c.types = o.number("types", 2, maxWidth)
	}
	c.activation = o.activation("gelu")
	c.eps = names.eps
	if !names.normFixed {
		c.eps = o.real("eps", names.eps)
	}
	c.pad = o.pad(names.pad, !names.counted)
	c.positions = context + c.first()
	if err := o.done(); err != nil {
		return nil, err
	}
	return encoder(c)
}

// configEncoder reads the config.json of a bert, roberta or distilbert.
func configEncoder(names *encoderNames) func(c *config, ck *checkpoint) (*model.Network, error) {
	return func(c *config, _ *checkpoint) (*model.Network, error) {
		c.architecture(names.class)
		c.only("is_decoder", false)
		c.only("add_cross_attention", false)
		c.only("position_embedding_type", "absolute")
		e := encoderConfig{names: names, vocab: c.number("vocab_size", 0, maxWidth), positions: c.number("max_position_embeddings", 512, maxWidth),
			classes: c.classes(), eps: names.eps, pad: -1}
		if names == distilbertNames {
			e.layers, e.heads = c.number("n_layers", 6, maxLayers), c.number("n_heads", 12, maxWidth)
			e.width, e.inner = c.number("dim", 768, maxWidth), c.number("hidden_dim", 4*768, maxWidth)
			e.activation = c.activation("activation", "gelu")
		} else {
			e.layers, e.heads = c.number("num_hidden_layers", 12, maxLayers), c.number("num_attention_heads", 12, maxWidth)
			e.width, e.inner = c.number("hidden_size", 768, maxWidth), c.number("intermediate_size", 3072, maxWidth)
			e.activation = c.activation("hidden_act", "gelu")
			e.eps, e.types = c.positive("layer_norm_eps", names.eps), c.number("type_vocab_size", 2, maxWidth)
		}
		if !c.given("pad_token_id") || c.values["pad_token_id"] != nil {
			e.pad = c.natural("pad_token_id", names.pad)
		}
		if c.err != nil {
			return nil, c.err
		}
		n, err := encoder(e)
		if err != nil {
			return nil, err
		}
		switch problem := c.text("problem_type", ""); problem {
		case "", "single_label_classification", "regression":
		case "multi_label_classification":
			n.Notes = append(n.Notes, "problem_type is "+problem+", whose loss is bce (give --loss bce)")
		default:
			c.fail("problem_type %q is not built in", problem)
		}
		return n, nil
	}
}

// classes is the number of labels.
func (c *config) classes() int {
	switch labels, ok := c.values["id2label"].(map[string]any); {
	case c.values["id2label"] == nil:
		return c.number("num_labels", 2, maxWidth)
	case !ok || len(labels) == 0:
		c.fail("id2label is %s, not an object with the names of the labels", show(c.values["id2label"]))
		return 1
	default:
		return len(labels)
	}
}

// labels are the names of the classes in id2label, nil where it does not have one for each.
func (c *config) labels() []string {
	given, _ := c.values["id2label"].(map[string]any)
	var names []string
	for i := range len(given) {
		name, ok := given[strconv.Itoa(i)].(string)
		if !ok {
			return nil
		}
		names = append(names, name)
	}
	return names
}

// first is the row of the position of the first token.
func (c *encoderConfig) first() int {
	if c.names.counted {
		return c.pad + 1
	}
	return 0
}

// name is the specification, with a text for what may be open.
func (c *encoderConfig) name(heads string) string {
	pad := "none"
	if c.pad >= 0 {
		pad = fmt.Sprint(c.pad)
	}
	types := ""
	if c.names.typed {
		types = unless(2, "types", c.types)
	}
	return name(c.names.family, fmt.Sprintf("layers=%d,heads=%s,width=%d,inner=%d,context=%d,vocab=%d,classes=%d", c.layers, heads, c.width, c.inner, c.positions-c.first(), c.vocab, c.classes),
		types, unless("gelu", "act", c.activation), unless(number(c.names.eps), "eps", number(c.eps)), unless(fmt.Sprint(c.names.pad), "pad", pad))
}

func encoder(c encoderConfig) (*model.Network, error) {
	n := c.names
	switch {
	case c.width%c.heads != 0:
		return nil, fmt.Errorf("a width of %d is no multiple of %d heads", c.width, c.heads)
	case c.pad >= c.vocab:
		return nil, fmt.Errorf("the padding %d is no token of a vocabulary of %d", c.pad, c.vocab)
	case n.counted && c.pad < 0:
		return nil, fmt.Errorf("positions of a %s count from its padding, and there is none (pad_token_id)", n.family)
	case c.positions <= c.first():
		return nil, fmt.Errorf("%d positions leave no room after the padding %d", c.positions, c.pad)
	}
	var t tensors
	t.add(n.embedding("word_embeddings.weight"), c.vocab, c.width)
	if !n.counted {
		t.add(n.embedding("position_embeddings.weight"), c.positions, c.width)
	}
	if n.typed {
		t.add(n.embedding("token_type_embeddings.weight"), c.types, c.width)
	}
	t.layer(n.embedding("LayerNorm"), c.width, c.width)
	if n.counted { // where RoBERTa's class has it
		t.add(n.embedding("position_embeddings.weight"), c.positions, c.width)
	}
	for i := range c.layers {
		p := fmt.Sprintf(n.layer, i)
		for _, name := range []string{n.query, n.key, n.value, n.out} {
			t.linear(p+name, c.width, c.width)
		}
		t.layer(p+n.attentionNorm, c.width, c.width)
		t.linear(p+n.up, c.width, c.inner)
		t.linear(p+n.down, c.inner, c.width)
		t.layer(p+n.norm, c.width, c.width)
	}
	t.linear(n.pooler, c.width, c.width)
	t.linear(n.classifier, c.width, c.classes)
	net := &model.Network{
		Name:     c.name(fmt.Sprint(c.heads)),
		Params:   t.params,
		Input:    []int{c.positions - c.first()},
		Tokens:   true,
		Vocab:    c.vocab,
		Sequence: true,
		Outputs:  c.classes,
		Match:    matchEncoder,
		Forward:  c.forward,
	}
	if n.typed {
		net.Notes = append(net.Notes, "all tokens are of the first token type")
	}
	if c.pad >= 0 {
		net.Notes = append(net.Notes, fmt.Sprintf("token %d is padding: it is masked from attention", c.pad))
	}
	return net, nil
}

func (c encoderConfig) forward(b *model.Builder, ids *graph.Node) *graph.Node {
	g, t, n := b.G, ids.Dim(1), c.names
	norm := func(x *graph.Node, prefix string) *graph.Node { return b.LayerNorm(x, prefix, c.eps) }
	x := g.Gather(b.Param(n.embedding("word_embeddings.weight")), ids)
	if n.typed {
		x = g.Add(x, g.Slice(b.Param(n.embedding("token_type_embeddings.weight")), []int{0, 0}, nil, []int{1, c.width}))
	}
	x = g.Reshape(norm(g.Add(x, c.position(b, ids)), n.embedding("LayerNorm")), b.Batch*t, c.width)
	var mask *graph.Node
	if c.pad >= 0 {
		mask = g.Reshape(c.ofTokens(g, ids, 0, masked), b.Batch, 1, 1, t)
	}
	h := heads{b.Batch, t, c.heads, c.heads, c.width / c.heads}
	for i := range c.layers {
		p := fmt.Sprintf(n.layer, i)
		part := func(name string) *graph.Node { return h.split(g, b.Linear(x, p+name), c.heads) }
		a := h.attend(g, part(n.query), part(n.key), part(n.value), 1/math.Sqrt(float64(h.size)), mask)
		x = norm(g.Add(b.Linear(a, p+n.out), x), p+n.attentionNorm)
		y := b.Linear(transformerActivations[c.activation](g, b.Linear(x, p+n.up)), p+n.down)
		x = norm(g.Add(y, x), p+n.norm)
	}
	first := g.Slice(g.Reshape(x, b.Batch, t, c.width), []int{0, 0, 0}, nil, []int{b.Batch, 1, c.width})
	y := n.squash(g, b.Linear(g.Reshape(first, b.Batch, c.width), n.pooler))
	return b.Linear(y, n.classifier)
}

// ofTokens is one value where a token counts and another where it is padding: [B, T].
func (c encoderConfig) ofTokens(g *graph.Graph, ids *graph.Node, counts, padding float64) *graph.Node {
	table := make([]float64, c.vocab)
	for i := range table {
		table[i] = counts
	}
	table[c.pad] = padding
	return g.Reshape(g.Gather(g.Const(table, c.vocab, 1), ids), ids.Shape()...)
}

// position is what is added to the tokens for where they are: rows 0, 1, … of the table, or, where only those tokens
// count that are no padding, row pad for padding and rows pad + 1, pad + 2, … for others. [T, width] or [B, T, width].
func (c encoderConfig) position(b *model.Builder, ids *graph.Node) *graph.Node {
	g, t := b.G, ids.Dim(1)
	table := b.Param(c.names.embedding("position_embeddings.weight"))
	if !c.names.counted {
		return g.Slice(table, []int{0, 0}, nil, []int{t, c.width})
	}
	upper, rows := make([]float64, t*t), make([]float64, t+1)
	for i := range t {
		for j := i; j < t; j++ {
			upper[i*t+j] = 1
		}
		rows[i+1] = float64(i + 1)
	}
	keep := c.ofTokens(g, ids, 1, 0)
	row := g.Mul(g.MatMul(keep, g.Const(upper, t, t), false, false), keep)
	pick := g.Equal(g.Reshape(row, b.Batch*t, 1), g.Const(rows, t+1))
	x := g.MatMul(pick, g.Slice(table, []int{c.pad, 0}, nil, []int{t + 1, c.width}), false, false)
	return g.Reshape(x, b.Batch, t, c.width)
}

// matchEncoder leaves out the stored numbers of positions, and takes γ and β by the names that TensorFlow gave them.
func matchEncoder(names []string) map[string]string {
	to := map[string]string{}
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, ".embeddings.position_ids"), strings.HasSuffix(name, ".embeddings.token_type_ids"):
			to[name] = ""
		case strings.HasSuffix(name, "LayerNorm.gamma"):
			to[name] = strings.TrimSuffix(name, "gamma") + "weight"
		case strings.HasSuffix(name, "LayerNorm.beta"):
			to[name] = strings.TrimSuffix(name, "beta") + "bias"
		}
	}
	return to
}

// guessEncoder finds all but the heads.
func guessEncoder(ck *checkpoint) (*model.Network, error) {
	for _, n := range []*encoderNames{bertNames, robertaNames, distilbertNames} {
		words, in := n.embedding("word_embeddings.weight"), func(layer int, name string) string { return fmt.Sprintf(n.layer, layer) + name + ".weight" }
		c := encoderConfig{names: n, heads: 1, vocab: ck.dim(words, 0), width: ck.dim(words, 1), inner: ck.dim(in(0, n.up), 0), classes: ck.dim(n.classifier+".weight", 0),
			positions: ck.dim(n.embedding("position_embeddings.weight"), 0), types: ck.dim(n.embedding("token_type_embeddings.weight"), 0),
			pad: n.pad, activation: "gelu", eps: n.eps}
		for c.layers < maxLayers && ck.has(in(c.layers, n.query)) {
			c.layers++
		}
		if c.layers == 0 || c.vocab == 0 || c.width == 0 || c.inner == 0 || c.classes == 0 {
			continue
		}
		net, err := encoder(c)
		if err != nil {
			return nil, nil
		}
		net.Name = c.name("H")
		if err := ck.fits(net); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the weights are those of a %s, and their names and shapes do not tell the number of heads (give --model DIR with its config.json, or --model %s with H the number of heads)", n.family, net.Name)
	}
	return nil, nil
}
