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
	partWork = 1 << 18 // multiply-adds that are worth a part of their own
	goodWork = 1 << 21 // of a good part: much more than it takes to hand out
	fewParts = 8       // that leave something to do for every thread until the end
	splitK   = 4096    // terms of a sum that one part adds up, where the product is small and the sum long
	smallMN  = 1 << 16 // what small means: elements of one direction's product
	tinyK    = 512     // the terms of a part, where there would be one part otherwise
	tinyMN   = 1 << 12 // of a product so small
)

// tiles cuts an m x n product of sums of k terms into parts of tm rows and tn columns: rows first, as even as can be, but
// not so few that a panel is hardly used; columns too where that leaves few parts.
func tiles(m, n, k int) (tm, tn int) {
	most := m * n * k / partWork
	if most <= 1 {
		return m, n
	}
	rows := max(1, min(max(m*n*k/goodWork, min(most, fewParts)), m/96))
	tm = min(m, ((m+rows-1)/rows+11)/12*12)
	columns := max(1, min((min(most, 2*fewParts)+rows-1)/rows, n/96))
	tn = min(n, ((n+columns-1)/columns+31)/32*32)
	return tm, tn
}

// direction says what the directions of a matrix product are in it.
type direction uint8

const (
	alone         direction = iota // there is one
	alongRows                      // of the left operand
	alongColumns                   // of the right operand
	alongProducts                  // each has products of its own, next to each other
)

// matmul is a batch of equal matrix products, cut into tiles.
type matmul[T kernel.Float] struct {
	p        *Program[T]
	d        kernel.MatMul // a whole product
	a, b, c  ref
	own      []T // instead of c: the pieces of sums, one after the other
	terms    int // of a piece; 0 where sums are whole
	pieces   int
	offs     [][3]int
	tm, tn   int // size of a tile
	nm, nn   int // tiles of a product
	together int // products of a part
	along    direction
	one      [2]int // rows and columns of one direction's product
	step     [3]int // from direction to direction, of a, b and c
	sparse   *sparsity[T]
	panels   *kernel.Panels[T] // of b, where it does not depend on the batch
}

// newMatMul makes the tasks of a matrix product, or of adding it to c: batches and directions become either longer
// rows and columns of one product, or products of their own.
func newMatMul[T kernel.Float](p *Program[T], v *value, c ref, add bool) []task {
	attr := v.attr.(graph.MatMulAttr)
	a, b := v.in[0], v.in[1]
	r := len(v.shape)
	t := &matmul[T]{p: p, a: a.root.buffer.ref, b: b.root.buffer.ref, c: c}
	t.d.Add = add
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
	lists := p.opt.Sparse && mayBeSparse(a)
	pieces := piecesOf(d.M, d.N, d.K, lists)
	panels := keptPanels(v.stage, b) && pieces == 1 && !lists
	one := t.d
	t.one = [2]int{d.M, d.N}
	t.offs = [][3]int{{}}
	for x := range r - 2 {
		t.repeat(v.shape[x], a.layout.stride[x], b.layout.stride[x], v.layout.stride[x])
	}
	if v.k > 1 {
		t.step[2] = v.layout.dir
		if a.linear {
			t.step[0] = a.layout.dir
		}
		if b.linear {
			t.step[1] = b.layout.dir
		}
		switch {
		case a.linear && (d.RowA == v.k*a.layout.dir && d.RowC == v.k*v.layout.dir || d.M == 1): // directions as rows
			d.M, d.RowA, d.RowC = d.M*v.k, a.layout.dir, v.layout.dir
			t.along = alongRows
		case b.linear && v.layout.dir == d.N && (panels || b.layout.dir == d.N*d.ColB): // directions as columns
			d.N *= v.k
			t.along = alongColumns
		default:
			t.along = alongProducts
			t.repeat(v.k, a.layout.dir, b.layout.dir, v.layout.dir)
		}
	}
	if panels {
		t.panels = p.panelsOf(b, one, d.N)
	}
	if pieces > 1 {
		size := v.size()
		t.own = make([]T, pieces*size)
		p.extra += len(t.own)
		t.d.Add, t.terms, t.pieces = false, (d.K+pieces-1)/pieces, pieces
		t.repeat(pieces, t.terms*d.ColA, t.terms*d.RowB, size)
		t.cut()
		return []task{t, &total[T]{p: p, c: c, own: t.own, size: size, add: add}}
	}
	t.cut()
	t.sparse = p.sparse(t, a, b)
	return []task{t}
}

