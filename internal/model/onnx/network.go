package onnx

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// Options say what a network is made for.
type Options struct {
	// Loss is what the outputs go into, as model.Settings has it; "" is cross-entropy. A final
	// Softmax or LogSoftmax is left out before cross-entropy, a final Sigmoid before bce: these losses have their own.
	Loss string

	// Params are the patterns of --params. A constant that one names in full varies.
	Params []string
}

// Network is NetworkFor with no options.
func (f *File) Network() (*model.Network, error) { return f.NetworkFor(Options{}) }

// network is a graph on its way to a model.Network.
type network struct {
	f       *File
	opt     Options
	input   info
	aux     []info  // inputs that have values of their own
	output  string  // the scores, "" where a loss has none
	loss    string  // the output that is a loss, "" where there is none
	target  info    // what it is taken against
	nodes   []*node // of both
	scores  []*node // of the output alone
	survey  *survey
	alias   map[string]alias
	copies  map[string]string
	linear  map[string]string // names of weights of PyTorch's Linear that were stored transposed
	net     *model.Network
	buffers map[string]int // in net.Buffers
	params  map[string][]int
	tokens  bool
	rowed   bool // the targets are declared as one row of tokens: [batch·length]
	last    bool // images go in channels last, and are turned to channels first at once
}

// NetworkFor makes the network: its parameters with their values, its buffers, and the graph of its outputs for any
// size of batch. It fails with an *UnsupportedError that lists every operator that is not known, and on graphs that
// are no network of one input.
func (f *File) NetworkFor(opt Options) (*model.Network, error) {
	w := &network{f: f, opt: opt, buffers: map[string]int{}, params: map[string][]int{}}
	w.net = &model.Network{Name: f.Name}
	if f.Opset > newestOpset {
		w.note("the file has opset %d, and this version knows operators up to opset %d", f.Opset, newestOpset)
	}
	if err := w.ends(); err != nil {
		return nil, err
	}
	if err := check(w.nodes); err != nil {
		return nil, err
	}
	w.tensors()
	if err := w.shapes(); err != nil {
		return nil, err
	}
	if w.output != "" {
		w.net.Forward = w.forward
	}
	if w.loss != "" {
		w.net.OwnLoss = w.ownLoss
	}
	w.net.Match = w.match
	w.net.Reject = w.reject
	return w.net, nil
}

func (w *network) note(format string, args ...any) {
	w.net.Notes = append(w.net.Notes, fmt.Sprintf(format, args...))
}

// ends finds the output that is measured, the nodes that it needs, and the input.
func (w *network) ends() error {
	m := w.f.main
	if len(m.outputs) == 0 {
		return errors.New("the graph has no outputs")
	}
	maker := map[string]*node{}
	for _, n := range m.nodes {
		for _, o := range n.out {
			maker[o] = n
		}
	}
	if err := w.findLoss(); err != nil {
		return err
	}
	if w.loss == "" {
		w.output = m.outputs[0]
		if len(m.outputs) > 1 {
			if i := slices.IndexFunc(m.outputs, func(s string) bool { return strings.EqualFold(s, "logits") }); i > 0 {
				w.output = m.outputs[i]
			}
			w.note("the file has %d outputs; %s is measured", len(m.outputs), w.output)
		}
	}
	w.cutLoss(maker)
	var ends []string
	for _, s := range []string{w.output, w.loss} {
		if s != "" {
			ends = append(ends, s)
		}
	}
	order, err := m.sorted(ends, func(string) bool { return false })
	if err != nil {
		return err
	}
	// Copies, since reading merged vectors apart renames what nodes read.
	copies := map[*node]*node{}
	for _, n := range order {
		c := *n
		c.in = slices.Clone(n.in)
		copies[n] = &c
		w.nodes = append(w.nodes, &c)
	}
	if w.output != "" {
		order, err := m.sorted([]string{w.output}, func(string) bool { return false })
		if err != nil {
			return err
		}
		for _, n := range order {
			w.scores = append(w.scores, copies[n])
		}
	}
	var data []info
	data, w.aux = w.inputs(order)
	if w.loss != "" {
		data = slices.DeleteFunc(data, func(in info) bool { return in.name == w.target.name })
	}
	if len(data) != 1 {
		var names []string
		for _, in := range data {
			names = append(names, in.name)
		}
		return fmt.Errorf("the graph has %d inputs for data (%s), and one is needed, or two and a loss of one value that tells which the targets are (name them labels or target)", len(data), strings.Join(names, ", "))
	}
	w.input = data[0]
	w.last = channelsLast(w.nodes, w.input)
	for _, in := range w.aux {
		what := "ones"
		switch name := strings.ToLower(in.name); {
		case strings.Contains(name, "position"):
			what = "0, 1, 2, …"
		case strings.Contains(name, "attention") && strings.Contains(name, "mask"):
			what = "ones: where the data are padded, the padding counts like the rest"
		case !strings.Contains(name, "mask"):
			what = "zeros"
		}
		w.note("the input %s is taken to be %s", in.name, what)
	}
	return nil
}

