package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/model/onnx/onnxpb"
	"hessdens/internal/tensor"
)

// Small files, written by hand.

type attrs map[string]any

func nodeOf(op string, in, out string, a attrs) *onnxpb.NodeProto {
	n := &onnxpb.NodeProto{OpType: proto.String(op)}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, " ")
	}
	n.Input, n.Output = split(in), split(out)
	for i, s := range n.Input {
		n.Input[i] = strings.TrimPrefix(s, "-")
	}
	for k, v := range a {
		p := &onnxpb.AttributeProto{Name: proto.String(k)}
		switch v := v.(type) {
		case int:
			p.I = proto.Int64(int64(v))
		case float64:
			p.F = proto.Float32(float32(v))
		case string:
			p.S = []byte(v)
		case []int64:
			p.Ints = v
		case *onnxpb.GraphProto:
			p.G = v
		case *onnxpb.TensorProto:
			p.T = v
		}
		n.Attribute = append(n.Attribute, p)
	}
	return n
}

func floats(name string, f func(i int) float64, dims ...int64) *onnxpb.TensorProto {
	t := &onnxpb.TensorProto{Name: proto.String(name), DataType: proto.Int32(1), Dims: dims}
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	for i := range n {
		t.FloatData = append(t.FloatData, float32(f(i)))
	}
	return t
}

func int64s(name string, v ...int64) *onnxpb.TensorProto {
	return &onnxpb.TensorProto{Name: proto.String(name), DataType: proto.Int32(7), Dims: []int64{int64(len(v))}, Int64Data: v}
}

// some are values without a pattern.
func some(seed int) func(int) float64 {
	return func(i int) float64 { return math.Sin(float64(i*i+3*i+seed)) * 0.7 }
}

func valueOf(name string, elem int32, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		p := &onnxpb.TensorShapeProto_Dimension{}
		if d > 0 {
			p.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}
		} else {
			p.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "batch"}
		}
		shape.Dim = append(shape.Dim, p)
	}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(elem), Shape: shape}}}}
}

func modelOf(input *onnxpb.ValueInfoProto, output string, nodes []*onnxpb.NodeProto, inits ...*onnxpb.TensorProto) *onnxpb.ModelProto {
	return &onnxpb.ModelProto{IrVersion: proto.Int64(8), OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(17)}},
		Graph: &onnxpb.GraphProto{Name: proto.String("g"), Node: nodes, Initializer: inits, Input: []*onnxpb.ValueInfoProto{input},
			Output: []*onnxpb.ValueInfoProto{{Name: proto.String(output)}}}}
}

func bytesOf(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, m *onnxpb.ModelProto) *File {
	t.Helper()
	f, err := Open(fstest.MapFS{"m.onnx": {Data: bytesOf(t, m)}}, "m.onnx")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func networkOf(t testing.TB, m *onnxpb.ModelProto, opt Options) *model.Network {
	t.Helper()
	n, err := open(t, m).NetworkFor(opt)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func names(ps []model.Param) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.Name)
	}
	return strings.Join(s, " ")
}

