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
// A step of 0 says that an operand is the same for all directions: it is arranged for the kernels once.
type Term[T Float] struct {
	K                 int
	A                 []T
	RowA, ColA, StepA int
	B                 []T
	RowB, ColB, StepB int
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
		e := MatMul{M: d.M, N: d.N, RowC: d.RowC, Add: d.Add}
		for i := range terms {
			t := &terms[i]
			if min(t.StepA, t.StepB) < 0 {
				panic(badShape)
			}
			e.K, e.RowA, e.ColA, e.RowB, e.ColB = t.K, t.RowA, t.ColA, t.RowB, t.ColB
			a, b := t.A[min(x*t.StepA, len(t.A)):], t.B[min(x*t.StepB, len(t.B)):]
			mulTerm(ws, &e, c[min(x*d.StepC, len(c)):], a, b, &ws.terms[i], t.StepA == 0, t.StepB == 0, x == 0)
			e.Add = true
		}
	}
}

// mulTerm computes a product whose left or right operand, or both, are those of the call before, but for the first: they are in s then.
func mulTerm[T Float](ws *Workspace[T], d *MatMul, c, a, b []T, s *shared[T], sameA, sameB, first bool) {
	if trivial(d, c, a) {
		return
	}
	if !fits(len(b), d.K, d.RowB, d.N, d.ColB) {
		panic(shortB)
	}
	if path == pathGeneric {
		mul(ws, d, c, a, b, arranged[T]{})
		return
	}
	var from arranged[T]
	if sameA && d.ColA != 1 {
		if first {
			arrangeRows(&s.rows, d, a)
		}
		from.rows = s.rows
	}
	if sameB {
		if first {
			s.panels = Panels[T]{d.K, d.N, grow(&s.columns, panelsLen[T](d.K, d.N))}
			s.panels.pack(d, b, 0)
		}
		from.panels = &s.panels
	}
	mul(ws, d, c, a, b, from)
}
