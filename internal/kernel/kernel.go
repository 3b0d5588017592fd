// Package kernel holds the matrix kernels of the house: a matrix product with
// free strides, a convolution as a matrix product whose rows are found through
// offsets, and the adjoint of that convolution in its weights, in float32 and
// float64; and both for three by three taps by Winograd's tiles, whose sums, bits
// and treatment of what is not finite are described there.
//
// # Which bits
//
// An output is a sum over p (over the taps and channels of a Gather, over the
// rows of a GatherT). The sum is cut into blocks whose lengths are constants of
// this package applied to K (to Taps and Width, to Rows); inside a block it is
// one chain of multiply-adds in the order of p that starts from zero; the blocks
// are added in order, the first one to what C holds if Add is set. Hence the bits
// of an output depend on the values that enter it, on K (Taps and Width, Rows)
// and on the path (see Path), and on nothing else: not on M and N, on the place
// of the output in the matrix, on strides, on alignment, or on how a caller cuts
// M and N into parts. Cutting K gives other bits.
//
// # Contract
//
// Every function runs in the calling goroutine and reads and writes only the
// elements that its description names. The output must not overlap an input. A
// description that is negative somewhere or names elements outside of the slices
// is a caller's bug and panics with one of this package's constants. A NaN or an
// infinity in an input reaches the outputs that it enters, and no others.
package kernel

//go:generate sh -c "cd _asm && go run . -out ../blocks_amd64.s -stubs ../blocks_stubs_amd64.go -pkg kernel"

import (
	"slices"
	"unsafe"
)

// Float is a type that the kernels compute in.
type Float interface{ float32 | float64 }

const (
	badShape  = "kernel: negative size or stride"
	shortA    = "kernel: a is too short"
	shortB    = "kernel: b is too short"
	shortC    = "kernel: c is too short"
	shortOff  = "kernel: Off is too short"
	badTaps   = "kernel: taps out of range"
	overlaidC = "kernel: rows of c overlap"
	badPanels = "kernel: panels of another shape"
)

// blockK is the most terms of a sum in one chain, for Mul and MulGather: nine taps
// of 64 channels are one block, and a panel of B of that depth (64 bytes wide) is
// about as large as a first-level cache. blockRows is the same for MulGatherT,
// where a panel of B takes half of it. Changing them changes bits.
const (
	blockK    = 640
	blockRows = 256
)

// cut divides n terms into the fewest blocks of at most most terms, as even as
// can be; all but the last have the given size.
func cut(n, most int) (size int) {
	parts := (n + most - 1) / most
	return (n + parts - 1) / parts
}

// The kernel families, see Path.
const (
	pathAVX512  = "avx512"
	pathAVX2    = "avx2"
	pathGeneric = "generic"
)

// path is the family in use; only tests change it.
var path = bestPath()

// Path names the kernel family in use: "avx512", "avx2" or "generic". Equal
// inputs give equal bits within one path, not across paths.
func Path() string { return path }

// Workspace holds the packing buffers of one worker. The zero value is ready; it
// grows on demand and is then reused, so that calls in a steady state allocate
// nothing. It must not be used by two goroutines at a time.
type Workspace[T Float] struct {
	bufA, bufB, zeros []T
	off               []int32
	steps             []step
	ends              []int
	terms             []shared[T]
	winograd          winogradBuffers[T]
}

// step is one term of a weight gradient: where the two rows begin, in bytes.
type step struct{ a, b int }

// stepsAhead is how many entries kernels may read after the last step.
const stepsAhead = 24

// grow makes *s at least n long; what it held is lost.
func grow[E any](s *[]E, n int) []E {
	if cap(*s) < n {
		*s = make([]E, n+n/4)
	}
	*s = (*s)[:cap(*s)]
	return (*s)[:n]
}

// zeroRow is n zeros.
func (ws *Workspace[T]) zeroRow(n int) []T {
	if len(ws.zeros) < n {
		ws.zeros = make([]T, n+n/4)
	}
	return ws.zeros[:n]
}

