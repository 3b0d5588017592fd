package exec

import (
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

// conv is a convolution, cut by images.
type conv[T kernel.Float] struct {
	p            *Program[T]
	x, w, y      ref
	d            kernel.Gather // of all images of a part
	images, n    int           // of a part, of the batch
	perImage     int           // rows
	xStep, yStep int           // elements an image
	groups       int
	gx, gy       int // channels of a group
	kx, kw       int
	chunk, cuts  int // rows of a part, parts of a set of images
}

func newConv[T kernel.Float](p *Program[T], v *value) task {
	geo := v.attr.(*graph.Geometry)
	x, w := v.in[0], v.in[1]
	cin, cout := x.shape[2], v.shape[2]
	c := &conv[T]{p: p, x: x.root.buffer.ref, w: w.root.buffer.ref, y: v.buffer.ref, n: x.shape[0], groups: geo.Groups,
		gx: cin / geo.Groups, gy: cout / geo.Groups, kx: x.k, kw: w.k}
	c.images = min(c.n, (rowsAtOnce+geo.Out-1)/geo.Out)
	c.perImage = geo.Out * c.kx
	c.xStep, c.yStep = geo.In*c.kx*cin, geo.Out*v.k*cout
	c.d = kernel.Gather{Taps: geo.Taps, Width: c.gx, Off: offsets(geo, c.images, c.kx, cin),
		N: c.gy, TapB: c.gx * c.kw * cout, RowB: c.kw * cout, RowC: cout * c.kw}
	p.extra += len(c.d.Off) * 4 / sizeof[T]()
	if c.groups == 1 {
		c.d.N *= c.kw
	}
	// Large images are cut between rows.
	c.chunk = c.images * c.perImage
	work := c.perImage * geo.Taps * c.gx * c.d.N
	c.cuts = 1
	if c.images == 1 && work > 4*partWork {
		c.cuts = min(work/(2*partWork), max(1, c.perImage/rowsAtOnce))
		c.chunk = (c.perImage/c.cuts + 11) / 12 * 12
		c.cuts = (c.perImage + c.chunk - 1) / c.chunk
	}
	return c
}

func (c *conv[T]) work() int { return c.n * c.perImage * c.d.Taps * c.gx * c.gy * c.groups * c.kw }

func (c *conv[T]) parts() int { return (c.n + c.images - 1) / c.images * c.cuts }

func (c *conv[T]) run(wi, part int) {
	ws := &c.p.workers[wi].ws
	first := part / c.cuts * c.images
	row := part % c.cuts * c.chunk
	d := c.d
	d.Rows = min(c.chunk, min(c.images, c.n-first)*c.perImage-row)
	d.Off = d.Off[row*d.Taps:]
	x, w, y := c.p.at(c.x)[first*c.xStep:], c.p.at(c.w), c.p.at(c.y)[first*c.yStep+row*d.RowC:]
	if c.groups == 1 {
		kernel.MulGather(ws, &d, y, x, w)
		return
	}
	for g := range c.groups {
		for j := range c.kw {
			at := j*c.gy*c.groups + g*c.gy
			kernel.MulGather(ws, &d, y[at:], x[g*c.gx:], w[at:])
		}
	}
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
	width, cuts  int // input channels of a part, parts of a tap
}

// stepRows is how many positions a weight gradient adds up before it goes to memory: a matter
// of the shape of one direction.
const stepRows = 1024

func newConvW[T kernel.Float](p *Program[T], v *value) task {
	geo := v.attr.(*graph.Geometry)
	x, d := v.in[0], v.in[1]
	cin, cout := x.shape[2], d.shape[2]
	c := &convW[T]{p: p, x: x.root.buffer.ref, d: d.root.buffer.ref, y: v.buffer.ref, n: x.shape[0], out: geo.Out, groups: geo.Groups,
		gx: cin / geo.Groups, gy: cout / geo.Groups, kx: x.k, kd: d.k, cout: cout}
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
	return c
}

func (c *convW[T]) work() int { return c.n * c.out * c.k.Taps * c.gx * c.gy * c.groups * c.kx * c.kd }

func (c *convW[T]) parts() int { return c.k.Taps * c.cuts * c.kx * c.groups }

func (c *convW[T]) run(wi, part int) {
	ws := &c.p.workers[wi].ws
	d := c.k
	d.T0 = part % d.Taps
	d.T1 = d.T0 + 1
	part /= d.Taps
	lo := part % c.cuts * c.width
	part /= c.cuts
	jx, g := part%c.kx, part/c.kx
	d.Width = min(c.width, c.gx-lo)
	x, b, y := c.p.at(c.x), c.p.at(c.d), c.p.at(c.y)
	kd := 1
	if c.groups > 1 {
		kd = c.kd
	}
	for j := range kd {
		d.Add = false
		for first := 0; first < c.n; first += c.images {
			d.Rows = min(c.images, c.n-first) * c.out
			kernel.MulGatherT(ws, &d, y[lo*d.RowC+(j+jx)*c.cout+g*c.gy:],
				x[first*c.xStep+jx*c.gx*c.groups+g*c.gx+lo:], b[first*c.dStep+j*c.cout+g*c.gy:])
			d.Add = true
		}
	}
}
