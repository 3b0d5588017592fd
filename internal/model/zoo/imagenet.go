package zoo

import (
	"fmt"
	"slices"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// imageSize is the height and width of images that networks for ImageNet are given, where nothing else is said.
const imageSize = 224

// resNetConfig is a residual network for ImageNet (He et al. 2016, section 4.1): a stem, stages of
// blocks, the average over all positions, and a linear layer.
type resNetConfig struct {
	channels, classes int
	stem, kernel      int       // channels after the stem; its kernel, 7 (stride 2, max-pool after it) or 3 (neither)
	blocks, widths    []int     // of each stage: blocks, and channels that come out
	middle            []int     // of each stage: channels inside the bottleneck; nil: a block is two convolutions of 3×3
	groups            int       // of the convolution of 3×3 in a bottleneck
	stride            int       // of the first stage; that of the others is 2
	early             bool      // a bottleneck has its stride in its first convolution, not in that of 3×3
	activation        pointwise // after the stem and after each sum; inside blocks it is ReLU
	names             resNetNames
}

// resNetNames are the prefixes of a network's tensors: pairs of a convolution and its
// normalisation, those in blocks with the numbers of stage, block and layer, which begin at base.
type resNetNames struct {
	stem, layer, shortcut [2]string
	head                  string
	base                  int
	shortcutFirst         bool // in the order of the parameters
}

var torchvisionResNet = resNetNames{
	stem:     [2]string{"conv1", "bn1"},
	layer:    [2]string{"layer%d.%d.conv%d", "layer%d.%d.bn%d"},
	shortcut: [2]string{"layer%d.%d.downsample.0", "layer%d.%d.downsample.1"},
	head:     "fc",
	base:     1,
}

// convolution is a convolution and the batch normalisation after it.
type convolution struct {
	conv, norm                      string
	in, out, kernel, stride, groups int
}

// residualBlock is convolutions with ReLU between them, whose result is added to the block's input, taken through
// the shortcut where there is one; then comes the activation.
type residualBlock struct {
	layers   []convolution
	shortcut *convolution
}

func (c resNetConfig) stemLayer() convolution {
	stride := 1
	if c.kernel == 7 {
		stride = 2
	}
	return convolution{c.names.stem[0], c.names.stem[1], c.channels, c.stem, c.kernel, stride, 1}
}

func (c resNetConfig) residualBlocks() []residualBlock {
	var blocks []residualBlock
	in := c.stem
	for s, out := range c.widths {
		for i := range c.blocks[s] {
			stride := 1
			switch {
			case i == 0 && s == 0:
				stride = c.stride
			case i == 0:
				stride = 2
			}
			var b residualBlock
			layer := func(in, out, kernel, stride, groups int) {
				k := len(b.layers) + c.names.base
				name := func(format string) string { return fmt.Sprintf(format, s+c.names.base, i, k) }
				b.layers = append(b.layers, convolution{name(c.names.layer[0]), name(c.names.layer[1]), in, out, kernel, stride, groups})
			}
			if c.middle == nil {
				layer(in, out, 3, stride, 1)
				layer(out, out, 3, 1, 1)
			} else {
				first, second, mid := 1, stride, c.middle[s]
				if c.early {
					first, second = stride, 1
				}
				layer(in, mid, 1, first, 1)
				layer(mid, mid, 3, second, c.groups)
				layer(mid, out, 1, 1, 1)
			}
			if stride != 1 || in != out {
				name := func(format string) string { return fmt.Sprintf(format, s+c.names.base, i) }
				b.shortcut = &convolution{name(c.names.shortcut[0]), name(c.names.shortcut[1]), in, out, 1, stride, 1}
			}
			blocks = append(blocks, b)
			in = out
		}
	}
	return blocks
}

// network makes the network; its size is free.
func (c resNetConfig) network(name string) *model.Network {
	var t tensors
	add := func(l convolution) {
		t.conv(l.conv, l.in/l.groups, l.out, l.kernel, false)
		t.batchNorm(l.norm, l.out)
	}
	add(c.stemLayer())
	for _, b := range c.residualBlocks() {
		if b.shortcut != nil && c.names.shortcutFirst {
			add(*b.shortcut)
		}
		for _, l := range b.layers {
			add(l)
		}
		if b.shortcut != nil && !c.names.shortcutFirst {
			add(*b.shortcut)
		}
	}
	t.linear(c.names.head, c.widths[len(c.widths)-1], c.classes)
	return &model.Network{
		Name:      name,
		Params:    t.params,
		Buffers:   t.buffers,
		Input:     []int{c.channels, imageSize, imageSize},
		AnySize:   true,
		Outputs:   c.classes,
		BatchNorm: true,
		Forward:   c.forward,
	}
}

func (c resNetConfig) forward(b *model.Builder, x *graph.Node) *graph.Node {
	apply := func(im model.Image, l convolution) model.Image {
		return b.BatchNorm2d(b.Conv2d(im, l.conv, l.stride, l.kernel/2), l.norm)
	}
	activate := func(im model.Image) model.Image {
		im.X = c.activation(b.G, im.X)
		return im
	}
	im := activate(apply(b.Image(x), c.stemLayer()))
	if c.kernel == 7 {
		im = b.MaxPool2d(im, 3, 2, 1)
	}
	for _, block := range c.residualBlocks() {
		y := im
		for i, l := range block.layers {
			if i > 0 {
				y = b.Relu(y)
			}
			y = apply(y, l)
		}
		if block.shortcut != nil {
			im = apply(im, *block.shortcut)
		}
		y.X = b.G.Add(y.X, im.X)
		im = activate(y)
	}
	return b.Linear(b.GlobalAvgPool(im), c.names.head)
}

// resNetKind is one of torchvision's residual networks. The convolutions of 3×3 of a bottleneck in
// stage s, from 0, have groups·width·2ˢ channels.
type resNetKind struct {
	name          string
	blocks        []int
	bottleneck    bool
	groups, width int
}

var resNetKinds = []resNetKind{
	{"resnet18", []int{2, 2, 2, 2}, false, 1, 64},
	{"resnet34", []int{3, 4, 6, 3}, false, 1, 64},
	{"resnet50", []int{3, 4, 6, 3}, true, 1, 64},
	{"resnet101", []int{3, 4, 23, 3}, true, 1, 64},
	{"resnet152", []int{3, 8, 36, 3}, true, 1, 64},
	{"wide_resnet50_2", []int{3, 4, 6, 3}, true, 1, 128},
	{"wide_resnet101_2", []int{3, 4, 23, 3}, true, 1, 128},
	{"resnext50_32x4d", []int{3, 4, 6, 3}, true, 32, 4},
	{"resnext101_32x8d", []int{3, 4, 23, 3}, true, 32, 8},
	{"resnext101_64x4d", []int{3, 4, 23, 3}, true, 64, 4},
}

// isResNetKind says whether a name is that of one of torchvision's residual networks.
func isResNetKind(name string) bool {
	return slices.ContainsFunc(resNetKinds, func(k resNetKind) bool { return k.name == name })
}

// parseImageNetResNet takes the name of a kind.
func parseImageNetResNet(name string, o *options) (*model.Network, error) {
	stem := 7
	if o.choice("stem", "7", "3") == "3" {
		stem = 3
	}
	channels, classes, size := o.number("channels", 3, maxWidth), o.number("classes", 1000, maxWidth), o.optional("size", maxWidth)
	if err := o.done(); err != nil {
		return nil, err
	}
	kind := slices.IndexFunc(resNetKinds, func(k resNetKind) bool { return k.name == name })
	return resNetKinds[kind].network(stem, channels, classes, size), nil
}

// network makes the network of this kind: stem is 7 or 3, size 0 for any.
func (k resNetKind) network(stem, channels, classes, size int) *model.Network {
	c := resNetConfig{channels: channels, classes: classes, stem: 64, kernel: stem, blocks: k.blocks, groups: k.groups, stride: 1,
		activation: (*graph.Graph).Relu, names: torchvisionResNet}
	for s := range k.blocks {
		width := 64 << s
		if k.bottleneck {
			c.middle = append(c.middle, k.groups*k.width<<s)
			width *= 4
		}
		c.widths = append(c.widths, width)
	}
	n := c.network(name(k.name, unless(7, "stem", stem), unless(3, "channels", channels), unless(1000, "classes", classes), unless(0, "size", size)))
	n.Match = matchResNet("downsample", "fc")
	fixSize(n, size)
	return n
}

// fixSize makes a network that takes images of any size take those of size×size alone, unless size is 0.
func fixSize(n *model.Network, size int) {
	if size > 0 {
		n.Input, n.AnySize = []int{n.Input[0], size, size}, false
	}
}

// guessImageNetResNet takes what has four stages; the form for CIFAR has three.
func guessImageNetResNet(c *checkpoint) (*model.Network, error) {
	classes := max(c.dim("linear.weight", 0), c.dim("fc.weight", 0))
	channels, stem := c.dim("conv1.weight", 1), c.dim("conv1.weight", 2)
	if channels == 0 || classes == 0 || stem != 7 && stem != 3 || !c.has(block(4, 0)+"conv1.weight") {
		return nil, nil
	}
	k := resNetKind{groups: 1, width: 64}
	for s := 1; s <= 4; s++ {
		k.blocks = append(k.blocks, c.count(func(i int) string { return block(s, i) + "conv1.weight" }))
	}
	if k.bottleneck = c.has(block(1, 0) + "conv3.weight"); k.bottleneck {
		width, each := c.dim(block(1, 0)+"conv2.weight", 0), c.dim(block(1, 0)+"conv2.weight", 1)
		if width == 0 || each == 0 {
			return nil, nil
		}
		k.groups, k.width = width/each, each
		if k.groups == 0 {
			return nil, nil
		}
	}
	i := slices.IndexFunc(resNetKinds, func(o resNetKind) bool {
		return slices.Equal(k.blocks, o.blocks) && k.bottleneck == o.bottleneck && k.groups == o.groups && k.width == o.width
	})
	if i < 0 {
		return nil, fmt.Errorf("the weights look like a ResNet with stages of %s blocks, and it is none of torchvision's (give it as an ONNX file, --model FILE.onnx)", strings.Trim(fmt.Sprint(k.blocks), "[]"))
	}
	what := "activation taken to be ReLU, strides to be torchvision's, with max-pool after the stem"
	if stem == 3 {
		what = "activation taken to be ReLU, strides to be torchvision's but for the stem: stride 1, no max-pool after it"
	}
	return assumed(resNetKinds[i].network(stem, channels, classes, 0), what), nil
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
