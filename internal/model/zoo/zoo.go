// Package zoo holds the built-in architectures, with the parameter names that PyTorch's
// state_dict gives them: made from a --model string by [Parse], or from the names and shapes of
// a checkpoint by [Recognise].
package zoo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// Grammar is what Parse takes, a line an architecture. Defaults are bias=true, bn=true (false for vgg),
// shortcut=A, relu, and 10 classes; 1000 classes, 3 channels and images of any size for those that are of
// torchvision and timm.
const Grammar = `mlp:SIZES[,relu|tanh|gelu|sigmoid|silu][,bias=false]    e.g. mlp:784-20-10,tanh
lenet5[:classes=C]
smallcnn[:bn=false][,classes=C]
resnetD[:shortcut=A|B][,classes=C]    CIFAR form, depth D = 6n+2, e.g. resnet20; resnet50 and resnet152 with form=cifar
resnetD[:classes=C][,size=S][,channels=N][,stem=7|3]    ImageNet form, D = 18, 34, 50, 101, 152; also wide_resnet50_2,
    wide_resnet101_2, resnext50_32x4d, resnext101_32x8d, resnext101_64x4d
vggD[_bn][:classes=C][,size=S][,channels=N][,hidden=H]    D = 11, 13, 16, 19, or vgg:LAYERS, e.g. vgg:64-M-128-M,bn=true
vit:patch=P,width=W,layers=L,heads=H,size=S[,classes=C][,channels=N][,mlp=N][,qkv_bias=false][,layer_scale=true]
    [,class_token=false][,reg_tokens=N][,no_embed_class=true][,pool=token|avg|norm-avg]
gpt2:layers=L,heads=H,width=W,context=T,vocab=V[,inner=N][,act=gelu_new][,eps=1e-05][,tied=false]
llama:layers=L,heads=H[,kv_heads=K],width=W,inner=N,context=T,vocab=V[,theta=10000][,eps=1e-06][,tied=true]
llama2c:layers=L,heads=H[,kv_heads=K],width=W,inner=N,context=T,vocab=V[,tied=true]    names and rotary pairs of llama2.c
bert|roberta|distilbert:layers=L,heads=H,width=W,inner=N,context=T,vocab=V,classes=C[,act=gelu][,pad=P]`

// Bounds on what a specification may ask for, beyond any network that is measured; they keep a slip of
// the keyboard from taking all memory.
const (
	maxWidth  = 1 << 24
	maxLayers = 1 << 12
	maxSize   = 1 << 36
)

// Parse makes the network of a specification: NAME or NAME:OPTION,OPTION…, see [Grammar]. Its
// parameters have no values yet; see [Initialise]. It fails on anything else, and says what is known.
func Parse(spec string) (*model.Network, error) {
	name, rest, colon := strings.Cut(spec, ":")
	var n *model.Network
	err := errors.New("an option is missing after the colon")
	if !colon || rest != "" {
		o := &options{}
		if colon {
			o.args = strings.Split(rest, ",")
		}
		if n, err = parse(name, o); err == nil {
			err = checkSize(n)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w; known architectures:\n  %s", spec, err, strings.ReplaceAll(Grammar, "\n", "\n  "))
	}
	return n, nil
}

// parse makes the network of a name and its options, which it takes all.
func parse(name string, o *options) (*model.Network, error) {
	switch {
	case name == "mlp":
		return parseMLP(o)
	case name == "lenet5":
		return parseLeNet(o)
	case name == "smallcnn":
		return parseSmallCNN(o)
	case name == "gpt2":
		return parseGPT(o)
	case name == transformersNames.family:
		return parseLlama(transformersNames, o)
	case name == metaNames.family:
		return parseLlama(metaNames, o)
	case encoders[name] != nil:
		return parseEncoder(encoders[name], o)
	case strings.HasPrefix(name, "resnet") && (!isResNetKind(name) || o.choice("form", "imagenet", "cifar") == "cifar"):
		return parseResNet(name, o)
	case isResNetKind(name):
		return parseImageNetResNet(name, o)
	case strings.HasPrefix(name, "vgg"):
		return parseVGG(name, o)
	case name == "vit":
		return parseViT(o)
	}
	return nil, errors.New("unknown architecture")
}

// checkSize refuses a network that no memory holds.
func checkSize(n *model.Network) error {
	total := 0.0
	for _, p := range n.Params {
		size, err := tensor.CheckedCount(p.Shape)
		if total += float64(size); err != nil || total > maxSize {
			return errors.New("more parameters than memory can hold")
		}
	}
	return nil
}

// name is the canonical specification: what differs from the defaults.
func name(arch string, opts ...string) string {
	opts = slices.DeleteFunc(opts, func(s string) bool { return s == "" })
	if len(opts) == 0 {
		return arch
	}
	return arch + ":" + strings.Join(opts, ",")
}

// number is a real number in a specification.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// unless is KEY=VALUE, "" where the value is the default.
func unless[T comparable](def T, key string, v T) string {
	if v == def {
		return ""
	}
	return fmt.Sprintf("%s=%v", key, v)
}

// tensors collects a network's tensors, layer by layer in the order of named_parameters().
type tensors struct{ params, buffers []model.Param }

func (t *tensors) add(name string, shape ...int) {
	t.params = append(t.params, model.Param{Name: name, Shape: shape})
}

// layer adds a weight and, where wanted, a bias of the given size.
func (t *tensors) layer(prefix string, bias int, weight ...int) {
	t.add(prefix+".weight", weight...)
	if bias > 0 {
		t.add(prefix+".bias", bias)
	}
}

func (t *tensors) conv(prefix string, in, out, kernel int, bias bool) {
	b := 0
	if bias {
		b = out
	}
	t.layer(prefix, b, out, in, kernel, kernel)
}

func (t *tensors) linear(prefix string, in, out int) { t.layer(prefix, out, out, in) }

func (t *tensors) batchNorm(prefix string, c int) {
	t.layer(prefix, c, c)
	t.buffers = append(t.buffers,
		model.Param{Name: prefix + ".running_mean", Shape: []int{c}},
		model.Param{Name: prefix + ".running_var", Shape: []int{c}})
}
