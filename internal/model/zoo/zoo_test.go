package zoo_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// named is a tensor's name and shape, in JSON the pair of both.
type named struct {
	name  string
	shape []int
}

func (n *named) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&n.name, &n.shape})
}

type networkCase struct {
	Size   int
	Params []named
}

type checkpointCase struct {
	Network string
	Files   []string
	Tensors []named
}

func load[T any](t *testing.T, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func parse(t *testing.T, spec string) *model.Network {
	t.Helper()
	n, err := zoo.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// buildable are networks of every form, beyond those of testdata.
var buildable = []string{
	"mlp:6-4-3,tanh,bias=false", "mlp:6-5,bias=false", "mlp:6-4-3,silu", "mlp:6-4-3,sigmoid", "lenet5", "lenet5:classes=47",
	"smallcnn", "smallcnn:bn=false", "smallcnn:bn=false,classes=3", "resnet8", "resnet20", "resnet20:shortcut=B", "resnet8:shortcut=B,classes=100",
	"resnet8:classes=100", "vgg:2-M-3,hidden=2,classes=3,size=7", "vgg:2-M-3,bn=true,hidden=2,channels=1,classes=3,size=8",
	"vit:patch=2,width=4,layers=1,heads=2,size=4,classes=3", "vit:patch=2,width=4,layers=1,heads=1,size=4,classes=3,channels=1,mlp=3,qkv_bias=false,layer_scale=true,class_token=false,reg_tokens=2,no_embed_class=true",
	"gpt2:layers=1,heads=1,width=4,context=1,vocab=3", "gpt2:layers=2,heads=2,width=8,context=16,vocab=11",
	"gpt2:layers=1,heads=1,width=4,context=2,vocab=3,inner=5,act=silu,eps=0.1,scaled=false,by_layer=true,tied=false",
	"llama:layers=2,heads=4,kv_heads=2,width=12,inner=5,context=6,vocab=11,head_dim=2,act=relu,eps=0.1,theta=50,rope=linear:3,window=2,full=1,bias=qkvo,mlp_bias=true",
	"llama:layers=1,heads=2,width=8,inner=5,context=6,vocab=11,rope=llama3:8:1:4:32,bias=qkv,tied=true,qk_norm=true", "llama2c:layers=1,heads=2,kv_heads=1,width=8,inner=5,context=6,vocab=11",
	"bert:layers=1,heads=2,width=4,inner=5,context=6,vocab=11,classes=3,types=1,act=relu,eps=0.1,pad=none", "roberta:layers=1,heads=2,width=4,inner=5,context=6,vocab=11,classes=3,pad=2",
	"distilbert:layers=1,heads=2,width=4,inner=5,context=6,vocab=11,classes=2",
}

func TestParametersArePyTorchs(t *testing.T) {
	for spec, want := range load[map[string]networkCase](t, "networks.json") {
		n := parse(t, spec)
		if n.Name != spec || n.Size() != want.Size {
			t.Errorf("%s: named %s, %d parameters, want %d", spec, n.Name, n.Size(), want.Size)
		}
		var got []named
		for _, p := range n.Params {
			got = append(got, named{p.Name, p.Shape})
		}
		if !reflect.DeepEqual(got, want.Params) {
			t.Errorf("%s: parameters\n got %v\nwant %v", spec, got, want.Params)
		}
	}
}

func TestCanonicalNameParsesToItself(t *testing.T) {
	specs := map[string]string{
		"mlp:784-20-10,relu":                              "mlp:784-20-10",
		"mlp:784-20-10,bias=false,tanh":                   "mlp:784-20-10,tanh,bias=false",
		"mlp:20-5,tanh":                                   "mlp:20-5", // no hidden layer
		"smallcnn:bn=true":                                "smallcnn",
		"resnet20:shortcut=a":                             "resnet20",
		"resnet56:classes=100,shortcut=b":                 "resnet56:shortcut=B,classes=100",
		"lenet5:classes=10":                               "lenet5",
		"gpt2:vocab=5,context=4,width=6,heads=3,layers=1": "gpt2:layers=1,heads=3,width=6,context=4,vocab=5",
		"gpt2:layers=1,heads=3,width=6,context=4,vocab=5,inner=24,act=gelu_pytorch_tanh,eps=1e-5,tied=true":                                       "gpt2:layers=1,heads=3,width=6,context=4,vocab=5",
		"llama:layers=1,heads=3,width=6,kv_heads=3,inner=4,context=4,vocab=5,theta=1e4,eps=1e-6,act=swish,head_dim=2,full=1,bias=none,tied=false": "llama:layers=1,heads=3,width=6,inner=4,context=4,vocab=5",
		"bert:layers=1,heads=3,width=6,inner=4,context=4,vocab=5,classes=2,types=2,pad=0,eps=1e-12,act=gelu":                                      "bert:layers=1,heads=3,width=6,inner=4,context=4,vocab=5,classes=2",
		"resnet50:form=cifar,shortcut=b":                                "resnet50:form=cifar,shortcut=B",
		"resnet20:form=cifar":                                           "resnet20",
		"resnet50:form=imagenet,stem=7,channels=3":                      "resnet50",
		"resnet18:size=64,classes=10":                                   "resnet18:classes=10,size=64",
		"vgg16:bn=true":                                                 "vgg16_bn",
		"vgg11_bn:bn=false":                                             "vgg11",
		"vgg:64-M-128-M-256-256-M-512-512-M-512-512-M":                  "vgg11",
		"vit:size=8,heads=2,layers=1,width=4,patch=4,mlp=16,pool=TOKEN": "vit:patch=4,width=4,layers=1,heads=2,size=8",
	}
	for _, s := range buildable {
		specs[s] = s
	}
	for spec, want := range specs {
		if n := parse(t, spec); n.Name != want {
			t.Errorf("%s is named %s, want %s", spec, n.Name, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"":                           "unknown architecture",
		"vgg":                        "layers are missing",
		"vgg:":                       "an option is missing",
		"mlp":                        "sizes are missing",
		"mlp:784":                    "two sizes",
		"mlp:784-0-10":               "no list of sizes",
		"mlp:784--10":                "no list of sizes",
		"mlp:20-16-8-5:tanh":         "no list of sizes",
		"mlp:784-99999999999":        "no list of sizes",
		"mlp:16777216-16777216":      "more parameters",
		"mlp:784-10,swish":           `unknown option "swish"`,
		"mlp:784-10,relu,tanh":       `unknown option "tanh"`,
		"mlp:784-10,bias=no":         "neither true nor false",
		"lenet5:classes=0":           "not a number from 1",
		"lenet5:":                    "an option is missing",
		"smallcnn:batchnorm=false":   "unknown option",
		"resnet":                     "6n+2",
		"resnet19":                   "6n+2",
		"resnet18:form=cifar":        "6n+2",
		"resnet50:form=cifar,stem=3": `unknown option "stem=3"`,
		"resnet50:shortcut=B":        `unknown option "shortcut=B"`,
		"resnet20:form=imagenet":     "none of cifar",
		"wide_resnet50_2:form=cifar": `unknown option "form=cifar"`,
		"resnet18:stem=5":            "none of 7, 3",
		"resnet18:size=0":            "not a number from 1",
		"vgg12":                      "11, 13, 16 or 19",
		"vgg:M-M":                    "no list of channels and max-pools",
		"vgg:8-P":                    "no list of channels and max-pools",
		"vgg:8-99999999999":          "no list of channels and max-pools",
		"vgg:16777216-16777216":      "more parameters",
		"vit":                        "width=… is missing",
		"vit:patch=4,width=32,layers=2,heads=5,size=16":                              "no multiple of 5 heads",
		"vit:patch=4,width=32,layers=2,heads=4,size=18":                              "no multiple of a patch",
		"vit:patch=1,width=16777216,layers=2,heads=4,size=16777216":                  "more parameters",
		"vit:patch=4,width=32,layers=2,heads=4,size=16,pool=max":                     "none of token, avg, norm-avg",
		"vit:patch=4,width=32,layers=2,heads=4,size=16,class_token=false,pool=token": "none of avg, norm-avg",
		"vit:patch=4,width=32,layers=2,heads=4,size=16,reg_tokens=0":                 "not a number from 1",
		"resnet2":                        "6n+2",
		"resnet999999999998":             "6n+2",
		"resnet20:shortcut=C":            "none of A, B",
		"gpt2":                           "layers=… is missing",
		"gpt2:layers=2,heads=4,width=64": "context=… is missing",
		"gpt2:layers=2,heads=3,width=64,context=64,vocab=65":  "no multiple",
		"gpt2:layers=99999,heads=1,width=1,context=1,vocab=1": "not a number from 1",
	} {
		_, err := zoo.Parse(spec)
		if err == nil {
			t.Errorf("%q: no error", spec)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, want) || !strings.Contains(msg, "gpt2:layers=L,heads=H") {
			t.Errorf("%q: %s; want %q and the grammar", spec, msg, want)
		}
	}
}

// settings are those of data that the network was made for.
func settings(n *model.Network) model.Settings {
	s := model.Settings{Loss: model.CrossEntropy, Total: 100, Input: n.Input, TargetInteger: true}
	if s.InputInteger = n.Tokens; n.Tokens && !n.Sequence {
		s.Target = n.Input
	}
	return s
}

// TestBuildDifferentiates builds the loss and its Hessian-vector product, by which all shape
// rules and derivative rules that a network needs are gone through.
func TestBuildDifferentiates(t *testing.T) {
	specs := slices.Concat(buildable, slices.Collect(maps.Keys(load[map[string]networkCase](t, "networks.json"))))
	const batch = 3
	for _, spec := range specs {
		for _, batchStats := range []bool{false, true} {
			n := parse(t, spec)
			s := settings(n)
			s.BatchStats = batchStats
			m, err := n.Build(batch, s)
			if err != nil {
				t.Errorf("%s: %v", spec, err)
				continue
			}
			positions := batch
			if n.Tokens && !n.Sequence {
				positions *= n.Input[0]
			}
			if !slices.Equal(m.Outputs.Shape(), []int{positions, n.Outputs}) || !slices.Equal(m.ExampleLoss.Shape(), []int{positions}) || m.Loss.Rank() != 0 {
				t.Errorf("%s: shapes of outputs %v, losses %v, loss %v", spec, m.Outputs.Shape(), m.ExampleLoss.Shape(), m.Loss.Shape())
			}
			if !slices.Equal(m.X.Shape(), slices.Concat([]int{batch}, s.Input)) || !slices.Equal(m.Y.Shape(), slices.Concat([]int{batch}, s.Target)) {
				t.Errorf("%s: shapes of x %v, y %v", spec, m.X.Shape(), m.Y.Shape())
			}
			if len(m.Params) != len(n.Params) || len(m.Buffers) != len(n.Buffers) {
				t.Fatalf("%s: %d and %d leaves", spec, len(m.Params), len(m.Buffers))
			}
			if n.BatchNorm != (len(n.Buffers) > 0) {
				t.Errorf("%s: BatchNorm is %t", spec, n.BatchNorm)
			}
			used := graph.Ancestors(m.Loss)
			for i, b := range m.Buffers {
				if !slices.Equal(b.Shape(), n.Buffers[i].Shape) || b.ID() < len(used) && used[b.ID()] == batchStats {
					t.Errorf("%s: buffer %s has shape %v, used: %t", spec, n.Buffers[i].Name, b.Shape(), !batchStats)
				}
			}
			grads := graph.VJP([]*graph.Node{m.Loss}, []*graph.Node{m.G.Scalar(1)}, m.Params)
			seeds := map[*graph.Node]*graph.Node{}
			for _, p := range m.Params {
				seeds[p] = m.G.Direction(p)
			}
			for i, h := range graph.JVP(grads, seeds) {
				p := n.Params[i]
				if grads[i] == nil || !slices.Equal(grads[i].Shape(), p.Shape) || h == nil || !slices.Equal(h.Shape(), p.Shape) {
					t.Errorf("%s: gradient of %s is %v, product %v, want shape %v", spec, p.Name, grads[i], h, p.Shape)
				}
			}
		}
	}
}

func TestShorterSequencesFit(t *testing.T) {
	n := parse(t, "gpt2:layers=1,heads=2,width=8,context=16,vocab=11")
	s := settings(n)
	s.Input, s.Target = []int{5}, []int{5}
	m, err := n.Build(2, s)
	if err != nil || !slices.Equal(m.Outputs.Shape(), []int{10, 11}) {
		t.Errorf("%v, %v", m, err)
	}
}

func entries(ts []named, prefix string) []zoo.Entry {
	var es []zoo.Entry
	for _, e := range ts {
		es = append(es, zoo.Entry{Name: prefix + e.name, Shape: e.shape})
	}
	return es
}

func TestRecogniseCheckpoints(t *testing.T) {
	for _, c := range load[[]checkpointCase](t, "checkpoints.json") {
		for _, prefix := range []string{"", "module.", "_orig_mod.module.", "model."} {
			n, err := zoo.Recognise(entries(c.Tensors, prefix))
			if strings.HasPrefix(c.Network, "gpt2") {
				want := "--model " + strings.Replace(c.Network, "heads=4", "heads=H", 1)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v; want %s asked for", c.Files, err, want)
				}
				n = parse(t, c.Network)
			} else if err != nil {
				t.Errorf("%s: %v", c.Files, err)
				continue
			} else if n.Name != c.Network || len(n.Notes) != 1 || !strings.Contains(n.Notes[0], "ReLU") {
				t.Errorf("%s: taken for %s, notes %q, want %s", c.Files, n.Name, n.Notes, c.Network)
			}
			setZeros(t, n, entries(c.Tensors, prefix))
		}
	}
}

// setZeros gives the network zeros under the names of a checkpoint.
func setZeros(t *testing.T, n *model.Network, es []zoo.Entry) {
	t.Helper()
	var names []string
	shapes := map[string][]int{}
	for _, e := range es {
		names = append(names, e.Name)
		shapes[e.Name] = e.Shape
	}
	err := n.SetWeights(names, func(name string) (*tensor.Tensor, error) {
		if strings.HasSuffix(name, "num_batches_tracked") {
			return nil, fmt.Errorf("%s was asked for", name)
		}
		return &tensor.Tensor{DType: tensor.Float32, Shape: shapes[name], F32: make([]float32, tensor.Count(shapes[name]))}, nil
	})
	if err != nil {
		t.Errorf("%s: %v", n.Name, err)
		return
	}
	for _, p := range slices.Concat(n.Params, n.Buffers) {
		if len(p.Values) != tensor.Count(p.Shape) {
			t.Errorf("%s: %s has %d values", n.Name, p.Name, len(p.Values))
		}
	}
}

// tensorsOf are the entries that a network's own tensors make, their names changed.
func tensorsOf(t *testing.T, spec string, rename ...string) []zoo.Entry {
	n := parse(t, spec)
	r := strings.NewReplacer(rename...)
	var es []zoo.Entry
	for _, p := range slices.Concat(n.Params, n.Buffers) {
		es = append(es, zoo.Entry{Name: r.Replace(p.Name), Shape: p.Shape})
	}
	return es
}

func TestRecogniseOtherNames(t *testing.T) {
	for _, c := range []struct {
		spec   string
		rename []string
	}{
		{"mlp:784-20-10", []string{"1.", "0.", "3.", "2."}},
		{"mlp:784-20-10", []string{"1.", "net.9.", "3.", "net.10."}},
		{"mlp:784-20-10", []string{"1.", "fc1.", "3.", "fc2."}},
		{"mlp:784-20-10,bias=false", []string{"1.", "layers.0.linear.", "3.", "layers.1.linear."}},
		{"mlp:784-20-20-10", []string{"1.", "hidden.0.", "3.", "hidden.2.", "5.", "head."}},
		{"mlp:20-5", []string{"1.", "linear."}},
		{"mlp:20-5", []string{"1.", ""}},
		{"resnet20", []string{"linear.", "fc."}},
		{"resnet20:classes=100", nil},
		{"resnet56:shortcut=B", nil},
		{"resnet20:shortcut=B", []string{"linear.", "fc.", "shortcut", "downsample"}},
		{"smallcnn:classes=3", nil},
		{"lenet5:classes=47", nil},
	} {
		es := tensorsOf(t, c.spec, c.rename...)
		slices.Reverse(es)
		n, err := zoo.Recognise(es)
		if err != nil || n.Name != c.spec {
			t.Errorf("%s as %v: %v, %v", c.spec, c.rename, n, err)
			continue
		}
		setZeros(t, n, es)
		setZeros(t, parse(t, c.spec), es)
	}
}

func TestRecogniseErrors(t *testing.T) {
	wrong := tensorsOf(t, "resnet8")
	wrong[0].Shape = []int{64, 3, 7, 7}
	bare := slices.DeleteFunc(tensorsOf(t, "resnet8"), func(e zoo.Entry) bool { return strings.Contains(e.Name, "bn") })
	const unknown = "not recognised from the names and shapes"
	for _, c := range []struct {
		want    string
		entries []zoo.Entry
	}{
		{unknown, nil},
		{unknown, []zoo.Entry{{"a.0.weight", []int{4, 4}}, {"b.0.weight", []int{4, 4}}}}, // no order
		{unknown, []zoo.Entry{{"0.weight", []int{4, 3}}, {"1.weight", []int{2, 5}}}},     // no chain
		{unknown, []zoo.Entry{{"0.weight", []int{4, 3}}, {"1.weight", []int{4}}}},
		{unknown, []zoo.Entry{{"0.weight", []int{0, 3}}}},
		{unknown, []zoo.Entry{{"99999999999999999999.weight", []int{4, 3}}}},
		{unknown, tensorsOf(t, "mlp:6-5", "weight", "kernel")},
		{"look like resnet20 and are not: extra: not in the network (give --model)", append(tensorsOf(t, "resnet20"), zoo.Entry{Name: "extra"})},
		{"look like lenet5 and are not: conv3.weight", append(tensorsOf(t, "lenet5"), zoo.Entry{Name: "conv3.weight", Shape: []int{1, 1, 1, 1}})},
		{"conv1.weight: shape [64, 3, 7, 7], the network has [16, 3, 3, 3]", wrong},
		{"bn1.bias: missing; bn1.running_mean: missing; bn1.running_var: missing; and 25 more", bare},
	} {
		if _, err := zoo.Recognise(c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestGPTNames(t *testing.T) {
	const spec = "gpt2:layers=1,heads=2,width=4,context=4,vocab=3"
	es := tensorsOf(t, spec, "transformer.", "")
	es = append(es, zoo.Entry{Name: "h.0.attn.bias", Shape: []int{1, 1, 4, 4}}, zoo.Entry{Name: "lm_head.weight", Shape: []int{3, 4}})
	setZeros(t, parse(t, spec), es)
	if _, err := zoo.Recognise(es); err == nil || !strings.Contains(err.Error(), "heads=H") {
		t.Errorf("recognised with %v", err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name)
	}
	err := parse(t, spec).SetWeights(names, func(name string) (*tensor.Tensor, error) {
		e := es[slices.Index(names, name)]
		x := &tensor.Tensor{DType: tensor.Float64, Shape: e.Shape, F64: make([]float64, tensor.Count(e.Shape))}
		if name == "lm_head.weight" {
			x.F64[0] = 1
		}
		return x, nil
	})
	if err == nil || !strings.Contains(err.Error(), "lm_head.weight: differs from wte.weight") {
		t.Errorf("an untied head: %v", err)
	}
}

func TestInitialise(t *testing.T) {
	for _, spec := range buildable {
		a, b, c := parse(t, spec), parse(t, spec), parse(t, spec)
		zoo.Initialise(a, 1)
		zoo.Initialise(b, 1)
		zoo.Initialise(c, 2)
		if a.SHA256() != b.SHA256() || a.SHA256() == c.SHA256() || len(a.SHA256()) != 64 {
			t.Errorf("%s: hashes %s %s %s", spec, a.SHA256(), b.SHA256(), c.SHA256())
		}
		for _, p := range slices.Concat(a.Params, a.Buffers) {
			if len(p.Values) != tensor.Count(p.Shape) {
				t.Errorf("%s: %s has %d values", spec, p.Name, len(p.Values))
			}
			for _, v := range p.Values {
				if v != float64(float32(v)) {
					t.Errorf("%s: %s holds %v, no float32", spec, p.Name, v)
					break
				}
			}
		}
	}
}

// TestInitialiseScales holds moments against those of the distributions, within five standard
// errors.
func TestInitialiseScales(t *testing.T) {
	check := func(spec, name string, sd, kurtosis float64) {
		t.Helper()
		n := parse(t, spec)
		zoo.Initialise(n, 0)
		i := slices.IndexFunc(n.Params, func(p model.Param) bool { return p.Name == name })
		var sum, sq float64
		v := n.Params[i].Values
		for _, x := range v {
			sum += x
			sq += x * x
		}
		count := float64(len(v))
		if d := sum / count; !(math.Abs(d) <= 5*sd/math.Sqrt(count)) {
			t.Errorf("%s %s: mean %g", spec, name, d)
		}
		if d := sq/count/(sd*sd) - 1; !(math.Abs(d) <= 5*math.Sqrt((kurtosis-1)/count)) {
			t.Errorf("%s %s: variance off by %g of itself", spec, name, d)
		}
	}
	check("mlp:784-20-10", "1.weight", 1/math.Sqrt(3*784), 1.8)
	check("mlp:784-2000-10", "1.bias", 1/math.Sqrt(3*784), 1.8)
	check("resnet20", "layer3.0.conv2.weight", 1/math.Sqrt(3*576), 1.8)
	check("gpt2:layers=1,heads=1,width=64,context=4,vocab=65", "transformer.h.0.mlp.c_fc.weight", 0.02, 2.9)
}

// The values for a seed are the same in every version.
func TestInitialiseIsStable(t *testing.T) {
	n := parse(t, "mlp:3-2")
	zoo.Initialise(n, 0)
	const want = "[0.44260919094085693 -0.07906465977430344 -0.5468271970748901 0.543727695941925 -0.45455169677734375 -0.19938702881336212] [-0.3765849471092224 0.31355494260787964]"
	if got := fmt.Sprint(n.Params[0].Values, n.Params[1].Values); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestGPT2Small builds the smallest published GPT-2, whose vocabulary and context are long axes.
func TestGPT2Small(t *testing.T) {
	n := parse(t, "gpt2:layers=12,heads=12,width=768,context=1024,vocab=50257")
	if n.Size() != 124439808 {
		t.Errorf("%d parameters", n.Size())
	}
	if _, err := n.Build(2, settings(n)); err != nil {
		t.Error(err)
	}
}

// The documentation has the grammar as it is.
func TestGrammarDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "models.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n```text\n"+zoo.Grammar+"\n```\n") {
		t.Error("docs/models.md does not have zoo.Grammar in a block of text")
	}
}
