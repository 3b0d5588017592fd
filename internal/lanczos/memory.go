package lanczos

import (
	"fmt"
	"math"
	"math/bits"
)

// BasisBytes returns the memory that k probes of m steps in lockstep take for their bases: m basis vectors
// and one product of n float64 each. Where that exceeds an int64 it returns the largest int64.
func BasisBytes(n, m, k int) int64 {
	if n <= 0 || m <= 0 || k <= 0 {
		return 0
	}
	total := uint64(8)
	for _, f := range []uint64{uint64(n), uint64(min(m, n)) + 1, uint64(k)} {
		hi, lo := bits.Mul64(total, f)
		if hi != 0 || lo > math.MaxInt64 {
			return math.MaxInt64
		}
		total = lo
	}
	return int64(total)
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
func Groups(k, n, m int, available int64) ([]int, error) {
	switch {
	case n <= 0:
		panic(badDim)
	case m <= 0:
		panic(badSteps)
	case k <= 0:
		panic(badProbes)
	}
	need := BasisBytes(n, m, 1)
	if need > available || need == math.MaxInt64 {
		fit := 0
		if available > 0 {
			fit = int(min(available/8/int64(n)-1, int64(min(m, n))))
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
