// Package hvp is the Hessian of a network's loss over a whole data set as a linear operator on
// groups of vectors, with the loss, the gradient and the outputs from the same programs.
//
// With θ the parameters that vary, n of them in the order of the network's,
//
//	L(θ) = (1/N) Σᵢ ℓᵢ(θ) + (wd/2)‖θ‖²,   H = ∇²L,   H v = d/dε ∇L(θ + εv) at ε = 0,
//
// N counting examples, or tokens for a language model, never batches. Labels that are ignored do not
// count, and with class weights N is Σᵢ w_yᵢ, over the whole data set. Products are exact: a
// directional derivative of the gradient's graph. Batches are added up in their order, in
// float64.
package hvp

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// Column is one side of a data set, inputs or targets: what package dataset reads.
type Column interface {
	Shape() []int  // of one example
	Integer() bool // read by Ints, else by Floats
	Floats(dst []float64, lo, hi int) error
	Ints(dst []int64, lo, hi int) error
}

// Data is a data set: N examples in a fixed order.
type Data struct {
	N    int
	X, Y Column
}

// Precisions of the products.
const (
	Float32 = "float32"
	Float64 = "float64"
)

// Options say what is measured and how it is computed.
type Options struct {
	Loss         string    // model.CrossEntropy, MSE, BCE or Own; "" is Own where the network has it, cross-entropy for integer targets, mse for others
	Smoothing    float64   // label smoothing of cross-entropy
	ClassWeights []float64 // of cross-entropy, one an output; none: all are 1
	Ignore       *int64    // cross-entropy leaves integer targets of this value out; nil: none
	BatchStats   bool      // batch normalisation by the statistics of each batch of BatchSize examples
	BatchSize    int       // 0: chosen from the shapes; with BatchStats it must be given
	Batches      int       // that a size which is chosen leaves at least, where there are as many examples
	WeightDecay  float64   // wd
	Params       []string  // patterns (path.Match) of the names that vary; none: all
	Precision    string    // Float32 or Float64; "" is Float32
	Threads      int       // 0: as many as the process may use
	MaxBytes     int64     // memory that a program's buffers, or a dense matrix, may take; 0: any
	KeepBytes    int64     // memory in which the primal part of batches may be kept between products
	Alone        bool      // batches are computed one after the other by all threads, not each by one: more slowly, in less memory
	// Progress is called after each batch of a pass with the examples done and in all, on any thread, one call at a time.
	Progress func(done, of int)
}

// Group is a parameter tensor that varies, in the order of the vectors.
type Group struct {
	Name         string
	Offset, Size int
}

// OptionError is a fault of an option: a usage error.
type OptionError struct{ msg string }

func (e *OptionError) Error() string { return e.msg }

// BatchError says that a batch with so many vectors at once does not fit into memory.
type BatchError struct {
	Batch, Vectors int
	err            error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("%d examples with %d vectors at once: %v (use a smaller --batch-size, or fewer --probes)", e.Batch, e.Vectors, e.err)
}

// Need is the bytes of the program's buffers.
func (e *BatchError) Need() int64 {
	var memory *exec.MemoryError
	errors.As(e.err, &memory)
	return memory.Need
}

// Unwrap is the need and the limit.
func (e *BatchError) Unwrap() error { return e.err }

// LabelError is a target or a token that the network has no class or row for.
type LabelError struct {
	What         string // "label" or "token"
	Example      int
	Value, Limit int64
}

func (e *LabelError) Error() string {
	return fmt.Sprintf("example %d has %s %d, but the network knows 0 to %d (is this the data that it was trained on?)", e.Example, e.What, e.Value, e.Limit-1)
}

// Operator is the Hessian over a data set. It is not for several goroutines at a time.
type Operator struct {
	net    *model.Network
	data   Data
	opt    Options
	set    model.Settings
	batch  int
	groups []Group
	varies []int // indices in net.Params
	count  int   // targets in the mean
	left   int   // targets that are ignored
	sparse bool  // inputs are mostly zero
	theta  []float64
	pool   *exec.Pool
	engine engine
}

// engine is what depends on the precision.
type engine interface {
	apply(ctx context.Context, dst, src [][]float64) error
	forms(ctx context.Context, u [][]float64, visit func(q []float64)) error
	gradient(ctx context.Context, grad []float64) (loss float64, err error)
	outputs(ctx context.Context, visit func(first int, f []float64) error) error
	evaluate(ctx context.Context, visit func(first int, f []float64) error) (loss float64, err error)
	branches(ctx context.Context) (uint64, error)
	forget()
	release()
	info() Cost
	measure(spent map[string]time.Duration)
	bytes(k int) (bytes int64, kept bool, err error)
	find(ctx context.Context, e *NonFiniteError, v []float64) (bool, error)
	try(ctx context.Context, k int, seconds float64) (*Trial, error)
}