// inputs are the graph's inputs that nodes read: those for data, and those that have values of their own.
func (w *network) inputs(nodes []*node) (data, aux []info) {
	read := map[string]bool{}
	for _, n := range nodes {
		for _, s := range slices.Concat(n.in, n.free) {
			read[s] = true
		}
	}
	for _, in := range w.f.main.inputs {
		if !read[in.name] {
			continue
		}
		name := strings.ToLower(in.name)
		if strings.Contains(name, "mask") || strings.Contains(name, "token_type") || strings.Contains(name, "segment") || strings.Contains(name, "position_id") {
			aux = append(aux, in)
			continue
		}
		data = append(data, in)
	}
	if len(data) == 0 && len(aux) == 1 {
		data, aux = aux, nil
	}
	return data, aux
}

// keeps are operators that scale a tensor's elements, and keep its axes.
var keeps = map[string]bool{"Identity": true, "Cast": true, "Mul": true, "Div": true, "Add": true, "Sub": true, "Sum": true, "Neg": true}

// channelsLast says whether images are taken as [N, H, W, C], as files from Keras have them: a Transpose to [N, C, H, W] comes first, after scaling at
// most, or they go into rows at once and only the last axis is one of colours. Data sets hold images channels first.
func channelsLast(nodes []*node, in info) bool {
	if len(in.dims) != 4 {
		return false
	}
	images := map[string]bool{in.name: true}
	turned, rows := false, false
	for _, n := range nodes {
		if !slices.ContainsFunc(slices.Concat(n.in, n.free), func(s string) bool { return images[s] }) {
			continue
		}
		switch {
		case n.op == "Shape":
		case n.op == "Transpose" && slices.Equal(n.ints("perm"), []int{0, 3, 1, 2}):
			turned = true
		case keeps[n.op] && len(n.out) == 1:
			images[n.out[0]] = true
		case n.op == "Reshape" || n.op == "Flatten":
			rows = true
		default:
			return false
		}
	}
	const colours = 3
	return turned && !rows || rows && !turned && in.dims[3] == colours && in.dims[1] > colours && in.dims[2] > colours
}

