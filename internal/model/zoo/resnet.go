package zoo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// parseResNet takes resnet20 and its like.
func parseResNet(name string, o *options) (*model.Network, error) {
	depth, err := strconv.Atoi(strings.TrimPrefix(name, "resnet"))
	if err != nil || depth < 8 || depth > maxLayers || (depth-2)%6 != 0 {
		return nil, errors.New("the depth of a CIFAR ResNet is 6n+2: resnet20, resnet32, resnet44, resnet56, resnet110")
	}
	o.choice("form", "cifar") // of those without another
	shortcut, classes := o.choice("shortcut", "A", "B"), o.number("classes", 10, maxWidth)
	if err := o.done(); err != nil {
		return nil, err
	}
	return resnet(depth, shortcut, classes), nil
}

// resnet is the residual network for CIFAR of He et al. 2016, section 4.2: depth 6n+2, three
// stages of n blocks with 16, 32 and 64 channels. Where a stage begins with fewer channels,
// shortcut A takes every second pixel and pads with zero channels on both sides; B is a convolution
// of 1×1 with batch normalisation.
func resnet(depth int, shortcut string, classes int) *model.Network {
	n := (depth - 2) / 6
	widths := []int{16, 16, 32, 64}
	var t tensors
	t.conv("conv1", 3, 16, 3, false)
	t.batchNorm("bn1", 16)
	for stage := 1; stage <= 3; stage++ {
		in, out := widths[stage-1], widths[stage]
		for i := range n {
			p := block(stage, i)
			t.conv(p+"conv1", in, out, 3, false)
			t.batchNorm(p+"bn1", out)
			t.conv(p+"conv2", out, out, 3, false)
			t.batchNorm(p+"bn2", out)
			if in != out && shortcut == "B" {
				t.conv(p+"shortcut.0", in, out, 1, false)
				t.batchNorm(p+"shortcut.1", out)
			}
			in = out
		}
	}
	t.linear("linear", 64, classes)
	spec, form := fmt.Sprintf("resnet%d", depth), ""
	if isResNetKind(spec) {
		form = "form=cifar"
	}
	return &model.Network{
		Name:      name(spec, form, unless("A", "shortcut", shortcut), unless(10, "classes", classes)),
		Params:    t.params,
		Buffers:   t.buffers,
		Input:     []int{3, 32, 32},
		Outputs:   classes,
		BatchNorm: true,
		Match:     matchResNet("shortcut", "linear"),
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node {
			im := b.Relu(b.BatchNorm2d(b.Conv2d(b.Image(x), "conv1", 1, 1), "bn1"))
			for stage := 1; stage <= 3; stage++ {
				for i := range n {
					im = residual(b, im, block(stage, i), widths[stage])
				}
			}
			return b.Linear(b.GlobalAvgPool(im), "linear")
		},
	}
}

// block is the prefix of the tensors of one block.
func block(stage, i int) string { return fmt.Sprintf("layer%d.%d.", stage, i) }

func residual(b *model.Builder, im model.Image, prefix string, out int) model.Image {
	in := im.X.Dim(-1)
	stride := 1
	if in != out {
		stride = 2
	}
	y := b.Relu(b.BatchNorm2d(b.Conv2d(im, prefix+"conv1", stride, 1), prefix+"bn1"))
	y = b.BatchNorm2d(b.Conv2d(y, prefix+"conv2", 1, 1), prefix+"bn2")
	switch {
	case b.Has(prefix + "shortcut.0.weight"):
		im = b.BatchNorm2d(b.Conv2d(im, prefix+"shortcut.0", stride, 0), prefix+"shortcut.1")
	case in != out:
		im = subsample(b, im, out/4)
	}
	y.X = b.G.Relu(b.G.Add(y.X, im.X))
	return y
}

// subsample takes every second pixel and puts pad zero channels before and after.
func subsample(b *model.Builder, im model.Image, pad int) model.Image {
	g := b.G
	h, w, c := (im.H+1)/2, (im.W+1)/2, im.X.Dim(-1)
	x := g.Reshape(im.X, b.Batch, im.H, im.W, c)
	x = g.Slice(x, []int{0, 0, 0, 0}, []int{1, 2, 2, 1}, []int{b.Batch, h, w, c})
	x = g.Pad(g.Reshape(x, b.Batch, h*w, c), []int{0, 0, pad}, []int{0, 0, pad}, nil)
	return model.Image{X: x, H: h, W: w}
}

// guessResNet takes what has three stages.
func guessResNet(c *checkpoint) (*model.Network, error) {
	blocks := min(c.count(func(i int) string { return block(1, i) + "conv1.weight" }), maxLayers/6)
	classes := max(c.dim("linear.weight", 0), c.dim("fc.weight", 0))
	if blocks == 0 || classes == 0 || !c.has("conv1.weight") || c.has(block(4, 0)+"conv1.weight") {
		return nil, nil
	}
	shortcut := "A"
	if slices.ContainsFunc(c.names, func(n string) bool {
		return strings.Contains(n, ".shortcut.") || strings.Contains(n, ".downsample.")
	}) {
		shortcut = "B"
	}
	return assumed(resnet(6*blocks+2, shortcut, classes), "activation taken to be ReLU"), nil
}

// matchResNet takes the other names that are in use: of a shortcut, shortcut or downsample, and of the last layer, linear or fc.
func matchResNet(shortcut, last string) func(names []string) map[string]string {
	other := strings.NewReplacer(".shortcut.", "."+shortcut+".", ".downsample.", "."+shortcut+".")
	return func(names []string) map[string]string {
		to := map[string]string{}
		for _, name := range names {
			to[name] = other.Replace(name)
			for _, s := range []string{"linear.", "fc."} {
				if rest, ok := strings.CutPrefix(name, s); ok {
					to[name] = last + "." + rest
				}
			}
		}
		return to
	}
}