// New compiles the network for the data. It fails when they do not fit each other or the options.
func New(net *model.Network, data Data, opt Options) (*Operator, error) {
	o := &Operator{net: net, data: data, opt: opt}
	if data.N < 1 {
		return nil, errors.New("the data set is empty")
	}
	if o.opt.Loss == "" {
		switch {
		case net.OwnLoss != nil:
			o.opt.Loss = model.Own
		case data.Y.Integer():
			o.opt.Loss = model.CrossEntropy
		default:
			o.opt.Loss = model.MSE
		}
	}
	if err := opt.checkLoss(net, o.opt.Loss); err != nil {
		return nil, err
	}
	o.set = model.Settings{Loss: o.opt.Loss, Smoothing: opt.Smoothing, ClassWeights: opt.ClassWeights, BatchStats: opt.BatchStats, Total: 1,
		Input: data.X.Shape(), Target: data.Y.Shape(), InputInteger: data.X.Integer(), TargetInteger: data.Y.Integer()}
	for i, p := range net.Params {
		if p.Values == nil {
			return nil, fmt.Errorf("parameter %s has no values (give --weights)", p.Name)
		}
		ok, err := matches(opt.Params, p.Name)
		if err != nil {
			return nil, err
		}
		if ok {
			o.groups = append(o.groups, Group{p.Name, len(o.theta), tensor.Count(p.Shape)})
			o.varies = append(o.varies, i)
			o.theta = append(o.theta, p.Values...)
		}
	}
	if len(o.theta) == 0 {
		return nil, &OptionError{fmt.Sprintf("--params %s: no parameter has such a name (the network has %s)", strings.Join(opt.Params, ", "), names(net))}
	}
	probe, err := net.Build(1, o.set)
	if err != nil && opt.BatchSize > 1 { // a network made for one size of batch
		probe, err = net.Build(min(opt.BatchSize, data.N), o.set)
	}
	if err != nil {
		return nil, err
	}
	if opt.BatchStats && opt.BatchSize < 1 {
		return nil, &OptionError{"--batchnorm batch: the statistics are those of each batch (give --batch-size, or --batch-size all for one batch)"}
	}
	o.batch = opt.BatchSize
	if o.batch < 1 {
		o.batch = chooseBatch(probe, len(o.theta), data.N)
		if opt.Batches > 0 {
			o.batch = min(o.batch, max(1, data.N/opt.Batches))
		}
	}
	o.batch = min(o.batch, data.N)
	if err := o.checkTokens(); err != nil {
		return nil, err
	}
	if err := o.weigh(); err != nil {
		return nil, err
	}
	if err := o.look(); err != nil {
		return nil, err
	}
	o.pool = exec.NewPool(opt.Threads)
	if err := o.checkMean(); err != nil {
		o.pool.Close()
		return nil, err
	}
	switch opt.Precision {
	case Float32, "":
		o.engine = newEngine[float32](o)
	case Float64:
		o.engine = newEngine[float64](o)
	default:
		o.pool.Close()
		return nil, &OptionError{fmt.Sprintf("--precision %s: float32 or float64", opt.Precision)}
	}
	return o, nil
}

func matches(patterns []string, name string) (bool, error) {
	for _, p := range patterns {
		ok, err := path.Match(p, name)
		if err != nil {
			return false, &OptionError{fmt.Sprintf("--params %s: %v", p, err)}
		}
		if ok {
			return true, nil
		}
	}
	return len(patterns) == 0, nil
}

func names(net *model.Network) string {
	var s []string
	for _, p := range net.Params {
		s = append(s, p.Name)
	}
	if len(s) > 8 {
		s = append(s[:7], "…")
	}
	return strings.Join(s, ", ")
}

// batchElements is how many elements of one batch's primal part are in memory at least, about: enough
// work for every thread in each operation, few enough to stay near the caches.
const batchElements = 4 << 20

// mostExamples is how many are in a batch however small they are.
const mostExamples = 1024

// fewBatches is how many are so few that a last one with much less to do counts.
const fewBatches = 16

// chooseBatch picks a number of examples from the graph of one, the parameters that vary and the examples that there are: by shapes only, so that a
// result depends neither on the machine nor on the number of directions. A batch's primal part has about as many elements as parameters vary or more, since
// these, their directions and their gradients are read and written once a batch. It counts what is read by other than
// pointwise operations: the rest is made in passing. Few batches are made alike, and even in number where the examples allow it, since threads have one each.
func chooseBatch(one *model.Graph, parameters, examples int) int {
	n := 0
	nodes := one.G.Nodes()
	data, kept := make([]bool, len(nodes)), make([]bool, len(nodes))
	for _, x := range nodes {
		data[x.ID()] = x.Op() == graph.OpInput
		for _, in := range x.Inputs() {
			data[x.ID()] = data[x.ID()] || data[in.ID()]
			kept[in.ID()] = kept[in.ID()] || !x.Op().Pointwise()
		}
	}
	for _, x := range nodes {
		switch x.Op() {
		case graph.OpReshape, graph.OpBroadcast, graph.OpTranspose, graph.OpSlice:
			continue
		}
		if data[x.ID()] && (kept[x.ID()] || !x.Op().Pointwise()) {
			n += x.Size()
		}
	}
	n = max(n, 1)
	size := min(max((max(batchElements, parameters)+n/2)/n, 1), mostExamples)
	if size > 4 {
		size -= size % 4
	}
	if batches := (examples + size - 1) / size; 1 < batches && batches <= fewBatches {
		batches += batches % 2
		size = (examples + batches - 1) / batches
	}
	return size
}

