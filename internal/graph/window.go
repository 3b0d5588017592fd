package graph

import (
	"fmt"
	"math"
	"slices"
)

// Window describes how a convolution or a pooling moves over the spatial axes of its input, of
// any number.
type Window struct {
	Size     []int // of the input, each axis
	Kernel   []int
	Stride   []int
	Dilation []int
	Low      []int // zeros before
	High     []int // zeros after
	Groups   int   // of channels; 0 means 1
}

// Out is the output size: ⌊(size + low + high − dilation·(kernel−1) − 1)/stride⌋ + 1 each axis.
func (w Window) Out() []int {
	out := make([]int, len(w.Size))
	for i, s := range w.Size {
		span := s + w.Low[i] + w.High[i] - w.Dilation[i]*(w.Kernel[i]-1) - 1
		if span < 0 {
			fail("window: a kernel of %v (dilation %v) does not fit %v with padding %v and %v", w.Kernel, w.Dilation, w.Size, w.Low, w.High)
		}
		out[i] = span/w.Stride[i] + 1
	}
	return out
}

// Square is a window over two axes with the same kernel, stride and padding on each.
func Square(h, w, kernel, stride, pad int) Window {
	two := func(v int) []int { return []int{v, v} }
	return Window{Size: []int{h, w}, Kernel: two(kernel), Stride: two(stride), Dilation: two(1), Low: two(pad), High: two(pad)}
}

// Geometry is a window as a table: Index[q·Taps + t] is the input position that tap t of output
// position q reads, -1 outside. For one tap no two outputs read the same position, so that the
// transposed table exists. Positions count pixels of one example, row-major.
type Geometry struct {
	In, Out, Taps, Groups int
	Index                 []int32
	Window                Window // that the table, or the one it is the transpose of, was made from
	Transpose             bool
	name                  string
	transposed            *Geometry
}

func (geo *Geometry) key() string { return geo.name }

// Geometry makes the table of a window; equal windows share one.
func (g *Graph) Geometry(w Window) *Geometry {
	if w.Groups == 0 {
		w.Groups = 1
	}
	d := len(w.Size)
	if len(w.Kernel) != d || len(w.Stride) != d || len(w.Dilation) != d || len(w.Low) != d || len(w.High) != d {
		fail("window: %v has a wrong number of axes", w)
	}
	name := fmt.Sprint(w)
	if geo, ok := g.geos[name]; ok {
		return geo
	}
	for i := range d {
		if w.Size[i] < 1 || w.Kernel[i] < 1 || w.Stride[i] < 1 || w.Dilation[i] < 1 || w.Low[i] < 0 || w.High[i] < 0 {
			fail("window: %v has a size below 1 or a negative padding", w)
		}
	}
	out := w.Out()
	geo := &Geometry{In: size(w.Size), Out: size(out), Taps: size(w.Kernel), Groups: w.Groups, Window: w, name: name}
	if float64(geo.Out)*float64(geo.Taps) > math.MaxInt32 {
		fail("window: %v is too large", w)
	}
	geo.Index = make([]int32, geo.Out*geo.Taps)
	q, t := make([]int, d), make([]int, d)
	for i := range geo.Out {
		unravel(i, out, q)
		for j := range geo.Taps {
			unravel(j, w.Kernel, t)
			p := 0
			for a := range d {
				x := q[a]*w.Stride[a] - w.Low[a] + t[a]*w.Dilation[a]
				if x < 0 || x >= w.Size[a] {
					p = -1
					break
				}
				p = p*w.Size[a] + x
			}
			geo.Index[i*geo.Taps+j] = int32(p)
		}
	}
	g.geos[name] = geo
	return geo
}

func unravel(i int, shape, dst []int) {
	for a := len(shape) - 1; a >= 0; a-- {
		dst[a] = i % shape[a]
		i /= shape[a]
	}
}

