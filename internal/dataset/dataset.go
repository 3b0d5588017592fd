// Package dataset reads a fixed sequence of examples, inputs and targets, from the files that
// people keep them in: IDX (MNIST), the binary version of CIFAR, arrays (.npz, .safetensors, pairs of
// .npy), tables (CSV, Parquet), folders of pictures, text, and files of tokens.
//
// The values stay in the files and are converted range by range; held in memory are only gzipped and
// deflated files, as they are decompressed, what is parsed (CSV, text, class labels), and, up to a bound,
// what was decoded of pictures and Parquet. Files are hostile until parsed: every length is held against
// the size of the file before memory is asked for.
package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"hessdens/internal/npy"
	"hessdens/internal/parquet"
	"hessdens/internal/tensor"
)

// Column is one side of a data set, inputs or targets, of N examples. Its methods may be called
// by several goroutines at once.
type Column interface {
	// Shape is that of one example, e.g. [3 32 32]; [] for a class label.
	Shape() []int
	// Integer says that the values are tokens or class labels, read by Ints; else they are
	// numbers, read by Floats.
	Integer() bool
	// Floats reads examples [lo, hi), row-major, as scaled and normalised; len(dst) is
	// (hi−lo)·count(Shape). It fails when the file does, with a *ChangedError when an example is not
	// what it was when it was read first, and panics on another length, another range, or an integer
	// column.
	Floats(dst []float64, lo, hi int) error
	// Ints reads examples [lo, hi) as Floats does, and panics on a column of numbers. No value
	// is negative, but for Options.Ignore among the targets.
	Ints(dst []int64, lo, hi int) error
}

// Set is an open data set.
type Set struct {
	Name    string // the base name of what was opened
	Format  string // IDX, CIFAR10, …
	Split   string // "train" or "test", "" where the files have no splits
	Files   []string
	N       int // examples in use
	Drawn   int // examples that those in use were drawn from at random; 0: they are the first
	Total   int // examples in the files
	X, Y    Column
	Classes int      // largest integer target + 1, 0 when targets are numbers
	Tokens  int      // largest integer input + 1, 0 when inputs are numbers
	Names   []string // of the classes 0, 1, …, where the files have them
	Notes   []string // what was taken for granted, for the user and the result

	open    []io.Closer
	vocab   vocabulary // nil when inputs are no text
	threads int        // that read examples at once
}

// Source is a file or directory of a data set.
type Source struct {
	FS   fs.FS
	Name string // in FS, valid by fs.ValidPath; files that belong to it are looked for beside it
	Path string // what messages and Set.Files call it; Name when empty
}

// Options say what to read of a data set.
type Options struct {
	Format     string    // one of Formats; "": recognised by name and content
	Split      string    // "train" or "test"; "": "train" where there are both
	Examples   int       // the first so many examples; 0: all
	Sample     int       // so many of those, at random, in the order of the files; 0: all
	SampleSeed uint64    // of the generator that draws them
	Part       int       // of disjoint parts of so many examples: the first, 0, is the one without parts
	Mean, Std  []float64 // (x − mean)/std after scaling bytes to 0..1; one value, or one a channel

	// Ignore is a label that is negative and yet allowed: one that the loss leaves out. nil: none is.
	Ignore *int64

	// Of tables: the names of the columns with the labels and the inputs; "": found by their usual names.
	Label, Input string
	Classes      []string // names of the network's classes 0, 1, …: names of classes in the data that are all among them are numbered so
	Quantities   bool     // integers in a column of labels are numbers all the same

	// Of image files: the shorter side is resized to Resize pixels and the middle Crop × Crop pixels are taken, as torchvision does; 0:
	// what ImageSize asks for.
	Resize, Crop int
	ImageSize    []int // height and width that the network takes, nil when it takes no images
	Flat         bool  // it takes rows of values: a table that fits ImageSize holds images if its values are those of pixels
	Channels     int   // that it takes: 1, grey, or 3, red, green and blue; 0: 3
	KeepBytes    int64 // of decoded pictures and columns that may be kept; others are decoded each time they are read
	Threads      int   // that decode; 0: all processors

	// Of text and token files: windows of Context tokens, Stride tokens apart (0: Context); Vocab is how text becomes tokens,
	// "bytes", "chars", or "" for VocabFile, or else what is usual for VocabSize, the number of tokens that the network knows.
	Context, Stride int
	Vocab           string
	VocabFile       *Source
	VocabSize       int
	Sequence        bool // the network has one output for each text, not for each token
}

