package onnx

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/tensor"
)

// form is how a node holds a value.
type form uint8

const (
	plain form = iota // in the value's own shape
	image             // of a value [N, C, d₁ … dₖ]: [N, d₁⋯dₖ, C]
	flat              // of a value [N, C·P], an image flattened: [N, P, C]
)

// value is what an operator takes and makes. Channels stay last, as layers compute them, from
// operator to operator as long as nothing asks for the order that ONNX has.
type value struct {
	dt    dtype
	shape []int       // as ONNX has it
	c     *array      // the values, where they are known when the graph is made
	n     *graph.Node // else where they will be
	form  form
	why   string // where neither is there: what is missing
	view  *graph.Node

	scores *value // of a softmax along the last axis: its operand
}

func (v *value) rank() int { return len(v.shape) }

func (v *value) dim(i int) int {
	if i < 0 {
		i += len(v.shape)
	}
	return v.shape[i]
}

func (v *value) size() int { return tensor.Count(v.shape) }

// builder makes the graph of one size of batch.
type builder struct {
	g *graph.Graph

	// batchStats says that batch normalisation takes the statistics of the batch; nil leaves it to each node.
	batchStats *bool
	batch      int         // of the input, 0 where there is none
	declared   int         // the batch that the file was written for, 0 where it is not fixed
	target     *graph.Node // the leaf of the targets, nil without them
	vocab      int         // size of the smallest table that ids of the input name rows of, 0 where there is none
	labels     int         // the same of the targets
	depth      int
	calls      int
	spent      int // elements of constants and entries of tables so far
	most       int // of these
	node       *node
}

func (b *builder) fail(format string, args ...any) { graph.Failf(format, args...) }

// scope is the values of a body by name, with those around it.
type scope struct {
	outer  *scope
	values map[string]*value
	leaf   func(name string) *value // makes the value of an initialiser
}

func (s *scope) get(name string) *value {
	if name == "" {
		return nil
	}
	for ; s != nil; s = s.outer {
		if v := s.values[name]; v != nil {
			return v
		}
		if s.leaf != nil {
			if v := s.leaf(name); v != nil {
				s.values[name] = v
				return v
			}
		}
	}
	return nil
}

// run builds nodes, which are sorted.
func (b *builder) run(nodes []*node, s *scope) {
	for _, n := range nodes {
		in := make([]*value, len(n.in))
		for i, name := range n.in {
			in[i] = s.get(name)
			if v := in[i]; v != nil && v.c == nil && v.n == nil {
				graph.Failf("%s reads %q, %s", n, name, v.why)
			}
		}
		out := b.call(n, in, s)
		for i, name := range n.out {
			if name == "" {
				continue
			}
			v := &value{why: "which is not computed"}
			if i < len(out) && out[i] != nil {
				v = out[i]
			}
			s.values[name] = v
		}
	}
}

// call builds one node; what is wrong with it is said with its name.
func (b *builder) call(n *node, in []*value, s *scope) (out []*value) {
	defer func() {
		r := recover()
		switch e := r.(type) {
		case nil:
		case *inNode:
			panic(r)
		case *graph.Error:
			panic(&inNode{fmt.Sprintf("%s: %v", n, e)})
		case runtime.Error: // operands or attributes that are no such operator's
			panic(&inNode{fmt.Sprintf("%s: operands or attributes do not fit the operator (%v)", n, e)})
		default:
			panic(r)
		}
	}()
	key := n.op
	if n.domain != "" {
		key = n.domain + "::" + n.op
	}
	op, ok := operators[key]
	if !ok {
		b.fail("the operator is not known")
	}
	for _, v := range in {
		if v == nil {
			continue
		}
		b.checkShape(v.shape)
	}
	if b.calls++; b.calls > maxNodes {
		b.fail("more than %d operators with loops written out", maxNodes)
	}
	last := b.node
	b.node = n
	defer b.g.Within(n.String())()
	if op.scoped != nil {
		out = op.scoped(b, n, in, s)
	} else {
		if len(in) < op.least {
			b.fail("%d operands, and at least %d are needed", len(in), op.least)
		}
		for i := range op.least {
			if in[i] == nil {
				b.fail("operand %d is left out", i)
			}
		}
		out = op.build(b, n, in)
	}
	b.node = last
	for _, v := range out {
		if v != nil {
			b.checkShape(v.shape)
		}
	}
	return out
}

// inNode is a failure that names its node already.
type inNode struct{ msg string }

