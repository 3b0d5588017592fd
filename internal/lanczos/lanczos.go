// Package lanczos reduces a symmetric operator to small tridiagonal matrices by the Lanczos
// process with full reorthogonalisation, from one or more starting vectors (probes), and reads
// Gauss quadratures and converged eigenvalues off them. It sees an operator only through its
// dimension and its product with a group of vectors.
package lanczos

import (
	"context"
	"errors"
	"fmt"
	"math"
)

const (
	epsilon = 0x1p-52

	// ProductError64 and ProductError32 are the errors of a product, relative to ‖H‖, that a
	// residual is never taken below: for products in float64 and in float32.
	ProductError64 = 2e-15
	ProductError32 = 1e-7

	// breakdown is the β, relative to ‖H‖, below which the Krylov space is taken to be
	// invariant: the rounding of a product and of two passes of orthogonalisation.
	breakdown = 100 * epsilon
)

// Messages of panics: a caller's bug, never bad data.
const (
	badDim    = "lanczos: dimension of the operator is not positive"
	badSteps  = "lanczos: number of steps is not positive"
	badProbes = "lanczos: number of probes is not positive"
	badFirst  = "lanczos: negative index of a probe"
	badGroups = "lanczos: sizes of the groups do not add up to the number of probes"
	badLength = "lanczos: slice lengths do not match"
	noBasis   = "lanczos: the basis was not kept"
)

// ErrNonFinite says that a product holds NaN or infinity. The error that Run returns is a
// *NonFiniteError, which says where.
var ErrNonFinite = errors.New("product is not finite")

// ErrZeroStart says that a starting vector given by Options.Start is zero or not finite.
var ErrZeroStart = errors.New("starting vector is zero or not finite")

// NonFiniteError is an ErrNonFinite with the probe and the step (from 1) of the product.
type NonFiniteError struct {
	Probe, Step int
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("probe %d, step %d: %v", e.Probe, e.Step, ErrNonFinite)
}

func (e *NonFiniteError) Unwrap() error { return ErrNonFinite }

// Operator is a symmetric matrix A known by its products.
type Operator interface {
	// Dim returns the order n of A.
	Dim() int
	// Apply sets dst[j] = A src[j] for a group of vectors of length n. Every dst[j] is
	// overwritten, whatever it held; src is not changed, and no dst aliases a src. The
	// result for one vector must not depend on the others if a run is to be independent of
	// its grouping.
	Apply(ctx context.Context, dst, src [][]float64) error
}

// Diagonal is the operator diag(λ).
type Diagonal []float64

// Dim returns the number of diagonal entries.
func (d Diagonal) Dim() int { return len(d) }

// Apply multiplies each vector by the diagonal, entry by entry.
func (d Diagonal) Apply(_ context.Context, dst, src [][]float64) error {
	for j, s := range src {
		t := dst[j]
		for i, x := range d {
			t[i] = x * s[i]
		}
	}
	return nil
}

// Options says what Run does. The zero value of each field but Steps and Probes is its default.
type Options struct {
	Steps  int    // m, the most steps of a probe; min(m, n) are done
	Probes int    // k, the number of probes
	First  int    // index of the first probe; probes First, …, First+Probes−1 are run
	Seed   uint64 // of the Gaussian starting vectors

	// Groups are the sizes of the lockstep groups, in order (see Groups); they sum to Probes.
	// Left out: one group. The result does not depend on it.
	Groups []int

	// Threads is the number of goroutines that orthogonalise (1 when not positive). The result
	// does not depend on it.
	Threads int

	// ProductError is the error of a product relative to ‖H‖ (ProductError64 when zero). A β
	// below it, or below 100·2⁻⁵², times the running estimate of ‖H‖ ends a probe.
	ProductError float64

	// Orthogonality asks for Probe.Orthogonality, which costs as much again as the run's own
	// orthogonalisation.
	Orthogonality bool

	// KeepBasis keeps the Krylov basis of every probe in Probe.Basis: Probes·m·n·8 bytes.
	KeepBasis bool

	// Start sets dst to the starting vector of a probe, which Run then normalises. Left out:
	// Gaussian(dst, Seed, probe).
	Start func(dst []float64, probe int)

	// Progress is called after each step of a group, on the goroutine that called Run.
	Progress func(Progress)
}

