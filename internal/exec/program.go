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

// Dot is kernel.Dot.
func Dot(a, b []float64) float64 { return kernel.Dot(a, b) }

// ref is where a buffer lies: an arena, an offset and a length in elements.
type ref struct {
	arena  stage // scratch stands at stageTangent
	off, n int
}

// extent is how many elements and integers there are.
type extent struct{ floats, ints int }

// buffer is a root's memory while it is planned.
type buffer struct {
	size int
	last int // step of the stage that uses it, for scratch
	ref  ref
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
	stages  [numStages]*plan
	names   [numStages][]string      // of the tasks' operations
	totals  []*outputTotal[T]        // of outputs along directions
	adding  together                 // of these
	held    []*Program[T]            // that have what is not in the totals yet
	spent   map[string]time.Duration // by operation, where it is measured
	arena   [numStages][]T
	ints    [numStages][]int32
	sizes   [numStages]extent // of both, while the program is made
	workers []*worker[T]
	leaves  map[*graph.Node]*value
	outs    []*rowMajor
	dirs    map[*graph.Node]*rowMajor // leaves
	extra   int                       // elements of tasks' own buffers
	fixed   int                       // and of those that do not grow with the batch
	own     int                       // and of a worker's for transformed tiles

	of    *Program[T]   // beside which this one stands; or nil
	nodes []*graph.Node // of the outputs
	opt   Options

	sparsities []*sparsity[T]    // of inputs that matrix products read
	arranged   []*arrange[T]     // right operands in panels
	transforms []*transformed[T] // weights of convolutions
}

// Options say how to compile.
type Options struct {
	Directions int // k: how many directions are followed at once; 0 stands for 1
	Pool       *Pool
	MaxBytes   int64 // that the program's buffers may take; 0: any
	Sparse     bool  // real inputs may be mostly zero: there is room for lists of what is not
	Beside     bool  // others will stand beside it, each on a thread of its own
}

// MemoryError says that a program's buffers would be too large.
type MemoryError struct{ Need, Limit int64 }

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the program needs %.1f GiB of buffers, %.1f GiB are there", float64(e.Need)/(1<<30), float64(e.Limit)/(1<<30))
}

// Compile makes a program that computes outs. Every leaf under outs must be set before the
// stage that reads it runs: constants are set already.
func Compile[T kernel.Float](outs []*graph.Node, opt Options) (*Program[T], error) {
	return compile[T](outs, opt, nil)
}

