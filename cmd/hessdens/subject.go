package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hessdens/internal/dataset"
	"hessdens/internal/example"
	"hessdens/internal/hvp"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/onnx"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

// subjectOptions are the flags that say what is measured: the same for every command that
// measures.
type subjectOptions struct {
	model, weights             string
	data, dataFormat, split    string
	examples, sample           int
	dataSeed                   uint64
	mean, std                  string
	label, input               string
	resize, crop               int
	context, stride            int
	vocab                      string
	loss                       string
	smoothing                  float64
	classWeights               string
	ignoreIndex                int64
	weightDecay                float64
	batchNorm, batchSize       string
	params                     []string
	operator                   string
	precision                  string
	threads                    int
	givenExamples, givenSample bool
	part                       int // of the data: 0, but where a run is repeated
}

func (o *subjectOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.model, "model", "", "`FILE`.onnx; a directory with config.json and model.safetensors; or an architecture: mlp:784-20-10[,tanh], lenet5, resnet20, resnet18, vgg16, vit:…, gpt2:… (a wrong one lists all); left out: recognised from --weights")
	f.StringVar(&o.weights, "weights", "", "`FILE` with the parameters: .safetensors, .npz, PyTorch's .pt, .pth, .bin (FILE#KEY picks inside a training checkpoint), or llama2.c's .bin; left out: those of --model; without --model too: the embedded example")
	f.StringVar(&o.batchNorm, "batchnorm", "", "`HOW` batch normalisation is evaluated: eval, by running statistics, or batch, by those of each batch of --batch-size (default eval, or what an ONNX file says)")
	f.StringArrayVar(&o.params, "params", nil, "only parameters whose names match `GLOB` vary (repeatable)")
	heading(f, "Network")
	f.StringVar(&o.data, "data", "", "`FILE` or directory: IDX (MNIST), CIFAR binary, .npz, .safetensors, X.npy,Y.npy, .csv, Parquet, a folder of images for each class, text, or tokens (.bin)")
	f.StringVar(&o.dataFormat, "data-format", "", "`NAME` of the format ("+strings.Join(dataset.Formats, ", ")+"); left out: recognised")
	f.StringVar(&o.split, "split", "", "`PART` of the data, where they have parts: train, or test (also called val); left out: train, or the part that a file is of")
	f.IntVar(&o.examples, "examples", 0, "use the first `N` examples (default all)")
	f.IntVar(&o.sample, "sample", 0, "use `N` examples drawn at random")
	f.Uint64Var(&o.dataSeed, "data-seed", 0, "seed `S` of --sample")
	f.StringVar(&o.mean, "mean", "", "subtract `R,G,B` (or one number) from inputs, after bytes are scaled to 0..1")
	f.StringVar(&o.std, "std", "", "then divide by `R,G,B` (or one number)")
	f.StringVar(&o.label, "label", "", "`NAME` of the column with the labels, or A,B,C (.csv, Parquet); left out: label, target, class, y, …")
	f.StringVar(&o.input, "input", "", "`NAME` of the column with the inputs, or A,B,C (.csv, Parquet); left out: image, text, …, or all but the labels")
	f.IntVar(&o.resize, "resize", 0, "resize the shorter side of images in files to `N` pixels (default what the network takes)")
	f.IntVar(&o.crop, "crop", 0, "then take the middle `N` x N pixels (default what the network takes)")
	f.IntVar(&o.context, "context", 0, "cut text into windows of `T` tokens (default the context of the network)")
	f.IntVar(&o.stride, "stride", 0, "begin a window every `S` tokens (default --context: they do not overlap)")
	f.StringVar(&o.vocab, "vocab", "", "how text becomes tokens: bytes, chars (the sorted characters of the text), or a `FILE` (tokenizer.json, or the characters); left out: found beside the model, or by the size of the network's vocabulary")
	heading(f, "Data")
	f.StringVar(&o.loss, "loss", "", "`KIND` of loss: cross-entropy, mse, bce, or model: the one that an ONNX file computes itself (default that where it is there, else cross-entropy for integer targets, mse for others)")
	f.Float64Var(&o.smoothing, "label-smoothing", 0, "label smoothing `E` of cross-entropy")
	f.StringVar(&o.classWeights, "class-weights", "", "weights `W,W,W` of the classes in cross-entropy; the loss is divided by their sum over all targets")
	f.Int64Var(&o.ignoreIndex, "ignore-index", -100, "cross-entropy leaves targets of this value `I` out")
	f.Float64Var(&o.weightDecay, "weight-decay", 0, "add `WD`/2 ‖θ‖² to the risk")
	heading(f, "Loss")
	f.StringVar(&o.operator, "operator", "hessian", "the `OPERATOR` measured: hessian")
	f.StringVar(&o.precision, "precision", hvp.Float32, "`TYPE` of the numbers in products: float32 or float64")
	f.StringVar(&o.batchSize, "batch-size", "", "examples computed at once (`B` or all); part of the risk with --batchnorm batch only (default chosen)")
	f.IntVar(&o.threads, "threads", 0, "use `T` threads (default all processors); never changes a result")
	heading(f, "Computation")
}