// Transposed is the table with inputs and outputs exchanged.
// It is made when it is first asked for: a maximum over a long axis never needs it, and its size is the
// square of that axis.
func (geo *Geometry) Transposed() *Geometry {
	if geo.transposed != nil {
		return geo.transposed
	}
	if float64(geo.In)*float64(geo.Taps) > math.MaxInt32 {
		fail("window: %s is too large", geo.name)
	}
	tr := &Geometry{In: geo.Out, Out: geo.In, Taps: geo.Taps, Groups: geo.Groups,
		Window: geo.Window, Transpose: !geo.Transpose, name: geo.name + "ᵀ", transposed: geo}
	tr.Index = slices.Repeat([]int32{-1}, tr.Out*tr.Taps)
	for i, p := range geo.Index {
		if p >= 0 {
			tr.Index[int(p)*geo.Taps+i%geo.Taps] = int32(i / geo.Taps)
		}
	}
	geo.transposed = tr
	return tr
}

// Conv is a convolution (correlation): out[n,q,o] = Σₜ Σ_c x[n, Index[q,t], c]·w[t,c,o], where o and c
// are of one group; x [N,P,Cin], w [taps, Cin/groups, Cout].
func (g *Graph) Conv(x, w *Node, geo *Geometry) *Node {
	if x.Rank() != 3 || w.Rank() != 3 || x.shape[1] != geo.In || w.shape[0] != geo.Taps ||
		x.shape[2] != w.shape[1]*geo.Groups || w.shape[2]%geo.Groups != 0 {
		fail("conv: input %v, weight %v, %d positions, %d taps, %d groups do not fit", x.shape, w.shape, geo.In, geo.Taps, geo.Groups)
	}
	return g.add(OpConv, Float, []int{x.shape[0], geo.Out, w.shape[2]}, geo, x, w)
}

// ConvW is the gradient of Conv in its weight: out[t,c,o] = Σₙ Σ_q x[n, Index[q,t], c]·d[n,q,o].
func (g *Graph) ConvW(x, d *Node, geo *Geometry) *Node {
	if x.Rank() != 3 || d.Rank() != 3 || x.shape[0] != d.shape[0] || x.shape[1] != geo.In || d.shape[1] != geo.Out ||
		x.shape[2]%geo.Groups != 0 || d.shape[2]%geo.Groups != 0 {
		fail("convw: input %v, cotangent %v, %d and %d positions do not fit", x.shape, d.shape, geo.In, geo.Out)
	}
	return g.add(OpConvW, Float, []int{geo.Taps, x.shape[2] / geo.Groups, d.shape[2]}, geo, x, d)
}

// swapChannels turns a weight [taps, Cin/groups, Cout] into that of the transposed convolution,
// [taps, Cout/groups, Cin].
func (g *Graph) swapChannels(w *Node, groups int) *Node {
	t, ci, co := w.shape[0], w.shape[1], w.shape[2]
	w = g.Reshape(w, t, ci, groups, co/groups)
	return g.Reshape(g.Transpose(w, 0, 3, 2, 1), t, co/groups, groups*ci)
}

// ArgMax finds the position of the largest value in each window, the first where several are
// equal, a NaN before all: x [N,P,C] to integers [N,Q,C]. Its derivative is zero.
func (g *Graph) ArgMax(x *Node, geo *Geometry) *Node {
	if x.Rank() != 3 || x.shape[1] != geo.In {
		fail("argmax: input %v, %d positions do not fit", x.shape, geo.In)
	}
	for q := range geo.Out {
		if !slices.ContainsFunc(geo.Index[q*geo.Taps:(q+1)*geo.Taps], func(p int32) bool { return p >= 0 }) {
			fail("argmax: window %d lies outside its input", q)
		}
	}
	return g.add(OpArgMax, Int, []int{x.shape[0], geo.Out, x.shape[2]}, geo, x)
}

