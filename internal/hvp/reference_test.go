package hvp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// References are exact derivatives made with PyTorch in float64: those of random and
// Fashion-MNIST data in testdata, the rest in a folder beside the checkout, where there is one.
var referenceDirs = []string{"../../testdata/reference", "../../../shared/reference"}

type referenceArray struct {
	File  string `json:"file"`
	Shape []int  `json:"shape"`
}

// referenceCase is an entry of cases.json. Names are matched whatever their case is, unless a field has exactly
// theirs: n and N are both there so that neither takes the other's number.
type referenceCase struct {
	name, dir   string
	Network     string  `json:"network"`
	Weights     string  `json:"weights"`
	Loss        string  `json:"loss"`
	Mode        string  `json:"mode"`
	Batch       int     `json:"batch"`
	Inputs      int     `json:"inputs"`
	Parameters  int     `json:"n"`
	Total       int     `json:"N"`
	WeightDecay float64 `json:"weight_decay"`
	Data        struct {
		Mean []float64 `json:"mean"`
		Std  []float64 `json:"std"`
	} `json:"data"`
	L            float64                   `json:"L"`
	GradientNorm float64                   `json:"gradient_norm"`
	VHv          float64                   `json:"vHv"`
	Arrays       map[string]referenceArray `json:"arrays"`
	Like         string                    `json:"like"` // the case of the same folder that has the data
}

// references are the cases of all folders, each once.
func references(t *testing.T) []*referenceCase {
	t.Helper()
	var cases []*referenceCase
	seen := map[string]bool{}
	for _, dir := range referenceDirs {
		b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
		if err != nil {
			continue
		}
		var file struct {
			Cases map[string]*referenceCase `json:"cases"`
		}
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		for name, c := range file.Cases {
			if !seen[name] {
				seen[name] = true
				c.name, c.dir = name, dir
				if like := file.Cases[c.Like]; like != nil {
					c.Loss, c.Mode, c.Batch, c.Inputs, c.WeightDecay, c.Data = like.Loss, like.Mode, like.Batch, like.Inputs, like.WeightDecay, like.Data
					c.Arrays["x"], c.Arrays["y"] = like.Arrays["x"], like.Arrays["y"]
				}
				cases = append(cases, c)
			}
		}
	}
	return cases
}

func (c *referenceCase) array(t *testing.T, name string) *tensor.Tensor {
	t.Helper()
	return arrayOf(t, filepath.Join(c.dir, c.Arrays[name].File), name)
}

