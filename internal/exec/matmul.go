package exec

import (
	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// matrixOperand says whether the kernel can read a value's last two axes where it lies.
func matrixOperand(v *value) bool {
	r := len(v.shape)
	row, col := v.layout.stride[r-2], v.layout.stride[r-1]
	for _, s := range v.layout.stride {
		if s < 0 {
			return false
		}
	}
	return row == 1 || col == 1 || v.shape[r-1] == 1 || v.shape[r-2] == 1
}

const (
	partWork = 1 << 18 // multiply-adds of a part of a matrix product
	fewParts = 8       // tiles of a large product that leave something to do for every thread
	splitK   = 4096    // terms of a sum that one part adds up, where the product is small and the sum long
	smallMN  = 1 << 16 // what small means: elements of one direction's product
)

// matmul is a batch of equal matrix products, cut into tiles.
type matmul[T kernel.Float] struct {
	p        *Program[T]
	d        kernel.MatMul // a whole product
	a, b, c  ref
	own      []T // instead of c
	offs     [][3]int
	tm, tn   int // size of a tile
	nm, nn   int // tiles of a product
	together int // products of a part
	sparse   *sparsity[T]
}

// newMatMul makes the tasks of a matrix product: batches and directions become either longer
// rows and columns of one product, or products of their own.
func newMatMul[T kernel.Float](p *Program[T], v *value) []task {
	attr := v.attr.(graph.MatMulAttr)
	a, b := v.in[0], v.in[1]
	r := len(v.shape)
	t := &matmul[T]{p: p, a: a.root.buffer.ref, b: b.root.buffer.ref, c: v.buffer.ref}
	t.a.off, t.a.n = t.a.off+a.layout.off, t.a.n-a.layout.off
	t.b.off, t.b.n = t.b.off+b.layout.off, t.b.n-b.layout.off
	d := &t.d
	d.M, d.N = v.shape[r-2], v.shape[r-1]
	d.K = a.shape[r-1]
	d.RowA, d.ColA = a.layout.stride[r-2], a.layout.stride[r-1]
	if attr.TransA {
		d.K = a.shape[r-2]
		d.RowA, d.ColA = d.ColA, d.RowA
	}
	d.RowB, d.ColB = b.layout.stride[r-2], b.layout.stride[r-1]
	if attr.TransB {
		d.RowB, d.ColB = d.ColB, d.RowB
	}
	d.RowC = v.layout.stride[r-2]
	small := d.M*d.N <= smallMN // a matter of one direction, so that k changes no sum
	t.offs = [][3]int{{}}
	for x := range r - 2 {
		t.repeat(v.shape[x], a.layout.stride[x], b.layout.stride[x], v.layout.stride[x])
	}
	if v.k > 1 {
		switch {
		case a.linear && (d.RowA == v.k*a.layout.dir || d.M == 1): // directions as rows
			d.M, d.RowA, d.RowC = d.M*v.k, a.layout.dir, v.layout.dir
		case b.linear && b.layout.dir == d.N*d.ColB: // directions as columns
			d.N *= v.k
		default:
			t.repeat(v.k, a.layout.dir, b.layout.dir, v.layout.dir)
		}
	}
	var tasks []task
	if pieces := (d.K + splitK - 1) / splitK; small && pieces > 2 {
		size := v.size()
		own := make([]T, pieces*size)
		p.extra += len(own)
		step := (d.K + pieces - 1) / pieces
		k := d.K
		for q := range pieces {
			piece := *t
			piece.own = own[q*size : (q+1)*size]
			piece.d.K = min(step, k-q*step)
			skipA, skipB := q*step*d.ColA, q*step*d.RowB
			piece.a.off, piece.a.n = t.a.off+skipA, t.a.n-skipA
			piece.b.off, piece.b.n = t.b.off+skipB, t.b.n-skipB
			piece.cut()
			tasks = append(tasks, &piece)
		}
		return append(tasks, &total[T]{p: p, c: v.buffer.ref, own: own, size: size})
	}
	t.cut()
	t.sparse = p.sparse(t, a, b)
	return append(tasks, t)
}

// repeat makes n products of each, at strides.
func (t *matmul[T]) repeat(n, sa, sb, sc int) {
	old := t.offs
	t.offs = nil
	for _, o := range old {
		for i := range n {
			t.offs = append(t.offs, [3]int{o[0] + i*sa, o[1] + i*sb, o[2] + i*sc})
		}
	}
}

// cut chooses tiles.
func (t *matmul[T]) cut() {
	d := t.d
	t.tm, t.tn, t.together = d.M, d.N, 1
	if work := d.M * d.N * d.K; work <= partWork {
		t.together = max(1, partWork/max(work, 1))
	} else {
		t.tm = max(96, partWork/(d.N*d.K)/48*48)
		if t.tm >= d.M {
			t.tm = d.M
			t.tn = max(64, partWork/(d.M*d.K)/64*64)
		} else { // rows in parts as even as can be, and columns too where there are few
			n := (d.M + t.tm - 1) / t.tm
			t.tm = ((d.M+n-1)/n + 11) / 12 * 12
			if columns := min((fewParts+n-1)/n, d.N/128); columns > 1 {
				t.tn = ((d.N+columns-1)/columns + 63) / 64 * 64
			}
		}
	}
	t.nm, t.nn = (d.M+t.tm-1)/t.tm, (d.N+t.tn-1)/t.tn
}

func (t *matmul[T]) work() int { return len(t.offs) * t.d.M * t.d.N * t.d.K }

func (t *matmul[T]) parts() int {
	return (len(t.offs) + t.together - 1) / t.together * t.nm * t.nn
}

func (t *matmul[T]) run(wi, part int) {
	w := t.p.workers[wi]
	tile := part % (t.nm * t.nn)
	first := part / (t.nm * t.nn) * t.together
	i, j := tile%t.nm*t.tm, tile/t.nm*t.tn
	d := t.d
	d.M, d.N = min(t.tm, d.M-i), min(t.tn, d.N-j)
	a, b, c := t.p.at(t.a), t.p.at(t.b), t.own
	if c == nil {
		c = t.p.at(t.c)
	}
	if t.sparse != nil && t.runSparse(d, i, j, first, c, b) {
		return
	}
	for _, o := range t.offs[first:min(first+t.together, len(t.offs))] {
		kernel.Mul(&w.ws, &d, c[o[2]+i*d.RowC+j:], a[o[0]+i*d.RowA:], b[o[1]+j*d.ColB:])
	}
}

// total adds up pieces in order.
type total[T kernel.Float] struct {
	p    *Program[T]
	c    ref
	own  []T
	size int
}

func (t *total[T]) parts() int { return (t.size + partLen - 1) / partLen }

func (t *total[T]) run(_, part int) {
	lo := part * partLen
	c := t.p.at(t.c)[lo:min(lo+partLen, t.size)]
	for i := range c {
		var s float64
		for q := lo + i; q < len(t.own); q += t.size {
			s += float64(t.own[q])
		}
		c[i] = T(s)
	}
}