func TestVaries(t *testing.T) {
	row := valueOf("x", 1, 0, 4)
	seq := valueOf("x", 1, 0, 5, 4)
	cosines := func(i int) float64 { return math.Cos(float64(i/4) / math.Pow(100, float64(i%4)/4)) }
	for _, c := range []struct {
		name  string
		in    *onnxpb.ValueInfoProto
		nodes []*onnxpb.NodeProto
		inits []*onnxpb.TensorProto
		want  string
		opt   Options
	}{
		{name: "linear with a scale", in: row, want: "w b", nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h b", "a", nil), nodeOf("Mul", "a scale", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 3), floats("b", some(2), 3), floats("scale", some(3))}},
		{name: "a scale that is named", in: row, want: "w b scale", opt: Options{Params: []string{"*", "scale"}},
			nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h b", "a", nil), nodeOf("Mul", "a scale", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 3), floats("b", some(2), 3), floats("scale", some(3))}},
		{name: "one output", in: row, want: "w b", nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h b", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 1), floats("b", some(2), 1)}},
		{name: "scaling of inputs", in: row, want: "w", nodes: []*onnxpb.NodeProto{nodeOf("Sub", "x mean", "a", nil), nodeOf("Mul", "x std", "b", nil), nodeOf("Add", "a b", "c", nil), nodeOf("MatMul", "c w", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("mean", some(1), 4), floats("std", some(2), 4), floats("w", some(3), 4, 3)}},
		{name: "a weight through Transpose", in: row, want: "w", nodes: []*onnxpb.NodeProto{nodeOf("Transpose", "w", "t", nil), nodeOf("MatMul", "x t", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 3, 4)}},
		{name: "weight normalisation", in: row, want: "v s", nodes: []*onnxpb.NodeProto{nodeOf("ReduceL2", "v", "n", attrs{"axes": []int64{0}}), nodeOf("Div", "v n", "u", nil), nodeOf("Mul", "u s", "w", nil), nodeOf("MatMul", "x w", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("v", some(1), 4, 3), floats("s", some(2), 3)}},
		{name: "mask and positions", in: seq, want: "w pos", nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h pos", "p", nil), nodeOf("Add", "p hide", "m", nil), nodeOf("Add", "m waves", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 4), floats("pos", some(2), 5, 4),
				floats("hide", func(i int) float64 { return []float64{0, math.Inf(-1)}[i%2] }, 5, 4), floats("waves", cosines, 5, 4)}},
		{name: "a class token", in: seq, want: "w token", nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Shape", "h", "s", attrs{"start": 0, "end": 1}), nodeOf("Concat", "s rest", "to", attrs{"axis": 0}),
			nodeOf("Expand", "token to", "e", nil), nodeOf("Concat", "e h", "y", attrs{"axis": 1})},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 4), floats("token", some(2), 1, 1, 4), int64s("rest", 1, 4)}},
		{name: "a clipped activation", in: row, want: "w", nodes: []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Clip", "h lo hi", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("w", some(1), 4, 3), floats("lo", func(int) float64 { return 0 }), floats("hi", func(int) float64 { return 6 })}},
		{name: "a layer spelled out", in: row, want: "gamma beta", nodes: []*onnxpb.NodeProto{nodeOf("ReduceMean", "x", "m", attrs{"axes": []int64{1}}), nodeOf("Sub", "x m", "d", nil), nodeOf("Mul", "d d", "q", nil),
			nodeOf("ReduceMean", "q", "v", attrs{"axes": []int64{1}}), nodeOf("Add", "v eps", "e", nil), nodeOf("Sqrt", "e", "r", nil), nodeOf("Div", "d r", "z", nil), nodeOf("Mul", "z gamma", "g", nil), nodeOf("Add", "g beta", "y", nil)},
			inits: []*onnxpb.TensorProto{floats("eps", func(int) float64 { return 1e-5 }), floats("gamma", some(1), 4), floats("beta", some(2), 4)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := networkOf(t, modelOf(c.in, "y", c.nodes, c.inits...), c.opt)
			got, want := strings.Fields(names(n.Params)), strings.Fields(c.want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("parameters %v, want %v", got, want)
			}
		})
	}
}

// TestTies: equal matrices, and transposes, are one parameter; vectors of one value that layers share are several.
func TestTies(t *testing.T) {
	w := some(1)
	turned := func(i int) float64 { return w(i%4*3 + i/4) }
	row := valueOf("x", 1, 0, 4)
	nodes := []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("MatMul", "h v", "z", nil), nodeOf("MatMul", "z u", "y", nil)}
	n := networkOf(t, modelOf(row, "y", nodes, floats("onnx::MatMul_1", some(9), 2), floats("v", turned, 3, 4), floats("w", w, 4, 3), floats("u", w, 4, 3)), Options{})
	if got := names(n.Params); got != "v" {
		t.Errorf("parameters %q, want v alone (notes %v)", got, n.Notes)
	}
	if len(n.Notes) != 2 || !strings.Contains(strings.Join(n.Notes, " "), "transpose") {
		t.Errorf("notes %q", n.Notes)
	}
	one := func(int) float64 { return 1 }
	nodes = []*onnxpb.NodeProto{nodeOf("LayerNormalization", "x g b", "h", nil), nodeOf("LayerNormalization", "h g b", "y", nil)}
	n = networkOf(t, modelOf(row, "y", nodes, floats("g", one, 4), floats("b", some(1), 4)), Options{})
	if got := names(n.Params); got != "g g#2 b" {
		t.Errorf("parameters %q, want g apart and b shared (notes %v)", got, n.Notes)
	}
	nodes = []*onnxpb.NodeProto{nodeOf("Gemm", "x w b", "h", nil), nodeOf("Gemm", "h w b", "y", nil)}
	n = networkOf(t, modelOf(row, "y", nodes, floats("w", some(1), 4, 4), floats("b", func(int) float64 { return 0 }, 4)), Options{})
	if got := names(n.Params); got != "w b" {
		t.Errorf("parameters %q, want a layer used twice", got)
	}
}

// TestLookedUp: a table that the exporter wrote out, under a name of its own, is noticed.
func TestLookedUp(t *testing.T) {
	x := valueOf("x", 1, 0, 2, 4, 4)
	for _, c := range []struct {
		name   string
		values func(int) float64
		noted  bool
	}{
		{"onnx::Add_7", func(i int) float64 { return some(1)(i % 7) }, true},
		{"onnx::Add_7", some(1), false},
		{"table", func(i int) float64 { return some(1)(i % 7) }, false},
	} {
		nodes := []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h "+c.name, "y", nil)}
		n := networkOf(t, modelOf(x, "y", nodes, floats("w", some(3), 4, 4), floats(c.name, c.values, 1, 2, 4, 4)), Options{})
		if got := strings.Contains(strings.Join(n.Notes, "\n"), "has 32 values, of which 7 are different"); got != c.noted {
			t.Errorf("%s: notes %q", c.name, n.Notes)
		}
	}
}

// TestFoldedNames: the names by which exporters tell that batch normalisation was folded away.
func TestFoldedNames(t *testing.T) {
	for _, c := range []struct {
		weight, bias string
		noted        bool
	}{
		{"onnx::Conv_7", "onnx::Conv_8", true},
		{"conv.weight", "conv.weight_bias", true},
		{"conv.weight", "conv.bias", false},
	} {
		nodes := []*onnxpb.NodeProto{nodeOf("Conv", "x "+c.weight+" "+c.bias, "y", nil)}
		n := networkOf(t, modelOf(valueOf("x", 1, 0, 2, 4, 4), "y", nodes, floats(c.weight, some(1), 3, 2, 3, 3), floats(c.bias, some(2), 3)), Options{})
		if got := strings.Contains(strings.Join(n.Notes, "\n"), "folds batch normalisation"); got != c.noted {
			t.Errorf("%s: notes %q", c.bias, n.Notes)
		}
	}
}

// TestMerged: what PyTorch's exporter merged since the values were equal are parameters of their own, in a file of
// another exporter an Identity is none.
func TestMerged(t *testing.T) {
	nodes := []*onnxpb.NodeProto{nodeOf("Identity", "a.weight", "b.weight", nil), nodeOf("Identity", "a.bias", "b.bias", nil),
		nodeOf("Gemm", "x a.weight a.bias", "h", nil), nodeOf("Gemm", "h b.weight b.bias", "y", nil)}
	m := modelOf(valueOf("x", 1, 0, 4), "y", nodes, floats("a.weight", some(1), 4, 4), floats("a.bias", some(2), 4))
	if got := names(networkOf(t, m, Options{}).Params); got != "a.weight a.bias" {
		t.Errorf("parameters %q, want a layer used twice", got)
	}
	m.ProducerName = proto.String("pytorch")
	n := networkOf(t, m, Options{})
	if got := names(n.Params); got != "a.weight a.bias b.weight b.bias" {
		t.Errorf("parameters %q, want two layers (notes %v)", got, n.Notes)
	}
	if len(n.Notes) != 1 || !strings.Contains(n.Notes[0], "b.weight, b.bias") {
		t.Errorf("notes %q", n.Notes)
	}
}

// TestLinear: the weight of a linear layer that was stored transposed has the name and shape of PyTorch's again.
func TestLinear(t *testing.T) {
	w, b := floats("onnx::MatMul_7", some(1), 4, 3), floats("fc.bias", some(2), 3)
	nodes := []*onnxpb.NodeProto{nodeOf("MatMul", "x onnx::MatMul_7", "h", nil), nodeOf("Add", "fc.bias h", "y", nil)}
	n := networkOf(t, modelOf(valueOf("x", 1, 0, 2, 4), "y", nodes, b, w), Options{})
	if names(n.Params) != "fc.bias fc.weight" || !slices.Equal(n.Params[1].Shape, []int{3, 4}) || !strings.Contains(strings.Join(n.Notes, " "), "fc.weight") {
		t.Fatalf("parameters %v, notes %v", n.Params, n.Notes)
	}
	w.Name, nodes[0].Input[1] = proto.String("w"), "w"
	plain := networkOf(t, modelOf(valueOf("x", 1, 0, 2, 4), "y", nodes, b, w), Options{})
	if a, b := logits(t, n, false, []int{2, 2, 4}, pattern(16), nil), logits(t, plain, false, []int{2, 2, 4}, pattern(16), nil); !slices.Equal(a, b) {
		t.Errorf("outputs %v, want %v", a, b)
	}
}

// TestFinalSoftmax: what the loss has itself is left out of the outputs, and said.
func TestFinalSoftmax(t *testing.T) {
	for _, c := range []struct{ op, loss, note string }{
		{"Softmax", "", "before it"}, {"LogSoftmax", model.CrossEntropy, "before it"}, {"Softmax", model.MSE, "part of the outputs"}, {"Sigmoid", model.BCE, "before it"}, {"Tanh", "", ""},
	} {
		n := networkOf(t, modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf(c.op, "h", "p", attrs{"axis": -1}), nodeOf("Identity", "p", "y", nil)},
			floats("w", some(1), 4, 3)), Options{Loss: c.loss})
		notes := strings.Join(n.Notes, " ")
		if (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) {
			t.Errorf("%s with %q: notes %q, want %q", c.op, c.loss, notes, c.note)
		}
		y := logits(t, n, false, []int{1, 4}, []float64{1, 2, 3, 4}, nil)
		sum := y[0] + y[1] + y[2]
		if whole := c.op == "Softmax" && math.Abs(sum-1) < 1e-12; whole != (c.note == "part of the outputs") {
			t.Errorf("%s with %q: outputs %v", c.op, c.loss, y)
		}
	}
}