// Progress says how far a run has come.
type Progress struct {
	Step, Steps     int // of the current group
	Probes          int // of the current group that are still going
	Products, Total int // of the run; Total is what is left if no probe ends early
}

// Probe is the outcome of m steps from one starting vector v, ‖v‖ = 1: the Jacobi matrix
//
//	T = tridiag(β, α, β) = Qᵀ A Q,   A Q = Q T + β_m q_(m+1) e_mᵀ,   Q e₁ = v,
//
// and the Gauss quadrature that its eigen-decomposition T = S Θ Sᵀ gives,
//
//	vᵀ f(A) v ≈ Σ_i w_i f(θ_i),   w_i = S_1i²,   exact for polynomials to degree 2m − 1.
type Probe struct {
	Index    int       // depends on nothing but the caller's numbering
	Alpha    []float64 // α_1, …, α_m
	Beta     []float64 // β_1, …, β_(m−1), each taken after reorthogonalisation
	BetaLast float64   // β_m; exactly 0 when the Krylov space is invariant

	Nodes     []float64 // θ_i, ascending
	Weights   []float64 // w_i, in the order of Nodes; they sum to 1
	Residuals []float64 // ‖A x_i − θ_i x_i‖ = |β_m S_mi| of the Ritz vector x_i = Q S e_i

	// Exhausted says that the process ended with an invariant subspace before or at the last
	// step: the quadrature is then exact for every f, up to the error of the products.
	Exhausted bool

	// Orthogonality is max |QᵀQ − I|; 0 unless Options.Orthogonality.
	Orthogonality float64

	// Asymmetry is the Frobenius norm of what QᵀAQ, with its columns as the products gave them, has above
	// the diagonal and T has not: the part of the products' error that the run shows.
	Asymmetry float64

	// ProductError is what was measured of the products' error besides, in the same unit: an error that all products
	// share, as of activations in float32, is one of a symmetric matrix, which Asymmetry does not show. The caller
	// sets it.
	ProductError float64

	// Outermost is the Ritz vector of the node of largest modulus, of the first probe of the run; nil for others. The
	// residual of a better product at it is a ProductError.
	Outermost []float64

	// Overlaps[l] holds v_lᵀ q_1, …, v_lᵀ q_m for the start v_l of the l-th probe of the run.
	Overlaps [][]float64

	// Basis holds the columns of Q; nil unless Options.KeepBasis.
	Basis [][]float64

	s           []float64 // S by rows
	first, last []float64 // S_1i and S_mi with their signs
}