// check validates what needs no file.
func (o *subjectOptions) check(cmd *cobra.Command) error {
	o.givenExamples, o.givenSample = cmd.Flags().Changed("examples"), cmd.Flags().Changed("sample")
	switch {
	case o.givenExamples && o.examples < 1:
		return usagef("--examples %d: at least one example is needed", o.examples)
	case o.givenSample && o.sample < 1:
		return usagef("--sample %d: at least one example is needed", o.sample)
	case o.threads < 0:
		return usagef("--threads %d: a positive number, or 0 for all processors", o.threads)
	case o.operator != "hessian":
		return usagef("--operator %s: this version measures hessian only", o.operator)
	case o.batchNorm != "" && o.batchNorm != "eval" && o.batchNorm != "batch":
		return usagef("--batchnorm %s: eval or batch", o.batchNorm)
	case o.precision != hvp.Float32 && o.precision != hvp.Float64:
		return usagef("--precision %s: float32 or float64", o.precision)
	case !slices.Contains([]string{"", model.CrossEntropy, model.MSE, model.BCE, model.Own}, o.loss):
		return usagef("--loss %s: cross-entropy, mse, bce or model", o.loss)
	case cmd.Flags().Changed("resize") && o.resize < 1:
		return usagef("--resize %d: a positive number of pixels", o.resize)
	case cmd.Flags().Changed("crop") && o.crop < 1:
		return usagef("--crop %d: a positive number of pixels", o.crop)
	case cmd.Flags().Changed("context") && o.context < 1:
		return usagef("--context %d: a positive number of tokens", o.context)
	case cmd.Flags().Changed("stride") && o.stride < 1:
		return usagef("--stride %d: a positive number of tokens", o.stride)
	case !(o.weightDecay >= 0 && o.weightDecay <= math.MaxFloat64):
		return usagef("--weight-decay %v: a finite number of at least 0", o.weightDecay)
	case o.batchNorm == "batch" && o.batchSize == "":
		return usagef("--batchnorm batch: the statistics are those of each batch (give --batch-size B, or --batch-size all for one batch)")
	case o.split != "" && o.split != "train" && o.split != "test":
		return usagef("--split %s: train or test (test is also what files and folders hold that are called val)", o.split)
	}
	for _, p := range o.params {
		if _, err := path.Match(p, ""); err != nil {
			return usagef("--params %s: %w (for example --params '3.*')", p, err)
		}
	}
	if o.batchSize != "" && o.batchSize != "all" {
		if b, err := strconv.Atoi(o.batchSize); err != nil || b < 1 {
			return usagef("--batch-size %s: a positive number or all", o.batchSize)
		}
	}
	return nil
}

// numbers parses a list of the --mean kind; each is what one of its numbers is for.
func numbers(flag, s, each string) ([]float64, error) {
	if s == "" {
		return nil, nil
	}
	var out []float64
	for p := range strings.SplitSeq(s, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil {
			return nil, usagef("%s %s: %q is no number (give numbers with commas between, one for each %s)", flag, s, p, each)
		}
		out = append(out, v)
	}
	return out, nil
}

// subject is what is measured, opened.
type subject struct {
	o        *subjectOptions
	net      *model.Network
	set      *dataset.Set
	embedded bool
	name     string // of the data
	dataHash string // once it was asked for
	warnings []warning
	alone    bool // batches one after the other: memory is short
}

type warning struct{ code, message string }

func (s *subject) warn(a *app, code, format string, args ...any) {
	w := warning{code, fmt.Sprintf(format, args...)}
	s.warnings = append(s.warnings, w)
	a.warn("%s", w.message)
}

// open reads the network and the data set.
func (o *subjectOptions) open(a *app) (*subject, error) {
	if (o.model != "" || o.weights != "") && o.data == "" {
		return nil, usagef("--data: a network needs the data that its loss is over (only the embedded example has its own)")
	}
	return o.openAny(a)
}

