package exec

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Numbers are worked on at the same time, each once, and finished share by share, those of each share in their order.
func TestTurns(t *testing.T) {
	const most = 5
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		worked := make([]atomic.Int64, 100)
		busy := make([]atomic.Bool, threads)
		var within [most]atomic.Bool
		var finished [most][]int // by share
		turns := NewTurns(p, func(side, i int) error {
			if busy[side].Swap(true) {
				t.Errorf("side %d has two numbers at once", side)
			}
			worked[i].Add(1)
			if i%7 == 3 { // others come before it
				time.Sleep(time.Duration(i) * 10 * time.Microsecond)
			}
			return nil
		}, func(side, i, share, of int) error {
			if within[share].Swap(true) {
				t.Errorf("share %d of two is finished at once", share)
			}
			finished[share] = append(finished[share], i)
			if i%5 == 2 && share == 1 {
				time.Sleep(100 * time.Microsecond)
			}
			within[share].Store(false)
			if share == of-1 {
				busy[side].Store(false)
			}
			return nil
		})
		for _, c := range []struct{ count, shares int }{{0, 1}, {1, 3}, {2, 1}, {100, most}, {5, 2}, {100, 1}} {
			clear(worked)
			finished = [most][]int{}
			if err := turns.Do(c.count, c.shares); err != nil {
				t.Fatal(err)
			}
			for share, f := range finished[:c.shares] {
				if len(f) != c.count {
					t.Fatalf("%d threads: share %d of %d numbers of %d", threads, share, len(f), c.count)
				}
				for i, f := range f {
					if f != i || worked[i].Load() != 1 {
						t.Fatalf("%d threads: share %d of number %d was the %d-th to be finished, worked on %d times", threads, share, f, i, worked[i].Load())
					}
				}
			}
		}
		p.Close()
	}
}

// The error is that of the lowest number, and nothing after it is finished; what is before it is, all shares.
func TestTurnsErrors(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	const shares = 3
	last, fail := [shares]int{}, 0
	turns := NewTurns(p, func(_, i int) error {
		switch {
		case i == fail:
			time.Sleep(time.Millisecond) // higher ones have failed by now
			return fmt.Errorf("work %d", i)
		case i > fail:
			return errors.New("a later one")
		}
		return nil
	}, func(_, i, share, _ int) error {
		last[share] = i
		if i == 20 && share == 0 {
			return errors.New("finish 20")
		}
		return nil
	})
	for fail = range 30 {
		want, to := fmt.Sprintf("work %d", fail), fail-1
		if fail > 20 {
			want, to = "finish 20", 20
		}
		last = [shares]int{-1, -1, -1}
		ends := [shares]int{to, min(to, 19), min(to, 19)}
		if err := turns.Do(50, shares); err == nil || err.Error() != want || last != ends {
			t.Errorf("failing at %d: %v after %v, want %s after %v", fail, err, last, want, ends)
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
	}, func(_, _, _, _ int) error {
		done++
		return nil
	})
	func() {
		defer func() {
			if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "a defect") {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = turns.Do(100, 1)
	}()
	if done > 5 {
		t.Errorf("%d are finished, though number 5 never was worked on", done)
	}
	fail, done = false, 0
	if err := turns.Do(100, 1); err != nil || done != 100 {
		t.Errorf("afterwards: %v, %d", err, done)
	}
}
