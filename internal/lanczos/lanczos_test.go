package lanczos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"gonum.org/v1/gonum/mat"

	"hessdens/internal/kernel"
)

// dense is a symmetric matrix with a product of a fixed order.
type dense struct {
	n int
	a []float64
}

func (d dense) Dim() int { return d.n }

func (d dense) Apply(_ context.Context, dst, src [][]float64) error {
	for j := range src {
		for i := range d.n {
			dst[j][i] = dot(d.a[i*d.n:(i+1)*d.n], src[j])
		}
	}
	return nil
}

func randomDense(n int, seed uint64) dense {
	rng := rand.New(rand.NewPCG(seed, 1))
	d := dense{n: n, a: make([]float64, n*n)}
	for i := range n {
		for j := range i + 1 {
			x := rng.NormFloat64()
			d.a[i*n+j], d.a[j*n+i] = x, x
		}
	}
	return d
}

// laplacian is tridiag(−1, 2, −1).
type laplacian int

func (l laplacian) Dim() int { return int(l) }

func (l laplacian) Apply(_ context.Context, dst, src [][]float64) error {
	for j, s := range src {
		for i := range s {
			x := 2 * s[i]
			if i > 0 {
				x -= s[i-1]
			}
			if i+1 < len(s) {
				x -= s[i+1]
			}
			dst[j][i] = x
		}
	}
	return nil
}

type operatorFunc struct {
	n int
	f func(ctx context.Context, dst, src [][]float64) error
}

func (o operatorFunc) Dim() int { return o.n }
func (o operatorFunc) Apply(ctx context.Context, dst, src [][]float64) error {
	return o.f(ctx, dst, src)
}

func mustRun(t testing.TB, op Operator, o Options) []Probe {
	t.Helper()
	p, err := Run(context.Background(), op, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ones(dst []float64, _ int) {
	for i := range dst {
		dst[i] = 1
	}
}

func ramp(n int) Diagonal {
	d := make(Diagonal, n)
	for i := range d {
		d[i] = float64(i + 1)
	}
	return d
}

func sameBits(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) })
}

func sameProbe(t *testing.T, what string, got, want Probe) {
	t.Helper()
	if got.Index != want.Index || got.Exhausted != want.Exhausted || got.BetaLast != want.BetaLast ||
		!sameBits(got.Alpha, want.Alpha) || !sameBits(got.Beta, want.Beta) || !sameBits(got.Nodes, want.Nodes) ||
		!sameBits(got.Weights, want.Weights) || !sameBits(got.Residuals, want.Residuals) || got.Asymmetry != want.Asymmetry {
		t.Errorf("%s: probe %d differs", what, want.Index)
	}
}

func checkQuadrature(t *testing.T, p Probe) {
	t.Helper()
	m := len(p.Alpha)
	if m == 0 || len(p.Beta) != m-1 || len(p.Nodes) != m || len(p.Weights) != m || len(p.Residuals) != m {
		t.Fatalf("lengths %d %d %d %d %d", m, len(p.Beta), len(p.Nodes), len(p.Weights), len(p.Residuals))
	}
	sum := 0.0
	for i, w := range p.Weights {
		sum += w
		if !(w >= 0) || !(p.Residuals[i] >= 0) || math.IsNaN(p.Nodes[i]) {
			t.Fatalf("node %d: %v, weight %v, residual %v", i, p.Nodes[i], w, p.Residuals[i])
		}
	}
	if !(math.Abs(sum-1) <= 1e-13) {
		t.Errorf("weights sum to %v", sum)
	}
	if !slices.IsSorted(p.Nodes) {
		t.Error("nodes are not ascending")
	}
}

// The Jacobi matrix of the uniform measure on 1, …, n is known (the Gram or discrete Chebyshev polynomials).
func TestDiscreteChebyshev(t *testing.T) {
	for _, n := range []int{2, 7, 40, 1000} {
		p := mustRun(t, ramp(n), Options{Steps: 30, Probes: 1, Start: ones})[0]
		checkQuadrature(t, p)
		tol := 1e-14 * float64(n)
		for j, got := range p.Alpha {
			if want := float64(n+1) / 2; !(math.Abs(got-want) <= tol) {
				t.Errorf("n = %d: α_%d = %v, want %v", n, j+1, got, want)
			}
		}
		beta := p.Beta
		if !p.Exhausted {
			beta = append(slices.Clone(beta), p.BetaLast)
		}
		for i, got := range beta {
			j := float64(i + 1)
			want := j / 2 * math.Sqrt((float64(n)*float64(n)-j*j)/(4*j*j-1))
			if !(math.Abs(got-want) <= tol) {
				t.Errorf("n = %d: β_%v = %v, want %v", n, j, got, want)
			}
		}
		if want := n <= 30; p.Exhausted != want {
			t.Errorf("n = %d: exhausted %v", n, p.Exhausted)
		}
	}
}

