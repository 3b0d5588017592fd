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
	"slices"

	"hessdens/internal/kernel"
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

// NonFiniteError is an ErrNonFinite with the probe and the step (from 1) of the product, and the vector that was multiplied.
type NonFiniteError struct {
	Probe, Step int
	Vector      []float64
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

	// Storage is the type in which the basis is kept; sums are in float64 either way.
	Storage Storage

	// KeepBasis keeps the Krylov basis of every probe in Probe.Basis: Probes·m·n·8 bytes. A group that the Journal has as
	// finished has none.
	KeepBasis bool

	// Journal, where there is one, keeps what is done, and knows what was done before.
	Journal Journal

	// Start sets dst to the starting vector of a probe, which Run then normalises. Left out:
	// Gaussian(dst, Seed, probe).
	Start func(dst []float64, probe int)

	// Progress is called after each step of a group, on the goroutine that called Run.
	Progress func(Progress)
}

// Progress says how far a run has come.
type Progress struct {
	Step, Steps     int  // of the current group
	Probes          int  // of the current group that are still going
	Products, Total int  // of the run; Total if no probe ends early from here on
	Kept            bool // the step was not done but taken from the journal
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

	// Orthogonality is max |QᵀQ − I| of the basis as it was kept.
	Orthogonality float64

	// Basis holds the columns of Q; nil unless Options.KeepBasis.
	Basis [][]float64

	first, last []float64 // S_1i and S_mi with their signs
}

// Run does the Lanczos process on op from Options.Probes starting vectors and returns the probes in
// the order of their indices.
//
// Every new direction is orthogonalised in float64, against the last two columns and then against the whole basis (classical
// Gram-Schmidt; another time where the first took out more than half of what is left: Giraud and Langou 2003). Sums over n are cut into
// pieces that depend on n alone and added in a fixed order, so a probe's bits depend on the operator, on (Seed, index), on
// Storage and on the path of package kernel, and not on Threads, Groups or the other probes. If A is scaled by a power of two,
// nodes and residuals scale exactly and the weights keep their bits.
//
// With the storage Single a column is rounded to float32 after it was normalised, and what is multiplied is the rounded one. Its
// rounding is an error of the size of a float32 product's: no β below ProductError32·‖H‖ counts then.
//
// A probe whose β falls below the rounding of ‖H‖ has found an invariant subspace: it leaves the group with
// what it has, an exact result (Probe.Exhausted), and the others go on.
//
// Run fails with the context's error when ctx is done, with a *NonFiniteError when a product is not finite,
// with ErrZeroStart, with ErrJournal, and with what the operator or the journal returns.
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

	if o.Storage == Single {
		return runGroups[float32](ctx, op, o, groups, largest)
	}
	return runGroups[float64](ctx, op, o, groups, largest)
}

// runGroups is Run with a basis of type T.
func runGroups[T kernel.Float](ctx context.Context, op Operator, o Options, groups []int, largest int) ([]Probe, error) {
	n := op.Dim()
	r := &run[T]{op: op, o: o, n: n, m: min(o.Steps, n), tol: max(breakdown, o.Storage.ProductError(o.ProductError))}
	r.team = newTeam(max(1, o.Threads))
	defer r.team.close()
	r.ortho = newOrthogonaliser[T](r.team, n, r.m, largest)
	r.src, r.dst, r.live = make([][]float64, largest), make([][]float64, largest), o.Journal == nil

	probes := make([]Probe, o.Probes)
	at := 0
	for _, g := range groups {
		if err := r.group(ctx, probes[at:at+g], o.First+at, o.Probes-at-g); err != nil {
			return nil, err
		}
		at += g
	}
	return probes, nil
}

// run holds what the groups of one call of Run share.
type run[T kernel.Float] struct {
	op       Operator
	o        Options
	n, m     int
	tol      float64
	team     *team
	ortho    *orthogonaliser[T]
	states   []*state[T] // a slot of a group each, reused by the next group
	src, dst [][]float64 // a slot of a group each
	products int
	live     bool // no step is taken from the journal any more
}

// state is one probe on its way.
type state[T kernel.Float] struct {
	probe   *Probe
	columns [][]T     // the basis, m columns
	v, w    []float64 // the last column as it is multiplied, and its product
	scale   float64   // running estimate of ‖H‖ from the rows of T

	partial []float64 // chunks × m sums
	coef    []float64 // m coefficients
	alpha   float64
	norm    float64 // ‖w‖
	kept    bool    // the journal has set the next column
}

func (r *run[T]) state(slot int) *state[T] {
	for len(r.states) <= slot {
		r.states = append(r.states, &state[T]{
			columns: newColumns[T](r.n, r.m), v: make([]float64, r.n), w: make([]float64, r.n),
			partial: make([]float64, r.ortho.count*r.m), coef: make([]float64, r.m),
		})
	}
	return r.states[slot]
}

