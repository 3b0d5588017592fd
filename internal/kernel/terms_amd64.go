//go:build !purego

package kernel

import "unsafe"

// sumArgs is read by the sums kernels, which go through panels of B, and through all blocks of rows for each; _asm/sums.go repeats the offsets of
// the fields.
type sumArgs struct {
	terms  [2]sumTerm
	c      unsafe.Pointer
	ldc    int    // bytes from row to row of C
	add    int    // 1 adds to C, 0 overwrites it
	mask   uint64 // columns
	blocks int    // blocks of rows, at least one
	panels int    // at least one

	// The kernel's own. Cursors move past the end of what they walk over, so they must not be pointers.
	panelC, curC uintptr
	left         int

	ahead [2 + MaxAreas]region // what blocks fetch: of each term the next panel of B, and what is read after this direction
}

// region is memory that is going to be read, which no cache may have: kernels fetch some of its rows at the start of each block.
type region struct {
	at    uintptr
	lines int // lines of a cache in a row
	step  int // bytes from row to row
	burst int // rows that a block of the result fetches
	rows  int // that are left
}

// sumTerm is one of the products of a sumArgs.
type sumTerm struct {
	a          unsafe.Pointer
	row        int // bytes from row to row of A
	k          int // bytes walked over in a row of A: terms·stepK
	stepK      int // bytes from term to term in a row of A
	stepA      int // bytes that a moves from block to block
	b          unsafe.Pointer
	ldb        int // bytes from term to term of B
	stepB      int // bytes from panel to panel of B
	curA, curB uintptr
}

// The generator's offsets are those of fields of eight bytes in this order.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(sumTerm{}.curB)-72]
	_ = [1]struct{}{}[unsafe.Offsetof(sumArgs{}.ahead)-232]
	_ = [1]struct{}{}[unsafe.Offsetof(region{}.rows)-32]
)

// nearB is the most bytes of B that are packed at a time for all columns: they stay in the first cache.
const nearB = 24 << 10

