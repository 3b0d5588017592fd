package hvp_test

import (
	"context"
	"fmt"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model/zoo"
)

// TestAllocations: products allocate nothing once programs are compiled and primal parts kept, nor where these are computed anew, with a
// last batch that is shorter.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		spec   string
		n, per int
	}{{"mlp:20-16-5", 100, 32}, {"lenet5", 5, 2}, {"resnet20", 3, 2}, {"gpt2:layers=1,heads=2,width=16,context=8,vocab=11", 5, 2}} {
		for _, keep := range []int64{0, 1 << 30} {
			for _, threads := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/keep=%d/threads=%d", c.spec, keep, threads), func(t *testing.T) {
					net, err := zoo.Parse(c.spec)
					if err != nil {
						t.Fatal(err)
					}
					zoo.Initialise(net, 1)
					o, err := hvp.New(net, synthetic(c.n, net.Input, net.Tokens, net.Outputs), hvp.Options{BatchSize: c.per, KeepBytes: keep, Threads: threads, WeightDecay: 0.1})
					if err != nil {
						t.Fatal(err)
					}
					defer o.Close()
					const k = 3
					src, dst := make([][]float64, k), make([][]float64, k)
					for j := range src {
						src[j], dst[j] = make([]float64, o.Dim()), make([]float64, o.Dim())
						src[j][j] = 1
					}
					product := func() {
						if err := o.Apply(context.Background(), dst, src); err != nil {
							t.Fatal(err)
						}
					}
					product()
					if allocs := testing.AllocsPerRun(5, product); allocs != 0 {
						t.Errorf("%v allocations in a product, want none", allocs)
					}
				})
			}
		}
	}
}
