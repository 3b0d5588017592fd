package lanczos

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"hessdens/internal/kernel"
)

const (
	// blockRows is the number of coordinates that a pass over the basis takes at once: the vector's part stays in
	// the first cache while all columns go by, each long enough to be fetched ahead.
	blockRows = 2048

	// chunkCount is the most pieces that a sum over n is cut into. Pieces are the unit of
	// parallel work; they depend on n alone.
	chunkCount = 128

	// serialWork is the number of multiply-adds below which waking another goroutine costs more
	// than it saves.
	serialWork = 1 << 15

	// secondPass is the most Σ|cᵢ|/‖w‖ of the coefficients of a pass that needs no other (Giraud and Langou 2003: any
	// constant below 1): what is left of the columns in w is then that share of their own loss, and rounding.
	secondPass = 0.5
)

// team runs numbered tasks on a fixed number of goroutines, without allocating.
type team struct {
	wake  chan struct{}
	size  int
	done  sync.WaitGroup
	next  atomic.Int64
	tasks int64
	f     func(int)

	defect atomic.Pointer[string] // of a helper's panic
}

func newTeam(threads int) *team {
	t := &team{wake: make(chan struct{}), size: threads}
	for range threads - 1 {
		go func() {
			for range t.wake {
				t.help()
			}
		}()
	}
	return t
}

func (t *team) close() { close(t.wake) }

// help is take on another goroutine, whose panic is kept for the caller of do.
func (t *team) help() {
	defer t.done.Done()
	defer func() {
		if r := recover(); r != nil {
			s := fmt.Sprintf("%v\n\n%s", r, debug.Stack())
			t.defect.CompareAndSwap(nil, &s)
		}
	}()
	t.take()
}

func (t *team) take() {
	for i := t.next.Add(1) - 1; i < t.tasks; i = t.next.Add(1) - 1 {
		t.f(int(i))
	}
}

// do calls f(0), …, f(tasks−1), each once, in any order, and returns when all have returned.
func (t *team) do(tasks int, f func(int)) {
	helpers := min(t.size, tasks) - 1
	if helpers <= 0 {
		for i := range tasks {
			f(i)
		}
		return
	}
	t.f, t.tasks = f, int64(tasks)
	t.next.Store(0)
	t.done.Add(helpers)
	for range helpers {
		t.wake <- struct{}{}
	}
	t.take()
	t.done.Wait()
	if s := t.defect.Swap(nil); s != nil {
		panic(*s)
	}
}

// chunking cuts n coordinates into pieces of whole blocks.
func chunking(n int) (rows, count int) {
	blocks := (n + blockRows - 1) / blockRows
	rows = (blocks + chunkCount - 1) / chunkCount * blockRows
	return rows, (n + rows - 1) / rows
}

// orthogonaliser takes the basis out of the products w of a lockstep group. With α and β exact, what A q_j holds of the basis
// is in its last two columns, up to the error of the product; so these come first,
//
//	c = [q_(j−1) q_j]ᵀ w,   w ← w − [q_(j−1) q_j] c,
//
// and then classical Gram-Schmidt against the whole basis,
//
//	c = Qᵀ w,   w ← w − Q c,
//
// once, and a second time where Σ|c| > ½‖w‖. The sums of a step's coefficients are those of Qᵀ A q_j, α_j among them. What matters is thus taken out twice,
// and the basis is read twice and not four times.
//
// A goroutine does that for one basis after the other, so that what the first reading leaves in a cache the second finds
// there; the bases that are over when each goroutine has had as many as the others are shared in chunks.
type orthogonaliser[T kernel.Float] struct {
	team        *team
	n           int
	rows, count int // of the chunks
	j           int // the basis is q_1, …, q_(j+1)
	active      []*state[T]
	shared      []*state[T] // in chunks among all goroutines
	f           func(s *state[T], chunk int)

	whole, part                 func(int)
	first, second, third, scale func(s *state[T], chunk int)
}

