// Package exec compiles a graph for fixed shapes to a program over float32 or float64 and runs
// it on a pool of threads.
//
// A value belongs to one of four stages by what it depends on: constants (with the parameters),
// directions, the batch (the primal part), or the batch and the directions (the tangent part).
// Each stage runs when what it depends on has changed, so that k directions share a batch's
// primal work and the primal part of a batch may be kept from product to product.
//
// What depends on directions has an axis of k directions before its last axis. Transposes,
// slices, broadcasts and most reshapes move nothing: they are ways to look at a buffer.
// Pointwise operations on one shape are fused into chains. Buffers are planned when compiling;
// running allocates nothing.
//
// Work is cut into parts by shapes alone, and no sum's order depends on k: the same bits for any
// number of threads, and for a direction whatever its companions.
package exec

import (
	"fmt"
	"slices"
	"time"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// Float is what a program computes in: float32 or float64.
type Float = kernel.Float

// ref is where a buffer lies: an arena, an offset and a length in elements.
type ref struct {
	arena  stage // scratch stands at stageTangent
	off, n int
}

// extent is how many elements and integers there are.
type extent struct{ floats, ints int }

// buffer is a root's memory while it is planned.
type buffer struct {
	size        int
	first, last int // steps of the stage, for scratch
	ref         ref
}

// worker is what a thread needs for itself.
type worker[T kernel.Float] struct {
	ws    kernel.Workspace[T]
	slots [][]T // operands of a chain's block
	block []T   // temporaries of a chain's block
	sums  []float64
}

// Program is a compiled graph with its memory. One goroutine at a time may use it.
type Program[T kernel.Float] struct {
	k       int
	pool    *Pool
	stages  [numStages][]task
	names   [numStages][]string
	spent   map[string]time.Duration // by operation, where it is measured
	arena   [numStages][]T
	ints    [numStages][]int32
	sizes   [numStages]extent // of both, while the program is made
	workers []*worker[T]
	leaves  map[*graph.Node]*value
	outs    []*value
	extra   int // elements of tasks' own buffers

	lists      bool           // of what is not zero in inputs
	sparsities []*sparsity[T] // of inputs that matrix products read
}

// Options say how to compile.
type Options struct {
	Directions int // k: how many directions are followed at once; 0 stands for 1
	Pool       *Pool
	MaxBytes   int64 // that the program's buffers may take; 0: any
	Sparse     bool  // real inputs may be mostly zero: there is room for lists of what is not
}

// MemoryError says that a program's buffers would be too large.
type MemoryError struct{ Need, Limit int64 }

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the program needs %.1f GiB of buffers, %.1f GiB are there", float64(e.Need)/(1<<30), float64(e.Limit)/(1<<30))
}

