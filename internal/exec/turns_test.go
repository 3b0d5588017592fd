package exec

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Numbers are worked on at the same time, each once, and finished in their order.
func TestTurns(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		var at atomic.Int64
		worked := make([]atomic.Int64, 100)
		busy := make([]atomic.Bool, threads)
		var finished []int
		turns := NewTurns(p, func(side, i int) error {
			if busy[side].Swap(true) {
				t.Errorf("side %d has two numbers at once", side)
			}
			worked[i].Add(1)
			if i%7 == 3 { // others come before it
				time.Sleep(time.Duration(i) * 10 * time.Microsecond)
			}
			return nil
		}, func(side, i int) error {
			busy[side].Store(false)
			if at.Add(1) != 1 {
				t.Error("two are finished at once")
			}
			finished = append(finished, i)
			at.Add(-1)
			return nil
		})
		for _, count := range []int{0, 1, 2, 100, 5} {
			clear(worked)
			finished = finished[:0]
			if err := turns.Do(count); err != nil {
				t.Fatal(err)
			}
			if len(finished) != count {
				t.Fatalf("%d threads: %d of %d", threads, len(finished), count)
			}
			for i, f := range finished {
				if f != i || worked[i].Load() != 1 {
					t.Fatalf("%d threads: number %d was the %d-th to be finished, worked on %d times", threads, f, i, worked[i].Load())
				}
			}
		}
		p.Close()
	}
}

// The error is that of the lowest number, and nothing after it is finished.
func TestTurnsErrors(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	last, fail := -1, 0
	turns := NewTurns(p, func(_, i int) error {
		switch {
		case i == fail:
			time.Sleep(time.Millisecond) // higher ones have failed by now
			return fmt.Errorf("work %d", i)
		case i > fail:
			return errors.New("a later one")
		}
		return nil
	}, func(_, i int) error {
		last = i
		if i == 20 {
			return errors.New("finish 20")
		}
		return nil
	})
	for fail = range 30 {
		want, to := fmt.Sprintf("work %d", fail), fail-1
		if fail > 20 {
			want, to = "finish 20", 20
		}
		last = -1
		if err := turns.Do(50); err == nil || err.Error() != want || last != to {
			t.Errorf("failing at %d: %v after %d, want %s after %d", fail, err, last, want, to)
		}
	}
}

// A panic ends all sides and is the caller's; the pool works on.
func TestTurnsPanic(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	fail := true
	done := 0
	turns := NewTurns(p, func(_, i int) error {
		if fail && i == 5 {
			panic("a defect")
		}
		return nil
	}, func(_, i int) error {
		done++
		return nil
	})
	func() {
		defer func() {
			if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "a defect") {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = turns.Do(100)
	}()
	if done > 5 {
		t.Errorf("%d are finished, though number 5 never was worked on", done)
	}
	fail, done = false, 0
	if err := turns.Do(100); err != nil || done != 100 {
		t.Errorf("afterwards: %v, %d", err, done)
	}
}
