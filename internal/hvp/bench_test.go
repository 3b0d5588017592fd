package hvp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// synthetic is a data set of noise with the shapes that a network takes.
func synthetic(n int, shape []int, tokens bool, classes int) hvp.Data {
	r := rand.New(rand.NewPCG(1, 1))
	x, y := memory{shape: shape}, memory{}
	for range n * tensor.Count(shape) {
		if tokens {
			x.i = append(x.i, int64(r.IntN(classes)))
		} else {
			x.f = append(x.f, r.NormFloat64())
		}
	}
	labels := n
	if tokens {
		y.shape = shape
		labels *= tensor.Count(shape)
	}
	for range labels {
		y.i = append(y.i, int64(r.IntN(classes)))
	}
	return hvp.Data{N: n, X: x, Y: y}
}

// BenchmarkProduct times a product of a group of vectors with the Hessian over a data set.
func BenchmarkProduct(b *testing.B) {
	for _, c := range []struct {
		spec string
		n    int
	}{{"mlp:784-20-10", 1000}, {"mlp:784-128-64-10", 2000}, {"lenet5", 128}, {"resnet20", 16}, {"gpt2:layers=2,heads=4,width=64,context=64,vocab=65", 16}} {
		for _, precision := range []string{hvp.Float32, hvp.Float64} {
			for _, k := range []int{1, 10} {
				b.Run(fmt.Sprintf("%s/%s/k=%d", c.spec, precision, k), func(b *testing.B) {
					net, err := zoo.Parse(c.spec)
					if err != nil {
						b.Fatal(err)
					}
					zoo.Initialise(net, 1)
					o, err := hvp.New(net, synthetic(c.n, net.Input, net.Tokens, net.Outputs), hvp.Options{Precision: precision})
					if err != nil {
						b.Fatal(err)
					}
					defer o.Close()
					r := rand.New(rand.NewPCG(2, 2))
					src, dst := make([][]float64, k), make([][]float64, k)
					for j := range src {
						src[j], dst[j] = make([]float64, o.Dim()), make([]float64, o.Dim())
						for i := range src[j] {
							src[j][i] = r.NormFloat64()
						}
					}
					ctx := context.Background()
					if err := o.Apply(ctx, dst, src); err != nil {
						b.Fatal(err)
					}
					b.ReportAllocs()
					for b.Loop() {
						if err := o.Apply(ctx, dst, src); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(b.Elapsed().Seconds()/float64(b.N*k), "s/probe")
				})
			}
		}
	}
}
