package zoo

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// vitConfig is the vision transformer of Dosovitskiy et al. 2021, with the variations that timm has.
type vitConfig struct {
	channels, classes            int
	size, patch                  [2]int // height and width of the images, and of a patch
	width, layers, heads, hidden int
	registers                    int // tokens that are learned, beside the class token
	classToken                   bool
	patchesOnly                  bool // only patches have positions, not the tokens that are learned
	qkvBias, layerScale          bool
	pool                         string // one of vitPools
	eps                          float64
	activation                   pointwise
	names                        vitNames
}

// What the outputs are made from: the class token, normalised; the average over the patches, normalised after it;
// the same, normalised before it.
const (
	poolToken   = "token"
	poolAverage = "avg"
	poolNorm    = "norm-avg"
)

// vitNames are the names of a network's tensors, those of a block after its prefix.
type vitNames struct {
	class, registers, positions, patches string
	block                                string
	norm1, proj, scale1                  string
	norm2, fc1, fc2, scale2              string
	qkv                                  []string // one layer, or three
	norm, poolNorm, head                 string
	normsLast                            bool // in the order of a block's parameters
}

var timmViT = vitNames{
	class: "cls_token", registers: "reg_token", positions: "pos_embed", patches: "patch_embed.proj",
	block: "blocks.%d.",
	norm1: "norm1", qkv: []string{"attn.qkv"}, proj: "attn.proj", scale1: "ls1.gamma",
	norm2: "norm2", fc1: "mlp.fc1", fc2: "mlp.fc2", scale2: "ls2.gamma",
	norm: "norm", poolNorm: "fc_norm", head: "head",
}

// grid is the number of patches, along the height and the width.
func (c vitConfig) grid() (h, w int) { return c.size[0] / c.patch[0], c.size[1] / c.patch[1] }

// prefix is the number of tokens before those of the patches.
func (c vitConfig) prefix() int {
	if c.classToken {
		return 1 + c.registers
	}
	return c.registers
}

// network makes the network.
func (c vitConfig) network(spec string) *model.Network {
	var t tensors
	h, w := c.grid()
	positions := h * w
	if !c.patchesOnly {
		positions += c.prefix()
	}
	if c.classToken {
		t.add(c.names.class, 1, 1, c.width)
	}
	if c.registers > 0 {
		t.add(c.names.registers, 1, c.registers, c.width)
	}
	t.add(c.names.positions, 1, positions, c.width)
	t.layer(c.names.patches, c.width, c.width, c.channels, c.patch[0], c.patch[1])
	for i := range c.layers {
		c.block(&t, fmt.Sprintf(c.names.block, i))
	}
	if c.pool == poolAverage {
		t.layer(c.names.poolNorm, c.width, c.width)
	} else {
		t.layer(c.names.norm, c.width, c.width)
	}
	t.linear(c.names.head, c.width, c.classes)
	return &model.Network{
		Name:    spec,
		Params:  t.params,
		Input:   []int{c.channels, c.size[0], c.size[1]},
		Outputs: c.classes,
		Forward: c.forward,
	}
}

// block adds the tensors of a block.
func (c vitConfig) block(t *tensors, p string) {
	norm := func(name string) { t.layer(p+name, c.width, c.width) }
	scale := func(name string) {
		if c.layerScale {
			t.add(p+name, c.width)
		}
	}
	if !c.names.normsLast {
		norm(c.names.norm1)
	}
	out := 3 * c.width / len(c.names.qkv)
	bias := 0
	if c.qkvBias {
		bias = out
	}
	for _, q := range c.names.qkv {
		t.layer(p+q, bias, out, c.width)
	}
	t.linear(p+c.names.proj, c.width, c.width)
	scale(c.names.scale1)
	if !c.names.normsLast {
		norm(c.names.norm2)
	}
	t.linear(p+c.names.fc1, c.width, c.hidden)
	t.linear(p+c.names.fc2, c.hidden, c.width)
	scale(c.names.scale2)
	if c.names.normsLast {
		norm(c.names.norm1)
		norm(c.names.norm2)
	}
}

