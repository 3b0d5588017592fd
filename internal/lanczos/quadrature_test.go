package lanczos

import (
	"math"
	"testing"
)

// The first steps of a probe give the quadrature of a shorter run.
func TestLeading(t *testing.T) {
	d := outlierSpectrum(700)
	p := mustRun(t, d, Options{Steps: 50, Probes: 1, Seed: 3})[0]
	for _, m := range []int{1, 2, 3, 29, 49, 50} {
		got, want := p.Leading(m), mustRun(t, d, Options{Steps: m, Probes: 1, Seed: 3})[0]
		checkQuadrature(t, got)
		if got.BetaLast != want.BetaLast || got.Exhausted != want.Exhausted {
			t.Errorf("m = %d: β %v, want %v", m, got.BetaLast, want.BetaLast)
		}
		for i := range want.Nodes {
			if !(math.Abs(got.Nodes[i]-want.Nodes[i]) <= 1e-13*10) || !(math.Abs(got.Weights[i]-want.Weights[i]) <= 1e-13) ||
				!(math.Abs(got.Residuals[i]-want.Residuals[i]) <= 1e-12) {
				t.Errorf("m = %d, node %d: %v, %v, %v; want %v, %v, %v", m, i, got.Nodes[i], got.Weights[i], got.Residuals[i], want.Nodes[i], want.Weights[i], want.Residuals[i])
			}
			if s := got.first[i] * got.last[i] * want.first[i] * want.last[i]; math.Abs(want.last[i]) > 1e-10 && math.Abs(want.first[i]) > 1e-10 && !(s > 0) {
				t.Errorf("m = %d, node %d: sign", m, i)
			}
		}
	}
	for _, d := range []Diagonal{make(Diagonal, 9), {3}, {1, 1, 1, 1}} {
		p := mustRun(t, d, Options{Steps: 9, Probes: 1})[0]
		if q := p.Leading(1); q.Nodes[0] != p.Nodes[0] || q.Weights[0] != 1 || !q.Exhausted {
			t.Errorf("%v: %+v", d, q)
		}
	}
}
