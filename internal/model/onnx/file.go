// Package onnx reads ONNX files: [Open] parses one under limits, and [File.Network] makes of it the
// network that is measured.
//
// # What varies
//
// A network's parameters are those of its initialisers (and Constant nodes) of real numbers that
// reach a place where layers keep weights, directly or through operators that only move, cast or
// combine initialisers:
//
//   - the weight and bias of Conv, ConvTranspose, Gemm, Einsum, LSTM, GRU, RNN, PRelu and of the normalisations; either operand of
//     MatMul; the table of Gather, GatherND and Gather along an axis, when it has two axes or more;
//   - the operand of Add, Mul or Sum with more than one element, and a part of Concat, beside something that
//     depends on the input: biases, scales of a normalisation that is spelled out, learned positions.
//
// Not so: running statistics; single numbers; masks (an infinity or numbers beyond ±1e4, or zeros and one other
// value); tables of sines and cosines; what is combined with the network's input itself (scaling of
// pixels); operands of Sub, Div, Pow, Where, Clip, Max, Min and Pad; constants of one value whose name an exporter
// made up; names that say so (running_mean, inv_freq, mask, …). A name in --params that is given in full and is
// that of a constant makes it vary.
//
// An initialiser that is equal to another, or its exact transpose, and has two axes or more and values that are not
// all the same, is the same parameter. One-dimensional initialisers of one value (biases of zero, scales of one)
// that several layers share were merged by the exporter, and are one parameter for each.
//
// # Numbers
//
// An attribute, and a constant that is a single number, of type float32 is taken for the number that was meant: the root of an
// integer, its reciprocal, or √(2/π) where that rounds to it, else the shortest decimal that does (1e-5, not
// 9.99999974737875e-06).
package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"hessdens/internal/model/onnx/onnxpb"
)

// Limits on what a file may ask for.
const (
	maxFile     = 2<<30 - 1 // bytes: no protobuf is larger
	maxExternal = 64 << 30  // bytes of external data
	maxDepth    = 64        // of nested messages below the model, of functions and of graphs in nodes
	maxNodes    = 1 << 20   // with functions and loops written out
	maxRank     = 32
	maxConst    = 1 << 26 // elements of a tensor that is computed when importing
	maxWindow   = 1 << 27 // entries of the table of a convolution or a pooling
	maxSpent    = 1 << 29 // elements and entries of all of these together, for one batch
	freeSpent   = 1 << 22 // of these: what any file may ask for, however small
	perByte     = 129     // of these: for each byte of a file, which makes 1,032 of it, as many as an archive may
	maxSize     = 1 << 30 // elements of any tensor of a batch
	newestOpset = 28      // of the operators as this package knows them
)

// File is a parsed ONNX file.
type File struct {
	Name     string // as Open was given it
	Producer string
	Opset    int // of the default domain

	// Training says that a BatchNormalization node has training_mode = 1: statistics of the batch.
	Training bool

	merged []string // initialisers that the exporter had merged with others of equal values

	main      *body
	functions map[string]*onnxpb.FunctionProto
	opsets    map[string]int
	load      *loader
	nodes     int
}

// info is a declared input.
type info struct {
	name string
	dt   dtype
	dims []int // -1: not fixed
	typ  bool  // the type is that of a tensor and has a shape
}

// body is a graph, the file's own or one in a node.
type body struct {
	inputs  []info
	outputs []string
	nodes   []*node
	inits   map[string]*array
	order   []string // of inits
}

// node is one operator.
type node struct {
	op, domain, name string
	opset            int
	in, out          []string
	attr             map[string]*onnxpb.AttributeProto
	arrays           map[string]*array
	bodies           map[string]*body
	free             []string // what the bodies read from outside
}

func (n *node) String() string {
	name := n.name
	if name == "" && len(n.out) > 0 {
		name = n.out[0]
	}
	op := n.op
	if n.domain != "" {
		op = n.domain + "::" + op
	}
	return fmt.Sprintf("node %q (%s, opset %d)", name, op, n.opset)
}

// UnsupportedError is all operators of a file that are not known.
type UnsupportedError struct{ Nodes []string }