// Match makes the buffers of ws at least as large as those of another workspace, so that it allocates nothing for
// products that the other has done.
func (ws *Workspace[T]) Match(other *Workspace[T]) {
	match(&ws.bufA, other.bufA)
	match(&ws.bufB, other.bufB)
	match(&ws.zeros, other.zeros)
	match(&ws.off, other.off)
	match(&ws.steps, other.steps)
	match(&ws.ends, other.ends)
	for len(ws.terms) < len(other.terms) {
		ws.terms = append(ws.terms, shared[T]{})
	}
	for i := range other.terms {
		match(&ws.terms[i].rows, other.terms[i].rows)
		match(&ws.terms[i].columns, other.terms[i].columns)
	}
	match(&ws.winograd.v, other.winograd.v)
	match(&ws.winograd.m, other.winograd.m)
	match(&ws.winograd.acc, other.winograd.acc)
}

// match makes *s as long as another buffer where it is shorter; what it held is lost.
func match[E any](s *[]E, other []E) {
	if len(*s) < len(other) {
		*s = make([]E, len(other))
	}
}

// MatMul describes C = A·B, or C += A·B with Add, where A is M x K, B is K x N and
//
//	A[i,p] = a[i*RowA + p*ColA],  B[p,j] = b[p*RowB + j*ColB],  C[i,j] = c[i*RowC + j].
//
// Strides are in elements and may be any non-negative numbers, so that
// transposes and interleaved matrices are described without a copy. RowC is at
// least N if there is more than one row. With K = 0 the product is zero.
type MatMul struct {
	M, N, K    int
	RowA, ColA int
	RowB, ColB int
	RowC       int
	Add        bool
}

// Mul computes the product that d describes. It overwrites the M x N elements of
// C and nothing else.
func Mul[T Float](ws *Workspace[T], d *MatMul, c, a, b []T) {
	if trivial(d, c, a) {
		return
	}
	if !fits(len(b), d.K, d.RowB, d.N, d.ColB) {
		panic(shortB)
	}
	mul(ws, d, c, a, b, arranged[T]{})
}

// MulPanels is Mul with B in panels: columns first to first+N of theirs. RowB and ColB do not count. first is a multiple
// of PanelWidth.
func MulPanels[T Float](ws *Workspace[T], d *MatMul, c, a []T, b *Panels[T], first int) {
	e := *d
	from := b.check(&e, first)
	if !trivial(&e, c, a) {
		mul(ws, &e, c, a, from, arranged[T]{panels: b, first: first})
	}
}

// check panics unless p has the columns of d from first on. What it returns, with RowB and ColB that it sets, is B to the generic kernels.
func (p *Panels[T]) check(d *MatMul, first int) []T {
	if d.K != p.k || first < 0 || first%PanelWidth != 0 || first+d.N > p.n {
		panic(badPanels)
	}
	d.RowB, d.ColB = p.n, 1
	return p.data[min(first, len(p.data)):]
}

// trivial checks d but for B, and computes what takes no product.
func trivial[T Float](d *MatMul, c, a []T) bool {
	if min(d.M, d.N, d.K, d.RowA, d.ColA, d.RowB, d.ColB, d.RowC) < 0 {
		panic(badShape)
	}
	if d.M == 0 || d.N == 0 {
		return true
	}
	checkC(c, d.M, d.N, d.RowC)
	if d.K == 0 {
		if !d.Add {
			clearBlock(c, d.M, d.N, d.RowC)
		}
		return true
	}
	if !fits(len(a), d.M, d.RowA, d.K, d.ColA) {
		panic(shortA)
	}
	return false
}

// Gather describes a convolution as a matrix product whose rows of A are found
// through offsets:
//
//	C[r,j] (+)= Σ_t Σ_c a[Off[r*Taps+t]+c] · b[t*TapB + c*RowB + j],  C[r,j] = c[r*RowC + j],
//
// for 0 ≤ r < Rows, 0 ≤ t < Taps, 0 ≤ c < Width, 0 ≤ j < N. Offsets count elements
// from the start of a; a negative one stands for Width zeros, which are
// multiplied like any other value.
type Gather struct {
	Rows, Taps, Width, N int
	Off                  []int32
	TapB, RowB, RowC     int
	Add                  bool
}

