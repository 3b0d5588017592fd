// Package model is what is measured: a network with named parameters, and the graph of its loss
// over a batch.
//
// A [Network] knows its tensors by name and how to make its outputs from an input;
// [Network.Build] makes the graph for one size of batch, [Network.SetWeights] takes the values
// from a checkpoint. The architectures themselves are in package zoo.
//
// Images come as data sets hold them, [C, H, W], and are turned to channels last once; see
// [Builder].
package model

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/tensor"
)

// Param is a named tensor of the network: Values row-major, as many as the product of Shape, nil
// until weights are given.
type Param struct {
	Name   string
	Shape  []int
	Values []float64

	// Optional says that a checkpoint may leave it out: it keeps the values that it has.
	Optional bool
}

// Target is what a network's own loss takes for an example.
type Target struct {
	Shape   []int // -1: as many as the example has tokens
	Integer bool  // else real numbers, which integers are too
	Classes int   // integers are below it; 0: not known, or no integers
}

// Network is what is measured.
type Network struct {
	Name    string  // the canonical --model string
	Params  []Param // trainable, in the order of PyTorch's named_parameters()
	Buffers []Param // running statistics: constants, not parameters

	// Input is the shape of one example as a data set holds it: [784], [1, 28, 28], or for tokens
	// the longest sequence, [64]. What data fit is said at Build.
	Input     []int
	AnySize   bool // Input is [C, H, W], and images of any height and width are taken; H and W are the usual ones
	Tokens    bool // inputs are integers
	Vocab     int  // token ids are below it; 0: not known, or no tokens
	Sequence  bool // one output for each sequence of tokens, not for each token
	Pairs     bool // each token of a sequence looks at all others: memory goes as the square of their number
	Outputs   int  // classes: the width of the last axis of the outputs; 0: there are none, OwnLoss alone
	BatchNorm bool // has batch normalisation layers

	// Labels are the names of the classes, nil where they are not known.
	Labels []string

	// Notes say what was assumed, for the user and the result.
	Notes []string

	// Forward makes the outputs [P, Outputs], P counting examples or tokens, from x: [batch,
	// Input...], for tokens [batch, T] with T at most Input[0]. nil where Outputs is 0.
	Forward func(b *Builder, x *graph.Node) *graph.Node

	// OwnLoss makes the loss that the network itself has, one value that is the mean over the
	// examples of a batch, from x as Forward has it and targets y [batch, Settings.Target...]. nil: it has none.
	OwnLoss   func(b *Builder, x, y *graph.Node) *graph.Node
	OwnTarget Target // what OwnLoss takes

	// Match maps names of a checkpoint's tensors to those of the network, "" for what is to be left
	// out; a name that is not in the map stands for itself. Where several stand for one tensor they
	// must be equal. nil: all stand for themselves.
	Match func(names []string) map[string]string

	// Reject says why a checkpoint with tensors of these names must not be taken, although they may fit. nil: never.
	Reject func(names []string) error
}

// Losses that a Build takes: of one example (token) with outputs f of C values, cross-entropy is
// −ln softmax(f)_y, or −Σ y_c ln softmax(f)_c for a target of C probabilities; mse is (1/C)Σ(f_c − y_c)²;
// bce is (1/C)Σ(softplus(f_c) − y_c f_c), f being logits. All as PyTorch's reduction='mean'. Own is
// Network.OwnLoss.
const (
	CrossEntropy = "cross-entropy"
	MSE          = "mse"
	BCE          = "bce"
	Own          = "model"
)

// Settings are the rest of what a loss depends on: how it is computed, and the kind of data.
//
// With class weights w (1 where there are none) and label smoothing ε, cross-entropy of a label y is
//
//	−(1 − ε) w_y ln p_y − (ε/C) Σ_c w_c ln p_c,    p = softmax(f),
//
// and 0 for a negative label, which stands for one that is ignored. For a target of C probabilities t it is
// −Σ_c w_c ((1 − ε) t_c + ε/C) ln p_c. That is PyTorch's cross_entropy before the mean.
type Settings struct {
	Loss         string    // CrossEntropy, MSE, BCE or Own
	Smoothing    float64   // ε of cross-entropy, in [0, 1)
	ClassWeights []float64 // w of cross-entropy, one an output; nil: all are 1
	Ignore       bool      // of cross-entropy: some labels are negative
	BatchStats   bool      // batch normalisation by the batch's own statistics; else by the running ones

	// Total divides the sum of all losses: the examples of the whole data set (tokens for a language
	// model), for integer targets of cross-entropy Σ w_y over those that are not ignored.
	Total float64

	Input, Target []int // shapes of one example in the data set; a single label has shape []
	InputInteger  bool  // the inputs are integers: tokens
	TargetInteger bool  // the targets are integers: classes, tokens, or for bce 0 and 1
}