func (e *UnsupportedError) Error() string {
	s := "an operator is"
	if len(e.Nodes) > 1 {
		s = fmt.Sprintf("%d operators are", len(e.Nodes))
	}
	return fmt.Sprintf("%s not known:\n  %s\n(export with another opset, or without these)", s, strings.Join(e.Nodes, "\n  "))
}

// Open parses an ONNX file. Files of external data are read through fsys too. It fails on what is no ONNX file, on
// tensors that declare other sizes than they have, and on graphs that are no graphs; what operators mean is the
// matter of [File.Network].
func Open(fsys fs.FS, name string) (*File, error) {
	b, err := read(fsys, name)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(b, []byte("version https://git-lfs")) {
		return nil, errors.New("a Git LFS pointer, not the file it stands for (fetch it with git lfs pull)")
	}
	m := &onnxpb.ModelProto{}
	if err := (proto.UnmarshalOptions{RecursionLimit: 3*maxDepth + 4, DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("is no ONNX file, or one that is truncated or damaged: %w (copy or export it again)", err)
	}
	if m.GetGraph() == nil {
		return nil, errors.New("is no ONNX file: it has no graph (copy or export it again)")
	}
	f := &File{Name: name, Producer: strings.TrimSpace(m.GetProducerName() + " " + m.GetProducerVersion()),
		functions: map[string]*onnxpb.FunctionProto{},
		load:      &loader{fsys: fsys, dir: path.Dir(name), data: map[string][]byte{}, room: maxExternal, size: int64(len(b))}}
	f.opsets = opsets(m.GetOpsetImport())
	f.Opset = f.opsets[""]
	for _, fn := range m.GetFunctions() {
		f.functions[functionKey(fn.GetDomain(), fn.GetName(), fn.GetOverload())] = fn
	}
	f.main, err = f.body(m.GetGraph(), &frame{opsets: f.opsets})
	f.load.data = nil
	if err != nil {
		return nil, err
	}
	f.functions = nil
	if strings.HasPrefix(f.Producer, "pytorch") {
		f.merged = f.main.part()
	}
	var visit func(b *body)
	visit = func(b *body) {
		for _, n := range b.nodes {
			if n.op == "BatchNormalization" && n.training() {
				f.Training = true
			}
			for _, s := range n.bodies {
				visit(s)
			}
		}
	}
	visit(f.main)
	return f, nil
}

// part gives initialisers back that PyTorch's exporter merged with others since their values were equal: it leaves an
// Identity from the one that it keeps to the name of each of the others. Tensors that are one in PyTorch have one name from the start.
func (b *body) part() []string {
	var names []string
	b.nodes = slices.DeleteFunc(b.nodes, func(n *node) bool {
		if n.op != "Identity" || n.domain != "" || len(n.in) != 1 || len(n.out) != 1 {
			return false
		}
		a, to := b.inits[n.in[0]], n.out[0]
		if a == nil || !isFloat(a.dt) || b.inits[to] != nil || !strings.Contains(to, ".") || generated.MatchString(to) || slices.Contains(b.outputs, to) {
			return false
		}
		b.inits[to] = a
		b.order = append(b.order, to)
		names = append(names, to)
		return true
	})
	return names
}

func read(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("is no regular file")
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("has %d bytes, and an ONNX file has at most %d (larger ones keep their tensors in external data)", st.Size(), maxFile)
	}
	return fs.ReadFile(fsys, name)
}

func opsets(imports []*onnxpb.OperatorSetIdProto) map[string]int {
	m := map[string]int{}
	for _, o := range imports {
		m[domain(o.GetDomain())] = int(min(max(o.GetVersion(), 0), 1<<20))
	}
	return m
}

// domain is the name of a domain; the default one has two.
func domain(s string) string {
	if s == "ai.onnx" {
		return ""
	}
	return s
}

func functionKey(dom, name, overload string) string {
	return domain(dom) + "\x00" + name + "\x00" + overload
}

// frame is where nodes are read: the file itself, or the call of a function.
type frame struct {
	opsets map[string]int
	prefix string            // of local names, "" in the file
	names  map[string]string // of formal inputs and outputs
	attrs  map[string]*onnxpb.AttributeProto
	depth  int
}

func (fr *frame) name(s string) string {
	if s == "" {
		return ""
	}
	if to, ok := fr.names[s]; ok {
		return to
	}
	return fr.prefix + s
}