// mulSums computes direction x of a sum of two products where both are made in registers; false where no kernel does that. Both sums are
// of one block, and all rows in whole blocks.
func mulSums[T Float](ws *Workspace[T], d *Terms, c []T, terms []Term[T], x int, soon []Area[T]) bool {
	size := sizeOf[T]()
	if path != pathAVX512 || d.M%unit() != 0 || min(terms[0].K, terms[1].K) < 1 || max(terms[0].K, terms[1].K) > blockK {
		return false
	}
	nr := panel / size
	p := sumArgs{ldc: d.RowC * size}
	if d.Add {
		p.add = 1
	}
	var rows, panels [2][]T // packed operands, where they are
	together := d.N / nr    // panels that lie one after the other
	for i := range terms {
		t, s := &terms[i], &ws.terms[i]
		e, a, b, _ := t.product(d, c, x)
		y := &p.terms[i]
		y.ldb, y.stepB = panel, panel*t.K
		if t.ColA != 1 || t.RowA*size%cacheWay == 0 {
			if x == 0 || t.StepA != 0 {
				arrangeRows(&s.rows, &e, a)
			}
			rows[i] = s.rows
		} else {
			y.a, y.row, y.stepK = unsafe.Pointer(&a[0]), t.RowA*size, size
		}
		switch {
		case t.Panels != nil:
			panels[i] = t.Panels.block(0, t.K)[(t.First+x*t.StepB)*t.K:]
		case t.StepB == 0 && d.Directions > 1 || panelsLen[T](t.K, d.N)*size <= nearB:
			if x == 0 || t.StepB != 0 {
				s.pack(&e, b)
			}
			panels[i] = s.panels.data
		default: // a panel at a time
			together = 1
		}
	}
	most := max(1, maxTerms/(terms[0].K+terms[1].K))
	high := 1 // how many blocks there are of the first height: those fetch ahead
	for _, n := range split(d.M, unit()) {
		if n > 0 {
			high = n
			break
		}
	}
	var next [2]Area[T]
	if x+1 < d.Directions {
		for i := range terms {
			next[i] = terms[i].next(x+1, d, rows[i] != nil)
		}
		soon = next[:]
	}
	for i := range soon {
		p.ahead[2+i] = soon[i].region(high * ((d.N + nr - 1) / nr))
	}
	for j, n := 0, 0; j < d.N; j += n * nr {
		w := min(nr, d.N-j)
		n = 1
		if w == nr {
			n = max(1, min(together, (d.N-j)/nr, most*maxRows/d.M))
		}
		p.mask, _ = columns(w, size)
		for i := range terms {
			t := &terms[i]
			b := panels[i]
			if b != nil {
				b = b[j*t.K:]
			} else {
				b = grow(&ws.terms[i].columns, t.K*nr)
				packPanel(b, t.B[x*t.StepB+j*t.ColB:], t.K, w, t.RowB, t.ColB)
			}
			p.terms[i].b = unsafe.Pointer(&b[0])
			if t.Panels != nil {
				lines := (t.K + high - 1) / high
				p.ahead[i] = region{uintptr(p.terms[i].b) + uintptr(p.terms[i].stepB), lines, lines * panel, 1, t.K * n / lines}
			}
		}
		at := 0
		for kind, left := range split(d.M, unit()) {
			mr := (3 - kind) * unit()
			for left > 0 {
				p.blocks, p.panels = min(left, most), n
				p.c = unsafe.Pointer(&c[at*d.RowC+j])
				q := p
				for i := range terms {
					y, t := &q.terms[i], &terms[i]
					if rows[i] != nil {
						y.a = unsafe.Pointer(&rows[i][at*t.K])
						y.row, y.stepK, y.stepA = size, mr*size, mr*t.K*size
					} else {
						y.a, y.stepA = unsafe.Add(y.a, at*y.row), mr*y.row
					}
					y.k = t.K * y.stepK
				}
				callSums(size, mr, &q)
				p.ahead = q.ahead
				p.ahead[0].rows, p.ahead[1].rows = 0, 0
				left -= p.blocks
				at += p.blocks * mr
			}
		}
	}
	return true
}

// callSums runs the sums kernel for elements of size bytes and blocks of mr rows.
func callSums(size, mr int, args *sumArgs) {
	p := (*byte)(unsafe.Pointer(args))
	switch {
	case size == 4 && mr == 12:
		sums12F32AVX512(p)
	case size == 4 && mr == 8:
		sums8F32AVX512(p)
	case size == 4:
		sums4F32AVX512(p)
	case mr == 12:
		sums12F64AVX512(p)
	case mr == 8:
		sums8F64AVX512(p)
	default:
		sums4F64AVX512(p)
	}
}

// next is what a term reads of direction x alone. Long rows that are read where they lie are none of it: the
// processor finds them by itself, as measured.
func (t *Term[T]) next(x int, d *Terms, packed bool) Area[T] {
	if t.StepA != 0 && (t.ColA != 1 || packed || t.K*sizeOf[T]() <= 2*panel) {
		if a, ok := area(t.A[x*t.StepA:], d.M, t.K, t.RowA, t.ColA); ok {
			return a
		}
	}
	if t.StepB != 0 && t.Panels == nil {
		b, _ := area(t.B[x*t.StepB:], t.K, d.N, t.RowB, t.ColB)
		return b
	}
	return Area[T]{}
}

// region is an area for so many blocks to fetch.
func (a *Area[T]) region(blocks int) region {
	if a.Rows == 0 || len(a.V) == 0 {
		return region{}
	}
	size := sizeOf[T]()
	return region{uintptr(unsafe.Pointer(&a.V[0])), (a.Width*size + panel - 1) / panel, a.Step * size, (a.Rows + blocks - 1) / blocks, a.Rows}
}