// Graph is a network's loss over one batch, or its outputs.
type Graph struct {
	G               *graph.Graph
	X, Y            *graph.Node   // Input leaves: X [batch, Settings.Input...], Y [batch, Settings.Target...]; Y is nil without a loss
	Params, Buffers []*graph.Node // leaves, parallel to Network.Params and Buffers
	Outputs         *graph.Node   // [P, Network.Outputs]; nil where the loss is Own
	ExampleLoss     *graph.Node   // [P]: of each example (token); nil where the loss is Own
	Loss            *graph.Node   // of rank 0: the sum of ExampleLoss over Settings.Total
}

// Size is the number of parameters.
func (n *Network) Size() int {
	size := 0
	for _, p := range n.Params {
		size += tensor.Count(p.Shape)
	}
	return size
}

// SHA256 is the hash, in hexadecimal, of the parameters in order (not of the buffers), "" while
// one has no values. Of each it takes the length of the name in bytes, the name in UTF-8, the
// number of axes, the size of each axis, and the values row-major; lengths, numbers and sizes as
// 8-byte little-endian integers, values as little-endian float64.
func (n *Network) SHA256() string {
	h := sha256.New()
	var buf []byte
	number := func(v int) { buf = binary.LittleEndian.AppendUint64(buf, uint64(v)) }
	for _, p := range n.Params {
		if p.Values == nil {
			return ""
		}
		number(len(p.Name))
		buf = append(buf, p.Name...)
		number(len(p.Shape))
		for _, s := range p.Shape {
			number(s)
		}
		for _, v := range p.Values {
			buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(v))
			if len(buf) >= 1<<15 {
				h.Write(buf)
				buf = buf[:0]
			}
		}
	}
	h.Write(buf)
	return hex.EncodeToString(h.Sum(nil))
}

// Build makes the graph of the loss
//
//	Loss = (1/Total) Σ_p ExampleLoss_p
//
// over a batch, so that the losses of all batches add up to that of the data set. It fails when
// the data do not fit the network or the loss, and says what would. Data fit a network that takes
// [F] when an example has F values, in whatever shape; one that takes images, when shapes are
// equal but for axes of size 1, or with AnySize when the channels are; one that takes tokens, when a
// sequence is not longer than its context.
func (n *Network) Build(batch int, s Settings) (*Graph, error) {
	if batch < 1 || !(s.Total > 0) {
		return nil, fmt.Errorf("a batch of %d out of %v examples (at least one is needed)", batch, s.Total)
	}
	if err := n.fitInput(s); err != nil {
		return nil, err
	}
	if err := n.fitTarget(s); err != nil {
		return nil, err
	}
	return n.catch(s, func(res *Graph) { n.loss(res, batch, s) })
}

// BuildOutputs makes the graph of the outputs alone, whatever the loss.
func (n *Network) BuildOutputs(batch int, s Settings) (*Graph, error) {
	if n.Outputs == 0 {
		return nil, fmt.Errorf("%s has no outputs but its own loss", n.Name)
	}
	if err := n.fitInput(s); err != nil {
		return nil, err
	}
	return n.catch(s, func(res *Graph) { n.outputs(res, batch, s) })
}

func (n *Network) catch(s Settings, build func(res *Graph)) (*Graph, error) {
	res := &Graph{G: graph.New()}
	err := graph.Catch(func() error {
		build(res)
		return nil
	})
	if err != nil && n.AnySize {
		return nil, fmt.Errorf("%s with examples of shape %s: %w (use larger images)", n.Name, ShapeString(s.Input), err)
	} else if err != nil {
		return nil, fmt.Errorf("%s with examples of shape %s: %w", n.Name, ShapeString(s.Input), err)
	}
	return res, nil
}

func kind(integer bool) graph.Kind {
	if integer {
		return graph.Int
	}
	return graph.Float
}

// inputs makes the leaves; x is the inputs as Forward has them.
func (n *Network) inputs(res *Graph, batch int, s Settings) (b *Builder, x *graph.Node) {
	g := res.G
	res.X = g.Input("x", kind(s.InputInteger), slices.Concat([]int{batch}, s.Input)...)
	b = &Builder{G: g, BatchStats: s.BatchStats, Batch: batch, leaves: map[string]*graph.Node{}}
	leaves := func(ps []Param) []*graph.Node {
		out := make([]*graph.Node, len(ps))
		for i, p := range ps {
			out[i] = g.Param(p.Name, p.Shape...)
			b.leaves[p.Name] = out[i]
		}
		return out
	}
	res.Params, res.Buffers = leaves(n.Params), leaves(n.Buffers)
	x = res.X
	if !n.Tokens {
		x = g.Reshape(x, slices.Concat([]int{batch}, n.shaped(s.Input))...)
	}
	return b, x
}