// Run does the Lanczos process on op from Options.Probes starting vectors and returns the probes in
// the order of their indices.
//
// Every new direction is orthogonalised twice against the whole basis in float64 (classical
// Gram-Schmidt, twice is enough: Giraud, Langou and Rozložník 2005). Sums over n are cut into pieces
// that depend on n alone and added in a fixed order, so a probe's bits depend on the operator and on
// (Seed, index) and not on Threads, Groups or the other probes. If A is scaled by a power of two, nodes
// and residuals scale exactly and the weights keep their bits.
//
// Each basis is multiplied with the starts of all probes of the run (Probe.Overlaps), which is how eigenvectors of
// different probes are compared when their bases no longer exist: k·m·n multiplications a probe, and no product.
//
// A probe whose β falls below the rounding of ‖H‖ has found an invariant subspace: it leaves the group with
// what it has, an exact result (Probe.Exhausted), and the others go on.
//
// Run fails with the context's error when ctx is done, with a *NonFiniteError when a product is not finite,
// with ErrZeroStart, and with what the operator returns.
func Run(ctx context.Context, op Operator, o Options) ([]Probe, error) {
	n := op.Dim()
	switch {
	case n <= 0:
		panic(badDim)
	case o.Steps <= 0:
		panic(badSteps)
	case o.Probes <= 0:
		panic(badProbes)
	case o.First < 0:
		panic(badFirst)
	}
	groups := o.Groups
	if groups == nil {
		groups = []int{o.Probes}
	}
	total, largest := 0, 0
	for _, g := range groups {
		if g <= 0 {
			panic(badGroups)
		}
		total += g
		largest = max(largest, g)
	}
	if total != o.Probes {
		panic(badGroups)
	}

	r := newRun(op, o)
	defer r.team.close()
	r.ortho = newOrthogonaliser(r.team, n, r.m, largest)

	probes := make([]Probe, o.Probes)
	at := 0
	for _, g := range groups {
		if err := r.group(ctx, probes[at:at+g], o.First+at, total-at-g); err != nil {
			return nil, err
		}
		at += g
	}
	return probes, nil
}

func newRun(op Operator, o Options) *run {
	return &run{op: op, o: o, n: op.Dim(), m: min(o.Steps, op.Dim()), tol: max(breakdown, o.ProductError), team: newTeam(max(1, o.Threads))}
}

// run holds what the groups of one call of Run share.
type run struct {
	op       Operator
	o        Options
	n, m     int
	tol      float64
	team     *team
	ortho    *orthogonaliser
	columns  [][][]float64 // per slot of a group: m+1 columns, reused by the next group
	products int
}

// state is one probe on its way.
type state struct {
	probe   *Probe
	columns [][]float64
	scale   float64 // running estimate of ‖H‖ from the rows of T
}

// asymmetry takes account of step j, whose coefficients Qᵀ A q_(j+1) would be 0, …, 0, β_j, α_(j+1) if the products
// were exact.
func (s *state) asymmetry(coef []float64, j int) {
	for l, c := range coef[:j] {
		if l == j-1 {
			c -= s.probe.Beta[l]
		}
		s.probe.Asymmetry = math.Hypot(s.probe.Asymmetry, c)
	}
}

func (r *run) basis(slot int) [][]float64 {
	if r.o.KeepBasis {
		return newColumns(r.n, r.m+1)
	}
	for len(r.columns) <= slot {
		r.columns = append(r.columns, newColumns(r.n, r.m+1))
	}
	return r.columns[slot]
}

func newColumns(n, m int) [][]float64 {
	c := make([][]float64, m)
	for i := range c {
		c[i] = make([]float64, n)
	}
	return c
}

func (r *run) start(v []float64, probe int) error {
	if r.o.Start == nil {
		Gaussian(v, r.o.Seed, probe)
		return nil
	}
	r.o.Start(v, probe)
	norm := stableNorm(v)
	if !(norm > 0) || math.IsInf(norm, 0) {
		return fmt.Errorf("probe %d: %w", probe, ErrZeroStart)
	}
	for i := range v {
		v[i] /= norm
	}
	return nil
}

// group advances the probes first, first+1, … in lockstep; later is the number of probes in groups to come.
func (r *run) group(ctx context.Context, probes []Probe, first, later int) error {
	states, err := r.begin(probes, first)
	if err != nil {
		return err
	}
	if err := r.advance(ctx, states, 0, later); err != nil {
		return err
	}
	return r.finish(states, r.o.First, r.o.Probes)
}

// begin makes the probes first, first+1, … and their starts.
func (r *run) begin(probes []Probe, first int) ([]*state, error) {
	states := make([]*state, len(probes))
	for i := range probes {
		probes[i] = Probe{
			Index: first + i,
			Alpha: make([]float64, 0, r.m),
			Beta:  make([]float64, 0, r.m),
		}
		states[i] = &state{probe: &probes[i], columns: r.basis(i)}
	}
	failed := make([]error, len(probes))
	r.team.do(len(probes), func(i int) { failed[i] = r.start(states[i].columns[0], first+i) })
	return states, errors.Join(failed...)
}