// The formats.
const (
	IDX         = "idx"
	CIFAR10     = "cifar10"
	CIFAR100    = "cifar100"
	NPZ         = "npz"
	NPY         = "npy"
	Safetensors = "safetensors"
	CSV         = "csv"
	Parquet     = "parquet"
	ImageFolder = "imagefolder"
	Text        = "text"
	Tokens      = "tokens"
)

// Formats are the values of Options.Format.
var Formats = []string{IDX, CIFAR10, CIFAR100, NPZ, NPY, Safetensors, CSV, Parquet, ImageFolder, Text, Tokens}

// ErrFormat says that a file or directory is none of the formats.
var ErrFormat = errors.New("the format is not recognised")

// OptionError is a fault of an option, not of a file: a usage error.
type OptionError struct {
	Flag string // as the command line spells it
	Err  error
}

func (e *OptionError) Error() string { return e.Flag + ": " + e.Err.Error() }

// Unwrap is the fault without the flag.
func (e *OptionError) Unwrap() error { return e.Err }

func badOption(flag, format string, args ...any) error {
	return &OptionError{flag, fmt.Errorf(format, args...)}
}

// Open opens a data set: one file or directory, or two files that hold inputs and targets.
//
// Floating-point inputs are as they are; uint8 inputs are scaled to byte/255, computed in
// float64, and three axes [N H W] of them are images [1 H W]; inputs of other integer types are
// tokens; bool is 0 and 1. Targets of any integer type are labels, and labels [N 1] of numeric
// inputs are [N].
//
// Every error begins with the file concerned, as Source.Path has it, or with the flag (an
// *OptionError). Open fails on files that are missing (fs.ErrNotExist), malformed, truncated or
// not recognised, on an empty set, inputs and targets of different lengths, negative tokens or
// labels, and options that do not fit the data. It panics on a Source without FS or a valid
// Name. Close the set after use.
func Open(sources []Source, opts Options) (*Set, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	o := &opener{opts: opts}
	p, err := o.open(sources)
	if err == nil {
		var s *Set
		if s, err = assemble(p, opts); err == nil {
			s.Name, s.Files, s.open = setName(sources), o.files, o.closers
			return s, nil
		}
	}
	for _, c := range o.closers {
		c.Close()
	}
	return nil, err
}

// Close closes the files. The set is of no use afterwards.
func (s *Set) Close() error {
	var err error
	for _, c := range s.open {
		err = errors.Join(err, c.Close())
	}
	s.open = nil
	return err
}

func setName(sources []Source) string {
	var names []string
	for _, s := range sources {
		names = append(names, path.Base(s.path()))
	}
	return strings.Join(names, ",")
}

// check holds the options against themselves.
func (o Options) check() error {
	if o.Format != "" && !slices.Contains(Formats, o.Format) {
		return badOption("--data-format", "unknown format %q (give one of %s)", o.Format, strings.Join(Formats, ", "))
	}
	if o.Split != "" && o.Split != "train" && o.Split != "test" {
		return badOption("--split", "unknown split %q (give train or test)", o.Split)
	}
	if o.Examples < 0 {
		return badOption("--examples", "%d is negative (give a number from 1 on)", o.Examples)
	}
	if o.Sample < 0 {
		return badOption("--sample", "%d is negative (give a number from 1 on)", o.Sample)
	}
	for _, v := range []struct {
		flag   string
		pixels int
	}{{"--resize", o.Resize}, {"--crop", o.Crop}} {
		if v.pixels < 0 || v.pixels > maxSide {
			return badOption(v.flag, "%d pixels (give a number from 1 to %d)", v.pixels, maxSide)
		}
	}
	for _, v := range o.Mean {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return badOption("--mean", "%v is not a finite number", v)
		}
	}
	for _, v := range o.Std {
		if !(v > 0) || math.IsInf(v, 0) {
			return badOption("--std", "%v is not a positive finite number", v)
		}
	}
	return nil
}