// MaxPool is the largest value in each window: x [N,P,C] to [N,Q,C].
func (g *Graph) MaxPool(x *Node, geo *Geometry) *Node { return g.Take(x, g.ArgMax(x, geo)) }

// ReduceMax is the largest along an axis, which stays with size 1.
func (g *Graph) ReduceMax(x *Node, axis int) *Node {
	if axis < 0 {
		axis += x.Rank()
	}
	if axis < 0 || axis >= x.Rank() {
		fail("reducemax: no axis %d in %v", axis, x.shape)
	}
	shape := slices.Clone(x.shape)
	r := shape[axis]
	shape[axis] = 1
	geo := g.Geometry(Window{Size: []int{r}, Kernel: []int{r}, Stride: []int{1}, Dilation: []int{1}, Low: []int{0}, High: []int{0}})
	flat := g.Reshape(x, size(shape[:axis]), r, size(shape[axis+1:]))
	return g.Reshape(g.MaxPool(flat, geo), shape...)
}

// Sparse is a constant matrix [Rows, Cols] in compressed rows: pooling by averages, resizing,
// padding by copies are such matrices on positions.
type Sparse struct {
	Rows, Cols int
	Start      []int32 // [Rows+1]
	Col        []int32
	Val        []float64
	name       string
	transposed *Sparse
}

func (s *Sparse) key() string { return s.name }

// Transposed is the matrix with rows and columns exchanged.
func (s *Sparse) Transposed() *Sparse {
	if s.transposed != nil {
		return s.transposed
	}
	t := &Sparse{Rows: s.Cols, Cols: s.Rows, Start: make([]int32, s.Cols+1), Col: make([]int32, len(s.Col)), Val: make([]float64, len(s.Val)), name: s.name + "ᵀ", transposed: s}
	for _, c := range s.Col {
		t.Start[c+1]++
	}
	for i := range s.Cols {
		t.Start[i+1] += t.Start[i]
	}
	at := slices.Clone(t.Start)
	for r := range s.Rows {
		for e := s.Start[r]; e < s.Start[r+1]; e++ {
			c := s.Col[e]
			t.Col[at[c]], t.Val[at[c]] = int32(r), s.Val[e]
			at[c]++
		}
	}
	s.transposed = t
	return t
}

// NewSparse makes a matrix from its rows; name is its identity within a graph: equal names,
// equal matrices.
func NewSparse(name string, rows, cols int, row func(r int) (col []int32, val []float64)) *Sparse {
	s := &Sparse{Rows: rows, Cols: cols, Start: make([]int32, 1, rows+1), name: name}
	for r := range rows {
		c, v := row(r)
		s.Col, s.Val = append(s.Col, c...), append(s.Val, v...)
		s.Start = append(s.Start, int32(len(s.Col)))
	}
	return s
}

// Rows multiplies positions by a constant matrix: out[n,q,c] = Σ_p S[q,p]·x[n,p,c].
func (g *Graph) Rows(x *Node, s *Sparse) *Node {
	if x.Rank() != 3 || x.shape[1] != s.Cols {
		fail("rows: %v by a matrix [%d %d]", x.shape, s.Rows, s.Cols)
	}
	return g.add(OpRows, Float, []int{x.shape[0], s.Rows, x.shape[2]}, s, x)
}

// AvgPool averages each window: x [N,P,C] to [N,Q,C]. Zeros of the padding count where
// countPad says so.
func (g *Graph) AvgPool(x *Node, geo *Geometry, countPad bool) *Node {
	s := NewSparse(fmt.Sprintf("avg %t %s", countPad, geo.name), geo.Out, geo.In, func(q int) (col []int32, val []float64) {
		for _, p := range geo.Index[q*geo.Taps : (q+1)*geo.Taps] {
			if p >= 0 {
				col = append(col, p)
			}
		}
		n := len(col)
		if countPad {
			n = geo.Taps
		}
		for range col {
			val = append(val, 1/float64(n))
		}
		return col, val
	})
	return g.Rows(x, s)
}
