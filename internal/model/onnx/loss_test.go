package onnx

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/onnx/onnxpb"
	"hessdens/internal/tensor"
)

// autograd is what PyTorch computes in float64; see testdata/losses.py.
type autograd struct {
	X      []float64            `json:"x"`
	Y      []float64            `json:"y"`
	XShape []int                `json:"xshape"`
	YShape []int                `json:"yshape"`
	Loss   float64              `json:"loss"`
	HV     map[string][]float64 `json:"hv"`
}

func autograds(t *testing.T) map[string]autograd {
	t.Helper()
	b, err := os.ReadFile("testdata/loss/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]autograd
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e autograd) data(n *model.Network) hvp.Data {
	integers := func(v []float64) []int64 {
		out := make([]int64, len(v))
		for i, x := range v {
			out[i] = int64(x)
		}
		return out
	}
	d := hvp.Data{N: len(e.X) / tensor.Count(e.XShape)}
	x, y := column{shape: e.XShape, f: e.X}, column{shape: e.YShape, f: e.Y}
	if n.Tokens {
		x = column{shape: e.XShape, i: integers(e.X)}
	}
	if !slices.ContainsFunc(e.Y, func(v float64) bool { return v != math.Trunc(v) }) {
		y = column{shape: e.YShape, i: integers(e.Y)}
	}
	d.X, d.Y = x, y
	return d
}

func openLoss(t *testing.T, name string) *model.Network {
	t.Helper()
	f, err := Open(os.DirFS("testdata/loss"), name+".onnx")
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Network()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAutograd holds loss and Hessian-vector product of files with a loss of their own, and of classifiers of sequences, against PyTorch's. Where
// the scores were found, so that another loss can be chosen, that one has to agree too.
func TestAutograd(t *testing.T) {
	const tol = 1e-9
	for _, c := range []struct {
		file   string
		losses string // that are the same function
		output int
	}{
		{"ce.torchscript", "model cross-entropy", 3},
		{"ce.dynamo", "model cross-entropy", 3},
		{"smooth.torchscript", "model", 3},
		{"smooth.dynamo", "model", 3},
		{"mse.torchscript", "model mse", 3},
		{"mse.dynamo", "model mse", 3},
		{"bce.torchscript", "model", 3},
		{"bce.dynamo", "model bce", 3},
		{"lm.torchscript", "model cross-entropy", 11},
		{"lm.dynamo", "model cross-entropy", 11},
		{"bert.torchscript", "cross-entropy", 3},
		{"bert.dynamo", "cross-entropy", 3},
		{"roberta.dynamo", "cross-entropy", 3},
	} {
		t.Run(c.file, func(t *testing.T) {
			name, _, _ := strings.Cut(c.file, ".")
			want := autograds(t)[name]
			n := openLoss(t, c.file)
			for _, s := range n.Notes {
				t.Log("note: " + s)
			}
			if n.Outputs != c.output {
				t.Errorf("%d outputs, want %d", n.Outputs, c.output)
			}
			for _, loss := range strings.Fields(c.losses) {
				for _, batch := range []int{0, 2} {
					opt := hvp.Options{Precision: hvp.Float64, Threads: 1, BatchSize: batch, Loss: loss}
					if loss == model.Own {
						opt.Loss = ""
					}
					o, err := hvp.New(n, want.data(n), opt)
					if err != nil {
						t.Fatal(err)
					}
					defer o.Close()
					if o.Loss() != loss {
						t.Errorf("loss %s, want %s", o.Loss(), loss)
					}
					value, _, err := o.Gradient(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					within(t, "loss", value, want.Loss, tol)
					var v, hw []float64
					for _, g := range o.Groups() {
						w, ok := want.HV[g.Name]
						if !ok || len(w) != g.Size {
							t.Fatalf("no parameter %s of %d values in PyTorch's", g.Name, g.Size)
						}
						hw = append(hw, w...)
						sum := 0
						for _, b := range []byte(g.Name) {
							sum += int(b)
						}
						for i := range w {
							v = append(v, math.Sin(1+0.7*float64(i)+float64(sum)))
						}
					}
					if len(o.Groups()) != len(want.HV) {
						t.Errorf("%d parameters, want %d", len(o.Groups()), len(want.HV))
					}
					hv := apply(t, o, v)
					var diff, size float64
					for i := range hw {
						diff += (hv[i] - hw[i]) * (hv[i] - hw[i])
						size += hw[i] * hw[i]
					}
					rel := math.Sqrt(diff / size)
					t.Logf("| %s | --loss %s | batches of %d | n = %d | %.1e |", c.file, loss, o.BatchSize(), o.Dim(), rel)
					if !(rel <= tol) {
						t.Errorf("relative difference %.2e, want at most %g", rel, tol)
					}
				}
			}
		})
	}
}

// TestOwnLossRefused: a loss that is no mean over the examples of a batch is none over the data set.
func TestOwnLossRefused(t *testing.T) {
	e := autograds(t)["ce"]
	for range 3 { // 40 examples, of which the first 38 have one label
		e.X = append(e.X, e.X...)
	}
	e.Y = append(make([]float64, 38), 1, 2)
	for file, want := range map[string]string{
		"sum.torchscript":     "is a sum over the examples",
		"sum.dynamo":          "is a sum over the examples",
		"weights.torchscript": "class weights",
		"weights.dynamo":      "class weights",
		"ignore.dynamo":       "a label that is ignored",
	} {
		n := openLoss(t, file)
		_, err := hvp.New(n, e.data(n), hvp.Options{Threads: 1})
		var own *hvp.OwnLossError
		if !errors.As(err, &own) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
		o, err := hvp.New(n, e.data(n), hvp.Options{Threads: 1, Loss: model.CrossEntropy})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		o.Close()
	}
}

// TestOwnLossFixed: a file that was exported for batches of 5, without names that tell its inputs, takes others too.
func TestOwnLossFixed(t *testing.T) {
	e := autograds(t)["ce"]
	n := openLoss(t, "fixed.torchscript")
	var first float64
	for _, batch := range []int{5, 2} {
		o, err := hvp.New(n, e.data(n), hvp.Options{Threads: 1, BatchSize: batch, Precision: hvp.Float64})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		loss, _, err := o.Gradient(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if batch == 5 {
			first = loss
		}
		within(t, "loss", loss, first, 1e-12)
	}
}

// TestOwnLossOneBatch: a file that takes batches of 2 and no others is measured with them, and that its loss is a mean cannot be checked.
func TestOwnLossOneBatch(t *testing.T) {
	m := lossOf(valueOf("x", 1, 2, 4), valueOf("y", 1, 2, 3), []*onnxpb.NodeProto{nodeOf("Gemm", "x w", "f", nil), nodeOf("MatMul", "mix f", "g", nil), nodeOf("Sub", "g y", "d", nil),
		nodeOf("Mul", "d d", "s", nil), nodeOf("ReduceMean", "s", "loss", attrs{"keepdims": 0})}, floats("w", some(1), 4, 3), floats("mix", some(2), 2, 2))
	n := networkOf(t, m, Options{})
	if !slices.ContainsFunc(n.Notes, func(s string) bool { return strings.Contains(s, "taken for granted") }) {
		t.Errorf("notes %v", n.Notes)
	}
	d := hvp.Data{N: 4, X: column{shape: []int{4}, f: pattern(16)}, Y: column{shape: []int{3}, f: pattern(12)}}
	o, err := hvp.New(n, d, hvp.Options{Threads: 1, BatchSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, _, err := o.Gradient(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestTargets: data that do not fit a loss's targets.
func TestTargets(t *testing.T) {
	e := autograds(t)
	for _, c := range []struct{ file, data, want string }{
		{"ce.dynamo", "mse", "takes integers of shape []"},
		{"mse.dynamo", "ce", "takes real numbers of shape [3]"},
		{"lm.dynamo", "bert", "takes integers of shape [7]"},
	} {
		n := openLoss(t, c.file)
		if _, err := hvp.New(n, e[c.data].data(n), hvp.Options{Threads: 1}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.file, err, c.want)
		}
	}
	n := openLoss(t, "ce.dynamo")
	bad := e["ce"]
	bad.Y = []float64{0, 1, 3, 1, 0}
	var label *hvp.LabelError
	if _, err := hvp.New(n, bad.data(n), hvp.Options{Threads: 1}); !errors.As(err, &label) || label.Limit != 3 {
		t.Errorf("a label of 3: %v", err)
	}
}

// TestIntegersAsReal: a loss that takes real numbers takes integers for such.
func TestIntegersAsReal(t *testing.T) {
	n := networkOf(t, lossOf(valueOf("x", 1, 0, 4), valueOf("y", 1, 0, 1), []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "f", nil), nodeOf("Sub", "f y", "d", nil), nodeOf("Mul", "d d", "s", nil), nodeOf("ReduceMean", "s", "loss", attrs{"keepdims": 0})},
		floats("w", some(1), 4, 1)), Options{})
	var losses []float64
	for _, y := range []column{{f: []float64{0, 1, 3}}, {i: []int64{0, 1, 3}}} {
		o, err := hvp.New(n, hvp.Data{N: 3, X: column{shape: []int{4}, f: pattern(12)}, Y: y}, hvp.Options{Threads: 1, Precision: hvp.Float64})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		loss, _, err := o.Gradient(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	if losses[0] != losses[1] || losses[0] == 0 {
		t.Errorf("losses %v", losses)
	}
}

// TestVocab: the ids that a network takes are those of its table, and others are found before they are read.
func TestVocab(t *testing.T) {
	n := openLoss(t, "bert.dynamo")
	if n.Vocab != 20 || !n.Sequence || !n.Tokens {
		t.Fatalf("%d ids, one output a sequence: %t", n.Vocab, n.Sequence)
	}
	for _, id := range []float64{20, -1, 1 << 40} {
		e := autograds(t)["bert"]
		e.X[9] = id
		var label *hvp.LabelError
		if _, err := hvp.New(n, e.data(n), hvp.Options{Threads: 1}); !errors.As(err, &label) || label.What != "token" {
			t.Errorf("id %v: %v", id, err)
		}
	}
}

// Files with two inputs, by hand.
func lossOf(x, y *onnxpb.ValueInfoProto, nodes []*onnxpb.NodeProto, inits ...*onnxpb.TensorProto) *onnxpb.ModelProto {
	m := modelOf(x, "loss", nodes, inits...)
	m.Graph.Input = append(m.Graph.Input, y)
	return m
}

func TestFindLoss(t *testing.T) {
	linear := nodeOf("Gemm", "x w", "f", nil)
	w := floats("w", some(1), 4, 3)
	soft := nodeOf("SoftmaxCrossEntropyLoss", "f b", "loss", nil)
	row, ids := valueOf("x", 1, 0, 4), func(name string) *onnxpb.ValueInfoProto { return valueOf(name, 7, 0) }
	two := lossOf(row, ids("b"), []*onnxpb.NodeProto{linear, soft}, w)
	two.Graph.Output = append(two.Graph.Output, &onnxpb.ValueInfoProto{Name: proto.String("f")})
	for _, c := range []struct {
		name    string
		m       *onnxpb.ModelProto
		params  string
		outputs int
		want    string // of the error
		shifts  bool
	}{
		{name: "a loss alone", m: lossOf(row, ids("b"), []*onnxpb.NodeProto{linear, soft}, w), params: "w", outputs: 3},
		{name: "targets first", m: lossOf(ids("b"), row, []*onnxpb.NodeProto{linear, soft}, w), params: "w", outputs: 3},
		{name: "beside the scores", m: two, params: "w", outputs: 3},
		{name: "class weights are no parameters", m: lossOf(row, ids("label"), []*onnxpb.NodeProto{linear, nodeOf("LogSoftmax", "f", "p", nil), nodeOf("Unsqueeze", "label one", "u", nil), nodeOf("GatherElements", "p u", "g", attrs{"axis": 1}),
			nodeOf("Gather", "cw u", "h", nil), nodeOf("Mul", "g h", "m", nil), nodeOf("ReduceMean", "m", "n", attrs{"keepdims": 0}), nodeOf("Neg", "n", "loss", nil)}, w, floats("cw", some(2), 3), int64s("one", 1)), params: "w", outputs: 3},
		{name: "weight decay in the file", m: lossOf(row, ids("b"), []*onnxpb.NodeProto{linear, nodeOf("SoftmaxCrossEntropyLoss", "f b", "c", nil), nodeOf("ReduceSumSquare", "w", "s", attrs{"keepdims": 0}), nodeOf("Add", "c s", "loss", nil)}, w), params: "w", outputs: 3},
		{name: "targets that it shifts itself", m: lossOf(valueOf("x", 7, 0, 5), valueOf("labels", 7, 0, 5), []*onnxpb.NodeProto{nodeOf("Gather", "emb x", "e", nil), nodeOf("MatMul", "e w", "f", nil), nodeOf("Slice", "f zero four one", "g", nil),
			nodeOf("Slice", "labels one five one", "l", nil), nodeOf("Reshape", "g rows", "r", nil), nodeOf("Reshape", "l all", "k", nil), nodeOf("SoftmaxCrossEntropyLoss", "r k", "loss", nil)},
			floats("emb", some(2), 3, 4), w, int64s("zero", 0), int64s("one", 1), int64s("four", 4), int64s("five", 5), int64s("rows", -1, 3), int64s("all", -1)), params: "emb w", shifts: true},
		{name: "no scores", m: lossOf(row, valueOf("t", 1, 0, 4), []*onnxpb.NodeProto{linear, nodeOf("Gemm", "f v", "r", nil), nodeOf("Sub", "r t", "d", nil), nodeOf("ReduceSumSquare", "d", "q", attrs{"keepdims": 0}), nodeOf("Mul", "f f", "ff", nil), nodeOf("ReduceMean", "ff", "k", attrs{"keepdims": 0}), nodeOf("Add", "q k", "loss", nil)},
			w, floats("v", some(3), 3, 4)), params: "w v"},
		{name: "not one value", m: lossOf(row, valueOf("t", 1, 0, 3), []*onnxpb.NodeProto{linear, nodeOf("Sub", "f t", "loss", nil)}, w), want: "a loss is one value"},
		{name: "two inputs of data", m: lossOf(row, valueOf("z", 1, 0, 4), []*onnxpb.NodeProto{linear, nodeOf("Gemm", "z w", "g", nil), nodeOf("Sub", "f g", "loss", nil)}, w), want: "2 inputs for data (x, z)"},
		{name: "targets without a shape", m: lossOf(row, &onnxpb.ValueInfoProto{Name: proto.String("b")}, []*onnxpb.NodeProto{linear, soft}, w), want: "declares no shape"},
		{name: "targets of any size", m: lossOf(row, valueOf("t", 1, 0, 0), []*onnxpb.NodeProto{linear, nodeOf("Sub", "f t", "d", nil), nodeOf("ReduceMean", "d", "loss", attrs{"keepdims": 0})}, w), want: "only the first axis"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := open(t, c.m).Network()
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n.OwnLoss == nil || names(n.Params) != c.params || n.Outputs != c.outputs || (n.Forward == nil) != (c.outputs == 0) {
				t.Errorf("loss %t, parameters %s, %d outputs, want %s and %d; %v", n.OwnLoss != nil, names(n.Params), n.Outputs, c.params, c.outputs, n.Notes)
			}
			if shifts := strings.Contains(strings.Join(n.Notes, "\n"), "shifts them itself"); shifts != c.shifts {
				t.Errorf("notes %v", n.Notes)
			}
		})
	}
}

// TestComputedIDs: what is computed from ids names rows as the ids themselves do.
func TestComputedIDs(t *testing.T) {
	w := floats("w", some(1), 5, 3)
	ids := []int64{4, 0, 2, 1, 2, 3, 0, 0}
	row := func(i int64) []float64 {
		return []float64{some(1)(3 * int(i)), some(1)(3*int(i) + 1), some(1)(3*int(i) + 2)}
	}
	each := func(f func(i int64) int64) []float64 {
		var out []float64
		for _, i := range ids {
			out = append(out, row(f(i))...)
		}
		return out
	}
	for _, c := range []struct {
		name  string
		nodes []*onnxpb.NodeProto
		want  []float64
		vocab int
	}{
		{"themselves", []*onnxpb.NodeProto{nodeOf("Gather", "w x", "y", nil)}, each(func(i int64) int64 { return i }), 5},
		{"moved", []*onnxpb.NodeProto{nodeOf("Transpose", "x", "t", attrs{"perm": []int64{1, 0}}), nodeOf("Gather", "w t", "g", nil), nodeOf("Transpose", "g", "y", attrs{"perm": []int64{1, 0, 2}})}, each(func(i int64) int64 { return i }), 5},
		{"added to", []*onnxpb.NodeProto{nodeOf("Add", "x one", "a", nil), nodeOf("Mod", "a five", "m", nil), nodeOf("Gather", "w m", "y", nil)}, each(func(i int64) int64 { return (i + 1) % 5 }), 0},
		{"from the end", []*onnxpb.NodeProto{nodeOf("Sub", "x five", "a", nil), nodeOf("Gather", "w a", "y", nil)}, each(func(i int64) int64 { return i }), 0},
		{"divided", []*onnxpb.NodeProto{nodeOf("Div", "x two", "a", nil), nodeOf("Gather", "w a", "y", nil)}, each(func(i int64) int64 { return i / 2 }), 0},
		{"one-hot", []*onnxpb.NodeProto{nodeOf("OneHot", "x five offon", "h", nil), nodeOf("MatMul", "h w", "y", nil)}, each(func(i int64) int64 { return i }), 5},
		{"the place of one", []*onnxpb.NodeProto{nodeOf("Gather", "w x", "e", nil), nodeOf("Equal", "x two", "q", nil), nodeOf("Cast", "q", "c", attrs{"to": 1}), nodeOf("ArgMax", "c", "a", attrs{"axis": 1}), nodeOf("Concat", "rows a", "i", attrs{"axis": 1}), nodeOf("GatherND", "e i", "y", nil)},
			slices.Concat(row(2), row(2)), 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := networkOf(t, modelOf(valueOf("x", 7, 2, 4), "y", c.nodes, w, int64s("one", 1), int64s("two", 2), int64s("five", 5), floats("offon", func(i int) float64 { return float64(i) }, 2),
				&onnxpb.TensorProto{Name: proto.String("rows"), DataType: proto.Int32(7), Dims: []int64{2, 1}, Int64Data: []int64{0, 1}}), Options{})
			if n.Vocab != c.vocab {
				t.Errorf("%d ids, want %d", n.Vocab, c.vocab)
			}
			got := logits(t, n, false, []int{2, 4}, nil, ids)
			if len(got) != len(c.want) {
				t.Fatalf("%d values, want %d", len(got), len(c.want))
			}
			for i, v := range c.want {
				within(t, "value", got[i], v, 1e-7)
			}
		})
	}
}
