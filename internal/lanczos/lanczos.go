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

	// Eigenvectors says how many vectors Probe.Eigenvectors holds at most after a run of so many products. Left out: none.
	Eigenvectors func(products int) int

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

	// Eigenvectors are Ritz vectors of the last probe of the run, of eigenvalues on which all agree: the outermost, as many as
	// Options.Eigenvectors says; nil for others.
	Eigenvectors []Eigenvector

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
// Every new direction is orthogonalised in float64, against the last two columns and then against the whole basis (classical
// Gram-Schmidt; another time where the first took out more than half of what is left: Giraud and Langou 2003). Sums over n are cut into
// pieces that depend on n alone and added in a fixed order, so a probe's bits depend on the operator, on (Seed, index), on
// Storage and on the path of package kernel, and not on Threads, Groups or the other probes. If A is scaled by a power of two,
// nodes and residuals scale exactly and the weights keep their bits.
//
// With the storage Single a column is rounded to float32 after it was normalised, and what is multiplied is the rounded one. Its
// rounding is an error of the size of a float32 product's: no β below ProductError32·‖H‖ counts then.
//
// Each basis is multiplied with the starts of all probes of the run (Probe.Overlaps), which is how eigenvectors of
// different probes are compared when their bases no longer exist: k·m·n multiplications a probe, and no product.
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
	total := 0
	for _, g := range groups {
		if g <= 0 {
			panic(badGroups)
		}
		total += g
	}
	if total != o.Probes {
		panic(badGroups)
	}

	if o.Storage == Single {
		return runGroups[float32](ctx, op, o, groups)
	}
	return runGroups[float64](ctx, op, o, groups)
}

// runGroups is Run with a basis of type T.
func runGroups[T kernel.Float](ctx context.Context, op Operator, o Options, groups []int) ([]Probe, error) {
	r := newRun[T](op, o, min(o.Steps, op.Dim()))
	defer r.team.close()

	probes := make([]Probe, o.Probes)
	at := 0
	for _, g := range groups {
		if err := r.group(ctx, probes[at:at+g], o.First+at, o.Probes-at-g); err != nil {
			return nil, err
		}
		at += g
	}
	if o.Eigenvectors != nil {
		r.eigenvectors(probes, r.slots[groups[len(groups)-1]-1])
	}
	return probes, nil
}

func newRun[T kernel.Float](op Operator, o Options, m int) *run[T] {
	r := &run[T]{op: op, o: o, n: op.Dim(), m: m, tol: max(breakdown, o.Storage.ProductError(o.ProductError)), live: o.Journal == nil}
	r.team = newTeam(max(1, o.Threads))
	r.ortho = newOrthogonaliser[T](r.team, r.n)
	return r
}

// run holds what the groups of one call of Run share.
type run[T kernel.Float] struct {
	op       Operator
	o        Options
	n, m     int
	tol      float64
	team     *team
	ortho    *orthogonaliser[T]
	slots    []*state[T] // of a group, reused by the next one
	src, dst [][]float64 // a slot of a group each
	products int
	open     bool // more steps may come: the next vector is made after the last one too
	live     bool // no step is taken from the journal any more
}

// state is one probe on its way.
type state[T kernel.Float] struct {
	probe   *Probe
	columns [][]T     // the basis, m columns, and one more in an open run
	v, w    []float64 // the last column as it is multiplied, and its product
	scale   float64   // running estimate of ‖H‖ from the rows of T

	partial []float64 // chunks × m sums
	coef    []float64 // m coefficients of a pass,
	total   []float64 // and of all passes of a step
	from    int       // those in use are of q_(from+1), …
	norm    float64   // ‖w‖
	going   bool      // there is a next column
	kept    bool      // the journal has set it
}

// measure adds the step j, whose coefficients Qᵀ A q_(j+1) would be 0, …, 0, β_j, α_(j+1) if the products were exact, to
// the probe's Asymmetry.
func (s *state[T]) measure(j int) {
	for l, c := range s.total[:j] {
		if l == j-1 {
			c -= s.probe.Beta[l]
		}
		s.probe.Asymmetry = math.Hypot(s.probe.Asymmetry, c)
	}
}

