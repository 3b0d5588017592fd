package lanczos

import (
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A panic of a helper is the caller's, who can recover it, and the team goes on.
func TestTeamPanic(t *testing.T) {
	team := newTeam(2)
	defer team.close()
	for range 2 {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "a task is broken") {
					t.Errorf("got %q", s)
				}
			}()
			var both sync.WaitGroup // each of the two tasks on a goroutine of its own
			both.Add(2)
			team.do(2, func(int) {
				both.Done()
				both.Wait()
				buf := make([]byte, 1<<12)
				if strings.Contains(string(buf[:runtime.Stack(buf, false)]), "(*team).help") {
					panic("a task is broken")
				}
			})
			t.Error("do returned")
		}()
	}
}