func TestUnsupported(t *testing.T) {
	nodes := []*onnxpb.NodeProto{nodeOf("Frobnicate", "x", "a", nil), nodeOf("NonMaxSuppression", "a", "b", nil), nodeOf("Relu", "b", "c", nil), nodeOf("Frobnicate", "c", "y", nil), nodeOf("Unknown", "x", "unused", nil)}
	nodes[0].Name = proto.String("first")
	_, err := open(t, modelOf(valueOf("x", 1, 0, 4), "y", nodes)).Network()
	var u *UnsupportedError
	if !errors.As(err, &u) || len(u.Nodes) != 2 || u.Nodes[0] != `node "first" (Frobnicate, opset 17)` || !strings.Contains(u.Nodes[1], "NonMaxSuppression") {
		t.Errorf("%v", err)
	}
}

// TestFoldedBatchNorm: a checkpoint with running statistics is not taken for a file in which they were folded away.
func TestFoldedBatchNorm(t *testing.T) {
	whole, err := find(t, "smallcnn-bn.torchscript.nofold.onnx").Network()
	if err != nil {
		t.Fatal(err)
	}
	var checkpoint []string
	values := map[string]*tensor.Tensor{}
	for _, ps := range [][]model.Param{whole.Params, whole.Buffers} {
		for _, p := range ps {
			checkpoint = append(checkpoint, p.Name)
			v := slices.Clone(p.Values)
			for i := range v {
				v[i] += 0.25
			}
			values[p.Name] = &tensor.Tensor{DType: tensor.Float64, Shape: p.Shape, F64: v}
		}
	}
	get := func(name string) (*tensor.Tensor, error) { return values[name], nil }
	if err := whole.SetWeights(checkpoint, get); err != nil {
		t.Fatal(err)
	}
	if p := whole.Params[0]; p.Values[0] != values[p.Name].F64[0] {
		t.Errorf("%s was not replaced", p.Name)
	}
	folded, err := find(t, "smallcnn-bn.torchscript.onnx").Network()
	if err != nil {
		t.Fatal(err)
	}
	if err := folded.SetWeights(checkpoint, get); err == nil || !strings.Contains(err.Error(), "folded") {
		t.Errorf("a folded file takes the checkpoint: %v", err)
	}
	if !strings.Contains(strings.Join(folded.Notes, " "), "folds") {
		t.Errorf("notes %q do not say that names point to folding", folded.Notes)
	}
	if whole.BatchNorm != true || folded.BatchNorm != false {
		t.Error("BatchNorm")
	}
}