func TestLaplacianEigenvalues(t *testing.T) {
	const n = 60
	p := mustRun(t, laplacian(n), Options{Steps: 200, Probes: 1, Seed: 3})[0]
	checkQuadrature(t, p)
	if len(p.Nodes) != n || !p.Exhausted || p.BetaLast != 0 {
		t.Fatalf("%d nodes, exhausted %v, β_m %v", len(p.Nodes), p.Exhausted, p.BetaLast)
	}
	for i, got := range p.Nodes {
		want := 2 - 2*math.Cos(float64(i+1)*math.Pi/(n+1))
		if !(math.Abs(got-want) <= 1e-13) {
			t.Errorf("eigenvalue %d: %v, want %v", i, got, want)
		}
	}
}

func TestIdentities(t *testing.T) {
	const n, m = 150, 40
	a := randomDense(n, 1)
	for _, p := range mustRun(t, a, Options{Steps: m, Probes: 3, Seed: 5, KeepBasis: true, Threads: 2}) {
		checkQuadrature(t, p)
		norm := max(p.Nodes[m-1], -p.Nodes[0])

		loss := 0.0
		for i := range m {
			for j := range m {
				d := dot(p.Basis[i], p.Basis[j])
				if i == j {
					d--
				}
				loss = max(loss, math.Abs(d))
			}
		}
		if !(loss <= 4e-15) || !(math.Abs(loss-p.Orthogonality) <= 1e-15) {
			t.Errorf("QᵀQ − I is %g, said to be %g", loss, p.Orthogonality)
		}

		// A Q − Q T is β_m q e_mᵀ with q orthogonal to Q and of length 1.
		aq := newColumns[float64](n, m)
		if err := a.Apply(context.Background(), aq, p.Basis); err != nil {
			t.Fatal(err)
		}
		for j := range m {
			for i := range n {
				r := aq[j][i] - p.Alpha[j]*p.Basis[j][i]
				if j > 0 {
					r -= p.Beta[j-1] * p.Basis[j-1][i]
				}
				if j+1 < m {
					r -= p.Beta[j] * p.Basis[j+1][i]
				}
				aq[j][i] = r
			}
			if j+1 < m {
				if r := stableNorm(aq[j]); !(r <= 1e-13*norm) {
					t.Errorf("column %d of A Q − Q T: %g", j, r)
				}
				continue
			}
			if r := stableNorm(aq[j]); !(math.Abs(r-p.BetaLast) <= 1e-13*norm) {
				t.Errorf("β_m = %v, want %v", p.BetaLast, r)
			}
			for i := range m {
				if d := dot(p.Basis[i], aq[j]); !(math.Abs(d) <= 1e-13*norm) {
					t.Errorf("q_%d · q_(m+1) = %g", i, d/p.BetaLast)
				}
			}
		}

		// The residuals are those of the Ritz vectors.
		x, ax := newColumns[float64](n, 1), newColumns[float64](n, 1)
		for i, theta := range p.Nodes {
			p.RitzVector(x[0], i)
			if l := stableNorm(x[0]); !(math.Abs(l-1) <= 1e-13) {
				t.Errorf("Ritz vector %d has length %v", i, l)
			}
			if err := a.Apply(context.Background(), ax, x); err != nil {
				t.Fatal(err)
			}
			for l := range ax[0] {
				ax[0][l] -= theta * x[0][l]
			}
			if r := stableNorm(ax[0]); !(math.Abs(r-p.Residuals[i]) <= 1e-12*norm) {
				t.Errorf("residual %d: %g, said to be %g", i, r, p.Residuals[i])
			}
		}
	}
}

