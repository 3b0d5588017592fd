package kernel

// Terms describes sums of products along a number of directions,
//
//	C_d = Σ_t A_td·B_td, or C_d += Σ_t A_td·B_td with Add, C_d[i,j] = c[d*StepC + i*RowC + j],
//
// each an M x N matrix.
type Terms struct {
	M, N, Directions int
	RowC, StepC      int
	Add              bool
}

// Term is a product of such sums, over K terms of its own:
//
//	A_d[i,p] = A[d*StepA + i*RowA + p*ColA],  B_d[p,j] = B[d*StepB + p*RowB + j*ColB].
//
// A step of 0 says that an operand is the same for all directions: it is arranged for the kernels once. With Panels, which are
// arranged already, B_d is their columns from First + d*StepB on, and B, RowB and ColB do not count; both are multiples of PanelWidth.
type Term[T Float] struct {
	K                 int
	A                 []T
	RowA, ColA, StepA int
	B                 []T
	RowB, ColB, StepB int
	Panels            *Panels[T]
	First             int
}

// arranged is what of a product's operands lies as the kernels want it, where any does: A packed by arrangeRows, columns of B
// from first on.
type arranged[T Float] struct {
	rows   []T
	panels *Panels[T]
	first  int
}

// shared holds the operands of a term that are the same for all directions.
type shared[T Float] struct {
	rows, columns []T
	panels        Panels[T] // in columns
}

// Area is memory that is going to be read: rows of so many elements, Step apart.
type Area[T Float] struct {
	V                 []T
	Rows, Width, Step int
}

// MaxAreas is the most areas that MulTerms fetches.
const MaxAreas = 4

// Areas appends what a product of d reads for its first direction: of panels, the first one.
func (t *Term[T]) Areas(d *Terms, to []Area[T]) []Area[T] {
	if a, ok := area(t.A, d.M, t.K, t.RowA, t.ColA); ok {
		to = append(to, a)
	}
	if t.Panels != nil {
		at := min(t.First*t.K, len(t.Panels.data))
		return append(to, Area[T]{t.Panels.data[at:], t.K, PanelWidth, PanelWidth})
	}
	if b, ok := area(t.B, t.K, d.N, t.RowB, t.ColB); ok {
		to = append(to, b)
	}
	return to
}

// area is a matrix whose rows or columns are contiguous.
func area[T Float](v []T, m, n, row, col int) (a Area[T], ok bool) {
	switch {
	case col == 1:
		return Area[T]{v, m, n, row}, true
	case row == 1:
		return Area[T]{v, n, m, col}, true
	}
	return a, false
}

// MulTerms computes the sums that d describes, direction by direction, the terms of each in order: the bits are those of Mul
// for each of them. It overwrites the elements of the C_d and nothing else. Where two terms are made in registers, what the caller
// is going to read next is fetched during the last direction: soon, of at most MaxAreas.
func MulTerms[T Float](ws *Workspace[T], d *Terms, c []T, terms []Term[T], soon []Area[T]) {
	if min(d.M, d.N, d.Directions, d.RowC, d.StepC) < 0 {
		panic(badShape)
	}
	if d.M == 0 || d.N == 0 || d.Directions == 0 {
		return
	}
	for len(ws.terms) < len(terms) {
		ws.terms = append(ws.terms, shared[T]{})
	}
	for x := range d.Directions {
		to := c[min(x*d.StepC, len(c)):]
		if len(terms) == 2 && mulSums(ws, d, to, terms, x, soon) {
			continue
		}
		add := d.Add
		for i := range terms {
			mulTerm(ws, d, to, &terms[i], &ws.terms[i], x, add)
			add = true
		}
	}
}

// product is that of a term for direction x, with its operands, which it checks; no product is to be computed where it is empty.
func (t *Term[T]) product(d *Terms, c []T, x int) (e MatMul, a, b []T, empty bool) {
	e = MatMul{M: d.M, N: d.N, K: t.K, RowA: t.RowA, ColA: t.ColA, RowB: t.RowB, ColB: t.ColB, RowC: d.RowC, Add: d.Add}
	if min(t.StepA, t.StepB) < 0 {
		panic(badShape)
	}
	a, b = t.A[min(x*t.StepA, len(t.A)):], t.B[min(x*t.StepB, len(t.B)):]
	if t.Panels != nil {
		b = t.Panels.check(&e, t.First+x*t.StepB)
	}
	if empty = trivial(&e, c, a); !empty && t.Panels == nil && !fits(len(b), e.K, e.RowB, e.N, e.ColB) {
		panic(shortB)
	}
	return e, a, b, empty
}

// mulTerm computes the product of a term for direction x, the first of which leaves in s what the others share.
func mulTerm[T Float](ws *Workspace[T], d *Terms, c []T, t *Term[T], s *shared[T], x int, add bool) {
	of := *d
	of.Add = add
	e, a, b, empty := t.product(&of, c, x)
	if empty {
		return
	}
	from := arranged[T]{panels: t.Panels, first: t.First + x*t.StepB}
	if path != pathGeneric && d.Directions > 1 {
		if t.StepA == 0 && e.ColA != 1 {
			if x == 0 {
				arrangeRows(&s.rows, &e, a)
			}
			from.rows = s.rows
		}
		if t.StepB == 0 && t.Panels == nil {
			if x == 0 {
				s.pack(&e, b)
			}
			from.panels, from.first = &s.panels, 0
		}
	}
	mul(ws, &e, c, a, b, from)
}

// pack arranges B.
func (s *shared[T]) pack(d *MatMul, b []T) {
	s.panels = Panels[T]{d.K, d.N, grow(&s.columns, panelsLen[T](d.K, d.N))}
	s.panels.pack(d, b, 0)
}
