package exec

import (
	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// SparseShare is the share of an input's elements that may differ from zero for lists of them to be worth it.
const SparseShare = 0.3

const (
	sparseRows  = 512     // rows of a list of a column: what they are multiplied with stays near
	sparseBlock = 768     // bytes of a row of the other factor that are gone through at a time
	sparseLeast = 1 << 14 // elements of an input that is looked at
)

// sparsity is where a real input [rows, cols] of a batch is not zero, for the matrix products that read it: images
// have many pixels that are black. It lies among the integers of the primal part, from base on: how many there are, or
// −1 for too many; where the list of each row ends; the lists, columns in ascending order; where the list of each column
// ends, for each set of sparseRows rows; and these lists. The values in the order of either lists are among the numbers of the
// primal part, from first on.
type sparsity[T kernel.Float] struct {
	p          *Program[T]
	x          ref
	rows, cols int
	limit      int
	base       int
	first      int
}

func (s *sparsity[T]) sets() int { return (s.rows + sparseRows - 1) / sparseRows }

func (s *sparsity[T]) size() int { return 1 + s.rows + s.limit + s.sets()*s.cols + s.limit }

// count is how many entries there are, −1 for too many.
func (s *sparsity[T]) count() *int32 { return &s.p.ints[stagePrimal][s.base] }

// lists are the parts of what lies at base.
func (s *sparsity[T]) lists() (count *int32, rowEnds, byRow, colEnds, byCol []int32) {
	z := s.p.ints[stagePrimal][s.base : s.base+s.size()]
	cut := func(n int) []int32 {
		head := z[:n]
		z = z[n:]
		return head
	}
	count = &cut(1)[0]
	return count, cut(s.rows), cut(s.limit), cut(s.sets() * s.cols), cut(s.limit)
}

// values are those in the order of the lists of rows, and of columns.
func (s *sparsity[T]) values() (byRow, byCol []T) {
	z := s.p.arena[stagePrimal][s.first : s.first+2*s.limit]
	return z[:s.limit], z[s.limit:]
}

func (s *sparsity[T]) parts() int { return 1 }

// run makes the lists.
func (s *sparsity[T]) run(_, _ int) {
	x := s.p.at(s.x)
	count, rowEnds, byRow, colEnds, byCol := s.lists()
	ofRow, ofCol := s.values()
	*count = -1
	clear(colEnds)
	n := 0
	for r := range s.rows {
		ends := colEnds[r/sparseRows*s.cols:][:s.cols]
		for c, v := range x[r*s.cols : (r+1)*s.cols] {
			if v == 0 {
				continue
			}
			if n == s.limit {
				return
			}
			byRow[n], ofRow[n] = int32(c), v
			ends[c]++
			n++
		}
		rowEnds[r] = int32(n)
	}
	// Numbers become places where lists begin, and with each entry that is put there, go on to where they end.
	at := int32(0)
	for i, k := range colEnds {
		colEnds[i] = at
		at += k
	}
	n = 0
	for r := range s.rows {
		ends := colEnds[r/sparseRows*s.cols:]
		for ; n < int(rowEnds[r]); n++ {
			c := byRow[n]
			byCol[ends[c]], ofCol[ends[c]] = int32(r), ofRow[n]
			ends[c]++
		}
	}
	*count = int32(n)
}

// list is entry i of lists that end there, and its values.
func list[T kernel.Float](ends, all []int32, values []T, i int) ([]int32, []T) {
	from := int32(0)
	if i > 0 {
		from = ends[i-1]
	}
	return all[from:ends[i]], values[from:ends[i]]
}

// mayBeSparse says whether a value is an input that may have lists.
func mayBeSparse(x *value) bool {
	return x.root.op == graph.OpInput && !x.root.integer && x.root.size() >= sparseLeast
}

// sparse says whether a matrix product reads an input of the batch that may be sparse, as it lies or transposed, and
// gives its lists. The answer does not depend on how many directions there are, nor how they lie: a sum by lists has other bits.
func (p *Program[T]) sparse(t *matmul[T], a, b *value) *sparsity[T] {
	d, root := &t.d, a.root
	rows, cols := d.M, d.K
	if d.RowA == 1 {
		rows, cols = d.K, d.M
	}
	switch {
	case !p.opt.Sparse || !mayBeSparse(a) || a.layout.off != 0 || len(a.shape) != 2:
		return nil
	case d.ColB != 1 || b.linear && lastAxis(b.root.shape) == 1: // the stride of other axes depends on the directions
		return nil
	case rows < 2 || cols < 2 || root.size() != rows*cols || max(d.RowA, d.ColA) != cols || min(d.RowA, d.ColA) != 1:
		return nil
	}
	for _, s := range p.sparsities {
		if s.x == root.buffer.ref && s.rows == rows {
			return s
		}
	}
	size := &p.sizes[stagePrimal]
	s := &sparsity[T]{p: p, x: root.buffer.ref, rows: rows, cols: cols, limit: int(SparseShare * float64(root.size())), base: size.ints, first: size.floats}
	size.ints += s.size()
	size.floats += 2 * s.limit
	p.sparsities = append(p.sparsities, s)
	return s
}

// runSparse computes rows [i, i+d.M) of a product from the lists of its left factor, c and b beginning at the columns wanted; false
// where there are none.
func (t *matmul[T]) runSparse(d kernel.MatMul, i int, c, b []T) bool {
	if *t.sparse.count() < 0 {
		return false
	}
	s := t.sparse
	_, rowEnds, byRow, colEnds, byCol := s.lists()
	ofRow, ofCol := s.values()
	block := sparseBlock / sizeof[T]()
	for at := 0; at < d.N; at += block {
		k := kernel.Sparse{N: min(block, d.N-at), RowB: d.RowB, Add: d.Add}
		if s.rows == t.d.M {
			for r := range d.M {
				var x []T
				k.Index, x = list(rowEnds, byRow, ofRow, i+r)
				kernel.MulSparse(&k, c[r*d.RowC+at:], x, b[at:])
			}
			continue
		}
		for set := range s.sets() {
			for r := range d.M {
				var x []T
				k.Index, x = list(colEnds, byCol, ofCol, set*s.cols+i+r)
				kernel.MulSparse(&k, c[r*d.RowC+at:], x, b[at:])
			}
			k.Add = true
		}
	}
	return true
}
