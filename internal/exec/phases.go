package exec

import (
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

const (
	phaseTile = 1 << 15 // elements that a part of a phased convolution has in a cache,
	phaseRows = 48      // and rows of it at least
)

// phased is a convolution of which an output position has few of the taps, as the adjoint of one with a stride: outputs whose
// coordinates agree modulo the stride have the same ones. Each such phase is a convolution of its own, made in tiles next
// to each other, which are then put where they belong.
type phased[T kernel.Float] struct {
	p            *Program[T]
	x, y         ref
	add          bool
	images, n    int // of a set, of the batch
	kx, cin      int
	xStep, yStep int // elements an image
	each         int // of an output position
	phases       []phase[T]
	setParts     int
}

// phase is the outputs of one phase in a set of images.
type phase[T kernel.Float] struct {
	at       []int // positions in an image
	d        kernel.Gather
	panels   *kernel.Panels[T] // nil where there is no tap
	tile     int               // positions of a part
	last     int               // parts of the phases up to this one
	multiply int               // multiply-adds of an image
}

// newPhased makes the task of a convolution that is written to y, or added to what is there; nil where it is not worth it, or the weights
// are not there before.
func newPhased[T kernel.Float](p *Program[T], v *value, y ref, add bool) *phased[T] {
	geo := v.attr.(*graph.Geometry)
	x, w := v.in[0], v.in[1]
	if !geo.Transpose || !slices.ContainsFunc(geo.Window.Stride, func(s int) bool { return s > 1 }) || !arrangedWeights(geo, v.stage, w) {
		return nil
	}
	cin, columns := x.shape[2], v.shape[2]*w.k
	c := &phased[T]{p: p, x: x.root.buffer.ref, y: y, add: add, n: x.shape[0], kx: x.k, cin: cin,
		xStep: geo.In * x.k * cin, yStep: geo.Out * v.k * v.shape[2], each: v.k * v.shape[2]}
	c.images = min(c.n, (rowsAtOnce+geo.Out-1)/geo.Out)
	phases := phasesOf(geo)
	used := 0
	for _, at := range phases {
		used += len(at) * len(tapsOf(geo, at))
	}
	if 4*used > 3*geo.Out*geo.Taps {
		return nil
	}
	for _, at := range phases {
		taps := tapsOf(geo, at)
		ph := phase[T]{at: at, multiply: len(at) * x.k * len(taps) * cin * columns}
		ph.d = kernel.Gather{Taps: len(taps), Width: cin, N: columns, RowC: columns}
		for n := range c.images {
			for _, q := range at {
				for j := range x.k {
					for _, t := range taps {
						o := int32(-1)
						if p := int(geo.Index[q*geo.Taps+t]); p >= 0 {
							o = int32(((n*geo.In+p)*x.k + j) * cin)
						}
						ph.d.Off = append(ph.d.Off, o)
					}
				}
			}
		}
		p.extra += len(ph.d.Off) * 4 / sizeof[T]()
		if len(taps) > 0 {
			ph.panels = p.panelsOfConv(w, ph.d, taps)
		}
		ph.tile = max(phaseTile/(x.k*columns), (phaseRows+x.k-1)/x.k, 1)
		c.setParts += cuts(c.images*len(at), ph.tile)
		ph.last = c.setParts
		c.phases = append(c.phases, ph)
	}
	return c
}

// phasesOf are the output positions whose coordinates agree modulo the stride.
func phasesOf(geo *graph.Geometry) [][]int {
	w, index := geo.Window, map[int]int{}
	var phases [][]int
	for q := range geo.Out {
		key, rest, unit := 0, q, 1
		for a := len(w.Size) - 1; a >= 0; a-- {
			key += rest % w.Size[a] % w.Stride[a] * unit
			unit *= w.Stride[a]
			rest /= w.Size[a]
		}
		i, ok := index[key]
		if !ok {
			i = len(phases)
			index[key], phases = i, append(phases, nil)
		}
		phases[i] = append(phases[i], q)
	}
	return phases
}

// tapsOf are those that any of the output positions has.
func tapsOf(geo *graph.Geometry, at []int) (taps []int) {
	for t := range geo.Taps {
		if slices.ContainsFunc(at, func(q int) bool { return geo.Index[q*geo.Taps+t] >= 0 }) {
			taps = append(taps, t)
		}
	}
	return taps
}

func (c *phased[T]) work() (sum int) {
	for i := range c.phases {
		sum += c.n * c.phases[i].multiply
	}
	return sum
}

// tileLen is the memory that a part needs.
func (c *phased[T]) tileLen() (n int) {
	for _, ph := range c.phases {
		n = max(n, ph.tile*c.each)
	}
	return n
}

func (c *phased[T]) parts() int { return cuts(c.n, c.images) * c.setParts }

func (c *phased[T]) run(wi, part int) {
	first := part / c.setParts * c.images
	part %= c.setParts
	i, lo := 0, 0
	for ; part >= c.phases[i].last; i++ {
		lo = c.phases[i].last
	}
	ph := &c.phases[i]
	lo = (part - lo) * ph.tile
	hi := min(lo+ph.tile, min(c.images, c.n-first)*len(ph.at))
	if hi <= lo {
		return // of the last set, which is smaller
	}
	w := c.p.workers[wi]
	tile, d := w.block[:(hi-lo)*c.each], ph.d
	d.Rows, d.Off = (hi-lo)*c.kx, d.Off[lo*c.kx*d.Taps:]
	if ph.panels != nil {
		kernel.MulGatherPanels(&w.ws, &d, tile, c.p.at(c.x)[first*c.xStep:], ph.panels, 0)
	} else if clear(tile); c.add {
		return
	}
	y := c.p.at(c.y)[first*c.yStep:]
	for ; lo < hi; lo++ {
		dst := y[lo/len(ph.at)*c.yStep+ph.at[lo%len(ph.at)]*c.each:][:c.each]
		if c.add {
			kernel.AddRows(dst, tile, 1, c.each)
		} else {
			copy(dst, tile)
		}
		tile = tile[c.each:]
	}
}
