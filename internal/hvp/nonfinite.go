package hvp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
)

// What a pass computes, as messages call it.
const (
	whatLoss     = "loss"
	whatGradient = "gradient"
	whatProduct  = "Hessian-vector product"
)

// DataError is a NaN or an infinity in the data.
type DataError struct {
	Target  bool // among the targets, else the inputs
	Example int
	Index   int // of the value in the example
	Value   float64
}

func (e *DataError) Error() string {
	side := "inputs"
	if e.Target {
		side = "targets"
	}
	return fmt.Sprintf("value %d of the %s of example %d is %v (mend the file, or leave the example out)", e.Index, side, e.Example, e.Value)
}

// NonFiniteError is a NaN or an infinity where the weights and the data were finite.
type NonFiniteError struct {
	What        string // that a pass computes: "loss", "gradient", "Hessian-vector product"
	First, Last int    // examples [First, Last): the batch; First is -1 where the whole data set is meant

	// Tensor is the first that is not finite, "" where none was found: each operation alone was finite, or a whole batch with all
	// intermediate values does not fit into memory.
	Tensor  string
	Value   float64 // the tensor's first that is not finite
	Example int     // the first of the batch for which it is; -1: known of the batch alone
	Wider   bool    // float64 is wide enough, and the precision is float32
}

func (e *NonFiniteError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the %s", e.What)
	if e.First >= 0 {
		fmt.Fprintf(&b, " of examples %d to %d", e.First, e.Last-1)
	}
	b.WriteString(" is not finite")
	if e.Tensor != "" {
		fmt.Fprintf(&b, ": %s is %v", e.Tensor, e.Value)
		if e.Example >= 0 {
			fmt.Fprintf(&b, " in example %d", e.Example)
		}
	}
	switch {
	case e.Wider:
		b.WriteString(" (it is finite in float64: use --precision float64)")
	case e.Tensor != "":
		b.WriteString(" (in float64 too: check that inputs are scaled as in training, --mean, --std, and that the training did not diverge)")
	default:
		b.WriteString(" (check that inputs are scaled as in training: --mean, --std; --precision float64 has a wider range)")
	}
	return b.String()
}

func finite[T exec.Float](x T) bool { return x-x == 0 }

// nonFinite is the index of the first value that is NaN or infinite, -1 where there is none.
func nonFinite[T exec.Float](x []T) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// Explain finds out where a product with v, of length Dim, ceases to be finite: a *NonFiniteError, or nil where it is finite. It
// goes over the data again, batch by batch, and over the first bad batch operation by operation.
func (o *Operator) Explain(ctx context.Context, v []float64) error {
	e := &NonFiniteError{What: whatProduct, First: -1}
	if err := o.explain(ctx, e, v); e.First >= 0 || !errors.Is(err, e) {
		return err
	}
	return nil
}

// explain completes err where it is a *NonFiniteError, v being the vector of a product: with the batch, the tensor, and whether float64
// would do.
func (o *Operator) explain(ctx context.Context, err error, v []float64) error {
	var e *NonFiniteError
	if !errors.As(err, &e) || e.Tensor != "" {
		return err
	}
	e.Example = -1
	if _, failed := o.engine.find(ctx, e, v); failed != nil {
		return failed
	}
	if _, single := o.engine.(*engineOf[float32]); single && e.First >= 0 {
		again := &NonFiniteError{What: e.What, First: e.First, Last: e.Last, Example: e.Example}
		found, failed := newEngine[float64](o).find(ctx, again, v)
		e.Wider = failed == nil && !found
	}
	return err
}

// find says where a pass over examples [First, Last), or Example alone, is not finite. Where First is -1 it looks for the batch first.
func (e *engineOf[T]) find(ctx context.Context, fault *NonFiniteError, v []float64) (found bool, err error) {
	clear(e.programs) // their memory is needed, and nothing follows
	clear(e.theta)
	what := map[string]purpose{whatLoss: purposeLoss, whatGradient: purposeGradient, whatProduct: purposeProduct}[fault.What]
	if fault.First < 0 {
		if err := e.findBatch(ctx, fault, what, v); err != nil || fault.First < 0 {
			return false, err
		}
	}
	first, last := fault.First, fault.Last
	if fault.Example >= 0 {
		first, last = fault.Example, fault.Example+1
	}
	// Example by example, if it has no part in the others' losses: that names it and takes little memory.
	if !e.o.opt.BatchStats {
		if found, err := e.findIn(ctx, fault, what, v, first, last, 1); found || err != nil {
			return found, err
		}
	}
	if last-first < 2 && !e.o.opt.BatchStats {
		return false, nil
	}
	return e.findIn(ctx, fault, what, v, first, last, last-first)
}

