package exec

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Pool is a fixed set of threads that programs share. One call at a time.
type Pool struct {
	n      int
	wake   []chan struct{}
	plan   *plan
	left   sync.WaitGroup
	broken atomic.Bool            // a part has panicked: nobody waits for it
	defect atomic.Pointer[string] // of a helper's panic

	calls     calls
	callsPlan *plan

	sleepers atomic.Int64 // threads that have waited long
	sleep    sync.Mutex
	news     *sync.Cond
}

// plan is a sequence of tasks, each of which reads what those before it wrote.
type plan struct {
	tasks    []task
	counts   []progress
	parallel bool        // some task has several parts
	after    func(i int) // called when task i is done, on the caller's thread; or nil
}

// progress says how far a task has come. It fills a line of the cache, for threads write to their own and read others'.
type progress struct {
	parts      int64
	next, done atomic.Int64
	_          [5]int64
}

func newPlan(tasks ...task) *plan {
	p := &plan{tasks: tasks, counts: make([]progress, len(tasks))}
	for i, t := range tasks {
		n := t.parts()
		p.counts[i].parts = int64(n)
		p.parallel = p.parallel || n > 1
	}
	return p
}

// task is work that has been cut into parts by its shapes alone.
type task interface {
	parts() int
	run(worker, part int)
}

// together is tasks none of which reads what another writes.
type together struct {
	tasks []task
	ends  []int // parts up to each one's last
}

func (t *together) add(one task) {
	t.ends = append(t.ends, t.parts()+one.parts())
	t.tasks = append(t.tasks, one)
}

func (t *together) parts() int {
	if len(t.ends) == 0 {
		return 0
	}
	return t.ends[len(t.ends)-1]
}

func (t *together) run(worker, part int) {
	i, last := slices.BinarySearch(t.ends, part)
	if last {
		i++
	}
	if i > 0 {
		part -= t.ends[i-1]
	}
	t.tasks[i].run(worker, part)
}

// NewPool makes a pool of n threads, the caller being one of them; n ≤ 0 means as many as the
// process may use.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{n: n}
	p.news = sync.NewCond(&p.sleep)
	p.callsPlan = newPlan(&p.calls)
	for w := 1; w < n; w++ {
		c := make(chan struct{}, 1)
		p.wake = append(p.wake, c)
		go func() {
			for range c {
				p.help(w)
			}
		}()
	}
	return p
}

// Threads is the number of threads.
func (p *Pool) Threads() int { return p.n }

// Close ends the threads.
func (p *Pool) Close() {
	for _, c := range p.wake {
		close(c)
	}
	p.wake = nil
}

// help is work on another thread, whose panic is kept for the caller of do.
func (p *Pool) help(w int) {
	defer p.left.Done()
	defer func() {
		if r := recover(); r != nil {
			s := fmt.Sprintf("%v\n\n%s", r, debug.Stack())
			p.defect.CompareAndSwap(nil, &s)
			p.broken.Store(true)
			p.rouse()
		}
	}()
	p.work(p.plan, w)
}

// calls are those of a function with numbers from 0 on.
type calls struct {
	count int
	f     func(i int)
}

func (c *calls) parts() int      { return c.count }
func (c *calls) run(_, part int) { c.f(part) }

// Each calls f(0), …, f(count−1), each once, in any order and on any thread, and returns when all have returned. It does not allocate.
func (p *Pool) Each(count int, f func(i int)) {
	p.calls = calls{count, f}
	p.callsPlan.counts[0].parts, p.callsPlan.parallel = int64(count), count > 1
	p.do(p.callsPlan)
}

// work takes parts of one task after the other, and waits for those that other threads have taken before it goes on.
func (p *Pool) work(s *plan, w int) {
	for i, t := range s.tasks {
		c := &s.counts[i]
		for {
			part := c.next.Add(1) - 1
			if part >= c.parts {
				break
			}
			t.run(w, int(part))
			if c.done.Add(1) == c.parts {
				p.rouse()
			}
		}
		if !p.wait(&c.done, c.parts) {
			return
		}
		if s.after != nil && w == 0 {
			s.after(i)
		}
	}
}

// spin is how often a thread looks whether the others are done before it sleeps, a tenth of a millisecond: most parts end sooner
// after each other, and to wake a thread takes a while.
const spin = 1 << 17

// wait returns when a count has come to a number; false where a part has panicked.
func (p *Pool) wait(count *atomic.Int64, to int64) bool {
	for range spin {
		if count.Load() >= to {
			return true
		}
		if p.broken.Load() {
			return false
		}
	}
	p.sleepers.Add(1)
	p.sleep.Lock()
	for count.Load() < to && !p.broken.Load() {
		p.news.Wait()
	}
	p.sleep.Unlock()
	p.sleepers.Add(-1)
	return !p.broken.Load()
}

// rouse wakes those that sleep after something has happened that they wait for.
func (p *Pool) rouse() {
	if p.sleepers.Load() > 0 {
		p.sleep.Lock()
		p.news.Broadcast()
		p.sleep.Unlock()
	}
}

// do runs all parts of the tasks in order, which part on which thread being left to chance.
func (p *Pool) do(s *plan) {
	if len(p.wake) == 0 || !s.parallel {
		for i, t := range s.tasks {
			for part := range int(s.counts[i].parts) {
				t.run(0, part)
			}
			if s.after != nil {
				s.after(i)
			}
		}
		return
	}
	for i := range s.counts {
		s.counts[i].next.Store(0)
		s.counts[i].done.Store(0)
	}
	p.plan = s
	p.broken.Store(false)
	p.left.Add(len(p.wake))
	for _, c := range p.wake {
		c <- struct{}{}
	}
	defer func() { // of a panic of this thread too: none of the others goes on when do has ended
		p.broken.Store(true)
		p.rouse()
		p.left.Wait()
		p.plan = nil
	}()
	p.work(s, 0)
	p.left.Wait()
	if s := p.defect.Swap(nil); s != nil {
		panic(*s)
	}
}