func TestExternalData(t *testing.T) {
	raw := make([]byte, 4*12)
	for i := range 12 {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(float32(some(1)(i))))
	}
	build := func(kv ...string) *onnxpb.ModelProto {
		w := &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{4, 3}, DataLocation: onnxpb.TensorProto_EXTERNAL.Enum()}
		for i := 0; i < len(kv); i += 2 {
			w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(kv[i]), Value: proto.String(kv[i+1])})
		}
		return modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "y", nil)}, w)
	}
	for _, c := range []struct {
		name string
		kv   []string
		want string // in the error
	}{
		{"whole", []string{"location", "w.bin", "offset", "8", "length", "48"}, ""},
		{"no length", []string{"location", "./w.bin", "offset", "8"}, ""},
		{"outside", []string{"location", "../w.bin"}, "does not name a file"},
		{"absolute", []string{"location", "/etc/passwd"}, "does not name a file"},
		{"missing", []string{"location", "v.bin"}, "beside the model"},
		{"short", []string{"location", "w.bin", "offset", "16"}, "has 56"},
		{"negative", []string{"location", "w.bin", "offset", "-8"}, "bytes"},
		{"no number", []string{"location", "w.bin", "offset", "q"}, "no number"},
		{"length", []string{"location", "w.bin", "length", "9223372036854775807"}, "declares"},
		{"folder", []string{"location", "."}, "does not name a file"},
	} {
		fsys := fstest.MapFS{"d/m.onnx": {Data: bytesOf(t, build(c.kv...))}, "d/w.bin": {Data: append(make([]byte, 8), raw...)}, "w.bin": {Data: raw}}
		f, err := Open(fsys, "d/m.onnx")
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		n, err := f.Network()
		if err != nil || n.Params[0].Values[5] != float64(float32(some(1)(5))) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestMeant(t *testing.T) {
	for _, c := range []struct{ in, want float64 }{
		{1e-5, 1e-5}, {0.1, 0.1}, {0.044715, 0.044715}, {math.Sqrt(2 / math.Pi), math.Sqrt(2 / math.Pi)}, {-math.Sqrt2, -math.Sqrt2}, {1 / math.Sqrt(48), 1 / math.Sqrt(48)},
		{0, 0}, {1, 1}, {0.125, 0.125}, {math.Inf(-1), math.Inf(-1)}, {6, 6}, {-0.5, -0.5}, {1e-12, 1e-12}, {16777216, 16777216},
	} {
		if got := meant(float64(float32(c.in))); got != c.want {
			t.Errorf("float32(%v) means %v", c.in, got)
		}
	}
	if got := meant(1.0 / 3); got != 1.0/3 {
		t.Errorf("a float64 became %v", got)
	}
}

// TestFunctions: functions of the file are written out, with their attributes.
func TestFunctions(t *testing.T) {
	m := modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Twice", "h", "y", attrs{"slope": 0.25})}, floats("w", some(1), 4, 3))
	m.Graph.Node[1].Domain = proto.String("my")
	leaky := nodeOf("LeakyRelu", "a", "t", nil)
	leaky.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("alpha"), RefAttrName: proto.String("slope")}}
	m.Functions = []*onnxpb.FunctionProto{{Name: proto.String("Twice"), Domain: proto.String("my"), Input: []string{"a"}, Output: []string{"b"}, Attribute: []string{"slope"},
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(17)}}, Node: []*onnxpb.NodeProto{leaky, nodeOf("Add", "t t", "b", nil)}}}
	n := networkOf(t, m, Options{})
	x := []float64{1, -2, 3, 0.5}
	y := logits(t, n, false, []int{1, 4}, x, nil)
	for j, got := range y {
		h := 0.0
		for i, v := range x {
			h += v * float64(float32(some(1)(3*i+j)))
		}
		want := 2 * h
		if h < 0 {
			want *= 0.25
		}
		if !(math.Abs(got-want) < 1e-12) {
			t.Errorf("output %d is %v, want %v", j, got, want)
		}
	}
}

