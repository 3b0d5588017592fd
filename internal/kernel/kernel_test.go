package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// paths are the families that this machine has.
func paths() []string {
	switch bestPath() {
	case pathAVX512:
		return []string{pathAVX512, pathAVX2, pathGeneric}
	case pathAVX2:
		return []string{pathAVX2, pathGeneric}
	}
	return []string{pathGeneric}
}

// onPaths runs f once for every family and both precisions.
func onPaths(t *testing.T, f32 func(*testing.T), f64 func(*testing.T)) {
	for _, p := range paths() {
		force(t, p)
		t.Run(p+"/float32", f32)
		t.Run(p+"/float64", f64)
	}
}

func force(t testing.TB, p string) {
	old := path
	path = p
	t.Cleanup(func() { path = old })
}

// eps is the unit roundoff.
func eps[T Float]() float64 {
	if sizeOf[T]() == 4 {
		return 0x1p-24
	}
	return 0x1p-53
}

// tolSum is c in the error bound c·K·ε·Σ|xy|. A value of C that is added to
// counts as one term.
const tolSum = 2

const guard = 70 // elements before and after a buffer

// buffer is a slice of n elements between guards, starting at any multiple of
// the element's size. What is not filled by the test is NaN, so that a value that
// enters from outside of the described elements shows.
type buffer[T Float] struct {
	all, v []T
}

func newBuffer[T Float](rng *rand.Rand, n int) *buffer[T] {
	all := make([]T, n+2*guard+16)
	for i := range all {
		all[i] = T(math.NaN())
	}
	at := guard + rng.IntN(16)
	return &buffer[T]{all, all[at : at+n : at+n]}
}

// clone copies the buffer with its guards.
func (b *buffer[T]) clone() *buffer[T] {
	all := append([]T(nil), b.all...)
	at := (uintptr(unsafe.Pointer(unsafe.SliceData(b.v))) - uintptr(unsafe.Pointer(&b.all[0]))) / unsafe.Sizeof(all[0])
	return &buffer[T]{all, all[at : int(at)+len(b.v) : int(at)+len(b.v)]}
}

