// Package secondopinion differentiates a loss by another program's rules: it translates a graph
// to Gorgonia (gorgonia.org/gorgonia) and takes loss and gradient from there, in float64. An
// error in a derivative rule of package graph does not repeat itself here.
//
// Gorgonia is asked for first derivatives only; a Hessian-vector product is compared with a
// difference of two of its gradients. Only those of its operations are used that the tests of
// this package found right in value and gradient; what was found wrong, and what is built
// instead, is said in translate.go and held by gorgonia_test.go.
//
// Expressions are built and differentiated by Gorgonia and evaluated by its operations' Do, one
// after the other, not by its tape machine: that one overwrites a value whose memory a Reshape of
// it still shares, and runs operations in a goroutine, where a panic ends the process.
package secondopinion

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	// Of this package Gorgonia requires a release that panics on a version of Go later than itself.
	// Required here, a later release takes its place, which asks the runtime instead.
	_ "go4.org/unsafe/assume-no-moving-gc"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"hessdens/internal/graph"
)

// maxBytes is the memory that a translation may need, about: 1 GiB, so that a comparison on a few
// examples fits beside the engine's own buffers on any machine.
const maxBytes = 1 << 30

// bytesPerValue is what a forward value costs: itself, its cotangent, and what its derivative rule
// computes between, 8 bytes each.
const bytesPerValue = 3 * 8

// Problem is a loss, where it is evaluated, and by what it is differentiated.
type Problem struct {
	// Loss is a node of one value.
	Loss *graph.Node
	// Leaves holds the values of parameters and of real inputs, row-major. They are copied.
	Leaves map[*graph.Node][]float64
	// Ints holds the values of integer inputs, row-major. They are copied.
	Ints map[*graph.Node][]int64
	// Wrt are leaves of the loss's graph: parameters or real inputs.
	Wrt []*graph.Node
}

// UnsupportedError names operations that are not translated.
type UnsupportedError struct {
	// Ops are the operations' names, sorted, each once.
	Ops []string
}

func (e *UnsupportedError) Error() string {
	return "no second opinion on the operations " + strings.Join(e.Ops, ", ")
}

// Supported returns nil where every operation under loss is one that is translated, otherwise an
// *UnsupportedError.
func Supported(loss *graph.Node) error {
	ops := map[string]struct{}{}
	for _, n := range ancestors(loss) {
		if n.Op() >= graph.Op(len(rules)) || rules[n.Op()] == nil {
			ops[n.Op().String()] = struct{}{}
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return &UnsupportedError{Ops: slices.Sorted(maps.Keys(ops))}
}

// ancestors are the nodes that n is made of, operands first, n the last.
func ancestors(n *graph.Node) []*graph.Node {
	var order []*graph.Node
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, x := range n.Inputs() {
			visit(x)
		}
		order = append(order, n)
	}
	visit(n)
	return order
}

// Machine evaluates the loss and the gradient of one Problem. It is not for concurrent use.
type Machine struct {
	leaves map[*graph.Node]*leaf
	steps  []step
	fixed  []gorgonia.Value // by slot; nil where a step writes
	loss   int              // slot
	grads  []gradient       // parallel to Wrt
}

// leaf is a parameter or a real input: the values it was made with, and those of the next run.
type leaf struct {
	name          string
	initial, next []float64
}

// step is one operation on slots. Slots in drop are not read by later steps.
type step struct {
	op   gorgonia.Op
	in   []int
	out  int
	drop []int
}

// gradient is a slot, or -1 where the gradient is zero whatever the values, and a size.
type gradient struct{ slot, size int }

// building guards what Gorgonia keeps in package variables while expressions are built.
var building sync.Mutex

// New translates a problem. It fails where an operation is not supported (*UnsupportedError),
// where a leaf's values are missing or of a wrong number, and where the translation would need
// more than about 1 GiB.
func New(p Problem) (m *Machine, err error) {
	if p.Loss.Size() != 1 {
		return nil, fmt.Errorf("second opinion: the loss has shape %v, not one value", p.Loss.Shape())
	}
	if err := Supported(p.Loss); err != nil {
		return nil, err
	}
	building.Lock()
	defer building.Unlock()
	defer recovered(&err)
	t := newTranslation(p)
	for _, n := range ancestors(p.Loss) {
		t.node(n)
	}
	return t.machine(p)
}

// recovered turns a panic into an error: Gorgonia panics where its operands displease it.
func recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = fmt.Errorf("second opinion: %w", r.error)
	default:
		*err = fmt.Errorf("second opinion: Gorgonia panicked: %v", r)
	}
}