// body reads a graph.
func (f *File) body(g *onnxpb.GraphProto, fr *frame) (*body, error) {
	if fr.depth > maxDepth {
		return nil, fmt.Errorf("graphs are nested more than %d deep", maxDepth)
	}
	b := &body{inits: map[string]*array{}}
	for _, t := range g.GetInitializer() {
		if err := f.init(b, fr.name(t.GetName()), func() (*array, error) { return f.load.tensor(t) }); err != nil {
			return nil, err
		}
	}
	for _, t := range g.GetSparseInitializer() {
		if err := f.init(b, fr.name(t.GetValues().GetName()), func() (*array, error) { return f.load.sparse(t) }); err != nil {
			return nil, err
		}
	}
	for _, v := range g.GetInput() {
		name := fr.name(v.GetName())
		if b.inits[name] != nil {
			continue // old files declare initialisers as inputs
		}
		in := info{name: name}
		if t := v.GetType().GetTensorType(); t != nil {
			in.dt, in.typ = dtype(t.GetElemType()), t.GetShape() != nil
			for _, d := range t.GetShape().GetDim() {
				s := -1
				if v := d.GetDimValue(); v > 0 && v < 1<<31 {
					s = int(v)
				}
				in.dims = append(in.dims, s)
			}
			if len(in.dims) > maxRank {
				return nil, fmt.Errorf("input %q declares %d axes", name, len(in.dims))
			}
		}
		b.inputs = append(b.inputs, in)
	}
	for _, o := range g.GetOutput() {
		b.outputs = append(b.outputs, fr.name(o.GetName()))
	}
	if err := f.appendNodes(b, g.GetNode(), fr); err != nil {
		return nil, err
	}
	made := map[string]bool{}
	for _, n := range b.nodes {
		for _, o := range n.out {
			if o == "" {
				continue
			}
			if made[o] || b.inits[o] != nil {
				return nil, fmt.Errorf("%s: makes %q, which is made twice", n, o)
			}
			made[o] = true
		}
	}
	return b, nil
}

func (f *File) init(b *body, name string, load func() (*array, error)) error {
	a, err := load()
	if err != nil {
		return fmt.Errorf("initialiser %q: %w", name, err)
	}
	if b.inits[name] != nil {
		return fmt.Errorf("initialiser %q is there twice", name)
	}
	b.inits[name] = a
	b.order = append(b.order, name)
	return nil
}

// appendNodes reads nodes and writes calls of functions out. Constant nodes become initialisers.
func (f *File) appendNodes(b *body, nodes []*onnxpb.NodeProto, fr *frame) error {
	for _, p := range nodes {
		if f.nodes++; f.nodes > maxNodes {
			return fmt.Errorf("more than %d nodes", maxNodes)
		}
		n := &node{op: p.GetOpType(), domain: domain(p.GetDomain()), name: p.GetName(), attr: map[string]*onnxpb.AttributeProto{}}
		if fr.prefix != "" {
			n.name = fr.prefix + n.name
		}
		n.opset = fr.opsets[n.domain]
		for _, s := range p.GetInput() {
			n.in = append(n.in, fr.name(s))
		}
		for _, s := range p.GetOutput() {
			n.out = append(n.out, fr.name(s))
		}
		for _, a := range p.GetAttribute() {
			if ref := a.GetRefAttrName(); ref != "" {
				given := fr.attrs[ref]
				if given == nil {
					continue
				}
				n.attr[a.GetName()] = given
				continue
			}
			n.attr[a.GetName()] = a
		}
		if fn := f.functions[functionKey(n.domain, n.op, p.GetOverload())]; fn != nil {
			if err := f.inline(b, n, fn, fr); err != nil {
				return err
			}
			continue
		}
		if err := f.attributes(n, fr); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if n.op == "Constant" && n.domain == "" && len(n.out) > 0 {
			a, err := constant(n)
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			if a != nil {
				if err := f.init(b, n.out[0], func() (*array, error) { return a, nil }); err != nil {
					return err
				}
				continue
			}
		}
		b.nodes = append(b.nodes, n)
	}
	return nil
}

