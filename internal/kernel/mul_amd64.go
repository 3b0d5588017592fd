//go:build !purego

package kernel

import (
	"math"
	"unsafe"
)

// The constants below steer caches and pauses only; no bit depends on them.
const (
	// inPlaceBlocks is the most blocks of rows of A for which B is read in place
	// instead of packed.
	inPlaceBlocks = 4
	// packPanels is the fewest panels of B for which an A is packed whose rows are
	// not contiguous or displace each other in the cache.
	packPanels = 3
	// packWidth is the fewest rows of an output, over all taps and directions, for which the rows
	// of B are packed: they lie far apart otherwise and fall into few cache sets.
	packWidth = 64
	// cacheWay is the size of a way of the first cache: rows that lie a multiple of
	// it apart displace each other.
	cacheWay = 4096
	// blockA is the most bytes of A that are walked over for every panel of B.
	blockA = 512 << 10
	// nearA is the same where sums are so short that this holds several blocks of rows: they stay in the first cache.
	nearA = 24 << 10
	// blockB is the most bytes of B packed at a time if A needs several walks.
	blockB = 1 << 20
	// maxTerms bounds the blocks times terms of one call into assembly, which
	// cannot be preempted: half a millisecond.
	maxTerms = 1 << 17
)

// split says how m rows are cut into blocks of 3, 2 and 1 units, in this order.
// All blocks are whole but the last.
func split(m, unit int) (n [3]int) {
	g := (m + unit - 1) / unit
	switch {
	case g == 1:
		return [3]int{0, 0, 1}
	case g%3 == 1:
		return [3]int{(g - 4) / 3, 2, 0}
	case g%3 == 2:
		return [3]int{(g - 2) / 3, 1, 0}
	}
	return [3]int{g / 3, 0, 0}
}

// maxRows is the most rows of a block.
const maxRows = 12

// operandA says how the rows kernels find m rows of A.
type operandA struct {
	m      int
	a      unsafe.Pointer
	terms  int            // of every tap
	stepK  int            // bytes from term to term
	row    int            // bytes from row to row, if the table serves every block
	off    unsafe.Pointer // int32 offsets of the first rows, in elements
	offRow int            // bytes from row to row of off
	walk   bool           // every row has offsets of its own, else those of the first block serve all
	tail   unsafe.Pointer // offsets of the rows of the last block, if it is partial
	packed bool           // A lies in panels, see packRows; offsets 0, 1, 2 …
}

// run computes all rows of x times one panel of B; p has the rest.
func (x *operandA) run(set, unit, size int, p *rowArgs) {
	c, left, i := p.c, x.m, 0
	p.offRow = x.offRow
	for kind, n := range split(x.m, unit) {
		units := 3 - kind
		mr := units * unit
		p.stepK, p.stepA, p.stepOff = x.stepK, mr*x.row, 0
		if x.packed {
			p.stepK, p.stepA = mr*size, mr*x.terms*size
		}
		p.k = x.terms * p.stepK
		most := max(1, maxTerms/(x.terms*p.taps))
		for n > 0 {
			rows, blocks, off := mr, n, x.off
			if x.walk {
				off = unsafe.Add(off, i*x.offRow)
				p.stepOff = mr * x.offRow
			}
			if n*mr > left {
				blocks-- // the last one is partial
			}
			if blocks == 0 {
				rows, blocks = left, 1
				if x.tail != nil {
					off = x.tail
				}
			}
			blocks = min(blocks, most)
			p.off, p.m, p.blocks = off, rows, blocks
			p.c = unsafe.Add(c, i*p.ldc)
			if x.packed {
				p.a = unsafe.Add(x.a, i*x.terms*size)
			} else {
				p.a = unsafe.Add(x.a, i*x.row)
			}
			callRows(set, units, p)
			n -= blocks
			i += blocks * mr
			left -= blocks * mr
		}
	}
	p.c = c
}

// columns is the mask of the first w elements for either vector path.
func columns(w, size int) (mask uint64, lanes unsafe.Pointer) {
	return 1<<w - 1, unsafe.Pointer(&laneMasks[max(0, panel-w*size)])
}