// same says whether two arrays hold the same bits, NaN included.
func same[T Float](a, b []T) bool {
	for i := range a {
		if a[i] != b[i] && (a[i] == a[i] || b[i] == b[i]) {
			return false
		}
		if math.Signbit(float64(a[i])) != math.Signbit(float64(b[i])) && a[i] == a[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func fill[T Float](rng *rand.Rand, v []T, rows, row, cols, col int) {
	for i := range rows {
		for j := range cols {
			v[i*row+j*col] = T(rng.NormFloat64())
		}
	}
}

// span is the length of a slice that just holds the matrix.
func span(rows, row, cols, col int) int {
	if rows == 0 || cols == 0 {
		return 0
	}
	return (rows-1)*row + (cols-1)*col + 1
}

// sum is a reference output: the sum, the sum of absolute values, the terms.
type sum struct {
	v, abs float64
	n      int
}

func (s *sum) add(x, y float64) {
	s.v += x * y
	s.abs += math.Abs(x * y)
	s.n++
}

// check compares blocks of m x n outputs, block t beginning at c[t*step] for
// t0 ≤ t < t1, with the reference want(t, i, j), and all the rest of c with what it
// was before.
func check[T Float](tb testing.TB, name string, got, before *buffer[T], t0, t1, step, m, n, row int, add bool, want func(t, i, j int) sum) {
	tb.Helper()
	rest := got.clone()
	for t := t0; t < t1; t++ {
		for i := range m {
			for j := range n {
				w := want(t, i, j)
				w.n++
				x := t*step + i*row + j
				if add {
					w.add(float64(before.v[x]), 1)
				}
				if diff := math.Abs(float64(got.v[x]) - w.v); !(diff <= tolSum*float64(w.n)*eps[T]()*w.abs) {
					tb.Fatalf("%s: %d [%d,%d]: got %v, want %v", name, t, i, j, got.v[x], w.v)
				}
				rest.v[x] = before.v[x]
			}
		}
	}
	if !same(rest.all, before.all) {
		tb.Fatalf("%s: wrote outside of C", name)
	}
}

// mulCase is a random instance of d.
type mulCase[T Float] struct {
	d       MatMul
	a, b, c *buffer[T]
}

func newMul[T Float](rng *rand.Rand, d MatMul) *mulCase[T] {
	q := &mulCase[T]{d,
		newBuffer[T](rng, span(d.M, d.RowA, d.K, d.ColA)),
		newBuffer[T](rng, span(d.K, d.RowB, d.N, d.ColB)),
		newBuffer[T](rng, span(d.M, d.RowC, d.N, 1))}
	if d.M > 0 && d.N > 0 && d.K > 0 {
		fill(rng, q.a.v, d.M, d.RowA, d.K, d.ColA)
		fill(rng, q.b.v, d.K, d.RowB, d.N, d.ColB)
	}
	if d.Add {
		fill(rng, q.c.v, d.M, d.RowC, d.N, 1)
	}
	return q
}

func (q *mulCase[T]) check(t testing.TB, ws *Workspace[T]) *buffer[T] {
	t.Helper()
	got := q.c.clone()
	a, b := q.a.clone(), q.b.clone()
	Mul(ws, &q.d, got.v, q.a.v, q.b.v)
	d := q.d
	check(t, fmt.Sprintf("%+v", d), got, q.c, 0, 1, 0, d.M, d.N, d.RowC, d.Add, func(_, i, j int) (s sum) {
		for p := range d.K {
			s.add(float64(q.a.v[i*d.RowA+p*d.ColA]), float64(q.b.v[p*d.RowB+j*d.ColB]))
		}
		return
	})
	if !same(a.all, q.a.all) || !same(b.all, q.b.all) {
		t.Fatalf("%+v: an input changed", d)
	}
	return got
}

// layouts are the ways in which a matrix may lie: rows, columns, rows with a gap,
// one probe of a [row, probe, column] array, one of a [column, probe, row] array,
// every third element.
func layout(kind, rows, cols int) (row, col int) {
	switch kind {
	case 0:
		return cols, 1
	case 1:
		return 1, rows
	case 2:
		return cols + 5, 1
	case 3:
		return 3 * cols, 1
	case 4:
		return 1, 3 * rows
	}
	return 3 * cols, 3
}

const layouts = 6

func TestMul(t *testing.T) {
	onPaths(t, testMul[float32], testMul[float64])
}

// Sizes are 0 to 4 blocks and one more in each direction, one at a time, with a
// few sizes in the other two; each with a layout of its own.
func testMul[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, uint64(sizeOf[T]())))
	var ws Workspace[T]
	n := 0
	try := func(m, nn, k int) {
		n++
		d := MatMul{M: m, N: nn, K: k, RowC: nn + n%3, Add: n%2 == 0}
		d.RowA, d.ColA = layout(rng.IntN(layouts), m, k)
		d.RowB, d.ColB = layout(rng.IntN(layouts), k, nn)
		newMul[T](rng, d).check(t, &ws)
	}
	some := []int{0, 1, 2, 5, 16, 33}
	for x := 0; x < 66; x += stride {
		for _, y := range some {
			for _, z := range some[:5] {
				try(x, y, z)
				try(y, x, z)
				try(y, z, x)
			}
		}
	}
	for _, k := range []int{blockK - 1, blockK, blockK + 1, 2*blockK + 1, 4*blockK + 1} {
		for l := range layouts * layouts {
			d := MatMul{M: 13, N: 18, K: k, RowC: 20, Add: l%2 == 0}
			d.RowA, d.ColA = layout(l%layouts, d.M, k)
			d.RowB, d.ColB = layout(l/layouts, k, d.N)
			if (k > blockK+1 || stride > 1) && l%5 > 0 {
				continue
			}
			newMul[T](rng, d).check(t, &ws)
		}
	}
	if stride == 1 {
		// several walks over A, several packings of B
		try(700, 40, 300)
		try(300, 530, 20)
		try(130, 70, blockK)
		try(2*blockK, 70, 150)
	}
}

// One vector of B for all columns, one row of A for all rows.
func TestMulZeroStrides(t *testing.T) {
	onPaths(t, testMulZeroStrides[float32], testMulZeroStrides[float64])
}

func testMulZeroStrides[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var ws Workspace[T]
	newMul[T](rng, MatMul{M: 7, N: 19, K: 30, RowA: 0, ColA: 1, RowB: 1, ColB: 0, RowC: 19}).check(t, &ws)
	newMul[T](rng, MatMul{M: 7, N: 35, K: 30, RowA: 1, ColA: 0, RowB: 0, ColB: 1, RowC: 40, Add: true}).check(t, &ws)
	newMul[T](rng, MatMul{M: 1, N: 35, K: 30, RowA: 0, ColA: 1, RowB: 35, ColB: 1, RowC: 0}).check(t, &ws)
}

// image is the geometry of a convolution.
type image struct {
	images, h, w, ksize, stride, pad, dilation, probes int
}

// table gives the offsets of a Gather over channels-last images of width
// channels, rows in the order (image, y, x, probe).
func (g image) table(width int) (off []int32, rows, taps, size int) {
	oh := (g.h+2*g.pad-g.dilation*(g.ksize-1)-1)/g.stride + 1
	ow := (g.w+2*g.pad-g.dilation*(g.ksize-1)-1)/g.stride + 1
	for n := range g.images {
		for y := range oh {
			for x := range ow {
				for p := range g.probes {
					for ky := range g.ksize {
						for kx := range g.ksize {
							yy, xx := y*g.stride-g.pad+ky*g.dilation, x*g.stride-g.pad+kx*g.dilation
							o := -1
							if yy >= 0 && yy < g.h && xx >= 0 && xx < g.w {
								o = (((n*g.h+yy)*g.w+xx)*g.probes + p) * width
							}
							off = append(off, int32(o))
						}
					}
				}
			}
		}
	}
	taps = g.ksize * g.ksize
	return off, len(off) / taps, taps, g.images * g.h * g.w * g.probes * width
}

type gatherCase[T Float] struct {
	d       Gather
	a, b, c *buffer[T]
}

func newGather[T Float](rng *rand.Rand, d Gather, sizeA int) *gatherCase[T] {
	q := &gatherCase[T]{d,
		newBuffer[T](rng, sizeA),
		newBuffer[T](rng, max(0, d.Taps-1)*d.TapB+span(d.Width, d.RowB, d.N, 1)),
		newBuffer[T](rng, span(d.Rows, d.RowC, d.N, 1))}
	for _, o := range d.Off {
		if o >= 0 {
			fill(rng, q.a.v[o:], 1, 0, d.Width, 1)
		}
	}
	for t := range d.Taps {
		if d.Width > 0 {
			fill(rng, q.b.v[t*d.TapB:], d.Width, d.RowB, d.N, 1)
		}
	}
	if d.Add {
		fill(rng, q.c.v, d.Rows, d.RowC, d.N, 1)
	}
	return q
}

func (q *gatherCase[T]) check(t testing.TB, ws *Workspace[T]) *buffer[T] {
	t.Helper()
	got, d := q.c.clone(), q.d
	MulGather(ws, &q.d, got.v, q.a.v, q.b.v)
	d.Off = nil
	check(t, fmt.Sprintf("%+v", d), got, q.c, 0, 1, 0, d.Rows, d.N, d.RowC, d.Add, func(_, r, j int) (s sum) {
		for t := range d.Taps {
			o := int(q.d.Off[r*d.Taps+t])
			for c := 0; c < d.Width && o >= 0; c++ {
				s.add(float64(q.a.v[o+c]), float64(q.b.v[t*d.TapB+c*d.RowB+j]))
			}
		}
		return
	})
	return got
}

type gatherTCase[T Float] struct {
	d       GatherT
	a, b, c *buffer[T]
}

func newGatherT[T Float](rng *rand.Rand, d GatherT, sizeA int) *gatherTCase[T] {
	q := &gatherTCase[T]{d,
		newBuffer[T](rng, sizeA),
		newBuffer[T](rng, span(d.Rows, d.RowB, d.N, 1)),
		newBuffer[T](rng, max(0, d.T1-1)*d.TapC+span(d.Width, d.RowC, d.N, 1))}
	for _, o := range d.Off {
		if o >= 0 {
			fill(rng, q.a.v[o:], 1, 0, d.Width, 1)
		}
	}
	fill(rng, q.b.v, d.Rows, d.RowB, d.N, 1)
	for t := d.T0; t < d.T1 && d.Add && d.Width > 0; t++ {
		fill(rng, q.c.v[min(len(q.c.v), t*d.TapC):], d.Width, d.RowC, d.N, 1)
	}
	return q
}

func (q *gatherTCase[T]) check(t testing.TB, ws *Workspace[T]) *buffer[T] {
	t.Helper()
	got, d := q.c.clone(), q.d
	MulGatherT(ws, &q.d, got.v, q.a.v, q.b.v)
	d.Off = nil
	check(t, fmt.Sprintf("%+v", d), got, q.c, d.T0, d.T1, d.TapC, d.Width, d.N, d.RowC, d.Add, func(tap, i, j int) (s sum) {
		for r := range d.Rows {
			if o := int(q.d.Off[r*d.Taps+tap]); o >= 0 {
				s.add(float64(q.a.v[o+i]), float64(q.b.v[r*d.RowB+j]))
			}
		}
		return
	})
	return got
}

// offsets are rows x taps places for width elements, some of them absent.
func offsets(rng *rand.Rand, rows, taps, width int) (off []int32, size int) {
	size = width + rows*max(1, width/2)
	for range rows * taps {
		o := int32(rng.IntN(size - width + 1))
		if rng.IntN(4) == 0 {
			o = -1 - int32(rng.IntN(2))*math.MaxInt32
		}
		off = append(off, o)
	}
	return off, size
}

func TestMulGather(t *testing.T) {
	onPaths(t, testMulGather[float32], testMulGather[float64])
}

func testMulGather[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var ws Workspace[T]
	n := 0
	try := func(rows, taps, width, nn int) {
		n++
		d := Gather{Rows: rows, Taps: taps, Width: width, N: nn, RowB: nn + n%4, RowC: nn + n%3, Add: n%2 == 0}
		d.TapB = d.RowB*width + n%5
		off, size := offsets(rng, rows, taps, width)
		d.Off = off
		newGather[T](rng, d, size).check(t, &ws)
	}
	for x := 0; x < 66; x += stride {
		for _, y := range []int{0, 1, 3, 17} {
			try(x, 3, y, 18)
			try(y, 2, x, 7)
			try(14, y, 3, x)
			try(y, x, 5, 5)
		}
	}
	for _, w := range []int{blockK/4 + 1, blockK / 2, blockK/2 + 1, blockK, blockK + 1, 2*blockK + 3} {
		try(14, 5, w, 17)
	}
}

func TestMulGatherT(t *testing.T) {
	onPaths(t, testMulGatherT[float32], testMulGatherT[float64])
}

func testMulGatherT[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var ws Workspace[T]
	n := 0
	try := func(rows, taps, width, nn int) {
		n++
		t0 := rng.IntN(taps + 1)
		d := GatherT{Rows: rows, Taps: taps, T0: t0, T1: t0 + rng.IntN(taps-t0+1), Width: width, N: nn,
			RowB: nn + n%4, RowC: nn + n%3, Add: n%2 == 0}
		d.TapC = d.RowC*width + n%5
		off, size := offsets(rng, rows, taps, width)
		d.Off = off
		newGatherT[T](rng, d, size).check(t, &ws)
	}
	for x := 0; x < 66; x += stride {
		for _, y := range []int{0, 1, 3, 17, 20} {
			try(x, 3, y, 18)
			try(y, 3, x, 18)
			try(14, 3, y, x)
			try(40, 2, x, y)
		}
	}
	for _, rows := range []int{blockRows - 1, blockRows, blockRows + 1, 2*blockRows + 1, 4*blockRows + 1} {
		try(rows, 3, 21, 34)
		try(rows, 1, 6, 70)
	}
}

// Several directions have the bits of one call for each.
func TestMulGatherTDirections(t *testing.T) {
	onPaths(t, testMulGatherTDirections[float32], testMulGatherTDirections[float64])
}

func testMulGatherTDirections[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	var ws Workspace[T]
	for range 60 {
		rows, taps, width, n, k := 1+rng.IntN(300), 1+rng.IntN(4), 1+rng.IntN(40), 1+rng.IntN(40), 1+rng.IntN(5)
		off, size := offsets(rng, rows, taps, width)
		d := GatherT{Rows: rows, Taps: taps, T1: taps, Width: width, N: n, Off: off, RowB: n + rng.IntN(3), RowC: n * k,
			TapC: n * k * width, Add: rng.IntN(2) == 0, Directions: k, StepA: rng.IntN(20), StepC: n}
		a, b := values[T](rng, size+(k-1)*d.StepA), values[T](rng, rows*d.RowB)
		got := values[T](rng, taps*d.TapC)
		want := append([]T(nil), got...)
		MulGatherT(&ws, &d, got, a, b)
		one := d
		one.Directions = 0
		for x := range k {
			MulGatherT(&ws, &one, want[x*d.StepC:], a[x*d.StepA:], b)
		}
		if !same(got, want) {
			t.Fatalf("%+v: other bits", d)
		}
	}
}

// The convolution and its adjoint against nested loops over the image.
func TestConvolution(t *testing.T) {
	onPaths(t, testConvolution[float32], testConvolution[float64])
}

func testConvolution[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var ws Workspace[T]
	for _, g := range []image{
		{2, 6, 5, 3, 1, 1, 1, 1},
		{1, 7, 6, 3, 2, 1, 1, 3},
		{2, 9, 9, 3, 1, 2, 2, 2},
		{1, 6, 6, 1, 2, 0, 1, 4},
		{1, 8, 8, 5, 3, 2, 1, 2},
	} {
		for _, ch := range [][2]int{{1, 3}, {3, 16}, {16, 10}, {20, 33}} {
			cin, cout := ch[0], ch[1]
			off, rows, taps, size := g.table(cin)
			x, w, y := make([]T, size), make([]T, taps*cin*cout), make([]T, rows*cout)
			fill(rng, x, 1, 0, size, 1)
			fill(rng, w, 1, 0, len(w), 1)
			MulGather(&ws, &Gather{Rows: rows, Taps: taps, Width: cin, N: cout, Off: off,
				TapB: cin * cout, RowB: cout, RowC: cout}, y, x, w)
			dy, dw := make([]T, len(y)), make([]T, len(w))
			fill(rng, dy, 1, 0, len(dy), 1)
			MulGatherT(&ws, &GatherT{Rows: rows, Taps: taps, T1: taps, Width: cin, N: cout, Off: off,
				RowB: cout, TapC: cin * cout, RowC: cout}, dw, x, dy)

			wantY, wantW := make([]sum, len(y)), make([]sum, len(w))
			oh := (g.h+2*g.pad-g.dilation*(g.ksize-1)-1)/g.stride + 1
			ow := (g.w+2*g.pad-g.dilation*(g.ksize-1)-1)/g.stride + 1
			for n := range g.images {
				for oy := range oh {
					for ox := range ow {
						for p := range g.probes {
							for ky := range g.ksize {
								for kx := range g.ksize {
									yy, xx := oy*g.stride-g.pad+ky*g.dilation, ox*g.stride-g.pad+kx*g.dilation
									if yy < 0 || yy >= g.h || xx < 0 || xx >= g.w {
										continue
									}
									for ci := range cin {
										for co := range cout {
											xi := (((n*g.h+yy)*g.w+xx)*g.probes+p)*cin + ci
											yi := (((n*oh+oy)*ow+ox)*g.probes+p)*cout + co
											wi := ((ky*g.ksize+kx)*cin+ci)*cout + co
											wantY[yi].add(float64(x[xi]), float64(w[wi]))
											wantW[wi].add(float64(x[xi]), float64(dy[yi]))
										}
									}
								}
							}
						}
					}
				}
			}
			for _, z := range []struct {
				name string
				got  []T
				want []sum
			}{{"forward", y, wantY}, {"weights", dw, wantW}} {
				for i, s := range z.want {
					if diff := math.Abs(float64(z.got[i]) - s.v); !(diff <= tolSum*float64(s.n)*eps[T]()*s.abs) {
						t.Fatalf("%+v %v %s: [%d] got %v, want %v", g, ch, z.name, i, z.got[i], s.v)
					}
				}
			}
		}
	}
}

// Every part of an output, computed by itself from operands that lie elsewhere
// and otherwise, has the bits that it has in the whole.
func TestBits(t *testing.T) {
	onPaths(t, testBits[float32], testBits[float64])
}

func testBits[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	var ws Workspace[T]
	for _, k := range []int{1, 7, 64, 300, blockK + 5, 2*blockK + 9} {
		m, n := 41, 75
		whole := newMul[T](rng, MatMul{M: m, N: n, K: k, RowA: k, ColA: 1, RowB: n, ColB: 1, RowC: n, Add: k%2 == 1})
		want := whole.c.clone()
		Mul(&ws, &whole.d, want.v, whole.a.v, whole.b.v)
		for range 40 {
			i0, j0 := rng.IntN(m), rng.IntN(n)
			d := MatMul{M: 1 + rng.IntN(m-i0), N: 1 + rng.IntN(n-j0), K: k, Add: whole.d.Add}
			d.RowA, d.ColA = layout(rng.IntN(layouts), d.M, k)
			d.RowB, d.ColB = layout(rng.IntN(layouts), k, d.N)
			d.RowC = d.N + rng.IntN(9)
			q := newMul[T](rng, d)
			for p := range k {
				for i := range d.M {
					q.a.v[i*d.RowA+p*d.ColA] = whole.a.v[(i0+i)*k+p]
				}
				for j := range d.N {
					q.b.v[p*d.RowB+j*d.ColB] = whole.b.v[p*n+j0+j]
				}
			}
			for i := range d.M {
				copy(q.c.v[i*d.RowC:i*d.RowC+d.N], whole.c.v[(i0+i)*n+j0:])
			}
			Mul(&ws, &d, q.c.v, q.a.v, q.b.v)
			for i := range d.M {
				if !same(q.c.v[i*d.RowC:i*d.RowC+d.N], want.v[(i0+i)*n+j0:(i0+i)*n+j0+d.N]) {
					t.Fatalf("%+v at %d,%d: row %d differs", d, i0, j0, i)
				}
			}
		}
	}
}

func TestBitsGather(t *testing.T) {
	onPaths(t, testBitsGather[float32], testBitsGather[float64])
}

func testBitsGather[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var ws Workspace[T]
	for _, s := range [][3]int{{40, 3, 5}, {50, 9, 16}, {2*blockRows + 30, 9, 20}, {30, 5, blockK/2 + 3}, {30, 2, blockK + 3}} {
		rows, taps, width := s[0], s[1], s[2]
		n := 70
		off, size := offsets(rng, rows, taps, width)
		d := Gather{Rows: rows, Taps: taps, Width: width, N: n, Off: off, TapB: width * n, RowB: n, RowC: n, Add: rows%20 > 0}
		whole := newGather[T](rng, d, size)
		want := whole.c.clone()
		MulGather(&ws, &d, want.v, whole.a.v, whole.b.v)
		for range 30 {
			r0, j0 := rng.IntN(rows), rng.IntN(n)
			e := d
			e.Rows, e.N, e.Off = 1+rng.IntN(rows-r0), 1+rng.IntN(n-j0), off[r0*taps:]
			e.RowC = e.N + rng.IntN(5)
			c := newBuffer[T](rng, span(e.Rows, e.RowC, e.N, 1))
			for r := range e.Rows {
				copy(c.v[r*e.RowC:r*e.RowC+e.N], whole.c.v[(r0+r)*n+j0:])
			}
			MulGather(&ws, &e, c.v, whole.a.v, whole.b.v[j0:])
			for r := range e.Rows {
				if !same(c.v[r*e.RowC:r*e.RowC+e.N], want.v[(r0+r)*n+j0:(r0+r)*n+j0+e.N]) {
					t.Fatalf("rows %d+%d columns %d+%d: row %d differs", r0, e.Rows, j0, e.N, r)
				}
			}
		}

		dt := GatherT{Rows: rows, Taps: taps, T1: taps, Width: width, N: n, Off: off, RowB: n, TapC: width * n, RowC: n, Add: d.Add}
		wt := newGatherT[T](rng, dt, size)
		want = wt.c.clone()
		MulGatherT(&ws, &dt, want.v, wt.a.v, wt.b.v)
		for range 30 {
			i0, j0 := rng.IntN(width), rng.IntN(n)
			e := dt
			e.T0 = rng.IntN(taps)
			e.T1 = e.T0 + 1 + rng.IntN(taps-e.T0)
			e.Width, e.N = 1+rng.IntN(width-i0), 1+rng.IntN(n-j0)
			e.RowC = e.N + rng.IntN(5)
			e.TapC = e.RowC * e.Width
			c := newBuffer[T](rng, (e.T1-1)*e.TapC+span(e.Width, e.RowC, e.N, 1))
			at := func(tap, i int) []T { return c.v[tap*e.TapC+i*e.RowC:][:e.N] }
			of := func(v []T, tap, i int) []T { return v[tap*dt.TapC+(i0+i)*n+j0:][:e.N] }
			for tap := e.T0; tap < e.T1; tap++ {
				for i := range e.Width {
					copy(at(tap, i), of(wt.c.v, tap, i))
				}
			}
			MulGatherT(&ws, &e, c.v, wt.a.v[i0:], wt.b.v[j0:])
			for tap := e.T0; tap < e.T1; tap++ {
				for i := range e.Width {
					if !same(at(tap, i), of(want.v, tap, i)) {
						t.Fatalf("taps %d-%d rows %d+%d columns %d+%d: %d of tap %d differs", e.T0, e.T1, i0, e.Width, j0, e.N, i, tap)
					}
				}
			}
		}
	}
}

// A value that is not finite reaches the outputs that it enters and no others.
func TestNotFinite(t *testing.T) {
	onPaths(t, testNotFinite[float32], testNotFinite[float64])
}

func testNotFinite[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	var ws Workspace[T]
	q := newMul[T](rng, MatMul{M: 15, N: 37, K: 20, RowA: 20, ColA: 1, RowB: 37, ColB: 1, RowC: 37})
	q.a.v[14*20+3] = T(math.Inf(1))
	q.b.v[7*37+36] = T(math.NaN())
	Mul(&ws, &q.d, q.c.v, q.a.v, q.b.v)
	for i := range 15 {
		for j := range 37 {
			x := float64(q.c.v[i*37+j])
			if bad := math.IsNaN(x) || math.IsInf(x, 0); bad != (i == 14 || j == 36) {
				t.Fatalf("[%d,%d] = %v", i, j, x)
			}
		}
	}
	// rows that are left out of a tap's sum do not enter it
	d := GatherT{Rows: 3, Taps: 1, T1: 1, Width: 5, N: 18, Off: []int32{0, -1, 5}, RowB: 18, TapC: 0, RowC: 18}
	p := newGatherT[T](rng, d, 10)
	p.b.v[18] = T(math.NaN())
	MulGatherT(&ws, &d, p.c.v, p.a.v, p.b.v)
	for i, x := range p.c.v {
		if x != x {
			t.Fatalf("[%d] = %v", i, x)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	onPaths(t, testNoAllocations[float32], testNoAllocations[float64])
}

func testNoAllocations[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	var ws Workspace[T]
	off, size := offsets(rng, 50, 9, 16)
	g := newGather[T](rng, Gather{Rows: 50, Taps: 9, Width: 16, N: 40, Off: off, TapB: 640, RowB: 40, RowC: 40}, size)
	gt := newGatherT[T](rng, GatherT{Rows: 50, Taps: 9, T1: 9, Width: 16, N: 40, Off: off, RowB: 40, TapC: 640, RowC: 40}, size)
	small := newMul[T](rng, MatMul{M: 3, N: 5, K: 7, RowA: 7, ColA: 1, RowB: 5, ColB: 1, RowC: 5})
	tr := newMul[T](rng, MatMul{M: 33, N: 50, K: 70, RowA: 1, ColA: 33, RowB: 1, ColB: 70, RowC: 50})
	wd := Winograd{Images: 1, Height: 8, Width: 8, Cin: 20, Cout: 20, K: 2}
	x, y, u := values[T](rng, 64*2*20), make([]T, 64*2*20), make([]T, wd.Weights(1))
	w, dw := values[T](rng, 9*20*20), make([]T, 9*20*2*20)
	terms, pairs := []WinogradTerm[T]{{x, 2, u, 1}}, []WinogradPair[T]{{x, 2, values[T](rng, 64*20), 1}}
	run := func(ws *Workspace[T]) {
		TransformWeights(ws, &wd, u, w, Weights{400, 20, 1, 0, 1}, false, 0, wd.Cout)
		MulWinograd(ws, &wd, y, terms, 0, wd.Tiles(), 0, wd.K)
		MulWinogradT(ws, &wd, dw, pairs, 0, wd.Cin, 0, wd.K)
		MulGather(ws, &g.d, g.c.v, g.a.v, g.b.v)
		MulGatherT(ws, &gt.d, gt.c.v, gt.a.v, gt.b.v)
		Mul(ws, &small.d, small.c.v, small.a.v, small.b.v)
		Mul(ws, &tr.d, tr.c.v, tr.a.v, tr.b.v)
	}
	run(&ws)
	if n := testing.AllocsPerRun(20, func() { run(&ws) }); n != 0 {
		t.Fatalf("%v allocations a call", n)
	}
	matched := testing.AllocsPerRun(20, func() { new(Workspace[T]).Match(&ws) })
	if n := testing.AllocsPerRun(20, func() {
		other := new(Workspace[T])
		other.Match(&ws)
		run(other)
	}); n != matched {
		t.Errorf("%v allocations for buffers and calls, %v for buffers alone", n, matched)
	}
}

func TestPanics(t *testing.T) {
	ok := MatMul{M: 3, N: 4, K: 5, RowA: 5, ColA: 1, RowB: 4, ColB: 1, RowC: 4}
	g := Gather{Rows: 2, Taps: 2, Width: 3, N: 4, Off: []int32{0, 3, -1, 6}, TapB: 12, RowB: 4, RowC: 4}
	gt := GatherT{Rows: 2, Taps: 2, T1: 2, Width: 3, N: 4, Off: []int32{0, 3, -1, 6}, RowB: 4, TapC: 12, RowC: 4}
	mul := func(f func(*MatMul), a, b, c int) func() {
		return func() {
			d := ok
			f(&d)
			Mul(new(Workspace[float32]), &d, make([]float32, c), make([]float32, a), make([]float32, b))
		}
	}
	gather := func(f func(*Gather), a, b, c int) func() {
		return func() {
			d := g
			f(&d)
			MulGather(new(Workspace[float32]), &d, make([]float32, c), make([]float32, a), make([]float32, b))
		}
	}
	gatherT := func(f func(*GatherT), a, b, c int) func() {
		return func() {
			d := gt
			f(&d)
			MulGatherT(new(Workspace[float32]), &d, make([]float32, c), make([]float32, a), make([]float32, b))
		}
	}
	for name, z := range map[string]struct {
		f    func()
		want any
	}{
		"mul ok":         {mul(func(*MatMul) {}, 15, 20, 12), nil},
		"mul a":          {mul(func(*MatMul) {}, 14, 20, 12), shortA},
		"mul b":          {mul(func(*MatMul) {}, 15, 19, 12), shortB},
		"mul c":          {mul(func(*MatMul) {}, 15, 20, 11), shortC},
		"mul rows":       {mul(func(d *MatMul) { d.RowC = 3 }, 15, 20, 12), overlaidC},
		"mul negative":   {mul(func(d *MatMul) { d.RowA = -1 }, 15, 20, 12), badShape},
		"mul empty":      {mul(func(d *MatMul) { d.M = 0 }, 0, 0, 0), nil},
		"mul no terms":   {mul(func(d *MatMul) { d.K = 0 }, 0, 0, 12), nil},
		"gather ok":      {gather(func(*Gather) {}, 9, 24, 8), nil},
		"gather absent":  {gather(func(d *Gather) { d.Off = []int32{-1, -1, -1, -1} }, 0, 24, 8), nil},
		"gather a":       {gather(func(*Gather) {}, 8, 24, 8), shortA},
		"gather b":       {gather(func(*Gather) {}, 9, 23, 8), shortB},
		"gather c":       {gather(func(*Gather) {}, 9, 24, 7), shortC},
		"gather off":     {gather(func(d *Gather) { d.Rows = 3 }, 9, 24, 12), shortOff},
		"gather no taps": {gather(func(d *Gather) { d.Taps = 0 }, 0, 0, 8), nil},
		"adjoint ok":     {gatherT(func(*GatherT) {}, 9, 8, 24), nil},
		"adjoint a":      {gatherT(func(*GatherT) {}, 8, 8, 24), shortA},
		"adjoint b":      {gatherT(func(*GatherT) {}, 9, 7, 24), shortB},
		"adjoint c":      {gatherT(func(*GatherT) {}, 9, 8, 23), shortC},
		"adjoint off":    {gatherT(func(d *GatherT) { d.Rows = 3 }, 9, 12, 24), shortOff},
		"adjoint taps":   {gatherT(func(d *GatherT) { d.T1 = 3 }, 9, 8, 24), badTaps},
		"adjoint none":   {gatherT(func(d *GatherT) { d.Rows, d.Taps, d.T1 = 0, 1, 1 }, 0, 0, 12), nil},
	} {
		func() {
			defer func() {
				if got := recover(); got != z.want {
					t.Errorf("%s: got %v, want %v", name, got, z.want)
				}
			}()
			z.f()
		}()
	}
}

func TestPeak(t *testing.T) {
	for _, p := range paths() {
		force(t, p)
		f32, f64 := PeakGFLOPS[float32](0.01), PeakGFLOPS[float64](0.01)
		if !(f32 > 0) || !(f64 > 0) {
			t.Errorf("%s: %v and %v", p, f32, f64)
		}
		t.Logf("%s: %.1f and %.1f GFLOP/s", p, f32, f64)
	}
}

// The reference finds an error of one unit in the last place times the terms.
func TestCheckFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	q := newBuffer[float64](rng, 4)
	for i := range q.v {
		q.v[i] = 1
	}
	got := q.clone()
	got.v[2] = math.NaN()
	rec := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		check(rec, "", got, q, 0, 1, 0, 2, 2, 2, false, func(_, i, j int) (s sum) { s.add(1, 1); return })
	}()
	if !rec.failed {
		t.Error("NaN passed")
	}
	got.v[2], rec.failed = 1, false
	got.all[0] = 0
	func() {
		defer func() { _ = recover() }()
		check(rec, "", got, q, 0, 1, 0, 2, 2, 2, false, func(_, i, j int) (s sum) { s.add(1, 1); return })
	}()
	if !rec.failed {
		t.Error("a changed guard passed")
	}
}

// recorder notes a failure instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic("failed") }

func FuzzMul(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(77))
	f.Fuzz(func(t *testing.T, seed uint64) {
		for _, p := range paths() {
			force(t, p)
			fuzzMul[float32](t, seed)
			fuzzMul[float64](t, seed)
		}
	})
}