// advance takes probes that have done from steps to m.
func (r *run) advance(ctx context.Context, states []*state, from, later int) error {
	active := append([]*state(nil), states...)
	src := make([][]float64, len(states))
	dst := make([][]float64, len(states))
	for j := from; j < r.m && len(active) > 0; j++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, s := range active {
			src[i], dst[i] = s.columns[j], s.columns[j+1]
		}
		if err := r.op.Apply(ctx, dst[:len(active)], src[:len(active)]); err != nil {
			return err
		}
		r.products += len(active)

		r.ortho.load(j, active)
		r.ortho.project()
		for i, s := range active {
			alpha := r.ortho.coef[i][j]
			if math.IsNaN(alpha) || math.IsInf(alpha, 0) {
				return &NonFiniteError{Probe: s.probe.Index, Step: j + 1}
			}
			s.probe.Alpha = append(s.probe.Alpha, alpha)
			s.asymmetry(r.ortho.coef[i], j)
		}
		r.ortho.reproject()
		going := active[:0]
		for i, s := range active {
			p, beta, before := s.probe, r.ortho.norm[i], 0.0
			if math.IsNaN(beta) || math.IsInf(beta, 0) {
				return &NonFiniteError{Probe: p.Index, Step: j + 1}
			}
			if j > 0 {
				before = p.Beta[j-1]
			}
			s.scale = max(s.scale, math.Abs(p.Alpha[j])+beta+before)
			switch {
			case beta <= r.tol*s.scale || j+1 == r.n:
				p.Exhausted = true
			case j+1 == r.m:
				p.BetaLast = beta
			default:
				p.Beta = append(p.Beta, beta)
				going = append(going, s)
			}
		}
		active = going
		r.ortho.load(j, active)
		r.ortho.normalise()

		if r.o.Progress != nil {
			left := len(active)*(r.m-j-1) + later*r.m
			r.o.Progress(Progress{Step: j + 1, Steps: r.m, Probes: len(active), Products: r.products, Total: r.products + left})
		}
	}

	return nil
}

// finish computes what is read off the probes; the run has those from first to first+count−1.
func (r *run) finish(states []*state, first, count int) error {
	if err := r.overlaps(states, first, count); err != nil {
		return err
	}
	for _, s := range states {
		p := s.probe
		q := s.columns[:len(p.Alpha)]
		if !p.decompose() {
			return fmt.Errorf("probe %d: eigenvalues of the tridiagonal matrix did not converge", p.Index)
		}
		if r.o.Orthogonality {
			p.Orthogonality = orthogonalityLoss(r.team, q)
		}
		if p.Index == r.o.First {
			p.Outermost = make([]float64, r.n)
			p.combine(p.Outermost, q, p.outermost())
		}
		if r.o.KeepBasis {
			p.Basis = q
		}
	}
	return nil
}

// overlaps multiplies the bases with the starts of the probes first, …, first+count−1, as far as that has not been done.
func (r *run) overlaps(states []*state, first, count int) error {
	v := make([]float64, r.n)
	for l := range count {
		if err := r.start(v, first+l); err != nil {
			return err
		}
		r.team.do(len(states), func(i int) {
			p := states[i].probe
			for len(p.Overlaps) <= l {
				p.Overlaps = append(p.Overlaps, nil)
			}
			done := len(p.Overlaps[l])
			sums := make([]float64, len(p.Alpha)-done)
			for b := 0; b < r.n; b += blockRows {
				addDots(sums, states[i].columns[done:len(p.Alpha)], v[b:min(b+blockRows, r.n)], b)
			}
			p.Overlaps[l] = append(p.Overlaps[l], sums...)
		})
	}
	return nil
}