// openAny is open for commands that can do without data.
func (o *subjectOptions) openAny(a *app) (*subject, error) {
	s := &subject{o: o}
	s.embedded = o.model == "" && o.weights == ""
	var err error
	if s.net, err = o.network(); err != nil {
		return nil, err
	}
	if s.net.Size() == 0 {
		return nil, inputf("%s: the network has no parameters, and so no Hessian (give one that has)", cmp.Or(o.model, o.weights))
	}
	for _, n := range s.net.Notes {
		s.warn(a, "assumption", "%s", n)
	}
	if o.data != "" || s.embedded {
		if err := s.openData(a); err != nil {
			return nil, err
		}
	}
	if o.batchNorm == "batch" && !s.net.BatchNorm {
		s.warn(a, "no_batchnorm", "--batchnorm batch: %s has no batch normalisation", s.net.Name)
	}
	return s, nil
}

func (s *subject) close() {
	if s.set != nil {
		s.set.Close()
	}
}

// network makes the network with its weights, where there are any.
func (o *subjectOptions) network() (*model.Network, error) {
	if o.model == "" && o.weights == "" {
		net, err := zoo.Parse(example.Architecture)
		if err != nil {
			return nil, err
		}
		b, err := fs.ReadFile(example.FS(), example.Weights)
		if err != nil {
			return nil, err
		}
		ck, err := checkpoint.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err
		}
		return net, setWeights(net, "the embedded example", ck)
	}
	if isONNX(o.weights) {
		return nil, usagef("--weights %s: is an ONNX file (give it as --model: it holds the network and its weights)", o.weights)
	}
	if o.model == "" && isDirectory(o.weights) { // its config.json says of what
		o.model, o.weights = o.weights, ""
	}
	var net *model.Network
	var err error
	switch info, missing := os.Stat(o.model); {
	case isONNX(o.model):
		net, err = o.onnx()
	case isDirectory(o.model):
		return o.directory()
	case missing == nil && info.Mode().IsRegular():
		if filepath.Base(o.model) == "config.json" {
			return nil, usagef("--model %s: is the settings of a network alone (give the directory that it is in, with the weights)", o.model)
		}
		if net, err = modelFile(o.model); net == nil && err == nil {
			err = usagef("--model %s: is a file (give the architecture as --model, or leave it out, and the file as --weights)", o.model)
		}
	case strings.ContainsRune(o.model, filepath.Separator) && errors.Is(missing, fs.ErrNotExist):
		err = inputf("--model %s: no such file or directory", o.model)
	case o.model != "":
		if net, err = zoo.Parse(o.model); err != nil {
			err = usagef("--model %w", err)
		}
	}
	if err != nil || o.weights == "" {
		return net, err
	}
	ck, f, err := openCheckpoint(o.weights)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if net == nil {
		if net, err = recognise(ck); err != nil {
			return nil, inputf("%s: %w", o.weights, err)
		}
	}
	return net, setWeights(net, o.weights, ck)
}

// isONNX tells an ONNX file by its name: the content says little of what it is.
func isONNX(name string) bool { return strings.EqualFold(filepath.Ext(name), ".onnx") }

// onnx makes the network of the ONNX file that --model names, with the weights that it holds. A
// file whose batch normalisation trains decides --batchnorm where that is left out.
func (o *subjectOptions) onnx() (*model.Network, error) {
	f, _, err := openFile(o.model)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, inputf("%s: %w", o.model, cause(err))
	}
	file, err := onnx.Open(dirFS(filepath.Dir(o.model)), filepath.Base(o.model))
	if err != nil {
		return nil, inputf("%s: %w", o.model, err)
	}
	net, err := file.NetworkFor(onnx.Options{Loss: o.loss, Params: o.params})
	if err != nil {
		return nil, inputf("%s: %w", o.model, err)
	}
	switch {
	case file.Training && o.batchNorm == "":
		o.batchNorm = "batch"
		net.Notes = append(net.Notes, "batch normalisation has training_mode = 1 in the file: measured with the statistics of each batch (--batchnorm eval overrides)")
		if o.batchSize == "" {
			return nil, usagef("--batch-size: the batch normalisation of %s has training_mode = 1, so its statistics are those of each batch (give --batch-size B or all, or --batchnorm eval)", o.model)
		}
	case file.Training && o.batchNorm == "eval":
		net.Notes = append(net.Notes, "batch normalisation has training_mode = 1 in the file, but --batchnorm eval wins")
	}
	return net, nil
}