// findBatch looks for the first batch whose part of the gradient or the product is not finite; First stays -1 where there is none.
func (e *engineOf[T]) findBatch(ctx context.Context, fault *NonFiniteError, what purpose, v []float64) error {
	o := e.o
	err := e.batches(ctx, 0, 1, what, func(p *program[T], _, lo, hi int) error {
		if p.dirs != nil {
			e.direct(p, [][]float64{v})
		}
		if _, err := e.forward(p, p.Program, lo, hi); err != nil {
			return err
		}
		if what == purposeProduct {
			p.RunTangent()
		}
		for i, g := range o.groups {
			if p.outs[i] < 0 {
				continue
			}
			part := make([]float64, g.Size)
			p.MoveOutput(part, p.outs[i], 0, true, 0, 1)
			if nonFinite(part) >= 0 {
				return &NonFiniteError{What: fault.What, First: lo, Last: hi}
			}
		}
		return nil
	})
	var at *NonFiniteError
	if errors.As(err, &at) {
		fault.What, fault.First, fault.Last = at.What, at.First, at.Last
		return nil
	}
	return err
}

// findIn goes through examples [first, last), size at a time, with programs that keep every value of the graph, to the first
// for which an output is not finite, and enters the tensor at which that began.
func (e *engineOf[T]) findIn(ctx context.Context, fault *NonFiniteError, what purpose, v []float64, first, last, size int) (found bool, err error) {
	key := programKey{size, 1, what}
	p, outs, err := e.build(key)
	if err != nil {
		return false, nil // a network made for one size of batch
	}
	t := newTrace(outs)
	if err := e.compileTo(p, t.kept, key); err != nil {
		var memory *BatchError
		if errors.As(err, &memory) {
			return false, nil
		}
		return false, err
	}
	e.prepare(p)
	if p.dirs != nil {
		e.direct(p, [][]float64{v})
	}
	along := dependent(p.graph.G, graph.OpDirection)
	for lo := first; lo+size <= last; lo += size {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := e.load(p, p.Program, lo, lo+size); err != nil {
			return false, err
		}
		p.RunPrimal()
		p.RunTangent()
		for i, n := range t.kept {
			t.value[n] = 0
			if along[n.ID()] {
				values := make([]float64, n.Size())
				p.MoveOutput(values, i, 0, true, 0, 1)
				if j := nonFinite(values); j >= 0 {
					t.value[n] = values[j]
				}
			} else if j := nonFinite(p.Output(i)); j >= 0 {
				t.value[n] = float64(p.Output(i)[j])
			}
		}
		if n := t.cause(outs); n != nil {
			fault.Tensor, fault.Value = p.called(n, outs), t.value[n]
			if size == 1 {
				fault.Example = lo
			}
			return true, nil
		}
	}
	return false, nil
}

// trace is the nodes of a graph whose values are looked at.
type trace struct {
	kept  []*graph.Node           // operands first
	value map[*graph.Node]float64 // of each its first that is not finite, 0 where all are
}

// newTrace is all real nodes under outs, but for those that hold the values of their operand.
func newTrace(outs []*graph.Node) *trace {
	t := &trace{value: map[*graph.Node]float64{}}
	for id, live := range graph.Ancestors(outs...) {
		if n := outs[0].Graph().Nodes()[id]; live && n.Kind() == graph.Float && same(n) == n {
			t.kept = append(t.kept, n)
		}
	}
	return t
}

// same is the node that holds the values of n.
func same(n *graph.Node) *graph.Node {
	for {
		switch n.Op() {
		case graph.OpReshape, graph.OpTranspose, graph.OpBroadcast, graph.OpDetach:
			n = n.Inputs()[0]
		default:
			return n
		}
	}
}

