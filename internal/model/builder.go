package model

import (
	"fmt"

	"hessdens/internal/graph"
)

// NormEps is the ε of batch and layer normalisation: 1e-5, PyTorch's default.
const NormEps = 1e-5

// Builder is what a network's Forward builds with: the graph, its leaves by name, and the layers
// that architectures share, each named by the prefix of its tensors in PyTorch's state_dict.
type Builder struct {
	G          *graph.Graph
	BatchStats bool // batch normalisation by the batch's own statistics
	Batch      int

	leaves map[string]*graph.Node
}

// Param is the leaf of a parameter or buffer. It panics when the network has none of that name.
func (b *Builder) Param(name string) *graph.Node {
	n := b.leaves[name]
	if n == nil {
		panic("model: the network has no tensor " + name)
	}
	return n
}

// Has says whether the network has a parameter or buffer of that name.
func (b *Builder) Has(name string) bool { return b.leaves[name] != nil }

// bias is the leaf of a bias, nil when the layer has none.
func (b *Builder) bias(prefix string) *graph.Node { return b.leaves[prefix+".bias"] }

// Image is a batch of images, channels last: X [B, H·W, C].
type Image struct {
	X    *graph.Node
	H, W int
}

// Image turns x [B, C, H, W] to channels last.
func (b *Builder) Image(x *graph.Node) Image {
	c, h, w := x.Dim(1), x.Dim(2), x.Dim(3)
	if c == 1 {
		return Image{b.G.Reshape(x, b.Batch, h*w, 1), h, w}
	}
	return Image{b.G.Transpose(b.G.Reshape(x, b.Batch, c, h*w), 0, 2, 1), h, w}
}

// Conv2d is PyTorch's Conv2d with a square stride and padding: weight [O, C/groups, kh, kw], bias
// [O] where there is one.
func (b *Builder) Conv2d(im Image, prefix string, stride, pad int) Image {
	g := b.G
	w := b.Param(prefix + ".weight")
	o, in, kh, kw := w.Dim(0), w.Dim(1), w.Dim(2), w.Dim(3)
	geo, h, wd := b.window(im, kh, kw, stride, pad, im.X.Dim(-1)/in)
	w = g.Reshape(g.Transpose(w, 2, 3, 1, 0), kh*kw, in, o)
	y := g.Conv(im.X, w, geo)
	if bias := b.bias(prefix); bias != nil {
		y = g.Add(y, bias)
	}
	return Image{y, h, wd}
}

// window makes the table of a window over an image, and the size of what comes out.
func (b *Builder) window(im Image, kh, kw, stride, pad, groups int) (geo *graph.Geometry, h, w int) {
	win := graph.Square(im.H, im.W, 1, stride, pad)
	win.Kernel = []int{kh, kw}
	win.Groups = groups
	out := win.Out()
	return b.G.Geometry(win), out[0], out[1]
}

// MaxPool2d is the largest value in each square window. The padding is never the largest.
func (b *Builder) MaxPool2d(im Image, kernel, stride, pad int) Image {
	geo, h, w := b.window(im, kernel, kernel, stride, pad, 1)
	return Image{b.G.MaxPool(im.X, geo), h, w}
}

// AdaptiveAvgPool2d makes an image of h×w: along an axis of n pixels, pixel i of m is the average over
// those from ⌊i·n/m⌋ to before ⌈(i+1)·n/m⌉. Windows overlap where m does not divide n, and repeat
// pixels where m is larger. This is PyTorch's.
func (b *Builder) AdaptiveAvgPool2d(im Image, h, w int) Image {
	if im.H == h && im.W == w {
		return im
	}
	s := graph.NewSparse(fmt.Sprintf("adaptive %dx%d to %dx%d", im.H, im.W, h, w), h*w, im.H*im.W, func(q int) (col []int32, val []float64) {
		i, j := q/w, q%w
		for y := i * im.H / h; y < ((i+1)*im.H+h-1)/h; y++ {
			for x := j * im.W / w; x < ((j+1)*im.W+w-1)/w; x++ {
				col = append(col, int32(y*im.W+x))
			}
		}
		for range col {
			val = append(val, 1/float64(len(col)))
		}
		return col, val
	})
	return Image{b.G.Rows(im.X, s), h, w}
}

// BatchNorm2d normalises each channel: by the running statistics, or by those of the batch where
// BatchStats says so.
func (b *Builder) BatchNorm2d(im Image, prefix string) Image {
	gamma, beta := b.Param(prefix+".weight"), b.Param(prefix+".bias")
	if b.BatchStats {
		im.X = b.G.BatchNormBatch(im.X, gamma, beta, NormEps)
	} else {
		im.X = b.G.BatchNorm(im.X, gamma, beta, b.Param(prefix+".running_mean"), b.Param(prefix+".running_var"), NormEps)
	}
	return im
}

// Relu is max(x, 0).
func (b *Builder) Relu(im Image) Image {
	im.X = b.G.Relu(im.X)
	return im
}

// GlobalAvgPool averages each channel over all positions: [B, C].
func (b *Builder) GlobalAvgPool(im Image) *graph.Node {
	return b.G.Drop(b.G.Mean(im.X, 1), 1)
}

// Linear is PyTorch's Linear: x [P, in], weight [out, in], bias [out] where there is one.
func (b *Builder) Linear(x *graph.Node, prefix string) *graph.Node {
	return b.G.Linear(x, b.Param(prefix+".weight"), b.bias(prefix))
}

// LinearOfImage is Linear on a flattened image. PyTorch flattens in the order C, H, W; the
// weight is permuted to the order of the activations, since it is there once and they are many.
func (b *Builder) LinearOfImage(im Image, prefix string) *graph.Node {
	g := b.G
	w := b.Param(prefix + ".weight")
	out, p, c := w.Dim(0), im.X.Dim(1), im.X.Dim(2)
	w = g.Transpose(g.Reshape(w, out, c, p), 2, 1, 0)
	return g.Affine(g.Reshape(im.X, b.Batch, p*c), g.Reshape(w, p*c, out), b.bias(prefix))
}

// LayerNorm normalises over the last axis.
func (b *Builder) LayerNorm(x *graph.Node, prefix string, eps float64) *graph.Node {
	return b.G.LayerNorm(x, b.Param(prefix+".weight"), b.bias(prefix), eps)
}

// RMSNorm divides by the root of the mean square over the last axis.
func (b *Builder) RMSNorm(x *graph.Node, prefix string, eps float64) *graph.Node {
	return b.G.RMSNorm(x, b.Param(prefix+".weight"), eps)
}