// cutLoss steps back from the output over what the loss has itself.
func (w *network) cutLoss(maker map[string]*node) {
	through := func(name string) *node {
		for range 64 {
			n := maker[name]
			if n == nil || n.op != "Identity" && n.op != "Cast" || n.domain != "" {
				return n
			}
			name = n.in[0]
		}
		return nil
	}
	if w.loss != "" && w.opt.Loss != model.CrossEntropy && w.opt.Loss != model.BCE {
		return
	}
	n := through(w.output)
	if n == nil || n.domain != "" || len(n.in) == 0 {
		return
	}
	loss := w.opt.Loss
	switch {
	case n.op == "SoftmaxCrossEntropyLoss" || n.op == "NegativeLogLikelihoodLoss":
		w.note("the file ends in %s: the outputs are the scores that go into it", n.op)
		w.output = n.in[0]
		if n.op == "NegativeLogLikelihoodLoss" {
			w.cutLoss(maker)
		}
	case (n.op == "Softmax" || n.op == "LogSoftmax") && (loss == "" || loss == model.CrossEntropy):
		w.note("the file ends in %s: the outputs are taken before it, since cross-entropy has it", n.op)
		w.output = n.in[0]
	case n.op == "Sigmoid" && loss == model.BCE:
		w.note("the file ends in Sigmoid: the outputs are taken before it, since bce has it")
		w.output = n.in[0]
	case n.op == "Softmax" || n.op == "Sigmoid":
		w.note("the file ends in %s, which is part of the outputs", n.op)
	}
}

// tensors decides what varies.
func (w *network) tensors() {
	m := w.f.main
	w.survey = newSurvey(m, w.nodes, w.input.name, w.target.name)
	s := w.survey
	s.merged = w.f.merged
	s.force(w.opt.Params)
	if merged := slices.DeleteFunc(slices.Clone(w.f.merged), func(n string) bool { return !s.vary[n] }); len(merged) > 0 {
		more := ""
		if len(merged) > 4 {
			merged, more = merged[:4], ", …"
		}
		w.note("merged by the exporter with others, whose values are the same, and parameters of their own again: %s%s", strings.Join(merged, ", "), more)
	}
	var notes []string
	w.alias, notes = s.ties()
	w.net.Notes = append(w.net.Notes, notes...)
	w.linear = w.linears()
	w.copies, notes = s.apart()
	w.net.Notes = append(w.net.Notes, notes...)
	used := map[string]bool{}
	for _, n := range w.nodes {
		for _, in := range slices.Concat(n.in, n.free) {
			used[in] = true
		}
	}
	byName := func(of string) []string {
		names := []string{of}
		for k := 2; w.copies[fmt.Sprintf("%s#%d", of, k)] != ""; k++ {
			names = append(names, fmt.Sprintf("%s#%d", of, k))
		}
		return names
	}
	var fixed []string
	for _, name := range m.order {
		a := m.inits[name]
		if !isFloat(a.dt) || a.size() == 0 {
			continue
		}
		switch {
		case s.vary[name] && w.alias[name].of == "":
			if to := w.linear[name]; to != "" {
				shape, values := transposed(a)
				w.net.Params = append(w.net.Params, model.Param{Name: to, Shape: shape, Values: values})
				w.params[to] = shape
				continue
			}
			for _, n := range byName(name) {
				w.net.Params = append(w.net.Params, model.Param{Name: n, Shape: a.shape, Values: a.f})
				w.params[n] = a.shape
			}
		case s.vary[name]:
		case used[name] || s.stats[name]:
			w.buffers[name] = len(w.net.Buffers)
			w.net.Buffers = append(w.net.Buffers, model.Param{Name: name, Shape: a.shape, Values: a.f, Optional: !s.stats[name]})
			if why := s.fixed[name]; why != "" && !s.stats[name] && !generated.MatchString(name) && !(a.size() == 1 && len(a.shape) == 0) {
				fixed = append(fixed, fmt.Sprintf("%s (%s)", name, why))
			}
		}
	}
	for _, p := range w.net.Params {
		if len(p.Shape) > 2 && generated.MatchString(p.Name) && !repeatsRow(p) {
			if n := different(p.Values); n <= len(p.Values)/2 {
				w.note("%s has %d values, of which %d are different: the exporter wrote out a lookup in a parameter, and each place is taken for one (export without folding: do_constant_folding=False, or optimize=False with dynamo=True)", p.Name, len(p.Values), n)
			}
		}
		if repeatsRow(p) {
			w.note("%s is one row of %d values, %d times: the exporter wrote a lookup out, which is taken for a parameter of each place (export it with a free length)", p.Name, p.Shape[len(p.Shape)-1], p.Shape[len(p.Shape)-2])
		}
	}
	if len(fixed) > 0 {
		more := ""
		if len(fixed) > 8 {
			more, fixed = fmt.Sprintf(" and %d more", len(fixed)-8), fixed[:8]
		}
		w.note("taken for constants: %s%s; --params with a name in full makes one vary", strings.Join(fixed, ", "), more)
	}
	for _, n := range w.nodes {
		w.net.BatchNorm = w.net.BatchNorm || n.op == "BatchNormalization"
	}
	if folded := slices.IndexFunc(w.net.Params, func(p model.Param) bool { return foldedName.MatchString(p.Name) }); folded >= 0 && !w.net.BatchNorm {
		w.note("%s was named by the exporter, which does so when it folds batch normalisation into a convolution: the parameters are then others than those that were trained (export without folding: do_constant_folding=False, or optimize=False with dynamo=True)", w.net.Params[folded].Name)
	}
}