// cause is the first node that is not finite though its operands are, among those that an output which is not finite is made of; nil
// where all outputs are finite. An infinity that comes of a constant, as in the mask of attention, is as the network has it.
func (t *trace) cause(outs []*graph.Node) *graph.Node {
	meant := map[*graph.Node]bool{}
	bad := func(n *graph.Node) bool { return t.value[n] != 0 && !meant[n] }
	operands := func(n *graph.Node) (some bool, worst bool) {
		for _, x := range n.Inputs() {
			x = same(x)
			some, worst = some || meant[x], worst || bad(x)
		}
		return some, worst
	}
	for _, n := range t.kept {
		masked, worse := operands(n)
		meant[n] = math.IsInf(t.value[n], 0) && (n.Op() == graph.OpConst || masked && !worse)
	}
	seen := map[*graph.Node]bool{}
	var stack []*graph.Node
	push := func(nodes []*graph.Node) {
		for _, n := range nodes {
			if n = same(n); bad(n) && !seen[n] {
				seen[n] = true
				stack = append(stack, n)
			}
		}
	}
	push(outs)
	var first *graph.Node
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, worse := operands(n); !worse && (first == nil || n.ID() < first.ID()) {
			first = n
		}
		push(n.Inputs())
	}
	return first
}

// called is what messages call the tensor of a node.
func (p *program[T]) called(n *graph.Node, outs []*graph.Node) string {
	m := n.Making()
	switch {
	case m.Of == nil:
		return p.place(n)
	case m.Along && m.Of.Making().Of != nil:
		return "the derivative along the probe of the gradient at " + p.place(m.Of.Making().Of)
	case m.Along:
		return "the derivative along the probe of " + p.place(m.Of)
	}
	return "the gradient at " + p.place(m.Of)
}

// place is what messages call a node of the network itself: by the parameters that it takes in, or by the last before it that did.
func (p *program[T]) place(n *graph.Node) string {
	switch {
	case n == p.graph.Loss, n == p.graph.ExampleLoss:
		return "the loss"
	case n.Op() == graph.OpParam:
		return fmt.Sprintf("the parameter %q", n.Attr().(graph.Leaf).Name)
	case n.Op() == graph.OpInput:
		return "the inputs"
	case n.Op() == graph.OpConst:
		return "a constant of the network"
	case n.Making().Within != "":
		return n.Making().Within
	}
	data := dependent(n.Graph(), graph.OpInput)
	if !data[n.ID()] {
		return fmt.Sprintf("what is made of %q", layer(params(n)))
	}
	after := ""
	for x := n; x != nil; after = fmt.Sprintf("the %s after ", n.Op()) {
		var names []string
		var next *graph.Node
		for _, in := range x.Inputs() {
			switch {
			case !data[in.ID()]:
				names = append(names, params(in)...)
			case next == nil || in.ID() > next.ID():
				next = in
			}
		}
		if len(names) > 0 {
			if after == "" {
				return fmt.Sprintf("the output of %q", layer(names))
			}
			return fmt.Sprintf("%s%q", after, layer(names))
		}
		x = next
	}
	return after + "the inputs"
}

// dependent marks, by ID, the nodes that depend on leaves of a kind: the batch, or the directions.
func dependent(g *graph.Graph, leaf graph.Op) []bool {
	marked := make([]bool, len(g.Nodes()))
	for _, n := range g.Nodes() {
		marked[n.ID()] = n.Op() == leaf
		for _, x := range n.Inputs() {
			marked[n.ID()] = marked[n.ID()] || marked[x.ID()]
		}
	}
	return marked
}

// params are the names of the parameters that a node is made of.
func params(n *graph.Node) []string {
	var names []string
	for id, live := range graph.Ancestors(n) {
		if x := n.Graph().Nodes()[id]; live && x.Op() == graph.OpParam {
			names = append(names, x.Attr().(graph.Leaf).Name)
		}
	}
	return names
}

// layer is what the names of a layer's parameters have in common: "conv1" for "conv1.weight"; a lone name without dots is itself.
func layer(names []string) string {
	if len(names) == 0 {
		return ""
	}
	common := names[0]
	if i := strings.LastIndexByte(common, '.'); i > 0 {
		common = common[:i]
	}
	for _, name := range names[1:] {
		for common != "" && name != common && !strings.HasPrefix(name, common+".") {
			common = common[:max(strings.LastIndexByte(common, '.'), 0)]
		}
	}
	if common == "" {
		return names[0]
	}
	return common
}