// pair is what a format's reader finds: the two sides of a data set, in parts that follow each
// other.
type pair struct {
	format, split string
	x, y          series
	names         []string // for Set.Names
	notes         []string // for Set.Notes
	vocab         vocabulary
}

// assemble turns a format's pair into a set.
func assemble(p pair, opts Options) (*Set, error) {
	s := &Set{Format: p.format, Split: p.split, Total: p.x.rows(), Names: p.names, Notes: p.notes, vocab: p.vocab}
	if p.y.rows() != s.Total {
		return nil, fmt.Errorf("%s: %d targets for the %d inputs of %s (give files that belong together)", p.y.name, p.y.rows(), s.Total, p.x.name)
	}
	if s.Total == 0 {
		return nil, errEmpty(p.x.name)
	}
	for _, side := range []*series{&p.x, &p.y} {
		if tensor.Count(side.shape) == 0 {
			return nil, fmt.Errorf("%s: examples of shape %v hold no values", side.name, side.shape)
		}
	}
	index, err := s.choose(p.x.name, opts)
	if err != nil {
		return nil, err
	}
	x := &column{series: p.x, index: index, n: s.N, sums: make([]atomic.Uint64, s.N)}
	if _, ok := p.x.parts[0].(*pictures); ok {
		if x.threads = opts.Threads; x.threads == 0 {
			x.threads = runtime.GOMAXPROCS(0)
		}
	}
	y := &column{series: p.y, index: index, n: s.N, target: true, ignore: opts.Ignore, sums: make([]atomic.Uint64, s.N)}
	if !x.Integer() && y.Integer() && len(y.shape) == 1 && y.shape[0] == 1 {
		y.shape = []int{}
	}
	if err := x.normalise(opts.Mean, opts.Std); err != nil {
		return nil, err
	}
	if s.Tokens, err = x.largest(); err != nil {
		return nil, err
	}
	if s.Classes, err = y.largest(); err != nil {
		return nil, err
	}
	s.X, s.Y, s.threads = x, y, max(1, x.threads)
	if note := s.fewClasses(y.kept); note != "" {
		s.Notes = append(s.Notes, note)
	}
	return s, nil
}

// choose sets N and Drawn to what the options say, and returns the examples that are used; nil: the first N.
func (s *Set) choose(name string, opts Options) (index []int, err error) {
	s.N = s.Total
	if opts.Examples > 0 {
		if opts.Examples > s.N {
			return nil, badOption("--examples", "%d examples are asked for, but %s holds %d (give at most that)", opts.Examples, name, s.N)
		}
		s.N = opts.Examples
	}
	if opts.Sample > 0 {
		if opts.Sample > s.N {
			return nil, badOption("--sample", "%d examples are asked for out of %d (give at most that)", opts.Sample, s.N)
		}
		if opts.Sample < s.N {
			s.Drawn, s.N = s.N, opts.Sample
			if s.Parts() > opts.Part {
				index = shuffle(s.Drawn, s.N*(opts.Part+1), opts.SampleSeed)[s.N*opts.Part:]
				slices.Sort(index)
			}
		}
	}
	if s.Parts() <= opts.Part {
		panic(badPart)
	}
	if s.Drawn == 0 && opts.Part > 0 {
		index = make([]int, s.N)
		for i := range index {
			index[i] = s.N*opts.Part + i
		}
	}
	return index, nil
}

// Parts is how many disjoint parts of N examples there are where these come from.
func (s *Set) Parts() int {
	if s.Drawn > 0 {
		return s.Drawn / s.N
	}
	return s.Total / s.N
}

func errEmpty(name string) error {
	return fmt.Errorf("%s: the data set is empty (give one with examples)", name)
}

// opener opens the files of a data set.
type opener struct {
	opts    Options
	files   []string
	closers []io.Closer
}