// catch runs build and returns what it failed with.
func catch(build func()) (err error) {
	defer func() {
		if e, ok := recover().(*inNode); ok {
			err = fmt.Errorf("%s", e.msg)
		} else if e != nil {
			panic(e)
		}
	}()
	return graph.Catch(func() error { build(); return nil })
}

func (b *builder) checkShape(shape []int) {
	if n, err := tensor.CheckedCount(shape); err != nil || n > maxSize || len(shape) > maxRank {
		b.fail("a tensor of shape %v is too large", shape)
	}
}

// opt is operand i, nil where it is left out.
func opt(in []*value, i int) *value {
	if i < len(in) {
		return in[i]
	}
	return nil
}

// known makes the value of an array.
func known(a *array) *value { return &value{dt: a.dt, shape: a.shape, c: a} }

func (b *builder) knownOf(dt dtype, shape []int, at func(i int) float64) *value {
	a := b.array(dt, shape...)
	for i := range a.size() {
		if a.f != nil {
			a.f[i] = at(i)
		} else {
			a.i[i] = int64(at(i))
		}
	}
	return known(a)
}

// array makes an array of zeros of a size that may come from the file.
func (b *builder) array(dt dtype, shape ...int) *array {
	b.bound(shape)
	return newArray(dt, shape...)
}

// bound limits what is computed when importing: a tensor of a shape, and all of them together.
func (b *builder) bound(shape []int) {
	n, err := tensor.CheckedCount(shape)
	if err != nil || n > maxConst || len(shape) > maxRank {
		b.fail("a constant of shape %v is too large", shape)
	}
	b.spend(n)
}

func (b *builder) spend(n int) {
	if b.spent += n; b.spent > b.most {
		b.fail("constants and tables are too large together for a file of this size")
	}
}

// made is a value that a node holds in its own shape.
func made(dt dtype, n *graph.Node) *value { return &value{dt: dt, shape: n.Shape(), n: n} }

// as is a value like v with another node, which holds it in the same form.
func (v *value) as(n *graph.Node) *value {
	return &value{dt: v.dt, shape: v.shape, n: n, form: v.form}
}

// plain is the node that holds v in its own shape: real numbers, or integers where v has them.
func (b *builder) plain(v *value) *graph.Node {
	if v.view != nil {
		return v.view
	}
	g := b.g
	switch {
	case v.c != nil && v.c.f != nil:
		v.view = b.constant(v.c.f, v.shape)
	case v.c != nil:
		f := make([]float64, len(v.c.i))
		for i, x := range v.c.i {
			f[i] = float64(x)
		}
		v.view = b.constant(f, v.shape)
	case v.form == plain:
		return v.n
	default:
		n, p, c := v.n.Dim(0), v.n.Dim(1), v.n.Dim(2)
		if v.form == flat {
			v.view = g.Reshape(g.Transpose(v.n, 0, 2, 1), n, c*p)
			break
		}
		x := b.spread(v)
		perm := []int{0, v.rank() - 1}
		for i := 1; i < v.rank()-1; i++ {
			perm = append(perm, i)
		}
		v.view = g.Transpose(x, perm...)
	}
	return v.view
}

// constant makes a node of known numbers; one that repeats a single number is stored as that.
func (b *builder) constant(f []float64, shape []int) *graph.Node {
	g := b.g
	if len(f) == 0 {
		b.fail("a tensor of shape %v has no values", shape)
	}
	for _, x := range f[1:] {
		if math.Float64bits(x) != math.Float64bits(f[0]) {
			return g.Const(f, shape...)
		}
	}
	one := make([]int, len(shape))
	for i := range one {
		one[i] = 1
	}
	return g.Broadcast(g.Reshape(g.Scalar(f[0]), one...), shape...)
}

// real is plain for operators that compute with real numbers.
func (b *builder) real(v *value) *graph.Node {
	n := b.plain(v)
	if n.Kind() != graph.Float {
		return b.g.Real(n)
	}
	return n
}

// spread is the node of an image with its axes apart: [N, d₁, …, dₖ, C].
func (b *builder) spread(v *value) *graph.Node {
	s := append([]int{v.shape[0]}, v.shape[2:]...)
	return b.g.Reshape(v.n, append(s, v.shape[1])...)
}

// image is the node that holds v, of rank 3 or more, with channels last: [N, P, C].
func (b *builder) image(v *value) *graph.Node {
	if v.form == image {
		return v.n
	}
	if v.rank() < 3 {
		b.fail("an operand of shape %v, where [N, C, …] with at least one more axis is needed", v.shape)
	}
	perm := []int{0}
	for i := 2; i < v.rank(); i++ {
		perm = append(perm, i)
	}
	x := b.g.Transpose(b.real(v), append(perm, 1)...)
	return b.g.Reshape(x, v.shape[0], tensor.Count(v.shape[2:]), v.shape[1])
}