// Compile makes a program that computes outs. Every leaf under outs must be set before the
// stage that reads it runs: constants are set already.
func Compile[T kernel.Float](outs []*graph.Node, opt Options) (*Program[T], error) {
	c := &compiler{k: max(opt.Directions, 1), of: map[*graph.Node]*value{}, copies: map[*value]*value{}}
	p := &Program[T]{k: c.k, pool: opt.Pool, lists: opt.Sparse, leaves: map[*graph.Node]*value{}}
	err := graph.Catch(func() error {
		for id, live := range graph.Ancestors(outs...) {
			if !live {
				continue
			}
			n := outs[0].Graph().Nodes()[id]
			if n.Size() == 0 {
				return fmt.Errorf("exec: %v is empty", n)
			}
			v := c.lower(n)
			c.of[n] = v
			if v.leaf != nil {
				p.leaves[n] = v
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, o := range outs {
		v := c.packed(c.of[o])
		v.root.output = true
		p.outs = append(p.outs, v)
	}
	groups := schedule(fuse(c.values))
	p.plan(c.values, groups)
	var slots, block int
	for _, h := range groups {
		t, name := p.lower(h)
		s := h.members[0].stage
		p.stages[s] = append(p.stages[s], t...)
		for range t {
			p.names[s] = append(p.names[s], name)
		}
		for _, t := range t {
			if ch, ok := t.(*chain[T]); ok {
				slots, block = max(slots, ch.slots), max(block, ch.scratch*ch.block)
			}
		}
	}
	for _, s := range p.sparsities {
		p.stages[stagePrimal] = slices.Insert(p.stages[stagePrimal], 0, task(s))
		p.names[stagePrimal] = slices.Insert(p.names[stagePrimal], 0, "sparsity")
	}
	if err := p.allocate(opt.MaxBytes); err != nil {
		return nil, err
	}
	for range opt.Pool.Threads() {
		p.workers = append(p.workers, &worker[T]{slots: make([][]T, slots), block: make([]T, block)})
	}
	for _, v := range c.values {
		if v.op == graph.OpConst && v.leaf != nil {
			values := v.attr.(*graph.Values)
			if v.integer {
				for i, x := range values.I {
					p.intsOf(v)[i] = int32(x)
				}
			} else {
				convert(p.at(v.buffer.ref), values.F)
			}
		}
	}
	return p, nil
}

// plan gives every root that is kept in memory its place. What a later stage reads or the caller
// sees stays in its stage's arena; the rest shares scratch, by the steps between which it lives.
func (p *Program[T]) plan(values []*value, groups []*group) {
	var steps [numStages]int
	written := map[*value]int{}
	read := map[*value]int{}
	kept := map[*value]bool{}
	var perStage [numStages][]*group
	for _, h := range groups {
		s := h.members[0].stage
		at := steps[s]
		steps[s]++
		perStage[s] = append(perStage[s], h)
		for _, m := range h.outputs {
			written[m] = at
			if m.output {
				kept[m] = true
			}
		}
		for _, x := range h.inputs {
			if x.root.stage != s {
				kept[x.root] = true
			}
			read[x.root] = max(read[x.root], at)
		}
	}
	place := func(v *value) {
		n, size := v.size(), &p.sizes[v.stage]
		if v.integer {
			v.buffer = &buffer{size: n, ref: ref{v.stage, size.ints, n}}
			size.ints += n
			return
		}
		v.buffer = &buffer{size: n, ref: ref{v.stage, size.floats, n}}
		size.floats += align(n)
	}
	scratch := 0
	for _, v := range values {
		if v.leaf != nil {
			place(v)
		}
	}
	for s := range numStages {
		var free freeList
		var live []*buffer
		for at, h := range perStage[s] {
			for _, m := range h.outputs {
				switch {
				case m.integer || kept[m] && s != stageTangent:
					place(m)
					continue
				}
				b := &buffer{size: m.size(), first: at, last: max(at, read[m])}
				if m.output {
					b.last = steps[s]
				}
				b.ref = ref{stageTangent, free.take(align(b.size)), b.size}
				m.buffer = b
				live = append(live, b)
			}
			live = slices.DeleteFunc(live, func(b *buffer) bool {
				if b.last <= at {
					free.give(b.ref.off, align(b.size))
					return true
				}
				return false
			})
		}
		scratch = max(scratch, free.top)
	}
	p.sizes[stageTangent].floats = scratch
}

// allocate makes the arenas, unless they and the tasks' own buffers are more than limit bytes.
func (p *Program[T]) allocate(limit int64) error {
	need := int64(p.extra) * int64(sizeof[T]())
	for _, size := range p.sizes {
		need += int64(size.floats)*int64(sizeof[T]()) + 4*int64(size.ints)
	}
	if limit > 0 && need > limit {
		return &MemoryError{need, limit}
	}
	for s, size := range p.sizes {
		p.arena[s], p.ints[s] = make([]T, size.floats), make([]int32, size.ints)
	}
	return nil
}

func align(n int) int { return (n + 15) &^ 15 }

// freeList hands out pieces of an arena that grows.
type freeList struct {
	top    int
	pieces [][2]int // offset, length; by offset
}

func (f *freeList) take(n int) int {
	best := -1
	for i, p := range f.pieces {
		if p[1] >= n && (best < 0 || p[1] < f.pieces[best][1]) {
			best = i
		}
	}
	if best < 0 {
		if l := len(f.pieces); l > 0 && f.pieces[l-1][0]+f.pieces[l-1][1] == f.top {
			off := f.pieces[l-1][0]
			f.pieces = f.pieces[:l-1]
			f.top = off + n
			return off
		}
		off := f.top
		f.top += n
		return off
	}
	off := f.pieces[best][0]
	f.pieces[best][0] += n
	f.pieces[best][1] -= n
	if f.pieces[best][1] == 0 {
		f.pieces = slices.Delete(f.pieces, best, best+1)
	}
	return off
}

func (f *freeList) give(off, n int) {
	i, _ := slices.BinarySearchFunc(f.pieces, off, func(p [2]int, o int) int { return p[0] - o })
	f.pieces = slices.Insert(f.pieces, i, [2]int{off, n})
	if i+1 < len(f.pieces) && off+n == f.pieces[i+1][0] {
		f.pieces[i][1] += f.pieces[i+1][1]
		f.pieces = slices.Delete(f.pieces, i+1, i+2)
	}
	if i > 0 && f.pieces[i-1][0]+f.pieces[i-1][1] == off {
		f.pieces[i-1][1] += f.pieces[i][1]
		f.pieces = slices.Delete(f.pieces, i, i+1)
	}
}

func (p *Program[T]) at(r ref) []T { return p.arena[r.arena][r.off : r.off+r.n] }

func (p *Program[T]) intsOf(v *value) []int32 {
	r := v.root.buffer.ref
	return p.ints[r.arena][r.off : r.off+r.n]
}

func convert[T kernel.Float](dst []T, src []float64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}

// Has says whether the program reads a leaf.
func (p *Program[T]) Has(leaf *graph.Node) bool { return p.leaves[leaf] != nil }

// SetFloats gives a parameter or a real input its values, row-major. The stages that depend on
// it must run again.
func (p *Program[T]) SetFloats(leaf *graph.Node, values []float64) {
	if v := p.leaves[leaf]; v != nil {
		convert(p.at(v.buffer.ref), values)
	}
}

// SetInts gives an integer input its values, which must fit 32 bits.
func (p *Program[T]) SetInts(leaf *graph.Node, values []int64) {
	if v := p.leaves[leaf]; v != nil {
		dst := p.intsOf(v)
		for i, x := range values {
			dst[i] = int32(x)
		}
	}
}

// SetDirection gives the j-th direction along a leaf its values, row-major.
func (p *Program[T]) SetDirection(direction *graph.Node, j int, values []float64) {
	v := p.leaves[direction]
	if v == nil {
		return
	}
	dst := p.at(v.buffer.ref)
	last := lastAxis(v.shape)
	for i := 0; i < len(values); i += last {
		convert(dst[(i*p.k+j*last):], values[i:i+last])
	}
}

// Prepare computes what depends on parameters and constants only.
func (p *Program[T]) Prepare() { p.run(stageConst) }

// RunDirections computes what depends on the directions but not on the batch.
func (p *Program[T]) RunDirections() { p.run(stageDirection) }

// RunPrimal computes what depends on the batch but not on the directions.
func (p *Program[T]) RunPrimal() { p.run(stagePrimal) }

// RunTangent computes what depends on both.
func (p *Program[T]) RunTangent() { p.run(stageTangent) }

func (p *Program[T]) run(s stage) {
	if p.spent != nil {
		p.runMeasured(s)
		return
	}
	for _, t := range p.stages[s] {
		p.pool.do(t)
	}
}

func (p *Program[T]) runMeasured(s stage) {
	last := time.Now()
	for i, t := range p.stages[s] {
		p.pool.do(t)
		now := time.Now()
		p.spent[p.names[s][i]] += now.Sub(last)
		last = now
	}
}

// Measure makes runs from now on add the time that each kind of operation takes to spent; nil ends that. Two readings of the
// clock a task are all that it costs.
func (p *Program[T]) Measure(spent map[string]time.Duration) { p.spent = spent }

// multiplier is a task that multiplies and adds, a number of times that shapes alone tell.
type multiplier interface{ work() int }

// TangentWork is how many multiply-adds the products of the tangent part take, for all directions: matrix products, convolutions
// and weight gradients; no pointwise operation, no sum.
func (p *Program[T]) TangentWork() int {
	n := 0
	for _, t := range p.stages[stageTangent] {
		if m, ok := t.(multiplier); ok {
			n += m.work()
		}
	}
	return n
}

// Primal is what RunPrimal leaves for RunTangent: kept by a caller, it saves computing the batch
// again.
type Primal[T kernel.Float] struct {
	floats []T
	ints   []int32
}

// PrimalBytes is the memory that a Primal takes.
func (p *Program[T]) PrimalBytes() int {
	return len(p.arena[stagePrimal])*sizeof[T]() + 4*len(p.ints[stagePrimal])
}

// NewPrimal makes memory for another batch.
func (p *Program[T]) NewPrimal() *Primal[T] {
	return &Primal[T]{make([]T, len(p.arena[stagePrimal])), make([]int32, len(p.ints[stagePrimal]))}
}

// UsePrimal makes the program read and write m from now on.
func (p *Program[T]) UsePrimal(m *Primal[T]) {
	p.arena[stagePrimal], p.ints[stagePrimal] = m.floats, m.ints
}

func sizeof[T kernel.Float]() int {
	var x T
	if _, ok := any(x).(float32); ok {
		return 4
	}
	return 8
}

// Bytes is the memory of the program: buffers of all stages and of tasks.
func (p *Program[T]) Bytes() int {
	n := p.extra * sizeof[T]()
	for s := range numStages {
		n += len(p.arena[s])*sizeof[T]() + 4*len(p.ints[s])
	}
	return n
}

// Output is the i-th output, row-major, with the k directions before the last axis where it
// depends on directions. It is overwritten when a stage runs again.
func (p *Program[T]) Output(i int) []T { return p.at(p.outs[i].root.buffer.ref) }

// IntOutput is the i-th output where that is a tensor of integers.
func (p *Program[T]) IntOutput(i int) []int32 { return p.intsOf(p.outs[i]) }

// AddOutput adds direction j of the i-th output to dst in float64. An output that depends on no
// direction is added whatever j.
func (p *Program[T]) AddOutput(dst []float64, i, j int) {
	v, src := p.outs[i], p.Output(i)
	if !v.linear {
		for e, x := range src {
			dst[e] += float64(x)
		}
		return
	}
	last := lastAxis(v.shape)
	for e := 0; e < len(dst); e += last {
		for q, x := range src[e*p.k+j*last : e*p.k+(j+1)*last] {
			dst[e+q] += float64(x)
		}
	}
}

func lastAxis(shape []int) int {
	if len(shape) == 0 {
		return 1
	}
	return shape[len(shape)-1]
}

// lower makes the tasks of a group.
func (p *Program[T]) lower(h *group) ([]task, string) {
	v := h.members[0]
	if v.op.Pointwise() {
		return []task{newChain(p, h)}, "pointwise"
	}
	var t []task
	switch v.op {
	case graph.OpMatMul:
		t = newMatMul(p, v)
	case graph.OpConv:
		t = []task{newConv(p, v)}
	case graph.OpConvW:
		t = []task{newConvW(p, v)}
	case graph.OpSum:
		t = newSum(p, v)
	case graph.OpRows:
		t = []task{newRows(p, v)}
	case graph.OpArgMax:
		t = []task{newArgMax(p, v)}
	case graph.OpTake, graph.OpPut:
		t = []task{newTake(p, v)}
	case graph.OpGather, graph.OpScatter:
		t = []task{newGather(p, v)}
	case graph.OpOneHot:
		t = []task{newOneHot(p, v)}
	case graph.OpReal:
		t = []task{&realOf[T]{p: p, y: v.buffer.ref, ids: v.in[0]}}
	case graph.OpPad, graph.OpConcat:
		t = newPlace(p, v)
	default:
		panic("exec: no evaluation of " + v.op.String())
	}
	return t, v.op.String()
}
