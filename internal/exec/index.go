package exec

import (
	"math"
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// rows multiplies positions by a constant sparse matrix.
type rows[T kernel.Float] struct {
	p        *Program[T]
	x, y     ref
	s        *graph.Sparse
	n, width int
}

func newRows[T kernel.Float](p *Program[T], v *value) task {
	x := v.in[0]
	return &rows[T]{p: p, x: x.root.buffer.ref, y: v.buffer.ref, s: v.attr.(*graph.Sparse), n: x.shape[0], width: x.shape[2] * x.k}
}

func (t *rows[T]) parts() int { return t.n }

func (t *rows[T]) run(_, n int) {
	s, width := t.s, t.width
	x, y := t.p.at(t.x)[n*s.Cols*width:], t.p.at(t.y)[n*s.Rows*width:]
	for r := range s.Rows {
		dst := y[r*width : (r+1)*width]
		clear(dst)
		for e := s.Start[r]; e < s.Start[r+1]; e++ {
			src := x[int(s.Col[e])*width:][:width]
			c := T(s.Val[e])
			for i, v := range src {
				dst[i] += c * v
			}
		}
	}
}

// argMax finds the largest of each window.
type argMax[T kernel.Float] struct {
	p    *Program[T]
	x    ref
	y    *value
	geo  *graph.Geometry
	n, c int
}

func newArgMax[T kernel.Float](p *Program[T], v *value) task {
	x := v.in[0]
	return &argMax[T]{p: p, x: x.root.buffer.ref, y: v, geo: v.attr.(*graph.Geometry), n: x.shape[0], c: x.shape[2]}
}

func (t *argMax[T]) parts() int { return t.n }

func (t *argMax[T]) run(_, n int) {
	geo, c := t.geo, t.c
	x, y := t.p.at(t.x)[n*geo.In*c:], t.p.intsOf(t.y)[n*geo.Out*c:]
	for q := range geo.Out {
		taps := geo.Index[q*geo.Taps : (q+1)*geo.Taps]
		for ch := range c {
			best, at := T(math.Inf(-1)), int32(-1)
			for _, p := range taps {
				if p < 0 {
					continue
				}
				if v := x[int(p)*c+ch]; at < 0 || v > best || v != v && best == best {
					best, at = v, p
				}
			}
			y[q*c+ch] = at
		}
	}
}

// take picks along the middle axis by recorded positions, or puts back.
type take[T kernel.Float] struct {
	p          *Program[T]
	x, y       ref
	ids        *value
	put        bool
	n, k, c    int
	long, many int // positions of the long side, of the other
}

func newTake[T kernel.Float](p *Program[T], v *value) task {
	x := v.in[0]
	t := &take[T]{p: p, x: x.root.buffer.ref, y: v.buffer.ref, ids: v.in[1], put: v.op == graph.OpPut, n: x.shape[0], k: x.k, c: x.shape[2],
		long: x.shape[1], many: v.shape[1]}
	if t.put {
		t.long, t.many = t.many, t.long
	}
	return t
}

func (t *take[T]) parts() int { return t.n }

func (t *take[T]) run(_, n int) {
	k, c := t.k, t.c
	ids := t.p.intsOf(t.ids)[n*t.many*c:]
	x, y := t.p.at(t.x), t.p.at(t.y)
	if t.put {
		x, y = x[n*t.many*k*c:], y[n*t.long*k*c:(n+1)*t.long*k*c]
		clear(y)
	} else {
		x, y = x[n*t.long*k*c:], y[n*t.many*k*c:]
	}
	for q := range t.many {
		at := ids[q*c : (q+1)*c]
		for j := range k {
			few := (q*k + j) * c
			if t.put {
				for ch, p := range at {
					y[(int(p)*k+j)*c+ch] += x[few+ch]
				}
				continue
			}
			for ch, p := range at {
				y[few+ch] = x[(int(p)*k+j)*c+ch]
			}
		}
	}
}

// gatherRows takes rows of a table, or adds rows up in one; a scatter is cut by columns, so that
// each sum has one order.
type gatherRows[T kernel.Float] struct {
	p       *Program[T]
	x, y    ref
	ids     *value
	scatter bool
	width   int
	chunk   int // columns of a scatter's part, rows of a gather's
}

func newGather[T kernel.Float](p *Program[T], v *value) task {
	x := v.in[0]
	t := &gatherRows[T]{p: p, x: x.root.buffer.ref, y: v.buffer.ref, ids: v.in[1], scatter: v.op == graph.OpScatter, width: v.shape[len(v.shape)-1] * v.k}
	if t.scatter {
		t.chunk = max(16, min(t.width, partLen/max(1, count(t.ids.shape))))
	} else {
		t.chunk = max(1, partLen/t.width)
	}
	return t
}

func (t *gatherRows[T]) parts() int {
	n := count(t.ids.shape)
	if t.scatter {
		n = t.width
	}
	return (n + t.chunk - 1) / t.chunk
}

func (t *gatherRows[T]) run(_, part int) {
	ids := t.p.intsOf(t.ids)
	x, y, w := t.p.at(t.x), t.p.at(t.y), t.width
	lo := part * t.chunk
	if !t.scatter {
		for i := lo; i < min(lo+t.chunk, len(ids)); i++ {
			copy(y[i*w:(i+1)*w], x[int(ids[i])*w:])
		}
		return
	}
	hi := min(lo+t.chunk, w)
	for r := 0; r < len(y); r += w {
		clear(y[r+lo : r+hi])
	}
	for i, id := range ids {
		dst := y[int(id)*w+lo : int(id)*w+hi]
		for q, v := range x[i*w+lo:][:len(dst)] {
			dst[q] += v
		}
	}
}

// oneHot is 1 where its integer says.
type oneHot[T kernel.Float] struct {
	p   *Program[T]
	y   ref
	ids *value
	c   int
}

func newOneHot[T kernel.Float](p *Program[T], v *value) task {
	return &oneHot[T]{p: p, y: v.buffer.ref, ids: v.in[0], c: int(v.attr.(graph.Axis))}
}

func (t *oneHot[T]) parts() int { return 1 }

func (t *oneHot[T]) run(_, _ int) {
	y := t.p.at(t.y)
	clear(y)
	for i, id := range t.p.intsOf(t.ids) {
		if id >= 0 && int(id) < t.c {
			y[i*t.c+int(id)] = 1
		}
	}
}

// realOf is integers as real numbers.
type realOf[T kernel.Float] struct {
	p   *Program[T]
	y   ref
	ids *value
}

func (t *realOf[T]) parts() int { return 1 }

func (t *realOf[T]) run(_, _ int) {
	y := t.p.at(t.y)
	for i, id := range t.p.intsOf(t.ids) {
		y[i] = T(id)
	}
}

// zeros clears a buffer.
type zeros[T kernel.Float] struct {
	p *Program[T]
	y ref
}

func (t *zeros[T]) parts() int { return (t.y.n + partLen - 1) / partLen }

func (t *zeros[T]) run(_, part int) {
	clear(t.p.at(t.y)[part*partLen : min((part+1)*partLen, t.y.n)])
}

// place copies a value into a part of another's buffer, cut along the outermost axis.
type place[T kernel.Float] struct {
	p        *Program[T]
	x, y     ref
	from, at int // first elements
	size     []int
	read, to []int // strides
	each     int   // of the outermost axis, in a part
}

// newPlace makes the tasks of a padding or a concatenation.
func newPlace[T kernel.Float](p *Program[T], v *value) []task {
	var tasks []task
	done := 0
	for _, x := range v.in {
		// The target seen in the source's shape.
		to := layout{stride: slices.Clone(v.layout.stride), dir: v.layout.dir}
		t := &place[T]{p: p, y: v.buffer.ref, x: x.root.buffer.ref, from: x.layout.off}
		if pad, ok := v.attr.(graph.PadAttr); ok {
			tasks = append(tasks, &zeros[T]{p: p, y: t.y})
			for a := range pad.Low {
				t.at += pad.Low[a] * to.stride[a]
				to.stride[a] *= 1 + pad.Between[a]
			}
		} else {
			axis := int(v.attr.(graph.Axis))
			t.at = v.layout.off + done*to.stride[axis]
			done += x.shape[axis]
			if v.holds(x) {
				continue
			}
		}
		target := &value{shape: x.shape, k: v.k, linear: v.linear, layout: to}
		size, strides := collapse(target.axes(), [][]int{target.strides(target), target.strides(x)})
		t.size, t.to, t.read = size, strides[0], strides[1]
		t.each = size[0]
		if len(size) > 1 {
			t.each = min(size[0], max(1, partLen/count(size[1:])))
		}
		tasks = append(tasks, t)
	}
	return tasks
}

func (t *place[T]) parts() int { return (t.size[0] + t.each - 1) / t.each }

func (t *place[T]) run(_, part int) {
	x, y := t.p.at(t.x), t.p.at(t.y)
	r := len(t.size) - 1
	n, to, read := t.size[r], t.to[r], t.read[r]
	var count [16]int
	first := part * t.each
	i, j := t.at+first*t.to[0], t.from+first*t.read[0]
	last := min(t.each, t.size[0]-first)
	for {
		if to == 1 {
			strided(y[i:i+n], x, j, read)
		} else {
			for e := range n {
				y[i+e*to] = x[j+e*read]
			}
		}
		a := r - 1
		for ; a >= 0; a-- {
			count[a]++
			i += t.to[a]
			j += t.read[a]
			if a > 0 && count[a] < t.size[a] || a == 0 && count[0] < last {
				break
			}
			i -= count[a] * t.to[a]
			j -= count[a] * t.read[a]
			count[a] = 0
		}
		if a < 0 {
			return
		}
	}
}
