package zoo_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// loadGzip reads a file of testdata that make_vision.py wrote.
func loadGzip[T any](t *testing.T, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.NewDecoder(z).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// uniform is count numbers in [-1, 1), as make_vision.py has them: SplitMix64 from the FNV-1a hash of a name.
func uniform(name string, count int) []float64 {
	state := uint64(0xcbf29ce484222325)
	for _, c := range []byte(name) {
		state = (state ^ uint64(c)) * 0x100000001b3
	}
	u := make([]float64, count)
	for i := range u {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		u[i] = 2*float64(z>>11)*0x1p-53 - 1
	}
	return u
}

// formula is a tensor of weights as make_vision.py has them.
func formula(name string, shape []int) *tensor.Tensor {
	u := uniform(name, tensor.Count(shape))
	offset, scale := 0.0, 0.1
	switch {
	case len(shape) > 1:
		scale = math.Sqrt(6 / float64(tensor.Count(shape[1:])))
	case strings.HasSuffix(name, "running_var"):
		offset, scale = 1, 0.5
	case strings.HasSuffix(name, "weight"), strings.HasSuffix(name, "gamma"):
		offset, scale = 0.5, 0.25
	}
	for i := range u {
		u[i] = offset + float64(scale*u[i])
	}
	return &tensor.Tensor{DType: tensor.Float64, Shape: shape, F64: u}
}

// visionTensor is a tensor of a state_dict and, where it is a parameter, what the derivatives have there.
type visionTensor struct {
	named
	got *inner
}

// inner is what derivatives have at a tensor: inner products of gradient and Hessian-vector product with a fixed vector, and their norms.
type inner [4]float64

func (v *visionTensor) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&v.name, &v.shape, &v.got})
}

type visionCase struct {
	Spec, Directory         string
	Shape                   []int
	N, Classes              int
	BatchStats              bool `json:"batch_stats"`
	Loss, Gradient, Product float64
	Tensors                 []visionTensor
}

func (c *visionCase) name() string { return c.Spec + c.Directory }

func (c *visionCase) entries() []zoo.Entry {
	var es []zoo.Entry
	for _, v := range c.Tensors {
		es = append(es, zoo.Entry{Name: v.name, Shape: v.shape})
	}
	return es
}

// network makes the network with its weights: from a directory's files, or from a specification and the formula.
func (c *visionCase) network(t *testing.T) *model.Network {
	t.Helper()
	var names []string
	get := func(name string) (*tensor.Tensor, error) {
		i := slices.IndexFunc(c.Tensors, func(v visionTensor) bool { return v.name == name })
		return formula(name, c.Tensors[i].shape), nil
	}
	var n *model.Network
	var err error
	if c.Directory == "" {
		n = parse(t, c.Spec)
		for _, v := range c.Tensors {
			names = append(names, v.name)
		}
	} else {
		n, names, get = directory(t, c.Directory)
	}
	if err = n.SetWeights(names, get); err != nil {
		t.Fatal(err)
	}
	return n
}

// directory makes the network of a directory of transformers.
func directory(t *testing.T, name string) (n *model.Network, names []string, get func(string) (*tensor.Tensor, error)) {
	t.Helper()
	text, es, file := readDirectory(t, name)
	n, err := zoo.FromConfig(text, es)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, e := range es {
		names = append(names, e.Name)
	}
	return n, names, file.Tensor
}