// piecesOf is how many pieces the sums of an m × n product over k terms, of one direction, are cut into: a matter of shapes alone, so that how many
// directions there are changes no sum. What may have lists of its terms is cut last.
func piecesOf(m, n, k int, lists bool) int {
	pieces := (k + splitK - 1) / splitK
	if m*n <= tinyMN && !lists {
		pieces = max(pieces, min(fewParts, k/tinyK))
	}
	if m*n > smallMN || pieces < 3 {
		return 1
	}
	step := (k + pieces - 1) / pieces
	return (k + step - 1) / step // none is empty
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
	if t.terms > 0 {
		d.K = t.terms
	}
	t.tm, t.tn = tiles(d.M, d.N, d.K)
	t.nm, t.nn = (d.M+t.tm-1)/t.tm, (d.N+t.tn-1)/t.tn
	t.together = 1
	if t.nm*t.nn == 1 {
		t.together = max(1, min(goodWork/max(d.M*d.N*d.K, 1), len(t.offs)/fewParts))
	}
}

func (t *matmul[T]) work() int {
	return len(t.offs) / max(1, t.pieces) * t.d.M * t.d.N * t.d.K
}

func (t *matmul[T]) parts() int {
	return (len(t.offs) + t.together - 1) / t.together * t.nm * t.nn
}

func (t *matmul[T]) run(wi, part int) {
	ws := &t.p.workers[wi].ws
	tile := part % (t.nm * t.nn)
	first := part / (t.nm * t.nn) * t.together
	i, j := tile%t.nm*t.tm, tile/t.nm*t.tn
	for at := first; at < min(first+t.together, len(t.offs)); at++ {
		t.block(ws, at, i, j, min(t.tm, t.d.M-i), min(t.tn, t.d.N-j))
	}
}

// block computes m rows and n columns at (i, j) of one product.
func (t *matmul[T]) block(ws *kernel.Workspace[T], at, i, j, m, n int) {
	d, o := t.d, t.offs[at]
	d.M, d.N = m, n
	if t.terms > 0 {
		d.K = min(t.terms, d.K-at%t.pieces*t.terms)
	}
	c := t.own
	if c == nil {
		c = t.p.at(t.c)
	}
	c = c[o[2]+i*d.RowC+j:]
	a := t.p.at(t.a)[o[0]+i*d.RowA:]
	if t.panels != nil {
		kernel.MulPanels(ws, &d, c, a, t.panels, j)
		return
	}
	b := t.p.at(t.b)[o[1]+j*d.ColB:]
	if t.sparse == nil || !t.runSparse(d, i, c, b) {
		kernel.Mul(ws, &d, c, a, b)
	}
}

// total adds up pieces in order.
type total[T kernel.Float] struct {
	p    *Program[T]
	c    ref
	own  []T
	size int
	add  bool // to what is there
}

func (t *total[T]) parts() int { return (t.size + partLen - 1) / partLen }

func (t *total[T]) run(_, part int) {
	lo := part * partLen
	c := t.p.at(t.c)[lo:min(lo+partLen, t.size)]
	for i := range c {
		var s float64
		if t.add {
			s = float64(c[i])
		}
		for q := lo + i; q < len(t.own); q += t.size {
			s += float64(t.own[q])
		}
		c[i] = T(s)
	}
}

// keptPanels says whether the right operand of a product of that stage is arranged in panels ahead: a matrix that changes less often
// than the product is computed.
func keptPanels(s stage, b *value) bool {
	return s >= stagePrimal && b.stage < stagePrimal && len(b.shape) == 2
}

// arrange puts an operand that does not depend on the batch into panels.
type arrange[T kernel.Float] struct {
	p      *Program[T]
	b      *value
	panels *kernel.Panels[T]
	d      kernel.MatMul // of one direction
	gather *kernel.Gather
	taps   []int // of gather, where these are not all
}

// panelsOf are panels of a value as the right operand of d, its directions side by side in n columns. Products of one operand share them.
func (p *Program[T]) panelsOf(b *value, d kernel.MatMul, n int) *kernel.Panels[T] {
	d = kernel.MatMul{K: d.K, N: d.N, RowB: d.RowB, ColB: d.ColB}
	for _, x := range p.arranged {
		if x.b == b && x.gather == nil && x.d == d {
			return x.panels
		}
	}
	return p.arrange(&arrange[T]{p: p, b: b, d: d}, d.K, n)
}

// arrange makes panels of k rows and n columns, or finds those of the program beside which p stands.
func (p *Program[T]) arrange(x *arrange[T], k, n int) *kernel.Panels[T] {
	if p.of != nil {
		x.panels = p.of.arranged[len(p.arranged)].panels
	} else {
		x.panels = kernel.NewPanels[T](k, n)
	}
	p.arranged = append(p.arranged, x)
	p.fixed += x.panels.Len()
	return x.panels
}

func (x *arrange[T]) parts() int { return 1 }

func (x *arrange[T]) run(_, _ int) {
	b := x.p.at(x.b.root.buffer.ref)[x.b.layout.off:]
	if x.gather != nil {
		x.panels.PackGather(x.gather, b, weightsOf(x.b), x.taps)
		return
	}
	x.panels.Pack(&x.d, b, x.b.k, x.b.layout.dir)
}
