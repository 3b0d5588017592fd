package exec

import (
	"strings"
	"sync"
	"testing"
)

// meeting is a task whose parts wait for each other, so that each runs on a thread of its own; all but the
// caller's panic.
type meeting struct{ all sync.WaitGroup }

func (m *meeting) parts() int { return 3 }
func (m *meeting) run(worker, _ int) {
	m.all.Done()
	m.all.Wait()
	if worker > 0 {
		panic("a part is broken")
	}
}

// A panic on a thread of the pool is the caller's, who can recover it, and the pool goes on.
func TestPoolPanic(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for range 2 {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "a part is broken\n") || !strings.Contains(s, "pool_test.go") {
					t.Errorf("got %q", s)
				}
			}()
			m := &meeting{}
			m.all.Add(m.parts())
			p.do(newPlan(m))
			t.Error("do returned")
		}()
	}
}
