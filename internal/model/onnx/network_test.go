package onnx

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// expected is what ONNX Runtime computes; see testdata/expect.py.
type expected struct {
	Shape   []int     `json:"shape"`
	Tokens  []int64   `json:"tokens"`
	Outputs []int     `json:"outputs"`
	Values  []float64 `json:"values"`
}

func expectations(t *testing.T) map[string]expected {
	t.Helper()
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]expected
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// find opens a network of the testdata, or of the reference folder beside the checkout.
func find(t testing.TB, name string) *File {
	t.Helper()
	dir := "testdata/onnx"
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		dir = reference(t, "reference", "onnx")
		if name == "mnist-12.onnx" { // ONNX's own model zoo's
			dir = reference(t, "data")
		}
	}
	f, err := Open(os.DirFS(dir), name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// pattern is the images of expect.py.
func pattern(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = float64(float32(float64(i*7919%251) / 250))
	}
	return x
}

// logits are a network's outputs in float64.
func logits(t *testing.T, n *model.Network, stats bool, shape []int, x []float64, ids []int64) []float64 {
	t.Helper()
	g := graph.New()
	b := &model.Builder{G: g, BatchStats: stats, Batch: shape[0]}
	kind := graph.Float
	if ids != nil {
		kind = graph.Int
	}
	in := g.Input("x", kind, shape...)
	var y *graph.Node
	if err := graph.Catch(func() error { y = n.Forward(b, in); return nil }); err != nil {
		t.Fatal(err)
	}
	pool := exec.NewPool(1)
	defer pool.Close()
	p, err := exec.Compile[float64]([]*graph.Node{y}, exec.Options{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	for _, ps := range [][]model.Param{n.Params, n.Buffers} {
		for _, q := range ps {
			p.SetFloats(g.Param(q.Name, q.Shape...), q.Values)
		}
	}
	if ids != nil {
		p.SetInts(in, ids)
	} else {
		p.SetFloats(in, x)
	}
	p.Prepare()
	p.RunPrimal()
	return slices.Clone(p.Output(0))
}

// TestLogits holds outputs against ONNX Runtime's.
func TestLogits(t *testing.T) {
	const tol = 1e-4
	for name, e := range expectations(t) {
		t.Run(name, func(t *testing.T) {
			f := find(t, name)
			n, err := f.Network()
			if err != nil {
				t.Fatal(err)
			}
			if n.Outputs != e.Outputs[len(e.Outputs)-1] {
				t.Fatalf("%d outputs, want %d", n.Outputs, e.Outputs[len(e.Outputs)-1])
			}
			y := logits(t, n, f.Training, e.Shape, pattern(tensor.Count(e.Shape)), e.Tokens)
			worst := 0.0
			for i, w := range e.Values {
				worst = math.Max(worst, math.Abs(y[i]-w))
			}
			t.Logf("| %s | opset %d | n = %d | %.1e |", name, f.Opset, n.Size(), worst)
			for _, s := range n.Notes {
				t.Log("note: " + s)
			}
			if !(worst <= tol) {
				t.Errorf("outputs differ by %g, want at most %g", worst, tol)
			}
		})
	}
}

type column struct {
	shape []int
	f     []float64
	i     []int64
}

func (c column) Shape() []int  { return c.shape }
func (c column) Integer() bool { return c.i != nil }
func (c column) Floats(dst []float64, lo, _ int) error {
	copy(dst, c.f[lo*tensor.Count(c.shape):])
	return nil
}
func (c column) Ints(dst []int64, lo, _ int) error {
	copy(dst, c.i[lo*tensor.Count(c.shape):])
	return nil
}

// data is random inputs and labels that fit a network.
func data(n *model.Network, examples int) hvp.Data {
	r := rand.New(rand.NewPCG(1, 2))
	d := hvp.Data{N: examples}
	labels := func(k, below int) []int64 {
		v := make([]int64, k)
		for i := range v {
			v[i] = r.Int64N(int64(below))
		}
		return v
	}
	if n.Tokens {
		d.X = column{shape: n.Input, i: labels(examples*n.Input[0], n.Outputs)}
		d.Y = column{shape: n.Input, i: labels(examples*n.Input[0], n.Outputs)}
		return d
	}
	x := make([]float64, examples*tensor.Count(n.Input))
	for i := range x {
		x[i] = r.Float64()
	}
	d.X, d.Y = column{shape: n.Input, f: x}, column{i: labels(examples, n.Outputs)}
	return d
}

// operatorOn is the Hessian over random data.
func operatorOn(t *testing.T, n *model.Network, stats bool) *hvp.Operator {
	t.Helper()
	const examples = 6
	opt := hvp.Options{Precision: hvp.Float64, BatchStats: stats, KeepBytes: 1 << 30}
	if stats {
		opt.BatchSize = examples
	}
	o, err := hvp.New(n, data(n, examples), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func apply(t *testing.T, o *hvp.Operator, v []float64) []float64 {
	t.Helper()
	if o.Dim() != len(v) {
		t.Fatalf("n = %d, want %d", o.Dim(), len(v))
	}
	hv := make([]float64, len(v))
	if err := o.Apply(context.Background(), [][]float64{hv}, [][]float64{v}); err != nil {
		t.Fatal(err)
	}
	return hv
}

// quadrature is the largest node of Lanczos from v, and n vᵀHv/‖v‖², which is the trace in expectation.
func quadrature(t *testing.T, o *hvp.Operator, v []float64, steps int) (largest, trace float64) {
	t.Helper()
	ps, err := lanczos.Run(context.Background(), o, lanczos.Options{Steps: steps, Probes: 1, Threads: 2, Start: func(dst []float64, _ int) { copy(dst, v) }})
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range ps[0].Nodes {
		trace += ps[0].Weights[i] * node
	}
	return slices.Max(ps[0].Nodes), trace * float64(o.Dim())
}

// trace is the sum of the dense Hessian's diagonal.
func trace(t *testing.T, o *hvp.Operator) float64 {
	t.Helper()
	d, err := o.Dense(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i := range d.Live {
		sum += d.H.At(i, i)
	}
	return sum
}

// place says where parameter p of an ONNX network lies in one of the zoo, element by element: by name, else by
// values, as they are or transposed.
func place(t *testing.T, p model.Param, to *model.Network) []int {
	t.Helper()
	for _, byName := range []bool{true, false} {
		off := 0
		for _, q := range to.Params {
			k := len(q.Values)
			if (!byName || p.Name == q.Name) && len(p.Values) == k {
				same, turned := true, len(p.Shape) == 2
				for i, v := range p.Values {
					same = same && v == q.Values[i]
					turned = turned && v == q.Values[i%p.Shape[len(p.Shape)-1]*p.Shape[0]+i/p.Shape[len(p.Shape)-1]]
				}
				if same || turned {
					at := make([]int, k)
					for i := range at {
						at[i] = off + i
						if !same {
							at[i] = off + i%p.Shape[1]*p.Shape[0] + i/p.Shape[1]
						}
					}
					return at
				}
			}
			off += k
		}
	}
	t.Fatalf("the zoo's network has no parameter %s %v", p.Name, p.Shape)
	return nil
}

// TestProduct holds Hessian-vector products, the largest eigenvalue and the trace, as Lanczos from one vector has them, against those of the same
// network built from the zoo.
func TestProduct(t *testing.T) { testProduct(t, 12, 0) }

// TestProductLarge takes more steps, and for networks of some thousand parameters the trace itself.
func TestProductLarge(t *testing.T) {
	long(t)
	testProduct(t, 60, 4000)
}

func long(t *testing.T) {
	t.Helper()
	if os.Getenv("HESSDENS_LONG") == "" {
		t.Skip("takes minutes (set HESSDENS_LONG=1)")
	}
}

func testProduct(t *testing.T, steps, dense int) {
	const tol = 1e-9
	for _, c := range []struct{ file, arch, weights string }{
		{"mlp.torchscript", "mlp:784-20-10", "reference/checkpoints/mlp-final.safetensors"},
		{"mlp.dynamo", "mlp:784-20-10", "reference/checkpoints/mlp-final.safetensors"},
		{"lenet5.torchscript", "lenet5", "reference/checkpoints/lenet5-final.safetensors"},
		{"lenet5.dynamo", "lenet5", "reference/checkpoints/lenet5-final.safetensors"},
		{"smallcnn-nobn.torchscript", "smallcnn:bn=false", "reference/checkpoints/smallcnn-nobn-final.safetensors"},
		{"smallcnn-nobn.dynamo", "smallcnn:bn=false", "reference/checkpoints/smallcnn-nobn-final.safetensors"},
		{"smallcnn-bn.torchscript.nofold", "smallcnn", "reference/checkpoints/smallcnn-bn-final.safetensors"},
		{"smallcnn-bn.dynamo.nofold", "smallcnn", "reference/checkpoints/smallcnn-bn-final.safetensors"},
		{"smallcnn-bn.torchscript.train", "smallcnn", "reference/checkpoints/smallcnn-bn-final.safetensors"},
		{"resnet20.torchscript.nofold", "resnet20", "data/resnet20-12fca82f.safetensors"},
		{"gpt.torchscript", "gpt2:layers=2,heads=4,width=64,context=64,vocab=65", "reference/checkpoints/gpt-final.safetensors"},
		{"gpt.dynamo", "gpt2:layers=2,heads=4,width=64,context=64,vocab=65", "reference/checkpoints/gpt-final.safetensors"},
		{"gpt.dynamo.opset20", "gpt2:layers=2,heads=4,width=64,context=64,vocab=65", "reference/checkpoints/gpt-final.safetensors"},
	} {
		t.Run(c.file, func(t *testing.T) {
			if testing.Short() && !strings.HasPrefix(c.file, "smallcnn") {
				t.Skip("long")
			}
			b, err := os.ReadFile(reference(t, filepath.FromSlash(c.weights)))
			if err != nil {
				t.Fatal(err)
			}
			ck, err := checkpoint.Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range ck.Entries {
				names = append(names, e.Name)
			}
			want, err := zoo.Parse(c.arch)
			if err != nil {
				t.Fatal(err)
			}
			if err := want.SetWeights(names, ck.Tensor); err != nil {
				t.Fatal(err)
			}
			f := find(t, c.file+".onnx")
			n, err := f.Network()
			if err != nil {
				t.Fatal(err)
			}
			if n.Size() != want.Size() {
				t.Fatalf("n = %d, want %d", n.Size(), want.Size())
			}
			r := rand.New(rand.NewPCG(3, 4))
			v := make([]float64, want.Size())
			for i := range v {
				v[i] = r.NormFloat64()
			}
			var at []int
			for _, p := range n.Params {
				at = append(at, place(t, p, want)...)
			}
			mine := make([]float64, len(at))
			for i, j := range at {
				mine[i] = v[j]
			}
			zoos, mines := operatorOn(t, want, f.Training), operatorOn(t, n, f.Training)
			hw, hv := apply(t, zoos, v), apply(t, mines, mine)
			var diff, norm float64
			for i, j := range at {
				diff += (hv[i] - hw[j]) * (hv[i] - hw[j])
				norm += hw[j] * hw[j]
			}
			rel := math.Sqrt(diff / norm)
			lw, tw := quadrature(t, zoos, v, steps)
			l, tr := quadrature(t, mines, mine, steps)
			if n.Size() <= dense {
				tw, tr = trace(t, zoos), trace(t, mines)
			}
			t.Logf("| %s | n = %d | H·v %.1e | λmax %.9g %.1e | trace %.9g %.1e |", c.file, n.Size(), rel, lw, math.Abs(l/lw-1), tw, math.Abs(tr/tw-1))
			if !(rel <= tol) {
				t.Errorf("relative difference of H·v %.2e, want at most %g", rel, tol)
			}
			if !(math.Abs(l-lw) <= tol*math.Abs(lw)) {
				t.Errorf("largest eigenvalue %v, want %v", l, lw)
			}
			if !(math.Abs(tr-tw) <= tol*math.Abs(tw)) {
				t.Errorf("trace %v, want %v", tr, tw)
			}
		})
	}
}

// TestFolded: of files whose batch normalisation was folded into the weights before it, products against differences of the gradient, and a
// training checkpoint is refused.
func TestFolded(t *testing.T) {
	const (
		h   = 1e-4
		tol = 1e-6
	)
	for _, c := range []struct {
		file, weights string
		n             int
	}{
		{"smallcnn-bn.torchscript", "reference/checkpoints/smallcnn-bn-final.safetensors", 3738},
		{"smallcnn-bn.dynamo", "reference/checkpoints/smallcnn-bn-final.safetensors", 3738},
		{"resnet20.torchscript", "data/resnet20-12fca82f.safetensors", 269034},
		{"resnet20.dynamo", "data/resnet20-12fca82f.safetensors", 269034},
	} {
		t.Run(c.file, func(t *testing.T) {
			n, err := find(t, c.file+".onnx").Network()
			if err != nil {
				t.Fatal(err)
			}
			if n.Size() != c.n {
				t.Fatalf("n = %d, want %d", n.Size(), c.n)
			}
			o := operatorOn(t, n, false)
			r := rand.New(rand.NewPCG(3, 4))
			v := make([]float64, n.Size())
			norm := 0.0
			for i := range v {
				v[i] = r.NormFloat64()
				norm += v[i] * v[i]
			}
			for i := range v {
				v[i] /= math.Sqrt(norm)
			}
			hv := apply(t, o, v)
			theta := slices.Clone(o.Theta())
			gradient := func(s float64) []float64 {
				at := slices.Clone(theta)
				for i := range at {
					at[i] += s * v[i]
				}
				o.SetTheta(at)
				_, g, err := o.Gradient(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				return g
			}
			branches := func(s float64) uint64 {
				gradient(s)
				h, err := o.Branches(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				return h
			}
			step := h
			for here := branches(0); branches(step) != here || branches(-step) != here; step /= 2 {
				if step < 1e-12 {
					t.Fatal("no way without a kink")
				}
			}
			plus, minus := gradient(step), gradient(-step)
			var diff, size float64
			for i, x := range hv {
				d := x - (plus[i]-minus[i])/(2*step)
				diff += d * d
				size += x * x
			}
			rel := math.Sqrt(diff / size)
			t.Logf("| %s | n = %d | %.1e with a step of %.1e |", c.file, n.Size(), rel, step)
			if !(rel <= tol) {
				t.Errorf("differs from a difference of gradients by %.2e, want at most %g", rel, tol)
			}
			b, err := os.ReadFile(reference(t, filepath.FromSlash(c.weights)))
			if err != nil {
				t.Fatal(err)
			}
			ck, err := checkpoint.Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range ck.Entries {
				names = append(names, e.Name)
			}
			if err := n.SetWeights(names, ck.Tensor); err == nil || !strings.Contains(err.Error(), "folded") {
				t.Errorf("a training checkpoint: %v", err)
			}
		})
	}
}

// firstImages are the first images of MNIST's training set, scaled to 0 … 1, and their labels.
func firstImages(t *testing.T, n int) hvp.Data {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	read := func(name string, header, size int) []byte {
		f, err := os.Open(filepath.Join(home, ".cache/hessdens-data/mnist", name))
		if err != nil {
			t.Skip(err)
		}
		defer f.Close()
		b := make([]byte, n*size)
		if _, err := f.ReadAt(b, int64(header)); err != nil {
			t.Fatal(err)
		}
		return b
	}
	x, y := column{shape: []int{1, 28, 28}}, column{}
	for _, p := range read("train-images-idx3-ubyte", 16, 784) {
		x.f = append(x.f, float64(p)/255)
	}
	for _, c := range read("train-labels-idx1-ubyte", 8, 1) {
		y.i = append(y.i, int64(c))
	}
	return hvp.Data{N: n, X: x, Y: y}
}

// mnist12 is the Hessian of ONNX's model zoo's network on the first 64 images. The numbers that it is held against were computed with PyTorch in
// float64.
func mnist12(t *testing.T) *hvp.Operator {
	t.Helper()
	n, err := find(t, "mnist-12.onnx").Network()
	if err != nil {
		t.Fatal(err)
	}
	o, err := hvp.New(n, firstImages(t, 64), hvp.Options{Precision: hvp.Float64, KeepBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func within(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s %v, want %v", what, got, want)
	}
}

const (
	mnist12Loss   = 0.008312778034
	mnist12Max    = 6.85956275
	mnist12Min    = -0.19873952
	mnist12Trace  = 12.4922683131
	mnist12Digits = 1e-8
)

func TestMNIST12(t *testing.T) {
	o := mnist12(t)
	if o.Dim() != 5994 {
		t.Fatalf("n = %d", o.Dim())
	}
	loss, _, err := o.Gradient(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	within(t, "loss", loss, mnist12Loss, 1e-11)
	v := make([]float64, o.Dim())
	lanczos.Gaussian(v, 0, 0)
	largest, _ := quadrature(t, o, v, 60)
	within(t, "largest eigenvalue", largest, mnist12Max, mnist12Digits)
}

func TestMNIST12Large(t *testing.T) {
	long(t)
	d, err := mnist12(t).Dense(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	values, err := d.Eigenvalues()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, l := range values {
		sum += l
	}
	within(t, "trace", sum, mnist12Trace, mnist12Digits)
	within(t, "largest eigenvalue", values[len(values)-1], mnist12Max, mnist12Digits)
	within(t, "smallest eigenvalue", values[0], mnist12Min, mnist12Digits)
}
