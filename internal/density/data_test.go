package density

import (
	"math"
	"math/rand/v2"
	"testing"
)

// With blocks of one size, the error is the spread of their means over the root of their number.
func TestBlocksOfOneSize(t *testing.T) {
	const count = 12
	rng := rand.New(rand.NewPCG(1, 1))
	b := Blocks{Order: 100}
	var mean, squares float64
	own := make([]float64, count) // the blocks' own values
	for i := range own {
		own[i] = 5 + rng.NormFloat64()
		mean += own[i] / count
		b.Share = append(b.Share, 1./count)
		b.Known = append(b.Known, []float64{7, own[i] / count})
	}
	for _, x := range own {
		squares += (x - mean) * (x - mean)
	}
	want := math.Sqrt(squares/(count-1)) / math.Sqrt(count)
	if got := b.Eigenvalue(1); !(math.Abs(got-want) <= 1e-12*want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := b.Eigenvalue(0); got != 0 {
		t.Errorf("equal blocks have the error %v", got)
	}
	b.Share, b.Known = b.Share[:1], b.Known[:1]
	if got := b.Eigenvalue(1); !math.IsNaN(got) {
		t.Errorf("one block has the error %v", got)
	}
}

// Examples with matrices h drawn at random, in blocks of unequal sizes: the mean square of the error is the variance of the mean over
// samples, for an eigenvalue's form and, whatever the number of vectors, for the trace.
func TestBlocksAreUnbiased(t *testing.T) {
	const (
		n, examples, block = 8, 100, 7 // the last block has 2
		draws              = 10000
	)
	rng := rand.New(rand.NewPCG(2, 3))
	// An example's matrix is diag(scale_i·z_i) for normal z: its trace has the variance Σ scale², of a form with e_0 it is scale_0².
	scale := [n]float64{1, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4}
	variance := 0.0
	for _, s := range scale {
		variance += s * s / examples
	}
	for _, vectors := range []int{4, 10} {
		var form, trace, biased float64
		for range draws {
			b := Blocks{Order: n}
			var v [][]float64 // without e_0
			for range vectors {
				x, square := make([]float64, n), 0.0
				for i := 1; i < n; i++ {
					x[i] = rng.NormFloat64()
					square += x[i] * x[i]
				}
				for i := range x {
					x[i] *= x[i] / square
				}
				v = append(v, x)
			}
			for lo := 0; lo < examples; lo += block {
				size := min(block, examples-lo)
				var h [n]float64
				for i := range h {
					h[i] = scale[i] * rng.NormFloat64() * math.Sqrt(float64(size)) / examples
				}
				rest := make([]float64, vectors)
				for p := range rest {
					for i, x := range h {
						rest[p] += x * v[p][i]
					}
				}
				b.Share = append(b.Share, float64(size)/examples)
				b.Known = append(b.Known, h[:1])
				b.Rest = append(b.Rest, rest)
			}
			e := b.Eigenvalue(0)
			form += e * e / draws
			s := b.Trace()
			trace += s * s / draws
			one := b
			one.Rest = nil
			for _, r := range b.Rest { // the mean over the vectors, twice: as if they were no chance
				mean := 0.0
				for _, x := range r {
					mean += x / float64(vectors)
				}
				one.Rest = append(one.Rest, []float64{mean, mean})
			}
			s = one.Trace()
			biased += s * s / draws
		}
		if want := scale[0] * scale[0] / examples; !(math.Abs(form-want) <= 0.02*want) {
			t.Errorf("an eigenvalue's variance is %v on average, want %v", form, want)
		}
		if !(math.Abs(trace-variance) <= 0.05*variance) {
			t.Errorf("%d vectors: the trace's variance is %v on average, want %v", vectors, trace, variance)
		}
		if !(biased > 1.05*trace) {
			t.Errorf("%d vectors: their own scatter is %v of %v: the test shows nothing", vectors, biased, trace)
		}
	}
}

// All eigenvectors known: nothing is left for any vector.
func TestBlocksAllKnown(t *testing.T) {
	b := Blocks{Order: 2, Share: []float64{0.5, 0.5}, Known: [][]float64{{1, 0}, {0, 4}}, Rest: [][]float64{{}, {}}}
	if got, want := b.Trace(), 3./2*math.Sqrt2*math.Sqrt2; !(math.Abs(got-want) <= 1e-12) { // d = ±1.5, 1/(1 − ½) = 2
		t.Errorf("got %v, want %v", got, want)
	}
}