// MulGather computes the product that d describes. It overwrites the Rows x N
// elements of C and nothing else.
func MulGather[T Float](ws *Workspace[T], d *Gather, c, a, b []T) {
	if trivialGather(d, c, a) {
		return
	}
	if !fits(len(b)-(d.Width-1)*d.RowB, d.Taps, d.TapB, d.N, 1) {
		panic(shortB)
	}
	mulGather(ws, d, c, a, b, nil, 0)
}

// MulGatherPanels is MulGather with b in panels: columns first to first+N of theirs. TapB and RowB do not count. first is a
// multiple of PanelWidth.
func MulGatherPanels[T Float](ws *Workspace[T], d *Gather, c, a []T, b *Panels[T], first int) {
	if d.Taps*d.Width != b.k || first < 0 || first%PanelWidth != 0 || first+d.N > b.n {
		panic(badPanels)
	}
	if trivialGather(d, c, a) {
		return
	}
	e := *d
	e.TapB, e.RowB = d.Width*b.n, b.n // of the generic kernels
	mulGather(ws, &e, c, a, b.data[first:], b, first)
}

// trivialGather checks d but for b, and computes what takes no product.
func trivialGather[T Float](d *Gather, c, a []T) bool {
	if min(d.Rows, d.Taps, d.Width, d.N, d.TapB, d.RowB, d.RowC) < 0 {
		panic(badShape)
	}
	if d.Rows == 0 || d.N == 0 {
		return true
	}
	checkC(c, d.Rows, d.N, d.RowC)
	if d.Taps == 0 || d.Width == 0 {
		if !d.Add {
			clearBlock(c, d.Rows, d.N, d.RowC)
		}
		return true
	}
	if len(d.Off)/d.Taps < d.Rows {
		panic(shortOff)
	}
	if m := int(maxOffset(d.Off[:d.Rows*d.Taps])); m >= 0 && m > len(a)-d.Width {
		panic(shortA)
	}
	return false
}

// PanelWidth is what columns of Panels may be taken in multiples of, for both types.
const PanelWidth = 16

// Panels are the right operand of many products, arranged once in the order in which the kernels walk through it.
type Panels[T Float] struct {
	k, n int
	data []T
}

// NewPanels makes room for a K x N matrix: for a Gather, K is Taps·Width.
func NewPanels[T Float](k, n int) *Panels[T] {
	return &Panels[T]{k, n, Zeros[T](panelsLen[T](k, n))}
}

// Len is the number of elements in memory, at least K·N.
func (p *Panels[T]) Len() int { return len(p.data) }

// Pack arranges matrices side by side, a number of them that begin at multiples of step, each as d describes it: K, N, RowB
// and ColB.
func (p *Panels[T]) Pack(d *MatMul, b []T, matrices, step int) {
	switch {
	case d.K != p.k || d.N*matrices != p.n:
		panic(badPanels)
	case p.k == 0 || p.n == 0:
		return
	case !fits(len(b)-(matrices-1)*step, d.K, d.RowB, d.N, d.ColB):
		panic(shortB)
	}
	p.pack(d, b, step)
}

// Weights says how the weights of a convolution lie, for K directions or 1: that of tap t, channel c, output o and direction j is at
// t*Tap + c*In + o*Out + j*Dir. No step is negative.
type Weights struct{ Tap, In, Out, Dir, K int }

// fit says whether there are n elements at least.
func (w *Weights) fit(n, taps, in, out int) bool {
	return min(w.Tap, w.In, w.Out, w.Dir) >= 0 && (taps-1)*w.Tap+(in-1)*w.In+(out-1)*w.Out+(w.K-1)*w.Dir < n
}

// PackGather arranges weights for d's Taps, Width and N, of which each direction has its share, side by side. They are those of some taps
// where these are named, else of all.
func (p *Panels[T]) PackGather(d *Gather, b []T, at Weights, taps []int) {
	all := d.Taps
	if taps != nil {
		all = 0
		for _, t := range taps {
			all = max(all, t+1)
		}
	}
	switch {
	case d.Taps*d.Width != p.k || d.N != p.n || at.K < 1 || d.N%at.K > 0:
		panic(badPanels)
	case taps != nil && len(taps) != d.Taps || slices.ContainsFunc(taps, func(t int) bool { return t < 0 }):
		panic(badTaps)
	case p.k == 0 || p.n == 0:
		return
	case !at.fit(len(b), all, d.Width, d.N/at.K):
		panic(shortB)
	}
	p.packGather(d, b, at, taps)
}