// outputs makes Outputs and says how many positions they have.
func (n *Network) outputs(res *Graph, batch int, s Settings) (positions int) {
	b, x := n.inputs(res, batch, s)
	f := n.Forward(b, x)
	positions = batch
	if n.Tokens && !n.Sequence {
		positions *= tensor.Count(s.Input)
	}
	if !slices.Equal(f.Shape(), []int{positions, n.Outputs}) {
		panic(fmt.Sprintf("model: outputs of %s have shape %v", n.Name, f.Shape()))
	}
	res.Outputs = f
	return positions
}

func (n *Network) loss(res *Graph, batch int, s Settings) {
	g := res.G
	res.Y = g.Input("y", kind(s.TargetInteger), slices.Concat([]int{batch}, s.Target)...)
	if s.Loss == Own {
		b, x := n.inputs(res, batch, s)
		own := n.OwnLoss(b, x, res.Y)
		if own.Size() != 1 {
			panic(fmt.Sprintf("model: the loss of %s has shape %v", n.Name, own.Shape()))
		}
		res.Loss = g.Scale(g.Reshape(own), float64(batch)/s.Total)
		return
	}
	positions := n.outputs(res, batch, s)
	defer g.Within("the loss")()
	f, y := res.Outputs, res.Y
	switch {
	case !s.TargetInteger:
		y = g.Reshape(y, positions, n.Outputs)
	case s.Loss == BCE: // 0 and 1 as real numbers
		y = g.Reshape(y, positions*n.Outputs)
		y = g.Reshape(g.Slice(g.OneHot(y, 2), []int{0, 1}, nil, []int{positions * n.Outputs, 1}), positions, n.Outputs)
	default:
		y = g.Reshape(y, positions)
	}
	switch {
	case s.Loss == MSE:
		res.ExampleLoss = g.MSE(f, y)
	case s.Loss == BCE:
		res.ExampleLoss = g.BCEWithLogits(f, y)
	default:
		res.ExampleLoss = crossEntropy(g, f, y, s)
	}
	res.Loss = g.Scale(g.Reshape(g.Sum(res.ExampleLoss, 0)), 1/s.Total)
}

// crossEntropy is the loss of each row of f [P, C] for labels y [P] or probabilities y [P, C].
func crossEntropy(g *graph.Graph, f, y *graph.Node, s Settings) *graph.Node {
	c := f.Dim(-1)
	t := y
	if s.TargetInteger {
		t = g.OneHot(y, c)
	}
	if s.Smoothing != 0 {
		rest := g.Scalar(s.Smoothing / float64(c))
		if s.Ignore { // of rows that are not ignored
			rest = g.Mul(g.Sum(t, -1), rest)
		}
		t = g.Add(g.Scale(t, 1-s.Smoothing), rest)
	}
	if s.ClassWeights != nil {
		t = g.Mul(t, g.Const(s.ClassWeights, c))
	}
	return g.CrossEntropySoft(f, t)
}

// fitInput says whether examples fit the network.
func (n *Network) fitInput(s Settings) error {
	in := ShapeString(s.Input)
	count, err := tensor.CheckedCount(s.Input)
	if err != nil || count == 0 {
		return fmt.Errorf("examples of shape %s hold no values (check --data)", in)
	}
	switch {
	case n.Tokens && !s.InputInteger:
		return fmt.Errorf("the inputs are real numbers of shape %s, and %s takes sequences of up to %d tokens, which are integers (give token or text data)", in, n.Name, n.Input[0])
	case !n.Tokens && s.InputInteger:
		return fmt.Errorf("the inputs are integers of shape %s, taken for tokens, and %s takes real numbers of shape %s (store them as floats or uint8)", in, n.Name, ShapeString(n.Input))
	case n.Tokens && len(s.Input) != 1:
		return fmt.Errorf("the inputs have shape %s, and %s takes sequences of up to %d tokens (one sequence an example)", in, n.Name, n.Input[0])
	case n.Tokens && s.Input[0] > n.Input[0]:
		return fmt.Errorf("sequences of %d tokens are longer than the context of %d of %s (cut them to %d)", s.Input[0], n.Input[0], n.Name, n.Input[0])
	case n.Tokens:
		return nil
	case len(n.Input) == 1:
		if count != n.Input[0] {
			return fmt.Errorf("examples of shape %s have %d values, and %s takes %d (check --data and --model)", in, count, n.Name, n.Input[0])
		}
	case !sameValues(s.Input, n.shaped(s.Input)):
		hint := "check --data and --model"
		if len(s.Input) == 3 {
			if first := []int{s.Input[2], s.Input[0], s.Input[1]}; slices.Equal(first, n.shaped(first)) {
				hint = "channels come first: store images as [N, C, H, W]"
			}
		}
		takes := ShapeString(n.Input)
		if n.AnySize {
			takes = fmt.Sprintf("[%d, H, W]", n.Input[0])
		}
		return fmt.Errorf("examples of shape %s do not fit %s, which takes %s (%s)", in, n.Name, takes, hint)
	}
	return nil
}

