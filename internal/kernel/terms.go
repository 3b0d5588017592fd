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

// MulTerms computes the sums that d describes, direction by direction, the terms of each in order: the bits are those of Mul
// for each of them. It overwrites the elements of the C_d and nothing else.
func MulTerms[T Float](ws *Workspace[T], d *Terms, c []T, terms []Term[T]) {
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
		if len(terms) == 2 && mulSums(ws, d, c[min(x*d.StepC, len(c)):], terms, x) {
			continue
		}
		e := MatMul{M: d.M, N: d.N, RowC: d.RowC, Add: d.Add}
		for i := range terms {
			t := &terms[i]
			if min(t.StepA, t.StepB) < 0 {
				panic(badShape)
			}
			e.K, e.RowA, e.ColA, e.RowB, e.ColB = t.K, t.RowA, t.ColA, t.RowB, t.ColB
			mulTerm(ws, &e, c[min(x*d.StepC, len(c)):], t, &ws.terms[i], x)
			e.Add = true
		}
	}
}

// mulTerm computes the product of a term for direction x, the first of which leaves in s what the others share.
func mulTerm[T Float](ws *Workspace[T], d *MatMul, c []T, t *Term[T], s *shared[T], x int) {
	a, b := t.A[min(x*t.StepA, len(t.A)):], t.B[min(x*t.StepB, len(t.B)):]
	from := arranged[T]{panels: t.Panels, first: t.First + x*t.StepB}
	if from.panels != nil {
		b = from.panels.check(d, from.first)
	}
	if trivial(d, c, a) {
		return
	}
	if from.panels == nil && !fits(len(b), d.K, d.RowB, d.N, d.ColB) {
		panic(shortB)
	}
	if path != pathGeneric {
		if t.StepA == 0 && d.ColA != 1 {
			if x == 0 {
				arrangeRows(&s.rows, d, a)
			}
			from.rows = s.rows
		}
		if t.StepB == 0 && t.Panels == nil {
			if x == 0 {
				s.panels = Panels[T]{d.K, d.N, grow(&s.columns, panelsLen[T](d.K, d.N))}
				s.panels.pack(d, b, 0)
			}
			from.panels, from.first = &s.panels, 0
		}
	}
	mul(ws, d, c, a, b, from)
}