// arrayOf is an array of an .npz.
func arrayOf(t *testing.T, file, name string) *tensor.Tensor {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Find(name).Array()
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// memory is a column of values in memory.
type memory struct {
	shape []int
	f     []float64
	i     []int64
}

func (m memory) Shape() []int  { return m.shape }
func (m memory) Integer() bool { return m.i != nil }
func (m memory) Floats(dst []float64, lo, _ int) error {
	copy(dst, m.f[lo*tensor.Count(m.shape):])
	return nil
}
func (m memory) Ints(dst []int64, lo, _ int) error {
	copy(dst, m.i[lo*tensor.Count(m.shape):])
	return nil
}

// architecture maps the references' name of a network to ours.
func architecture(name string) string {
	switch {
	case strings.HasPrefix(name, "gpt:"):
		p := strings.Split(name[4:], ",")
		return "gpt2:layers=" + p[0] + ",heads=" + p[1] + ",width=" + p[2] + ",context=" + p[3] + ",vocab=65"
	case name == "resnet20a":
		return "resnet20"
	case name == "smallcnn-nobn":
		return "smallcnn:bn=false"
	case strings.HasPrefix(name, "mlp:"):
		return "mlp:" + strings.ReplaceAll(name[4:], ":", ",")
	}
	return name
}

func (c *referenceCase) network(t *testing.T) *model.Network {
	t.Helper()
	net, err := zoo.Parse(architecture(c.Network))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Arrays["theta"]; ok {
		theta := c.array(t, "theta").Float64s()
		for i := range net.Params {
			n := tensor.Count(net.Params[i].Shape)
			net.Params[i].Values, theta = theta[:n], theta[n:]
		}
		return net
	}
	path := filepath.Join(c.dir, "..", strings.Replace(c.Weights, ".th", ".safetensors", 1))
	if strings.HasPrefix(c.dir, "../../testdata") {
		path = filepath.Join(c.dir, "checkpoints", filepath.Base(c.Weights))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	f, err := checkpoint.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range f.Entries {
		names = append(names, e.Name)
	}
	if err := net.SetWeights(names, f.Tensor); err != nil {
		t.Fatal(err)
	}
	return net
}

func (c *referenceCase) data(t *testing.T) hvp.Data {
	t.Helper()
	x, y := c.array(t, "x"), c.array(t, "y")
	d := hvp.Data{N: x.Shape[0]}
	mx := memory{shape: x.Shape[1:]}
	switch {
	case x.U8 != nil:
		mx.f = x.Float64s()
		per := len(mx.f) / x.Shape[0]
		for i := range mx.f {
			mx.f[i] /= 255
			if c.Data.Mean != nil {
				ch := i % per / (per / 3)
				mx.f[i] = (mx.f[i] - c.Data.Mean[ch]) / c.Data.Std[ch]
			}
		}
	case x.I64 != nil:
		mx.i = x.I64
	default:
		mx.f = x.Float64s()
	}
	d.X = mx
	d.Y = memory{shape: y.Shape[1:], f: y.F64, i: y.I64}
	return d
}

func (c *referenceCase) options() hvp.Options {
	return hvp.Options{Loss: c.Loss, BatchStats: c.Mode == "train", BatchSize: c.Batch, WeightDecay: c.WeightDecay}
}

func (c *referenceCase) operator(t *testing.T, change func(*hvp.Options)) *hvp.Operator {
	t.Helper()
	opt := c.options()
	if change != nil {
		change(&opt)
	}
	o, err := hvp.New(c.network(t), c.data(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func norm(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s)
}

// relative is ‖got − want‖/‖want‖.
func relative(got, want []float64) float64 {
	d := make([]float64, len(want))
	for i := range d {
		d[i] = got[i] - want[i]
	}
	return norm(d) / norm(want)
}

// tooLong says that a case takes seconds where kernels are generic or the race detector watches.
func (c *referenceCase) tooLong() bool { return testing.Short() && c.Parameters*c.Inputs > 500_000 }

// TestReference holds loss, gradient and Hessian-vector product against PyTorch's.
func TestReference(t *testing.T) {
	ctx := context.Background()
	for _, c := range references(t) {
		if _, ok := c.Arrays["Hv"]; !ok {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.tooLong() {
				t.Skip("long")
			}
			for _, p := range []struct {
				precision string
				tol       float64
			}{{hvp.Float64, 1e-10}, {hvp.Float32, 1e-4}} {
				o := c.operator(t, func(o *hvp.Options) { o.Precision = p.precision })
				loss, grad, err := o.Gradient(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if o.Dim() != c.Parameters || o.Total() != c.Total {
					t.Fatalf("n = %d, N = %d; want %d, %d", o.Dim(), o.Total(), c.Parameters, c.Total)
				}
				v := c.array(t, "v").Float64s()
				hv := make([]float64, o.Dim())
				if err := o.Apply(ctx, [][]float64{hv}, [][]float64{v}); err != nil {
					t.Fatal(err)
				}
				dl := math.Abs(loss-c.L) / c.L
				dg := relative(grad, c.array(t, "g").Float64s())
				dh := relative(hv, c.array(t, "Hv").Float64s())
				t.Logf("| %s | %s | %.1e | %.1e | %.1e |", c.name, p.precision, dl, dg, dh)
				if !(dl <= p.tol) || !(dg <= p.tol) || !(dh <= p.tol) {
					t.Errorf("%s: relative errors of loss %.2e, gradient %.2e, product %.2e; want at most %g", p.precision, dl, dg, dh, p.tol)
				}
			}
		})
	}
}
