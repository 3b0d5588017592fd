package exec

import "sync/atomic"

// Turns goes through numbered work, several numbers at a time and each on one thread, and finishes one after the other in their
// order, so that what is added up has the same bits for any number of threads.
type Turns struct {
	pool   *Pool
	plan   *plan
	sides  int
	work   func(side, i int) error
	finish func(side, i int) error

	count      int64
	next, turn atomic.Int64
	err        error // of the first that failed; who has the turn writes it
}

// NewTurns makes turns for as many sides at once as the pool has threads. work is called with numbers from 0 on, for different sides at
// the same time; finish with the same side and number after it, when all lower numbers are finished.
func NewTurns(pool *Pool, work, finish func(side, i int) error) *Turns {
	t := &Turns{pool: pool, sides: pool.Threads(), work: work, finish: finish}
	t.plan = newPlan(t)
	return t
}

// Do goes through numbers below count. It ends with the error of the lowest that has one; no higher one is finished then.
func (t *Turns) Do(count int) error {
	t.count, t.err = int64(count), nil
	t.next.Store(0)
	t.turn.Store(0)
	t.pool.do(t.plan)
	return t.err
}

func (t *Turns) parts() int { return t.sides }

func (t *Turns) run(_, side int) {
	for {
		i := t.next.Add(1) - 1
		if i >= t.count {
			return
		}
		err := t.work(side, int(i))
		if !t.pool.wait(&t.turn, i) {
			return
		}
		if t.err == nil {
			if err == nil {
				err = t.finish(side, int(i))
			}
			if t.err = err; err != nil {
				t.next.Store(t.count)
			}
		}
		t.turn.Add(1)
		t.pool.rouse()
	}
}