func (c vitConfig) forward(b *model.Builder, x *graph.Node) *graph.Node {
	g, n := b.G, c.names
	h, w := c.grid()
	tokens := c.prefix() + h*w
	x = c.embed(b, c.patches(b, x))
	norm := func(x *graph.Node, name string) *graph.Node { return b.LayerNorm(x, name, c.eps) }
	hs := heads{b.Batch, tokens, c.heads, c.heads, c.width / c.heads}
	for i := range c.layers {
		p := fmt.Sprintf(n.block, i)
		scaled := func(x *graph.Node, name string) *graph.Node {
			if c.layerScale {
				return g.Mul(x, b.Param(p+name))
			}
			return x
		}
		y := norm(x, p+n.norm1)
		var q, k, v *graph.Node
		if len(n.qkv) == 1 {
			q, k, v = hs.cut(g, b.Linear(y, p+n.qkv[0]))
		} else {
			part := func(i int) *graph.Node { return hs.split(g, b.Linear(y, p+n.qkv[i]), c.heads) }
			q, k, v = part(0), part(1), part(2)
		}
		y = b.Linear(hs.attend(g, q, k, v, 1/math.Sqrt(float64(hs.size)), nil), p+n.proj)
		x = g.Add(x, scaled(y, n.scale1))
		y = b.Linear(c.activation(g, b.Linear(norm(x, p+n.norm2), p+n.fc1)), p+n.fc2)
		x = g.Add(x, scaled(y, n.scale2))
	}
	x = g.Reshape(x, b.Batch, tokens, c.width)
	part := func(x *graph.Node, first, count int) *graph.Node {
		return g.Slice(x, []int{0, first, 0}, nil, []int{b.Batch, count, c.width})
	}
	switch c.pool {
	case poolToken:
		x = norm(part(x, 0, 1), n.norm)
	case poolAverage:
		x = norm(g.Mean(part(x, c.prefix(), h*w), 1), n.poolNorm)
	case poolNorm:
		x = g.Mean(norm(part(x, c.prefix(), h*w), n.norm), 1)
	}
	return b.Linear(g.Drop(x, 1), n.head)
}

// patches are the values of each patch of x [B, C, H, W], in the order of the weight of a convolution: [B·h·w, C·p·q]. What
// is left over at the right and at the bottom is cut off.
func (c vitConfig) patches(b *model.Builder, x *graph.Node) *graph.Node {
	g := b.G
	h, w := c.grid()
	p, q := c.patch[0], c.patch[1]
	x = g.Slice(x, []int{0, 0, 0, 0}, nil, []int{b.Batch, c.channels, h * p, w * q})
	x = g.Transpose(g.Reshape(x, b.Batch, c.channels, h, p, w, q), 0, 2, 4, 1, 3, 5)
	return g.Reshape(x, b.Batch*h*w, c.channels*p*q)
}

// embed makes tokens of patches, puts those that are learned before them, and adds the positions: [B·T, width].
func (c vitConfig) embed(b *model.Builder, patches *graph.Node) *graph.Node {
	g, n := b.G, c.names
	weight := b.Param(n.patches + ".weight")
	x := g.Linear(patches, g.Reshape(weight, c.width, patches.Dim(1)), b.Param(n.patches+".bias"))
	x = g.Reshape(x, b.Batch, x.Dim(0)/b.Batch, c.width)
	positions := b.Param(n.positions)
	if c.patchesOnly {
		x = g.Add(x, positions)
	}
	var tokens []*graph.Node
	learned := func(name string) {
		t := b.Param(name)
		tokens = append(tokens, g.Broadcast(t, b.Batch, t.Dim(1), c.width))
	}
	if c.classToken {
		learned(n.class)
	}
	if c.registers > 0 {
		learned(n.registers)
	}
	x = g.Concat(1, append(tokens, x)...)
	if !c.patchesOnly {
		x = g.Add(x, positions)
	}
	return g.Reshape(x, b.Batch*x.Dim(1), c.width)
}

// usualPool is where the outputs come from when nothing is said.
func (c vitConfig) usualPool() string {
	if c.classToken {
		return poolToken
	}
	return poolAverage
}

// timm completes a network of timm's, whose patches are square: its tensors, normalisation and activation. heads is how the
// specification says them.
func (c vitConfig) timm(heads string) *model.Network {
	c.names, c.eps, c.activation = timmViT, 1e-6, (*graph.Graph).GELU
	n := c.network(name("vit", fmt.Sprintf("patch=%d,width=%d,layers=%d,heads=%s,size=%d", c.patch[0], c.width, c.layers, heads, c.size[0]),
		unless(1000, "classes", c.classes), unless(3, "channels", c.channels), unless(4*c.width, "mlp", c.hidden), unless(true, "qkv_bias", c.qkvBias),
		unless(false, "layer_scale", c.layerScale), unless(true, "class_token", c.classToken), unless(0, "reg_tokens", c.registers),
		unless(false, "no_embed_class", c.patchesOnly), unless(c.usualPool(), "pool", c.pool)))
	n.Match = matchViT
	return n
}