// foldedName are names that PyTorch's exporters, the older and the newer one, give a convolution that batch normalisation was folded into.
var foldedName = regexp.MustCompile(`^onnx::Conv_|\.weight_bias$`)

// different is how many of some values there are without repetitions.
func different(values []float64) int {
	set := map[float64]bool{}
	for _, v := range values {
		set[v] = true
	}
	return len(set)
}

// repeatsRow says whether the rows of a parameter with an axis of one before them are all the same, as where an embedding of constant ids was computed by
// the exporter.
func repeatsRow(p model.Param) bool {
	r := len(p.Shape)
	if r < 3 || p.Shape[0] != 1 || p.Shape[r-2] < 2 || p.Shape[r-1] < 2 {
		return false
	}
	k := p.Shape[r-1]
	for i, v := range p.Values {
		if v != p.Values[i%k] {
			return false
		}
	}
	return true
}

// linears finds the weights of PyTorch's Linear that the exporter transposed and renamed (onnx::MatMul_12, val_3): the matrix of a
// MatMul whose result goes to an Add with P.bias is the transpose of P.weight. As such it has the name and shape
// that a checkpoint has.
func (w *network) linears() map[string]string {
	s, out := w.survey, map[string]string{}
	taken := map[string]bool{}
	for _, name := range s.body.order {
		taken[name] = true
	}
	for _, n := range w.nodes {
		if n.op != "Add" || len(n.in) != 2 {
			continue
		}
		for i, bias := range n.in {
			p, ok := strings.CutSuffix(bias, ".bias")
			m := s.maker[n.in[1-i]]
			if !ok || !s.vary[bias] || m == nil || m.op != "MatMul" || len(m.in) != 2 {
				continue
			}
			name, to := m.in[1], p+".weight"
			if a := s.body.inits[name]; a == nil || !s.vary[name] || w.alias[name].of != "" || len(a.shape) != 2 || !generated.MatchString(name) || taken[to] || out[name] != "" {
				continue
			}
			taken[to] = true
			out[name] = to
		}
	}
	if len(out) > 0 {
		list, more := slices.Sorted(maps.Values(out)), ""
		if len(list) > 4 {
			list, more = list[:4], ", …"
		}
		w.note("stored transposed under names of the exporter's own, and given PyTorch's names and shapes again: %s%s", strings.Join(list, ", "), more)
	}
	return out
}

func transposed(a *array) (shape []int, values []float64) {
	r, c := a.shape[0], a.shape[1]
	values = make([]float64, r*c)
	for i, v := range a.f {
		values[i%c*r+i/c] = v
	}
	return []int{c, r}, values
}

