package lanczos

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var storages = []Storage{Double, Single}

// What a product holds of the basis is taken out whatever it is, also where almost nothing else is there: here each product is
// the sum of all vectors so far and a millionth of a new one.
func TestOrthogonalWithoutSymmetry(t *testing.T) {
	const n, m = 5000, 40
	for _, storage := range storages {
		rng := rand.New(rand.NewPCG(6, 6))
		sum := make([]float64, n)
		op := operatorFunc{n, func(_ context.Context, dst, src [][]float64) error {
			for i, x := range src[0] {
				sum[i] += x
				dst[0][i] = sum[i] + 1e-6*rng.NormFloat64()/math.Sqrt(n)
			}
			return nil
		}}
		p := mustRun(t, op, Options{Steps: m, Probes: 1, Storage: storage, KeepBasis: true})[0]
		limit := 4e-15
		if storage == Single {
			limit = 2e-7
		}
		if len(p.Alpha) != m || !(p.Orthogonality <= limit) {
			t.Errorf("storage %d: QᵀQ − I is %g after %d steps", storage, p.Orthogonality, len(p.Alpha))
		}
	}
}

// A basis in float32 is what is multiplied, it is as orthogonal as its rounding allows, and the relation and the quadrature hold to
// the error of a float32 product.
func TestSingleStorage(t *testing.T) {
	const n, m = 8000, 60
	rng := rand.New(rand.NewPCG(3, 9))
	d := make(Diagonal, n)
	for i := range d {
		d[i] = rng.NormFloat64()
	}
	copy(d, []float64{40, 25, -12})
	op := operatorFunc{n, func(ctx context.Context, dst, src [][]float64) error {
		for _, s := range src {
			for _, x := range s {
				if x != float64(float32(x)) {
					t.Fatalf("%v is multiplied, which is not a float32", x)
				}
			}
		}
		return d.Apply(ctx, dst, src)
	}}
	o := Options{Steps: m, Probes: 2, Storage: Single, KeepBasis: true}
	single := mustRun(t, op, o)
	o.Storage = Double
	for i, want := range mustRun(t, d, o) {
		p := single[i]
		checkQuadrature(t, p)
		loss := 0.0
		for a := range m {
			for b := range m {
				x := dot(p.Basis[a], p.Basis[b])
				if a == b {
					x--
				}
				loss = max(loss, math.Abs(x))
			}
		}
		// Each of two columns is rounded by half a unit, and Σ|q_i q_j| ≤ 1.
		if !(loss <= 0x1p-23) || !(math.Abs(loss-p.Orthogonality) <= 1e-13) {
			t.Errorf("QᵀQ − I is %g, said to be %g", loss, p.Orthogonality)
		}
		if !(want.Orthogonality <= 4e-15) {
			t.Errorf("in float64 QᵀQ − I is %g", want.Orthogonality)
		}
		for j := range m - 1 {
			r := make([]float64, n)
			for l := range r {
				r[l] = (d[l]-p.Alpha[j])*p.Basis[j][l] - p.Beta[j]*p.Basis[j+1][l]
				if j > 0 {
					r[l] -= p.Beta[j-1] * p.Basis[j-1][l]
				}
			}
			if !(stableNorm(r) <= ProductError32*40) {
				t.Errorf("column %d of A Q − Q T: %g", j, stableNorm(r))
			}
		}
		for _, f := range []func(float64) float64{
			func(x float64) float64 { return x }, func(x float64) float64 { return x * x }, math.Sin, func(x float64) float64 { return math.Exp(-x * x) },
		} {
			var got, exact float64
			for l, x := range p.Nodes {
				got += p.Weights[l] * f(x)
				exact += want.Weights[l] * f(want.Nodes[l])
			}
			if !(math.Abs(got-exact) <= 1e-6) {
				t.Errorf("probe %d: quadrature %v, in float64 %v", i, got, exact)
			}
		}
	}
	list := Agree(single, n, ProductError32).List
	for i, want := range []float64{40, 25} {
		if !(math.Abs(list[i].Value-want) <= list[i].Bound) || !(list[i].Bound <= 1e-5) || list[i].Probes != 2 {
			t.Errorf("eigenvalue %v: %+v", want, list[i])
		}
	}
}

// Bits do not depend on threads and groups in either storage, powers of two scale, and what rounding starts after
// the last distinct eigenvalue weighs nothing.
func TestStorageBits(t *testing.T) {
	const n = 9001
	rng := rand.New(rand.NewPCG(1, 2))
	d := make(Diagonal, n)
	for i := range d {
		d[i] = rng.NormFloat64()
	}
	scaled := slices.Clone(d)
	for i := range scaled {
		scaled[i] = math.Ldexp(scaled[i], -300)
	}
	for _, storage := range storages {
		o := Options{Steps: 12, Probes: 4, Seed: 3, Storage: storage}
		want := mustRun(t, d, o)
		for _, threads := range []int{2, 5} {
			for _, groups := range [][]int{{4}, {1, 3}, {2, 1, 1}} {
				o.Threads, o.Groups = threads, groups
				for i, p := range mustRun(t, d, o) {
					sameProbe(t, fmt.Sprintf("storage %d, %d threads, groups %v", storage, threads, groups), p, want[i])
				}
			}
		}
		for i, p := range mustRun(t, scaled, o) {
			if !sameBits(p.Weights, want[i].Weights) || p.BetaLast != math.Ldexp(want[i].BetaLast, -300) {
				t.Errorf("storage %d: probe %d does not scale exactly", storage, i)
			}
		}
	}

	values := []float64{-4, 0.1, 1, 2, 3}
	few := make(Diagonal, 500)
	for i := range few {
		few[i] = values[i%5]
	}
	for _, p := range mustRun(t, few, Options{Steps: 20, Probes: 3, Storage: Single}) {
		for i, x := range p.Nodes {
			if near := func(v float64) bool { return math.Abs(v-x) <= 10*ProductError32*4 }; p.Weights[i] > 1e-8 && !slices.ContainsFunc(values, near) {
				t.Errorf("node %v of weight %v is no eigenvalue", x, p.Weights[i])
			}
		}
	}
}