// mul takes B from b, or from panels where there are any, and A from a, or from rows in panels.
func mul[T Float](ws *Workspace[T], d *MatMul, c, a, b []T, from arranged[T]) {
	if path == pathGeneric {
		mulGeneric(ws, d, c, a, b)
		return
	}
	size, set, unit := sizeOf[T](), kernelSet[T](), unit()
	nr, kc := panel/size, cut(d.K, blockK)
	packA := from.rows != nil || d.ColA == 0 || d.RowA > math.MaxInt32/maxRows ||
		(d.ColA != 1 || d.RowA*size%cacheWay == 0) && d.N > (packPanels-1)*nr
	inPlace := from.panels == nil && d.ColB == 1 && d.M <= inPlaceBlocks*3*unit
	mc, most := d.M, blockA/(kc*size)
	if near := nearA / (kc * size); near >= 9*unit {
		most = near
	}
	if m := most / (6 * unit) * (6 * unit); m < d.M && from.rows == nil {
		mc = max(m, 6*unit)
	}
	nc := nr
	if mc < d.M {
		nc = min((d.N+nr-1)/nr, max(1, blockB/(kc*panel))) * nr
	}

	offsets := grow(&ws.off, 2*maxRows)
	row := d.RowA
	if packA {
		row = 1
	}
	x := operandA{terms: kc, stepK: d.ColA * size, row: d.RowA * size, offRow: 4, packed: packA,
		off: unsafe.Pointer(&offsets[0])}
	for r := range maxRows {
		offsets[r] = int32(r * row)
	}
	p := rowArgs{taps: 1, ldc: d.RowC * size}
	for p0 := 0; p0 < d.K; p0 += kc {
		k := min(kc, d.K-p0)
		x.terms, p.add = k, 0
		if d.Add || p0 > 0 {
			p.add = 1
		}
		for j0 := 0; j0 < d.N; j0 += nc {
			j1 := min(j0+nc, d.N)
			var panels []T
			switch {
			case from.panels != nil:
				panels = from.panels.block(p0, k)[(from.first+j0)*k:]
			case !inPlace || j1%nr != 0:
				panels = grow(&ws.bufB, k*nc)
				for j := j0; j < j1; j += nr {
					if w := min(nr, j1-j); !inPlace || w < nr {
						packPanel(panels[(j-j0)*k:(j-j0+nr)*k], b[p0*d.RowB+j*d.ColB:], k, w, d.RowB, d.ColB)
					}
				}
			}
			for i := 0; i < d.M; i += mc {
				x.m = min(mc, d.M-i)
				at := i*d.RowA + p0*d.ColA
				switch {
				case from.rows != nil:
					x.a = unsafe.Pointer(&from.rows[p0*wholeRows(d.M)])
				case packA:
					buf := grow(&ws.bufA, (mc+maxRows)*kc)
					if mc < d.M || j0 == 0 {
						packRows(buf, a[at:], x.m, k, d.RowA, d.ColA, unit)
					}
					x.a = unsafe.Pointer(&buf[0])
				default:
					x.a = unsafe.Pointer(&a[at])
					x.tail = nil
					if last := lastRows(x.m, unit); last > 0 {
						x.tail = unsafe.Pointer(&offsets[maxRows])
						for r := range maxRows {
							offsets[maxRows+r] = int32(min(r, last-1) * row)
						}
					}
				}
				for j := j0; j < j1; j += nr {
					w := min(nr, j1-j)
					p.mask, p.lanes = columns(w, size)
					if w == nr {
						p.lanes = nil
					}
					if inPlace && w == nr {
						p.b, p.ldb = unsafe.Pointer(&b[p0*d.RowB+j]), d.RowB*size
					} else {
						p.b, p.ldb = unsafe.Pointer(&panels[(j-j0)*k]), panel
					}
					p.c = unsafe.Pointer(&c[i*d.RowC+j])
					x.run(narrow(set, w, size), unit, size, &p)
				}
			}
		}
	}
}

