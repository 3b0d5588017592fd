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

// The whole program on trained networks whose spectra are known: what internal/density's calibration does on diagonal
// matrices, through products in float32 and float64. With HESSDENS_LONG over 200 seeds (two hours), and on the network
// of 15,910 parameters too where HESSDENS_REFERENCE names the folder that has it.
func TestNetworkCalibration(t *testing.T) {
	seeds, runs := 1, []string{"float32 2 60"}
	if os.Getenv("HESSDENS_LONG") != "" {
		seeds, runs = 200, []string{"float32 1 90", "float64 1 90", "float32 10 90", "float64 10 90"}
	}
	cases := filepath.Join("..", "..", "testdata", "reference", "cases")
	data := filepath.Join(t.TempDir(), "xy.npz")
	writeImages(t, filepath.Join(cases, "smallcnn-nobn.npz"), data)
	networks := []calibrated{{"smallcnn-nobn", filepath.Join(cases, "smallcnn-nobn.npz"), []string{"--model", "smallcnn:bn=false", "--data", data,
		"--weights", filepath.Join("..", "..", "testdata", "reference", "checkpoints", "smallcnn-nobn-final.safetensors")}}}
	if dir := os.Getenv("HESSDENS_REFERENCE"); dir != "" && seeds > 1 {
		networks = append(networks, calibrated{"mlp-mnist", filepath.Join(dir, "cases", "mlp-mnist-exact.npz"), []string{"--model", "mlp:784-20-10",
			"--data", filepath.Join(dir, "cases", "mlp-mnist.npz"), "--weights", filepath.Join(dir, "checkpoints", "mlp-final.safetensors")}})
	}
	for _, c := range networks {
		values := eigenvalues(t, c.spectrum)
		for _, r := range runs {
			f := strings.Fields(r)
			t.Run(fmt.Sprintf("%s/%s/k=%s", c.name, f[0], f[1]), func(t *testing.T) {
				c.calibrate(t, values, seeds, f[0], f[1], f[2])
			})
		}
	}
}

// calibrated is a network, the file with all its eigenvalues, and the arguments that name it and its data.
type calibrated struct {
	name, spectrum string
	args           []string
}

// calibrate runs the program with seeds 0, 1, … and fails where bands, intervals or bounds do not hold for values, which
// are all eigenvalues, ascending.
func (c calibrated) calibrate(t *testing.T, values []float64, seeds int, precision, probes, steps string) {
	n, norm, trace := float64(len(values)), max(-values[0], values[len(values)-1]), 0.0
	for _, x := range values {
		trace += x
	}
	var covered, points, traces, known, beyond, furthest float64
	for seed := range seeds {
		var out, msg bytes.Buffer
		args := append([]string{"estimate", "--precision", precision, "--probes", probes, "--steps", steps, "--seed", fmt.Sprint(seed)}, c.args...)
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
				t.Errorf("seed %d: weight %v", seed, v.Weight)
			}
		}
		known += float64(len(result.Eigenvalues))
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
		if done := float64(seed + 1); seed+1 == seeds || seed%20 == 19 {
			t.Logf("%d seeds: band %.3f, trace %.3f, %.1f known, furthest %.1e ‖H‖, beyond bound %.1e ‖H‖",
				seed+1, covered/points, traces/done, known/done, furthest, beyond)
		}
	}
	if !(beyond <= 0) && !(precision == spectrum.Float64 && beyond <= 1e-12) {
		t.Errorf("an eigenvalue is %.1e ‖H‖ beyond its bound", beyond)
	}
	least := map[string]float64{"1": 0.92, "10": 0.93}[probes]
	if band := covered / points; seeds > 1 && (!(band >= least) || !(band <= 0.97)) {
		t.Errorf("the band covers %.3f", band)
	}
	if cover := traces / float64(seeds); seeds > 1 && (!(cover >= 0.91) || !(cover <= 0.985)) {
		t.Errorf("the trace's interval covers %.3f", cover)
	}
}

// eigenvalues returns all of a reference case, ascending.
func eigenvalues(t *testing.T, path string) (values []float64) {
	t.Helper()
	f, err := reference.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Read("eig_H.npy", &values); err != nil {
		t.Fatal(err)
	}
	slices.Sort(values)
	return values
}

// writeImages writes the data of the reference case of that path to a file that the program reads.
func writeImages(t *testing.T, path, data string) {
	t.Helper()
	f, err := reference.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var x []uint8
	var y []int64
	for name, to := range map[string]any{"x.npy": &x, "y.npy": &y} {
		if err := f.Read(name, to); err != nil {
			t.Fatal(err)
		}
	}
	n := len(y)
	archive := npytest.Archive(false, npytest.Entry{Name: "x.npy", Data: npytest.File("|u1", false, []int{n, 1, 28, 28}, x)},
		npytest.Entry{Name: "y.npy", Data: npytest.File("<i8", false, []int{n}, y)})
	if err := os.WriteFile(data, archive, 0o666); err != nil {
		t.Fatal(err)
	}
}
