package dataset

import (
	"slices"
	"testing"

	"hessdens/internal/npy/npytest"
)

// numbered is a set of n examples whose input and label are their numbers.
func numbered(t *testing.T, n int, opts Options) *Set {
	t.Helper()
	x, y := make([]float32, n), make([]int64, n)
	for i := range x {
		x[i], y[i] = float32(i), int64(i)
	}
	files := map[string][]byte{"x.npy": npytest.File("<f4", false, []int{n, 1}, x), "y.npy": npytest.File("<i8", false, []int{n}, y)}
	return mustOpen(t, from(disk(files), "x.npy", "y.npy"), opts)
}

// numbersOf are the examples of a set, from both of its sides.
func numbersOf(t *testing.T, s *Set, x, y Column) []int64 {
	t.Helper()
	labels := make([]int64, s.N)
	if err := y.Ints(labels, 0, s.N); err != nil {
		t.Fatal(err)
	}
	for i, v := range floats(t, s, x) {
		if v != float64(labels[i]) {
			t.Fatalf("example %d: input %v with label %d", i, v, labels[i])
		}
	}
	return labels
}

// Parts are disjoint, of one size, and the first is what is read without parts.
func TestParts(t *testing.T) {
	for _, c := range []struct {
		opts                Options
		drawn, parts, below int
	}{
		{Options{Examples: 7}, 0, 4, 30},
		{Options{Sample: 7, SampleSeed: 3}, 30, 4, 30},
		{Options{Examples: 20, Sample: 7}, 20, 2, 20},
		{Options{Examples: 20, Sample: 20}, 0, 1, 20},
	} {
		seen := map[int64]bool{}
		for part := range c.parts {
			opts := c.opts
			opts.Part = part
			s := numbered(t, 30, opts)
			if s.Drawn != c.drawn || s.Parts() != c.parts || s.Total != 30 {
				t.Errorf("%+v: drawn from %d, %d parts of %d", opts, s.Drawn, s.Parts(), s.Total)
			}
			got := numbersOf(t, s, s.X, s.Y)
			if !slices.IsSorted(got) {
				t.Errorf("%+v: %v is not in the order of the files", opts, got)
			}
			for _, v := range got {
				if seen[v] || v >= int64(c.below) {
					t.Errorf("%+v: example %d is of another part, or beyond", opts, v)
				}
				seen[v] = true
			}
		}
		if len(seen) != c.parts*numbered(t, 30, c.opts).N {
			t.Errorf("%+v: %d examples", c.opts, len(seen))
		}
	}
	first, part := numbered(t, 30, Options{Sample: 7, SampleSeed: 3}), numbered(t, 30, Options{Sample: 7, SampleSeed: 3, Part: 0})
	if got, want := numbersOf(t, part, part.X, part.Y), numbersOf(t, first, first.X, first.Y); !slices.Equal(got, want) || !slices.Equal(sample30(), want) {
		t.Errorf("the first part is %v, want %v", got, want)
	}
	defer func() {
		if recover() != badPart {
			t.Error("a part beyond the last: no panic")
		}
	}()
	numbered(t, 30, Options{Sample: 7, Part: 4})
}

func sample30() []int64 {
	var out []int64
	for _, v := range sample(30, 7, 3) {
		out = append(out, int64(v))
	}
	return out
}

// A shuffled set has the examples of the set, inputs with their labels, in an order that depends on the seed alone.
func TestShuffled(t *testing.T) {
	for _, opts := range []Options{{}, {Sample: 12}} {
		s := numbered(t, 40, opts)
		want := numbersOf(t, s, s.X, s.Y)
		x, y := s.Shuffled(1)
		got := numbersOf(t, s, x, y)
		if slices.IsSorted(got) {
			t.Errorf("%+v: the order is %v", opts, got)
		}
		x, y = s.Shuffled(1)
		if again := numbersOf(t, s, x, y); !slices.Equal(again, got) {
			t.Errorf("%+v: the order is %v, and then %v", opts, got, again)
		}
		x, y = s.Shuffled(2)
		if other := numbersOf(t, s, x, y); slices.Equal(other, got) {
			t.Errorf("%+v: another seed has the order %v too", opts, other)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%+v: the examples are %v, want %v", opts, got, want)
		}
	}
}
