package dataset

import (
	"math"
	"slices"
	"testing"
)

// The published outputs for seed 1234567.
func TestSplitMix64(t *testing.T) {
	g := splitMix64(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := g.next(); got != want {
			t.Errorf("output %d: got %d, want %d", i, got, want)
		}
	}
}

// A bound just above 2^63, where nearly every second output is drawn again.
func TestBelowRejects(t *testing.T) {
	g := splitMix64(5)
	for i, want := range []uint64{6938807493011938172, 2146363211429306531, 916244348587400354, 1733626130553941730, 4154899361148330835, 4175487192854586758} {
		if got := g.below(1<<63 + 1); got != want {
			t.Errorf("draw %d: got %d, want %d", i, got, want)
		}
	}
	if g == splitMix64(5).after(6) {
		t.Error("nothing was drawn again")
	}
}

// after is the generator n outputs later.
func (g splitMix64) after(n int) splitMix64 {
	for range n {
		g.next()
	}
	return g
}

// Frozen: computed by a plain shuffle in another language. A change here changes what people
// measured.
func TestSampleGolden(t *testing.T) {
	for _, tt := range []struct {
		n, k int
		seed uint64
		want []int
	}{
		{20, 8, 0, []int{0, 1, 2, 5, 8, 9, 17, 19}},
		{20, 8, 1, []int{0, 10, 11, 13, 15, 16, 18, 19}},
		{60000, 6, 42, []int{2285, 9595, 16717, 20653, 44493, 52094}},
		{5, 5, 3, []int{0, 1, 2, 3, 4}},
		{1000000, 4, math.MaxUint64, []int{219483, 426236, 893942, 912597}},
	} {
		if got := sample(tt.n, tt.k, tt.seed); !slices.Equal(got, tt.want) {
			t.Errorf("%d of %d, seed %d: got %v, want %v", tt.k, tt.n, tt.seed, got, tt.want)
		}
	}
}

// All subsets are equally likely: each of the 10 of two out of five within 5 standard deviations.
func TestSampleUniform(t *testing.T) {
	const draws = 20000
	seen := map[[2]int]int{}
	for seed := range uint64(draws) {
		s := sample(5, 2, seed)
		if s[0] >= s[1] || s[0] < 0 || s[1] > 4 {
			t.Fatalf("seed %d: %v", seed, s)
		}
		seen[[2]int(s)]++
	}
	tol := 5 * math.Sqrt(draws*0.1*0.9)
	for s, n := range seen {
		if diff := math.Abs(float64(n) - draws*0.1); !(diff <= tol) {
			t.Errorf("%v: %d times out of %d", s, n, draws)
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d subsets, want 10", len(seen))
	}
}
