package zoo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// vggConfig is a network of Simonyan and Zisserman 2015 as torchvision builds it: convolutions of 3×3, each with
// ReLU and with bn batch normalisation before it, and max-pools of 2×2; an average to 7×7; three
// linear layers, of which two are hidden.
type vggConfig struct {
	layers                    []int // channels of the convolutions; 0 is a max-pool
	channels, hidden, classes int
	bn                        bool
	size                      int // of the images; 0: any
}

// vggPool is the size to which the last images are averaged.
const vggPool = 7

// vggKinds are torchvision's, as layers are written in --model vgg:LAYERS.
var vggKinds = []struct{ name, layers string }{
	{"vgg11", "64-M-128-M-256-256-M-512-512-M-512-512-M"},
	{"vgg13", "64-64-M-128-128-M-256-256-M-512-512-M-512-512-M"},
	{"vgg16", "64-64-M-128-128-M-256-256-256-M-512-512-512-M-512-512-512-M"},
	{"vgg19", "64-64-M-128-128-M-256-256-256-256-M-512-512-512-512-M-512-512-512-512-M"},
}

// vggLayers reads channels and max-pools, 64-M-128-M; nil when there is anything else, or no convolution.
func vggLayers(s string) []int {
	var layers []int
	widest := 0
	for l := range strings.SplitSeq(s, "-") {
		v, err := strconv.Atoi(l)
		switch {
		case l == "M":
			v = 0
		case err != nil || v < 1 || v > maxWidth || len(layers) == maxLayers:
			return nil
		}
		layers = append(layers, v)
		widest = max(widest, v)
	}
	if widest == 0 {
		return nil
	}
	return layers
}

// parseVGG takes vgg16, vgg16_bn and vgg:LAYERS.
func parseVGG(name string, o *options) (*model.Network, error) {
	var c vggConfig
	if name == "vgg" {
		c.layers = o.vggLayers()
	} else {
		bare, bn := strings.CutSuffix(name, "_bn")
		c.bn = bn
		for _, k := range vggKinds {
			if k.name == bare {
				c.layers = vggLayers(k.layers)
			}
		}
		if c.layers == nil {
			return nil, errors.New("the depth of a VGG is 11, 13, 16 or 19")
		}
	}
	c.bn = o.yes("bn", c.bn)
	c.hidden, c.channels, c.classes, c.size = o.number("hidden", 4096, maxWidth), o.number("channels", 3, maxWidth), o.number("classes", 1000, maxWidth), o.optional("size", maxWidth)
	if err := o.done(); err != nil {
		return nil, err
	}
	return vgg(c), nil
}

// vggLayers takes the first option: 64-M-128-M.
func (o *options) vggLayers() []int {
	if len(o.args) == 0 {
		o.fail("the layers are missing, e.g. 64-M-128-M")
		return []int{1}
	}
	layers := vggLayers(o.args[0])
	if layers == nil {
		o.fail("%s is no list of channels and max-pools like 64-M-128-M", o.args[0])
	}
	o.args = o.args[1:]
	return layers
}

// spec is the canonical specification.
func (c vggConfig) spec() string {
	parts := make([]string, len(c.layers))
	for i, l := range c.layers {
		if parts[i] = strconv.Itoa(l); l == 0 {
			parts[i] = "M"
		}
	}
	layers := strings.Join(parts, "-")
	options := []string{unless(false, "bn", c.bn), unless(4096, "hidden", c.hidden), unless(3, "channels", c.channels), unless(1000, "classes", c.classes), unless(0, "size", c.size)}
	for _, k := range vggKinds {
		if k.layers == layers {
			if c.bn {
				return name(k.name+"_bn", options[1:]...)
			}
			return name(k.name, options...)
		}
	}
	return name("vgg", append([]string{layers}, options...)...)
}

// each visits the layers in order with the numbers that torchvision gives them, and the channels
// before and after; a max-pool has out = 0.
func (c vggConfig) each(visit func(number, in, out int)) (last int) {
	number, in := 0, c.channels
	for _, out := range c.layers {
		visit(number, in, out)
		switch {
		case out == 0:
			number++
			continue
		case c.bn:
			number += 3
		default:
			number += 2
		}
		in = out
	}
	return in
}

func vgg(c vggConfig) *model.Network {
	var t tensors
	last := c.each(func(number, in, out int) {
		if out == 0 {
			return
		}
		t.conv(feature(number), in, out, 3, true)
		if c.bn {
			t.batchNorm(feature(number+1), out)
		}
	})
	t.linear("classifier.0", last*vggPool*vggPool, c.hidden)
	t.linear("classifier.3", c.hidden, c.hidden)
	t.linear("classifier.6", c.hidden, c.classes)
	n := &model.Network{
		Name:      c.spec(),
		Params:    t.params,
		Buffers:   t.buffers,
		Input:     []int{c.channels, imageSize, imageSize},
		AnySize:   true,
		Outputs:   c.classes,
		BatchNorm: c.bn,
		Forward:   c.forward,
	}
	fixSize(n, c.size)
	return n
}

func feature(number int) string { return fmt.Sprintf("features.%d", number) }

func (c vggConfig) forward(b *model.Builder, x *graph.Node) *graph.Node {
	im := b.Image(x)
	c.each(func(number, _, out int) {
		if out == 0 {
			im = b.MaxPool2d(im, 2, 2, 0)
			return
		}
		im = b.Conv2d(im, feature(number), 1, 1)
		if c.bn {
			im = b.BatchNorm2d(im, feature(number+1))
		}
		im = b.Relu(im)
	})
	im = b.AdaptiveAvgPool2d(im, vggPool, vggPool)
	// The order of the weight, C, H, W: a copy of the activations, and none of the weight, which is most of the network.
	flat := b.G.Reshape(b.G.Transpose(im.X, 0, 2, 1), b.Batch, im.X.Dim(1)*im.X.Dim(2))
	h := b.G.Relu(b.Linear(flat, "classifier.0"))
	return b.Linear(b.G.Relu(b.Linear(h, "classifier.3")), "classifier.6")
}

// guessVGG follows the numbers of the convolutions: one number more than a convolution takes is a max-pool.
func guessVGG(c *checkpoint) (*model.Network, error) {
	v := vggConfig{channels: c.dim("features.0.weight", 1), hidden: c.dim("classifier.0.weight", 0), classes: c.dim("classifier.6.weight", 0), bn: c.has("features.1.weight")}
	if v.channels == 0 || v.hidden == 0 || v.classes == 0 {
		return nil, nil
	}
	step := 2
	if v.bn {
		step = 3
	}
	for number := 0; len(v.layers) < maxLayers; {
		out := c.dim(feature(number)+".weight", 0)
		if out == 0 {
			return nil, nil
		}
		v.layers = append(v.layers, out)
		number += step
		for c.has(feature(number+1)+".weight") && !c.has(feature(number)+".weight") {
			v.layers = append(v.layers, 0)
			number++
		}
		if !c.has(feature(number) + ".weight") {
			break
		}
	}
	v.layers = append(v.layers, 0)
	return assumed(vgg(v), "activation taken to be ReLU, and max-pool of 2x2 to stand where layers have no weights and after the last of them"), nil
}