// TestFixedBatch: a file that was written for one example takes any batch, one example at a time as another.
func TestFixedBatch(t *testing.T) {
	n, err := find(t, "mnist-12.onnx").Network()
	if err != nil {
		t.Fatal(err)
	}
	x := pattern(3 * 784)
	all := logits(t, n, false, []int{3, 1, 28, 28}, x, nil)
	for i := range 3 {
		one := logits(t, n, false, []int{1, 1, 28, 28}, x[784*i:784*(i+1)], nil)
		for j, v := range one {
			if !(math.Abs(v-all[10*i+j]) < 1e-10) {
				t.Fatalf("example %d, output %d: %v alone, %v in a batch", i, j, v, all[10*i+j])
			}
		}
	}
}

// TestChannelsLastInput: a file that turns its images first takes them as data sets hold them.
func TestChannelsLastInput(t *testing.T) {
	w := floats("w", some(1), 2, 3, 3, 3)
	tail := []*onnxpb.NodeProto{nodeOf("Conv", "t w", "c", nil), nodeOf("Flatten", "c", "f", nil), nodeOf("Gemm", "f v", "y", nil)}
	v := floats("v", some(2), 2*3*2, 4)
	last := networkOf(t, modelOf(valueOf("x", 1, 0, 5, 4, 3), "y", append([]*onnxpb.NodeProto{nodeOf("Transpose", "x", "t", attrs{"perm": []int64{0, 3, 1, 2}})}, tail...), w, v), Options{})
	first := networkOf(t, modelOf(valueOf("t", 1, 0, 3, 5, 4), "y", tail, w, v), Options{})
	if !slices.Equal(last.Input, first.Input) || len(last.Notes) != 1 {
		t.Fatalf("input %v, want %v; notes %v", last.Input, first.Input, last.Notes)
	}
	x, shape := pattern(2*60), []int{2, 3, 5, 4}
	if a, b := logits(t, last, false, shape, x, nil), logits(t, first, false, shape, x, nil); !slices.Equal(a, b) {
		t.Errorf("outputs %v, want %v", a, b)
	}
}