func readDirectory(t *testing.T, name string) (text []byte, es []zoo.Entry, file *checkpoint.File) {
	t.Helper()
	dir := filepath.Join("testdata", "huggingface", name)
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if file, err = checkpoint.Open(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	for _, e := range file.Entries {
		es = append(es, zoo.Entry{Name: e.Name, Shape: e.Shape})
	}
	return text, es, file
}

// column is a side of a data set in memory.
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

func (c *visionCase) data() hvp.Data {
	x := column{shape: c.Shape, f: uniform("x", c.N*tensor.Count(c.Shape))}
	y := column{i: make([]int64, c.N)}
	for i := range y.i {
		y.i[i] = int64((7*i + 3) % c.Classes)
	}
	return hvp.Data{N: c.N, X: x, Y: y}
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func norm(a []float64) float64 { return math.Sqrt(dot(a, a)) }

// TestVisionDerivatives holds loss, gradient and Hessian-vector product against those that PyTorch's autograd
// finds for the libraries' own networks in float64.
func TestVisionDerivatives(t *testing.T) {
	const tol = 1e-9
	for _, c := range loadGzip[[]*visionCase](t, "vision.json.gz") {
		t.Run(c.name(), func(t *testing.T) {
			n := c.network(t)
			size := 0
			for _, p := range n.Params {
				size += tensor.Count(p.Shape)
			}
			if testing.Short() && size > 1e7 {
				t.Skipf("%d parameters take seconds", size)
			}
			to := map[string]string{} // their names by ours
			var names []string
			for _, v := range c.Tensors {
				names = append(names, v.name)
				to[v.name] = v.name
			}
			if n.Match != nil {
				for theirs, ours := range n.Match(names) {
					delete(to, theirs)
					to[ours] = theirs
				}
			}
			op, err := hvp.New(n, c.data(), hvp.Options{Precision: hvp.Float64, BatchStats: c.BatchStats, BatchSize: c.N})
			if err != nil {
				t.Fatal(err)
			}
			defer op.Close()
			v := make([]float64, op.Dim())
			for _, g := range op.Groups() {
				copy(v[g.Offset:], uniform(to[g.Name]+"/v", g.Size))
			}
			loss, grad, err := op.Gradient(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			hv := make([]float64, op.Dim())
			if err := op.Apply(context.Background(), [][]float64{hv}, [][]float64{v}); err != nil {
				t.Fatal(err)
			}
			check := func(what string, got, want, scale float64) {
				t.Helper()
				if !(math.Abs(got-want) <= tol*scale) {
					t.Errorf("%s: got %.17g, want %.17g, off by %.2g of %.3g", what, got, want, math.Abs(got-want)/scale, scale)
				}
			}
			check("loss", loss, c.Loss, c.Loss)
			check("gradient", norm(grad), c.Gradient, c.Gradient)
			check("product", norm(hv), c.Product, c.Product)
			seen := 0
			for _, g := range op.Groups() {
				i := slices.IndexFunc(c.Tensors, func(v visionTensor) bool { return v.name == to[g.Name] })
				if i < 0 || c.Tensors[i].got == nil {
					t.Fatalf("%s is no parameter there", g.Name)
				}
				seen++
				want := c.Tensors[i].got
				r := uniform(to[g.Name]+"/r", g.Size)
				dg, dh := grad[g.Offset:g.Offset+g.Size], hv[g.Offset:g.Offset+g.Size]
				// Rounding of a whole derivative, since a tensor's part of it may be zero (a bias of keys).
				sg, sh := want[2]+1e-5*c.Gradient, want[3]+1e-5*c.Product
				check("gradient of "+g.Name+" along r", dot(dg, r), want[0], sg*norm(r))
				check("product of "+g.Name+" along r", dot(dh, r), want[1], sh*norm(r))
				check("gradient of "+g.Name, norm(dg), want[2], sg)
				check("product of "+g.Name, norm(dh), want[3], sh)
			}
			for _, v := range c.Tensors {
				if v.got != nil {
					seen--
				}
			}
			if seen != 0 {
				t.Errorf("%d parameters more than there", seen)
			}
		})
	}
}

// TestVisionRecognised holds that a state_dict of each network of the references is taken for that network.
func TestVisionRecognised(t *testing.T) {
	for _, c := range loadGzip[[]*visionCase](t, "vision.json.gz") {
		n, err := zoo.Recognise(c.entries())
		switch {
		case strings.HasPrefix(c.Spec, "vit:"):
			if want := strings.Replace(c.Spec, "heads=4", "heads=H", 1); err == nil || !strings.Contains(err.Error(), "(give --model "+want+" with H") {
				t.Errorf("%s: %v", c.name(), err)
			}
		case c.Directory != "":
			if err == nil || !strings.Contains(err.Error(), "not recognised") {
				t.Errorf("%s without its config.json: %v, %v", c.name(), n, err)
			}
		case err != nil || n.Name != c.Spec || len(n.Notes) != 1:
			t.Errorf("%s: %v, %v", c.name(), n, err)
		}
	}
}

type stateDict struct {
	Size, Params int
	Tensors      []named
}

// recognisedAs are the specifications of state_dicts whose name is not that, "" where the network is refused.
var recognisedAs = map[string]string{
	"torchvision vit_b_16":                 "vit:patch=16,width=768,layers=12,heads=12,size=224",
	"torchvision vit_b_32":                 "vit:patch=32,width=768,layers=12,heads=12,size=224",
	"torchvision vit_l_16":                 "vit:patch=16,width=1024,layers=24,heads=16,size=224",
	"torchvision vit_l_32":                 "vit:patch=32,width=1024,layers=24,heads=16,size=224",
	"torchvision vit_h_14":                 "vit:patch=14,width=1280,layers=32,heads=16,size=224",
	"timm vit_tiny_patch16_224":            "vit:patch=16,width=192,layers=12,heads=3,size=224",
	"timm vit_small_patch32_384":           "vit:patch=32,width=384,layers=12,heads=6,size=384",
	"timm vit_base_patch16_224":            "vit:patch=16,width=768,layers=12,heads=12,size=224",
	"timm vit_base_patch8_224":             "vit:patch=8,width=768,layers=12,heads=12,size=224",
	"timm vit_large_patch14_224":           "vit:patch=14,width=1024,layers=24,heads=16,size=224",
	"timm vit_huge_patch14_224":            "vit:patch=14,width=1280,layers=32,heads=16,size=224",
	"timm deit3_small_patch16_224":         "vit:patch=16,width=384,layers=12,heads=6,size=224,layer_scale=true,no_embed_class=true",
	"timm deit_base_patch16_224":           "vit:patch=16,width=768,layers=12,heads=12,size=224",
	"timm vit_base_patch16_224_miil":       "vit:patch=16,width=768,layers=12,heads=12,size=224,qkv_bias=false",
	"timm vit_medium_patch16_gap_256":      "vit:patch=16,width=512,layers=12,heads=H,size=256,qkv_bias=false,layer_scale=true,class_token=false,pool=norm-avg",
	"timm deit_tiny_distilled_patch16_224": "",
	"timm resnet50":                        "resnet50",
}

// TestStateDictsRecognised holds names, shapes, number and order of parameters against those of the libraries' networks.
func TestStateDictsRecognised(t *testing.T) {
	for name, d := range loadGzip[map[string]stateDict](t, "statedicts.json.gz") {
		spec, ok := recognisedAs[name]
		if !ok {
			spec = strings.TrimPrefix(name, "torchvision ")
		}
		es := entries(d.Tensors, "")
		n, err := zoo.Recognise(es)
		if spec == "" {
			if err == nil || !strings.Contains(err.Error(), "distilled vision transformer (dist_token)") {
				t.Errorf("%s: %v, %v", name, n, err)
			}
			continue
		}
		if strings.Contains(spec, "heads=H") {
			if err == nil || !strings.Contains(err.Error(), "--model "+spec+" with H") {
				t.Errorf("%s: %v", name, err)
			}
			n, err = zoo.Parse(strings.Replace(spec, "heads=H", "heads=8", 1))
		} else if err == nil && n.Name != spec {
			t.Errorf("%s is taken for %s", name, n.Name)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n.Size() != d.Size || len(n.Params) != d.Params {
			t.Errorf("%s: %d parameters in %d tensors, want %d in %d", name, n.Size(), len(n.Params), d.Size, d.Params)
		}
		var names []string
		var shapes [][]int
		for _, e := range d.Tensors {
			names, shapes = append(names, e.name), append(shapes, e.shape)
		}
		if err := n.Fits(names, shapes); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.HasPrefix(name, "torchvision vit") {
			continue // the order is that of timm
		}
		var got, want []named
		for _, p := range n.Params {
			got = append(got, named{p.Name, p.Shape})
		}
		buffers := map[string]bool{}
		for _, p := range n.Buffers {
			buffers[p.Name] = true
		}
		for _, e := range d.Tensors {
			if !buffers[e.name] && !model.Ignored(e.name) {
				want = append(want, e)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: parameters\n got %v\nwant %v", name, got, want)
		}
	}
}

// Names of the forms of residual networks for CIFAR-10 that have the stages of those for ImageNet, and of torchvision's first vision transformers.
func TestVisionOtherNames(t *testing.T) {
	for _, c := range []struct {
		spec   string
		rename []string
	}{
		{"resnet18:stem=3,classes=10", []string{".downsample.", ".shortcut.", "fc.", "linear."}},
		{"resnet50:form=cifar", nil},
		{"resnet50:form=cifar,shortcut=B", []string{"linear.", "fc.", "shortcut", "downsample"}},
		{"resnet152:form=cifar,classes=100", nil},
		{"vit:patch=32,width=768,layers=1,heads=12,size=64,classes=3", []string{"blocks.0.", "encoder.layers.encoder_layer_0.", "patch_embed.proj", "conv_proj", "norm1", "ln_1", "norm2", "ln_2",
			"attn.qkv.", "self_attention.in_proj_", "attn.proj", "self_attention.out_proj", "mlp.fc1", "mlp.linear_1", "mlp.fc2", "mlp.linear_2",
			"head.", "heads.head.", "norm.", "encoder.ln.", "cls_token", "class_token", "pos_embed", "encoder.pos_embedding"}},
	} {
		es := tensorsOf(t, c.spec, c.rename...)
		n, err := zoo.Recognise(es)
		if err != nil || n.Name != c.spec {
			t.Errorf("%s as %v: %v, %v", c.spec, c.rename, n, err)
			continue
		}
		setZeros(t, n, es)
		setZeros(t, parse(t, c.spec), es)
	}
}

func TestVisionRecogniseErrors(t *testing.T) {
	change := func(spec string, f func(es []zoo.Entry) []zoo.Entry) []zoo.Entry { return f(tensorsOf(t, spec)) }
	without := func(part string) func(es []zoo.Entry) []zoo.Entry {
		return func(es []zoo.Entry) []zoo.Entry {
			return slices.DeleteFunc(es, func(e zoo.Entry) bool { return strings.Contains(e.Name, part) })
		}
	}
	with := func(name string, shape ...int) func(es []zoo.Entry) []zoo.Entry {
		return func(es []zoo.Entry) []zoo.Entry {
			es = slices.DeleteFunc(es, func(e zoo.Entry) bool { return e.Name == name })
			return append(es, zoo.Entry{Name: name, Shape: shape})
		}
	}
	const small = "vit:patch=4,width=192,layers=2,heads=3,size=16,classes=7"
	const unknown = "not recognised from the names and shapes"
	for _, c := range []struct {
		want    string
		entries []zoo.Entry
	}{
		{"stages of 2 2 1 2 blocks, and it is none of torchvision's", change("resnet18", without("layer3.1."))},
		{"look like resnet50 and are not: layer2.0.se.weight: not in the network", change("resnet50", with("layer2.0.se.weight", 3))},
		{"layer1.0.conv2.weight: shape [64, 64, 5, 5], the network has [64, 64, 3, 3]", change("resnet50", with("layer1.0.conv2.weight", 64, 64, 5, 5))},
		{"stages of 3 4 6 3 blocks", change("resnet50", with("layer1.0.conv2.weight", 64, 1, 3, 3))},
		{unknown, change("resnet50", with("layer1.0.conv2.weight", 64, 0, 3, 3))},
		{unknown, change("resnet50", with("layer1.0.conv2.weight", 1, 64, 3, 3))},
		{unknown, change("resnet18", with("conv1.weight", 64, 3, 5, 5))},
		{"look like vgg:64-M-128-M-256-256-M-512-512-M-512-M and are not: features.18.bias: not in the network", change("vgg11", without("features.18.weight"))},
		{"classifier.0.weight: shape [4096, 512], the network has [4096, 25088]", change("vgg16", with("classifier.0.weight", 4096, 512))},
		{"q_norm.weight: not in the network", change(small, with("blocks.1.attn.q_norm.weight", 64))},
		{"norm_pre.weight: not in the network", change(small, with("norm_pre.weight", 192))},
		{"its 19 positions are no square", change(small, with("pos_embed", 1, 19, 192))},
		{unknown, change(small, with("pos_embed", 1, -5, 192))},
		{"mlp.fc1.bias: missing", change(small, without("fc1.bias"))},
		{"distilled", change(small, with("dist_token", 1, 1, 192))},
		{unknown, change(small, with("patch_embed.proj.weight", 192, 3, 1<<30, 1<<30))},
	} {
		if _, err := zoo.Recognise(c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// edited is the config.json of a directory with one setting changed, null for left out.
func edited(t *testing.T, directory, key, value string) ([]byte, []zoo.Entry) {
	t.Helper()
	text, es, _ := readDirectory(t, directory)
	var c map[string]json.RawMessage
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	c[key] = json.RawMessage(value)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return text, es
}

// TestVisionConfigErrors holds that a setting that asks for what is not built is refused by its name.
func TestVisionConfigErrors(t *testing.T) {
	for _, c := range []struct{ directory, key, value, want string }{
		{"vit", "architectures", `["ViTForMaskedImageModeling"]`, "of this model_type ViTForImageClassification is built in"},
		{"vit", "hidden_act", `"mish"`, `hidden_act is "mish", which is not built in (gelu, `},
		{"vit", "hidden_act", `3`, "hidden_act is 3, not a text"},
		{"vit", "head_dim", `16`, "head_dim is 16, which is not built in"},
		{"vit", "pruned_heads", `{"0": [1]}`, "pruned_heads"},
		{"vit", "quantization_config", `{"bits": 4}`, "quantization_config"},
		{"vit", "num_attention_heads", `5`, "a width of 24 is no multiple of 5 heads"},
		{"vit", "num_attention_heads", `0`, "num_attention_heads is 0"},
		{"vit", "layer_norm_eps", `0`, "layer_norm_eps is 0"},
		{"vit", "layer_norm_eps", `"small"`, `layer_norm_eps is "small", not a number`},
		{"vit", "image_size", `3`, "image_size is [3 3], smaller than patch_size"},
		{"vit", "image_size", `[16, 16, 3]`, "image_size is no list of up to 2"},
		{"vit", "image_size", `[16]`, "image_size is neither a number nor a list of height and width"},
		{"vit", "image_size", `[16, -1]`, "image_size is no list"},
		{"vit", "image_size", `{}`, "image_size is {}"},
		{"vit", "image_size", `16777216`, "more parameters than memory can hold"},
		{"vit", "patch_size", `[]`, "patch_size is no list"},
		{"vit", "num_hidden_layers", `1e9`, "num_hidden_layers is 1e9"},
		{"vit", "hidden_size", `99999999999999999999`, "hidden_size is 99999999999999999999"},
		{"vit", "id2label", `{}`, "id2label is {}"},
		{"vit", "qkv_bias", `"yes"`, `qkv_bias is "yes", neither true nor false`},
		{"resnet-basic", "architectures", `["ResNetModel"]`, "of this model_type ResNetForImageClassification is built in"},
		{"resnet-basic", "layer_type", `"preactivation"`, `layer_type is "preactivation", which is not built in`},
		{"resnet-basic", "hidden_act", `"mish"`, `hidden_act is "mish"`},
		{"resnet-basic", "depths", `[1, 2]`, "depths has 2 stages, hidden_sizes 3"},
		{"resnet-basic", "depths", `[1, 2, 0]`, "depths is no list of up to 16 numbers from 1 to 256"},
		{"resnet-basic", "depths", `[1, 2, 1000000]`, "depths is no list"},
		{"resnet-basic", "depths", `"many"`, "depths is no list"},
		{"resnet-basic", "hidden_sizes", `[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]`, "hidden_sizes is no list of up to 16"},
		{"resnet-basic", "hidden_sizes", `[16777216, 16777216, 16777216]`, "more parameters than memory can hold"},
		{"resnet-bottleneck", "hidden_sizes", `[3, 20]`, "hidden_sizes has 3"},
		{"resnet-basic", "quantization_config", `{"bits": 4}`, "quantization_config"},
	} {
		text, es := edited(t, c.directory, c.key, c.value)
		if n, err := zoo.FromConfig(text, es); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s = %s: %v, %v; want %q", c.directory, c.key, c.value, n, err, c.want)
		}
	}
}

// TestVisionConfigIrrelevant holds that what has no part in the outputs is no reason to refuse, and null is as good as left out.
func TestVisionConfigIrrelevant(t *testing.T) {
	for _, c := range []struct{ directory, key, value string }{
		{"vit", "hidden_dropout_prob", `0.1`}, {"vit", "pooler_act", `"mish"`}, {"vit", "encoder_stride", `8`}, {"vit", "head_dim", `8`}, {"vit", "pruned_heads", `{}`},
		{"vit", "qkv_bias", `null`}, {"vit", "architectures", `null`}, {"vit-other", "num_labels", `2`}, {"resnet-basic", "out_features", `["stage1"]`}, {"resnet-basic", "downsample_in_bottleneck", `true`},
	} {
		text, es := edited(t, c.directory, c.key, c.value)
		n, err := zoo.FromConfig(text, es)
		if err != nil {
			t.Errorf("%s with %s = %s: %v", c.directory, c.key, c.value, err)
			continue
		}
		setZeros(t, n, es)
	}
}

// TestTransformersViTNames takes a state_dict with the names that transformers 5 has in memory, and with the rest of the network.
func TestTransformersViTNames(t *testing.T) {
	text, es, _ := readDirectory(t, "vit")
	n, err := zoo.FromConfig(text, es)
	if err != nil {
		t.Fatal(err)
	}
	r := strings.NewReplacer("vit.encoder.layer.", "vit.layers.", "attention.attention.query", "attention.q_proj", "attention.attention.key", "attention.k_proj", "attention.attention.value", "attention.v_proj",
		"attention.output.dense", "attention.o_proj", "intermediate.dense", "mlp.fc1", "output.dense", "mlp.fc2")
	for i := range es {
		es[i].Name = r.Replace(es[i].Name)
	}
	es = append(es, zoo.Entry{Name: "vit.pooler.dense.weight", Shape: []int{24, 24}}, zoo.Entry{Name: "vit.embeddings.mask_token", Shape: []int{1, 1, 24}})
	setZeros(t, n, es)
}