// The quadrature is exact for vᵀAʲv to j = 2m − 1.
func TestMoments(t *testing.T) {
	const n, m = 80, 6
	a := randomDense(n, 2)
	for i := range a.a {
		a.a[i] /= 20
	}
	p := mustRun(t, a, Options{Steps: m, Probes: 1, Seed: 9})[0]
	v := newColumns[float64](n, 2)
	Gaussian(v[0], 9, 0)
	start := slices.Clone(v[0])
	for j := range 2 * m {
		want, got, size := dot(start, v[0]), 0.0, 0.0
		for i, x := range p.Nodes {
			got += p.Weights[i] * math.Pow(x, float64(j))
			size += p.Weights[i] * math.Pow(math.Abs(x), float64(j))
		}
		if !(math.Abs(got-want) <= 1e-13*size) {
			t.Errorf("moment %d: %v, want %v", j, got, want)
		}
		if err := a.Apply(context.Background(), v[1:], v[:1]); err != nil {
			t.Fatal(err)
		}
		v[0], v[1] = v[1], v[0]
	}
}

func TestMarchenkoPastur(t *testing.T) {
	// Z Zᵀ/p with Z n × p: support [(1−√c)², (1+√c)²], c = n/p, mean 1, variance c.
	const n, p = 200, 800
	rng := rand.New(rand.NewPCG(4, 4))
	z := mat.NewDense(n, p, nil)
	z.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() / math.Sqrt(p) }, z)
	var s mat.Dense
	s.Mul(z, z.T())
	a := dense{n: n, a: s.RawMatrix().Data}
	probes := mustRun(t, a, Options{Steps: 30, Probes: 10, Seed: 1})
	var mean, square float64
	for _, q := range probes {
		checkQuadrature(t, q)
		for i, x := range q.Nodes {
			mean += q.Weights[i] * x / 10
			square += q.Weights[i] * x * x / 10
			if !(x > 0.2) || !(x < 2.35) {
				t.Errorf("node %v outside the support [0.25, 2.25]", x)
			}
		}
	}
	if !(math.Abs(mean-1) <= 0.06) || !(math.Abs(square-mean*mean-0.25) <= 0.04) {
		t.Errorf("mean %v, variance %v, want 1 and 0.25", mean, square-mean*mean)
	}
}

func TestBreakdown(t *testing.T) {
	repeat := func(n int, values ...float64) Diagonal {
		d := make(Diagonal, n)
		for i := range d {
			d[i] = values[i%len(values)]
		}
		return d
	}
	lowRank := make(Diagonal, 300)
	copy(lowRank, []float64{5, -3, 2, 1})
	equispaced := make([]float64, 50)
	for i := range equispaced {
		equispaced[i] = -1 + 2*float64(i)/49
	}
	tests := []struct {
		name     string
		d        Diagonal
		distinct int
		exact    bool // an early success is asked for
	}{
		{"zero", repeat(100, 0), 1, true},
		{"identity", repeat(100, 1), 1, true},
		{"negative identity", repeat(1000, -1e-8), 1, true},
		{"two", repeat(500, 1, -2), 2, true},
		{"five", repeat(500, 1, 2, 3, -4, 1e-3), 5, true},
		{"low rank", lowRank, 5, true},
		{"fifty of multiplicity forty", repeat(2000, equispaced...), 50, false},
		{"order one", Diagonal{3}, 1, true},
		{"order two", Diagonal{3, -4}, 2, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			distinct := slices.Clone(test.d)
			slices.Sort(distinct)
			distinct = slices.Compact(distinct)
			for _, p := range mustRun(t, test.d, Options{Steps: 90, Probes: 3, Seed: 7}) {
				checkQuadrature(t, p)
				if test.exact && (!p.Exhausted || len(p.Nodes) != test.distinct || p.BetaLast != 0) {
					t.Errorf("exhausted %v with %d nodes, want %d", p.Exhausted, len(p.Nodes), test.distinct)
				}
				tol := 1e-13 * max(math.Abs(distinct[0]), math.Abs(distinct[len(distinct)-1]))
				if !test.exact {
					tol = 1e-10 // copies that rounding started are still converging
				}
				for i, x := range p.Nodes {
					at, _ := slices.BinarySearch(distinct, x)
					near := math.Inf(1)
					for _, l := range distinct[max(0, at-1):min(at+1, len(distinct))] {
						near = min(near, math.Abs(l-x))
					}
					if p.Weights[i] > 1e-10 && !(near <= tol) {
						t.Errorf("node %v of weight %v is no eigenvalue", x, p.Weights[i])
					}
				}
			}
			probes := mustRun(t, test.d, Options{Steps: 90, Probes: 3, Seed: 7})
			e := Agree(probes, len(test.d), ProductError64)
			for _, v := range e.List {
				if !slices.ContainsFunc(distinct, func(want float64) bool {
					return math.Abs(v.Value-want) <= v.Bound+1e-14*math.Abs(want)
				}) || test.exact && v.Probes != 3 {
					t.Errorf("%+v", v)
				}
			}
			// Every value of large multiplicity stays in the rest.
			if want := map[string]int{"low rank": 4, "order one": 1, "order two": 2}[test.name]; len(e.List) != want {
				t.Errorf("%d eigenvalues, want %d", len(e.List), want)
			}
		})
	}
}

