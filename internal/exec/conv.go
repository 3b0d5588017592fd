package exec

import (
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// rowsAtOnce is how many output positions of one direction a part of a convolution covers at
// least, where the batch has as many.
const rowsAtOnce = 256

// offsets are the rows that a convolution reads: for each output position of some images (and
// each of k directions, if the input depends on them) and tap, the start of the channels.
func offsets(geo *graph.Geometry, images, k, channels int) []int32 {
	off := make([]int32, 0, images*geo.Out*k*geo.Taps)
	for n := range images {
		for q := range geo.Out {
			for j := range k {
				for _, p := range geo.Index[q*geo.Taps : (q+1)*geo.Taps] {
					if p < 0 {
						off = append(off, -1)
						continue
					}
					off = append(off, int32(((n*geo.In+int(p))*k+j)*channels))
				}
			}
		}
	}
	return off
}

// conv is a convolution, cut into tiles of sets of images.
type conv[T kernel.Float] struct {
	p            *Program[T]
	x, w, y      ref
	d            kernel.Gather // of all images of a set
	images, n    int           // of a set, of the batch
	perImage     int           // rows
	xStep, yStep int           // elements an image
	groups       int
	gx, gy       int // channels of a group
	kx, kw       int
	tm, tn       int // size of a tile
	nm, nn       int // tiles of a set
	panels       *kernel.Panels[T]
}

// newConv makes the task of a convolution that is written to y, or added to what is there.
func newConv[T kernel.Float](p *Program[T], v *value, y ref, add bool) task {
	geo := v.attr.(*graph.Geometry)
	x, w := v.in[0], v.in[1]
	cin, cout := x.shape[2], v.shape[2]
	c := &conv[T]{p: p, x: x.root.buffer.ref, w: w.root.buffer.ref, y: y, n: x.shape[0], groups: geo.Groups,
		gx: cin / geo.Groups, gy: cout / geo.Groups, kx: x.k, kw: w.k}
	c.images = min(c.n, (rowsAtOnce+geo.Out-1)/geo.Out)
	c.perImage = geo.Out * c.kx
	c.xStep, c.yStep = geo.In*c.kx*cin, geo.Out*v.k*cout
	c.d = kernel.Gather{Taps: geo.Taps, Width: c.gx, Off: offsets(geo, c.images, c.kx, cin),
		N: c.gy, TapB: c.gx * c.kw * cout, RowB: c.kw * cout, RowC: cout * c.kw, Add: add}
	p.extra += len(c.d.Off) * 4 / sizeof[T]()
	rows := c.images * c.perImage
	c.tm, c.tn = rows, c.d.N
	if c.groups == 1 {
		c.d.N *= c.kw
		c.tm, c.tn = tiles(rows, c.d.N, geo.Taps*c.gx)
		if arrangedWeights(geo, v.stage, w) {
			c.panels = p.panelsOfConv(w, c.d, nil)
		}
	} else if work := rows * geo.Taps * c.gx * cout * c.kw; work > partWork {
		c.tm = min(rows, max(96, rows/max(1, work/goodWork)/12*12))
	}
	c.nm, c.nn = (rows+c.tm-1)/c.tm, (c.d.N+c.tn-1)/c.tn
	return c
}

func (c *conv[T]) work() int { return c.n * c.perImage * c.d.Taps * c.gx * c.gy * c.groups * c.kw }

func (c *conv[T]) parts() int { return (c.n + c.images - 1) / c.images * c.nm * c.nn }

func (c *conv[T]) run(wi, part int) {
	ws := &c.p.workers[wi].ws
	tile := part % (c.nm * c.nn)
	first := part / (c.nm * c.nn) * c.images
	row, col := tile%c.nm*c.tm, tile/c.nm*c.tn
	d := c.d
	if d.Rows = min(c.tm, min(c.images, c.n-first)*c.perImage-row); d.Rows <= 0 {
		return // of the last set, which is smaller
	}
	d.N = min(c.tn, d.N-col)
	d.Off = d.Off[row*d.Taps:]
	x, y := c.p.at(c.x)[first*c.xStep:], c.p.at(c.y)[first*c.yStep+row*d.RowC+col:]
	if c.panels != nil {
		kernel.MulGatherPanels(ws, &d, y, x, c.panels, col)
		return
	}
	w := c.p.at(c.w)
	if c.groups == 1 {
		kernel.MulGather(ws, &d, y, x, w[col:])
		return
	}
	for g := range c.groups {
		for j := range c.kw {
			at := j*c.gy*c.groups + g*c.gy
			kernel.MulGather(ws, &d, y[at:], x[g*c.gx:], w[at:])
		}
	}
}

// arrangedWeights says whether the weights of a convolution of that stage are arranged ahead, in panels or transformed, from any layout: they
// change less often than the convolution is computed.
func arrangedWeights(geo *graph.Geometry, s stage, w *value) bool {
	return geo.Groups == 1 && s >= stagePrimal && w.stage < stagePrimal
}

// weightsOf is how a convolution's weights [taps, inputs, outputs] lie after the start of their layout.
func weightsOf(w *value) kernel.Weights {
	l := w.layout
	return kernel.Weights{Tap: l.stride[0], In: l.stride[1], Out: l.stride[2], Dir: l.dir, K: w.k}
}

// panelsOfConv are panels of a convolution's weights: for taps, or for all.
func (p *Program[T]) panelsOfConv(w *value, d kernel.Gather, taps []int) *kernel.Panels[T] {
	d = kernel.Gather{Taps: d.Taps, Width: d.Width, N: d.N}
	for _, x := range p.arranged {
		if g := x.gather; x.b == w && g != nil && slices.Equal(x.taps, taps) && g.Taps == d.Taps && g.Width == d.Width && g.N == d.N {
			return x.panels
		}
	}
	return p.arrange(&arrange[T]{p: p, b: w, gather: &d, taps: taps}, d.Taps*d.Width, d.N)
}

// convW is the weight gradient of a convolution, cut by taps and channels; a part goes through
// the images in order.
type convW[T kernel.Float] struct {
	p            *Program[T]
	x, d, y      ref
	k            kernel.GatherT // of all images of a step
	images, n    int
	out          int // positions of an image
	xStep, dStep int // elements an image
	groups       int
	gx, gy       int
	kx, kd, cout int
	add          bool // to what is there
	taps         int  // of a part
	width, cuts  int  // input channels of a part, parts of a tap
	tn, nn       int  // columns of a part, parts of them
}

// stepRows is how many positions a weight gradient adds up before it goes to memory: a matter
// of the shape of one direction.
const stepRows = 1024

// mostTaps is how many taps of a weight gradient a part has at most: their lists stay in the second cache.
const mostTaps = 25

// newConvW makes the task of a weight gradient that is written to y, or added to what is there.
func newConvW[T kernel.Float](p *Program[T], v *value, y ref, add bool) task {
	geo := v.attr.(*graph.Geometry)
	x, d := v.in[0], v.in[1]
	cin, cout := x.shape[2], d.shape[2]
	c := &convW[T]{p: p, x: x.root.buffer.ref, d: d.root.buffer.ref, y: y, n: x.shape[0], out: geo.Out, groups: geo.Groups,
		gx: cin / geo.Groups, gy: cout / geo.Groups, kx: x.k, kd: d.k, cout: cout, add: add}
	c.images = min(c.n, (stepRows+geo.Out-1)/geo.Out)
	c.xStep, c.dStep = geo.In*x.k*cin, geo.Out*d.k*cout
	// The table counts one direction's rows; those of the others lie a constant further on.
	off := offsets(geo, c.images, 1, cin)
	for i, o := range off {
		if o > 0 {
			off[i] = o * int32(x.k)
		}
	}
	p.extra += len(off) * 4 / sizeof[T]()
	c.k = kernel.GatherT{Taps: geo.Taps, Off: off, RowB: d.k * cout, TapC: c.gx * v.k * cout, RowC: v.k * cout, N: c.gy}
	if c.groups == 1 {
		c.k.N *= c.kd
	}
	c.width, c.cuts = c.gx, 1
	if geo.Taps < 4 && c.gx > 32 {
		c.width = 32
		c.cuts = (c.gx + c.width - 1) / c.width
	}
	c.tn = c.k.N
	c.k.Directions, c.k.StepA, c.k.StepC = c.kx, cin, cout
	c.taps = 1
	if p.lone() { // a part reads its rows once for all of its taps; otherwise threads share these
		c.taps = min(geo.Taps, mostTaps)
		for geo.Taps%c.taps > 0 {
			c.taps--
		}
	}
	if parts := geo.Taps / c.taps * c.cuts * c.groups; parts < 2*fewParts { // columns too
		pieces := max(1, min(2*fewParts/parts+1, c.k.N/96))
		c.tn = ((c.k.N+pieces-1)/pieces + 31) / 32 * 32
	}
	c.nn = (c.k.N + c.tn - 1) / c.tn
	return c
}

func (c *convW[T]) work() int { return c.n * c.out * c.k.Taps * c.gx * c.gy * c.groups * c.kx * c.kd }

func (c *convW[T]) parts() int { return c.k.Taps / c.taps * c.cuts * c.groups * c.nn }

func (c *convW[T]) run(wi, part int) {
	ws := &c.p.workers[wi].ws
	d := c.k
	d.T0 = part % (d.Taps / c.taps) * c.taps
	d.T1 = d.T0 + c.taps
	part /= d.Taps / c.taps
	lo := part % c.cuts * c.width
	part /= c.cuts
	col, g := part%c.nn*c.tn, part/c.nn
	d.Width, d.N = min(c.width, c.gx-lo), min(c.tn, d.N-col)
	x, b, y := c.p.at(c.x), c.p.at(c.d), c.p.at(c.y)
	kd := 1
	if c.groups > 1 {
		kd = c.kd
	}
	for j := range kd {
		d.Add = c.add
		for first := 0; first < c.n; first += c.images {
			d.Rows = min(c.images, c.n-first) * c.out
			kernel.MulGatherT(ws, &d, y[lo*d.RowC+j*c.cout+g*c.gy+col:],
				x[first*c.xStep+g*c.gx+lo:], b[first*c.dStep+j*c.cout+g*c.gy+col:])
			d.Add = true
		}
	}
}
