// Package graph is the intermediate representation of a network and of its derivatives: a
// directed acyclic graph of tensor operations that is closed under differentiation.
//
// An operation is one entry of the table in ops.go: a shape rule (its constructor), a
// Jacobian-vector rule and a vector-Jacobian rule, the rules written as operations of the same
// set. [JVP] and [VJP] extend a graph by its derivatives; since what they emit has rules
// again, any order exists, and the Hessian-vector product of a loss is JVP(VJP(loss)).
//
// Shapes are known when a node is made. A constructor that is given operands that do not fit
// panics with an *[Error]; [Catch] turns that into an error where operands come from a file.
//
// The graph knows nothing of how many directions are followed at once: package exec puts that
// axis before the last one of every node that depends on a [Graph.Direction].
package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind says what a node's values are.
type Kind uint8

// Values are real numbers, or integers (class labels, tokens, positions in a tensor).
const (
	Float Kind = iota
	Int
)

// Node is the result of one operation. Nodes are immutable and belong to one Graph.
type Node struct {
	g     *Graph
	id    int
	op    Op
	in    []*Node
	attr  any
	shape []int
	kind  Kind
	made  Making
}

// Op is the operation that made the node.
func (n *Node) Op() Op { return n.op }

// ID is the node's number: larger than that of each of its inputs.
func (n *Node) ID() int { return n.id }

// Inputs are the operands; not to be modified.
func (n *Node) Inputs() []*Node { return n.in }

// Attr is the operation's attribute, of the type that the Op names.
func (n *Node) Attr() any { return n.attr }

// Shape holds the sizes of the axes; not to be modified.
func (n *Node) Shape() []int { return n.shape }

// Dim is the size of axis i, counted from the end where i is negative.
func (n *Node) Dim(i int) int {
	if i < 0 {
		i += len(n.shape)
	}
	return n.shape[i]
}

// Rank is the number of axes.
func (n *Node) Rank() int { return len(n.shape) }

// Size is the number of values.
func (n *Node) Size() int { return size(n.shape) }

// Kind says whether the node holds real numbers or integers.
func (n *Node) Kind() Kind { return n.kind }

// String is the node in one line, for messages and dumps.
func (n *Node) String() string {
	in := make([]string, len(n.in))
	for i, x := range n.in {
		in[i] = "%" + strconv.Itoa(x.id)
	}
	return fmt.Sprintf("%%%d = %s(%s)%s %v", n.id, n.op, strings.Join(in, ", "), attrKey(n.attr), n.shape)
}

// Graph holds nodes in an order in which operands come first. Equal operations on equal
// operands are one node. The zero value is not ready: use New.
type Graph struct {
	nodes []*Node
	known map[string]*Node
	geos  map[string]*Geometry
	dirs  map[*Node]*Node
	made  Making // of the nodes that are added now
}

// New makes an empty graph.
func New() *Graph {
	return &Graph{known: map[string]*Node{}, geos: map[string]*Geometry{}, dirs: map[*Node]*Node{}}
}

// Nodes are all nodes, operands first; not to be modified.
func (g *Graph) Nodes() []*Node { return g.nodes }

// Error is what a constructor panics with when its operands do not fit.
type Error struct{ msg string }

func (e *Error) Error() string { return e.msg }

// Catch runs build and returns the *Error that it panics with, if any.
func Catch(build func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	return build()
}

func fail(format string, args ...any) { panic(&Error{fmt.Sprintf(format, args...)}) }

// keyer is an attribute with a key of its own: equal keys, equal attributes.
type keyer interface{ key() string }

func attrKey(a any) string {
	switch a := a.(type) {
	case nil:
		return ""
	case keyer:
		return a.key()
	case float64:
		return strconv.FormatFloat(a, 'g', -1, 64)
	}
	return fmt.Sprintf("%v", a)
}