// leaf is the value of an initialiser by its name.
func (w *network) leaf(g *graph.Graph, name string) *value {
	a := w.f.main.inits[name]
	if of := w.copies[name]; of != "" {
		a = w.f.main.inits[of]
	}
	if a == nil {
		return nil
	}
	al, ok := w.alias[name]
	if !ok {
		al.of = name
	}
	if to := w.linear[al.of]; to != "" {
		al.of, al.transposed, ok = to, !al.transposed, true
	}
	if ok {
		p := g.Param(al.of, w.params[al.of]...)
		if al.transposed {
			p = g.Transpose(p, 1, 0)
		}
		return made(a.dt, p)
	}
	if shape, ok := w.params[name]; ok {
		return made(a.dt, g.Param(name, shape...))
	}
	if i, ok := w.buffers[name]; ok {
		if b := w.net.Buffers[i]; !b.Optional {
			return made(a.dt, g.Param(name, b.Shape...))
		} else if b.Values != nil {
			return known(scalarMeant(&array{dt: a.dt, shape: a.shape, f: b.Values}))
		}
	}
	return known(scalarMeant(a))
}

// build makes the values of nodes for x [batch, Input...], and y [batch, …] where the nodes are those of a loss.
func (w *network) build(b *builder, nodes []*node, x, y *graph.Node) *scope {
	g := b.g
	if len(w.input.dims) > 0 && w.input.dims[0] > 0 {
		b.declared = w.input.dims[0]
	}
	s := &scope{values: map[string]*value{}, leaf: func(name string) *value { return w.leaf(g, name) }}
	batch := b.batch
	if y != nil {
		s.values[w.target.name] = w.targets(b, x, y)
	}
	switch d := w.input.dims; {
	case w.last:
		x = g.Transpose(g.Reshape(x, batch, d[3], d[1], d[2]), 0, 2, 3, 1)
	case !w.tokens:
		x = g.Reshape(x, append([]int{batch}, d[1:]...)...)
	}
	s.values[w.input.name] = made(w.input.dt, x)
	for _, in := range w.aux {
		shape := []int{batch, x.Dim(-1)}
		if len(in.dims) == 1 {
			shape = shape[1:]
		}
		if in.typ && len(in.dims) > 2 {
			b.fail("the input %s has %d axes", in.name, len(in.dims))
		}
		dt := in.dt
		if width(dt) == 0 {
			dt = dtInt64
		}
		name := strings.ToLower(in.name)
		s.values[in.name] = b.knownOf(dt, shape, func(i int) float64 {
			switch {
			case strings.Contains(name, "position"):
				return float64(i % x.Dim(-1))
			case strings.Contains(name, "mask"):
				return 1
			}
			return 0
		})
	}
	b.run(nodes, s)
	return s
}

// end is the value of an output.
func (w *network) end(b *builder, s *scope, name string) *value {
	v := s.get(name)
	if v == nil || v.c == nil && v.n == nil {
		b.fail("output %q is not computed", name)
	}
	if v.c != nil {
		b.fail("output %q does not depend on the input", name)
	}
	return v
}

// outputs builds the graph's output.
func (w *network) outputs(g *graph.Graph, x *graph.Node, batch int, stats *bool) (*value, *builder) {
	b := &builder{g: g, batchStats: stats, batch: batch, most: w.f.load.most()}
	return w.end(b, w.build(b, w.scores, x, nil), w.output), b
}

// rows is an output as [P, Outputs]; sequence says that it is one of each sequence of tokens.
func (w *network) rows(g *graph.Graph, v *value, x *graph.Node, batch int) (rows *graph.Node, sequence bool) {
	b := &builder{g: g, most: maxSpent}
	y := b.real(v)
	switch {
	case w.tokens && y.Rank() == 3 && y.Dim(0) == batch && y.Dim(1) == x.Dim(1):
		return g.Reshape(y, batch*y.Dim(1), y.Dim(2)), false
	case w.tokens && y.Rank() == 2 && y.Dim(0) == batch*x.Dim(1):
		return y, false
	case w.tokens && (y.Rank() < 1 || y.Rank() > 2 || y.Dim(0) != batch):
		b.fail("output %q has shape %v for %d sequences of %d tokens, and one output a token or a sequence is needed", w.output, y.Shape(), batch, x.Dim(1))
	case y.Rank() < 1 || y.Dim(0) != batch:
		b.fail("output %q has shape %v for a batch of %d: its first axis is not the batch", w.output, y.Shape(), batch)
	}
	return g.Reshape(y, batch, y.Size()/batch), w.tokens
}

