package lanczos

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
)

// ends is a spectrum with outliers at both ends, one of them double.
func ends(n int) Diagonal {
	d := outlierSpectrum(n)
	d[3], d[5], d[8], d[9], d[20] = 40, 35, 30, 30, -25
	return d
}

func most(m int) func(int) int { return func(int) int { return m } }

// eigenvectorsOf are those of the last probe.
func eigenvectorsOf(probes []Probe) []Eigenvector { return probes[len(probes)-1].Eigenvectors }

// Of a diagonal matrix an eigenvector is a unit vector. A double eigenvalue has none that the probes agree on.
func TestEigenvectors(t *testing.T) {
	const n, m, tol = 400, 60, 1e-4
	d := ends(n)
	for _, storage := range storages {
		o := Options{Steps: m, Probes: 4, Storage: storage, ProductError: ProductError64, Eigenvectors: most(n)}
		probes := mustRun(t, d, o)
		agreed := Agree(probes, n, storage.ProductError(ProductError64))
		all := eigenvectorsOf(probes)
		if len(all) < 3 {
			t.Fatalf("storage %d: %d vectors", storage, len(all))
		}
		for _, v := range all {
			if !slices.ContainsFunc(agreed.List, func(e Eigenvalue) bool { return e.Value == v.Value && e.Simple }) {
				t.Errorf("storage %d: %v is no simple eigenvalue that the probes agree on", storage, v.Value)
			}
			if math.Abs(v.Value-30) < 1e-3 {
				t.Errorf("storage %d: a vector of the double eigenvalue", storage)
			}
			at := 0
			for i, x := range d {
				if math.Abs(x-v.Value) < math.Abs(d[at]-v.Value) {
					at = i
				}
			}
			if !(math.Abs(math.Abs(v.Vector[at])-1) <= tol) || !(math.Abs(stableNorm(v.Vector)-1) <= tol) {
				t.Errorf("storage %d: the vector of %v has %v at its place, and the length %v", storage, v.Value, v.Vector[at], stableNorm(v.Vector))
			}
		}
		o.Eigenvectors = most(3) // both ends, and then the largest
		var values []float64
		for _, v := range eigenvectorsOf(mustRun(t, d, o)) {
			values = append(values, math.Round(v.Value))
		}
		slices.Sort(values)
		if !slices.Equal(values, []float64{-25, 35, 40}) {
			t.Errorf("storage %d: vectors of %v", storage, values)
		}
	}
}

// Groups change no bit.
func TestEigenvectorsOfGroups(t *testing.T) {
	d := ends(300)
	o := Options{Steps: 40, Probes: 4, Eigenvectors: most(6)}
	want := mustRun(t, d, o)
	for _, groups := range [][]int{{2, 2}, {3, 1}, {1, 1, 1, 1}} {
		o.Groups = groups
		if got := mustRun(t, d, o); !reflect.DeepEqual(got, want) || len(eigenvectorsOf(got)) != 6 {
			t.Errorf("groups %v: %d vectors, other bits", groups, len(eigenvectorsOf(got)))
		}
	}
}

// A process has the vectors of a run of one group.
func TestEigenvectorsOfProcess(t *testing.T) {
	d := ends(300)
	o := Options{Steps: 40, Probes: 3, Eigenvectors: most(5)}
	want := eigenvectorsOf(mustRun(t, d, o))
	p := NewProcess(d, o)
	defer p.Close()
	for _, m := range []int{10, 40} {
		if err := p.Grow(context.Background(), 3, m); err != nil {
			t.Fatal(err)
		}
		p.Eigenvectors()
	}
	if got := eigenvectorsOf(p.Probes()); len(want) != 5 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d vectors, want %d, with the same bits", len(got), len(want))
	}
}

// A run that was stopped, at its very end too, has the same vectors.
func TestEigenvectorsResumed(t *testing.T) {
	d := ends(200)
	for _, storage := range storages {
		o := Options{Steps: 30, Probes: 4, Groups: []int{2, 2}, Storage: storage, Eigenvectors: most(4)}
		want := mustRun(t, d, o)
		if len(eigenvectorsOf(want)) == 0 {
			t.Fatal("no vectors")
		}
		for _, stop := range []int{12, 31, 45, 61, 62} {
			journal := &memory{left: stop, finished: map[int]Probe{}}
			o.Journal = journal
			if _, err := Run(context.Background(), d, o); (err == nil) != (stop == 62) || err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("stop after %d: %v", stop, err)
			}
			journal.left, journal.read = 1000, 0
			if got := mustRun(t, d, o); !reflect.DeepEqual(got, want) {
				t.Errorf("storage %d, stop after %d: other bits", storage, stop)
			}
		}
	}
}
