package main

import (
	"context"
	"fmt"
	"time"

	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

// prediction is what a run of the estimator takes, told before it starts.
type prediction struct {
	Groups   []int   // of probes in lockstep
	Seconds  float64 // of the whole run, from when the data are open
	Basis    int64   // bytes of the Lanczos vectors of a group
	Programs int64   // bytes of compiled programs and of primal parts that are kept
	Memory   int64   // bytes of the process at most: both, and what it has now
}

// Times for which what a run repeats is tried out, in seconds: passes over the data of each kind, and Lanczos steps.
const (
	trySeconds = 0.3
	tryVectors = 64 << 20 // bytes of vectors for Lanczos steps: beyond what caches hold, a tenth of a second
)

// predict says what estimating takes on this machine, now: k probes of m steps over the data of op. It times a few batches and a few
// Lanczos steps, about two seconds in all, or as long as five passes over a single batch if they are longer, and what it
// leaves in op is not computed again. available is the memory that the bases may have a share of, as for the run. Errors are those that the run
// would end with: a *lanczos.MemoryError where no basis fits, a *hvp.BatchError where no program does, a *hvp.NonFiniteError.
func predict(ctx context.Context, op *hvp.Operator, e *estimatorOptions, threads int, available int64) (*prediction, error) {
	n := op.Dim()
	m := min(e.steps, n)
	have := processMemory("VmRSS")
	groups, err := e.groups(n, float64(available))
	if err != nil {
		return nil, err
	}
	k := groups[0] // the largest
	trial, err := op.Try(ctx, k, trySeconds)
	if err != nil {
		return nil, err
	}
	step, column, err := tryLanczos(ctx, n, m, k, threads, spectrum.Storage(e.basis))
	if err != nil {
		return nil, err
	}
	p := &prediction{Groups: groups, Basis: lanczos.BasisBytes(n, m, k, spectrum.Storage(e.basis)), Programs: trial.Bytes}
	p.Memory = have + p.Basis + p.Programs
	p.Seconds = trial.Gradient + trial.First - trial.Product
	for _, g := range groups {
		p.Seconds += float64(m) * trial.Product * float64(g) / float64(k)
		p.Seconds += float64(n) * float64(g) * (float64(m)*step + float64(m)*float64(m+1)/2*column)
	}
	return p, nil
}

// spell writes seconds with the two digits that a prediction is worth.
func spell(seconds float64) string {
	unit := "s"
	for _, u := range []struct {
		name string
		size float64
	}{{"min", 60}, {"h", 60}, {"days", 24}} {
		if seconds < 1.5*u.size {
			break
		}
		unit, seconds = u.name, seconds/u.size
	}
	if seconds < 9.95 {
		return fmt.Sprintf("%.1f %s", seconds, unit)
	}
	return fmt.Sprintf("%.0f %s", seconds, unit)
}

// tryLanczos times steps of the Lanczos process alone: the step after j columns takes step + j·column seconds for each coordinate and probe.
// It fits both to as many steps as tryVectors allows, with fewer probes or coordinates where n is large.
func tryLanczos(ctx context.Context, n, m, k, threads int, storage lanczos.Storage) (step, column float64, err error) {
	const few = 16
	all := tryVectors / 8
	k = min(max(all/(n*(few+1)), 1), k)
	n = min(n, all/(few+1))
	m = min(all/(n*k)-1, m)
	diagonal := make(lanczos.Diagonal, n)
	for i := range diagonal {
		diagonal[i] = float64(i + 1)
	}
	start := func(dst []float64, probe int) {
		for i := range dst {
			dst[i] = 1 + float64((i+probe)%few)
		}
	}
	// The line through the times t of the steps j = 1, 2, …, by least squares.
	var count, j, t, jj, jt float64
	var last time.Time
	progress := func(p lanczos.Progress) {
		now := time.Now()
		if !last.IsZero() { // the first is with the start
			x, y := float64(p.Step), now.Sub(last).Seconds()
			count, j, t, jj, jt = count+1, j+x, t+y, jj+x*x, jt+x*y
		}
		last = now
	}
	if _, err := lanczos.Run(ctx, diagonal, lanczos.Options{Steps: m, Probes: k, Threads: threads, Storage: storage, Start: start, Progress: progress}); err != nil {
		return 0, 0, err
	}
	if count == 0 {
		return 0, 0, nil
	}
	size := float64(n) * float64(k)
	if d := count*jj - j*j; d > 0 {
		column = max((count*jt-j*t)/d, 0) / size
	}
	return max(t/count/size-column*j/count, 0), column, nil
}