// TestKeras: files as tf2onnx writes them, images channels last, are the networks that they would be channels first.
func TestKeras(t *testing.T) {
	const c, h, w = 3, 5, 4
	turn := nodeOf("Transpose", "s", "t", attrs{"perm": []int64{0, 3, 1, 2}})
	scaled := []*onnxpb.NodeProto{nodeOf("Mul", "x scale", "m", nil), nodeOf("Add", "m offset", "s", nil)}
	scale, offset := floats("scale", func(int) float64 { return 1. / 255 }), floats("offset", some(7), c)
	conv := []*onnxpb.NodeProto{nodeOf("Conv", "t w b", "c", attrs{"pads": []int64{1, 1, 1, 1}}), nodeOf("Relu", "c", "r", nil), nodeOf("MaxPool", "r", "p", attrs{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}})}
	weights := []*onnxpb.TensorProto{floats("w", some(1), 2, c, 3, 3), floats("b", some(2), 2)}
	head := []*onnxpb.NodeProto{nodeOf("MatMul", "f v", "d", nil), nodeOf("Add", "d e", "z", nil), nodeOf("Softmax", "z", "y", nil)}
	const ph, pw, k = 2, 2, 2 // after the pooling, with k channels
	v, e := some(3), floats("e", some(4), 3)
	last := networkOf(t, modelOf(valueOf("x", 1, 0, h, w, c), "y", slices.Concat(scaled, []*onnxpb.NodeProto{turn}, conv,
		[]*onnxpb.NodeProto{nodeOf("Transpose", "p", "q", attrs{"perm": []int64{0, 2, 3, 1}}), nodeOf("Reshape", "q rows", "f", nil)}, head),
		slices.Concat(weights, []*onnxpb.TensorProto{scale, offset, floats("v", v, ph*pw*k, 3), e, int64s("rows", -1, ph*pw*k)})...), Options{})
	first := networkOf(t, modelOf(valueOf("x", 1, 0, c, h, w), "y", slices.Concat([]*onnxpb.NodeProto{nodeOf("Mul", "x scale", "m", nil), nodeOf("Add", "m offset", "t", nil)}, conv, []*onnxpb.NodeProto{nodeOf("Flatten", "p", "f", nil)}, head),
		slices.Concat(weights, []*onnxpb.TensorProto{scale, floats("offset", some(7), c, 1, 1), floats("v", func(i int) float64 { // rows by [C, H, W], those of the file by [H, W, C]
			row := i / 3
			return v((row%(ph*pw)*k+row/(ph*pw))*3 + i%3)
		}, ph*pw*k, 3), e})...), Options{})
	if !slices.Equal(last.Input, []int{c, h, w}) || last.Size() != first.Size() || names(last.Params) != "w b v e" {
		t.Fatalf("input %v, parameters %s", last.Input, names(last.Params))
	}
	x, shape := pattern(2*c*h*w), []int{2, c, h, w}
	got, want := logits(t, last, false, shape, x, nil), logits(t, first, false, shape, x, nil)
	for i := range want {
		within(t, "output", got[i], want[i], 1e-13)
	}
	// A network of rows: pixel (h, w, c) of the file is value (c, h, w) of the data.
	rows := networkOf(t, modelOf(valueOf("x", 1, 0, h, w, c), "y", append([]*onnxpb.NodeProto{nodeOf("Reshape", "x rows", "f", nil)}, head...), floats("v", v, c*h*w, 3), e, int64s("rows", -1, c*h*w)), Options{})
	if !slices.Equal(rows.Input, []int{c, h, w}) {
		t.Fatalf("input %v", rows.Input)
	}
	got = logits(t, rows, false, shape, x, nil)
	for n := range 2 {
		for o := range 3 {
			sum := float64(float32(some(4)(o)))
			for p := range h * w {
				for ch := range c {
					sum += x[(n*c+ch)*h*w+p] * float64(float32(v((p*c+ch)*3+o)))
				}
			}
			within(t, "output", got[n*3+o], sum, 1e-13)
		}
	}
}

