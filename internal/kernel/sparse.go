package kernel

// Sparse describes a row of a matrix product whose terms are few, named by a list:
//
//	c[j] (+)= Σ_t a[t] · b[Index[t]*RowB + j],  0 ≤ t < len(Index),  0 ≤ j < N.
//
// Index ascends from 0 or more: only its last entry is held against the size of b.
// An output's bits depend on the values that enter it, on the order of Index, and on the path alone.
type Sparse struct {
	N     int
	Index []int32
	RowB  int
	Add   bool
}

// MulSparse computes the row that d describes. It overwrites N elements of c and nothing else. It panics where the last index names
// elements outside of b.
func MulSparse[T Float](d *Sparse, c, a, b []T) {
	if min(d.N, d.RowB) < 0 {
		panic(badShape)
	}
	if d.N == 0 {
		return
	}
	if len(c) < d.N {
		panic(shortC)
	}
	if len(d.Index) == 0 {
		if !d.Add {
			clear(c[:d.N])
		}
		return
	}
	if len(a) < len(d.Index) {
		panic(shortA)
	}
	if int(d.Index[len(d.Index)-1])*d.RowB+d.N > len(b) {
		panic(shortB)
	}
	mulSparse(d, c, a, b)
}

func mulSparseGeneric[T Float](d *Sparse, c, a, b []T) {
	var sums [32]T
	for j := 0; j < d.N; j += len(sums) {
		s := sums[:min(len(sums), d.N-j)]
		clear(s)
		for i, t := range d.Index {
			x, row := a[i], b[int(t)*d.RowB+j:]
			for q := range s {
				s[q] += x * row[q]
			}
		}
		for i, v := range s {
			if d.Add {
				v += c[j+i]
			}
			c[j+i] = v
		}
	}
}
