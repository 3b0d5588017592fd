package model_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// affine is a network of one linear layer on in values.
func affine(in, out int) *model.Network {
	return &model.Network{
		Name:    "affine",
		Params:  []model.Param{{Name: "a.weight", Shape: []int{out, in}}, {Name: "a.bias", Shape: []int{out}}},
		Buffers: []model.Param{{Name: "a.running_mean", Shape: []int{out}}},
		Input:   []int{in},
		Outputs: out,
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node { return b.Linear(x, "a") },
	}
}

// images is affine on images of 3×4×4.
func images() *model.Network {
	n := affine(48, 10)
	n.Name, n.Input = "images", []int{3, 4, 4}
	n.Forward = func(b *model.Builder, x *graph.Node) *graph.Node { return b.LinearOfImage(b.Image(x), "a") }
	return n
}

// anySize averages each of 3 channels over images of any size, after a max-pool of 2×2.
func anySize() *model.Network {
	n := affine(3, 10)
	n.Name, n.Input, n.AnySize = "any", []int{3, 8, 8}, true
	n.Forward = func(b *model.Builder, x *graph.Node) *graph.Node {
		return b.Linear(b.GlobalAvgPool(b.MaxPool2d(b.Image(x), 2, 2, 0)), "a")
	}
	return n
}

// tokens is a table of logits by token, on up to 8 of 5 tokens.
func tokens() *model.Network {
	return &model.Network{
		Name:    "tokens",
		Params:  []model.Param{{Name: "t", Shape: []int{5, 5}}},
		Input:   []int{8},
		Tokens:  true,
		Outputs: 5,
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node {
			return b.G.Reshape(b.G.Gather(b.Param("t"), x), b.Batch*x.Dim(1), 5)
		},
	}
}

