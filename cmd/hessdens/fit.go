package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

// fit cuts the probes into groups that fit into what memory is left, programs and all: where it is short, batches are computed one after
// the other, then primal parts are not kept, and then fewer probes go in lockstep, which changes no result. A run that needs more than memorySlack times what is left with a single probe
// at a time is refused, with what would fit.
func (s *subject) fit(a *app, op *hvp.Operator, e *estimatorOptions, left memory) ([]int, error) {
	n := op.Dim()
	k, limit := 1, float64(left.orUsual())
	if groups, err := e.groups(n, limit); err == nil {
		k = groups[0]
	}
	for keeps := true; ; {
		need, err := e.bytes(op, k)
		switch {
		case err != nil && !errors.As(err, new(*hvp.BatchError)):
			return nil, err
		case err == nil && float64(need) <= limit, err == nil && !keeps && k == 1 && (left.what == "" || need <= left.most()):
			return lanczos.Groups(e.probes, n, min(e.steps, n), spectrum.Storage(e.basis), max(int64(k)*e.basisBytes(n, 1), e.basisBytes(n, k)))
		case !s.alone:
			s.alone = true
			op.Alone(true)
		case keeps:
			keeps = false
			op.Keep(0)
		case k > 1:
			k = (k + 1) / 2
		default:
			return nil, s.tooLarge(a, op, e, need, left)
		}
	}
}

// basisBytes are those of the bases of k probes.
func (o *estimatorOptions) basisBytes(n, k int) int64 {
	return lanczos.BasisBytes(n, min(o.steps, n), k, spectrum.Storage(o.basis))
}

// bytes is what a run takes beside the data and what there is already, with k probes in lockstep; with a *hvp.BatchError it is what
// is known of it.
func (o *estimatorOptions) bytes(op *hvp.Operator, k int) (int64, error) {
	const vectors = 2 // the gradient, and what the density is made of
	n := op.Dim()
	need := float64(o.basisBytes(n, k)) + vectors*8*float64(n)
	programs, err := op.Bytes(k)
	var batch *hvp.BatchError
	if errors.As(err, &batch) {
		programs = batch.Need()
	}
	need += float64(programs)
	if k == 1 && op.Precision() == hvp.Float32 { // one product in float64 at the end, without the bases
		need = max(need, vectors*8*float64(n)+2*float64(programs))
	}
	return int64(min(need, math.MaxInt64/2)), err
}

// tooLarge is the error of a run that does not fit: with each change of one flag that would make it fit, told by doing it.
func (s *subject) tooLarge(a *app, op *hvp.Operator, e *estimatorOptions, need int64, left memory) error {
	var would []string
	fits := func(o *subjectOptions, e estimatorOptions) (int64, bool) {
		part := *s
		part.o = o
		other, err := part.operator(a, 0)
		if err != nil {
			return 0, false
		}
		defer other.Close()
		need, err := e.bytes(other, 1)
		return need, err == nil && need <= left.bytes
	}
	offer := func(flag string, need int64, ok bool) bool {
		if ok {
			would = append(would, fmt.Sprintf("%s, %s", flag, mebibytes(need)))
		}
		return ok
	}
	if e.basis != spectrum.Float32 {
		single := *e
		single.basis = spectrum.Float32
		need, ok := fits(s.o, single)
		offer("--basis float32", need, ok)
	}
	if s.o.precision != hvp.Float32 {
		single := *s.o
		single.precision = hvp.Float32
		need, ok := fits(&single, *e)
		offer("--precision float32", need, ok)
	}
	batches := func(flags string, e estimatorOptions) {
		for b := op.BatchSize() / 2; b > 0 && s.o.batchNorm != "batch"; b /= 2 { // there it is part of what is measured
			smaller := *s.o
			smaller.batchSize = fmt.Sprint(b)
			if need, ok := fits(&smaller, e); offer(fmt.Sprintf("%s--batch-size %d", flags, b), need, ok) {
				break
			}
		}
	}
	batches("", *e)
	n := op.Dim()
	each := e.basisBytes(n, 1) / int64(min(e.steps, n))
	if m := min(e.steps, n) - int((need-left.bytes+each-1)/each); m > 0 {
		fewer := *e
		fewer.steps = m
		need, ok := fits(s.o, fewer)
		offer(fmt.Sprintf("--steps %d", m), need, ok)
	}
	if len(would) == 0 && e.basis != spectrum.Float32 {
		single := *e
		single.basis = spectrum.Float32
		batches("--basis float32 ", single)
	}
	what := "neither --basis float32 nor a smaller --batch-size or fewer --steps would do: measure a part, --params, or give it more memory"
	if len(would) > 0 {
		what = "it would fit with " + strings.Join(would, ", or ") + "; or give it more memory"
	}
	return usagef("%s with %s: the run needs about %s of memory, and %s are there by %s (%s)", s.weightsName(), s.dataName(), mebibytes(need), mebibytes(left.bytes), left.what, what)
}

// dense is the error of a dense matrix that does not fit: with how many parameters would.
func (s *subject) dense(e *hvp.MemoryError, left memory) error {
	most := int(math.Sqrt(float64(left.orUsual()) / float64(hvp.DenseBytes(1))))
	return usagef("%s: %w, and %s are there by %s (use estimate, or --params to measure a part of at most %d)", s.weightsName(), e, mebibytes(left.bytes), left.what, most)
}

// mebibytes writes a size as people read it.
func mebibytes(bytes int64) string {
	if bytes < 10<<30 {
		return fmt.Sprintf("%.0f MiB", math.Ceil(float64(bytes)/(1<<20)))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
