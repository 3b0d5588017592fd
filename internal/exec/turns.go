package exec

import "sync/atomic"

// Turns goes through numbered work, several numbers at a time and each on one thread, and finishes one after the other in their
// order, so that what is added up has the same bits for any number of threads. What finishes a number may be cut into shares: the next
// number's first may then be finished while this one's second is. The last numbers, as many as there are sides, go one to each side, in
// order.
type Turns struct {
	pool   *Pool
	plan   *plan
	sides  int
	work   func(side, i int) error
	finish func(side, i, share, of int) error

	count, free int64 // of numbers, and of those that go to who comes first
	next        atomic.Int64
	turn        []progress // of each share: the number that is next
	err         error      // of the first that failed; who has the turn of the first share writes it
}

// NewTurns makes turns for as many sides at once as the pool has threads. work is called with numbers from 0 on, for different sides at
// the same time; finish with the same side and number after it, for one share after the other, each when those of all lower numbers are
// finished. Only the first share's may fail.
func NewTurns(pool *Pool, work func(side, i int) error, finish func(side, i, share, of int) error) *Turns {
	t := &Turns{pool: pool, sides: pool.Threads(), work: work, finish: finish}
	t.plan = newPlan(t)
	return t
}

// Do goes through numbers below count, finishing each in shares. It ends with the error of the lowest that has one; no higher one is finished then.
func (t *Turns) Do(count, shares int) error {
	t.count, t.free, t.err = int64(count), int64(max(0, count-t.sides)), nil
	t.next.Store(0)
	if cap(t.turn) < shares {
		t.turn = make([]progress, shares)
	}
	t.turn = t.turn[:shares]
	for s := range t.turn {
		t.turn[s].done.Store(0)
	}
	t.pool.do(t.plan)
	return t.err
}

func (t *Turns) parts() int { return t.sides }

func (t *Turns) run(_, side int) {
	for i := t.next.Add(1) - 1; i < t.free; i = t.next.Add(1) - 1 {
		if !t.do(side, i) {
			return
		}
	}
	if last := t.free + int64(side); last < t.count {
		t.do(side, last)
	}
}

// do works on a number and finishes it; false where none is to come after it.
func (t *Turns) do(side int, i int64) bool {
	err := t.work(side, int(i))
	for s := range t.turn {
		turn := &t.turn[s].done
		if !t.pool.wait(turn, i) {
			return false
		}
		if s == 0 {
			if t.err != nil { // of a lower one
				return false
			}
			if err == nil {
				err = t.finish(side, int(i), s, len(t.turn))
			}
			if t.err = err; err != nil {
				turn.Store(t.count) // nobody waits for it
				t.pool.rouse()
				return false
			}
		} else {
			_ = t.finish(side, int(i), s, len(t.turn)) // no error, by contract
		}
		turn.Add(1)
		t.pool.rouse()
	}
	return true
}