// TestLoop: the largest number of turns stands for no limit, and the condition ends it.
func TestLoop(t *testing.T) {
	body := &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{{Name: proto.String("i")}, {Name: proto.String("go")}, {Name: proto.String("v")}},
		Node:   []*onnxpb.NodeProto{nodeOf("Add", "v v", "w2", nil), nodeOf("Less", "i three", "on", nil)},
		Output: []*onnxpb.ValueInfoProto{{Name: proto.String("on")}, {Name: proto.String("w2")}}}
	m := modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Loop", "n c h", "y", attrs{"body": body})}, floats("w", some(1), 4, 3), int64s("three", 3),
		&onnxpb.TensorProto{Name: proto.String("n"), DataType: proto.Int32(7), Int64Data: []int64{math.MaxInt64}}, &onnxpb.TensorProto{Name: proto.String("c"), DataType: proto.Int32(9), Int32Data: []int32{1}})
	once := networkOf(t, modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "y", nil)}, floats("w", some(1), 4, 3)), Options{})
	x := pattern(8)
	got, want := logits(t, networkOf(t, m, Options{}), false, []int{2, 4}, x, nil), logits(t, once, false, []int{2, 4}, x, nil)
	for i := range want {
		within(t, "output", got[i], 16*want[i], 1e-13) // i = 0, 1, 2, 3
	}
}

