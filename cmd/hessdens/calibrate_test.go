package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	reference "github.com/sbinet/npyio/npz"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/spectrum"
)

// The whole program on a trained network whose spectrum is known: what internal/density's calibration does on diagonal
// matrices, through products in float32 and float64. With HESSDENS_LONG over 200 seeds (an hour or two).
func TestNetworkCalibration(t *testing.T) {
	seeds, runs := 1, []string{"float32 2 60"}
	if os.Getenv("HESSDENS_LONG") != "" {
		seeds, runs = 200, []string{"float32 1 90", "float64 1 90", "float32 10 90", "float64 10 90"}
	}
	values, data := smallCNN(t)
	weights := filepath.Join("..", "..", "testdata", "reference", "checkpoints", "smallcnn-nobn-final.safetensors")
	n, norm, trace := float64(len(values)), max(-values[0], values[len(values)-1]), 0.0
	for _, x := range values {
		trace += x
	}
	for _, r := range runs {
		f := strings.Fields(r)
		var covered, points, traces, known, beyond, furthest float64
		for seed := range seeds {
			var out, msg bytes.Buffer
			args := []string{"estimate", "--model", "smallcnn:bn=false", "--weights", weights, "--data", data,
				"--precision", f[0], "--probes", f[1], "--steps", f[2], "--seed", fmt.Sprint(seed)}
			if status := run(context.Background(), args, strings.NewReader(""), &out, &msg); status != 0 {
				t.Fatalf("status %d: %s", status, &msg)
			}
			result, err := spectrum.Read(&out)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range result.Eigenvalues {
				i, _ := slices.BinarySearch(values, v.Value)
				near := math.Inf(1)
				for _, x := range values[max(0, i-1):min(len(values), i+1)] {
					near = min(near, math.Abs(x-v.Value))
				}
				furthest = max(furthest, near/norm)
				beyond = max(beyond, (near-v.Residual)/norm)
				if v.Weight != 1/n {
					t.Errorf("%s: weight %v", r, v.Weight)
				}
			}
			known += float64(len(result.Eigenvalues)) / float64(seeds)
			if i := result.Summary.TraceInterval; i[0] <= trace && trace <= i[1] {
				traces++
			}
			d := result.Density
			sigma := math.Sqrt(d.Sigma2)
			at := func(t float64, values []float64) (y float64) {
				lo, _ := slices.BinarySearch(values, t-10*sigma)
				for _, x := range values[lo:] {
					if x > t+10*sigma {
						break
					}
					z := (t - x) / sigma
					y += math.Exp(-z*z/2) / (n * sigma * math.Sqrt(2*math.Pi))
				}
				return y
			}
			var listed []float64
			for _, v := range slices.Backward(result.Eigenvalues) {
				listed = append(listed, v.Value)
			}
			truth := make([]float64, len(d.Grid))
			for i, x := range d.Grid {
				truth[i] = at(x, values)
			}
			top := slices.Max(truth)
			for i, y := range truth {
				if y > 1e-3*top && y-at(d.Grid[i], listed) > 0.01*y {
					points++
					if d.Lower[i] <= y && y <= d.Upper[i] {
						covered++
					}
				}
			}
		}
		t.Logf("%s, %d seeds: band %.3f, trace %.3f, %.1f known, furthest %.1e ‖H‖, beyond bound %.1e ‖H‖",
			r, seeds, covered/points, traces/float64(seeds), known, furthest, beyond)
		if !(beyond <= 0) && !(f[0] == spectrum.Float64 && beyond <= 1e-12) {
			t.Errorf("%s: an eigenvalue is %.1e ‖H‖ beyond its bound", r, beyond)
		}
		least := map[string]float64{"1": 0.92, "10": 0.93}[f[1]]
		if band := covered / points; seeds > 1 && (!(band >= least) || !(band <= 0.97)) {
			t.Errorf("%s: the band covers %.3f", r, band)
		}
		if cover := traces / float64(seeds); seeds > 1 && (!(cover >= 0.91) || !(cover <= 0.985)) {
			t.Errorf("%s: the trace's interval covers %.3f", r, cover)
		}
	}
}

// smallCNN returns all eigenvalues of the reference network, ascending, and a file with its data.
func smallCNN(t *testing.T) (values []float64, data string) {
	t.Helper()
	f, err := reference.Open(filepath.Join("..", "..", "testdata", "reference", "cases", "smallcnn-nobn.npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var x []uint8
	var y []int64
	for name, to := range map[string]any{"eig_H.npy": &values, "x.npy": &x, "y.npy": &y} {
		if err := f.Read(name, to); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(values)
	n := len(y)
	data = filepath.Join(t.TempDir(), "xy.npz")
	archive := npytest.Archive(false, npytest.Entry{Name: "x.npy", Data: npytest.File("|u1", false, []int{n, 1, 28, 28}, x)},
		npytest.Entry{Name: "y.npy", Data: npytest.File("<i8", false, []int{n}, y)})
	if err := os.WriteFile(data, archive, 0o666); err != nil {
		t.Fatal(err)
	}
	return values, data
}