func (w *network) forward(mb *model.Builder, x *graph.Node) *graph.Node {
	var y *graph.Node
	batch := x.Dim(0)
	err := catch(func() {
		v, _ := w.outputs(mb.G, x, batch, &mb.BatchStats)
		y, _ = w.rows(mb.G, v, x, batch)
	})
	if err != nil {
		graph.Failf("%v", err)
	}
	return y
}

// tried is what a trial finds.
type tried struct {
	rows     *graph.Node
	output   *value
	sequence bool
	vocab    int
}

// trial builds the outputs once, to see their shape; where there are none but a loss, the loss.
func (w *network) trial(batch int, input []int) (*tried, error) {
	if w.output == "" {
		b, err := w.trialLoss(batch, input)
		if err != nil {
			return nil, err
		}
		return &tried{vocab: b.vocab}, nil
	}
	g := graph.New()
	t := &tried{}
	err := catch(func() {
		x := g.Input("x", w.kind(), append([]int{batch}, input...)...)
		stats := false
		var b *builder
		t.output, b = w.outputs(g, x, batch, &stats)
		t.rows, t.sequence = w.rows(g, t.output, x, batch)
		t.vocab = b.vocab
	})
	return t, err
}

func (w *network) kind() graph.Kind {
	if w.tokens {
		return graph.Int
	}
	return graph.Float
}

// shapes finds the shapes of an example and of its outputs.
func (w *network) shapes() error {
	in := w.input
	w.tokens = in.dt == dtInt64 || in.dt == dtInt32
	w.net.Tokens = w.tokens
	if !in.typ || len(in.dims) == 0 {
		return fmt.Errorf("input %q declares no shape (export it with one)", in.name)
	}
	if !w.tokens && !isFloat(in.dt) && in.dt != 2 {
		return fmt.Errorf("input %q is of %s, and real numbers or tokens (int64) are needed", in.name, in.dt)
	}
	if w.loss != "" {
		if err := w.checkTarget(); err != nil {
			return err
		}
	}
	dims := slices.Clone(in.dims[1:])
	free := slices.Index(dims, -1)
	if free >= 0 && !w.tokens {
		return fmt.Errorf("input %q has shape %s, and only the first axis, the batch, may vary (export it with a fixed size)", in.name, dimString(in.dims))
	}
	if w.tokens && len(dims) != 1 {
		return fmt.Errorf("input %q is integers of shape %s, and tokens [batch, length] are needed", in.name, dimString(in.dims))
	}
	if _, err := tensor.CheckedCount(dims); err != nil && free < 0 {
		return fmt.Errorf("input %q: %w", in.name, err)
	}
	if len(dims) == 0 {
		dims = []int{1}
	}
	if w.last {
		dims = []int{dims[2], dims[0], dims[1]}
		w.note("the file takes images of shape [H, W, C]: they are given as [C, H, W]")
	}
	if free >= 0 {
		var err error
		if dims, err = w.context(); err != nil {
			return err
		}
		w.note("the length of a sequence is not fixed in the file: up to %d tokens are taken", dims[0])
	}
	w.net.Input = dims
	batch, fixed := 2, false
	if in.dims[0] == batch { // another than the file's own
		batch = 3
	}
	if w.loss != "" && w.output != "" {
		if _, err := w.trial(batch, dims); err != nil {
			if _, err := w.trial(max(in.dims[0], 1), dims); err != nil {
				w.output, w.scores = "", nil
			}
		}
	}
	t, err := w.trial(batch, dims)
	if err != nil && in.dims[0] > 0 && in.dims[0] != batch {
		first := err
		if t, err = w.trial(in.dims[0], dims); err == nil {
			batch, fixed = in.dims[0], true
			w.note("the file is made for batches of %d and takes no others (%v); give --batch-size %d", in.dims[0], first, in.dims[0])
		}
	}
	if err != nil {
		return err
	}
	w.net.Vocab = t.vocab
	if w.loss != "" {
		if err := w.lossShapes(batch, dims, fixed); err != nil {
			return err
		}
	}
	if w.output != "" {
		w.net.Outputs, w.net.Sequence = t.rows.Dim(1), t.sequence
		if v := t.output; !w.tokens && len(v.shape) > 2 && count(v.shape[1:]) != slices.Max(v.shape[1:]) {
			w.note("the output of an example has shape %v and is taken for %d values", v.shape[1:], w.net.Outputs)
		}
	}
	if w.f.Training && w.net.BatchNorm {
		w.note("BatchNormalization has training_mode = 1: the file means the statistics of each batch")
	}
	return nil
}

