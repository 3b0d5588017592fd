package zoo

import (
	"fmt"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

func parseLeNet(o *options) (*model.Network, error) {
	classes := o.number("classes", 10, maxWidth)
	if err := o.done(); err != nil {
		return nil, err
	}
	return lenet5(classes), nil
}

// lenet5 is two convolutions of 5×5, each with ReLU and max-pool, and three linear layers, on
// images of 1×28×28 (LeCun et al. 1998, with the activations and pooling that are used today).
func lenet5(classes int) *model.Network {
	var t tensors
	t.conv("conv1", 1, 6, 5, true)
	t.conv("conv2", 6, 16, 5, true)
	t.linear("fc1", 400, 120)
	t.linear("fc2", 120, 84)
	t.linear("fc3", 84, classes)
	return &model.Network{
		Name:    name("lenet5", unless(10, "classes", classes)),
		Params:  t.params,
		Input:   []int{1, 28, 28},
		Outputs: classes,
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node {
			im := b.MaxPool2d(b.Relu(b.Conv2d(b.Image(x), "conv1", 1, 2)), 2, 2, 0)
			im = b.MaxPool2d(b.Relu(b.Conv2d(im, "conv2", 1, 0)), 2, 2, 0)
			h := b.G.Relu(b.LinearOfImage(im, "fc1"))
			return b.Linear(b.G.Relu(b.Linear(h, "fc2")), "fc3")
		},
	}
}

func parseSmallCNN(o *options) (*model.Network, error) {
	bn, classes := o.yes("bn", true), o.number("classes", 10, maxWidth)
	if err := o.done(); err != nil {
		return nil, err
	}
	return smallCNN(bn, classes), nil
}

// smallCNN is three times convolution (3×3, stride 2), batch normalisation, ReLU; the average over
// all positions, and a linear layer, on images of 1×28×28. Without batch normalisation the
// convolutions have a bias.
func smallCNN(bn bool, classes int) *model.Network {
	var t tensors
	widths := []int{1, 8, 16, 16}
	for i := range 3 {
		t.conv(fmt.Sprintf("features.%d.0", i), widths[i], widths[i+1], 3, !bn)
		if bn {
			t.batchNorm(fmt.Sprintf("features.%d.1", i), widths[i+1])
		}
	}
	t.linear("fc", widths[3], classes)
	return &model.Network{
		Name:      name("smallcnn", unless(true, "bn", bn), unless(10, "classes", classes)),
		Params:    t.params,
		Buffers:   t.buffers,
		Input:     []int{1, 28, 28},
		Outputs:   classes,
		BatchNorm: bn,
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node {
			im := b.Image(x)
			for i := range 3 {
				im = b.Conv2d(im, fmt.Sprintf("features.%d.0", i), 2, 1)
				if bn {
					im = b.BatchNorm2d(im, fmt.Sprintf("features.%d.1", i))
				}
				im = b.Relu(im)
			}
			return b.Linear(b.GlobalAvgPool(im), "fc")
		},
	}
}

func guessSmallCNN(c *checkpoint) (*model.Network, error) {
	classes := c.dim("fc.weight", 0)
	if !c.has("features.0.0.weight") || !c.has("features.2.0.weight") || c.has("features.3.0.weight") || classes == 0 {
		return nil, nil
	}
	return assumed(smallCNN(c.has("features.0.1.weight"), classes), "activation taken to be ReLU, strides 2"), nil
}

func guessLeNet(c *checkpoint) (*model.Network, error) {
	classes := c.dim("fc3.weight", 0)
	if !c.has("conv1.weight") || !c.has("conv2.weight") || !c.has("fc1.weight") || !c.has("fc2.weight") || classes == 0 {
		return nil, nil
	}
	return assumed(lenet5(classes), "activation taken to be ReLU, pooling to be by maxima"), nil
}
