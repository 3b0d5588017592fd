package zoo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// derivatives are those of transformers' own module; see testdata/huggingface/make.py.
type derivatives struct {
	Loss                     float64
	Parameters               []named
	x, y                     column
	probe, gradient, product map[string][]float64 // by the names of parameters
}

// array is an array of an .npz in testdata.
func array(t *testing.T, file, name string) *tensor.Tensor {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	z, err := npy.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := z.Find(name).Array()
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// answers reads what is to come out for a directory of testdata.
func answers(t *testing.T, dir string) derivatives {
	t.Helper()
	d := load[derivatives](t, filepath.Join(dir, "reference.json"))
	split := func(name string) map[string][]float64 {
		flat, out := array(t, filepath.Join(dir, "reference.npz"), name).Float64s(), map[string][]float64{}
		for _, p := range d.Parameters {
			n := tensor.Count(p.shape)
			out[p.name], flat = flat[:n], flat[n:]
		}
		if len(flat) > 0 {
			t.Fatalf("%d values too many", len(flat))
		}
		return out
	}
	d.probe, d.gradient, d.product = split("probe"), split("gradient"), split("product")
	x, y := array(t, filepath.Join(dir, "data.npz"), "x"), array(t, filepath.Join(dir, "data.npz"), "y")
	d.x, d.y = column{shape: x.Shape[1:], i: x.I64}, column{shape: y.Shape[1:], i: y.I64}
	return d
}

// held are the names and shapes of a checkpoint.
func held(ck *checkpoint.File) (list []zoo.Entry, names []string) {
	for _, e := range ck.Entries {
		list, names = append(list, zoo.Entry{Name: e.Name, Shape: e.Shape}), append(names, e.Name)
	}
	return list, names
}

// check holds loss, gradient and product of a network with weights against the answers.
func (d *derivatives) check(t *testing.T, net *model.Network) {
	t.Helper()
	const tol = 1e-9
	op, err := hvp.New(net, hvp.Data{N: len(d.x.i) / tensor.Count(d.x.shape), X: d.x, Y: d.y}, hvp.Options{Precision: hvp.Float64, Threads: 1, BatchSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	loss, grad, err := op.Gradient(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := math.Abs(loss-d.Loss) / d.Loss; !(diff <= tol) {
		t.Errorf("loss %v, want %v: off by %.1e", loss, d.Loss, diff)
	}
	flat := func(by map[string][]float64) (out []float64) {
		for _, g := range op.Groups() {
			out = append(out, by[g.Name]...)
		}
		return out
	}
	product := make([]float64, op.Dim())
	if err := op.Apply(context.Background(), [][]float64{product}, [][]float64{flat(d.probe)}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what      string
		got, want []float64
	}{{"gradient", grad, flat(d.gradient)}, {"H v", product, flat(d.product)}} {
		var diff, size float64
		for i, v := range x.want {
			diff, size = math.Hypot(diff, x.got[i]-v), math.Hypot(size, v)
		}
		if !(diff <= tol*size) || size == 0 {
			t.Errorf("%s: off by %.1e of its norm %.3g", x.what, diff/size, size)
		}
	}
}

func TestHuggingFaceDirectories(t *testing.T) {
	for dir, want := range map[string]string{
		"gpt2":        "gpt2:layers=2,heads=2,width=8,context=16,vocab=17",
		"gpt2-other":  "gpt2:layers=2,heads=2,width=8,context=16,vocab=17,inner=12,act=gelu,eps=0.001,scaled=false,by_layer=true,tied=false",
		"llama":       "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=64,vocab=17,head_dim=6,theta=20,rope=llama3:8:1:4:32",
		"llama-other": "llama:layers=1,heads=4,width=8,inner=12,context=16,vocab=17,head_dim=6,act=gelu_new,eps=0.001,theta=100,rope=linear:2,bias=qkvo,mlp_bias=true,tied=true",
		"mistral":     "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,window=3",
		"qwen2":       "llama:layers=2,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,window=2,full=1,bias=qkv,tied=true",
		"qwen3":       "llama:layers=1,heads=4,kv_heads=2,width=8,inner=12,context=16,vocab=17,head_dim=6,qk_norm=true",
		"bert":        "bert:layers=2,heads=4,width=8,inner=12,context=16,vocab=17,classes=3",
		"roberta":     "roberta:layers=1,heads=4,width=8,inner=12,context=14,vocab=17,classes=2,act=relu2",
		"distilbert":  "distilbert:layers=1,heads=2,width=8,inner=12,context=16,vocab=17,classes=2,act=quick_gelu",
	} {
		t.Run(dir, func(t *testing.T) {
			path := filepath.Join("huggingface", dir)
			d := answers(t, path)
			fsys := os.DirFS(filepath.Join("testdata", path))
			ck, _, c, err := checkpoint.OpenDirectory(fsys)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			text, err := os.ReadFile(filepath.Join("testdata", path, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			list, names := held(ck)
			net, err := zoo.FromConfig(text, list)
			if err != nil {
				t.Fatal(err)
			}
			if net.Name != want {
				t.Errorf("named %s, want %s", net.Name, want)
			}
			d.sameParameters(t, net)
			if err := net.SetWeights(names, ck.Tensor); err != nil {
				t.Fatal(err)
			}
			d.check(t, net)

			// The specification alone is the same network.
			again := parse(t, net.Name)
			if err := again.SetWeights(names, ck.Tensor); err != nil {
				t.Fatal(err)
			}
			if again.Name != net.Name || again.SHA256() != net.SHA256() {
				t.Errorf("%s is not what its name says: %s", net.Name, again.Name)
			}
			d.check(t, again)
		})
	}
}

// sameParameters holds names and shapes against those of the module. gpt2 has its normalisations before
// its layers, as its first form had.
func (d *derivatives) sameParameters(t *testing.T, net *model.Network) {
	t.Helper()
	var got []named
	for _, p := range net.Params {
		got = append(got, named{p.Name, p.Shape})
	}
	want := slices.Clone(d.Parameters)
	if strings.HasPrefix(net.Name, "gpt2:") {
		byName := func(a, b named) int { return strings.Compare(a.name, b.name) }
		slices.SortFunc(got, byName)
		slices.SortFunc(want, byName)
	}
	a, _ := json.Marshal(show(got))
	b, _ := json.Marshal(show(want))
	if string(a) != string(b) {
		t.Errorf("parameters\n got %s\nwant %s", a, b)
	}
}

func show(list []named) (out [][]any) {
	for _, n := range list {
		out = append(out, []any{n.name, n.shape})
	}
	return out
}

func TestLlama2C(t *testing.T) {
	d := answers(t, "huggingface/llama2c")
	for _, file := range []string{"stories-v0.bin", "stories-v1.bin"} {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata/huggingface/llama2c", file))
			if err != nil {
				t.Fatal(err)
			}
			ck, err := checkpoint.Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			net := parse(t, ck.Model)
			d.sameParameters(t, net)
			_, names := held(ck)
			if err := net.SetWeights(names, ck.Tensor); err != nil {
				t.Fatal(err)
			}
			d.check(t, net)
		})
	}
}