func compile[T kernel.Float](outs []*graph.Node, opt Options, of *Program[T]) (*Program[T], error) {
	c := &compiler{k: max(opt.Directions, 1), lists: opt.Sparse, of: map[*graph.Node]*value{}, copies: map[*value]*value{}, read: map[*value]bool{}, readers: map[*graph.Node][]*graph.Node{}}
	p := &Program[T]{k: c.k, pool: opt.Pool, of: of, nodes: outs, opt: opt, leaves: map[*graph.Node]*value{}, dirs: map[*graph.Node]*rowMajor{}}
	err := graph.Catch(func() error {
		ancestors := graph.Ancestors(outs...)
		c.findReaders(outs[0].Graph(), ancestors)
		for id, live := range ancestors {
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
			if v.op == graph.OpDirection {
				p.dirs[n] = newRowMajor(v)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var seen []*value // by the caller
	for _, o := range outs {
		v := c.of[o]
		if !v.linear { // the others are turned into rows once a product
			v = c.packed(v)
		}
		v.root.output = true
		seen = append(seen, v)
	}
	groups := schedule(fuse(c.values))
	spreadRows[T](groups, seen)
	settle(groups)
	for _, v := range seen {
		p.outs = append(p.outs, newRowMajor(v))
	}
	p.plan(c.values, groups)
	var tasks [numStages][]task
	var slots, block int
	for _, h := range groups {
		t, name := p.lower(h)
		s := h.members[0].stage
		tasks[s] = append(tasks[s], t...)
		for range t {
			p.names[s] = append(p.names[s], name)
		}
		for _, t := range t {
			switch t := t.(type) {
			case *chain[T]:
				slots, block = max(slots, t.slots), max(block, t.scratch*t.block)
			case *phased[T]:
				block = max(block, t.tileLen())
			}
		}
	}
	for _, s := range p.sparsities {
		tasks[stagePrimal] = slices.Insert(tasks[stagePrimal], 0, task(s))
		p.names[stagePrimal] = slices.Insert(p.names[stagePrimal], 0, "sparsity")
	}
	var arrangements [numStages]together
	for _, t := range p.transforms {
		arrangements[t.w.stage].add(t)
	}
	for _, x := range p.arranged {
		arrangements[x.b.stage].add(x)
	}
	for s := range arrangements {
		if t := &arrangements[s]; t.parts() > 0 {
			tasks[s] = append(tasks[s], t)
			p.names[s] = append(p.names[s], "arrange")
		}
	}
	p.findTotals()
	if err := p.allocate(opt.MaxBytes); err != nil {
		return nil, err
	}
	for s := range tasks {
		link[T](tasks[s])
		p.stages[s] = newPlan(tasks[s]...)
	}
	for range opt.Pool.Threads() {
		p.workers = append(p.workers, &worker[T]{slots: make([][]T, slots), block: make([]T, block)})
	}
	if of != nil {
		return p, nil
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

// Beside makes a program that computes the same of another batch at the same time, on the thread that runs it. What depends on the
// batch has buffers of its own; parameters, directions, totals and all that is made of them alone are p's, as are the stages
// that compute them.
func (p *Program[T]) Beside() (*Program[T], error) {
	opt := p.opt
	opt.Pool = caller
	return compile(p.nodes, opt, p)
}

// caller is the pool of the thread that calls.
var caller = NewPool(1)

// lone says that one thread computes a run: parts are cut for that.
func (p *Program[T]) lone() bool { return p.opt.Beside || p.opt.Pool.Threads() == 1 }

// Alone makes runs from now on take place on the calling thread alone, or on the threads of the pool again.
func (p *Program[T]) Alone(yes bool) {
	p.pool = p.opt.Pool
	if yes {
		p.pool = caller
	}
}

// BesideBytes is the memory of a program beside p.
func (p *Program[T]) BesideBytes() int {
	return (p.extra+p.own)*sizeof[T]() + p.stageBytes(stagePrimal) + p.stageBytes(stageTangent)
}

// plan gives every root that is kept in memory its place. What a later stage reads or the caller
// sees stays in its stage's arena; the rest shares scratch, by the steps between which it lives.
func (p *Program[T]) plan(values []*value, groups []*group) {
	var steps [numStages]int
	read := map[*value]int{} // or written last
	kept := map[*value]bool{}
	var perStage [numStages][]*group
	for _, h := range groups {
		s := h.members[0].stage
		at := steps[s]
		steps[s]++
		perStage[s] = append(perStage[s], h)
		for _, m := range h.outputs {
			read[m.host()] = max(read[m.host()], at)
			if m.output {
				kept[m] = true
			}
		}
		for _, x := range h.inputs {
			if x.root.stage != s {
				kept[x.root] = true
			}
			read[x.root.host()] = max(read[x.root.host()], at)
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
			var o *order
			if h.isChain() {
				o = h.order()
			}
			for _, m := range h.outputs {
				if m.integer || kept[m] && s != stageTangent {
					place(m)
					continue
				}
				in := m.host()
				if in.buffer == nil {
					b := &buffer{size: in.room(), last: read[in]}
					if in.output {
						b.last = steps[s]
					}
					if i := inPlace(h, o, m, live, at); i >= 0 {
						b.ref = live[i].ref
						live = slices.Delete(live, i, i+1)
					} else {
						b.ref = ref{stageTangent, free.take(align(b.size)), b.size}
					}
					in.buffer = b
					live = append(live, b)
				}
				m.buffer = in.buffer
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

// inPlace finds, of live buffers, that of an input which a chain, whose order is o, is the last to read and may write an output
// over: what it writes then is in the cache. It is -1 where there is none.
func inPlace(h *group, o *order, m *value, live []*buffer, at int) int {
	if o == nil {
		return -1
	}
	for _, x := range h.inputs {
		i := slices.Index(live, x.root.buffer)
		if i >= 0 && live[i].last == at && h.over(o, m, x) {
			return i
		}
	}
	return -1
}

// allocate makes the arenas, unless they and the tasks' own buffers are more than limit bytes.
func (p *Program[T]) allocate(limit int64) error {
	if p.of != nil {
		p.arena, p.ints = p.of.arena, p.of.ints
		for _, s := range []stage{stagePrimal, stageTangent} {
			p.arena[s], p.ints[s] = kernel.Zeros[T](p.sizes[s].floats), make([]int32, p.sizes[s].ints)
		}
		for i := range p.totals {
			p.totals[i].sum, p.totals[i].zero = p.of.totals[i].sum, p.of.totals[i].zero
		}
		return nil
	}
	need := int64(p.extra+p.fixed+p.own*p.pool.Threads()) * int64(sizeof[T]())
	for _, t := range p.totals {
		need += 8 * int64(t.of.buffer.size)
	}
	for _, size := range p.sizes {
		need += int64(size.floats)*int64(sizeof[T]()) + 4*int64(size.ints)
	}
	if limit > 0 && need > limit {
		return &MemoryError{need, limit}
	}
	for s, size := range p.sizes {
		p.arena[s], p.ints[s] = kernel.Zeros[T](size.floats), make([]int32, size.ints)
	}
	var all int
	for _, t := range p.totals {
		all += align(t.of.buffer.size)
	}
	sums := kernel.Zeros[float64](all)
	for _, t := range p.totals {
		n := t.of.buffer.size
		t.sum, sums = sums[:n:n], sums[align(n):]
		t.zero = make([]bool, t.parts())
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

// SetDirection gives the j-th direction along a leaf its values, row-major: one of so many shares of it.
func (p *Program[T]) SetDirection(direction *graph.Node, j int, values []float64, share, of int) {
	if v := p.dirs[direction]; v != nil {
		giveRows(v, p.at(v.buffer.ref), j*v.layout.dir, values, share, of)
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
	p.stages[s].after = nil
	if p.spent != nil {
		last := time.Now()
		p.stages[s].after = func(i int) {
			now := time.Now()
			p.spent[p.names[s][i]] += now.Sub(last)
			last = now
		}
	}
	p.pool.do(p.stages[s])
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
	for _, t := range p.stages[stageTangent].tasks {
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
	return &Primal[T]{kernel.Zeros[T](len(p.arena[stagePrimal])), make([]int32, len(p.ints[stagePrimal]))}
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
	return p.FixedBytes() + p.extra*sizeof[T]() + p.stageBytes(stagePrimal) + p.stageBytes(stageTangent)
}

// FixedBytes is the part of Bytes that does not grow with the batch.
func (p *Program[T]) FixedBytes() int {
	n := (p.fixed+p.own*len(p.workers))*sizeof[T]() + p.stageBytes(stageConst) + p.stageBytes(stageDirection)
	for _, t := range p.totals {
		n += 8 * len(t.sum)
	}
	return n
}

func (p *Program[T]) stageBytes(s stage) int { return len(p.arena[s])*sizeof[T]() + 4*len(p.ints[s]) }

// Output is the i-th output, row-major, where it depends on no direction. It is overwritten when a stage runs again.
func (p *Program[T]) Output(i int) []T {
	if p.outs[i].linear {
		panic("exec: an output along directions is read by MoveOutput")
	}
	return p.at(p.outs[i].root.buffer.ref)
}

// IntOutput is the i-th output where that is a tensor of integers.
func (p *Program[T]) IntOutput(i int) []int32 { return p.intsOf(p.outs[i].value) }

// MoveOutput puts direction j of the i-th output into dst, row-major, in float64, or adds it to what is there: one of so many shares of it.
// It is the same whatever j where the output depends on no direction.
func (p *Program[T]) MoveOutput(dst []float64, i, j int, add bool, share, of int) {
	v := p.outs[i]
	fetchRows(v, dst, nil, []*Program[T]{p}, v.layout.off+j*v.layout.dir, add, share, of)
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
	var t []task
	switch {
	case h.products > 0:
		y := h.outputs[0].buffer.ref
		t, products := p.winograd(h.members[:h.products], y)
		for _, x := range products {
			y := y
			y.off, y.n = y.off+x.layout.off, y.n-x.layout.off
			more := p.product(x, y, len(t) > 0 || h.onto != nil)
			if !p.join(t, more, x.k) {
				t = append(t, more...)
			}
		}
		return t, v.op.String()
	case h.isChain():
		return []task{newChain(p, h)}, "pointwise"
	}
	switch v.op {
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

// product makes the tasks that write a product to y, or add it to what is there.
func (p *Program[T]) product(v *value, y ref, add bool) []task {
	switch v.op {
	case graph.OpMatMul:
		return newMatMul(p, v, y, add)
	case graph.OpConv:
		if t := newPhased(p, v, y, add); t != nil {
			return []task{t}
		}
		return []task{newConv(p, v, y, add)}
	}
	return []task{newConvW(p, v, y, add)}
}