// checkLoss holds the options of a loss against each other.
func (opt *Options) checkLoss(net *model.Network, loss string) error {
	switch {
	case !(opt.Smoothing >= 0 && opt.Smoothing < 1):
		return &OptionError{fmt.Sprintf("--label-smoothing %v: a number from 0 to below 1", opt.Smoothing)}
	case opt.Smoothing != 0 && loss != model.CrossEntropy:
		return &OptionError{fmt.Sprintf("--label-smoothing: belongs to cross-entropy, and the loss is %s", loss)}
	case opt.ClassWeights != nil && loss != model.CrossEntropy:
		return &OptionError{fmt.Sprintf("--class-weights: belong to cross-entropy, and the loss is %s", loss)}
	case opt.ClassWeights != nil && len(opt.ClassWeights) != net.Outputs:
		return &OptionError{fmt.Sprintf("--class-weights: %d class weights for the %d outputs of %s (give one for each)", len(opt.ClassWeights), net.Outputs, net.Name)}
	case loss == model.Own && net.OwnLoss == nil:
		return &OptionError{fmt.Sprintf("--loss %s: %s has no loss of its own (use %s, %s or %s)", loss, net.Name, model.CrossEntropy, model.MSE, model.BCE)}
	}
	for i, w := range opt.ClassWeights {
		if !(w >= 0 && w <= math.MaxFloat64) {
			return &OptionError{fmt.Sprintf("--class-weights: weight %d is %v (a finite number of at least 0)", i, w)}
		}
	}
	return nil
}