// A probe that ends leaves the group; the others are not changed by it.
func TestBreakdownLeavesGroup(t *testing.T) {
	d := make(Diagonal, 400)
	for i := range d {
		d[i] = float64(i) / 400
	}
	start := func(dst []float64, p int) {
		Gaussian(dst, 1, p)
		if p%2 == 1 { // in an invariant subspace of three dimensions
			clear(dst)
			dst[10], dst[20], dst[p] = 1, 2, 3
		}
	}
	widths := map[int]bool{}
	op := operatorFunc{len(d), func(ctx context.Context, dst, src [][]float64) error {
		widths[len(src)] = true
		return d.Apply(ctx, dst, src)
	}}
	o := Options{Steps: 30, Probes: 5, Start: start}
	together := mustRun(t, op, o)
	for i := range together {
		o.First, o.Probes = i, 1
		sameProbe(t, "alone", mustRun(t, d, o)[0], together[i])
		if odd := i%2 == 1; together[i].Exhausted != odd || odd && len(together[i].Nodes) != 3 {
			t.Errorf("probe %d: exhausted %v, %d nodes", i, together[i].Exhausted, len(together[i].Nodes))
		}
	}
	if !widths[5] || !widths[3] {
		t.Errorf("group widths %v", widths)
	}
}

func TestScaling(t *testing.T) {
	const n = 300
	rng := rand.New(rand.NewPCG(8, 8))
	d := make(Diagonal, n)
	for i := range d {
		d[i] = rng.NormFloat64() * math.Exp(3*rng.NormFloat64())
	}
	want := mustRun(t, d, Options{Steps: 60, Probes: 2, Seed: 2})
	for _, exp := range []int{27, -27, 1, -400, 400, 600, -600, 900} {
		s := slices.Clone(d)
		for i := range s {
			s[i] = math.Ldexp(s[i], exp)
		}
		scale := func(x []float64) []float64 {
			x = slices.Clone(x)
			for i := range x {
				x[i] = math.Ldexp(x[i], exp)
			}
			return x
		}
		for i, got := range mustRun(t, s, Options{Steps: 60, Probes: 2, Seed: 2}) {
			w := want[i]
			if !sameBits(got.Alpha, scale(w.Alpha)) || !sameBits(got.Beta, scale(w.Beta)) || !sameBits(got.Nodes, scale(w.Nodes)) ||
				!sameBits(got.Residuals, scale(w.Residuals)) || !sameBits(got.Weights, w.Weights) {
				t.Errorf("2^%d: probe %d does not scale exactly", exp, i)
			}
		}
		got := Agree(mustRun(t, s, Options{Steps: 60, Probes: 2, Seed: 2}), n, ProductError64).List
		rows := Agree(want, n, ProductError64).List
		if len(got) != len(rows) || len(rows) == 0 {
			t.Fatalf("2^%d: %d eigenvalues, want %d", exp, len(got), len(rows))
		}
		for i, r := range rows {
			if got[i].Value != math.Ldexp(r.Value, exp) {
				t.Errorf("2^%d: %v does not scale exactly", exp, r)
			}
		}
	}
}