// shaped is the shape in which the network takes one example of the data's shape: Input, or with
// AnySize its channels and the data's height and width.
func (n *Network) shaped(data []int) []int {
	if !n.AnySize || len(data) < 2 {
		return n.Input
	}
	return slices.Concat(n.Input[:1], data[len(data)-2:])
}

// fitTarget says whether targets fit the loss and the outputs.
func (n *Network) fitTarget(s Settings) error {
	var each []int // positions of an example
	where := "of an example"
	if n.Tokens && !n.Sequence {
		each, where = s.Input, "of a sequence"
	}
	dense := append(slices.Clone(each), n.Outputs)
	have := "real numbers of shape " + ShapeString(s.Target)
	if s.TargetInteger {
		have = "integers of shape " + ShapeString(s.Target)
	}
	if s.Loss != Own && n.Outputs == 0 {
		return fmt.Errorf("%s has no outputs but its own loss (use --loss %s)", n.Name, Own)
	}
	if s.Loss != CrossEntropy && (s.Smoothing != 0 || s.ClassWeights != nil) {
		return fmt.Errorf("label smoothing and class weights belong to cross-entropy, and the loss is %s", s.Loss)
	}
	switch s.Loss {
	case Own:
		if n.OwnLoss == nil {
			return fmt.Errorf("%s has no loss of its own (use --loss %s, %s or %s)", n.Name, CrossEntropy, MSE, BCE)
		}
		shape := slices.Clone(n.OwnTarget.Shape)
		for i, d := range shape {
			if d < 0 {
				shape[i] = s.Input[0]
			}
		}
		if !s.TargetInteger && n.OwnTarget.Integer || !sameValues(s.Target, shape) {
			return fmt.Errorf("the targets of an example are %s, and the loss of %s takes %s of shape %s (check --data, or choose another --loss)", have, n.Name,
				map[bool]string{true: "integers", false: "real numbers"}[n.OwnTarget.Integer], ShapeString(shape))
		}
	case CrossEntropy:
		switch {
		case n.Outputs < 2:
			return fmt.Errorf("cross-entropy needs two outputs or more, and %s has %d (use --loss bce or --loss mse)", n.Name, n.Outputs)
		case s.TargetInteger && !sameValues(s.Target, each):
			return fmt.Errorf("the targets %s are %s, and cross-entropy needs class numbers of shape %s (check --data)", where, have, ShapeString(each))
		case !s.TargetInteger && !sameValues(s.Target, dense):
			return fmt.Errorf("the targets %s are %s, and cross-entropy on %s needs integers of shape %s, or probabilities of shape %s (use --loss mse, or store labels as integers)",
				where, have, n.Name, ShapeString(each), ShapeString(dense))
		}
	case MSE:
		if s.TargetInteger {
			return fmt.Errorf("the targets %s are %s, and mse on %s needs real numbers of shape %s (use --loss cross-entropy, or store the targets as floats, one-hot for classes)",
				where, have, n.Name, ShapeString(dense))
		}
		fallthrough
	case BCE:
		if !sameValues(s.Target, dense) {
			return fmt.Errorf("the targets %s are %s, and %s on %s needs shape %s, a value an output (use --loss cross-entropy for class numbers)",
				where, have, s.Loss, n.Name, ShapeString(dense))
		}
	default:
		return fmt.Errorf("unknown loss %q (use %s, %s, %s or %s)", s.Loss, CrossEntropy, MSE, BCE, Own)
	}
	return nil
}

// sameValues says whether shapes are equal but for axes of size 1.
func sameValues(a, b []int) bool {
	drop := func(shape []int) []int {
		return slices.DeleteFunc(slices.Clone(shape), func(s int) bool { return s == 1 })
	}
	return slices.Equal(drop(a), drop(b))
}

// ShapeString is a shape as messages have it: [3, 32, 32].
func ShapeString(shape []int) string {
	s := make([]string, len(shape))
	for i, d := range shape {
		s[i] = strconv.Itoa(d)
	}
	return "[" + strings.Join(s, ", ") + "]"
}