// integers visits all integers of a column.
func (o *Operator) integers(c Column, visit func(example int, v int64) error) error {
	const chunk = 4096
	per := tensor.Count(c.Shape())
	buf := make([]int64, min(chunk, o.data.N)*per)
	for lo := 0; lo < o.data.N; lo += chunk {
		hi := min(lo+chunk, o.data.N)
		if err := c.Ints(buf[:(hi-lo)*per], lo, hi); err != nil {
			return err
		}
		for i, v := range buf[:(hi-lo)*per] {
			if err := visit(lo+i/per, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTokens goes through the tokens once: one outside of the vocabulary would be read from nowhere.
func (o *Operator) checkTokens() error {
	if !o.data.X.Integer() {
		return nil
	}
	return o.integers(o.data.X, func(example int, v int64) error { return below("token", example, v, int64(o.net.Vocab)) })
}

// below says whether an integer names one of so many things; 0: of any number that fits 32 bits, the programs' integers.
func below(what string, example int, v, limit int64) error {
	if limit == 0 && v == int64(int32(v)) || v >= 0 && v < limit {
		return nil
	}
	if limit == 0 {
		limit = math.MaxInt32
	}
	return &LabelError{what, example, v, limit}
}

// ignored says whether a label is left out.
func (o *Operator) ignored(label int64) bool { return o.opt.Ignore != nil && label == *o.opt.Ignore }

// look sees at the first examples whether inputs are mostly zero.
func (o *Operator) look() error {
	if o.data.X.Integer() {
		return nil
	}
	n := min(o.data.N, 64)
	x := make([]float64, n*tensor.Count(o.data.X.Shape()))
	if err := o.data.X.Floats(x, 0, n); err != nil {
		return err
	}
	some := 0
	for _, v := range x {
		if v != 0 {
			some++
		}
	}
	o.sparse = float64(some) < exec.SparseShare*float64(len(x))
	return nil
}

// weight is that of a label in cross-entropy.
func (o *Operator) weight(label int64) float64 {
	if o.opt.ClassWeights == nil {
		return 1
	}
	return o.opt.ClassWeights[label]
}

// weigh goes through the targets once: counts those that are not ignored, adds up their weights to the Total of the settings,
// and finds labels that the network has no output for.
func (o *Operator) weigh() error {
	o.set.Total, o.count = float64(o.data.N), o.data.N
	if o.net.Tokens && !o.net.Sequence && o.opt.Loss != model.Own {
		o.count *= tensor.Count(o.set.Input)
		o.set.Total = float64(o.count)
	}
	classes := int64(o.net.Outputs)
	if o.opt.Loss == model.Own {
		classes = int64(o.net.OwnTarget.Classes)
	}
	switch {
	case !o.set.TargetInteger:
		return nil
	case o.opt.Loss == model.BCE:
		classes = 2
	case o.opt.Loss == model.CrossEntropy:
		o.set.Total, o.count = 0, 0
	}
	err := o.integers(o.data.Y, func(example int, v int64) error {
		if o.opt.Loss == model.CrossEntropy && o.ignored(v) {
			o.set.Ignore = true
			o.left++
			return nil
		}
		if err := below("label", example, v, classes); err != nil {
			return err
		}
		if o.opt.Loss == model.CrossEntropy {
			o.count++
			o.set.Total += o.weight(v)
		}
		return nil
	})
	if err == nil && o.count == 0 {
		err = fmt.Errorf("all targets are %d, which is left out (check --ignore-index)", *o.opt.Ignore)
	}
	if err == nil && o.set.Total == 0 {
		err = &OptionError{"--class-weights: those of all targets are 0"}
	}
	return err
}

// Dim is n.
func (o *Operator) Dim() int { return len(o.theta) }

// Groups are the parameter tensors that vary, in the order of the vectors.
func (o *Operator) Groups() []Group { return o.groups }

// Theta are the values of what varies, in the order of the vectors; not to be modified.
func (o *Operator) Theta() []float64 { return o.theta }

// Precision returns Float32 or Float64.
func (o *Operator) Precision() string { return o.opt.Precision }

// BatchSize is the number of examples of a batch; the last may have fewer.
func (o *Operator) BatchSize() int { return o.batch }

// Batches is the number of batches.
func (o *Operator) Batches() int { return (o.data.N + o.batch - 1) / o.batch }

// Loss is the kind of loss.
func (o *Operator) Loss() string { return o.opt.Loss }

// Total is the number of targets in the mean: examples, or tokens for a language model, without those that are ignored.
func (o *Operator) Total() int { return o.count }

// Ignored is the number of targets that the loss leaves out.
func (o *Operator) Ignored() int { return o.left }

// Settings are what graphs of the network are built with.
func (o *Operator) Settings() model.Settings { return o.set }

// Close ends the operator's threads.
func (o *Operator) Close() { o.pool.Close() }

// Apply computes dst[j] = H·src[j] for a group of vectors of length Dim. It ends with the
// context's error between two batches when the context ends.
func (o *Operator) Apply(ctx context.Context, dst, src [][]float64) error {
	if err := o.engine.apply(ctx, dst, src); err != nil {
		return o.explain(ctx, err, nil)
	}
	if wd := o.opt.WeightDecay; wd != 0 {
		for j, d := range dst {
			for i, v := range src[j] {
				d[i] += wd * v
			}
		}
	}
	return nil
}

// Gradient computes L and its gradient in one pass.
func (o *Operator) Gradient(ctx context.Context) (loss float64, grad []float64, err error) {
	grad = make([]float64, len(o.theta))
	if loss, err = o.engine.gradient(ctx, grad); err != nil {
		return 0, nil, o.explain(ctx, err, nil)
	}
	for i, t := range o.theta {
		grad[i] += o.opt.WeightDecay * t
	}
	loss += o.decay()
	for _, v := range grad {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, nil, o.explain(ctx, &NonFiniteError{What: whatGradient, First: -1}, nil)
		}
	}
	return loss, grad, nil
}

// Evaluate computes L alone, in one pass without derivatives, and visits the outputs f of the network, row-major [P,
// Net.Outputs], batch by batch, where visit is not nil; first is the batch's first example. f is overwritten.
func (o *Operator) Evaluate(ctx context.Context, visit func(first int, f []float64) error) (loss float64, err error) {
	loss, err = o.engine.evaluate(ctx, visit)
	return loss + o.decay(), o.explain(ctx, err, nil)
}

// decay is (wd/2)‖θ‖².
func (o *Operator) decay() float64 {
	var square float64
	for _, t := range o.theta {
		square += t * t
	}
	return o.opt.WeightDecay / 2 * square
}

// Branches is a fingerprint of the signs of activations and the positions of maxima at θ: the
// loss is smooth on the way between two points only if it does not change. It holds within a
// process.
func (o *Operator) Branches(ctx context.Context) (uint64, error) { return o.engine.branches(ctx) }

// SetTheta moves what varies to another point.
func (o *Operator) SetTheta(theta []float64) {
	o.theta = append(o.theta[:0], theta...)
	o.engine.forget()
}

// Cost is what one product takes.
type Cost struct {
	Batches int
	Batch   int
	Bytes   int64 // memory of the programs for the last group of vectors
	Work    int64 // multiply-adds of matrix products and convolutions in the tangent part
}

// Measure makes products from now on add to spent the time that each kind of operation takes; nil ends that.
func (o *Operator) Measure(spent map[string]time.Duration) { o.engine.measure(spent) }

// Cost describes the programs that ran last.
func (o *Operator) Cost() Cost { return o.engine.info() }

// purpose is what a program computes.
type purpose int

const (
	purposeProduct purpose = iota
	purposeGradient
	purposeOutputs
	purposeLoss // and the outputs, where the loss is made of them
	purposeBranches
)

type programKey struct {
	batch, k int
	purpose  purpose
}

// program is a compiled graph with its leaves.
type program[T exec.Float] struct {
	*exec.Program[T]
	graph *model.Graph
	wrt   []*graph.Node
	dirs  []*graph.Node
	outs  []int // of each tensor that varies its output, -1 where the derivative is zero
	kinks []*graph.Node
	kept  []*exec.Primal[T]  // by batch
	sides []*exec.Program[T] // that compute batches at the same time, itself the first; none: not made yet
}

type engineOf[T exec.Float] struct {
	o        *Operator
	programs map[programKey]*program[T]
	theta    map[*program[T]]bool // whose parameters are those of o
	floats   []float64
	ints     []int64
	out      []float64
	keptOf   int           // k of the programs that keep primal parts
	used     []*program[T] // of a product, in the order of their first batch
	last     Cost
	spent    map[string]time.Duration
	seed     maphash.Seed
	most     int // batches that a pass goes over; 0: all

	reading sync.Mutex // of the data, one batch at a time
	turns   *exec.Turns
	ctx     context.Context // of the pass that takes turns
	pass    *pass[T]
	beside  *program[T]
	adding  int // how many batches are added to the totals when they are done
	product pass[T]
	src     [][]float64 // the directions of the product

	aimed       *program[T]  // that is given directions, or has totals
	vectors     [][]float64  // which these are, or where they go,
	add         bool         // to what is there
	pieces      []piece      // of such a vector
	give, fetch func(at int) // for one of them and one direction
	sumShare    func(share int)
}

// pass is what is done with each batch: for several at the same time run, and finish in their order; both with a program for the batch,
// main or one beside it. After that its outputs are added to their totals where these are wanted, or wait for that while no other batch comes.
type pass[T exec.Float] struct {
	run    func(main *program[T], p *exec.Program[T], b, lo, hi int) error
	finish func(main *program[T], p *exec.Program[T], lo, hi int) error
	totals bool
}

func newEngine[T exec.Float](o *Operator) *engineOf[T] {
	e := &engineOf[T]{o: o, programs: map[programKey]*program[T]{}, theta: map[*program[T]]bool{}, seed: maphash.MakeSeed()}
	e.product = pass[T]{e.tangent, e.count, true}
	e.turns = exec.NewTurns(o.pool, e.runTurn, e.finishTurn)
	e.pieces = cutPieces(o.groups)
	e.give = func(at int) { e.move(at, e.setDirection) }
	e.fetch = func(at int) { e.move(at, e.fetchPiece) }
	e.sumShare = func(share int) { e.aimed.AccumulateHeld(share, e.aimed.Shares()) }
	return e
}

// program finds or compiles one.
func (e *engineOf[T]) program(key programKey) (*program[T], error) {
	p := e.programs[key]
	if p == nil {
		var err error
		if p, err = e.compile(key); err != nil {
			return nil, err
		}
		p.Measure(e.spent)
		e.programs[key] = p
	}
	if !e.theta[p] {
		e.theta[p] = true
		e.prepare(p)
		p.kept = nil
	}
	return p, nil
}

// prepare gives a program its parameters and computes what depends on them alone.
func (e *engineOf[T]) prepare(p *program[T]) {
	o := e.o
	for i, leaf := range p.graph.Params {
		p.SetFloats(leaf, o.net.Params[i].Values)
	}
	for i, leaf := range p.graph.Buffers {
		p.SetFloats(leaf, o.net.Buffers[i].Values)
	}
	for j, g := range o.groups {
		p.SetFloats(p.wrt[j], o.theta[g.Offset:g.Offset+g.Size])
	}
	p.Prepare()
}

// forget makes every program take its parameters again.
func (e *engineOf[T]) forget() { clear(e.theta) }

func (e *engineOf[T]) info() Cost { return e.last }

func (e *engineOf[T]) measure(spent map[string]time.Duration) {
	e.spent = spent
	for _, p := range e.programs {
		p.Measure(spent)
	}
}

func (e *engineOf[T]) compile(key programKey) (*program[T], error) {
	p, outs, err := e.build(key)
	if err != nil {
		return nil, err
	}
	return p, e.compileTo(p, outs, key)
}

// compileTo makes the program that computes outs of p's graph.
func (e *engineOf[T]) compileTo(p *program[T], outs []*graph.Node, key programKey) (err error) {
	p.Program, err = exec.Compile[T](outs, exec.Options{Directions: key.k, Pool: e.o.pool, MaxBytes: e.o.opt.MaxBytes, Sparse: e.o.sparse, Beside: e.sides(key) > 1})
	var memory *exec.MemoryError
	if errors.As(err, &memory) {
		return &BatchError{key.batch, key.k, err}
	}
	return err
}

// build makes a graph, of which a program computes outs.
func (e *engineOf[T]) build(key programKey) (p *program[T], outs []*graph.Node, err error) {
	o := e.o
	build := o.net.Build
	if key.purpose == purposeOutputs {
		build = o.net.BuildOutputs
	}
	m, err := build(key.batch, o.set)
	if err != nil {
		return nil, nil, err
	}
	p = &program[T]{graph: m}
	for _, i := range o.varies {
		p.wrt = append(p.wrt, m.Params[i])
	}
	one := []*graph.Node{m.G.Scalar(1)}
	outs = []*graph.Node{m.Loss}
	derivatives := func(ds []*graph.Node) {
		for _, d := range ds {
			if d == nil {
				p.outs = append(p.outs, -1)
				continue
			}
			p.outs = append(p.outs, len(outs))
			outs = append(outs, d)
		}
	}
	switch key.purpose {
	case purposeOutputs:
		outs = []*graph.Node{m.Outputs}
	case purposeLoss:
		if m.Outputs != nil {
			outs = append(outs, m.Outputs)
		}
	case purposeGradient:
		derivatives(graph.VJP([]*graph.Node{m.Loss}, one, p.wrt))
	case purposeBranches:
		p.kinks = graph.Kinks(graph.VJP([]*graph.Node{m.Loss}, one, p.wrt)...)
		outs = append(outs, p.kinks...)
	case purposeProduct:
		seeds := map[*graph.Node]*graph.Node{}
		for _, w := range p.wrt {
			d := m.G.Direction(w)
			p.dirs = append(p.dirs, d)
			seeds[w] = d
		}
		grads := graph.VJP([]*graph.Node{m.Loss}, one, p.wrt)
		var live []*graph.Node
		for _, g := range grads {
			if g != nil {
				live = append(live, g)
			}
		}
		var dots []*graph.Node
		if len(live) > 0 {
			dots = graph.JVP(live, seeds)
		}
		all := make([]*graph.Node, len(grads))
		for i, g := range grads {
			if g != nil {
				all[i], dots = dots[0], dots[1:]
			}
		}
		derivatives(all)
	}
	return p, outs, nil
}

// load reads a batch into the leaves of main's graph in a program: main, or one beside it.
func (e *engineOf[T]) load(main *program[T], p *exec.Program[T], lo, hi int) error {
	e.reading.Lock()
	defer e.reading.Unlock()
	set := func(c Column, leaf *graph.Node) error {
		if !p.Has(leaf) {
			return nil
		}
		n := (hi - lo) * tensor.Count(c.Shape())
		if c.Integer() {
			if cap(e.ints) < n {
				e.ints = make([]int64, n)
			}
			if err := c.Ints(e.ints[:n], lo, hi); err != nil {
				return err
			}
			if e.o.set.Ignore && leaf == main.graph.Y {
				for i, v := range e.ints[:n] {
					if e.o.ignored(v) {
						e.ints[i] = -1
					}
				}
			}
			p.SetInts(leaf, e.ints[:n])
			return nil
		}
		if cap(e.floats) < n {
			e.floats = make([]float64, n)
		}
		if err := c.Floats(e.floats[:n], lo, hi); err != nil {
			return err
		}
		if i := nonFinite(e.floats[:n]); i >= 0 {
			per := tensor.Count(c.Shape())
			return &DataError{Target: leaf == main.graph.Y, Example: lo + i/per, Index: i % per, Value: e.floats[i]}
		}
		p.SetFloats(leaf, e.floats[:n])
		return nil
	}
	if err := set(e.o.data.X, main.graph.X); err != nil {
		return err
	}
	if main.graph.Y == nil {
		return nil
	}
	return set(e.o.data.Y, main.graph.Y)
}

// batches visits the batches in order, from one on, each with the program for its size.
func (e *engineOf[T]) batches(ctx context.Context, from, k int, what purpose, visit func(p *program[T], b, lo, hi int) error) error {
	n, size := e.examples(), e.o.batch
	for b, lo := from, from*size; lo < n; b, lo = b+1, lo+size {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+size, n)
		p, err := e.program(programKey{hi - lo, k, what})
		if err != nil {
			return err
		}
		if err := visit(p, b, lo, hi); err != nil {
			return err
		}
		p.Level()
		e.progress(hi)
	}
	return nil
}

// examples is how many a pass goes over.
func (e *engineOf[T]) examples() int {
	if e.most > 0 {
		return min(e.o.data.N, e.most*e.o.batch)
	}
	return e.o.data.N
}

func (e *engineOf[T]) progress(done int) {
	if e.o.opt.Progress != nil {
		e.o.opt.Progress(done, e.examples())
	}
}

// passes goes through the batches with a pass: as many at the same time as there are threads, and what is left by all threads, one
// after the other.
func (e *engineOf[T]) passes(ctx context.Context, k int, what purpose, ps *pass[T]) error {
	done := 0
	if key := (programKey{e.o.batch, k, what}); e.sides(key) > 1 {
		main, err := e.program(key)
		if err != nil {
			return err
		}
		if err := e.accompany(main, e.sides(key)); err != nil {
			return err
		}
		full := e.o.data.N / e.o.batch
		if e.most > 0 {
			full = min(full, e.most)
		}
		if sides := len(main.sides); sides > 1 && full >= sides {
			e.aim(main)
			e.ctx, e.pass, e.beside, e.adding = ctx, ps, main, 0
			done = full - full%sides
			main.Alone(true)
			spent := e.measureSides(main)
			shares := 1
			if ps.totals && done > sides {
				shares, e.adding = main.Shares(), done-sides
			}
			err := e.turns.Do(done, shares)
			e.ctx, e.pass, e.beside = nil, nil, nil
			main.Alone(false)
			main.Level(main.sides[1:]...)
			e.addSides(spent, main)
			if err != nil {
				return err
			}
			if ps.totals {
				main.Hold(main.sides...)
			}
		}
	}
	return e.batches(ctx, done, k, what, func(p *program[T], b, lo, hi int) error {
		e.aim(p)
		e.sum(p)
		if err := ps.run(p, p.Program, b, lo, hi); err != nil {
			return err
		}
		if err := ps.finish(p, p.Program, lo, hi); err != nil {
			return err
		}
		if ps.totals {
			p.Hold(p.Program)
		}
		return nil
	})
}

// sum adds what is held to the totals.
func (e *engineOf[T]) sum(p *program[T]) {
	if p.Holds() {
		e.aimed = p
		e.o.pool.Each(p.Shares(), e.sumShare)
		e.aimed = nil
		p.Hold()
	}
}

// sides is how many batches a program for so many examples may compute at the same time.
func (e *engineOf[T]) sides(key programKey) int {
	o := e.o
	if t := o.pool.Threads(); !o.opt.Alone && key.batch == o.batch && (key.purpose == purposeProduct || key.purpose == purposeGradient) && o.data.N/o.batch >= t {
		return t
	}
	return 1
}

// accompany makes programs beside one, unless they would need more than a quarter of the memory that there is, or more than is left.
func (e *engineOf[T]) accompany(main *program[T], sides int) error {
	if main.sides != nil {
		return nil
	}
	all := []*exec.Program[T]{main.Program}
	beside := int64(sides-1) * int64(main.BesideBytes())
	if limit := e.o.opt.MaxBytes; limit > 0 && (beside > limit/4 || int64(main.Bytes())+beside > limit) {
		sides = 1
	}
	for range sides - 1 {
		p, err := main.Beside()
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	main.sides = all
	return nil
}

func (e *engineOf[T]) runTurn(side, b int) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	lo := b * e.o.batch
	return e.pass.run(e.beside, e.beside.sides[side], b, lo, lo+e.o.batch)
}

func (e *engineOf[T]) finishTurn(side, b, share, of int) error {
	p, lo := e.beside.sides[side], b*e.o.batch
	if share == 0 {
		if err := e.pass.finish(e.beside, p, lo, lo+e.o.batch); err != nil {
			return err
		}
	}
	if b < e.adding {
		p.Accumulate(share, of)
	}
	if share == of-1 {
		e.progress(lo + e.o.batch)
	}
	return nil
}

// measureSides makes each of the programs side by side measure for itself.
func (e *engineOf[T]) measureSides(main *program[T]) []map[string]time.Duration {
	if e.spent == nil {
		return nil
	}
	var spent []map[string]time.Duration
	for _, p := range main.sides {
		spent = append(spent, map[string]time.Duration{})
		p.Measure(spent[len(spent)-1])
	}
	return spent
}

// addSides adds what they measured, as far as it is time on the clock.
func (e *engineOf[T]) addSides(spent []map[string]time.Duration, main *program[T]) {
	for i, m := range spent {
		for name, d := range m {
			e.spent[name] += d / time.Duration(len(spent))
		}
		main.sides[i].Measure(nil)
	}
	if e.spent != nil {
		main.Measure(e.spent)
	}
}

func (e *engineOf[T]) apply(ctx context.Context, dst, src [][]float64) error {
	o := e.o
	k := len(src)
	e.only(k)
	e.begin(src)
	e.last = Cost{Batches: o.Batches(), Batch: o.batch}
	err := e.passes(ctx, k, purposeProduct, &e.product)
	e.src = nil
	if err != nil {
		return err
	}
	for i, p := range e.used {
		e.last.Bytes += e.programBytes(p)
		e.aimed, e.vectors, e.add = p, dst, i > 0
		o.pool.Each(k*len(e.pieces), e.fetch)
	}
	e.aimed, e.vectors = nil, nil
	return nil
}

// piece is what one thread moves at a time of a vector: tensors that are small, or a share of one.
type piece struct {
	groups    []Group
	first     int // of the groups
	share, of int
}

// pieceLen is about how many elements are in a piece.
const pieceLen = 1 << 16

func cutPieces(groups []Group) []piece {
	var pieces []piece
	for i := 0; i < len(groups); {
		end, size := i+1, groups[i].Size
		for end < len(groups) && size+groups[end].Size <= pieceLen {
			size += groups[end].Size
			end++
		}
		of := max(1, size/pieceLen)
		for share := range of {
			pieces = append(pieces, piece{groups[i:end], i, share, of})
		}
		i = end
	}
	return pieces
}

// move moves a piece of a direction between the vectors and the program that is aimed.
func (e *engineOf[T]) move(at int, do func(p piece, i, direction int, values []float64)) {
	direction, p := at/len(e.pieces), e.pieces[at%len(e.pieces)]
	for i, g := range p.groups {
		do(p, p.first+i, direction, e.vectors[direction][g.Offset:g.Offset+g.Size])
	}
}

// fetchPiece fetches what a program has found along a direction, or adds it.
func (e *engineOf[T]) fetchPiece(p piece, i, direction int, values []float64) {
	if out := e.aimed.outs[i]; out >= 0 {
		e.aimed.MoveSum(values, out, direction, e.add, p.share, p.of)
	} else if !e.add && p.share == 0 {
		clear(values)
	}
}

// tangent computes what a batch adds to a product.
func (e *engineOf[T]) tangent(main *program[T], p *exec.Program[T], b, lo, hi int) error {
	if err := e.primal(main, p, b, lo, hi); err != nil {
		return err
	}
	p.RunTangent()
	return nil
}

// count notes what that took.
func (e *engineOf[T]) count(main *program[T], _ *exec.Program[T], _, _ int) error {
	e.last.Work += int64(main.TangentWork())
	return nil
}

// only makes the programs for another number of directions than k give up their memory.
func (e *engineOf[T]) only(k int) {
	if k == e.keptOf {
		return
	}
	for key := range e.programs {
		if key.purpose == purposeProduct && key.k != k {
			delete(e.theta, e.programs[key])
			delete(e.programs, key)
		}
	}
	e.keptOf = k
}

// begin sets the directions of a product.
func (e *engineOf[T]) begin(src [][]float64) {
	e.src, e.used = src, e.used[:0]
}

// aim gives a program the directions of the product and makes its totals zero, before its first batch.
func (e *engineOf[T]) aim(p *program[T]) {
	if p.dirs == nil || slices.Contains(e.used, p) {
		return
	}
	e.used = append(e.used, p)
	e.direct(p, e.src)
	p.Reset()
}

// direct gives a program its directions, and a place for primal parts where all fit.
func (e *engineOf[T]) direct(p *program[T], src [][]float64) {
	e.aimed, e.vectors = p, src
	e.o.pool.Each(len(src)*len(e.pieces), e.give)
	e.aimed, e.vectors = nil, nil
	p.RunDirections()
	switch keep := e.keeps(p); {
	case !keep:
		p.kept = nil
	case p.kept == nil:
		p.kept = make([]*exec.Primal[T], e.o.Batches())
	}
}

func (e *engineOf[T]) setDirection(p piece, i, direction int, values []float64) {
	e.aimed.SetDirection(e.aimed.dirs[i], direction, values, p.share, p.of)
}

// primal makes the primal part of a batch be there: kept, or computed.
func (e *engineOf[T]) primal(main *program[T], p *exec.Program[T], b, lo, hi int) error {
	if main.kept != nil {
		if m := main.kept[b]; m != nil {
			p.UsePrimal(m)
			return nil
		}
		m := p.NewPrimal()
		p.UsePrimal(m)
		main.kept[b] = m
	}
	_, err := e.forward(main, p, lo, hi)
	if err != nil && main.kept != nil {
		main.kept[b] = nil
	}
	return err
}

// forward reads a batch, computes the primal part, and returns the batch's share of the loss, the first output.
func (e *engineOf[T]) forward(main *program[T], p *exec.Program[T], lo, hi int) (loss float64, err error) {
	if err := e.load(main, p, lo, hi); err != nil {
		return 0, err
	}
	p.RunPrimal()
	l := p.Output(0)[0]
	if !finite(l) {
		return 0, &NonFiniteError{What: whatLoss, First: lo, Last: hi}
	}
	return float64(l), nil
}

func (e *engineOf[T]) gradient(ctx context.Context, grad []float64) (loss float64, err error) {
	err = e.passes(ctx, 1, purposeGradient, &pass[T]{
		run: func(main *program[T], p *exec.Program[T], _, lo, hi int) error {
			_, err := e.forward(main, p, lo, hi)
			return err
		},
		finish: func(main *program[T], p *exec.Program[T], _, _ int) error {
			loss += float64(p.Output(0)[0])
			for i, g := range e.o.groups {
				if main.outs[i] >= 0 {
					p.MoveOutput(grad[g.Offset:g.Offset+g.Size], main.outs[i], 0, true, 0, 1)
				}
			}
			return nil
		}})
	return loss, err
}

func (e *engineOf[T]) outputs(ctx context.Context, visit func(first int, f []float64) error) error {
	return e.batches(ctx, 0, 1, purposeOutputs, func(p *program[T], _, lo, hi int) error {
		if err := e.load(p, p.Program, lo, hi); err != nil {
			return err
		}
		p.RunPrimal()
		return visit(lo, e.wide(p.Output(0)))
	})
}

// wide is values in float64, until it is called again.
func (e *engineOf[T]) wide(x []T) []float64 {
	e.out = e.out[:0]
	for _, v := range x {
		e.out = append(e.out, float64(v))
	}
	return e.out
}

func (e *engineOf[T]) evaluate(ctx context.Context, visit func(first int, f []float64) error) (loss float64, err error) {
	err = e.batches(ctx, 0, 1, purposeLoss, func(p *program[T], _, lo, hi int) error {
		l, err := e.forward(p, p.Program, lo, hi)
		if err != nil {
			return err
		}
		loss += l
		if visit == nil || p.graph.Outputs == nil {
			return nil
		}
		return visit(lo, e.wide(p.Output(1)))
	})
	if err == nil && visit != nil && e.o.opt.Loss == model.Own {
		err = e.outputs(ctx, visit)
	}
	return loss, err
}

func (e *engineOf[T]) branches(ctx context.Context) (uint64, error) {
	var h maphash.Hash
	h.SetSeed(e.seed)
	err := e.batches(ctx, 0, 1, purposeBranches, func(p *program[T], _, lo, hi int) error {
		if err := e.load(p, p.Program, lo, hi); err != nil {
			return err
		}
		p.RunPrimal()
		for i, n := range p.kinks {
			if n.Kind() == graph.Int {
				for _, v := range p.IntOutput(i + 1) {
					maphash.WriteComparable(&h, v)
				}
				continue
			}
			for _, v := range p.Output(i + 1) {
				maphash.WriteComparable(&h, v)
			}
		}
		return nil
	})
	return h.Sum64(), err
}