// wholeRows is m rounded up to what blocks of rows are made of.
func wholeRows(m int) int { return (m + unit() - 1) / unit() * unit() }

// arrangeRows packs A block by block of its terms.
func arrangeRows[T Float](dst *[]T, d *MatMul, a []T) []T {
	rows, kc := grow(dst, wholeRows(d.M)*d.K), cut(d.K, blockK)
	for p0 := 0; p0 < d.K; p0 += kc {
		packRows(rows[p0*wholeRows(d.M):], a[p0*d.ColA:], d.M, min(kc, d.K-p0), d.RowA, d.ColA, unit())
	}
	return rows
}

// packTaps copies n columns of a block of the terms of d.
func packTaps[T Float](dst []T, q part, d *Gather, b []T, n int) {
	nr, w := panel/sizeOf[T](), q.c1-q.c0
	for t := q.t0; t < q.t1; t++ {
		packPanel(dst[(t-q.t0)*w*nr:], b[t*d.TapB+q.c0*d.RowB:], w, n, d.RowB, 1)
	}
}

// block is the panels of the terms from done on, k of them, that lie one after the other.
func (p *Panels[T]) block(done, k int) []T {
	nr := panel / sizeOf[T]()
	n := (p.n + nr - 1) / nr * nr
	return p.data[done*n : (done+k)*n]
}

func panelsLen[T Float](k, n int) int {
	nr := panel / sizeOf[T]()
	if path == pathGeneric {
		nr = 1
	}
	return k * ((n + nr - 1) / nr * nr)
}

func (p *Panels[T]) pack(d *MatMul, b []T, step int) {
	if path == pathGeneric {
		p.packGeneric(d, b, step)
		return
	}
	nr, kc := panel/sizeOf[T](), cut(p.k, blockK)
	for p0 := 0; p0 < p.k; p0 += kc {
		k := min(kc, p.k-p0)
		block := p.block(p0, k)
		for j := 0; j < p.n; j += nr {
			packColumns(block[j*k:(j+nr)*k], b[p0*d.RowB:], k, j, p.n, d.N, step, d.RowB, d.ColB)
		}
	}
}

// packColumns copies k rows of those of n columns that a panel from j on has, into rows of 64 bytes, filled up with zeros. The columns are those of
// matrices of each columns, which begin at multiples of step.
func packColumns[T Float](dst, src []T, k, j, n, each, step, row, col int) {
	nr := panel / sizeOf[T]()
	if at := j % each; at+nr <= each || j+nr > n && at+n-j == each { // all of one matrix
		packPanel(dst, src[j/each*step+at*col:], k, min(nr, n-j), row, col)
		return
	}
	clear(dst[:k*nr])
	for x := range min(nr, n-j) {
		from := src[(j+x)/each*step+(j+x)%each*col:]
		for q := range k {
			dst[q*nr+x] = from[q*row]
		}
	}
}

func (p *Panels[T]) packGather(d *Gather, b []T, at Weights, taps []int) {
	if path == pathGeneric {
		p.packGatherGeneric(d, b, at, taps)
		return
	}
	n := d.N / at.K
	if at.Out == 1 && at.Dir == n { // one matrix
		n = d.N
	}
	nr, done := panel/sizeOf[T](), 0
	for q := d.next(part{}); q.t0 < q.t1; q = d.next(q) {
		k := (q.t1 - q.t0) * (q.c1 - q.c0)
		block := p.block(done, k)
		done += k
		for j := 0; j < p.n; j += nr {
			dst, w := block[j*k:(j+nr)*k], q.c1-q.c0
			for t := q.t0; t < q.t1; t++ {
				packColumns(dst[(t-q.t0)*w*nr:], b[tapOf(taps, t)*at.Tap+q.c0*at.In:], w, j, p.n, n, at.Dir, at.In, at.Out)
			}
		}
	}
}

// lastRows is the number of rows in the last block of m if it is partial, else 0.
func lastRows(m, unit int) int {
	for kind, n := range split(m, unit) {
		mr := (3 - kind) * unit
		if m < n*mr {
			return m - (n-1)*mr
		}
		m -= n * mr
	}
	return 0
}