// TestRandomShapes is the fuzz target over a fixed run of seeds.
func TestRandomShapes(t *testing.T) {
	for _, p := range paths() {
		force(t, p)
		for seed := range uint64(150 / stride) {
			fuzzMul[float32](t, seed)
			fuzzMul[float64](t, seed)
		}
	}
}

func fuzzMul[T Float](t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	size := func() int { return int(math.Exp(rng.Float64()*4.6)) - rng.IntN(2) }
	var ws Workspace[T]
	d := MatMul{M: size(), N: size(), K: size() * (1 + 15*rng.IntN(2)), Add: rng.IntN(2) == 0}
	d.RowA, d.ColA = layout(rng.IntN(layouts), d.M, d.K)
	d.RowB, d.ColB = layout(rng.IntN(layouts), d.K, d.N)
	d.RowC = d.N + rng.IntN(20)
	newMul[T](rng, d).check(t, &ws)

	g := Gather{Rows: size(), Taps: size() / 4, Width: size(), N: size(), Add: rng.IntN(2) == 0}
	g.RowB, g.RowC = g.N+rng.IntN(9), g.N+rng.IntN(9)
	g.TapB = g.RowB*g.Width + rng.IntN(9)
	n := 0
	g.Off, n = offsets(rng, g.Rows, g.Taps, g.Width)
	newGather[T](rng, g, n).check(t, &ws)

	gt := GatherT{Rows: g.Rows, Taps: g.Taps + 1, Width: g.Width, N: g.N, RowB: g.RowB, RowC: g.RowC, Add: g.Add}
	gt.TapC = gt.RowC*gt.Width + rng.IntN(9)
	gt.T0 = rng.IntN(gt.Taps)
	gt.T1 = min(gt.Taps, gt.T0+rng.IntN(4))
	gt.Off, n = offsets(rng, gt.Rows, gt.Taps, gt.Width)
	newGatherT[T](rng, gt, n).check(t, &ws)
}
