package exec

import (
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

const (
	winogradTiles    = 64      // of a part
	winogradWork     = 1 << 26 // multiply-adds of a part as they are counted, if its tiles for one direction are not more
	winogradSums     = 1 << 20 // elements of the transformed sums of a part of a weight gradient
	winogradChannels = 8       // of inputs and of outputs at least,
	winogradLeast    = 12      // and tiles of a batch: fewer do not pay for the transforms
)

// winogradOf describes a convolution or a weight gradient that is computed by Winograd's tiles, see kernel.Winograd: of 3 x 3 taps
// with stride 1 that keeps an image's size, in float32, in the tangent part, where it pays.
func winogradOf[T kernel.Float](v *value) (d kernel.Winograd, ok bool) {
	if v.op != graph.OpConv && v.op != graph.OpConvW || v.stage != stageTangent || sizeof[T]() != 4 {
		return d, false
	}
	geo, x := v.attr.(*graph.Geometry), v.in[0]
	w := geo.Window
	three, one := []int{3, 3}, []int{1, 1}
	if geo.Groups != 1 || !slices.Equal(w.Kernel, three) || !slices.Equal(w.Stride, one) || !slices.Equal(w.Dilation, one) ||
		!slices.Equal(w.Low, one) || !slices.Equal(w.High, one) {
		return d, false
	}
	if v.op == graph.OpConv && !arrangedWeights(geo, v.stage, v.in[1]) || v.op == graph.OpConvW && geo.Transpose {
		return d, false
	}
	d = kernel.Winograd{Images: x.shape[0], Height: w.Size[0], Width: w.Size[1], Cin: x.shape[2], Cout: v.shape[2], K: v.k}
	// Half of the outputs of the tiles must be of use.
	return d, min(d.Cin, d.Cout) >= winogradChannels && d.Images*d.Tiles() >= winogradLeast && 16*d.Tiles() <= 2*geo.Out
}

// transformed is the weights of a convolution, transformed when they have changed.
type transformed[T kernel.Float] struct {
	p        *Program[T]
	d        kernel.Winograd
	w        *value
	reversed bool
	u        []T
}

// transform makes the task that transforms w for convolutions like d, or finds it.
func (p *Program[T]) transform(d kernel.Winograd, w *value, reversed bool) *transformed[T] {
	for _, t := range p.transforms {
		if t.w == w && t.reversed == reversed {
			return t
		}
	}
	t := &transformed[T]{p: p, d: d, w: w, reversed: reversed}
	if p.of != nil {
		t.u = p.of.transforms[len(p.transforms)].u
	} else {
		t.u = kernel.Zeros[T](d.Weights(w.k))
	}
	p.fixed += len(t.u)
	p.transforms = append(p.transforms, t)
	return t
}

func (t *transformed[T]) parts() int { return cuts(t.d.Cout, kernel.PanelWidth) }

func (t *transformed[T]) run(wi, part int) {
	o := part * kernel.PanelWidth
	w := t.p.at(t.w.root.buffer.ref)[t.w.layout.off:]
	kernel.TransformWeights(&t.p.workers[wi].ws, &t.d, t.u, w, weightsOf(t.w), t.reversed, o, min(o+kernel.PanelWidth, t.d.Cout))
}

// winograd is a sum of convolutions, cut by tiles and directions.
type winograd[T kernel.Float] struct {
	p      *Program[T]
	d      kernel.Winograd
	x      []*value
	w      []*transformed[T]
	y      ref
	probes int // of a part
	cuts   int // of the directions
}

// winograd makes a task that writes the sum of some of the products to y, those that Winograd's tiles can compute together, and
// gives the others, which are to be added; it makes none where there are no such products.
func (p *Program[T]) winograd(products []*value, y ref) (t []task, others []*value) {
	var first kernel.Winograd
	var sum []*value
	for _, v := range products {
		d, ok := winogradOf[T](v)
		if !ok || len(sum) == kernel.MaxWinogradTerms || len(sum) > 0 && (d != first || v.op != sum[0].op) {
			others = append(others, v)
			continue
		}
		first, sum = d, append(sum, v)
	}
	switch {
	case len(sum) == 0:
	case sum[0].op == graph.OpConvW:
		t = append(t, newWinogradW(p, first, sum, y))
	default:
		t = append(t, newWinograd(p, first, sum, y))
	}
	return t, others
}

func newWinograd[T kernel.Float](p *Program[T], d kernel.Winograd, products []*value, y ref) task {
	c := &winograd[T]{p: p, d: d, y: y}
	terms := make([]kernel.WinogradTerm[T], len(products)) // without values: there are none yet
	for i, v := range products {
		x, w := v.in[0], v.in[1]
		c.x = append(c.x, x)
		c.w = append(c.w, p.transform(d, w, v.attr.(*graph.Geometry).Transpose))
		terms[i].KX, terms[i].KW = x.k, w.k
	}
	c.cuts = cuts(d.K, winogradWork/(winogradTiles*16*9*d.Cin*d.Cout*len(products)))
	c.probes = (d.K + c.cuts - 1) / c.cuts
	p.own = max(p.own, kernel.WinogradSpace(&d, terms, winogradTiles, c.probes))
	return c
}

// cuts is into how many pieces of at most size n things are cut.
func cuts(n, size int) int { return (n + max(size, 1) - 1) / max(size, 1) }

func (c *winograd[T]) work() int {
	return c.d.Images * c.d.Height * c.d.Width * 9 * c.d.Cin * c.d.Cout * c.d.K * len(c.x)
}

func (c *winograd[T]) parts() int { return cuts(c.d.Images*c.d.Tiles(), winogradTiles) * c.cuts }

// terms are the operands where they are now.
func (c *winograd[T]) terms(t *[kernel.MaxWinogradTerms]kernel.WinogradTerm[T]) []kernel.WinogradTerm[T] {
	for i, x := range c.x {
		t[i] = kernel.WinogradTerm[T]{X: c.p.at(x.root.buffer.ref), KX: x.k, U: c.w[i].u, KW: c.w[i].w.k}
	}
	return t[:len(c.x)]
}

func (c *winograd[T]) run(wi, part int) {
	var terms [kernel.MaxWinogradTerms]kernel.WinogradTerm[T]
	t, j := part/c.cuts*winogradTiles, part%c.cuts*c.probes
	kernel.MulWinograd(&c.p.workers[wi].ws, &c.d, c.p.at(c.y), c.terms(&terms),
		t, min(t+winogradTiles, c.d.Images*c.d.Tiles()), min(j, c.d.K), min(j+c.probes, c.d.K))
}

// winogradW is a sum of weight gradients, cut by channels of the input and directions. No bit depends on the cuts: they are
// as many as there are threads, since each part transforms what the directions and channels share.
type winogradW[T kernel.Float] struct {
	p        *Program[T]
	d        kernel.Winograd
	x, ct    []*value
	y        ref
	probes   int // of a part
	channels int
	cuts     int // of the channels
}

func newWinogradW[T kernel.Float](p *Program[T], d kernel.Winograd, products []*value, y ref) task {
	c := &winogradW[T]{p: p, d: d, y: y}
	pairs := make([]kernel.WinogradPair[T], len(products)) // without values: there are none yet
	for i, v := range products {
		x, ct := v.in[0], v.in[1]
		c.x, c.ct = append(c.x, x), append(c.ct, ct)
		pairs[i].KX, pairs[i].KD = x.k, ct.k
	}
	threads := p.pool.Threads()
	if p.lone() {
		threads = 1
	}
	sums := 36 * d.Cout // of a channel and direction
	c.channels = max(16, min(d.Cin, winogradSums/sums)/16*16)
	c.probes = max(1, min(cuts(d.K, cuts(threads, cuts(d.Cin, c.channels))), winogradSums/(sums*c.channels)))
	if parts := cuts(d.K, c.probes); parts < threads {
		c.channels = min(c.channels, max(32, d.Cin/cuts(threads, parts)/16*16))
	}
	c.cuts = cuts(d.Cin, c.channels)
	p.own = max(p.own, kernel.WinogradSpaceT(&d, pairs, min(c.channels, d.Cin), c.probes))
	return c
}

func (c *winogradW[T]) work() int {
	return c.d.Images * c.d.Height * c.d.Width * 9 * c.d.Cin * c.d.Cout * c.d.K * len(c.x)
}

func (c *winogradW[T]) parts() int { return cuts(c.d.K, c.probes) * c.cuts }

// pairs are the operands where they are now.
func (c *winogradW[T]) pairs(t *[kernel.MaxWinogradTerms]kernel.WinogradPair[T]) []kernel.WinogradPair[T] {
	for i, x := range c.x {
		t[i] = kernel.WinogradPair[T]{X: c.p.at(x.root.buffer.ref), KX: x.k, D: c.p.at(c.ct[i].root.buffer.ref), KD: c.ct[i].k}
	}
	return t[:len(c.x)]
}

func (c *winogradW[T]) run(wi, part int) {
	var pairs [kernel.MaxWinogradTerms]kernel.WinogradPair[T]
	lo, j := part%c.cuts*c.channels, part/c.cuts*c.probes
	kernel.MulWinogradT(&c.p.workers[wi].ws, &c.d, c.p.at(c.y), c.pairs(&pairs), lo, min(lo+c.channels, c.d.Cin), j, min(j+c.probes, c.d.K))
}