// parseViT takes timm's options.
func parseViT(o *options) (*model.Network, error) {
	c := vitConfig{width: o.number("width", 0, maxWidth), layers: o.number("layers", 0, maxLayers), heads: o.number("heads", 0, maxWidth),
		classes: o.number("classes", 1000, maxWidth), channels: o.number("channels", 3, maxWidth), qkvBias: o.yes("qkv_bias", true),
		layerScale: o.yes("layer_scale", false), classToken: o.yes("class_token", true), patchesOnly: o.yes("no_embed_class", false)}
	patch, size := o.number("patch", 0, maxWidth), o.number("size", 0, maxWidth)
	c.patch, c.size = [2]int{patch, patch}, [2]int{size, size}
	c.hidden = o.number("mlp", 4*c.width, maxWidth)
	c.registers = o.optional("reg_tokens", maxWidth)
	pools := []string{poolAverage, poolNorm}
	if c.classToken {
		pools = []string{poolToken, poolAverage, poolNorm}
	}
	c.pool = o.choice("pool", pools...)
	if err := o.done(); err != nil {
		return nil, err
	}
	if size%patch != 0 {
		return nil, fmt.Errorf("images of size %d are no multiple of a patch of %d", size, patch)
	}
	if err := wholeHeads(c.width, c.heads); err != nil {
		return nil, err
	}
	return c.timm(fmt.Sprint(c.heads)), nil
}

// matchViT takes torchvision's names to timm's.
func matchViT(names []string) map[string]string {
	to := map[string]string{}
	if !slices.Contains(names, "conv_proj.weight") {
		return to
	}
	outside := map[string]string{"class_token": "cls_token", "encoder.pos_embedding": "pos_embed"}
	layers := strings.NewReplacer("conv_proj.", "patch_embed.proj.", "encoder.ln.", "norm.", "heads.head.", "head.")
	inside := strings.NewReplacer("encoder.layers.encoder_layer_", "blocks.", ".ln_1.", ".norm1.", ".ln_2.", ".norm2.",
		".self_attention.in_proj_", ".attn.qkv.", ".self_attention.out_proj.", ".attn.proj.",
		".mlp.0.", ".mlp.fc1.", ".mlp.3.", ".mlp.fc2.", ".mlp.linear_1.", ".mlp.fc1.", ".mlp.linear_2.", ".mlp.fc2.")
	for _, name := range names {
		switch s, ok := outside[name]; {
		case ok:
			to[name] = s
		case strings.HasPrefix(name, "encoder.layers."):
			to[name] = inside.Replace(name)
		default:
			to[name] = layers.Replace(name)
		}
	}
	return to
}

// vitHeads are the numbers of heads by width that timm's and torchvision's networks have: Ti, S, B, L, H.
var vitHeads = map[int]int{192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}

// guessViT takes timm's names and torchvision's.
func guessViT(given *checkpoint) (*model.Network, error) {
	c := &checkpoint{shapes: map[string][]int{}}
	to := matchViT(given.names)
	for _, name := range given.names {
		s := name
		if t, ok := to[name]; ok {
			s = t
		}
		c.shapes[s] = given.shapes[name]
	}
	const block = "blocks.0."
	v := vitConfig{channels: c.dim("patch_embed.proj.weight", 1), classes: c.dim("head.weight", 0), width: c.dim("patch_embed.proj.weight", 0),
		hidden: c.dim(block+"mlp.fc1.weight", 0), registers: c.dim("reg_token", 1), classToken: c.has("cls_token"),
		qkvBias: c.has(block + "attn.qkv.bias"), layerScale: c.has(block + "ls1.gamma")}
	patch, positions := c.dim("patch_embed.proj.weight", 2), c.dim("pos_embed", 1)
	if v.width == 0 || v.channels == 0 || patch == 0 || v.hidden == 0 || v.classes == 0 || positions == 0 || !c.has(block+"attn.qkv.weight") {
		return nil, nil
	}
	v.layers = c.count(func(i int) string { return fmt.Sprintf("blocks.%d.attn.qkv.weight", i) })
	if c.has("dist_token") {
		return nil, fmt.Errorf("the weights are those of a distilled vision transformer (dist_token), which is not built in (give it as an ONNX file, --model FILE.onnx)")
	}
	side, ok := root(positions - v.prefix())
	if !ok {
		side, v.patchesOnly = root(positions)
	}
	if !ok && !v.patchesOnly {
		return nil, fmt.Errorf("the weights look like a vision transformer, and its %d positions are no square image of patches (give it as an ONNX file, --model FILE.onnx)", positions)
	}
	v.patch, v.size = [2]int{patch, patch}, [2]int{side * patch, side * patch}
	if v.size[0] > maxWidth {
		return nil, nil
	}
	switch {
	case c.has("fc_norm.weight"):
		v.pool = poolAverage
	case v.classToken:
		v.pool = poolToken
	default:
		v.pool = poolNorm
	}
	heads, known := vitHeads[v.width]
	v.heads = max(heads, 1)
	n := v.timm(fmt.Sprint(v.heads))
	if !known {
		n = v.timm("H")
	}
	if err := given.fits(n); err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("the weights are those of a vision transformer, and their names and shapes do not tell the number of heads (give --model %s with H the number of heads)", n.Name)
	}
	from := map[string]string{poolToken: "the class token", poolAverage: "the average over the patches", poolNorm: "the average over the patches"}[v.pool]
	return assumed(n, fmt.Sprintf("%d heads, which is usual for a width of %d; outputs from %s; exact GELU, normalisation first and with ε = 1e-6", heads, v.width, from)), nil
}