func TestSameBitsForAnyThreadsAndGroups(t *testing.T) {
	const n = 70_001 // several chunks of several blocks, the last one ragged
	d := make(Diagonal, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range d {
		d[i] = rng.NormFloat64()
	}
	o := Options{Steps: 9, Probes: 5, Seed: 11}
	want := mustRun(t, d, o)
	for _, threads := range []int{2, 3, 7} {
		o.Threads = threads
		for i, p := range mustRun(t, d, o) {
			sameProbe(t, fmt.Sprintf("%d threads", threads), p, want[i])
			if p.Orthogonality != want[i].Orthogonality {
				t.Errorf("%d threads: orthogonality %v, want %v", threads, p.Orthogonality, want[i].Orthogonality)
			}
		}
	}
	for _, groups := range [][]int{{1, 1, 1, 1, 1}, {2, 3}, {4, 1}} {
		o.Groups = groups
		for i, p := range mustRun(t, d, o) {
			sameProbe(t, fmt.Sprintf("groups %v", groups), p, want[i])
		}
	}
	o.Groups = nil
	o.First, o.Probes = 3, 2
	for i, p := range mustRun(t, d, o) {
		sameProbe(t, "first 3", p, want[3+i])
	}
	// A process that grows in both directions ends with the same.
	p := NewProcess(d, Options{Seed: 11, Threads: 2})
	defer p.Close()
	for _, to := range [][2]int{{2, 4}, {2, 6}, {4, 6}, {5, 9}} {
		if err := p.Grow(context.Background(), to[0], to[1]); err != nil {
			t.Fatal(err)
		}
	}
	if p.Products() != 45 {
		t.Errorf("%d products", p.Products())
	}
	p.Orthogonal()
	for i, q := range p.Probes() {
		sameProbe(t, "process", q, want[i])
		for l := range want {
			if !sameBits(q.Overlaps[l], want[i].Overlaps[l]) {
				t.Errorf("process: overlap of probes %d and %d", i, l)
			}
		}
	}
	// The first steps of a longer run are those of a shorter one.
	o.Steps = 14
	longer := mustRun(t, d, o)[0]
	if !sameBits(longer.Alpha[:9], want[3].Alpha) || !sameBits(longer.Beta[:8], want[3].Beta) || longer.Beta[8] != want[3].BetaLast {
		t.Error("more steps change the first ones")
	}
}

func TestNonFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		d := ramp(1000)
		calls := 0
		op := operatorFunc{len(d), func(ctx context.Context, dst, src [][]float64) error {
			if err := d.Apply(ctx, dst, src); err != nil {
				return err
			}
			if calls++; calls == 3 {
				dst[1][999] = bad
			}
			return nil
		}}
		_, err := Run(context.Background(), op, Options{Steps: 10, Probes: 3})
		var nf *NonFiniteError
		if !errors.Is(err, ErrNonFinite) || !errors.As(err, &nf) || nf.Probe != 1 || nf.Step != 3 {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

func TestErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	_, err := Run(ctx, ramp(100), Options{Steps: 50, Probes: 2, Progress: func(p Progress) {
		if steps = p.Step; steps == 4 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || steps != 4 {
		t.Errorf("cancelled at step %d: %v", steps, err)
	}

	boom := errors.New("boom")
	_, err = Run(context.Background(), operatorFunc{3, func(context.Context, [][]float64, [][]float64) error { return boom }},
		Options{Steps: 2, Probes: 1})
	if !errors.Is(err, boom) {
		t.Errorf("operator's error: %v", err)
	}

	for _, x := range []float64{0, math.NaN(), math.Inf(1)} {
		_, err = Run(context.Background(), ramp(4), Options{Steps: 2, Probes: 1, Start: func(dst []float64, _ int) {
			clear(dst)
			dst[2] = x
		}})
		if !errors.Is(err, ErrZeroStart) {
			t.Errorf("start of %v: %v", x, err)
		}
	}

	for name, f := range map[string]func(){
		badSteps:  func() { _, _ = Run(context.Background(), ramp(4), Options{Probes: 1}) },
		badProbes: func() { _, _ = Run(context.Background(), ramp(4), Options{Steps: 1}) },
		badGroups: func() { _, _ = Run(context.Background(), ramp(4), Options{Steps: 1, Probes: 3, Groups: []int{2}}) },
		badDim:    func() { _, _ = Run(context.Background(), Diagonal{}, Options{Steps: 1, Probes: 3}) },
	} {
		func() {
			defer func() {
				if r := recover(); r != name {
					t.Errorf("panic %v, want %v", r, name)
				}
			}()
			f()
		}()
	}
}

func TestProgress(t *testing.T) {
	var last Progress
	calls := 0
	mustRun(t, ramp(50), Options{Steps: 7, Probes: 5, Groups: []int{3, 2}, Progress: func(p Progress) {
		calls++
		if p.Total != 35 || p.Steps != 7 || p.Products <= last.Products {
			t.Errorf("after %+v: %+v", last, p)
		}
		last = p
	}})
	if last.Products != 35 || calls != 14 {
		t.Errorf("%d calls, last %+v", calls, last)
	}
}

func TestNoAllocationPerStep(t *testing.T) {
	d := make(Diagonal, 20_000)
	for i := range d {
		d[i] = math.Sin(float64(i))
	}
	allocs := func(m int) float64 {
		return testing.AllocsPerRun(3, func() {
			mustRun(t, d, Options{Steps: m, Probes: 2, Threads: 2})
		})
	}
	// A column a step and probe is allocated before the first step, and the lists of overlaps at the end; nothing else
	// grows with m.
	if few, many := allocs(5), allocs(25); many-few > 2*20+8 {
		t.Errorf("%v allocations for 5 steps, %v for 25", few, many)
	}
}

func TestGroups(t *testing.T) {
	const n, m = 1000, 89
	one := BasisBytes(n, m, 1, Double)
	if single := BasisBytes(n, m, 1, Single); one != (8*89+16)*1000 || single != (4*89+16)*1000 {
		t.Fatalf("BasisBytes = %d, %d", one, single)
	}
	tests := []struct {
		k         int
		available int64
		want      []int
	}{
		{10, 10 * one, []int{10}},
		{10, 100 * one, []int{10}},
		{10, 10*one - 1, []int{5, 5}},
		{10, 4 * one, []int{4, 3, 3}},
		{3, one, []int{1, 1, 1}},
	}
	for _, test := range tests {
		got, err := Groups(test.k, n, m, Double, test.available)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("k = %d, %d bytes: %v, %v, want %v", test.k, test.available, got, err, test.want)
		}
	}
	_, err := Groups(3, n, m, Double, one-1)
	var me *MemoryError
	if !errors.As(err, &me) || me.Need != one || me.Available != one-1 || me.FitSteps != 88 {
		t.Errorf("got %+v", err)
	} else if _, err := Groups(1, n, me.FitSteps, Double, me.Available); err != nil {
		t.Errorf("the steps that fit do not: %v", err)
	}
	for _, available := range []int64{0, -5, 23_999} {
		if _, err := Groups(1, n, m, Double, available); !errors.As(err, &me) || me.FitSteps != 0 {
			t.Errorf("%d bytes: %v", available, err)
		}
	}
	if got := BasisBytes(math.MaxInt/2, 90, 10, Single); got != math.MaxInt64 {
		t.Errorf("overflow: %d", got)
	}
	if _, err := Groups(1, math.MaxInt/2, 90, Double, math.MaxInt64); !errors.As(err, &me) {
		t.Errorf("overflow: %v", err)
	}
}

// One step of ten probes with 45 columns, the mean of 90 steps: with the parameters of the embedded network, and of ResNet-20.
func BenchmarkOrthogonalise(b *testing.B) {
	for _, n := range []int{15_910, 269_722} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("n=%d/threads=%d/float64", n, threads), func(b *testing.B) { benchOrthogonalise[float64](b, n, threads) })
			b.Run(fmt.Sprintf("n=%d/threads=%d/float32", n, threads), func(b *testing.B) { benchOrthogonalise[float32](b, n, threads) })
		}
	}
}