// prepare gives s room for the steps of r.
func (r *run[T]) prepare(s *state[T]) {
	columns := r.m
	if r.open {
		columns = min(r.m+1, r.n)
	}
	s.columns = append(s.columns, newColumns[T](r.n, columns-len(s.columns))...)
	s.partial, s.coef, s.total = make([]float64, r.ortho.count*r.m), make([]float64, r.m), make([]float64, r.m)
}

// slot returns a state of the group, as the last group left it.
func (r *run[T]) slot(i int) *state[T] {
	for len(r.slots) <= i {
		s := &state[T]{v: kernel.Zeros[float64](r.n), w: kernel.Zeros[float64](r.n)}
		r.prepare(s)
		r.slots = append(r.slots, s)
	}
	return r.slots[i]
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

// group does all steps of the probes first, first+1, … in lockstep; later is the number of probes in groups to come.
func (r *run[T]) group(ctx context.Context, probes []Probe, first, later int) error {
	for i := range probes {
		probes[i] = r.fresh(first + i)
	}
	if r.o.Journal != nil && (later > 0 || r.o.Eigenvectors == nil) { // eigenvectors need the bases of the last group
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
		for i := range probes {
			probes[i] = r.fresh(first + i)
		}
	}
	states := make([]*state[T], len(probes))
	for i := range probes {
		states[i] = r.slot(i)
		states[i].probe = &probes[i]
	}
	if err := r.begin(states); err != nil {
		return err
	}
	if err := r.advance(ctx, states, 0, later); err != nil {
		return err
	}
	if err := r.finish(states, r.o.Probes); err != nil {
		return err
	}
	r.orthogonality(states)
	if r.o.KeepBasis {
		for _, s := range states {
			s.probe.Basis = newColumns[float64](r.n, len(s.probe.Alpha))
			for j, q := range s.probe.Basis {
				for i, x := range s.columns[j] {
					q[i] = float64(x)
				}
			}
		}
	}
	if r.o.Journal == nil {
		return nil
	}
	return r.o.Journal.Finish(probes)
}

func (r *run[T]) fresh(index int) Probe {
	return Probe{Index: index, Alpha: make([]float64, 0, r.m), Beta: make([]float64, 0, r.m)}
}

// begin makes the starts of the probes.
func (r *run[T]) begin(states []*state[T]) error {
	failed := make([]error, len(states))
	r.team.do(len(states), func(i int) {
		s := states[i]
		s.scale = 0
		failed[i] = r.start(s.v, s.probe.Index)
		for l, x := range s.v {
			s.columns[0][l] = T(x)
			s.v[l] = float64(s.columns[0][l])
		}
	})
	return errors.Join(failed...)
}

// advance takes probes that have done from steps to m.
func (r *run[T]) advance(ctx context.Context, states []*state[T], from, later int) error {
	active, going := slices.Clone(states), make([]*state[T], 0, len(states))
	for j := from; j < r.m && len(active) > 0; j++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		kept := false
		if !r.live {
			var err error
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
		var err error
		if going, err = r.judge(j, active, going[:0]); err != nil {
			return err
		}
		if kept {
			err = restore(j, active)
		} else {
			r.ortho.load(j, going)
			r.ortho.normalise()
			if r.o.Journal != nil {
				err = r.keep(j, active)
			}
		}
		if err != nil {
			return err
		}
		r.products += len(active)
		active, going = going, active
		r.progress(Progress{Step: j + 1, Steps: r.m, Probes: len(active), Kept: kept}, later)
	}
	return nil
}

// finish computes what is read off the probes; the run has count of them.
func (r *run[T]) finish(states []*state[T], count int) error {
	if err := r.overlaps(states, count); err != nil {
		return err
	}
	done := make([]bool, len(states))
	r.team.do(len(states), func(i int) { done[i] = states[i].probe.decompose() })
	for i, s := range states {
		if p := s.probe; !done[i] {
			return notDecomposed(p)
		} else if p.Index == r.o.First {
			p.Outermost = make([]float64, r.n)
			combine(p.Outermost, s.columns, p.ritz(p.outermost()))
		}
	}
	return nil
}

func decompose(probes []Probe) error {
	for i := range probes {
		if !probes[i].decompose() {
			return notDecomposed(&probes[i])
		}
	}
	return nil
}

func notDecomposed(p *Probe) error {
	return fmt.Errorf("probe %d: eigenvalues of the tridiagonal matrix did not converge", p.Index)
}

// orthogonality measures the bases.
func (r *run[T]) orthogonality(states []*state[T]) {
	r.team.do(len(states), func(i int) {
		s := states[i]
		s.probe.Orthogonality = orthogonalityLoss(s.columns[:len(s.probe.Alpha)])
	})
}

// startsAtOnce is how many starts each basis is multiplied with at most whenever it is read. They are no more than the bases are either, so
// that what they take is little beside these.
const startsAtOnce = 16

// overlaps multiplies the bases with the starts of the count probes of the run, as far as that has not been done.
func (r *run[T]) overlaps(states []*state[T], count int) error {
	starts := newColumns[float64](r.n, min(count, startsAtOnce, len(states)))
	for first := 0; first < count; first += len(starts) {
		starts = starts[:min(len(starts), count-first)]
		for l, v := range starts {
			if err := r.start(v, r.o.First+first+l); err != nil {
				return err
			}
			for i, x := range v {
				v[i] = float64(T(x)) // as the basis has it
			}
		}
		r.team.do(len(states), func(i int) { states[i].overlap(first, starts) })
	}
	return nil
}

// overlap multiplies the basis with the starts of the probes from the first on.
func (s *state[T]) overlap(first int, starts [][]float64) {
	p := s.probe
	for len(p.Overlaps) < first+len(starts) {
		p.Overlaps = append(p.Overlaps, nil)
	}
	var done [startsAtOnce]int
	for l := range starts {
		o := &p.Overlaps[first+l]
		done[l] = len(*o)
		*o = append(*o, make([]float64, len(p.Alpha)-done[l])...)
	}
	const rows = blockRows / 2 // of all columns, for which there is room in a cache
	for b := 0; b < len(s.v); b += rows {
		for l, v := range starts {
			kernel.Dots(p.Overlaps[first+l][done[l]:], s.columns[done[l]:len(p.Alpha)], b, v[b:min(b+rows, len(v))])
		}
	}
}

// progress completes p and hands it on; later is the number of probes in groups to come.
func (r *run[T]) progress(p Progress, later int) {
	if r.o.Progress != nil {
		p.Products = r.products
		p.Total = r.products + p.Probes*(p.Steps-p.Step) + later*r.m
		r.o.Progress(p)
	}
}

// step finds α and β of the active probes, and their next directions in w.
func (r *run[T]) step(ctx context.Context, j int, active []*state[T]) error {
	r.src, r.dst = r.src[:0], r.dst[:0]
	for _, s := range active {
		r.src, r.dst = append(r.src, s.v), append(r.dst, s.w)
	}
	if err := r.op.Apply(ctx, r.dst, r.src); err != nil {
		return err
	}
	r.ortho.load(j, active)
	r.ortho.orthogonalise()
	for _, s := range active {
		s.measure(j)
	}
	return nil
}

// judge enters α and β of the step j and appends the probes that have a next column to going.
func (r *run[T]) judge(j int, active, going []*state[T]) ([]*state[T], error) {
	for _, s := range active {
		p, alpha, beta, before := s.probe, s.total[j], s.norm, 0.0
		if size := math.Abs(alpha) + beta; math.IsNaN(size) || math.IsInf(size, 0) {
			return nil, &NonFiniteError{Probe: p.Index, Step: j + 1, Vector: s.v}
		}
		p.Alpha = append(p.Alpha, alpha)
		if j > 0 {
			before = p.Beta[j-1]
		}
		s.scale = max(s.scale, math.Abs(alpha)+beta+before)
		switch s.going = false; {
		case beta <= r.tol*s.scale || j+1 == r.n:
			p.Exhausted = true
		case j+1 == r.m:
			p.BetaLast = beta
			s.going = r.open
		default:
			p.Beta = append(p.Beta, beta)
			s.going = true
		}
		if s.going {
			going = append(going, s)
		}
	}
	return going, nil
}