// TestBranch: an If with a known condition is the graph that it chooses, which reads from outside.
func TestBranch(t *testing.T) {
	then := &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{nodeOf("Relu", "h", "t", nil)}, Output: []*onnxpb.ValueInfoProto{{Name: proto.String("t")}}}
	other := &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{nodeOf("Neg", "h", "e", nil)}, Output: []*onnxpb.ValueInfoProto{{Name: proto.String("e")}}}
	m := modelOf(valueOf("x", 1, 0, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Shape", "x", "s", nil), nodeOf("Gather", "s i", "d", nil), nodeOf("Equal", "d four", "c", nil),
		nodeOf("If", "c", "y", attrs{"then_branch": then, "else_branch": other})}, floats("w", some(1), 4, 3), int64s("i", 1), int64s("four", 4))
	n := networkOf(t, m, Options{})
	for _, v := range logits(t, n, false, []int{2, 4}, pattern(8), nil) {
		if v < 0 {
			t.Errorf("outputs are not those of Relu: %v", v)
		}
	}
}

// TestTokens: a language model with a free length takes sequences up to its table of positions.
func TestTokens(t *testing.T) {
	m := modelOf(valueOf("ids", 7, 0, 0), "y", []*onnxpb.NodeProto{nodeOf("Gather", "wte ids", "e", nil), nodeOf("Shape", "ids", "s", attrs{"start": 1, "end": 2}),
		nodeOf("Slice", "wpe zero s zero", "p", nil), nodeOf("Add", "e p", "h", nil), nodeOf("MatMul", "h head", "y", nil)},
		floats("wte", some(1), 7, 4), floats("wpe", some(2), 12, 4), floats("head", some(3), 4, 7), int64s("zero", 0))
	n := networkOf(t, m, Options{})
	if !n.Tokens || !slices.Equal(n.Input, []int{12}) || n.Outputs != 7 || names(n.Params) != "wte wpe head" {
		t.Fatalf("tokens %t, input %v, outputs %d, parameters %s", n.Tokens, n.Input, n.Outputs, names(n.Params))
	}
	g, err := n.Build(3, model.Settings{Loss: model.CrossEntropy, Total: 24, Input: []int{8}, InputInteger: true, Target: []int{8}, TargetInteger: true})
	if err != nil || !slices.Equal(g.Outputs.Shape(), []int{24, 7}) {
		t.Fatal(err)
	}
}

// TestBuildError: a batch that the file cannot take is an error of Build, with the node's name.
func TestBuildError(t *testing.T) {
	m := modelOf(valueOf("x", 1, 2, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h two", "y", nil)}, floats("w", some(1), 4, 3), floats("two", some(2), 2, 3))
	n := networkOf(t, m, Options{})
	set := model.Settings{Loss: model.CrossEntropy, Total: 6, Input: []int{4}, TargetInteger: true}
	if _, err := n.Build(2, set); err != nil {
		t.Error(err)
	}
	if _, err := n.Build(3, set); err == nil || !strings.Contains(err.Error(), "(Add, opset 17)") {
		t.Errorf("%v", err)
	}
}

// TestChannelsLast: chains of convolutions, pointwise operators and poolings move no images about.
func TestChannelsLast(t *testing.T) {
	for name, most := range map[string]int{"smallcnn-bn.torchscript.nofold.onnx": 5, "resnet20.torchscript.nofold.onnx": 22} {
		f := find(t, name)
		n, err := f.Network()
		if err != nil {
			t.Fatal(err)
		}
		g := graph.New()
		x := g.Input("x", graph.Float, append([]int{4}, n.Input...)...)
		if err := graph.Catch(func() error { n.Forward(&model.Builder{G: g, Batch: 4}, x); return nil }); err != nil {
			t.Fatal(err)
		}
		k := 0
		for _, m := range g.Nodes() {
			if m.Op() == graph.OpTranspose {
				k++
			}
		}
		if k > most { // of the input, and one of each weight
			t.Errorf("%s: %d transposes, want at most %d", name, k, most)
		}
	}
}

func ExampleFile_Network() {
	f, err := Open(os.DirFS("testdata/onnx"), "smallcnn-nobn.torchscript.onnx")
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := f.Network()
	fmt.Println(n.Size(), n.Input, n.Outputs, err)
	// Output: 3738 [1 28 28] 10 <nil>
}
