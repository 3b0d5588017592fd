package zoo

import (
	"encoding/json"
	"strings"

	"hessdens/internal/model"
)

// numbers is a list of from one to most positive integers, def where it is not given.
func (c *config) numbers(key string, def []int, most, largest int) []int {
	switch v := c.values[key].(type) {
	case nil:
		return def
	case []any:
		var out []int
		for _, x := range v {
			n, _ := x.(json.Number)
			i, err := n.Int64()
			if err != nil || i < 1 || i > int64(largest) || len(out) == most {
				c.fail("%s is no list of up to %d numbers from 1 to %d", key, most, largest)
				return def
			}
			out = append(out, int(i))
		}
		if out != nil {
			return out
		}
	}
	c.fail("%s is no list of up to %d numbers from 1 to %d", key, most, largest)
	return def
}

// heightAndWidth is one number for both, or a list of the two.
func (c *config) heightAndWidth(key string, def int) [2]int {
	if _, ok := c.values[key].([]any); !ok {
		n := c.number(key, def, maxWidth)
		return [2]int{n, n}
	}
	both := c.numbers(key, nil, 2, maxWidth)
	if len(both) != 2 {
		c.fail("%s is neither a number nor a list of height and width", key)
		return [2]int{1, 1}
	}
	return [2]int{both[0], both[1]}
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
	if heads, ok := c.values["pruned_heads"].(map[string]any); !ok || len(heads) > 0 {
		c.only("pruned_heads")
	}
	switch h, w := v.grid(); {
	case v.width%v.heads != 0:
		c.fail("hidden_size is %d, no multiple of num_attention_heads, %d", v.width, v.heads)
	case h < 1 || w < 1:
		c.fail("image_size is %v, smaller than patch_size, %v", v.size, v.patch)
	case !(v.eps > 0):
		c.fail("layer_norm_eps is %v, not above 0", v.eps)
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

var transformersResNet = resNetNames{
	stem:          [2]string{"resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization"},
	layer:         [2]string{"resnet.encoder.stages.%d.layers.%d.layer.%d.convolution", "resnet.encoder.stages.%d.layers.%d.layer.%d.normalization"},
	shortcut:      [2]string{"resnet.encoder.stages.%d.layers.%d.shortcut.convolution", "resnet.encoder.stages.%d.layers.%d.shortcut.normalization"},
	head:          "classifier.1",
	shortcutFirst: true,
}

// configResNet is transformers' ResNetForImageClassification.
func configResNet(c *config, _ *checkpoint) (*model.Network, error) {
	c.architecture("ResNetForImageClassification")
	c.only("layer_type", "basic", "bottleneck")
	const stages = 16 // halve any image to one pixel
	r := resNetConfig{
		channels: c.number("num_channels", 3, maxWidth), classes: c.classes(), stem: c.number("embedding_size", 64, maxWidth), kernel: 7,
		blocks: c.numbers("depths", []int{3, 4, 6, 3}, stages, maxLayers/stages), widths: c.numbers("hidden_sizes", []int{256, 512, 1024, 2048}, stages, maxWidth),
		groups: 1, stride: 1, early: c.yes("downsample_in_bottleneck", false), activation: transformerActivations[c.activation("hidden_act", "relu")], names: transformersResNet,
	}
	if c.yes("downsample_in_first_stage", false) {
		r.stride = 2
	}
	if len(r.blocks) != len(r.widths) {
		c.fail("depths has %d stages, hidden_sizes %d", len(r.blocks), len(r.widths))
	}
	if c.text("layer_type", "bottleneck") == "bottleneck" {
		for _, w := range r.widths {
			if w < 4 {
				c.fail("hidden_sizes has %d, and a bottleneck has a fourth of it", w)
			}
			r.middle = append(r.middle, w/4)
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return r.network("ResNetForImageClassification"), nil
}