// open finds the format of the sources and has its reader describe them.
func (o *opener) open(sources []Source) (pair, error) {
	for _, s := range sources {
		if s.FS == nil || !fs.ValidPath(s.Name) {
			panic("dataset: a source without a valid path in a file system")
		}
	}
	switch len(sources) {
	case 1:
		s := sources[0]
		info, err := fs.Stat(s.FS, s.Name)
		if err != nil {
			return pair{}, s.errorf("%w", cause(err))
		}
		if info.IsDir() {
			return o.directory(s)
		}
		return o.single(s)
	case 2:
		return o.two(sources[0], sources[1])
	}
	return pair{}, badOption("--data", "%d paths (give one file or directory, or X,Y)", len(sources))
}

// directory recognises a directory by the names in it.
func (o *opener) directory(s Source) (pair, error) {
	entries, err := fs.ReadDir(s.FS, s.Name)
	if err != nil {
		return pair{}, s.errorf("%w", cause(err))
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	format := o.opts.Format
	if format == "" && o.opts.Context > 0 { // a network of tokens: train.bin is not CIFAR-100
		switch {
		case names["train.bin"] || names["val.bin"]:
			format = Tokens
		case slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), textSuffix) }):
			format = Text
		}
	}
	if format == "" {
		var found []string
		for _, f := range []struct {
			format string
			names  []string
		}{{IDX, append(idxImages("train"), idxImages("test")...)}, {CIFAR10, cifarNames(CIFAR10)}, {CIFAR100, cifarNames(CIFAR100)}} {
			if slices.ContainsFunc(f.names, func(n string) bool { return names[n] }) {
				found = append(found, f.format)
			}
		}
		switch {
		case len(found) > 1:
			return pair{}, s.errorf("the directory holds data of several formats, %s (choose with --data-format)", strings.Join(found, " and "))
		case len(found) == 1:
			format = found[0]
		case names["data_batch_1"] || names["batches.meta"] || names["train"] && names["meta"]:
			return pair{}, s.errorf("the Python version of CIFAR is a pickle, which is not read (download the binary version)")
		case s.parquetNames(entries) != nil:
			format = Parquet
		case s.hasPictures(entries):
			format = ImageFolder
		default:
			return pair{}, s.errorf("%w: the directory has neither IDX (train-images-idx3-ubyte, …) nor the binary version of CIFAR (data_batch_1.bin, train.bin, …) nor Parquet files nor a folder of pictures for each class (give the directory that holds these files, or one file)", ErrFormat)
		}
	}
	switch format {
	case IDX:
		return o.idxDirectory(s, names)
	case CIFAR10, CIFAR100:
		return o.cifarDirectory(s, names, format)
	case Text:
		return o.textDirectory(s, names)
	case Tokens:
		return o.tokensDirectory(s, names)
	case ImageFolder:
		return o.imageFolder(s, entries)
	case Parquet:
		return o.parquetDirectory(s, entries)
	}
	return pair{}, badOption("--data-format", "%s is a format of files, %s is a directory (give the file)", format, s.path())
}