// openCheckpoint opens FILE, or FILE#KEY: what is under a key of a PyTorch training checkpoint; or the weights in a directory.
func openCheckpoint(spec string) (*checkpoint.File, io.Closer, error) {
	if isDirectory(spec) {
		ck, _, f, err := openDirectory(spec)
		return ck, f, err
	}
	name, key := spec, ""
	if _, err := os.Stat(spec); err != nil {
		if i := strings.LastIndexByte(spec, '#'); i > 0 {
			name, key = spec[:i], spec[i+1:]
		}
	}
	f, size, err := openFile(name)
	if err != nil {
		return nil, nil, err
	}
	ck, err := checkpoint.OpenAt(f, size, key)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, nil, inputf("%s: %w", spec, err)
	}
	return ck, f, nil
}

// setWeights gives a network the tensors of a checkpoint.
func setWeights(net *model.Network, name string, ck *checkpoint.File) error {
	var names []string
	for _, e := range ck.Entries {
		names = append(names, e.Name)
	}
	if err := net.SetWeights(names, ck.Tensor); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// source is the file or directory that a flag names.
func source(flag, name string) (dataset.Source, error) {
	if name == "-" {
		return dataset.Source{}, usagef("%s -: is read at any place, which standard input is not (give a file)", flag)
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return dataset.Source{}, inputf("%s %s: %w", flag, name, err)
	}
	dir, base := filepath.Split(abs)
	if base == "" {
		base = "."
	}
	return dataset.Source{FS: dirFS(dir), Name: base, Path: name}, nil
}

// vocabulary says how text becomes tokens: as --vocab does, or by the tokenizer.json in the directory of the model.
func (o *subjectOptions) vocabulary(opts *dataset.Options) error {
	name := o.vocab
	switch name {
	case "bytes", "chars":
		opts.Vocab = name
		return nil
	case "":
		name = filepath.Join(o.model, "tokenizer.json")
		if info, err := os.Stat(name); o.model == "" || err != nil || !info.Mode().IsRegular() {
			return nil
		}
	}
	src, err := source("--vocab", name)
	opts.VocabFile = &src
	return err
}

// imageForm is the number of channels and the height and width of the images that a network with inputs
// of a shape takes. A flat input is taken for a square image of one channel or three where it can be one.
func imageForm(input []int) (channels int, size []int) {
	switch {
	case len(input) == 3:
		return input[0], input[1:]
	case len(input) == 1:
		for _, channels := range []int{1, 3} {
			if side := int(math.Sqrt(float64(input[0] / channels))); channels*side*side == input[0] {
				return channels, []int{side, side}
			}
		}
	}
	return 0, nil
}

// openData opens the data set that the flags name, or the embedded one.
func (s *subject) openData(a *app) error {
	o := s.o
	opts := dataset.Options{Format: o.dataFormat, Split: o.split, Examples: o.examples, Sample: o.sample, SampleSeed: o.dataSeed, Part: o.part,
		Ignore: &o.ignoreIndex, Label: o.label, Input: o.input, Classes: s.net.Labels, Quantities: o.loss == model.MSE, Resize: o.resize, Crop: o.crop, Context: o.context, Stride: o.stride, VocabSize: s.net.Vocab, Sequence: s.net.Sequence,
		KeepBytes: int64(picturesShare * float64(availableMemory())), Threads: o.threads}
	if s.net.Tokens && opts.Context == 0 {
		opts.Context = s.net.Input[0]
	}
	if !s.net.Tokens {
		opts.Channels, opts.ImageSize = imageForm(s.net.Input)
		opts.Flat = len(s.net.Input) == 1
	}
	var err error
	if err := o.vocabulary(&opts); err != nil {
		return err
	}
	if opts.Mean, err = numbers("--mean", o.mean, "channel"); err != nil {
		return err
	}
	if opts.Std, err = numbers("--std", o.std, "channel"); err != nil {
		return err
	}
	var sources []dataset.Source
	switch {
	case o.data == "" && s.embedded:
		sources = []dataset.Source{{FS: example.FS(), Name: example.Images, Path: "embedded " + example.Images}}
		s.name = "fashion-mnist (embedded, 1,000 images)"
	case o.data == "":
		return usagef("--data: a data set is needed")
	default:
		parts := []string{o.data}
		if _, err := os.Stat(o.data); err != nil && strings.Contains(o.data, ",") {
			parts = strings.Split(o.data, ",")
		}
		if len(parts) > 2 {
			return usagef("--data %s: one file or directory, or X.npy,Y.npy", o.data)
		}
		for _, p := range parts {
			src, err := source("--data", p)
			if err != nil {
				return err
			}
			sources = append(sources, src)
		}
	}
	if s.set, err = dataset.Open(sources, opts); err != nil {
		return err
	}
	if err := o.applies(s.set.Format); err != nil {
		return err
	}
	if s.name == "" {
		s.name = s.set.Name
	}
	if t := float64(s.set.X.Shape()[0]); s.net.Pairs && pairBytes*t*t > float64(availableMemory()) {
		return usagef("--context: a number for each pair of %.0f tokens takes more memory than there is (give fewer, --context T)", t)
	}
	for _, n := range s.set.Notes {
		s.warn(a, "assumption", "%s", n)
	}
	return nil
}

// applies refuses flags that say nothing of data of a format: they would be taken for heeded.
func (o *subjectOptions) applies(format string) error {
	tables := []string{dataset.CSV, dataset.Parquet}
	pictures := []string{dataset.ImageFolder, dataset.Parquet}
	sequences := []string{dataset.Text, dataset.Tokens, dataset.CSV, dataset.Parquet}
	for _, f := range []struct {
		name  string
		given bool
		to    []string
		what  string
	}{
		{"label", o.label != "", tables, "tables (.csv, Parquet)"},
		{"input", o.input != "", tables, "tables (.csv, Parquet)"},
		{"resize", o.resize != 0, pictures, "images in files"},
		{"crop", o.crop != 0, pictures, "images in files"},
		{"context", o.context != 0, sequences, "text and tokens"},
		{"stride", o.stride != 0, sequences, "text and tokens"},
		{"vocab", o.vocab != "", sequences, "text and tokens"},
	} {
		if f.given && !slices.Contains(f.to, format) {
			return usagef("--%s: is for %s, and the data are %s (leave it out)", f.name, f.what, format)
		}
	}
	return nil
}

// operator makes the Hessian over the data.
func (s *subject) operator(a *app, keep int64) (*hvp.Operator, error) {
	return s.operatorOn(a, s.set.N, keep)
}

// operatorOn makes the Hessian over the first examples.
func (s *subject) operatorOn(a *app, examples int, keep int64) (*hvp.Operator, error) {
	opt, err := s.hvpOptions(a, examples, keep)
	if err != nil {
		return nil, err
	}
	op, err := hvp.New(s.net, hvp.Data{N: examples, X: s.set.X, Y: s.set.Y}, opt)
	var option *hvp.OptionError
	if errors.As(err, &option) {
		return nil, code(exitUsage, err)
	}
	var own *hvp.OwnLossError
	if errors.As(err, &own) {
		return nil, inputf("%w", err)
	}
	if err != nil {
		return nil, inputf("%s: %w", s.dataName(), err)
	}
	return op, nil
}

// hvpOptions are the options of a Hessian over so many examples.
func (s *subject) hvpOptions(a *app, examples int, keep int64) (hvp.Options, error) {
	o := s.o
	weights, err := numbers("--class-weights", o.classWeights, "class")
	if err != nil {
		return hvp.Options{}, err
	}
	opt := hvp.Options{Loss: o.loss, Smoothing: o.smoothing, ClassWeights: weights, Ignore: &o.ignoreIndex, BatchStats: o.batchNorm == "batch", WeightDecay: o.weightDecay, Params: o.params, Precision: o.precision, Threads: o.threads, KeepBytes: keep, MaxBytes: memoryLeft().most(), Alone: s.alone, Progress: a.line.pass}
	if o.batchSize == "all" {
		opt.BatchSize = examples
	} else if o.batchSize != "" {
		opt.BatchSize, _ = strconv.Atoi(o.batchSize)
	}
	return opt, nil
}

// dataSHA256 is the hash of the data, which takes a pass over them.
func (s *subject) dataSHA256() (string, error) {
	if s.dataHash == "" {
		hash, err := s.set.SHA256()
		if err != nil {
			return "", err
		}
		s.dataHash = hash
	}
	return s.dataHash, nil
}

// dataName is what messages call the data.
func (s *subject) dataName() string {
	if s.o.data == "" {
		return "the embedded data"
	}
	return s.o.data
}

// tokens is the number of tokens of a language model's data, 0 for others.
func (s *subject) tokens() int {
	if !s.net.Tokens || s.net.Sequence {
		return 0
	}
	return s.set.N * tensor.Count(s.set.Y.Shape())
}

// weightsName is what messages call the weights.
func (s *subject) weightsName() string {
	switch {
	case s.o.weights != "":
		return s.o.weights
	case s.o.model != "":
		return s.o.model
	}
	return "the embedded example"
}
