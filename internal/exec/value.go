package exec

import (
	"slices"

	"hessdens/internal/graph"
)

// stage is when a value is computed. A value's stage follows from what it depends on, and a
// later stage only reads earlier ones.
type stage int

const (
	stageConst     stage = iota // parameters and constants: once for given parameters
	stageDirection              // and directions: once a product
	stagePrimal                 // and the batch, but no direction: once a batch
	stageTangent                // both: once a batch and group of directions
	numStages
)

// layout is how a value's elements lie in its buffer: element (i₀ … i_r; j) of direction j is at
// off + Σ iₐ·stride[a] + j·dir. A value that depends on no direction has dir = 0.
type layout struct {
	off    int
	stride []int
	dir    int
}

// value is one node of the graph, or a copy of one, as the program computes it. A value that
// only looks at another's buffer in a different way (root ≠ itself) is a view and costs nothing.
type value struct {
	id      int
	op      graph.Op
	attr    any
	in      []*value
	shape   []int
	k       int // directions, 1 where the value depends on none
	linear  bool
	integer bool
	stage   stage
	layout  layout
	root    *value
	home    *value // a root in whose buffer this one lies; nil where it has its own
	leaf    *graph.Node
	output  bool
	spread  int       // elements between a root's rows that nothing uses
	reduce  reduction // of a sum that a chain makes in passing
	buffer  *buffer   // of a root
	group   *group    // the pointwise chain that a root belongs to
}

// reduction is what a chain does with a value besides keeping it.
type reduction uint8

const (
	reduceNone      reduction = iota
	reducePositions           // sums over sumPositions(channels) positions each: [positions, channels] to [parts, channels]
	reduceChannels            // the sum over the last axis, which stays with size 1
)

// sumPositions is how many positions of so many channels a chain adds up in the program's type: a matter of one direction's shape.
func sumPositions(channels int) int { return min(max(3200/channels, 8), 200) }

// defaultLayout puts the direction axis before the last one.
func defaultLayout(shape []int, k int, linear bool) layout {
	l := layout{stride: make([]int, len(shape))}
	step := 1
	for a := len(shape) - 1; a >= 0; a-- {
		l.stride[a] = step
		step *= shape[a]
		if a == len(shape)-1 {
			l.dir = step
			step *= k
		}
	}
	if len(shape) == 0 {
		l.dir = 1
	}
	if !linear {
		l.dir = 0
	}
	return l
}

// room is the number of elements of a root's buffer: more than size where rows are spread.
func (v *value) room() int {
	if v.spread == 0 {
		return v.size()
	}
	return v.shape[0] * v.layout.stride[0]
}

func (v *value) isView() bool { return v.root != v }

// size is the number of elements, all directions included.
func (v *value) size() int { return count(v.shape) * v.k }

func count(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// contiguous says whether the value lies in the default layout from the start of its buffer.
func (v *value) contiguous() bool {
	d := &value{shape: v.shape, k: v.k, linear: v.linear, layout: defaultLayout(v.shape, v.k, v.linear)}
	return v.root.size() == v.size() && v.lies(d)
}

// lies says whether every element of x lies where that of v does in its buffer.
func (v *value) lies(x *value) bool {
	if !slices.Equal(v.shape, x.shape) || v.linear != x.linear || v.layout.off != x.layout.off || v.k > 1 && v.layout.dir != x.layout.dir {
		return false
	}
	for a, s := range v.shape {
		if s > 1 && v.layout.stride[a] != x.layout.stride[a] {
			return false
		}
	}
	return true
}

// axes are the sizes of the value's axes in the order of the default layout, the direction axis
// (where the value depends on directions) before the last.
func (v *value) axes() []int {
	if !v.linear {
		return v.shape
	}
	if len(v.shape) == 0 {
		return []int{v.k}
	}
	return slices.Insert(slices.Clone(v.shape), len(v.shape)-1, v.k)
}

// strides are the strides of in along the axes of v, which has the same shape; 0 along
// directions where in depends on none.
func (v *value) strides(in *value) []int {
	if !v.linear {
		return in.layout.stride
	}
	if len(v.shape) == 0 {
		return []int{in.layout.dir}
	}
	return slices.Insert(slices.Clone(in.layout.stride), len(v.shape)-1, in.layout.dir)
}

// reshape finds strides for the same elements in another shape, if there are any.
func reshape(shape, stride, to []int) ([]int, bool) {
	var os, ot []int
	for a, s := range shape {
		if s != 1 {
			os, ot = append(os, s), append(ot, stride[a])
		}
	}
	out := make([]int, len(to))
	oi, ni := 0, 0
	for ni < len(to) && oi < len(os) {
		nj, oj := ni+1, oi+1
		np, op := to[ni], os[oi]
		for np != op {
			if np < op {
				np *= to[nj]
				nj++
			} else {
				op *= os[oj]
				oj++
			}
		}
		for a := oi; a < oj-1; a++ {
			if ot[a] != os[a+1]*ot[a+1] {
				return nil, false
			}
		}
		out[nj-1] = ot[oj-1]
		for a := nj - 1; a > ni; a-- {
			out[a-1] = out[a] * to[a]
		}
		ni, oi = nj, oj
	}
	return out, true // what is left has size 1
}

// collapse joins neighbouring axes that every operand steps through as one. strides[o] are an
// operand's; the results share the returned sizes.
func collapse(axes []int, strides [][]int) ([]int, [][]int) {
	var size []int
	out := make([][]int, len(strides))
	for a, s := range axes {
		if s == 1 {
			continue
		}
		joins := len(size) > 0
		for o := range strides {
			if joins && out[o][len(size)-1] != strides[o][a]*s {
				joins = false
			}
		}
		if joins {
			size[len(size)-1] *= s
			for o := range strides {
				out[o][len(size)-1] = strides[o][a]
			}
			continue
		}
		size = append(size, s)
		for o := range strides {
			out[o] = append(out[o], strides[o][a])
		}
	}
	if len(size) == 0 {
		size = []int{1}
		for o := range strides {
			out[o] = []int{0}
		}
	}
	return size, out
}