func benchOrthogonalise[T kernel.Float](b *testing.B, n, threads int) {
	const m, probes = 45, 10
	team := newTeam(threads)
	defer team.close()
	r := &run[T]{n: n, m: m, ortho: newOrthogonaliser[T](team, n)}
	var active []*state[T]
	for i := range probes {
		s := r.slot(i)
		for j, c := range s.columns {
			normal(s.w, 1, uint64(i*m+j))
			for l, x := range s.w {
				c[l] = T(x / math.Sqrt(float64(n)))
			}
		}
		normal(s.w, 2, uint64(i))
		active = append(active, s)
	}
	r.ortho.load(m-1, active)
	bytes := float64(probes) * float64(n*m) * float64(unsafe.Sizeof(T(0)))
	b.ReportAllocs()
	for b.Loop() {
		r.ortho.orthogonalise()
	}
	b.ReportMetric(2*bytes*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
}

// All of Lanczos in a run of ResNet-20's size whose products cost next to nothing.
func BenchmarkRun(b *testing.B) {
	d := make(Diagonal, 269_722)
	for i := range d {
		d[i] = math.Sin(float64(i))
	}
	for _, storage := range storages {
		b.Run(fmt.Sprintf("storage=%d", storage), func(b *testing.B) {
			for b.Loop() {
				mustRun(b, d, Options{Steps: 90, Probes: 10, Threads: 2, Storage: storage})
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/90, "s/step")
		})
	}
}

// single multiplies by a diagonal in float32.
func single(d []float64) func(context.Context, [][]float64, [][]float64) error {
	return func(_ context.Context, dst, src [][]float64) error {
		for j, s := range src {
			for i, x := range s {
				dst[j][i] = float64(float32(d[i]) * float32(x))
			}
		}
		return nil
	}
}