// packPanel copies k rows of w columns into rows of 64 bytes, filled up with zeros.
func packPanel[T Float](dst, src []T, k, w, row, col int) {
	nr := panel / sizeOf[T]()
	switch {
	case col == 1 && w == nr:
		_, _ = dst[k*nr-1], src[(k-1)*row+nr-1]
		p := transposeArgs{unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), row * sizeOf[T](), k}
		copyRows64((*byte)(unsafe.Pointer(&p)))
	case col == 1:
		for p := range k {
			d := dst[p*nr : p*nr+nr]
			clear(d[copy(d, src[p*row:p*row+w]):])
		}
	default:
		if w < nr {
			clear(dst[:k*nr])
		}
		if row == 1 {
			transpose(dst, src, k, w, col)
			return
		}
		_ = dst[k*nr-1]
		for x := range w {
			s := src[x*col:]
			_ = s[(k-1)*row]
			at := x
			for p := range k {
				dst[at] = s[p*row]
				at += nr
			}
		}
	}
}

// packRows copies m rows of k columns into panels as high as the blocks of rows:
// all rows' elements of a term, then those of the next; the last panel is filled
// up with zeros.
func packRows[T Float](dst, src []T, m, k, row, col, unit int) {
	i := 0
	for kind, n := range split(m, unit) {
		mr := (3 - kind) * unit
		for range n {
			packBlock(dst[i*k:(i+mr)*k], src[i*row:], min(mr, m-i), mr, k, row, col)
			i += mr
		}
	}
}

func packBlock[T Float](dst, src []T, rows, mr, k, row, col int) {
	if row == 1 && rows == mr {
		_, _ = dst[mr*k-1], src[(k-1)*col+mr-1]
		bytes := mr * sizeOf[T]()
		d, s := unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0])
		step := col * sizeOf[T]()
		switch {
		case bytes == 48:
			p := transposeArgs{d, s, step, k}
			copyRows48((*byte)(unsafe.Pointer(&p)))
		case bytes%16 == 0:
			for p := range k {
				for q := 0; q < bytes; q += 16 {
					*(*[16]byte)(unsafe.Add(d, p*bytes+q)) = *(*[16]byte)(unsafe.Add(s, p*step+q))
				}
			}
		default:
			for p := range k {
				for q := 0; q < bytes; q += 8 {
					*(*[8]byte)(unsafe.Add(d, p*bytes+q)) = *(*[8]byte)(unsafe.Add(s, p*step+q))
				}
			}
		}
		return
	}
	if rows < mr {
		clear(dst[:mr*k])
	}
	_ = dst[mr*k-1]
	for r := range rows {
		s := src[r*row:]
		_ = s[(k-1)*col]
		at := r
		for p := range k {
			dst[at] = s[p*col]
			at += mr
		}
	}
}

