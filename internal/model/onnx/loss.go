package onnx

import (
	"fmt"
	"regexp"
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// targetName are names of inputs that a loss is taken against.
var targetName = regexp.MustCompile(`(?i)^(y|t|gt|y_?true|ground_?truth|(.*[._/])?(labels?|targets?))(:0|\.\d+)?$`)

// findLoss looks for an output that takes two inputs of data, one of them targets, and for the scores that it compares with them. Whether it
// is one value is seen when it is built.
func (w *network) findLoss() error {
	m := w.f.main
	outputs := slices.Clone(m.outputs)
	slices.SortStableFunc(outputs, func(a, b string) int { return int(truth(b == "loss") - truth(a == "loss")) })
	for _, out := range outputs {
		order, err := m.sorted([]string{out}, func(string) bool { return false })
		if err != nil {
			return err
		}
		data, _ := w.inputs(order)
		if len(data) != 2 {
			continue
		}
		i := targetOf(m, order, data)
		if i < 0 {
			continue
		}
		w.loss, w.target = out, data[i]
		x := data[1-i].name
		w.output = outputBeside(m, x, w.target.name)
		if w.output == "" {
			w.output = scoresOf(order, x, w.target.name)
		}
		w.note("the file ends in a loss of its own, %s, with the input %s as its targets: it is measured where --loss is left out, or %s", out, w.target.name, model.Own)
		if late := dependents(order, w.target.name); slices.ContainsFunc(order, func(n *node) bool {
			return (n.op == "Slice" || n.op == "Pad") && len(n.in) > 0 && late[n.in[0]] && !dependents(order, x)[n.in[0]]
		}) {
			w.note("the loss takes its targets apart by position: where it shifts them itself, as language models of Hugging Face do, the targets have to be the inputs, and not the next tokens")
		}
		return nil
	}
	return nil
}

// targetOf is which of two inputs is the targets: the one of such a name, else the one that a loss reads as labels, else the one
// that no weights meet alone, else the integers. −1 where that does not tell.
func targetOf(m *body, order []*node, data []info) int {
	one := func(is func(i int) bool) int {
		switch a, b := is(0), is(1); {
		case a == b:
			return -1
		case a:
			return 0
		}
		return 1
	}
	if i := one(func(i int) bool { return targetName.MatchString(data[i].name) }); i >= 0 {
		return i
	}
	deps := []map[string]bool{dependents(order, data[0].name), dependents(order, data[1].name)}
	alone := func(i int, s string) bool { return s != "" && deps[i][s] && !deps[1-i][s] }
	if i := one(func(i int) bool {
		return slices.ContainsFunc(order, func(n *node) bool {
			return (n.op == "SoftmaxCrossEntropyLoss" || n.op == "NegativeLogLikelihoodLoss") && len(n.in) > 1 && alone(i, n.in[1])
		})
	}); i >= 0 {
		return i
	}
	weights := func(i int) bool {
		return slices.ContainsFunc(order, func(n *node) bool {
			return len(n.out) > 0 && alone(i, n.out[0]) && slices.ContainsFunc(n.in, func(s string) bool {
				a := m.inits[s]
				return a != nil && isFloat(a.dt) && a.size() > 1
			})
		})
	}
	if i := one(weights); i >= 0 {
		return 1 - i
	}
	return one(func(i int) bool { return !isFloat(data[i].dt) })
}

// outputBeside is another output of the graph that depends on the input and not on the targets: the scores.
func outputBeside(m *body, x, y string) string {
	for _, out := range m.outputs {
		order, err := m.sorted([]string{out}, func(string) bool { return false })
		if err == nil && dependents(order, x)[out] && !dependents(order, y)[out] {
			return out
		}
	}
	return ""
}

// scoresOf is the last value through which all goes that a loss compares with its targets: "" where weights come after it, so that it is
// no output of the network.
func scoresOf(order []*node, x, y string) string {
	const most = 64 // values tried
	fromX, fromY := dependents(order, x), dependents(order, y)
	var met []string // what depends on the input alone and meets the targets
	for _, n := range order {
		if !slices.ContainsFunc(n.out, func(o string) bool { return fromY[o] }) {
			continue
		}
		for _, in := range slices.Concat(n.in, n.free) {
			if in != "" && fromX[in] && !fromY[in] && !slices.Contains(met, in) {
				met = append(met, in)
			}
		}
	}
	if len(met) == 0 {
		return ""
	}
	tried := 0
	for _, n := range slices.Backward(order) {
		if len(n.out) != 1 || !fromX[n.out[0]] || fromY[n.out[0]] {
			continue
		}
		v := n.out[0]
		if tried++; tried > most {
			break
		}
		without := dependents(slices.DeleteFunc(slices.Clone(order), func(o *node) bool { return o == n }), x)
		if slices.ContainsFunc(met, func(s string) bool { return s != v && without[s] }) {
			continue
		}
		after := dependents(order, v)
		for _, o := range order {
			if o == n || len(o.out) == 0 || !after[o.out[0]] || fromY[o.out[0]] {
				continue
			}
			for i, in := range o.in {
				if k := slotOf(o, i); (k == strong || k == table) && !fromX[in] {
					return ""
				}
			}
		}
		return v
	}
	return ""
}

// targets is the input of a loss's targets, from y [batch, …] as data have it. Integers are real numbers from here on, since a
// loss computes with them.
func (w *network) targets(b *builder, x, y *graph.Node) *value {
	g := b.g
	b.target = y
	if y.Kind() == graph.Int {
		y = g.Real(y)
	}
	shape := []int{b.batch}
	for _, d := range w.target.dims[1:] {
		if d < 0 {
			d = x.Dim(1)
		}
		shape = append(shape, d)
	}
	if w.rowed {
		shape = []int{b.batch * x.Dim(1)}
	}
	return made(w.target.dt, g.Reshape(y, shape...))
}

// own builds the loss: one value.
func (w *network) own(g *graph.Graph, x, y *graph.Node, stats *bool) (*graph.Node, *builder) {
	b := &builder{g: g, batchStats: stats, batch: x.Dim(0), most: w.f.load.most()}
	v := w.end(b, w.build(b, w.nodes, x, y), w.loss)
	if v.size() != 1 {
		b.fail("output %q takes %s as targets and has shape %v, and a loss is one value: its mean over the batch (export it with reduction='mean')", w.loss, w.target.name, v.shape)
	}
	return g.Reshape(b.real(v)), b
}

func (w *network) ownLoss(mb *model.Builder, x, y *graph.Node) *graph.Node {
	var loss *graph.Node
	if err := catch(func() { loss, _ = w.own(mb.G, x, y, &mb.BatchStats) }); err != nil {
		graph.Failf("%v", err)
	}
	return loss
}

// trialLoss builds the loss once.
func (w *network) trialLoss(batch int, input []int) (*builder, error) {
	g := graph.New()
	var b *builder
	err := catch(func() {
		x := g.Input("x", w.kind(), append([]int{batch}, input...)...)
		shape := []int{batch}
		for _, d := range w.target.dims[1:] {
			if d < 0 {
				d = input[0]
			}
			shape = append(shape, d)
		}
		if w.rowed {
			shape = []int{batch, input[0]}
		}
		kind := graph.Float
		if !isFloat(w.target.dt) {
			kind = graph.Int
		}
		stats := false
		_, b = w.own(g, x, g.Input("y", kind, shape...), &stats)
	})
	return b, err
}

// checkTarget says whether the targets are declared as data can have them.
func (w *network) checkTarget() error {
	in := w.target
	switch {
	case !in.typ || len(in.dims) == 0:
		return fmt.Errorf("input %q, which the loss is taken against, declares no shape with the batch as its first axis (export it with one)", in.name)
	case width(in.dt) == 0:
		return fmt.Errorf("input %q, which the loss is taken against, is of %s, and real numbers or integers are needed", in.name, in.dt)
	case slices.Contains(in.dims[1:], -1) && (!w.tokens || len(in.dims) != 2):
		return fmt.Errorf("input %q, which the loss is taken against, has shape %s, and only the first axis, the batch, may vary (export it with a fixed size)", in.name, dimString(in.dims))
	}
	fixed := slices.DeleteFunc(slices.Clone(in.dims[1:]), func(d int) bool { return d < 0 })
	if n, err := tensor.CheckedCount(fixed); err != nil || n > maxSize {
		return fmt.Errorf("input %q, which the loss is taken against, has shape %s, which is too large", in.name, dimString(in.dims))
	}
	return nil
}

// lossShapes finds what the loss takes.
func (w *network) lossShapes(batch int, input []int, fixed bool) error {
	b, err := w.trialLoss(batch, input)
	if err != nil && w.tokens && len(w.target.dims) == 1 {
		w.rowed = true
		b, err = w.trialLoss(batch, input)
	}
	if err != nil {
		return err
	}
	own := &w.net.OwnTarget
	own.Integer = !isFloat(w.target.dt)
	own.Shape = w.target.dims[1:]
	if w.rowed {
		own.Shape = []int{-1}
	}
	if own.Integer {
		own.Classes = b.labels
	}
	if w.output == "" {
		w.net.Vocab = b.vocab
		w.note("what the loss compares with its targets is no output: there is no accuracy, and no other --loss")
	}
	if fixed {
		w.note("that the loss is a mean over the examples of a batch is taken for granted: the file is made for one size of batch, with which it cannot be checked")
	}
	return nil
}
