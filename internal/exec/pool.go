package exec

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Pool is a fixed set of threads that programs share. One call at a time.
type Pool struct {
	n    int
	wake []chan struct{}
	task task
	next atomic.Int64
	left sync.WaitGroup

	defect atomic.Pointer[string] // of a helper's panic
}

// task is work that has been cut into parts by its shapes alone.
type task interface {
	parts() int
	run(worker, part int)
}

// NewPool makes a pool of n threads, the caller being one of them; n ≤ 0 means as many as the
// process may use.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{n: n}
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
		}
	}()
	p.work(w)
}

func (p *Pool) work(w int) {
	n := int64(p.task.parts())
	for {
		i := p.next.Add(1) - 1
		if i >= n {
			return
		}
		p.task.run(w, int(i))
	}
}

// do runs all parts of a task, which part on which thread being left to chance.
func (p *Pool) do(t task) {
	n := t.parts()
	if n == 1 || len(p.wake) == 0 {
		for i := range n {
			t.run(0, i)
		}
		return
	}
	helpers := min(len(p.wake), n-1)
	p.task = t
	p.next.Store(0)
	p.left.Add(helpers)
	for _, c := range p.wake[:helpers] {
		c <- struct{}{}
	}
	p.work(0)
	p.left.Wait()
	p.task = nil
	if s := p.defect.Swap(nil); s != nil {
		panic(*s)
	}
}