// imaged is the value [N, C, spatial…] of a node [N, P, C].
func imaged(dt dtype, n *graph.Node, spatial []int) *value {
	return &value{dt: dt, shape: append([]int{n.Dim(0), n.Dim(2)}, spatial...), n: n, form: image}
}

// axis is an axis counted from the front.
func (b *builder) axis(a, rank int) int {
	if a < -rank || a >= rank {
		b.fail("axis %d of a tensor with %d", a, rank)
	}
	if a < 0 {
		a += rank
	}
	return a
}

func (b *builder) axes(as []int, rank int) []int {
	out := make([]int, len(as))
	for i, a := range as {
		out[i] = b.axis(a, rank)
		if slices.Contains(out[:i], out[i]) {
			b.fail("axis %d is named twice", a)
		}
	}
	return out
}

// list is the integers of an operand that has to be known when the graph is made.
func (b *builder) list(v *value, what string) []int {
	if v.c == nil {
		b.fail("%s depends on the input's values, and has to be a constant", what)
	}
	out := make([]int, v.c.size())
	for i := range out {
		if v.c.f == nil {
			out[i] = int(v.c.i[i]) // limits as large as an int64 stay what they are
			continue
		}
		out[i] = int(v.c.f[i])
	}
	return out
}

// number is a single number that has to be known.
func (b *builder) number(v *value, what string) float64 {
	if v.c == nil || v.c.size() != 1 {
		b.fail("%s depends on the input's values, or is not a single number", what)
	}
	return v.c.at(0)
}

// broadcast is the shape of operands together, by numpy's rule.
func (b *builder) broadcast(shapes ...[]int) []int {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]int, rank)
	for i := range out {
		out[i] = 1
	}
	for _, s := range shapes {
		for i, d := range s {
			o := &out[rank-len(s)+i]
			switch {
			case d == *o || d == 1:
			case *o == 1:
				*o = d
			default:
				b.fail("shapes %v do not fit each other", shapes)
			}
		}
	}
	b.checkShape(out)
	return out
}

// unary applies a function of one variable.
func (b *builder) unary(x *value, f func(float64) float64, node func(*graph.Node) *graph.Node) *value {
	if x.c != nil && f != nil {
		b.spend(x.c.size())
		if x.c.f == nil {
			out := newArray(x.dt, x.shape...)
			for i, v := range x.c.i {
				out.i[i] = int64(f(float64(v)))
			}
			return known(out)
		}
		out := newArray(x.dt, x.shape...)
		for i, v := range x.c.f {
			out.f[i] = f(v)
		}
		return known(out)
	}
	if x.form == plain {
		return made(x.dt, node(b.real(x)))
	}
	return x.as(node(x.n))
}

// aligned is nodes of one form that broadcast to the shape of all operands.
func (b *builder) aligned(vs ...*value) (nodes []*graph.Node, shape []int, f form) {
	shapes := make([][]int, len(vs))
	for i, v := range vs {
		shapes[i] = v.shape
	}
	shape = b.broadcast(shapes...)
	nodes = make([]*graph.Node, len(vs))
	for _, v := range vs {
		if v.c == nil && v.form == image && v.rank() == len(shape) && (f != image) && slices.Equal(v.shape[2:], shape[2:]) {
			f = image
		}
		if v.c == nil && v.form == flat && slices.Equal(v.shape, shape) {
			f = flat
		}
	}
	if f == flat {
		for _, v := range vs {
			if v.size() != 1 && (v.form != flat || !slices.Equal(v.n.Shape(), flatShape(vs))) {
				f = plain
			}
		}
	}
	for i, v := range vs {
		switch {
		case f == image:
			nodes[i] = b.toImage(v, shape)
		case f == flat && v.form == flat:
			nodes[i] = v.n
		case f == flat:
			nodes[i] = b.g.Reshape(b.real(v), 1, 1, 1)
		default:
			nodes[i] = b.real(v)
		}
	}
	return nodes, shape, f
}

func flatShape(vs []*value) []int {
	for _, v := range vs {
		if v.form == flat {
			return v.n.Shape()
		}
	}
	return nil
}

