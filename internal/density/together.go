package density

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// together calls functions, each on a goroutine of its own, and returns when all have returned. A panic of one of them is the caller's.
func together(fs ...func()) {
	var wait sync.WaitGroup
	var defect atomic.Pointer[string]
	for _, f := range fs {
		wait.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					s := fmt.Sprintf("%v\n\n%s", r, debug.Stack())
					defect.CompareAndSwap(nil, &s)
				}
			}()
			f()
		})
	}
	wait.Wait()
	if s := defect.Load(); s != nil {
		panic(*s)
	}
}