func newOrthogonaliser[T kernel.Float](t *team, n int) *orthogonaliser[T] {
	o := &orthogonaliser[T]{team: t, n: n}
	o.rows, o.count = chunking(n)
	o.whole = func(i int) { o.reduce(o.active[i:i+1], true) }
	o.part = func(i int) { o.f(o.shared[i/o.count], i%o.count) }
	o.first, o.second, o.third, o.scale = o.firstChunk, o.secondChunk, o.thirdChunk, o.scaleChunk
	return o
}

func (o *orthogonaliser[T]) load(j int, active []*state[T]) { o.j, o.active = j, active }

// small says whether waking another goroutine is not worth it.
func (o *orthogonaliser[T]) small() bool { return o.n*(o.j+1)*len(o.active) < serialWork }

// each calls f for all chunks of the states, alone on the goroutine of the caller.
func (o *orthogonaliser[T]) each(states []*state[T], alone bool, f func(s *state[T], chunk int)) {
	if !alone {
		o.shared, o.f = states, f
		o.team.do(len(states)*o.count, o.part)
		return
	}
	for _, s := range states {
		for chunk := range o.count {
			f(s, chunk)
		}
	}
}

// orthogonalise takes the basis out of w, with the coefficients in total, and sets norm = ‖w‖.
func (o *orthogonaliser[T]) orthogonalise() {
	if o.small() {
		o.reduce(o.active, true)
		return
	}
	even := len(o.active) - len(o.active)%o.team.size
	o.team.do(even, o.whole)
	if even < len(o.active) {
		o.reduce(o.active[even:], false)
	}
}

// reduce is orthogonalise for some states, alone on the goroutine of the caller or on all.
func (o *orthogonaliser[T]) reduce(states []*state[T], alone bool) {
	for _, s := range states {
		clear(s.total)
		s.from = max(0, o.j-1)
	}
	o.each(states, alone, o.first)
	o.combine(states)
	o.each(states, alone, o.second)
	for _, s := range states {
		s.from = 0
	}
	o.combine(states)
	o.finish(states, alone)
	for i, s := range states {
		sum := 0.0
		for _, c := range s.coef[:o.j+1] {
			sum += math.Abs(c)
		}
		if sum > secondPass*s.norm {
			o.each(states[i:i+1], alone, o.first)
			o.combine(states[i : i+1])
			o.finish(states[i:i+1], alone)
		}
	}
}

// finish takes the coefficients of the whole basis out of w.
func (o *orthogonaliser[T]) finish(states []*state[T], alone bool) {
	o.each(states, alone, o.third)
	for _, s := range states {
		sum := 0.0
		for c := range o.count {
			sum += s.partial[c*len(s.coef)]
		}
		s.norm = math.Sqrt(sum)
		if !(sum > 0x1p-900 && sum < 0x1p900) {
			s.norm = stableNorm(s.w)
		}
	}
}

// normalise makes w, divided by its norm β of the last step, the next column and the vector to multiply.
func (o *orthogonaliser[T]) normalise() {
	o.each(o.active, o.small(), o.scale)
	for _, s := range o.active {
		s.v, s.w = s.w, s.v
	}
}

// combine adds up the sums of the chunks.
func (o *orthogonaliser[T]) combine(states []*state[T]) {
	for _, s := range states {
		c := s.coef[s.from : o.j+1]
		clear(c)
		for at := 0; at < len(s.partial); at += len(s.coef) {
			for l, x := range s.partial[at : at+len(c)] {
				c[l] += x
			}
		}
		for l, x := range c {
			s.total[s.from+l] += x
		}
	}
}

// at returns the coordinates of a chunk, and its sums.
func (o *orthogonaliser[T]) at(s *state[T], chunk int) (lo, hi int, sums []float64) {
	return chunk * o.rows, min((chunk+1)*o.rows, o.n), s.partial[chunk*len(s.coef):][:o.j+1]
}

