package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/spectrum"
)

// traces are those of the examples' own Hessians in the embedded network's last layer, whose Hessian is (diag p − p pᵀ) ⊗ a aᵀ with the
// probabilities p and the inputs a of the layer, 1 among them: Σ p(1 − p)·(‖a‖² + 1).
func traces(t *testing.T) []float64 {
	t.Helper()
	a := &app{stderr: &bytes.Buffer{}, said: map[string]bool{}}
	a.line = &progress{w: a.stderr}
	s, err := (&subjectOptions{}).open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	affine := func(layer int, x []float64) []float64 {
		w, b := s.net.Params[2*layer].Values, s.net.Params[2*layer+1].Values
		y := make([]float64, len(b))
		for i := range y {
			y[i] = b[i]
			for j, v := range x {
				y[i] += w[i*len(x)+j] * v
			}
		}
		return y
	}
	out := make([]float64, s.set.N)
	x := make([]float64, 784)
	for i := range out {
		if err := s.set.X.Floats(x, i, i+1); err != nil {
			t.Fatal(err)
		}
		hidden, square := affine(0, x), 1.0
		for j, v := range hidden {
			hidden[j] = max(0, v)
			square += hidden[j] * hidden[j]
		}
		p := affine(1, hidden)
		sum, most := 0.0, math.Inf(-1)
		for _, v := range p {
			most = max(most, v)
		}
		for j, v := range p {
			p[j] = math.Exp(v - most)
			sum += p[j]
		}
		for _, v := range p {
			out[i] += v / sum * (1 - v/sum) * square
		}
	}
	return out
}

// moments are the mean and the variance of numbers.
func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}

// The errors that samples of the embedded data say of themselves, in the mean square, against what is: for the trace the variance of
// the examples' own, which is known in closed form; with HESSDENS_LONG, over 200 samples, for λ max the scatter of exact ones too, than which the first order is
// larger where neighbours are nearer than the error.
func TestDataErrorCalibration(t *testing.T) {
	const sample = 200
	samples, tol := 8, 0.4
	long := os.Getenv("HESSDENS_LONG") != ""
	if long {
		samples, tol = 200, 0.1
	}
	own := traces(t)
	mean, variance := moments(own)
	want := variance / sample * (1 - sample/float64(len(own)))
	measure := func(command string, seed int, more ...string) *spectrum.Result {
		var out, msg bytes.Buffer
		args := append([]string{command, "--params", "3.*", "--sample", fmt.Sprint(sample), "--data-seed", fmt.Sprint(seed)}, more...)
		if status := run(context.Background(), args, strings.NewReader(""), &out, &msg); status != 0 {
			t.Fatalf("status %d: %s", status, &msg)
		}
		r, err := spectrum.Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var squares, squaresMax float64
	var largest, beyond []float64
	for seed := range samples {
		r := measure("estimate", seed, "--probes", "4", "--steps", "30")
		e := *r.Summary.TraceDataStderr
		squares += e * e / float64(samples)
		if d := math.Abs(r.Summary.Trace - mean); d > 5*math.Hypot(e, *r.Summary.TraceStderr) {
			beyond = append(beyond, d/e)
		}
		if long {
			x := measure("exact", seed)
			largest = append(largest, x.Summary.LambdaMax)
			squaresMax += *r.Summary.LambdaMaxDataStderr * *r.Summary.LambdaMaxDataStderr / float64(samples)
		}
	}
	t.Logf("trace: standard deviation %.4f, by %d samples %.4f", math.Sqrt(want), samples, math.Sqrt(squares))
	if !(math.Abs(squares/want-1) <= tol) {
		t.Errorf("trace: mean variance of %d samples %v, want %v", samples, squares, want)
	}
	if len(beyond) > 0 {
		t.Errorf("traces further than 5 standard errors from that of all data: %v", beyond)
	}
	if long {
		_, variance := moments(largest)
		t.Logf("λ max: standard deviation %.4f, by the samples %.4f", math.Sqrt(variance), math.Sqrt(squaresMax))
		if ratio := math.Sqrt(squaresMax / variance); !(ratio >= 0.85 && ratio <= 1.7) {
			t.Errorf("λ max: errors are %v of the standard deviation", ratio)
		}
	}
}

// A network that takes batches of one size has those for blocks.
func TestFormsOfOneSize(t *testing.T) {
	a := &app{stderr: &bytes.Buffer{}, said: map[string]bool{}}
	a.line = &progress{w: a.stderr}
	s, err := (&subjectOptions{examples: 200, batchSize: "40", precision: spectrum.Float64}).open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	forward := s.net.Forward
	s.net.Forward = func(b *model.Builder, x *graph.Node) *graph.Node {
		return forward(b, b.G.Reshape(x, 40, 784))
	}
	v := make([]float64, 15910)
	v[15000] = 1
	forms, share, err := s.forms(context.Background(), a, [][]float64{v}, 1)
	if err != nil || len(forms) != 5 || len(share) != 5 {
		t.Errorf("%d forms, %d shares, %v", len(forms), len(share), err)
	}
}