// add makes a node, or finds the equal one.
func (g *Graph) add(op Op, kind Kind, shape []int, attr any, in ...*Node) *Node {
	var b strings.Builder
	b.WriteString(strconv.Itoa(int(op)))
	for _, x := range in {
		if x.g != g {
			panic("graph: operand of " + op.String() + " belongs to another graph")
		}
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(x.id))
	}
	fmt.Fprintf(&b, "|%d%v|", kind, shape)
	b.WriteString(attrKey(attr))
	k := b.String()
	if n, ok := g.known[k]; ok {
		return n
	}
	n := &Node{g: g, id: len(g.nodes), op: op, in: slices.Clone(in), attr: attr, shape: slices.Clone(shape), kind: kind, made: g.made}
	g.nodes = append(g.nodes, n)
	g.known[k] = n
	return n
}

// Leaf names a leaf of the graph.
type Leaf struct{ Name string }

func (l Leaf) key() string { return strconv.Quote(l.Name) }

// Param makes the leaf of a trainable or fixed parameter tensor: constant from batch to batch.
func (g *Graph) Param(name string, shape ...int) *Node {
	return g.add(OpParam, Float, shape, Leaf{name})
}

// Input makes the leaf of something that changes with the batch.
func (g *Graph) Input(name string, kind Kind, shape ...int) *Node {
	return g.add(OpInput, kind, shape, Leaf{name})
}

// Direction makes the leaf that stands for the component of a direction along x, a leaf: the
// seed of JVP. What depends on a direction is linear in it.
func (g *Graph) Direction(x *Node) *Node {
	if d, ok := g.dirs[x]; ok {
		return d
	}
	d := g.add(OpDirection, Float, x.shape, Leaf{x.attr.(Leaf).Name})
	g.dirs[x] = d
	return d
}

// Values holds a constant's values: Float or Int, by the node's kind.
type Values struct {
	F  []float64
	I  []int64
	id int
}

func (v *Values) key() string {
	if len(v.F) == 1 {
		return strconv.FormatFloat(v.F[0], 'x', -1, 64)
	}
	return "#" + strconv.Itoa(v.id)
}

// Const makes a constant of real numbers, row-major. The slice is kept.
func (g *Graph) Const(values []float64, shape ...int) *Node {
	if len(values) != size(shape) {
		fail("constant of shape %v has %d values", shape, len(values))
	}
	return g.add(OpConst, Float, shape, &Values{F: values, id: len(g.nodes)})
}

// ConstInt makes a constant of integers, row-major. The slice is kept.
func (g *Graph) ConstInt(values []int64, shape ...int) *Node {
	if len(values) != size(shape) {
		fail("constant of shape %v has %d values", shape, len(values))
	}
	return g.add(OpConst, Int, shape, &Values{I: values, id: len(g.nodes)})
}

// Scalar makes a constant of rank 0.
func (g *Graph) Scalar(v float64) *Node { return g.Const([]float64{v}) }

// scalarValue is the value of a constant of one element.
func scalarValue(n *Node) (float64, bool) {
	if n.op == OpConst && n.kind == Float && len(n.attr.(*Values).F) == 1 {
		return n.attr.(*Values).F[0], true
	}
	return 0, false
}

func size(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// Ancestors marks, by ID, the nodes that outs are made of, outs included.
func Ancestors(outs ...*Node) []bool {
	if len(outs) == 0 {
		return nil
	}
	top := slices.MaxFunc(outs, func(a, b *Node) int { return a.id - b.id })
	seen := make([]bool, top.id+1)
	for _, o := range outs {
		seen[o.id] = true
	}
	for id := top.id; id >= 0; id-- {
		if seen[id] {
			for _, x := range top.g.nodes[id].in {
				seen[x.id] = true
			}
		}
	}
	return seen
}

// Graph is the graph that the node belongs to.
func (n *Node) Graph() *Graph { return n.g }

// Failf panics with an *[Error], for those that build graphs from files and find operands that do
// not fit before a constructor does.
func Failf(format string, args ...any) { fail(format, args...) }