func TestBuildTakesWhatFits(t *testing.T) {
	for _, c := range []struct {
		n             *model.Network
		loss          string
		input, target []int
		integer       bool
	}{
		{affine(6, 3), model.CrossEntropy, []int{6}, nil, true},
		{affine(6, 3), model.CrossEntropy, []int{1, 2, 3}, []int{1}, true},
		{affine(6, 3), model.CrossEntropy, []int{6}, []int{3}, false},
		{affine(6, 3), model.MSE, []int{6}, []int{3}, false},
		{affine(6, 1), model.MSE, []int{6}, nil, false},
		{affine(6, 3), model.BCE, []int{6}, []int{3}, false},
		{affine(6, 3), model.BCE, []int{6}, []int{3}, true},
		{affine(6, 1), model.BCE, []int{6}, nil, true},
		{images(), model.CrossEntropy, []int{3, 4, 4}, nil, true},
		{anySize(), model.CrossEntropy, []int{3, 8, 8}, nil, true},
		{anySize(), model.CrossEntropy, []int{3, 5, 9}, nil, true},
		{anySize(), model.CrossEntropy, []int{1, 3, 5, 9}, nil, true},
		{tokens(), model.CrossEntropy, []int{8}, []int{8}, true},
		{tokens(), model.CrossEntropy, []int{2}, []int{2}, true},
		{tokens(), model.MSE, []int{8}, []int{8, 5}, false},
	} {
		s := model.Settings{Loss: c.loss, Total: 7, Input: c.input, Target: c.target, InputInteger: c.n.Tokens, TargetInteger: c.integer}
		m, err := c.n.Build(2, s)
		if err != nil {
			t.Errorf("%s on %v to %v: %v", c.loss, c.input, c.target, err)
			continue
		}
		if m.Loss.Rank() != 0 || m.ExampleLoss.Dim(0) != m.Outputs.Dim(0) || (m.Y.Kind() == graph.Int) != c.integer || (m.X.Kind() == graph.Int) != c.n.Tokens {
			t.Errorf("%s on %v to %v: loss %v, losses %v, outputs %v, x %v, y %v", c.loss, c.input, c.target, m.Loss, m.ExampleLoss, m.Outputs, m.X, m.Y)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	ok := model.Settings{Loss: model.CrossEntropy, Total: 7, Input: []int{6}, TargetInteger: true}
	with := func(change func(s *model.Settings)) model.Settings {
		s := ok
		change(&s)
		return s
	}
	for _, c := range []struct {
		n    *model.Network
		s    model.Settings
		want string
	}{
		{affine(6, 3), with(func(s *model.Settings) { s.Total = 0 }), "at least one"},
		{affine(6, 3), with(func(s *model.Settings) { s.Input = []int{0} }), "hold no values"},
		{affine(6, 3), with(func(s *model.Settings) { s.Input = []int{2, 4} }), "[2, 4] have 8 values, and affine takes 6"},
		{affine(6, 3), with(func(s *model.Settings) { s.InputInteger = true }), "real numbers of shape [6]"},
		{images(), with(func(s *model.Settings) { s.Input = []int{48} }), "[48] do not fit images, which takes [3, 4, 4]"},
		{images(), with(func(s *model.Settings) { s.Input = []int{4, 4, 3} }), "channels come first"},
		{anySize(), with(func(s *model.Settings) { s.Input = []int{192} }), "[192] do not fit any, which takes [3, H, W] (check"},
		{anySize(), with(func(s *model.Settings) { s.Input = []int{8, 8} }), "do not fit any"},
		{anySize(), with(func(s *model.Settings) { s.Input = []int{1, 8, 8} }), "do not fit any"},
		{anySize(), with(func(s *model.Settings) { s.Input = []int{5, 9, 3} }), "channels come first"},
		{anySize(), with(func(s *model.Settings) { s.Input = []int{3, 1, 5} }), "use larger images"},
		{tokens(), with(func(s *model.Settings) {}), "up to 8 tokens, which are integers"},
		{tokens(), with(func(s *model.Settings) { s.InputInteger = true; s.Input = []int{9} }), "cut them to 8"},
		{tokens(), with(func(s *model.Settings) { s.InputInteger = true; s.Input = []int{2, 4} }), "one sequence an example"},
		{tokens(), with(func(s *model.Settings) { s.InputInteger = true }), "class numbers of shape [6]"},
		{affine(6, 3), with(func(s *model.Settings) { s.Loss = "hinge" }), `unknown loss "hinge" (use cross-entropy, mse, bce or model)`},
		{affine(6, 1), ok, "--loss bce"},
		{affine(6, 3), with(func(s *model.Settings) { s.Target = []int{3} }), "class numbers of shape []"},
		{affine(6, 3), with(func(s *model.Settings) { s.TargetInteger = false }), "integers of shape [], or probabilities of shape [3]"},
		{affine(6, 3), with(func(s *model.Settings) { s.Loss = model.MSE }), "real numbers of shape [3]"},
		{affine(6, 3), with(func(s *model.Settings) { s.Loss = model.MSE; s.TargetInteger = false; s.Target = []int{4} }), "mse on affine needs shape [3]"},
		{affine(6, 3), with(func(s *model.Settings) { s.Loss = model.BCE }), "bce on affine needs shape [3]"},
	} {
		if _, err := c.n.Build(2, c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	if _, err := affine(6, 3).Build(0, ok); err == nil {
		t.Error("an empty batch: no error")
	}
}

// checkpoint is tensors by name.
type checkpoint map[string]*tensor.Tensor

func f32(shape ...int) *tensor.Tensor {
	x := &tensor.Tensor{DType: tensor.Float32, Shape: shape, F32: make([]float32, tensor.Count(shape))}
	for i := range x.F32 {
		x.F32[i] = float32(i) + 0.5
	}
	return x
}

func (c checkpoint) set(n *model.Network) error {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	return n.SetWeights(names, func(name string) (*tensor.Tensor, error) {
		if c[name] == nil {
			return nil, errors.New("damaged")
		}
		return c[name], nil
	})
}

func TestSetWeights(t *testing.T) {
	for _, prefix := range []string{"", "module.", "_orig_mod.", "module._orig_mod.", "model."} {
		n := affine(2, 3)
		err := checkpoint{
			prefix + "a.weight": f32(3, 2), prefix + "a.bias": f32(3), prefix + "a.running_mean": f32(3),
			prefix + "a.num_batches_tracked": {DType: tensor.Int64, I64: []int64{7}},
		}.set(n)
		if err != nil {
			t.Errorf("%q: %v", prefix, err)
			continue
		}
		if !slices.Equal(n.Params[0].Values, []float64{0.5, 1.5, 2.5, 3.5, 4.5, 5.5}) || len(n.Params[1].Values) != 3 || len(n.Buffers[0].Values) != 3 {
			t.Errorf("%q: %v, %v", prefix, n.Params, n.Buffers)
		}
	}
}

func TestSetWeightsListsAllProblems(t *testing.T) {
	n := affine(2, 3)
	err := checkpoint{
		"z.weight": f32(1), "a.weight": f32(2, 3), "a.bias": {DType: tensor.Int64, Shape: []int{3}, I64: make([]int64, 3)}, "b": f32(1),
	}.set(n)
	const want = `5 tensors do not fit affine:
  a.bias: int64 values, where floating-point numbers are needed
  a.running_mean: missing
  a.weight: shape [2, 3], the network has [3, 2]
  b: not in the network
  z.weight: not in the network
(is --model what the weights were trained as? left out, it is recognised from them)`
	var m *model.MismatchError
	if !errors.As(err, &m) || len(m.Problems) != 5 || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	many := &model.MismatchError{Network: "affine", Problems: strings.Split(strings.Repeat("x: missing\n", 25), "\n")[:25]}
	if got := many.Error(); strings.Count(got, "x: missing") != 20 || !strings.Contains(got, "25 tensors") || !strings.Contains(got, "\n  … and 5 more\n") {
		t.Errorf("got %s", got)
	}
	if n.Params[0].Values != nil || n.Params[1].Values != nil {
		t.Error("values were set all the same")
	}
	if err := (checkpoint{}).set(n); err == nil || !strings.HasPrefix(err.Error(), "3 tensors") {
		t.Errorf("no tensors: %v", err)
	}
	// A prefix that only some have is part of the name.
	if err := (checkpoint{"module.a.weight": f32(3, 2), "a.bias": f32(3), "a.running_mean": f32(3)}).set(n); err == nil || !strings.Contains(err.Error(), "module.a.weight: not in the network") {
		t.Errorf("mixed prefixes: %v", err)
	}
	if err := (checkpoint{"a.weight": nil, "a.bias": f32(3), "a.running_mean": f32(3)}).set(n); err == nil || err.Error() != "damaged" {
		t.Errorf("a tensor that cannot be read: %v", err)
	}
}

func TestSetWeightsNonFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, name := range []string{"a.weight", "a.bias", "a.running_mean"} {
			n := affine(2, 3)
			c := checkpoint{"a.weight": f32(3, 2), "a.bias": f32(3), "a.running_mean": f32(3)}
			c[name].F32[2] = float32(bad)
			err := c.set(n)
			var e *model.NonFiniteError
			if !errors.As(err, &e) || e.Tensor != name || e.Index != 2 || !(math.IsNaN(bad) || e.Value == bad) {
				t.Errorf("%v in %s: %v", bad, name, err)
			}
			if n.Params[0].Values != nil {
				t.Error("values were set all the same")
			}
		}
	}
}

func TestFits(t *testing.T) {
	n := affine(2, 3)
	names := []string{"module.a.weight", "module.a.bias", "module.a.running_mean"}
	if err := n.Fits(names, [][]int{{3, 2}, {3}, {3}}); err != nil {
		t.Error(err)
	}
	if err := n.Fits(names, [][]int{{3, 2}, {4}, {3}}); err == nil || !strings.Contains(err.Error(), "module.a.bias: shape [4], the network has [3]") {
		t.Errorf("got %v", err)
	}
}

func TestSHA256(t *testing.T) {
	n := affine(2, 3)
	if n.SHA256() != "" {
		t.Error("a hash without values")
	}
	h := sha256.New()
	word := func(v uint64) { _ = binary.Write(h, binary.LittleEndian, v) }
	for i := range n.Params {
		p := &n.Params[i]
		word(uint64(len(p.Name)))
		fmt.Fprint(h, p.Name)
		word(uint64(len(p.Shape)))
		for _, s := range p.Shape {
			word(uint64(s))
		}
		for j := range tensor.Count(p.Shape) {
			v := math.Sqrt(float64(i + j))
			p.Values = append(p.Values, v)
			word(math.Float64bits(v))
		}
	}
	want := hex.EncodeToString(h.Sum(nil))
	if got := n.SHA256(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	n.Buffers[0].Values = []float64{1, 2, 3}
	if n.SHA256() != want {
		t.Error("buffers count")
	}
	n.Params[1].Values[2]++
	if n.SHA256() == want {
		t.Error("a change goes unseen")
	}
}

func TestSize(t *testing.T) {
	if got := affine(2, 3).Size(); got != 9 {
		t.Errorf("got %d, want 9", got)
	}
}