// toImage is v with channels last so that it broadcasts to an image of the shape: [1 or N, 1 or P, 1 or C].
func (b *builder) toImage(v *value, shape []int) *graph.Node {
	if v.c == nil && v.form == image && v.rank() == len(shape) {
		if p := tensor.Count(v.shape[2:]); p == 1 || slices.Equal(v.shape[2:], shape[2:]) {
			return v.n
		}
	}
	x := b.real(v)
	s := slices.Clone(v.shape)
	for len(s) < len(shape) {
		s = slices.Insert(s, 0, 1)
	}
	x = b.g.Reshape(x, s...)
	if tensor.Count(s[2:]) == 1 {
		return b.g.Reshape(x, s[0], 1, s[1])
	}
	x = b.g.Broadcast(x, append(slices.Clone(s[:2]), shape[2:]...)...)
	perm := []int{0}
	for i := 2; i < len(shape); i++ {
		perm = append(perm, i)
	}
	return b.g.Reshape(b.g.Transpose(x, append(perm, 1)...), s[0], tensor.Count(shape[2:]), s[1])
}

// pointwise applies an operator to operands that broadcast to one shape.
func (b *builder) pointwise(dt dtype, vs []*value, node func(x []*graph.Node) *graph.Node) *value {
	nodes, shape, f := b.aligned(vs...)
	y := node(nodes)
	v := &value{dt: dt, shape: shape, n: y, form: f}
	want := shape
	switch f {
	case image:
		want = []int{shape[0], tensor.Count(shape[2:]), shape[1]}
	case flat:
		want = flatShape(vs)
	}
	if !slices.Equal(y.Shape(), want) { // a composite of constants may have lost axes of size 1
		if y.Size() == tensor.Count(want) {
			v.n = b.g.Reshape(y, want...)
		} else {
			s := slices.Clone(y.Shape())
			for len(s) < len(want) {
				s = slices.Insert(s, 0, 1)
			}
			v.n = b.g.Broadcast(b.g.Reshape(y, s...), want...)
		}
	}
	return v
}

// binary applies a function of two variables. dt is the type of the result.
func (b *builder) binary(x, y *value, dt dtype, f func(x, y float64) float64, i func(x, y int64) int64, node func(x, y *graph.Node) *graph.Node) *value {
	if x.c != nil && y.c != nil {
		shape := b.broadcast(x.shape, y.shape)
		out := b.array(dt, shape...)
		xi, yi := b.repeat(x.shape, shape), b.repeat(y.shape, shape)
		for j := range out.size() {
			if i != nil && x.c.f == nil && y.c.f == nil {
				v := i(x.c.i[xi(j)], y.c.i[yi(j)])
				if out.f != nil {
					out.f[j] = float64(v)
				} else {
					out.i[j] = v
				}
				continue
			}
			v := f(x.c.at(xi(j)), y.c.at(yi(j)))
			if out.f != nil {
				out.f[j] = v
			} else {
				out.i[j] = int64(v)
			}
		}
		return known(out)
	}
	return b.pointwise(dt, []*value{x, y}, func(n []*graph.Node) *graph.Node { return node(n[0], n[1]) })
}

// repeat maps a position in shape to one in a tensor that broadcasts to it.
func (b *builder) repeat(from, shape []int) func(int) int {
	if tensor.Count(from) == 1 {
		return func(int) int { return 0 }
	}
	if slices.Equal(from, shape) {
		return func(i int) int { return i }
	}
	at := arange(from).expand(b, shape).at
	return func(i int) int { return at[i] }
}

// evaluate builds the outputs of a body from its inputs.
func (b *builder) evaluate(body *body, outputs []string, s *scope) []*value {
	if b.depth++; b.depth > maxDepth {
		b.fail("graphs are nested more than %d deep", maxDepth)
	}
	defer func() { b.depth-- }()
	nodes, err := body.sorted(outputs, func(name string) bool {
		return s.outer.get(name) != nil
	})
	if err != nil {
		b.fail("%v", err)
	}
	b.run(nodes, s)
	out := make([]*value, len(outputs))
	for i, o := range outputs {
		if out[i] = s.get(o); out[i] == nil {
			b.fail("output %q is not there", o)
		}
	}
	return out
}

// inner is the scope of a body in a node.
func (b *builder) inner(body *body, outer *scope) *scope {
	return &scope{outer: outer, values: map[string]*value{}, leaf: func(name string) *value {
		if a := body.inits[name]; a != nil {
			return known(scalarMeant(a))
		}
		return nil
	}}
}

// scalarMeant is an initialiser that is no parameter, single numbers as they are meant.
func scalarMeant(a *array) *array {
	if a.dt == dtFloat && len(a.f) == 1 {
		return &array{dt: a.dt, shape: a.shape, f: []float64{meant(a.f[0])}}
	}
	return a
}
