// Package zoo holds the built-in architectures, with the parameter names that PyTorch's
// state_dict gives them: made from a --model string by [Parse], or from the names and shapes of
// a checkpoint by [Recognise].
package zoo

import (
	"errors"
	"fmt"
	"maps"
	"math"
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
		n, err = parse(name, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w; known architectures:\n  %s", spec, err, strings.ReplaceAll(Grammar, "\n", "\n  "))
	}
	return n, nil
}

func parse(name string, o *options) (*model.Network, error) {
	var n *model.Network
	switch {
	case name == "mlp":
		c := mlpConfig{sizes: o.sizes(), activation: o.word("relu", slices.Sorted(maps.Keys(activations))...), bias: o.yes("bias", true)}
		if err := o.done(); err != nil {
			return nil, err
		}
		n = mlp(c)
	case name == "lenet5":
		classes := o.number("classes", 10, maxWidth)
		if err := o.done(); err != nil {
			return nil, err
		}
		n = lenet5(classes)
	case name == "smallcnn":
		bn, classes := o.yes("bn", true), o.number("classes", 10, maxWidth)
		if err := o.done(); err != nil {
			return nil, err
		}
		n = smallCNN(bn, classes)
	case name == "gpt2":
		var err error
		if n, err = parseGPT(o); err != nil {
			return nil, err
		}
	case name == "llama", name == "llama2c":
		names := transformersNames
		if name == metaNames.family {
			names = metaNames
		}
		var err error
		if n, err = parseLlama(names, o); err != nil {
			return nil, err
		}
	case encoders[name] != nil:
		var err error
		if n, err = parseEncoder(encoders[name], o); err != nil {
			return nil, err
		}
	case strings.HasPrefix(name, "resnet") && (!isResNetKind(name) || o.choice("form", "imagenet", "cifar") == "cifar"):
		depth, err := strconv.Atoi(name[len("resnet"):])
		if err != nil || depth < 8 || depth > maxLayers || (depth-2)%6 != 0 {
			return nil, errors.New("the depth of a CIFAR ResNet is 6n+2: resnet20, resnet32, resnet44, resnet56, resnet110")
		}
		o.choice("form", "cifar")
		shortcut, classes := o.choice("shortcut", "A", "B"), o.number("classes", 10, maxWidth)
		if err := o.done(); err != nil {
			return nil, err
		}
		n = resnet(depth, shortcut, classes)
	case isResNetKind(name):
		stem := 7
		if o.choice("stem", "7", "3") == "3" {
			stem = 3
		}
		channels, classes, size := o.number("channels", 3, maxWidth), o.number("classes", 1000, maxWidth), o.size()
		if err := o.done(); err != nil {
			return nil, err
		}
		kind := slices.IndexFunc(resNetKinds, func(k resNetKind) bool { return k.name == name })
		n = resNetKinds[kind].network(stem, channels, classes, size)
	case strings.HasPrefix(name, "vgg"):
		var err error
		if n, err = parseVGG(name, o); err != nil {
			return nil, err
		}
	case name == "vit":
		var err error
		if n, err = parseViT(o); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("unknown architecture")
	}
	if err := checkSize(n); err != nil {
		return nil, err
	}
	return n, nil
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

// options are taken one by one; done finds what nobody took. The first error stays.
type options struct {
	args []string
	err  error
}

func (o *options) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// value takes KEY=VALUE out.
func (o *options) value(key string) (string, bool) {
	i := slices.IndexFunc(o.args, func(a string) bool { return strings.HasPrefix(a, key+"=") })
	if i < 0 {
		return "", false
	}
	v := o.args[i][len(key)+1:]
	o.args = slices.Delete(o.args, i, i+1)
	return v, true
}

// number is a positive integer, def when it is not given; a def of 0 demands it.
func (o *options) number(key string, def, most int) int {
	s, ok := o.value(key)
	switch v, err := strconv.Atoi(s); {
	case !ok && def == 0:
		o.fail("%s=… is missing", key)
	case !ok:
		return def
	case err != nil || v < 1 || v > most:
		o.fail("%s=%s is not a number from 1 to %d", key, s, most)
	default:
		return v
	}
	return 1
}

// real is a number above 0.
func (o *options) real(key string, def float64) float64 {
	s, ok := o.value(key)
	if !ok {
		return def
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0 && v <= math.MaxFloat64) {
		o.fail("%s=%s is not a number above 0", key, s)
		return def
	}
	return v
}

// activation is the name of one of transformerActivations.
func (o *options) activation(def string) string {
	s, ok := o.value("act")
	switch {
	case !ok:
		return def
	case activationNames[s] != "":
		return activationNames[s]
	case transformerActivations[s] == nil:
		o.fail("act=%s is none of %s", s, strings.Join(slices.Sorted(maps.Keys(transformerActivations)), ", "))
		return def
	}
	return s
}

// rope takes theta=… and rope=linear:FACTOR or rope=llama3:FACTOR:LOW:HIGH:CONTEXT.
func (o *options) rope() rope {
	r := rope{theta: o.real("theta", ropeTheta)}
	s, ok := o.value("rope")
	if !ok {
		return r
	}
	kind, rest, _ := strings.Cut(s, ":")
	var v []float64
	for f := range strings.SplitSeq(rest, ":") {
		x, err := strconv.ParseFloat(f, 64)
		if err != nil || !(x > 0 && x <= math.MaxFloat64) {
			o.fail("rope=%s: %q is not a number above 0", s, f)
			return r
		}
		v = append(v, x)
	}
	switch {
	case kind == "linear" && len(v) == 1:
		r.scaling, r.factor = kind, v[0]
	case kind == "llama3" && len(v) == 4 && v[1] < v[2]:
		r.scaling, r.factor, r.low, r.high, r.context = kind, v[0], v[1], v[2], v[3]
	default:
		o.fail("rope=%s is neither linear:FACTOR nor llama3:FACTOR:LOW:HIGH:CONTEXT", s)
	}
	return r
}

// pad is the token that is padding; −1 for pad=none, where that may be.
func (o *options) pad(def int, optional bool) int {
	s, ok := o.value("pad")
	if !ok {
		return def
	}
	if s == "none" && optional {
		return -1
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 0 || v >= maxWidth {
		o.fail("pad=%s is no token", s)
		return def
	}
	return v
}

// missing says whether there is no KEY=VALUE.
func (o *options) missing(key string) bool {
	return !slices.ContainsFunc(o.args, func(a string) bool { return strings.HasPrefix(a, key+"=") })
}

// size is the height and width of images, 0 when it is not given.
func (o *options) size() int {
	if o.missing("size") {
		return 0
	}
	return o.number("size", 0, maxWidth)
}

func (o *options) yes(key string, def bool) bool {
	s, ok := o.value(key)
	if ok && s != "true" && s != "false" {
		o.fail("%s=%s is neither true nor false", key, s)
	}
	if !ok {
		return def
	}
	return s == "true"
}

// choice is one of some values, in either case; the first is the default.
func (o *options) choice(key string, values ...string) string {
	s, ok := o.value(key)
	if !ok {
		return values[0]
	}
	for _, v := range values {
		if strings.EqualFold(s, v) {
			return v
		}
	}
	o.fail("%s=%s is none of %s", key, s, strings.Join(values, ", "))
	return ""
}

// word takes an option without a key.
func (o *options) word(def string, values ...string) string {
	for i, a := range o.args {
		if slices.Contains(values, a) {
			o.args = slices.Delete(o.args, i, i+1)
			return a
		}
	}
	return def
}

// sizes takes the first option: 784-20-10.
func (o *options) sizes() []int {
	if len(o.args) == 0 {
		o.fail("the sizes are missing, e.g. 784-20-10")
		return nil
	}
	var sizes []int
	for s := range strings.SplitSeq(o.args[0], "-") {
		v, err := strconv.Atoi(s)
		if err != nil || v < 1 || v > maxWidth {
			o.fail("%s is no list of sizes like 784-20-10", o.args[0])
			return nil
		}
		sizes = append(sizes, v)
	}
	if len(sizes) < 2 || len(sizes) > maxLayers {
		o.fail("%s: from two sizes to %d are taken, from inputs to outputs", o.args[0], maxLayers)
	}
	o.args = o.args[1:]
	return sizes
}

func (o *options) done() error {
	if len(o.args) > 0 {
		o.fail("unknown option %q", o.args[0])
	}
	return o.err
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
