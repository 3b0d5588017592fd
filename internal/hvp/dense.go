package hvp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
)

// Dense is an operator as a matrix, without the rows and columns that are zero.
type Dense struct {
	N         int           // order of the operator
	Live      []int         // indices of the rows that are not zero
	H         *mat.SymDense // [len(Live), len(Live)], nil when none is live
	Asymmetry float64       // largest |Hᵢⱼ − Hⱼᵢ| before symmetrising
}

// columns is how many columns of a dense matrix are computed together.
const columns = 32

// DenseBytes is the memory that the matrix of an operator of order n and its eigenvalues take.
func DenseBytes(n int) int64 { return 16 * int64(n) * int64(n) }

// Dense computes the matrix from products with unit vectors. A row is taken to be zero when it
// gives exactly zero with three random vectors; what is left out adds eigenvalues that are exactly zero.
// It fails with a *MemoryError where that takes more than Options.MaxBytes. progress is called with the columns done and in all.
func (o *Operator) Dense(ctx context.Context, progress func(done, of int)) (*Dense, error) {
	n := o.Dim()
	r := rand.New(rand.NewPCG(1, 2))
	vector := func() []float64 { return make([]float64, n) }
	src, dst := [][]float64{vector(), vector(), vector()}, [][]float64{vector(), vector(), vector()}
	for _, v := range src {
		for i := range v {
			v[i] = r.NormFloat64()
		}
	}
	if err := o.Apply(ctx, dst, src); err != nil {
		return nil, err
	}
	d := &Dense{N: n}
	for i := range n {
		if dst[0][i] != 0 || dst[1][i] != 0 || dst[2][i] != 0 {
			d.Live = append(d.Live, i)
		}
	}
	m := len(d.Live)
	if m == 0 {
		return d, nil
	}
	k := min(columns, m)
	programs, err := o.Bytes(k)
	for ; err != nil && k > 1; programs, err = o.Bytes(k) {
		k = (k + 1) / 2 // of which each takes memory
	}
	if err != nil {
		return nil, err
	}
	if need := DenseBytes(m) + programs + 16*int64(k)*int64(n); o.opt.MaxBytes > 0 && need > o.opt.MaxBytes {
		return nil, &MemoryError{N: n, Live: m, Need: need}
	}
	d.H = mat.NewSymDense(m, nil)
	src, dst = nil, nil
	for range k {
		src, dst = append(src, vector()), append(dst, vector())
	}
	for first := 0; first < m; first += k {
		// The last group goes over columns again rather than have another size.
		start := min(first, m-k)
		for j := range k {
			clear(src[j])
			src[j][d.Live[start+j]] = 1
		}
		if err := o.Apply(ctx, dst, src); err != nil {
			return nil, err
		}
		for j := range k {
			col := start + j
			for row, i := range d.Live {
				v := dst[j][i]
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return nil, o.explain(ctx, &NonFiniteError{What: whatProduct, First: -1}, src[j])
				}
				switch {
				case row >= col: // the first of the pair
					d.H.SetSym(row, col, v)
				default:
					old := d.H.At(row, col)
					if start == first || col >= first { // not when gone over again
						d.Asymmetry = max(d.Asymmetry, math.Abs(old-v))
						d.H.SetSym(row, col, (old+v)/2)
					}
				}
			}
		}
		if progress != nil {
			progress(min(first+k, m), m)
		}
	}
	return d, nil
}

// Eigenvalues are all eigenvalues of the operator, ascending, those of the rows left out being
// zero.
func (d *Dense) Eigenvalues() ([]float64, error) {
	var values []float64
	if d.H != nil {
		var e mat.EigenSym
		if !e.Factorize(d.H, false) {
			return nil, errors.New("the eigenvalue iteration of the dense Hessian did not converge")
		}
		values = e.Values(nil)
	}
	out := make([]float64, 0, d.N)
	zeros := d.N - len(d.Live)
	for i := 0; i <= len(values); i++ {
		if zeros > 0 && (i == len(values) || values[i] >= 0) {
			for ; zeros > 0; zeros-- {
				out = append(out, 0)
			}
		}
		if i < len(values) {
			out = append(out, values[i])
		}
	}
	return out, nil
}

// MemoryError says that a dense matrix does not fit.
type MemoryError struct {
	N, Live int   // the order of the operator, and of it without the rows that are zero
	Need    int64 // bytes
}

func (e *MemoryError) Error() string {
	zero := ""
	if e.Live < e.N {
		zero = fmt.Sprintf(", of which %d count", e.Live)
	}
	return fmt.Sprintf("the dense Hessian of %d parameters%s needs %.1f GiB of memory", e.N, zero, float64(e.Need)/(1<<30))
}
