package hvp

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"hessdens/internal/tensor"
)

// Trial is what passes over the data set take, told from a few batches.
type Trial struct {
	Gradient float64 // seconds for the loss and its gradient
	First    float64 // seconds for a product with k vectors that finds no primal part kept
	Product  float64 // seconds for any other
	Bytes    int64   // of the programs for both, of a batch as it is read, and of the primal parts that are kept
}

// Try measures passes over the first batches for about so many seconds, two of them at least for each kind of pass, and
// scales to the whole data set. Where one batch with k vectors takes longer, it measures with fewer and scales that too,
// which is a little too much, since vectors share work. Programs and primal parts that products with k vectors need are kept.
func (o *Operator) Try(ctx context.Context, k int, seconds float64) (*Trial, error) {
	t, err := o.engine.try(ctx, k, seconds)
	return t, o.explain(ctx, err, nil)
}

func (e *engineOf[T]) try(ctx context.Context, k int, seconds float64) (*Trial, error) {
	o := e.o
	defer func() { e.most = 0 }()
	batches := o.Batches()
	// over times a pass over so many batches and scales to all.
	over := func(most int, pass func() error) (float64, error) {
		e.most = most
		start := time.Now()
		err := pass()
		return time.Since(start).Seconds() * float64(o.data.N) / float64(min(most*o.batch, o.data.N)), err
	}
	// measured is one batch that does not count, for what is compiled and touched first, and then as many as the time allows.
	measured := func(pass func() error) (float64, error) {
		var one float64
		for range 2 {
			var err error
			if one, err = over(1, pass); err != nil {
				return 0, err
			}
		}
		most := int(seconds * float64(batches) / one)
		if most <= 1 {
			return one, nil
		}
		if _, err := over(most, pass); err != nil { // makes primal parts
			return 0, err
		}
		return over(most, pass)
	}
	t := &Trial{}
	var err error
	grad := make([]float64, o.Dim())
	if t.Gradient, err = measured(func() error { _, err := e.gradient(ctx, grad); return err }); err != nil {
		return nil, err
	}
	var kept bool
	if t.Bytes, kept, err = e.bytes(k); err != nil {
		return nil, err
	}
	with := min(k, max(1, int(seconds*float64(batches)/t.Gradient)))
	src, dst := make([][]float64, with), make([][]float64, with)
	for j := range src {
		src[j], dst[j] = o.theta, grad // what comes out is of no interest
	}
	if t.Product, err = measured(func() error { return e.apply(ctx, dst, src) }); err != nil {
		return nil, err
	}
	t.Product *= float64(k) / float64(with)
	t.First = t.Product
	if kept {
		t.First += t.Gradient // the primal part is the loss and its gradient
	}
	return t, nil
}

// Bytes is the memory that programs for gradients and for products with k vectors take, with a batch as it is read and the primal parts
// that are kept. It compiles them, and drops those for products with another number of vectors. It fails with a *BatchError.
func (o *Operator) Bytes(k int) (int64, error) {
	bytes, _, err := o.engine.bytes(k)
	return bytes, err
}

// Alone sets Options.Alone from now on, which gives up all programs.
func (o *Operator) Alone(yes bool) {
	if yes != o.opt.Alone {
		o.opt.Alone = yes
		o.Release()
	}
}

// Keep sets the memory in which primal parts may be kept from now on.
func (o *Operator) Keep(bytes int64) { o.opt.KeepBytes = bytes }

// Limit sets Options.MaxBytes from now on.
func (o *Operator) Limit(bytes int64) { o.opt.MaxBytes = bytes }

// smallHeap is how much memory may be left to the garbage collector: to give it to the system at once takes a while.
const smallHeap = 256 << 20

// Release gives up all programs, with what they keep, and their memory to the system where the process has much: programs that are made
// next may need as much. What is asked for later is compiled again.
func (o *Operator) Release() {
	o.engine.release()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	if metrics.Read(heap); heap[0].Value.Kind() != metrics.KindUint64 || heap[0].Value.Uint64() > smallHeap {
		debug.FreeOSMemory()
	}
}

func (e *engineOf[T]) release() {
	clear(e.programs)
	clear(e.theta)
	e.keptOf, e.used = 0, nil
}

// bytes is Bytes, and says whether primal parts are kept: the programs' own are then not touched.
func (e *engineOf[T]) bytes(k int) (bytes int64, kept bool, err error) {
	o := e.o
	e.only(k)
	batches := o.Batches()
	last := float64(o.data.N-(batches-1)*o.batch) / float64(o.batch) // of a batch, which has its own programs if it is smaller
	for _, key := range []programKey{{o.batch, 1, purposeGradient}, {o.batch, k, purposeProduct}} {
		p, err := e.program(key)
		if err != nil {
			return 0, false, err
		}
		if err := e.accompany(p, e.sides(key)); err != nil {
			return 0, false, err
		}
		bytes += e.programBytes(p)
		own, primal := float64(p.Bytes()), float64(p.PrimalBytes())
		if kept = key.purpose == purposeProduct && e.keeps(p); kept {
			own -= primal
			bytes += int64(primal * (float64(batches-1) + last))
		}
		if last < 1 {
			fixed := float64(p.FixedBytes())
			bytes += int64(fixed + (own-fixed)*last)
		}
	}
	for _, c := range []Column{o.data.X, o.data.Y} {
		bytes += 8 * int64(o.batch) * int64(tensor.Count(c.Shape()))
	}
	return bytes, kept, nil
}

// programBytes is the memory of a program and those beside it, without their own primal parts where all are kept.
func (e *engineOf[T]) programBytes(p *program[T]) int64 {
	bytes := int64(p.Bytes())
	sides := int64(max(len(p.sides), 1))
	bytes += (sides - 1) * int64(p.BesideBytes())
	if p.dirs != nil && e.keeps(p) {
		bytes -= sides * int64(p.PrimalBytes())
	}
	return bytes
}

// keeps says whether the primal parts of all batches fit.
func (e *engineOf[T]) keeps(p *program[T]) bool {
	return int64(p.PrimalBytes())*int64(e.o.Batches()) <= e.o.opt.KeepBytes
}
