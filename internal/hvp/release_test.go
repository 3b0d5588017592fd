package hvp_test

import (
	"context"
	"runtime"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model/zoo"
)

// TestRelease: nothing holds a program after Release, on one thread and with batches side by side.
func TestRelease(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, threads := range []int{1, 2} {
		net, err := zoo.Parse("resnet20")
		if err != nil {
			t.Fatal(err)
		}
		zoo.Initialise(net, 1)
		o, err := hvp.New(net, synthetic(5, net.Input, net.Tokens, net.Outputs), hvp.Options{BatchSize: 2, Threads: threads, KeepBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		src, dst := [][]float64{make([]float64, o.Dim())}, [][]float64{make([]float64, o.Dim())}
		src[0][0] = 1
		before := heap()
		if err := o.Apply(context.Background(), dst, src); err != nil {
			t.Fatal(err)
		}
		with := heap()
		o.Release()
		if after := heap(); with < before+4<<20 || after > before+(with-before)/8 {
			t.Errorf("%d threads: %d bytes before, %d with programs, %d after", threads, before, with, after)
		}
		o.Close()
	}
}