// packGeneric keeps the rows as they are: the generic kernels arrange what they use.
func (p *Panels[T]) packGeneric(d *MatMul, b []T, step int) {
	for i := range p.k {
		for j := range p.n {
			p.data[i*p.n+j] = b[j/d.N*step+i*d.RowB+j%d.N*d.ColB]
		}
	}
}

func (p *Panels[T]) packGatherGeneric(d *Gather, b []T, at Weights, taps []int) {
	n := d.N / at.K
	for t := range d.Taps {
		from := b[tapOf(taps, t)*at.Tap:]
		for i := range d.Width {
			to := p.data[(t*d.Width+i)*p.n:][:p.n]
			for j := range to {
				to[j] = from[i*at.In+j%n*at.Out+j/n*at.Dir]
			}
		}
	}
}

// tapOf is the t-th of the taps that are named, or of all.
func tapOf(taps []int, t int) int {
	if taps != nil {
		return taps[t]
	}
	return t
}

// GatherT is the adjoint of Gather in the weights:
//
//	C_t[i,j] (+)= Σ_r a[Off[r*Taps+t]+i] · b[r*RowB + j],  C_t[i,j] = c[t*TapC + i*RowC + j],
//
// for T0 ≤ t < T1, 0 ≤ i < Width, 0 ≤ j < N; the sum is over 0 ≤ r < Rows. Rows
// with a negative offset are left out of that tap's sum. With Directions there are as many of a and c, StepA and StepC apart, for one b.
type GatherT struct {
	Rows, Taps, T0, T1, Width, N int
	Off                          []int32
	RowB, TapC, RowC             int
	Add                          bool
	Directions                   int // 0 stands for 1
	StepA, StepC                 int
}

// MulGatherT computes the products that d describes. It overwrites the Width x N
// elements of C_t for the taps T0 ≤ t < T1 and nothing else. The blocks of a tap
// must not overlap those of another.
func MulGatherT[T Float](ws *Workspace[T], d *GatherT, c, a, b []T) {
	if min(d.Rows, d.Taps, d.Width, d.N, d.RowB, d.TapC, d.RowC, d.Directions, d.StepA, d.StepC) < 0 {
		panic(badShape)
	}
	last := max(d.Directions, 1) - 1
	if d.T0 < 0 || d.T1 < d.T0 || d.T1 > d.Taps {
		panic(badTaps)
	}
	if d.T0 == d.T1 || d.Width == 0 || d.N == 0 {
		return
	}
	checkC(c[min(len(c), (d.T1-1)*d.TapC+last*d.StepC):], d.Width, d.N, d.RowC)
	if d.Rows > 0 {
		if len(d.Off)/d.Taps < d.Rows {
			panic(shortOff)
		}
		if m := int(maxOffset(d.Off[:d.Rows*d.Taps])); m >= 0 && m > len(a)-d.Width-last*d.StepA {
			panic(shortA)
		}
		if !fits(len(b), d.Rows, d.RowB, d.N, 1) {
			panic(shortB)
		}
	}
	if !d.Add {
		for t := d.T0; t < d.T1; t++ {
			for x := range last + 1 {
				clearBlock(c[t*d.TapC+x*d.StepC:], d.Width, d.N, d.RowC)
			}
		}
	}
	if d.Rows > 0 {
		mulGatherT(ws, d, c, a, b)
	}
}

// fits says whether the last element of a rows x cols matrix lies within n.
func fits(n, rows, row, cols, col int) bool {
	return (rows-1)*row+(cols-1)*col < n
}

func checkC[T Float](c []T, m, n, row int) {
	if m > 1 && row < n {
		panic(overlaidC)
	}
	if !fits(len(c), m, row, n, 1) {
		panic(shortC)
	}
}

func clearBlock[T Float](c []T, m, n, row int) {
	for i := range m {
		clear(c[i*row : i*row+n])
	}
}

// sizeOf is the size of a T in bytes.
func sizeOf[T Float]() int {
	var z T
	return int(unsafe.Sizeof(z))
}