// inline writes the call of a function out.
func (f *File) inline(b *body, call *node, fn *onnxpb.FunctionProto, fr *frame) error {
	if fr.depth >= maxDepth {
		return fmt.Errorf("%s: functions call each other more than %d deep", call, maxDepth)
	}
	in := &frame{prefix: fmt.Sprintf("%s%s#%d/", fr.prefix, call.op, f.nodes), names: map[string]string{}, attrs: map[string]*onnxpb.AttributeProto{}, depth: fr.depth + 1}
	in.opsets = fr.opsets
	if len(fn.GetOpsetImport()) > 0 {
		in.opsets = opsets(fn.GetOpsetImport())
	}
	for i, s := range fn.GetInput() {
		in.names[s] = ""
		if i < len(call.in) {
			in.names[s] = call.in[i]
		}
	}
	for i, s := range fn.GetOutput() {
		if i < len(call.out) && call.out[i] != "" {
			if _, passes := in.names[s]; passes { // an output that is an input
				b.nodes = append(b.nodes, &node{op: "Identity", opset: f.Opset, name: call.name, in: []string{in.names[s]}, out: []string{call.out[i]}})
				continue
			}
			in.names[s] = call.out[i]
		}
	}
	for _, a := range fn.GetAttributeProto() {
		in.attrs[a.GetName()] = a
	}
	for name, a := range call.attr {
		in.attrs[name] = a
	}
	return f.appendNodes(b, fn.GetNode(), in)
}

// attributes decodes tensors and graphs among a node's attributes.
func (f *File) attributes(n *node, fr *frame) error {
	for name, a := range n.attr {
		switch {
		case a.GetT() != nil:
			if dtype(a.GetT().GetDataType()) == onnxpb.TensorProto_STRING {
				continue
			}
			v, err := f.load.tensor(a.GetT())
			if err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
			if n.arrays == nil {
				n.arrays = map[string]*array{}
			}
			n.arrays[name] = v
		case a.GetSparseTensor() != nil:
			v, err := f.load.sparse(a.GetSparseTensor())
			if err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
			n.arrays = map[string]*array{name: v}
		case a.GetG() != nil:
			inner := *fr
			inner.depth++
			s, err := f.body(a.GetG(), &inner)
			if err != nil {
				return err
			}
			if n.bodies == nil {
				n.bodies = map[string]*body{}
			}
			n.bodies[name] = s
			n.free = append(n.free, s.freeNames()...)
		}
	}
	return nil
}

// freeNames are the names that a body reads and does not make.
func (b *body) freeNames() []string {
	own := map[string]bool{"": true}
	for name := range b.inits {
		own[name] = true
	}
	for _, i := range b.inputs {
		own[i.name] = true
	}
	for _, n := range b.nodes {
		for _, o := range n.out {
			own[o] = true
		}
	}
	var out []string
	use := func(names []string) {
		for _, s := range names {
			if !own[s] {
				own[s] = true
				out = append(out, s)
			}
		}
	}
	for _, n := range b.nodes {
		use(n.in)
		use(n.free)
	}
	use(b.outputs)
	return out
}

// constant is the value of a Constant node, nil where it is none that is read.
func constant(n *node) (*array, error) {
	for _, name := range []string{"value", "sparse_value"} {
		if a := n.arrays[name]; a != nil {
			return a, nil
		}
	}
	for name, a := range n.attr {
		switch name {
		case "value_float":
			return &array{dt: dtFloat, f: []float64{float64(a.GetF())}}, nil
		case "value_int":
			return &array{dt: dtInt64, i: []int64{a.GetI()}}, nil
		case "value_ints":
			return ints(append([]int64{}, a.GetInts()...)...), nil
		case "value_floats":
			v := &array{dt: dtFloat, shape: []int{len(a.GetFloats())}, f: make([]float64, len(a.GetFloats()))}
			for i, x := range a.GetFloats() {
				v.f[i] = float64(x)
			}
			return v, nil
		}
	}
	return nil, nil
}

// training says whether a BatchNormalization takes the statistics of the batch.
func (n *node) training() bool {
	if n.opset >= 14 {
		return n.int("training_mode", 0) != 0
	}
	// Before, it was said by outputs for the new statistics.
	return slices.ContainsFunc(n.out[min(1, len(n.out)):], func(s string) bool { return s != "" })
}

