package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"hessdens/internal/tensor"
)

// SHA256 is the hash, in hexadecimal, of the examples in use: the inputs of all of them in order,
// as Floats gives them (little-endian float64) or Ints (little-endian int64), then the targets
// of all of them in the same way. Neither format nor shapes enter. It reads all data, and fails when a
// file does.
func (s *Set) SHA256() (string, error) {
	h := sha256.New()
	var bytes []byte
	var ints []int64
	var floats []float64
	for _, c := range []Column{s.X, s.Y} {
		row := tensor.Count(c.Shape())
		err := chunks(s.N, row, s.threads, func(lo, hi int) error {
			n := (hi - lo) * row
			bytes = bytes[:0]
			if c.Integer() {
				ints = slices.Grow(ints[:0], n)[:n]
				if err := c.Ints(ints, lo, hi); err != nil {
					return err
				}
				for _, v := range ints {
					bytes = binary.LittleEndian.AppendUint64(bytes, uint64(v))
				}
			} else {
				floats = slices.Grow(floats[:0], n)[:n]
				if err := c.Floats(floats, lo, hi); err != nil {
					return err
				}
				for _, v := range floats {
					bytes = binary.LittleEndian.AppendUint64(bytes, math.Float64bits(v))
				}
			}
			h.Write(bytes)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ClassCount is how often a class occurs.
type ClassCount struct {
	Class int64
	Count int
}

// ClassCounts says how often each class (token) occurs among the targets in use, in ascending order,
// without those that do not occur; nil when targets are numbers.
func (s *Set) ClassCounts() ([]ClassCount, error) {
	if !s.Y.Integer() {
		return nil, nil
	}
	counts := map[int64]int{}
	row := tensor.Count(s.Y.Shape())
	err := chunks(s.N, row, s.threads, func(lo, hi int) error {
		buf := make([]int64, (hi-lo)*row)
		if err := s.Y.Ints(buf, lo, hi); err != nil {
			return err
		}
		for _, v := range buf {
			if v >= 0 { // no label that the loss leaves out
				counts[v]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]ClassCount, 0, len(counts))
	for _, class := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, ClassCount{class, counts[class]})
	}
	return out, nil
}

// fewClasses is a note where labels that are in use leave out classes that the files name.
func (s *Set) fewClasses(labels []int64) string {
	used := map[int64]bool{}
	for _, y := range labels {
		used[y] = true
	}
	if len(used) >= len(s.Names) || s.N == s.Total {
		return ""
	}
	return fmt.Sprintf("the %d examples in use are of %d of the %d classes (--sample N takes examples of all classes at random)", s.N, len(used), len(s.Names))
}

// statExamples is how many examples InputStats looks at, the first ones: enough to see a scale
// that is off by 255, and quick for any data set.
const statExamples = 1000

// Stats are statistics of values. NaN and infinities are counted, and left out of the rest; without
// any other value Min, Max and Mean are NaN.
type Stats struct {
	Examples       int // looked at
	Values         int
	NonFinite      int
	Min, Max, Mean float64
}

// InputStats looks at the inputs of the first 1000 examples (all, where there are fewer), as
// scaled and normalised; tokens as numbers.
func (s *Set) InputStats() (Stats, error) {
	st := Stats{Examples: min(s.N, statExamples), Min: math.Inf(1), Max: math.Inf(-1)}
	row := tensor.Count(s.X.Shape())
	sum, n := 0.0, 0
	err := chunks(st.Examples, row, s.threads, func(lo, hi int) error {
		buf := make([]float64, (hi-lo)*row)
		if s.X.Integer() {
			ints := make([]int64, len(buf))
			if err := s.X.Ints(ints, lo, hi); err != nil {
				return err
			}
			for i, v := range ints {
				buf[i] = float64(v)
			}
		} else if err := s.X.Floats(buf, lo, hi); err != nil {
			return err
		}
		for _, v := range buf {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				st.NonFinite++
				continue
			}
			st.Min, st.Max = min(st.Min, v), max(st.Max, v)
			sum += v
			n++
		}
		st.Values += len(buf)
		return nil
	})
	st.Mean = sum / float64(n)
	if n == 0 {
		st.Min, st.Max = math.NaN(), math.NaN()
	}
	return st, err
}
