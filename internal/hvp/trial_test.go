package hvp_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model/zoo"
)

// TestTry: what is tried out changes no product afterwards, and its memory covers what products then take.
func TestTry(t *testing.T) {
	ctx := context.Background()
	for _, spec := range []string{"mlp:20-16-5", "gpt2:layers=1,heads=2,width=16,context=8,vocab=11"} {
		for _, keep := range []int64{0, 1 << 30} {
			net, err := zoo.Parse(spec)
			if err != nil {
				t.Fatal(err)
			}
			zoo.Initialise(net, 1)
			const k = 3
			product := func(tried bool) [][]float64 {
				o, err := hvp.New(net, synthetic(100, net.Input, net.Tokens, net.Outputs), hvp.Options{BatchSize: 32, KeepBytes: keep})
				if err != nil {
					t.Fatal(err)
				}
				defer o.Close()
				var trial *hvp.Trial
				if tried {
					if trial, err = o.Try(ctx, k, 1e-9); err != nil {
						t.Fatal(err)
					}
				}
				src, dst := make([][]float64, k), make([][]float64, k)
				for j := range src {
					src[j], dst[j] = make([]float64, o.Dim()), make([]float64, o.Dim())
					src[j][7*j] = 1
				}
				if err := o.Apply(ctx, dst, src); err != nil {
					t.Fatal(err)
				}
				if p := trial; p != nil {
					for _, s := range []float64{p.Gradient, p.First, p.Product} {
						if !(s > 0) || math.IsInf(s, 0) {
							t.Errorf("%s: %+v, want positive times", spec, *p)
						}
					}
					if need := o.Cost().Bytes; p.Bytes <= need {
						t.Errorf("%s: %d bytes are told, and the programs alone take %d", spec, p.Bytes, need)
					}
				}
				return dst
			}
			got, want := product(true), product(false)
			for j := range want {
				if !slices.Equal(got[j], want[j]) {
					t.Errorf("%s, keep %d: another product after trying", spec, keep)
				}
			}
		}
	}
}

// TestTryFails: an error of the first batch is that of a run, and leaves the operator whole.
func TestTryFails(t *testing.T) {
	net, err := zoo.Parse("mlp:20-16-5")
	if err != nil {
		t.Fatal(err)
	}
	zoo.Initialise(net, 1)
	net.Params[0].Values[0] = math.Inf(1)
	o, err := hvp.New(net, synthetic(100, net.Input, net.Tokens, net.Outputs), hvp.Options{BatchSize: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var fault *hvp.NonFiniteError
	if _, err := o.Try(context.Background(), 1, 1e-9); !errors.As(err, &fault) {
		t.Errorf("error %v, want a *NonFiniteError", err)
	}
	o.SetTheta(make([]float64, o.Dim()))
	passed := 0
	if _, err := o.Evaluate(context.Background(), func(int, []float64) error { passed++; return nil }); err != nil {
		t.Fatal(err)
	}
	if passed != 4 {
		t.Errorf("a pass after a failed one goes over %d batches, want 4", passed)
	}
}