// single recognises a file by its content, a CIFAR batch also by its name.
func (o *opener) single(s Source) (pair, error) {
	f, err := o.file(s)
	if err != nil {
		return pair{}, err
	}
	format := o.opts.Format
	if format == "" {
		head := make([]byte, min(f.size, 64))
		if n, err := f.ReadAt(head, 0); n < len(head) {
			return pair{}, s.errorf("reading the first %d bytes: %w", len(head), err)
		}
		has := func(magic string) bool { return strings.HasPrefix(string(head), magic) }
		switch {
		case f.size == 0:
			return pair{}, s.errorf("the file is empty")
		case has("version https://git-lfs"):
			return pair{}, s.errorf("a Git LFS pointer, not the file it stands for (fetch it with git lfs pull)")
		case len(head) > 8 && head[8] == '{' && strings.HasSuffix(s.Name, ".safetensors"):
			format = Safetensors
		case tableExt(s.Name) != "":
			format = CSV
		case has("PK\x03\x04"), has("PK\x05\x06"):
			format = NPZ
		case has(npy.Magic):
			format = NPY
		case has(parquet.Magic):
			format = Parquet
		case has("\x1f\x8b"), isIDX(head):
			format = IDX
		case strings.HasSuffix(s.Name, ".bin") && o.opts.Context > 0:
			format = Tokens
		case strings.HasSuffix(s.Name, ".bin"):
			return o.cifarFile(s, f)
		case strings.HasSuffix(s.Name, textSuffix), o.opts.Context > 0 && isText(head):
			format = Text
		default:
			return pair{}, s.errorf("%w: neither IDX, CIFAR binary, .npz, .npy, .safetensors, .csv, Parquet nor text (name it with --data-format, or convert it to .npz with keys x and y)", ErrFormat)
		}
	}
	switch format {
	case IDX:
		return o.idxFile(s, f)
	case NPZ:
		return o.npzFile(s, f)
	case CIFAR10, CIFAR100:
		return o.cifarFile(s, f)
	case Safetensors:
		return o.safetensorsFile(s, f)
	case CSV:
		return o.csvFile(s, f)
	case Text:
		return o.textFile(s, f)
	case Tokens:
		return o.tokensFile(s, f)
	case Parquet:
		return o.parquetFile(s, f)
	case ImageFolder:
		return pair{}, s.errorf("is a file, not a folder of pictures for each class (give the folder)")
	}
	return pair{}, s.errorf("a single .npy file has no targets (give two, X.npy,Y.npy)")
}

// two opens a file of inputs and one of targets, each .npy or IDX.
func (o *opener) two(x, y Source) (pair, error) {
	if f := o.opts.Format; f != "" && f != NPY && f != IDX {
		return pair{}, badOption("--data-format", "%s is not read from two files (give one)", f)
	}
	p := pair{format: NPY}
	ax, fx, err := o.array(x)
	if err != nil {
		return p, err
	}
	ay, fy, err := o.array(y)
	if err != nil {
		return p, err
	}
	if fx == IDX && fy == IDX {
		p.format = IDX
	} else if o.opts.Format == IDX {
		return p, badOption("--data-format", "%s and %s are not both idx", x.path(), y.path())
	}
	if o.opts.Split == "test" {
		return p, badOption("--split", "two files have no splits (leave it out)")
	}
	p.x, err = inputs(x.path(), ax, fx == IDX)
	if err != nil {
		return p, err
	}
	p.y, err = targets(y.path(), ay)
	return p, err
}

// array opens one side of a data set.
func (o *opener) array(s Source) (a *npy.Array, format string, err error) {
	f, err := o.file(s)
	if err != nil {
		return nil, "", err
	}
	head := make([]byte, min(f.size, 16))
	if n, err := f.ReadAt(head, 0); n < len(head) {
		return nil, "", s.errorf("reading the first %d bytes: %w", len(head), err)
	}
	switch {
	case strings.HasPrefix(string(head), npy.Magic):
		if a, err = npy.Open(f, f.size); err != nil {
			return nil, "", s.errorf("%w", err)
		}
		return a, NPY, nil
	case strings.HasPrefix(string(head), "\x1f\x8b"), isIDX(head):
		a, err = idxArray(s, f)
		return a, IDX, err
	}
	return nil, "", s.errorf("neither .npy nor IDX, as one of two files has to be (save it with numpy.save)")
}

// inputs are an array's rows as the inputs of examples; images says that three axes are images of
// one channel, as they also are when they hold bytes.
func inputs(name string, a *npy.Array, images bool) (series, error) {
	if len(a.Shape) < 2 {
		return series{}, fmt.Errorf("%s: inputs of shape %v (give [N, features] or [N, channels, height, width])", name, a.Shape)
	}
	s := series{name: name, parts: []block{a}, shape: a.Shape[1:]}
	if len(a.Shape) == 3 && (images || a.DType == tensor.Uint8) {
		s.shape = []int{1, a.Shape[1], a.Shape[2]}
	}
	return s, nil
}

// targets are an array's rows as the targets of examples.
func targets(name string, a *npy.Array) (series, error) {
	if len(a.Shape) < 1 {
		return series{}, fmt.Errorf("%s: targets are a single value (give one for each example)", name)
	}
	return series{name: name, parts: []block{a}, shape: a.Shape[1:]}, nil
}
