package lanczos

import (
	"fmt"
	"math"
	"math/bits"
)

// Storage is the type in which a basis is kept.
type Storage int

// The types: float64, and float32 in half the memory.
const (
	Double Storage = iota
	Single
)

// size returns the bytes of an element.
func (s Storage) size() int64 {
	if s == Single {
		return 4
	}
	return 8
}

// ProductError returns the error of a product relative to ‖H‖, given that of the operator: the rounding of a column is one
// too, of the size of ProductError32.
func (s Storage) ProductError(operator float64) float64 {
	if s == Single {
		return max(operator, ProductError32)
	}
	return operator
}

// workBytes are those of a coordinate of the vector that is multiplied and of its product.
const workBytes = 2 * 8

// BasisBytes returns the memory that k probes of m steps in lockstep take for their bases: m basis vectors of n
// elements, and two float64 vectors to work with. Where that exceeds an int64 it returns the largest int64.
func BasisBytes(n, m, k int, storage Storage) int64 {
	if n <= 0 || m <= 0 || k <= 0 {
		return 0
	}
	if m = min(m, n); m > math.MaxInt32 { // times n, that is more than any int64
		return math.MaxInt64
	}
	total := uint64(m)*uint64(storage.size()) + workBytes
	for _, f := range []uint64{uint64(n), uint64(k)} {
		hi, lo := bits.Mul64(total, f)
		if hi != 0 || lo > math.MaxInt64 {
			return math.MaxInt64
		}
		total = lo
	}
	return int64(total)
}

// ProcessBytes is BasisBytes for a Process, which keeps the vector after the last step too.
func ProcessBytes(n, m, k int, storage Storage) int64 {
	return BasisBytes(n, m+1, k, storage)
}

// MemoryError says that the basis of a single probe does not fit.
type MemoryError struct {
	Need, Available int64 // bytes
	Steps           int   // as asked
	FitSteps        int   // the most steps that would fit; 0 when not even one does
}

func (e *MemoryError) Error() string {
	hint := "no number of steps fits"
	if e.FitSteps > 0 {
		hint = fmt.Sprintf("--steps %d would fit", e.FitSteps)
	}
	return fmt.Sprintf("%d Lanczos steps need %s for one probe, %s is available (%s)", e.Steps, size(e.Need), size(e.Available), hint)
}

func size(bytes int64) string {
	switch b := float64(bytes); {
	case b < 1<<20:
		return fmt.Sprintf("%.1f KiB", b/(1<<10))
	case b < 1<<30:
		return fmt.Sprintf("%.1f MiB", b/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", b/(1<<30))
	}
}

// Groups cuts k probes of m steps on an operator of order n into lockstep groups whose bases fit into
// available bytes: as few groups as possible, and these as even as possible, the larger first. It fails with a
// *MemoryError when one probe does not fit.
func Groups(k, n, m int, storage Storage, available int64) ([]int, error) {
	switch {
	case n <= 0:
		panic(badDim)
	case m <= 0:
		panic(badSteps)
	case k <= 0:
		panic(badProbes)
	}
	need := BasisBytes(n, m, 1, storage)
	if need > available || need == math.MaxInt64 {
		fit := 0
		if available > 0 {
			fit = int(min((available/int64(n)-workBytes)/storage.size(), int64(min(m, n))))
		}
		return nil, &MemoryError{Need: need, Available: available, Steps: m, FitSteps: max(fit, 0)}
	}
	most := int(min(available/need, int64(k)))
	count := (k + most - 1) / most
	groups := make([]int, count)
	for i := range groups {
		groups[i] = k / count
		if i < k%count {
			groups[i]++
		}
	}
	return groups, nil
}
