package main

import (
	"context"
	"math"
	"testing"

	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

// TestTryLanczos: times of Lanczos steps for sizes at the limits of what is tried: they are numbers that can be scaled.
func TestTryLanczos(t *testing.T) {
	for _, c := range []struct{ n, m, k int }{{1, 1, 1}, {2, 2, 3}, {5, 90, 2}, {1000, 20, 4}, {3 << 20, 5, 2}} {
		step, column, err := tryLanczos(context.Background(), c.n, min(c.m, c.n), c.k, 2, lanczos.Double)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if !(step >= 0 && column >= 0) || math.IsInf(step+column, 0) || c.m > 2 && c.n > 2 && step+column == 0 {
			t.Errorf("%+v: %v and %v seconds", c, step, column)
		}
	}
}

// TestPredict: the memory adds up, and the groups are those of a run.
func TestPredict(t *testing.T) {
	ctx := context.Background()
	a := &app{line: &progress{}, said: map[string]bool{}}
	s, err := (&subjectOptions{examples: 50, precision: "float32"}).open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	op, err := s.operator(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	const probes, steps = 3, 4
	two := float64(2 * lanczos.BasisBytes(op.Dim(), steps, 1, lanczos.Double))
	p, err := predict(ctx, op, &estimatorOptions{probes: probes, steps: steps, basis: spectrum.Float64}, 1, int64(two/basisShare)+1)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Groups) != 2 || p.Groups[0] != 2 || p.Groups[1] != 1 {
		t.Errorf("groups %v, want [2 1]", p.Groups)
	}
	if p.Basis != int64(two) || p.Programs <= 0 || p.Memory < p.Basis+p.Programs {
		t.Errorf("%+v: basis %v, and the whole is at least the sum", *p, two)
	}
	if !(p.Seconds > 0) || math.IsInf(p.Seconds, 0) {
		t.Errorf("%v seconds", p.Seconds)
	}
}

func TestSpell(t *testing.T) {
	for seconds, want := range map[float64]string{0.04: "0.0 s", 3.21: "3.2 s", 9.96: "10 s", 89: "89 s", 90: "1.5 min", 900: "15 min", 5400: "1.5 h", 129600: "1.5 days"} {
		if got := spell(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
}
