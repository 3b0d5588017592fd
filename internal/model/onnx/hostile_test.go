package onnx

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"hessdens/internal/model"
	"hessdens/internal/model/onnx/onnxpb"
)

// TestHostile: what no exporter writes is an error, and asks for no memory.
func TestHostile(t *testing.T) {
	row := valueOf("x", 1, 0, 4)
	linear := []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "y", nil)}
	deep := func(n int) *onnxpb.NodeProto {
		v := nodeOf("Relu", "x", "r", nil)
		for range n {
			g := &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{v}, Output: []*onnxpb.ValueInfoProto{{Name: proto.String("r")}}}
			v = nodeOf("If", "c", "r", attrs{"then_branch": g})
		}
		return v
	}
	recursive := modelOf(row, "y", []*onnxpb.NodeProto{nodeOf("F", "x", "y", nil)})
	recursive.Functions = []*onnxpb.FunctionProto{{Name: proto.String("F"), Input: []string{"a"}, Output: []string{"b"}, Node: []*onnxpb.NodeProto{nodeOf("F", "a", "t", nil), nodeOf("F", "t", "b", nil)}}}
	with := func(nodes []*onnxpb.NodeProto, inits ...*onnxpb.TensorProto) *onnxpb.ModelProto {
		return modelOf(row, "y", nodes, inits...)
	}
	one := func(op, in string, a attrs, inits ...*onnxpb.TensorProto) *onnxpb.ModelProto {
		return modelOf(valueOf("x", 1, 0, 2, 6, 6), "y", []*onnxpb.NodeProto{nodeOf(op, in, "y", a)}, inits...)
	}
	raw := func(dims ...int64) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(1), Dims: dims, RawData: make([]byte, 16)}
	}
	scalar := func(name string, v int64) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: proto.String(name), DataType: proto.Int32(7), Int64Data: []int64{v}}
	}
	yes := &onnxpb.TensorProto{Name: proto.String("c"), DataType: proto.Int32(9), Int32Data: []int32{1}}
	turn := func(n *onnxpb.NodeProto) *onnxpb.GraphProto { // of a loop that carries v to w
		return &onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{{Name: proto.String("i")}, {Name: proto.String("go")}, {Name: proto.String("v")}}, Node: []*onnxpb.NodeProto{n},
			Output: []*onnxpb.ValueInfoProto{{Name: proto.String("go")}, {Name: proto.String("w")}}}
	}
	sparse := func(dims []int64, at int64) *onnxpb.ModelProto {
		m := with(linear)
		m.Graph.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: floats("w", some(1), 1), Indices: int64s("", at), Dims: dims}}
		return m
	}
	manySparse := sparse([]int64{1 << 25}, 0)
	for i := range 3 {
		manySparse.Graph.SparseInitializer = append(manySparse.Graph.SparseInitializer, &onnxpb.SparseTensorProto{Values: floats(fmt.Sprint(i), some(1), 1), Indices: int64s("", 0), Dims: []int64{1 << 25}})
	}
	for _, c := range []struct {
		name string
		m    *onnxpb.ModelProto
		want string
	}{
		{"no graph", &onnxpb.ModelProto{}, "no graph"},
		{"no outputs", &onnxpb.ModelProto{Graph: &onnxpb.GraphProto{}}, "no outputs"},
		{"dims of 2^31", with(linear, raw(1<<31, 1)), "axis of size"},
		{"dims of 2^31−1 squared", with(linear, raw(1<<31-1, 1<<31-1)), "declares"},
		{"dims that overflow", with(linear, raw(1<<30, 1<<30, 1<<30)), "more values"},
		{"negative dims", with(linear, raw(-1, -4)), "axis of size"},
		{"more data than dims", with(linear, raw(1)), "holds 16 bytes"},
		{"less data than dims", with(linear, raw(4, 3)), "holds 16 bytes"},
		{"many axes", with(linear, raw(make([]int64, 100)...)), "100 axes"},
		{"no such type", with(linear, &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(99)}), "not read"},
		{"text", with(linear, &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(8)}), "not read"},
		{"twice", with(linear, raw(4), raw(4)), "twice"},
		{"made twice", with([]*onnxpb.NodeProto{nodeOf("Relu", "x", "y", nil), nodeOf("Neg", "x", "y", nil)}), "made twice"},
		{"missing input", with(linear), "neither an input"},
		{"missing output", modelOf(row, "z", linear, floats("w", some(1), 4, 3)), "neither an input"},
		{"cycle", with([]*onnxpb.NodeProto{nodeOf("Add", "x b", "a", nil), nodeOf("Relu", "a", "b", nil), nodeOf("Neg", "b", "y", nil)}), "cycle"},
		{"own output", with([]*onnxpb.NodeProto{nodeOf("Add", "x y", "y", nil)}), "cycle"},
		{"deep graphs", with([]*onnxpb.NodeProto{deep(3000)}), ""},
		{"recursive function", recursive, "more than"},
		{"no operands", with([]*onnxpb.NodeProto{nodeOf("MatMul", "", "y", nil)}), "needed"},
		{"no input", with([]*onnxpb.NodeProto{nodeOf("Relu", "w", "y", nil)}, floats("w", some(1), 4)), "0 inputs"},
		{"a huge constant", with([]*onnxpb.NodeProto{nodeOf("ConstantOfShape", "s", "c", nil), nodeOf("Add", "x c", "y", nil)}, int64s("s", 1<<40, 1<<20)), "too large"},
		{"a large constant of a small file", with([]*onnxpb.NodeProto{nodeOf("ConstantOfShape", "s", "c", nil), nodeOf("Add", "x c", "y", nil)}, int64s("s", 1<<26)), "for a file of this size"},
		{"a large range of a small file", with([]*onnxpb.NodeProto{nodeOf("Range", "a b c", "r", nil), nodeOf("Add", "x r", "y", nil)}, floats("a", some(1)), floats("b", func(int) float64 { return 1 << 25 }), floats("c", func(int) float64 { return 1 })), "for a file of this size"},
		{"constants that are large together", with([]*onnxpb.NodeProto{nodeOf("ConstantOfShape", "s", "c", nil), nodeOf("Neg", "c", "d", nil), nodeOf("Abs", "d", "e", nil), nodeOf("Add", "x e", "y", nil)}, int64s("s", 1<<21)), "for a file of this size"},
		{"a large window of a small file", modelOf(valueOf("x", 1, 0, 2, 400, 400), "y", []*onnxpb.NodeProto{nodeOf("MaxPool", "x", "p", attrs{"kernel_shape": []int64{20, 20}}), nodeOf("Flatten", "p", "y", nil)}), "for a file of this size"},
		{"a large sparse tensor of a small file", sparse([]int64{1 << 25}, 0), "together"},
		{"a huge expansion", with([]*onnxpb.NodeProto{nodeOf("Expand", "x s", "y", nil)}, int64s("s", 1<<30, 1<<30, 1, 4)), "too large"},
		{"a huge tiling", with([]*onnxpb.NodeProto{nodeOf("Tile", "x s", "y", nil)}, int64s("s", 1<<62, 1<<62)), "repeats"},
		{"a huge padding", one("Pad", "x p", nil, int64s("p", 0, 0, 1<<40, 0, 0, 0, 1<<40, 0)), "amounts"},
		{"a negative padding", one("Pad", "x p", nil, int64s("p", 0, 0, math.MinInt64, 0, 0, 0, 0, 0)), "amounts"},
		{"a huge window", one("MaxPool", "x", attrs{"kernel_shape": []int64{1 << 20, 1 << 20}, "pads": []int64{1 << 20, 1 << 20, 1 << 20, 1 << 20}}), "kernel"},
		{"a kernel of 0", one("MaxPool", "x", attrs{"kernel_shape": []int64{0, 1}}), "kernel"},
		{"a stride of 0", one("MaxPool", "x", attrs{"kernel_shape": []int64{2, 2}, "strides": []int64{0, 1}}), "strides"},
		{"a kernel that does not fit", one("AveragePool", "x", attrs{"kernel_shape": []int64{9, 9}}), "does not fit"},
		{"groups that do not fit", one("Conv", "x w", attrs{"group": 3}, floats("w", some(1), 4, 2, 3, 3)), "groups"},
		{"a huge resizing", one("Resize", "x - - s", nil, int64s("s", 1, 2, 1<<30, 1<<30)), "size"},
		{"scales that are no numbers", one("Resize", "x - s", nil, floats("s", func(int) float64 { return math.NaN() }, 4)), "scale"},
		{"a huge range", with([]*onnxpb.NodeProto{nodeOf("Range", "a b c", "r", nil), nodeOf("Add", "x r", "y", nil)}, floats("a", some(1)), floats("b", func(int) float64 { return 1e30 }), floats("c", func(int) float64 { return 1e-30 })), "from"},
		{"a permutation that is none", one("Transpose", "x", attrs{"perm": []int64{0, 0, 1, 2}}), "twice"},
		{"a reshape that does not fit", one("Reshape", "x s", nil, int64s("s", 7, -1)), "values"},
		{"a reshape that overflows", one("Reshape", "x s", nil, int64s("s", 1<<62, 1<<62, 1<<62)), "large"},
		{"an index outside", one("Gather", "x i", nil, int64s("i", 99)), "index"},
		{"a division by zero", with([]*onnxpb.NodeProto{nodeOf("Div", "a b", "c", nil), nodeOf("Reshape", "x c", "y", nil)}, int64s("a", 4), int64s("b", 0)), "do not fit"},
		{"an equation that is none", one("Einsum", "x", attrs{"equation": "ij->->"}), "operand"},
		{"a split that does not fit", one("Split", "x", attrs{"axis": 1}, floats("w", some(1), 4)), ""},
		{"an axis that is not there", one("Flatten", "x", attrs{"axis": 1 << 30}), "axis"},
		{"a slice without steps", one("Slice", "x s e a t", nil, int64s("s", 0), int64s("e", 2), int64s("a", 2), int64s("t", 0)), "step"},
		{"inputs of 2^31−1 squared", modelOf(valueOf("x", 1, 0, 1<<31-1, 1<<31-1), "y", []*onnxpb.NodeProto{nodeOf("Relu", "x", "y", nil)}), "too large"},
		{"inputs of many large axes", modelOf(valueOf("x", 1, 0, 1<<30, 1<<30, 1<<30, 1<<30, 1<<30), "y", []*onnxpb.NodeProto{nodeOf("Relu", "x", "y", nil)}), "more values"},
		{"a batch of 2^31−1", modelOf(valueOf("x", 1, 1<<31-1, 4), "y", []*onnxpb.NodeProto{nodeOf("MatMul", "x w", "h", nil), nodeOf("Add", "h two", "y", nil)}, floats("w", some(1), 4, 3), floats("two", some(2), 5, 3)), ""},
		{"a negative axis of an input", modelOf(valueOf("x", 1, 0, -4), "y", linear, floats("w", some(1), 4, 3)), "only the first axis"},
		{"targets that overflow", lossOf(row, valueOf("labels", 1, 0, 1<<30, 1<<30, 1<<30, 1<<30), []*onnxpb.NodeProto{nodeOf("Gemm", "x w", "f", nil), nodeOf("Sub", "f labels", "d", nil), nodeOf("ReduceMean", "d", "loss", attrs{"keepdims": 0})}, floats("w", some(1), 4, 3)), "too large"},
		{"a reshape to what is no number", one("Reshape", "x s", nil, int64s("s", math.MinInt64, 2)), "Reshape"},
		{"a size that is cast from NaN", with([]*onnxpb.NodeProto{nodeOf("Cast", "nan", "s", attrs{"to": 7}), nodeOf("Expand", "x s", "y", nil)}, floats("nan", func(int) float64 { return math.NaN() }, 2)), "Expand"},
		{"scales that are infinite", one("Resize", "x - s", nil, floats("s", func(int) float64 { return math.Inf(1) }, 4)), "scale"},
		{"a range that never ends", with([]*onnxpb.NodeProto{nodeOf("Range", "a b c", "r", nil), nodeOf("Add", "x r", "y", nil)}, floats("a", some(1)), floats("b", func(int) float64 { return 1 }), floats("c", func(int) float64 { return 0 })), "Range"},
		{"a range to NaN", with([]*onnxpb.NodeProto{nodeOf("Range", "a b c", "r", nil), nodeOf("Add", "x r", "y", nil)}, floats("a", some(1)), floats("b", func(int) float64 { return math.NaN() }), floats("c", func(int) float64 { return 1 })), "Range"},
		{"a negative constant", with([]*onnxpb.NodeProto{nodeOf("ConstantOfShape", "s", "c", nil), nodeOf("Add", "x c", "y", nil)}, int64s("s", -1, 4)), "ConstantOfShape"},
		{"a huge depth", with([]*onnxpb.NodeProto{nodeOf("OneHot", "i d v", "h", nil), nodeOf("Add", "x h", "y", nil)}, int64s("i", 1), int64s("d", 1<<60), floats("v", some(1), 2)), "depth"},
		{"many largest", one("TopK", "x k", nil, int64s("k", 1<<40)), "largest"},
		{"a loop without end", with([]*onnxpb.NodeProto{nodeOf("Loop", "n c x", "y", attrs{"body": turn(nodeOf("Relu", "v", "w", nil))})}, scalar("n", math.MaxInt64), yes), "turns"},
		{"a loop that doubles", with([]*onnxpb.NodeProto{nodeOf("Loop", "n c x", "y", attrs{"body": turn(nodeOf("Concat", "v v", "w", attrs{"axis": 1}))})}, scalar("n", 60), yes), "too large"},
		{"a sparse tensor of 2^31−1 squared", sparse([]int64{1<<31 - 1, 1<<31 - 1}, 0), "sparse"},
		{"a sparse tensor with an index outside", sparse([]int64{4, 3}, 99), "sparse"},
		{"a sparse tensor with a negative index", sparse([]int64{4, 3}, -1), "sparse"},
		{"many sparse tensors", manySparse, "together"},
		{"a batch that is lost", modelOf(row, "y", []*onnxpb.NodeProto{nodeOf("ReduceSum", "x", "y", attrs{"keepdims": 0})}), "batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Open(fstest.MapFS{"m.onnx": {Data: bytesOf(t, c.m)}}, "m.onnx")
			if err == nil {
				_, err = f.Network()
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, b := range []string{"", "\x00", "\xff\xff\xff\xff", strings.Repeat("\x3a\x7f", 1000), "PK\x03\x04"} {
		if _, err := Open(fstest.MapFS{"m.onnx": {Data: []byte(b)}}, "m.onnx"); err == nil {
			t.Errorf("%.20q is taken for a model", b)
		}
	}
	if _, err := Open(fstest.MapFS{}, "m.onnx"); err == nil {
		t.Error("a file that is not there is opened")
	}
}

// FuzzNetwork looks for panics and for memory that a file asks for without having it.
func FuzzNetwork(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.onnx")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 30_000 {
			f.Add(b)
		}
	}
	for i, m := range []*onnxpb.ModelProto{
		modelOf(valueOf("x", 1, 0, 2, 6, 6), "y", []*onnxpb.NodeProto{nodeOf("Conv", "x w", "c", attrs{"pads": []int64{1, 1, 1, 1}}), nodeOf("Relu", "c", "r", nil), nodeOf("MaxPool", "r", "p", attrs{"kernel_shape": []int64{2, 2}}), nodeOf("Flatten", "p", "f", nil), nodeOf("Gemm", "f v", "y", nil)},
			floats("w", some(1), 2, 2, 3, 3), floats("v", some(1), 50, 3)),
		modelOf(valueOf("x", 1, 0, 3, 4), "y", []*onnxpb.NodeProto{nodeOf("LSTM", "x w r", "s", attrs{"hidden_size": 2}), nodeOf("Squeeze", "s one", "y", nil)}, floats("w", some(1), 1, 8, 4), floats("r", some(1), 1, 8, 2), int64s("one", 1)),
		modelOf(valueOf("x", 7, 0, 5), "y", []*onnxpb.NodeProto{nodeOf("Gather", "w x", "e", nil), nodeOf("Einsum", "e v", "y", attrs{"equation": "btd,dv->btv"})}, floats("w", some(1), 7, 4), floats("v", some(2), 4, 7)),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(i, err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Open(fstest.MapFS{"m.onnx": {Data: b}}, "m.onnx")
		if err != nil {
			return
		}
		n, err := file.Network()
		if err != nil {
			return
		}
		for _, p := range n.Params {
			if p.Values == nil {
				t.Fatalf("parameter %s has no values", p.Name)
			}
		}
		if n.Size() > 1<<20 {
			return
		}
		s := model.Settings{Loss: model.MSE, Total: 3, Input: n.Input, InputInteger: n.Tokens, Target: []int{n.Outputs}}
		_, _ = n.Build(3, s)
		s.Loss, s.Target, s.TargetInteger = model.Own, slices.Clone(n.OwnTarget.Shape), n.OwnTarget.Integer
		for i, d := range s.Target {
			if d < 0 {
				s.Target[i] = n.Input[0]
			}
		}
		_, _ = n.Build(3, s)
		_ = fmt.Sprint(n.Notes)
	})
}