func (o *orthogonaliser[T]) firstChunk(s *state[T], chunk int) {
	lo, hi, sums := o.at(s, chunk)
	clear(sums)
	for b := lo; b < hi; b += blockRows {
		kernel.Dots(sums, s.columns[s.from:o.j+1], b, s.w[b:min(b+blockRows, hi)])
	}
}

func (o *orthogonaliser[T]) secondChunk(s *state[T], chunk int) {
	lo, hi, sums := o.at(s, chunk)
	clear(sums)
	for b := lo; b < hi; b += blockRows {
		w := s.w[b:min(b+blockRows, hi)]
		kernel.Minus(w, s.coef[s.from:], s.columns[s.from:o.j+1], b)
		kernel.Dots(sums, s.columns[:o.j+1], b, w)
	}
}

// thirdChunk takes the chunks from the last, which the pass before has read last.
func (o *orthogonaliser[T]) thirdChunk(s *state[T], chunk int) {
	lo, hi, sums := o.at(s, o.count-1-chunk)
	sum := 0.0
	for b := lo; b < hi; b += blockRows {
		w := s.w[b:min(b+blockRows, hi)]
		kernel.Minus(w, s.coef, s.columns[:o.j+1], b)
		sum += dot(w, w)
	}
	sums[0] = sum
}

func (o *orthogonaliser[T]) scaleChunk(s *state[T], chunk int) {
	lo, hi, _ := o.at(s, chunk)
	beta := s.norm
	q, w := s.columns[o.j+1][lo:hi], s.w[lo:hi]
	for i, x := range w {
		q[i] = T(x / beta)
		w[i] = float64(q[i])
	}
}

func dot(a, b []float64) float64 { return kernel.Dot(a, b) }

// stableNorm returns ‖v‖ where the squares of its entries leave the range of float64. It scales by a
// power of two and sums in the same order, so that the norm of a scaled vector is the scaled norm.
func stableNorm(v []float64) float64 {
	largest := 0.0
	for _, x := range v {
		if math.IsNaN(x) {
			return x
		}
		largest = max(largest, math.Abs(x))
	}
	if largest == 0 || math.IsInf(largest, 0) {
		return largest
	}
	_, exp := math.Frexp(largest)
	rows, _ := chunking(len(v))
	var block [blockRows]float64
	sum := 0.0
	for lo := 0; lo < len(v); lo += rows {
		part, hi := 0.0, min(lo+rows, len(v))
		for b := lo; b < hi; b += blockRows {
			n := copy(block[:], v[b:min(b+blockRows, hi)])
			for i := range n {
				block[i] = math.Ldexp(block[i], -exp)
			}
			part += dot(block[:n], block[:n])
		}
		sum += part
	}
	return math.Ldexp(math.Sqrt(sum), exp)
}

// orthogonalityLoss returns max |QᵀQ − I| over the columns q, the sums in float64.
func orthogonalityLoss[T kernel.Float](q [][]T) float64 {
	const (
		rows = 512 // of all columns in float64, for which there is room in a cache
		tile = 24  // columns that are multiplied with all from the first of them on
	)
	m, n := len(q), len(q[0])
	part, gram := make([]float64, m*rows), make([]float64, m*m)
	var ws kernel.Workspace[float64]
	for b := 0; b < n; b += rows {
		k := min(rows, n-b)
		for i, column := range q {
			for r, x := range column[b : b+k] {
				part[i*rows+r] = float64(x)
			}
		}
		for i := 0; i < m; i += tile { // what is right of the diagonal, and some of what is left
			q := part[i*rows:]
			kernel.Mul(&ws, &kernel.MatMul{M: min(tile, m-i), N: m - i, K: k, RowA: rows, ColA: 1, RowB: 1, ColB: rows, RowC: m, Add: true}, gram[i*m+i:], q, q)
		}
	}
	loss := 0.0
	for i := range m {
		gram[i*m+i]--
		for _, x := range gram[i*m+i : (i+1)*m] {
			loss = max(loss, math.Abs(x))
		}
	}
	return loss
}
