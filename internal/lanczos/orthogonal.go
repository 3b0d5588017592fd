package lanczos

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"gonum.org/v1/gonum/blas/gonum"
)

const (
	// blockRows is the number of coordinates that a pass over the basis takes at once: with a
	// hundred columns a block is 400 kB, so that the second use of it finds it in the cache.
	blockRows = 512

	// chunkCount is the most pieces that a sum over n is cut into. Pieces are the unit of
	// parallel work; they depend on n alone.
	chunkCount = 128

	// serialWork is the number of multiply-adds below which waking another goroutine costs more
	// than it saves.
	serialWork = 1 << 15
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

// orthogonaliser does classical Gram-Schmidt twice on the vectors w of a lockstep group,
//
//	c = Qᵀ w,   w ← w − Q c,   c' = Qᵀ w,   w ← w − Q c',
//
// reading each basis three times and not four: the second product is taken while the block of
// Q that was just subtracted is still in the cache.
type orthogonaliser struct {
	team        *team
	n, columns  int
	rows, count int // of the chunks
	j           int // q_1, …, q_(j+1) are the basis, q_(j+2) is w
	active      []*state

	partial [][]float64 // per slot: count × (m + 1) sums of chunks
	coef    [][]float64 // per slot: c, then c'
	norm    []float64   // per slot: ‖w‖

	first, second, third, scale func(int)
}

func newOrthogonaliser(t *team, n, m, slots int) *orthogonaliser {
	o := &orthogonaliser{team: t, n: n, columns: m + 1, norm: make([]float64, slots)}
	o.rows, o.count = chunking(n)
	for range slots {
		o.partial = append(o.partial, make([]float64, o.count*o.columns))
		o.coef = append(o.coef, make([]float64, o.columns))
	}
	o.first, o.second, o.third, o.scale = o.firstChunk, o.secondChunk, o.thirdChunk, o.scaleChunk
	return o
}

func (o *orthogonaliser) load(j int, active []*state) { o.j, o.active = j, active }

func (o *orthogonaliser) each(f func(int)) {
	tasks := len(o.active) * o.count
	if o.n*(o.j+1)*len(o.active) < serialWork {
		for i := range tasks {
			f(i)
		}
		return
	}
	o.team.do(tasks, f)
}

// project sets coef = Qᵀ w.
func (o *orthogonaliser) project() {
	o.each(o.first)
	o.combine()
}

// reproject takes project's coefficients out of w, orthogonalises once more and sets norm = ‖w‖.
func (o *orthogonaliser) reproject() {
	o.each(o.second)
	o.combine()
	o.each(o.third)
	for i, s := range o.active {
		sum := 0.0
		for c := range o.count {
			sum += o.partial[i][c*o.columns]
		}
		o.norm[i] = math.Sqrt(sum)
		if !(sum > 0x1p-900 && sum < 0x1p900) {
			o.norm[i] = stableNorm(s.columns[o.j+1])
		}
	}
}

// normalise divides w by its norm β of the last step.
func (o *orthogonaliser) normalise() { o.each(o.scale) }

func (o *orthogonaliser) combine() {
	for i := range o.active {
		c := o.coef[i][:o.j+1]
		clear(c)
		for at := 0; at < o.count*o.columns; at += o.columns {
			for l, x := range o.partial[i][at : at+len(c)] {
				c[l] += x
			}
		}
	}
}

// task splits a task's number into the slot, its chunk of coordinates, the basis, w, and the chunk's sums.
func (o *orthogonaliser) task(task int) (slot, lo, hi int, q [][]float64, w, sums []float64) {
	slot, chunk := task/o.count, task%o.count
	s := o.active[slot]
	lo, hi = chunk*o.rows, min((chunk+1)*o.rows, o.n)
	sums = o.partial[slot][chunk*o.columns:][:o.j+1]
	return slot, lo, hi, s.columns[:o.j+1], s.columns[o.j+1], sums
}

func (o *orthogonaliser) firstChunk(task int) {
	_, lo, hi, q, w, sums := o.task(task)
	clear(sums)
	for b := lo; b < hi; b += blockRows {
		e := min(b+blockRows, hi)
		addDots(sums, q, w[b:e], b)
	}
}

func (o *orthogonaliser) secondChunk(task int) {
	slot, lo, hi, q, w, sums := o.task(task)
	clear(sums)
	for b := lo; b < hi; b += blockRows {
		e := min(b+blockRows, hi)
		subtract(w[b:e], o.coef[slot], q, b)
		addDots(sums, q, w[b:e], b)
	}
}

func (o *orthogonaliser) thirdChunk(task int) {
	slot, lo, hi, q, w, sums := o.task(task)
	sum := 0.0
	for b := lo; b < hi; b += blockRows {
		e := min(b+blockRows, hi)
		subtract(w[b:e], o.coef[slot], q, b)
		sum += dot(w[b:e], w[b:e])
	}
	sums[0] = sum
}

func (o *orthogonaliser) scaleChunk(task int) {
	slot, lo, hi, _, w, _ := o.task(task)
	beta := o.active[slot].probe.Beta[o.j]
	for i, x := range w[lo:hi] {
		w[lo+i] = x / beta
	}
}

// addDots adds to sums[i] the product of w with q[i][at : at+len(w)].
func addDots(sums []float64, q [][]float64, w []float64, at int) {
	for i, c := range q {
		sums[i] += dot(c[at:][:len(w)], w)
	}
}

// dot returns Σ a_r b_r, in an order that depends on the length alone.
func dot(a, b []float64) float64 {
	return gonum.Implementation{}.Ddot(len(a), a, 1, b, 1)
}

// subtract takes Σ_i c[i]·q[i][at : at+len(w)] from w.
func subtract(w, c []float64, q [][]float64, at int) {
	i, n := 0, len(w)
	for ; i+4 <= len(q); i += 4 {
		a, b, d, e := q[i][at:][:n], q[i+1][at:][:n], q[i+2][at:][:n], q[i+3][at:][:n]
		x, y, z, t := c[i], c[i+1], c[i+2], c[i+3]
		for r := range w {
			w[r] -= (a[r]*x + b[r]*y) + (d[r]*z + e[r]*t)
		}
	}
	for ; i < len(q); i++ {
		a, x := q[i][at:][:n], c[i]
		for r := range w {
			w[r] -= a[r] * x
		}
	}
}

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

// orthogonalityLoss returns max |QᵀQ − I| over the columns q.
func orthogonalityLoss(t *team, q [][]float64) float64 {
	if len(q) == 0 {
		return 0
	}
	worst := make([]float64, len(q))
	t.do(len(q), func(i int) {
		sums := make([]float64, i+1)
		n := len(q[i])
		for b := 0; b < n; b += blockRows {
			addDots(sums, q[:i+1], q[i][b:min(b+blockRows, n)], b)
		}
		sums[i]--
		for _, s := range sums {
			worst[i] = max(worst[i], math.Abs(s))
		}
	})
	loss := 0.0
	for _, w := range worst {
		loss = max(loss, w)
	}
	return loss
}