// sorted is the nodes that the outputs need, in an order in which operands come first. outer says what is
// known from outside.
func (b *body) sorted(outputs []string, outer func(string) bool) ([]*node, error) {
	maker := map[string]*node{}
	for _, n := range b.nodes {
		for _, o := range n.out {
			if o != "" {
				maker[o] = n
			}
		}
	}
	known := map[string]bool{"": true}
	for _, i := range b.inputs {
		known[i.name] = true
	}
	const (
		open = 1
		done = 2
	)
	state := map[*node]int{}
	var order []*node
	type visit struct {
		n    *node
		next int
	}
	var stack []visit
	need := func(s, by string) error {
		if known[s] || b.inits[s] != nil || outer(s) {
			return nil
		}
		n := maker[s]
		if n == nil {
			return fmt.Errorf("%s reads %q, which is neither an input nor made by a node", by, s)
		}
		switch state[n] {
		case open:
			return fmt.Errorf("%s depends on its own output (the graph has a cycle)", n)
		case done:
			return nil
		}
		state[n] = open
		stack = append(stack, visit{n, 0})
		return nil
	}
	for _, o := range outputs {
		if err := need(o, "an output of the graph"); err != nil {
			return nil, err
		}
		for len(stack) > 0 {
			v := &stack[len(stack)-1]
			n := v.n
			if v.next < len(n.in)+len(n.free) {
				s := ""
				if v.next < len(n.in) {
					s = n.in[v.next]
				} else {
					s = n.free[v.next-len(n.in)]
				}
				v.next++
				if err := need(s, n.String()); err != nil {
					return nil, err
				}
				continue
			}
			state[n] = done
			order = append(order, n)
			stack = stack[:len(stack)-1]
		}
	}
	return order, nil
}

// check says whether all operators of nodes are known.
func check(nodes []*node) error {
	e := &UnsupportedError{}
	seen := map[string]bool{}
	var visit func(ns []*node)
	visit = func(ns []*node) {
		for _, n := range ns {
			key := n.domain + "::" + n.op
			_, ok := operators[n.op]
			if n.domain != "" {
				_, ok = operators[key]
			}
			if ok && n.domain == "" && n.opset < 7 && before7[n.op] {
				ok = false
				key += "<7"
			}
			if !ok && !seen[key] {
				seen[key] = true
				e.Nodes = append(e.Nodes, n.String())
			}
			for _, s := range n.bodies {
				visit(s.nodes)
			}
		}
	}
	visit(nodes)
	if len(e.Nodes) > 0 {
		return e
	}
	return nil
}

// before7 are operators that opset 7 gave another meaning.
var before7 = map[string]bool{"Add": true, "Sub": true, "Mul": true, "Div": true, "Pow": true, "And": true, "Or": true, "Xor": true,
	"Equal": true, "Greater": true, "Less": true, "PRelu": true, "BatchNormalization": true, "Gemm": true, "Upsample": true, "LSTM": true, "GRU": true, "RNN": true,
	"Reshape": true, "Tile": true, "Pad": true}

// Attributes, with what stands for one that is not given.

func (n *node) has(name string) bool { return n.attr[name] != nil }

func (n *node) int(name string, def int) int {
	if a := n.attr[name]; a != nil {
		return int(a.GetI())
	}
	return def
}

func (n *node) float(name string, def float64) float64 {
	if a := n.attr[name]; a != nil {
		return meant(float64(a.GetF()))
	}
	return def
}

func (n *node) str(name, def string) string {
	if a := n.attr[name]; a != nil {
		return string(a.GetS())
	}
	return def
}

func (n *node) ints(name string) []int {
	a := n.attr[name]
	if a == nil {
		return nil
	}
	out := make([]int, len(a.GetInts()))
	for i, v := range a.GetInts() {
		out[i] = int(v)
	}
	return out
}

func (n *node) floats(name string) []float64 {
	a := n.attr[name]
	if a == nil {
		return nil
	}
	out := make([]float64, len(a.GetFloats()))
	for i, v := range a.GetFloats() {
		out[i] = meant(float64(v))
	}
	return out
}

func (n *node) strs(name string) []string {
	a := n.attr[name]
	if a == nil {
		return nil
	}
	var out []string
	for _, s := range a.GetStrings() {
		out = append(out, string(s))
	}
	return out
}