// root is the side of a square of n.
func root(n int) (side int, ok bool) {
	if n < 1 {
		return 0, false
	}
	side = int(math.Round(math.Sqrt(float64(n))))
	return side, side*side == n
}

// transformersViT are the names in the files of ViTForImageClassification; those in memory are other ones in later versions.
var transformersViT = vitNames{
	class: "vit.embeddings.cls_token", positions: "vit.embeddings.position_embeddings", patches: "vit.embeddings.patch_embeddings.projection",
	block: "vit.encoder.layer.%d.",
	norm1: "layernorm_before", qkv: []string{"attention.attention.query", "attention.attention.key", "attention.attention.value"}, proj: "attention.output.dense",
	norm2: "layernorm_after", fc1: "intermediate.dense", fc2: "output.dense",
	norm: "vit.layernorm", head: "classifier",
	normsLast: true,
}

// configViT is transformers' ViTForImageClassification.
func configViT(c *config, _ *checkpoint) (*model.Network, error) {
	c.architecture("ViTForImageClassification")
	v := vitConfig{
		width: c.number("hidden_size", 768, maxWidth), layers: c.number("num_hidden_layers", 12, maxLayers), heads: c.number("num_attention_heads", 12, maxWidth),
		hidden: c.number("intermediate_size", 3072, maxWidth), channels: c.number("num_channels", 3, maxWidth), classes: c.classes(),
		size: c.heightAndWidth("image_size", 224), patch: c.heightAndWidth("patch_size", 16),
		classToken: true, qkvBias: c.yes("qkv_bias", true), pool: poolToken, eps: c.positive("layer_norm_eps", 1e-12),
		activation: transformerActivations[c.activation("hidden_act", "gelu")], names: transformersViT,
	}
	c.only("head_dim", float64(v.width/v.heads))
	if err := wholeHeads(v.width, v.heads); err != nil {
		c.fail("%w", err)
	}
	if h, w := v.grid(); h < 1 || w < 1 {
		c.fail("image_size is %v, smaller than patch_size, %v", v.size, v.patch)
	}
	if c.err != nil {
		return nil, c.err
	}
	n := v.network("ViTForImageClassification")
	n.Match = matchTransformersViT
	return n, nil
}

// matchTransformersViT takes the names that transformers 5 has in memory, and leaves out what has no part in the outputs.
func matchTransformersViT(names []string) map[string]string {
	inside := strings.NewReplacer("vit.layers.", "vit.encoder.layer.", ".attention.q_proj.", ".attention.attention.query.", ".attention.k_proj.", ".attention.attention.key.",
		".attention.v_proj.", ".attention.attention.value.", ".attention.o_proj.", ".attention.output.dense.", ".mlp.fc1.", ".intermediate.dense.", ".mlp.fc2.", ".output.dense.")
	to := map[string]string{}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "vit.pooler."), name == "vit.embeddings.mask_token":
			to[name] = ""
		case strings.HasPrefix(name, "vit.layers."):
			to[name] = inside.Replace(name)
		}
	}
	return to
}