// Gradient is the loss and its gradients at the problem's values, where leaves replaces some of
// them, for this call only. grads is parallel to the problem's Wrt, each row-major and new.
func (m *Machine) Gradient(leaves map[*graph.Node][]float64) (loss float64, grads [][]float64, err error) {
	defer recovered(&err)
	for n, v := range leaves {
		switch l := m.leaves[n]; {
		case l == nil:
			return 0, nil, fmt.Errorf("second opinion: values for %v, which is no real leaf of the problem", n)
		case len(v) != len(l.initial):
			return 0, nil, fmt.Errorf("second opinion: %d values for %q, which has %d", len(v), l.name, len(l.initial))
		}
	}
	for n, l := range m.leaves {
		if v, ok := leaves[n]; ok {
			copy(l.next, v)
		} else {
			copy(l.next, l.initial)
		}
	}
	slots := slices.Clone(m.fixed)
	for _, s := range m.steps {
		in := make([]gorgonia.Value, len(s.in))
		for i, x := range s.in {
			in[i] = slots[x]
		}
		v, err := s.op.Do(in...)
		if err != nil {
			return 0, nil, fmt.Errorf("second opinion: %v: %w", s.op, err)
		}
		slots[s.out] = v
		for _, x := range s.drop {
			slots[x] = nil
		}
	}
	value, err := values(slots[m.loss], 1)
	if err != nil {
		return 0, nil, err
	}
	for _, g := range m.grads {
		v := make([]float64, g.size)
		if g.slot >= 0 {
			if v, err = values(slots[g.slot], g.size); err != nil {
				return 0, nil, err
			}
		}
		grads = append(grads, v)
	}
	return value[0], grads, nil
}

// values copies what v holds, n numbers in row-major order.
func values(v gorgonia.Value, n int) ([]float64, error) {
	if t, ok := v.(*tensor.Dense); ok && (t.RequiresIterator() || !t.DataOrder().IsRowMajor()) {
		v = t.Materialize().(*tensor.Dense)
	}
	switch d := v.Data().(type) {
	case float64:
		if n == 1 {
			return []float64{d}, nil
		}
	case []float64:
		if n == len(d) {
			return slices.Clone(d), nil
		}
	}
	return nil, fmt.Errorf("second opinion: a value of shape %v where %d numbers are expected", v.Shape(), n)
}

// machine differentiates and puts the operations in order.
func (t *translation) machine(p Problem) (*Machine, error) {
	m := &Machine{leaves: t.leaves}
	loss := t.nodes[p.Loss]
	reached := reached(p.Loss)
	var wrt gorgonia.Nodes
	for _, w := range p.Wrt {
		if w.Op() != graph.OpParam && w.Op() != graph.OpInput || w.Kind() != graph.Float {
			return nil, fmt.Errorf("second opinion: %v is no parameter and no real input", w)
		}
		if n := t.nodes[w]; reached[w] && !slices.Contains(wrt, n) {
			wrt = append(wrt, n)
		}
	}
	var grads gorgonia.Nodes
	if len(wrt) > 0 {
		var err error
		one := t.fill(loss.Shape(), 1)
		if grads, err = gorgonia.Backpropagate(gorgonia.Nodes{loss}, gorgonia.Nodes{one}, wrt); err != nil {
			return nil, fmt.Errorf("second opinion: Gorgonia: %w", err)
		}
	}
	slots := map[int64]int{}
	var order func(n *gorgonia.Node) (int, error)
	order = func(n *gorgonia.Node) (int, error) {
		if s, ok := slots[n.ID()]; ok {
			return s, nil
		}
		var s step
		for it := t.g.From(n.ID()); it.Next(); {
			x, err := order(it.Node().(*gorgonia.Node))
			if err != nil {
				return 0, err
			}
			s.in = append(s.in, x)
		}
		s.out = len(m.fixed)
		slots[n.ID()] = s.out
		var v gorgonia.Value
		if len(s.in) > 0 {
			s.op = n.Op()
			m.steps = append(m.steps, s)
		} else if v = t.values[n]; v == nil {
			if v = n.Value(); v == nil { // a constant of a derivative rule
				return 0, fmt.Errorf("second opinion: Gorgonia's node %v has no value", n)
			}
		}
		m.fixed = append(m.fixed, v)
		return s.out, nil
	}
	var err error
	if m.loss, err = order(loss); err != nil {
		return nil, err
	}
	for _, w := range p.Wrt {
		g := gradient{slot: -1, size: w.Size()}
		if i := slices.Index(wrt, t.nodes[w]); i >= 0 {
			if g.slot, err = order(grads[i]); err != nil {
				return nil, err
			}
		}
		m.grads = append(m.grads, g)
	}
	m.dropUnread()
	return m, nil
}

// dropUnread notes after which step a slot is not read any more.
func (m *Machine) dropUnread() {
	read := make([]bool, len(m.fixed))
	read[m.loss] = true
	for _, g := range m.grads {
		if g.slot >= 0 {
			read[g.slot] = true
		}
	}
	for i := len(m.steps) - 1; i >= 0; i-- {
		s := &m.steps[i]
		for _, x := range append(slices.Clone(s.in), s.out) {
			if !read[x] {
				read[x] = true
				s.drop = append(s.drop, x)
			}
		}
	}
}

var errTooLarge = errors.New("the network and its batch are too large (more than 1 GiB); take fewer examples")