func mulGather[T Float](ws *Workspace[T], d *Gather, c, a, b []T, from *Panels[T], first int) {
	if path == pathGeneric {
		mulGatherGeneric(ws, d, c, a, b)
		return
	}
	size, set, unit := sizeOf[T](), kernelSet[T](), unit()
	nr := panel / size
	zero := unsafe.Pointer(&ws.zeroRow(min(d.Width, blockK))[0])
	x := operandA{m: d.Rows, stepK: size, offRow: 4 * d.Taps, walk: true}
	var tail []int32
	if last := lastRows(d.Rows, unit); last > 0 {
		tail = grow(&ws.off, maxRows*d.Taps)
		n := copy(tail, d.Off[(d.Rows-last)*d.Taps:d.Rows*d.Taps])
		for r := last; r < maxRows; r++ {
			n += copy(tail[n:], d.Off[(d.Rows-1)*d.Taps:d.Rows*d.Taps])
		}
	}
	p := rowArgs{zero: zero, ldb: panel, ldc: d.RowC * size}
	done := 0 // terms
	for q := d.next(part{}); q.t0 < q.t1; q = d.next(q) {
		w := q.c1 - q.c0
		p.taps, x.terms = q.t1-q.t0, w
		k := p.taps * w
		p.add = 0
		if d.Add || q.t0 > 0 || q.c0 > 0 {
			p.add = 1
		}
		x.a = zero // all rows are absent
		if len(a) > q.c0 {
			x.a = unsafe.Pointer(&a[q.c0])
		}
		x.off = unsafe.Pointer(&d.Off[q.t0])
		if tail != nil {
			x.tail = unsafe.Pointer(&tail[q.t0])
		}
		var panels []T
		if from != nil {
			panels = from.block(done, k)[first*k:]
			done += k
		} else {
			panels = grow(&ws.bufB, k*nr)
		}
		for j := 0; j < d.N; j += nr {
			n := min(nr, d.N-j)
			if from == nil {
				packTaps(panels, q, d, b[j:], n)
				p.b = unsafe.Pointer(&panels[0])
			} else {
				p.b = unsafe.Pointer(&panels[j*k])
			}
			p.mask, p.lanes = columns(n, size)
			if n == nr {
				p.lanes = nil
			}
			p.c = unsafe.Pointer(&c[j])
			x.run(narrow(set, n, size), unit, size, &p)
		}
	}
}

func mulGatherT[T Float](ws *Workspace[T], d *GatherT, c, a, b []T) {
	if path == pathGeneric {
		mulGatherTGeneric(ws, d, c, a, b)
		return
	}
	size, set := sizeOf[T](), kernelSet[T]()
	nr, rc := panel/size, cut(d.Rows, blockRows)
	heights, counts := pairBlocks(d.Width)
	pack := d.Width*(d.T1-d.T0)*max(d.Directions, 1) >= packWidth || path == pathAVX2 && d.N%nr != 0
	p := pairArgs{ldc: d.RowC * size}
	for r := 0; r < d.Rows; r += rc {
		rows := min(rc, d.Rows-r)
		rowB := d.RowB
		if pack {
			rowB = nr
		}
		ends := d.list(&ws.steps, &ws.ends, r, r+rows, rowB, size)
		for j := 0; j < d.N; j += nr {
			w := min(nr, d.N-j)
			p.mask, p.lanes = columns(w, size)
			if w == nr {
				p.lanes = nil
			}
			p.b = unsafe.Pointer(&b[r*d.RowB+j])
			if pack {
				buf := grow(&ws.bufB, rows*nr)
				packPanel(buf[:rows*nr], b[r*d.RowB+j:], rows, w, d.RowB, 1)
				p.b = unsafe.Pointer(&buf[0])
			}
			from := 0
			for t := d.T0; t < d.T1; t++ {
				p.steps, p.n = unsafe.Pointer(&ws.steps[from]), ends[t-d.T0]-from
				from += p.n
				if p.n == 0 {
					continue
				}
				for x := range max(d.Directions, 1) {
					i := 0
					for kind, blocks := range counts {
						for range blocks {
							p.a = unsafe.Pointer(&a[x*d.StepA+i])
							p.c = unsafe.Pointer(&c[x*d.StepC+t*d.TapC+i*d.RowC+j])
							p.m = min(heights[kind], d.Width-i)
							for r := range p.rows {
								p.rows[r] = min(r, p.m-1) * size
							}
							callPairs(narrow(set, w, size), kind, &p)
							i += p.m
						}
					}
				}
			}
		}
	}
}

// pairBlocks cuts width rows of an output into blocks of the pairs kernels:
// whole ones of the largest height and of the middle one, and ones of up to four
// rows.
func pairBlocks(width int) (heights, counts [3]int) {
	if path == pathAVX512 {
		return [3]int{16, 8, 4}, [3]int{width / 16, width % 16 / 8, (width%8 + 3) / 4}
	}
	n, rest := width/6, width%6
	if n > 0 && (rest == 1 || rest == 2) {
		n, rest = n-1, rest+6 // 4 + 4 cost less than 6 + 2
	}
	return [3]int{6, 0, 4}, [3]int{n, 0, (rest + 3) / 4}
}