func newColumns[T kernel.Float](n, m int) [][]T {
	c := make([][]T, m)
	for i := range c {
		c[i] = make([]T, n)
	}
	return c
}

func (r *run[T]) start(v []float64, probe int) error {
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
func (r *run[T]) group(ctx context.Context, probes []Probe, first, later int) error {
	fresh := func() {
		for i := range probes {
			probes[i] = Probe{Index: first + i, Alpha: make([]float64, 0, r.m), Beta: make([]float64, 0, r.m)}
		}
	}
	fresh()
	if r.o.Journal != nil {
		done, err := r.o.Journal.Finished(probes)
		if err != nil {
			return err
		}
		if done {
			for i := range probes {
				r.products += len(probes[i].Alpha)
			}
			r.progress(Progress{Step: r.m, Steps: r.m, Kept: true}, later)
			return decompose(probes)
		}
		fresh()
	}
	states, err := r.begin(probes)
	if err != nil {
		return err
	}
	active, going := slices.Clone(states), make([]*state[T], 0, len(states))
	for j := 0; j < r.m && len(active) > 0; j++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		kept := false
		if !r.live {
			if kept, err = r.replay(j, active); err != nil {
				return err
			}
			r.live = !kept
		}
		if !kept {
			if err := r.step(ctx, j, active); err != nil {
				return err
			}
		}
		if going, err = r.judge(j, active, going[:0]); err != nil {
			return err
		}
		if kept {
			if err := restore(j, active, going); err != nil {
				return err
			}
		} else {
			r.ortho.load(j, going)
			r.ortho.normalise()
			if r.o.Journal != nil {
				if err := r.keep(j, active); err != nil {
					return err
				}
			}
		}
		r.products += len(active)
		active, going = going, active
		r.progress(Progress{Step: j + 1, Steps: r.m, Probes: len(active), Kept: kept}, later)
	}

	r.team.do(len(states), func(i int) {
		s := states[i]
		s.probe.Orthogonality = orthogonalityLoss(s.columns[:len(s.probe.Alpha)])
	})
	for _, s := range states {
		if r.o.KeepBasis {
			s.probe.Basis = newColumns[float64](r.n, len(s.probe.Alpha))
			for j, q := range s.probe.Basis {
				for i, x := range s.columns[j] {
					q[i] = float64(x)
				}
			}
		}
	}
	if err := decompose(probes); err != nil || r.o.Journal == nil {
		return err
	}
	return r.o.Journal.Finish(probes)
}

func decompose(probes []Probe) error {
	for i := range probes {
		if !probes[i].decompose() {
			return fmt.Errorf("probe %d: eigenvalues of the tridiagonal matrix did not converge", probes[i].Index)
		}
	}
	return nil
}

// progress completes p and hands it on; later is the number of probes in groups to come.
func (r *run[T]) progress(p Progress, later int) {
	if r.o.Progress != nil {
		p.Products = r.products
		p.Total = r.products + p.Probes*(p.Steps-p.Step) + later*r.m
		r.o.Progress(p)
	}
}

// begin gives each probe a state with its starting vector.
func (r *run[T]) begin(probes []Probe) ([]*state[T], error) {
	states := make([]*state[T], len(probes))
	for i := range probes {
		states[i] = r.state(i)
		states[i].probe, states[i].scale = &probes[i], 0
	}
	failed := make([]error, len(probes))
	r.team.do(len(probes), func(i int) {
		s := states[i]
		failed[i] = r.start(s.v, s.probe.Index)
		for l, x := range s.v {
			s.columns[0][l] = T(x)
			s.v[l] = float64(s.columns[0][l])
		}
	})
	return states, errors.Join(failed...)
}

// step finds α and β of the active probes, and their next directions in w.
func (r *run[T]) step(ctx context.Context, j int, active []*state[T]) error {
	for i, s := range active {
		r.src[i], r.dst[i] = s.v, s.w
	}
	if err := r.op.Apply(ctx, r.dst[:len(active)], r.src[:len(active)]); err != nil {
		return err
	}
	r.ortho.load(j, active)
	r.ortho.orthogonalise()
	return nil
}

// judge enters α and β of the step j and appends the probes that go on to going.
func (r *run[T]) judge(j int, active, going []*state[T]) ([]*state[T], error) {
	for _, s := range active {
		p, beta, before := s.probe, s.norm, 0.0
		if size := math.Abs(s.alpha) + beta; math.IsNaN(size) || math.IsInf(size, 0) {
			return nil, &NonFiniteError{Probe: p.Index, Step: j + 1, Vector: s.v}
		}
		p.Alpha = append(p.Alpha, s.alpha)
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
	return going, nil
}
