package hvp_test

import (
	"context"
	"math"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
)

// TestQuadratureMoments holds a quadrature of the Hessian against powers of it: Σ wᵢλᵢʲ = vᵀHʲv for
// j ≤ 2m − 1, and not beyond.
func TestQuadratureMoments(t *testing.T) {
	const m = 6
	ctx := context.Background()
	o := find(t, "mlp-gelu").operator(t, func(o *hvp.Options) { o.Precision = hvp.Float64 })
	probes, err := lanczos.Run(ctx, o, lanczos.Options{Steps: m, Probes: 2, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range probes {
		v := make([]float64, o.Dim())
		lanczos.Gaussian(v, 3, p.Index)
		size := norm(v)
		for i := range v {
			v[i] /= size
		}
		power := v // Hʲv
		norms := math.Max(math.Abs(p.Nodes[0]), math.Abs(p.Nodes[len(p.Nodes)-1]))
		for j := range 2*m + 1 {
			var want, got float64
			for i := range v {
				want += v[i] * power[i]
			}
			for i, x := range p.Nodes {
				got += p.Weights[i] * math.Pow(x, float64(j))
			}
			off := math.Abs(got-want) / math.Pow(norms, float64(j))
			if j < 2*m && !(off <= 1e-13) {
				t.Errorf("probe %d: moment %d is %v, want %v", p.Index, j, got, want)
			}
			if j == 2*m && off < 1e-13 {
				t.Errorf("probe %d: moment %d is exact too: the test shows nothing", p.Index, j)
			}
			power = apply(t, o, power)[0]
		}
	}
}