func dimString(dims []int) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = fmt.Sprint(d)
		if d < 0 {
			s[i] = "?"
		}
	}
	return "[" + strings.Join(s, ", ") + "]"
}

// context is the longest sequence that a file with a free length takes: a size that a table of it has, or 1024.
func (w *network) context() ([]int, error) {
	const most = 4096
	sizes := []int{1024}
	for _, a := range w.f.main.inits {
		for _, s := range a.shape {
			if s > 1 && s <= most && !slices.Contains(sizes, s) {
				sizes = append(sizes, s)
			}
		}
	}
	slices.Sort(sizes)
	slices.Reverse(sizes)
	if len(sizes) > 24 {
		sizes = sizes[:24]
	}
	fits, first := 0, error(nil)
	for _, s := range sizes {
		_, err := w.trial(2, []int{s})
		if err == nil {
			fits = s
			break
		}
		if first == nil {
			first = err
		}
	}
	if fits == 0 {
		return nil, first
	}
	if _, err := w.trial(2, []int{fits + 1}); err == nil { // no table bounds it
		fits = 1024
	}
	return []int{fits}, nil
}

// match maps names of a checkpoint's tensors: other names of one parameter, and tensors that are not trained and
// that the exporter computed with.
func (w *network) match(names []string) map[string]string {
	to := map[string]string{}
	known := map[string]bool{}
	for _, p := range w.net.Params {
		known[p.Name] = true
	}
	for _, p := range w.net.Buffers {
		known[p.Name] = true
	}
	tied := ""
	for _, a := range w.alias {
		tied = a.of
	}
	for of, uses := range w.survey.uses {
		if len(uses) > 1 && slices.ContainsFunc(uses, func(u use) bool { return strings.HasPrefix(u.n.op, "Gather") }) {
			tied = of
		}
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		if a, ok := w.alias[name]; ok && !a.transposed {
			to[name] = a.of
		} else if (name == "lm_head.weight" || strings.HasSuffix(name, ".lm_head.weight")) && tied != "" && !generated.MatchString(tied) {
			to[name] = tied
		} else if fixedName.MatchString(name) && !statistic.MatchString(name) {
			to[name] = ""
		}
	}
	return to
}

// reject refuses a checkpoint with running statistics that the file has no place for: batch normalisation was folded into the
// weights before it, so that a checkpoint's weights fit by name and shape and are others.
func (w *network) reject(names []string) error {
	known := map[string]bool{}
	for _, p := range w.net.Buffers {
		known[p.Name] = true
	}
	for _, name := range names {
		if statistic.MatchString(name) && !known[name] {
			return fmt.Errorf("the checkpoint has running statistics (%s) and the ONNX file no BatchNormalization for them: the exporter folded batch normalisation into the weights before it, which are others than those of the checkpoint "+
				"(export without folding: torch.onnx.export(…, do_constant_folding=False), or optimize=False with dynamo=True; or leave --weights out)", name)
		}
	}
	return nil
}
