package density

import (
	"strings"
	"testing"
)

// A panic of a function is the caller's, after the others have ended.
func TestTogetherPanic(t *testing.T) {
	done := false
	defer func() {
		if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "broken") || !done {
			t.Errorf("got %q, the other ended: %t", s, done)
		}
	}()
	together(func() { panic("broken") }, func() { done = true })
	t.Error("together returned")
}
