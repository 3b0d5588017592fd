package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/tensor"
)

// idx is an IDX file of any type code and shape.
func idx(code byte, shape []uint32, values []byte) []byte {
	b := []byte{0, 0, code, byte(len(shape))}
	for _, s := range shape {
		b = binary.BigEndian.AppendUint32(b, s)
	}
	return append(b, values...)
}

// zipped is a file, gzipped.
func zipped(file []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(file); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// count is 0, 1, …, n−1 as bytes.
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// disk is a file system of these files.
func disk(files map[string][]byte) fstest.MapFS {
	m := fstest.MapFS{}
	for name, data := range files {
		m[name] = &fstest.MapFile{Data: data}
	}
	return m
}

// from are sources in a file system.
func from(fsys fs.FS, names ...string) []Source {
	var s []Source
	for _, name := range names {
		s = append(s, Source{FS: fsys, Name: name})
	}
	return s
}

func mustOpen(t *testing.T, sources []Source, opts Options) *Set {
	t.Helper()
	s, err := Open(sources, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// floats are all inputs or targets.
func floats(t *testing.T, s *Set, c Column) []float64 {
	t.Helper()
	dst := make([]float64, s.N*tensor.Count(c.Shape()))
	if err := c.Floats(dst, 0, s.N); err != nil {
		t.Fatal(err)
	}
	return dst
}

func ints(t *testing.T, s *Set, c Column) []int64 {
	t.Helper()
	dst := make([]int64, s.N*tensor.Count(c.Shape()))
	if err := c.Ints(dst, 0, s.N); err != nil {
		t.Fatal(err)
	}
	return dst
}

// scaled are bytes as the documentation says: v/255, then (x − mean)/std.
func scaled(b []byte, mean, std float64) []float64 {
	out := make([]float64, len(b))
	for i, v := range b {
		out[i] = (float64(v)/255 - mean) / std
	}
	return out
}

// The test's own writers give the bytes that the formats' descriptions show.
func TestHelpers(t *testing.T) {
	if got, want := idx(8, []uint32{1, 2}, []byte{7, 9}), []byte("\x00\x00\x08\x02\x00\x00\x00\x01\x00\x00\x00\x02\x07\x09"); !bytes.Equal(got, want) {
		t.Errorf("idx: got %q, want %q", got, want)
	}
	r, err := gzip.NewReader(bytes.NewReader(zipped([]byte("hello"))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello" {
		t.Errorf("zipped: got %q, %v", got, err)
	}
	if got := record(CIFAR100, 3, 5); len(got) != 3074 || got[0] != 3%20 || got[1] != 3 || got[2] != 5 || got[3] != 6 {
		t.Errorf("record: %d bytes beginning with %v", len(got), got[:4])
	}
	if got := scaled([]byte{0, 51}, 0.1, 0.5); !slices.Equal(got, []float64{-0.2, 0.2}) {
		t.Errorf("scaled: got %v", got)
	}
}

// plain hides ReadAt, as a file of an archive does.
type plain struct{ fs.FS }

func (p plain) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if _, ok := f.(fs.ReadDirFile); ok || err != nil {
		return f, err
	}
	return struct{ fs.File }{f}, err
}

func TestIDX(t *testing.T) {
	pixels := count(3 * 2 * 5)
	images := idx(8, []uint32{3, 2, 5}, pixels)
	labels := idx(8, []uint32{3}, []byte{1, 7, 0})
	for _, tt := range []struct {
		images, labels string
		gz             bool
	}{
		{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", false},
		{"train-images.idx3-ubyte", "train-labels.idx1-ubyte", false},
		{"train-images-idx3-ubyte", "train-labels.idx1-ubyte", false},
		{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", true},
		{"train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", true},
	} {
		x, y := images, labels
		if tt.gz {
			x, y = zipped(x), zipped(y)
		}
		files := disk(map[string][]byte{"d/" + tt.images: x, "d/" + tt.labels: y})
		for _, fsys := range []fs.FS{files, plain{files}} {
			for _, name := range []string{"d", "d/" + tt.images} {
				s := mustOpen(t, from(fsys, name), Options{})
				if s.Format != IDX || s.Split != "train" || s.N != 3 || s.Total != 3 || s.Classes != 8 || s.Tokens != 0 || s.Name != filepath.Base(name) {
					t.Errorf("%s: %+v", name, s)
				}
				if want := []string{"d/" + tt.images, "d/" + tt.labels}; !slices.Equal(s.Files, want) {
					t.Errorf("%s: files %v, want %v", name, s.Files, want)
				}
				if got := s.X.Shape(); !slices.Equal(got, []int{1, 2, 5}) || s.X.Integer() {
					t.Errorf("%s: inputs of shape %v", name, got)
				}
				if got := s.Y.Shape(); len(got) != 0 || !s.Y.Integer() {
					t.Errorf("%s: targets of shape %v", name, got)
				}
				if got, want := floats(t, s, s.X), scaled(pixels, 0, 1); !slices.Equal(got, want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
				if got := ints(t, s, s.Y); !slices.Equal(got, []int64{1, 7, 0}) {
					t.Errorf("%s: labels %v", name, got)
				}
			}
		}
	}
}

// A labels file under any name is given as the second of two.
func TestIDXPair(t *testing.T) {
	files := disk(map[string][]byte{"a": idx(0x0d, []uint32{2, 2, 2}, npytest.Bytes([]float32{1, 2, 3, 4, 5, 6, 7, 8}, true)), "b": zipped(idx(0x0c, []uint32{2}, npytest.Bytes([]int32{5, 4}, true)))})
	s := mustOpen(t, from(files, "a", "b"), Options{})
	if s.Format != IDX || s.Name != "a,b" || s.Classes != 6 || !slices.Equal(s.X.Shape(), []int{1, 2, 2}) {
		t.Errorf("%+v of shape %v", s, s.X.Shape())
	}
	if got := floats(t, s, s.X); !slices.Equal(got, []float64{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("got %v", got)
	}
}

func TestIDXSplit(t *testing.T) {
	files := disk(map[string][]byte{
		"train-images-idx3-ubyte": idx(8, []uint32{1, 1, 1}, []byte{1}), "train-labels-idx1-ubyte": idx(8, []uint32{1}, []byte{1}),
		"t10k-images-idx3-ubyte": idx(8, []uint32{1, 1, 1}, []byte{2}), "t10k-labels-idx1-ubyte": idx(8, []uint32{1}, []byte{2}),
	})
	for split, want := range map[string]int64{"": 1, "train": 1, "test": 2} {
		s := mustOpen(t, from(files, "."), Options{Split: split})
		if got := ints(t, s, s.Y)[0]; got != want {
			t.Errorf("split %q: label %d, want %d", split, got, want)
		}
	}
	s := mustOpen(t, from(files, "t10k-images-idx3-ubyte"), Options{})
	if s.Split != "test" || ints(t, s, s.Y)[0] != 2 {
		t.Errorf("the t10k file is of split %q", s.Split)
	}
}

func TestIDXLabelNames(t *testing.T) {
	for images, want := range map[string][]string{
		"train-images-idx3-ubyte":    {"train-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz", "train-labels.idx1-ubyte", "train-labels.idx1-ubyte.gz"},
		"t10k-images.idx3-ubyte.gz":  {"t10k-labels.idx1-ubyte.gz", "t10k-labels.idx1-ubyte", "t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte"},
		"emnist-train-images-idx3-u": {"emnist-train-labels-idx1-u", "emnist-train-labels-idx1-u.gz", "emnist-train-labels.idx1-u", "emnist-train-labels.idx1-u.gz"},
		"images":                     {"labels", "labels.gz"},
		"pictures":                   nil,
	} {
		if got := idxLabels(images); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", images, got, want)
		}
	}
}

// record is a CIFAR record of a label whose image counts up from a byte.
func record(format string, label, from byte) []byte {
	b := []byte{label}
	if format == CIFAR100 {
		b = []byte{label % 20, label}
	}
	for i := range 3072 {
		b = append(b, from+byte(i))
	}
	return b
}

func cifarDisk() fstest.MapFS {
	files := map[string][]byte{"10/test_batch.bin": record(CIFAR10, 9, 200), "100/test.bin": record(CIFAR100, 99, 7)}
	for i := byte(1); i <= 5; i++ {
		files[fmt.Sprintf("10/data_batch_%d.bin", i)] = slices.Concat(record(CIFAR10, i, i), record(CIFAR10, i+1, 2*i))
	}
	files["100/train.bin"] = slices.Concat(record(CIFAR100, 42, 1), record(CIFAR100, 64, 2), record(CIFAR100, 3, 3))
	return disk(files)
}

func TestCIFAR(t *testing.T) {
	for _, tt := range []struct {
		name, split string
		format      string
		labels      []int64
		first       []byte // of each image
		classes     int
		files       int
	}{
		{"10", "train", CIFAR10, []int64{1, 2, 2, 3, 3, 4, 4, 5, 5, 6}, []byte{1, 2, 2, 4, 3, 6, 4, 8, 5, 10}, 7, 5},
		{"10", "test", CIFAR10, []int64{9}, []byte{200}, 10, 1},
		{"10/data_batch_3.bin", "train", CIFAR10, []int64{3, 4}, []byte{3, 6}, 5, 1},
		{"100", "train", CIFAR100, []int64{42, 64, 3}, []byte{1, 2, 3}, 65, 1},
		{"100", "test", CIFAR100, []int64{99}, []byte{7}, 100, 1},
		{"100/test.bin", "test", CIFAR100, []int64{99}, []byte{7}, 100, 1},
	} {
		for _, format := range []string{"", tt.format} {
			s := mustOpen(t, from(cifarDisk(), tt.name), Options{Split: tt.split, Format: format})
			if s.Format != tt.format || s.Split != tt.split || s.N != len(tt.labels) || s.Classes != tt.classes || len(s.Files) != tt.files {
				t.Errorf("%s %s: %+v", tt.name, tt.split, s)
			}
			if got := ints(t, s, s.Y); !slices.Equal(got, tt.labels) {
				t.Errorf("%s %s: labels %v, want %v", tt.name, tt.split, got, tt.labels)
			}
			var want []float64
			for _, b := range tt.first {
				want = append(want, scaled(record(CIFAR10, 0, b)[1:], 0, 1)...)
			}
			if got := floats(t, s, s.X); !slices.Equal(got, want) || !slices.Equal(s.X.Shape(), []int{3, 32, 32}) {
				t.Errorf("%s %s: inputs of shape %v differ", tt.name, tt.split, s.X.Shape())
			}
		}
	}
}

// A size that fits both versions is told apart by the labels.
func TestCIFARVersions(t *testing.T) {
	const n = 3073 * 3074
	for format, want := range map[string]int{CIFAR10: 3074, CIFAR100: 3073} {
		r := record(format, 9, 0)
		for i := range r[len(r)-3072:] {
			r[len(r)-3072+i] = 255 // no label, when read as one
		}
		s := mustOpen(t, from(disk(map[string][]byte{"batch.bin": bytes.Repeat(r, n/len(r))}), "batch.bin"), Options{})
		if s.Format != format || s.N != want || s.Split != "" {
			t.Errorf("%s: %+v", format, s)
		}
	}
}

func TestNPZ(t *testing.T) {
	images := npytest.File("|u1", false, []int{2, 2, 1, 2}, count(8))
	labels := npytest.File("<i8", false, []int{2}, []int64{4, 1})
	for _, deflate := range []bool{false, true} {
		for _, keys := range [][2]string{{"x", "y"}, {"images", "labels"}, {"x_train", "y_train"}} {
			file := npytest.Archive(deflate,
				npytest.Entry{Name: "note.npy", Data: npytest.File("<U1", false, []int{1}, []int32{65})},
				npytest.Entry{Name: keys[0] + ".npy", Data: images}, npytest.Entry{Name: keys[1] + ".npy", Data: labels})
			s := mustOpen(t, from(disk(map[string][]byte{"set.npz": file}), "set.npz"), Options{})
			if s.Format != NPZ || s.N != 2 || s.Classes != 5 || !slices.Equal(s.X.Shape(), []int{2, 1, 2}) {
				t.Errorf("%v: %+v", keys, s)
			}
			if got, want := floats(t, s, s.X), scaled(count(8), 0, 1); !slices.Equal(got, want) {
				t.Errorf("%v: got %v, want %v", keys, got, want)
			}
			if got := ints(t, s, s.Y); !slices.Equal(got, []int64{4, 1}) {
				t.Errorf("%v: labels %v", keys, got)
			}
		}
	}
}

func TestNPZSplit(t *testing.T) {
	array := func(key string, v float32) []npytest.Entry {
		return []npytest.Entry{
			{Name: "x" + key + ".npy", Data: npytest.File("<f4", false, []int{1, 1}, []float32{v})},
			{Name: "y" + key + ".npy", Data: npytest.File("<f4", false, []int{1}, []float32{v})},
		}
	}
	both := npytest.Archive(false, append(array("_train", 1), array("_test", 2)...)...)
	files := disk(map[string][]byte{"both": both, "all": npytest.Archive(false, append(array("_test", 2), array("", 3)...)...)})
	for _, tt := range []struct {
		name, split string
		want        float64
		is          string
	}{{"both", "", 1, "train"}, {"both", "train", 1, "train"}, {"both", "test", 2, "test"}, {"all", "", 3, ""}, {"all", "test", 2, "test"}} {
		s := mustOpen(t, from(files, tt.name), Options{Split: tt.split})
		if got := floats(t, s, s.X)[0]; got != tt.want || s.Split != tt.is || s.Classes != 0 || s.Y.Integer() {
			t.Errorf("%s, split %q: got %v of %q, want %v of %q", tt.name, tt.split, got, s.Split, tt.want, tt.is)
		}
	}
}

// What the types of arrays mean as inputs and as targets.
func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		x, y           []byte
		shape, target  []int
		tokens, labels bool
		classes, vocab int
	}{
		{npytest.File("<f8", false, []int{2, 3}, make([]float64, 6)), npytest.File("<f4", false, []int{2, 4}, make([]float32, 8)), []int{3}, []int{4}, false, false, 0, 0},
		{npytest.File("<f2", false, []int{2, 3, 4}, make([]uint16, 24)), npytest.File("|b1", false, []int{2}, []byte{0, 1}), []int{3, 4}, []int{}, false, true, 2, 0},
		{npytest.File("|u1", false, []int{2, 3, 4}, make([]byte, 24)), npytest.File("|u1", false, []int{2, 1}, []byte{0, 9}), []int{1, 3, 4}, []int{}, false, true, 10, 0},
		{npytest.File("|u1", false, []int{2, 3}, make([]byte, 6)), npytest.File("<u2", true, []int{2}, []uint16{3, 0}), []int{3}, []int{}, false, true, 4, 0},
		{npytest.File("|b1", false, []int{2, 3}, make([]byte, 6)), npytest.File("|i1", false, []int{2}, []int8{3, 0}), []int{3}, []int{}, false, true, 4, 0},
		{npytest.File("<u2", false, []int{2, 3}, []uint16{1, 2, 3, 4, 50, 6}), npytest.File("<i8", true, []int{2, 3}, []int64{0, 1, 2, 8, 3, 4}), []int{3}, []int{3}, true, true, 9, 51},
		{npytest.File("<i4", false, []int{2, 1}, []int32{1, 2}), npytest.File("<i4", false, []int{2, 1}, []int32{1, 2}), []int{1}, []int{1}, true, true, 3, 3},
	} {
		s := mustOpen(t, from(disk(map[string][]byte{"x": tt.x, "y": tt.y}), "x", "y"), Options{})
		if s.Format != NPY || !slices.Equal(s.X.Shape(), tt.shape) || !slices.Equal(s.Y.Shape(), tt.target) || s.X.Integer() != tt.tokens || s.Y.Integer() != tt.labels || s.Classes != tt.classes || s.Tokens != tt.vocab {
			t.Errorf("shapes %v and %v: got %v and %v, %v and %v, %+v", tt.shape, tt.target, s.X.Shape(), s.Y.Shape(), s.X.Integer(), s.Y.Integer(), s)
		}
	}
}

// Any range of examples gives what the whole gives, for subsets and for every layout.
func TestRanges(t *testing.T) {
	r := make([]float64, 9*6)
	for i := range r {
		r[i] = float64(i)
	}
	columns := make([]float64, len(r))
	for i := range 9 {
		for j := range 6 {
			columns[j*9+i] = r[i*6+j]
		}
	}
	y := npytest.File("<i4", false, []int{9}, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8})
	tokens := npytest.File("<i4", false, []int{9, 2}, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17})
	files := cifarDisk()
	for name, data := range map[string][]byte{
		"c": npytest.File("<f8", false, []int{9, 6}, r), "f": npytest.File("<f8", true, []int{9, 6}, columns),
		"b": npytest.File("|u1", false, []int{9, 6}, count(54)), "y": y, "t": tokens,
	} {
		files[name] = &fstest.MapFile{Data: data}
	}
	for _, sources := range [][]string{{"c", "y"}, {"f", "y"}, {"b", "y"}, {"c", "t"}, {"10"}} {
		whole := mustOpen(t, from(files, sources...), Options{Mean: []float64{0.5}})
		x, y := floats(t, whole, whole.X), ints(t, whole, whole.Y)
		rowX, rowY := len(x)/whole.N, len(y)/whole.N
		for _, o := range []Options{{}, {Examples: 7}, {Sample: 5, SampleSeed: 3}, {Examples: 8, Sample: 6}, {Sample: whole.N}} {
			o.Mean = []float64{0.5}
			s := mustOpen(t, from(files, sources...), o)
			index := s.X.(*column).index
			for lo := 0; lo <= s.N; lo++ {
				for hi := lo; hi <= s.N; hi++ {
					gotX, gotY := make([]float64, (hi-lo)*rowX), make([]int64, (hi-lo)*rowY)
					if err := errors.Join(s.X.Floats(gotX, lo, hi), s.Y.Ints(gotY, lo, hi)); err != nil {
						t.Fatal(err)
					}
					for i := lo; i < hi; i++ {
						at := i
						if index != nil {
							at = index[i]
						}
						if !slices.Equal(gotX[(i-lo)*rowX:(i-lo+1)*rowX], x[at*rowX:(at+1)*rowX]) || !slices.Equal(gotY[(i-lo)*rowY:(i-lo+1)*rowY], y[at*rowY:(at+1)*rowY]) {
							t.Fatalf("%v, %+v: example %d of [%d, %d) differs", sources, o, i, lo, hi)
						}
					}
				}
			}
		}
	}
}

func TestNormalise(t *testing.T) {
	labels := npytest.File("<i4", false, []int{2}, []int32{0, 1})
	pixels := count(2 * 3 * 4)
	reals := make([]float64, len(pixels))
	for i, b := range pixels {
		reals[i] = float64(b) / 255
	}
	files := disk(map[string][]byte{
		"y":       labels,
		"bytes":   npytest.File("|u1", false, []int{2, 3, 2, 2}, pixels),
		"floats":  npytest.File("<f8", false, []int{2, 3, 2, 2}, reals),
		"feature": npytest.File("<f8", false, []int{2, 12}, reals),
	})
	three := []float64{0.1, 0.2, 0.3}
	for _, tt := range []struct {
		name      string
		mean, std []float64
	}{
		{"bytes", []float64{0.1}, nil}, {"bytes", nil, []float64{0.3}}, {"bytes", three, []float64{0.4, 0.5, 0.6}},
		{"bytes", []float64{0.1}, three}, {"bytes", three, []float64{0.3}}, {"floats", three, three}, {"floats", []float64{0.7}, []float64{0.3}},
		{"feature", []float64{0.5}, []float64{3}}, {"feature", reals[:12], reals[12:]}, {"feature", nil, reals[12:]},
	} {
		s := mustOpen(t, from(files, tt.name, "y"), Options{Mean: tt.mean, Std: tt.std})
		at := func(v []float64, i int, none float64) float64 {
			switch channels := s.X.Shape()[0]; len(v) {
			case 0:
				return none
			case 1:
				return v[0]
			default:
				return v[i%12/(12/channels)]
			}
		}
		for i, got := range floats(t, s, s.X) {
			if want := (reals[i] - at(tt.mean, i, 0)) / at(tt.std, i, 1); got != want {
				t.Fatalf("%s, mean %v, std %v: value %d is %v, want %v", tt.name, tt.mean, tt.std, i, got, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	images := idx(8, []uint32{3, 2, 5}, count(30))
	labels := idx(8, []uint32{3}, []byte{1, 7, 0})
	x := npytest.File("<f4", false, []int{2, 3}, make([]float32, 6))
	y := npytest.File("<i8", false, []int{2}, []int64{0, 1})
	npz := func(entries ...npytest.Entry) []byte { return npytest.Archive(true, entries...) }
	files := cifarDisk()
	for name, data := range map[string][]byte{
		"m/train-images-idx3-ubyte":        images,
		"only/train-images-idx3-ubyte":     images,
		"cut/train-images-idx3-ubyte":      images[:len(images)-1],
		"cut/train-labels-idx1-ubyte":      labels,
		"cutlabels/train-images-idx3-u":    images,
		"cutlabels/train-labels-idx1-u":    labels[:len(labels)-1],
		"cuthead/train-images-idx3-ubyte":  images[:10],
		"long/train-images-idx3-ubyte":     append(slices.Clone(images), 0),
		"short/train-images-idx3-ubyte":    images,
		"short/train-labels-idx1-ubyte":    idx(8, []uint32{2}, []byte{1, 7}),
		"none/train-images-idx3-ubyte":     idx(8, []uint32{0, 2, 5}, nil),
		"none/train-labels-idx1-ubyte":     idx(8, []uint32{0}, nil),
		"flat/train-images-idx3-ubyte":     idx(8, []uint32{3, 0, 5}, nil),
		"flat/train-labels-idx1-ubyte":     labels,
		"cutgz/train-images-idx3-ubyte.gz": zipped(images[:len(images)-1]),
		"longgz/train-images-idx3-ubyte":   zipped(append(slices.Clone(images), 0)),
		"liegz/train-images-idx3-ubyte.gz": zipped(idx(8, []uint32{60000, 28, 28}, nil)),
		"liegz/huge-images.gz":             zipped(idx(14, []uint32{1 << 31, 1 << 31, 1 << 31}, nil)),
		"badgz":                            zipped(images)[:25],
		"textgz":                           zipped([]byte("hello, hello")),
		"lie":                              idx(8, []uint32{1 << 31, 1 << 31, 1}, count(30)),
		"pictures":                         images,
		"train-labels-idx1-ubyte":          labels,
		"python/data_batch_1":              nil,
		"nothing/readme.txt":               nil,
		"mixed/train-images-idx3-ubyte":    images,
		"mixed/train.bin":                  record(CIFAR100, 1, 1),
		"half/data_batch_1.bin":            record(CIFAR10, 1, 1),
		"cut10/test_batch.bin":             record(CIFAR10, 1, 1)[:3000],
		"bad10/test_batch.bin":             append(record(CIFAR10, 1, 1), record(CIFAR10, 10, 1)...),
		"cut.bin":                          record(CIFAR10, 1, 1)[:3000],
		"bad.bin":                          record(CIFAR10, 10, 1),
		"empty":                            nil,
		"notes.rst":                        []byte("a,b\n1,2\n"),
		"x.npy":                            x,
		"y.npy":                            y,
		"y3.npy":                           npytest.File("<i8", false, []int{3}, []int64{0, 1, 2}),
		"negative.npy":                     npytest.File("<i8", false, []int{2}, []int64{0, -100}),
		"huge.npy":                         npytest.File("<i8", false, []int{2}, []int64{0, 1 << 40}),
		"beyond.npy":                       npytest.File("<u8", false, []int{2}, []uint64{0, 1 << 63}),
		"tokens.npy":                       npytest.File("<i4", false, []int{2, 2}, []int32{0, 1, 2, -3}),
		"scalar.npy":                       npytest.File("<f4", false, []int{}, []float32{1}),
		"cut.npy":                          x[:len(x)-1],
		"object.npy":                       npytest.Raw(1, "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", nil),
		"good.npz":                         npz(npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: y}),
		"x.npz":                            npz(npytest.Entry{Name: "x.npy", Data: x}),
		"ab.npz":                           npz(npytest.Entry{Name: "a.npy", Data: x}, npytest.Entry{Name: "b.npy", Data: y}),
		"empty.npz":                        npz(),
		"short.npz":                        npz(npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: npytest.File("<i8", false, []int{3}, []int64{0, 1, 2})}),
		"object.npz":                       npz(npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: npytest.Raw(1, "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", nil)}),
		"cut.npz":                          npz(npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: y})[:100],
		"lfs":                              []byte("version https://git-lfs.github.com/spec/v1\n"),
		"100%/test_batch.bin":              record(CIFAR10, 1, 1)[:3000],
	} {
		files[name] = &fstest.MapFile{Data: data}
	}
	type list = []string
	for _, tt := range []struct {
		sources list
		opts    Options
		want    list // all of them are in the message
	}{
		{list{"missing"}, Options{}, list{"missing: ", "not exist"}},
		{list{"m"}, Options{}, list{"m/train-images-idx3-ubyte: no labels file", "train-labels-idx1-ubyte, train-labels-idx1-ubyte.gz, train-labels.idx1-ubyte", "not exist"}},
		{list{"only"}, Options{Split: "test"}, list{"only: ", "t10k-images-idx3-ubyte", "--split"}},
		{list{"only/train-images-idx3-ubyte"}, Options{Split: "test"}, list{"--split: ", "train split"}},
		{list{"cut"}, Options{}, list{"cut/train-images-idx3-ubyte: ", "needs 46 bytes, but the file has 45"}},
		{list{"cutlabels/train-images-idx3-u"}, Options{}, list{"cutlabels/train-labels-idx1-u: ", "needs 11 bytes"}},
		{list{"cuthead"}, Options{}, list{"cuthead/train-images-idx3-ubyte: ", "offset 4", "truncated"}},
		{list{"long"}, Options{}, list{"needs 46 bytes, but the file has 47"}},
		{list{"short"}, Options{}, list{"short/train-labels-idx1-ubyte: 2 targets for the 3 inputs of short/train-images-idx3-ubyte"}},
		{list{"none"}, Options{}, list{"none/train-images-idx3-ubyte: the data set is empty"}},
		{list{"flat"}, Options{}, list{"shape [1 0 5] hold no values"}},
		{list{"cutgz"}, Options{}, list{"ends at byte 45 of the 46"}},
		{list{"longgz"}, Options{}, list{"more data than the IDX header says"}},
		{list{"liegz"}, Options{}, list{"more than", "compressed bytes can give"}},
		{list{"liegz/huge-images.gz"}, Options{}, list{"offset 4: "}},
		{list{"badgz"}, Options{}, list{"badgz: ", "unexpected EOF"}},
		{list{"textgz"}, Options{}, list{"does not begin an IDX file"}},
		{list{"lie"}, Options{}, list{"lie: ", "offset 4: ", "more values than any file"}},
		{list{"pictures"}, Options{}, list{"IMAGES,LABELS"}},
		{list{"train-labels-idx1-ubyte"}, Options{}, list{"give the images file"}},
		{list{"y.npy"}, Options{Format: IDX}, list{"does not begin an IDX file"}},
		{list{"python"}, Options{}, list{"binary version"}},
		{list{"nothing"}, Options{}, list{"the format is not recognised"}},
		{list{"mixed"}, Options{}, list{"idx and cifar100", "--data-format"}},
		{list{"10"}, Options{Format: NPZ}, list{"--data-format: npz"}},
		{list{"half"}, Options{}, list{"half: data_batch_2.bin of the train split", "not exist"}},
		{list{"100"}, Options{Format: CIFAR10}, list{"100: data_batch_1.bin"}},
		{list{"cut10"}, Options{Split: "test"}, list{"cut10/test_batch.bin: 3000 bytes", "3073"}},
		{list{"bad10"}, Options{Split: "test"}, list{"offset 3073: label 10 of record 1 is not below 10"}},
		{list{"cut.bin"}, Options{}, list{"3073 (cifar10) or 3074 (cifar100)"}},
		{list{"bad.bin"}, Options{}, list{"bad.bin: offset 0: label 10"}},
		{list{"10/data_batch_1.bin"}, Options{Split: "test"}, list{"--split: ", "train split"}},
		{list{"10/data_batch_1.bin"}, Options{Format: CIFAR100}, list{"3074 (cifar100)"}},
		{list{"100%"}, Options{Split: "test"}, list{"100%/test_batch.bin: 3000 bytes"}},
		{list{"empty"}, Options{}, list{"empty: the file is empty"}},
		{list{"notes.rst"}, Options{}, list{"not recognised"}},
		{list{"lfs"}, Options{}, list{"git lfs pull"}},
		{list{"x.npy"}, Options{}, list{"X.npy,Y.npy"}},
		{list{"x.npy", "y3.npy"}, Options{}, list{"y3.npy: 3 targets for the 2 inputs of x.npy"}},
		{list{"x.npy", "missing.npy"}, Options{}, list{"missing.npy: ", "not exist"}},
		{list{"x.npy", "notes.rst"}, Options{}, list{"notes.rst: neither .npy nor IDX"}},
		{list{"x.npy", "10"}, Options{}, list{"10: not a regular file"}},
		{list{"x.npy", "negative.npy"}, Options{}, list{"negative.npy: label -100 of example 1"}},
		{list{"x.npy", "huge.npy"}, Options{}, list{"huge.npy: label 1099511627776"}},
		{list{"x.npy", "beyond.npy"}, Options{}, list{"beyond.npy: offset 136"}},
		{list{"x.npy", "scalar.npy"}, Options{}, list{"scalar.npy: targets are a single value"}},
		{list{"y.npy", "y.npy"}, Options{}, list{"y.npy: inputs of shape [2]"}},
		{list{"tokens.npy", "y.npy"}, Options{}, list{"tokens.npy: token -3 of example 1"}},
		{list{"tokens.npy", "y.npy"}, Options{Std: []float64{1}, Examples: 1}, list{"--std: ", "tokens"}},
		{list{"cut.npy", "y.npy"}, Options{}, list{"cut.npy: ", "truncated"}},
		{list{"x.npy", "object.npy"}, Options{}, list{"object.npy: ", "pickle"}},
		{list{"x.npy", "y.npy"}, Options{Split: "test"}, list{"--split: "}},
		{list{"x.npy", "y.npy"}, Options{Format: NPZ}, list{"--data-format: "}},
		{list{"x.npy", "y.npy"}, Options{Format: IDX}, list{"--data-format: ", "not both idx"}},
		{list{"x.npy", "y.npy", "y.npy"}, Options{}, list{"--data: 3 paths"}},
		{list{"x.npz"}, Options{}, list{`x.npz: of "x" and "y" only one`}},
		{list{"ab.npz"}, Options{}, list{`ab.npz: holds "a", "b"`}},
		{list{"empty.npz"}, Options{}, list{"holds no arrays"}},
		{list{"short.npz"}, Options{}, list{`short.npz: array "y": 3 targets`}},
		{list{"object.npz"}, Options{}, list{`object.npz: array "y": `, "pickle"}},
		{list{"cut.npz"}, Options{}, list{"cut.npz: ", "zip directory"}},
		{list{"good.npz"}, Options{Split: "test"}, list{"--split: "}},
		{list{"good.npz"}, Options{Split: "dev"}, list{"--split: "}},
		{list{"good.npz"}, Options{Format: "hdf5"}, list{"--data-format: ", "idx, cifar10"}},
		{list{"good.npz"}, Options{Examples: 3}, list{"--examples: 3 examples", "holds 2"}},
		{list{"good.npz"}, Options{Examples: -1}, list{"--examples: "}},
		{list{"good.npz"}, Options{Sample: 3}, list{"--sample: 3 examples"}},
		{list{"good.npz"}, Options{Sample: 2, Examples: 1}, list{"--sample: "}},
		{list{"good.npz"}, Options{Sample: -1}, list{"--sample: "}},
		{list{"good.npz"}, Options{Mean: []float64{1, 2}}, list{"--mean: 2 values", "--std", "3 channels"}},
		{list{"10"}, Options{Std: []float64{1, 2}}, list{"--std: 2 values", "--mean"}},
		{list{"good.npz"}, Options{Mean: []float64{math.NaN()}}, list{"--mean: "}},
		{list{"good.npz"}, Options{Std: []float64{0}}, list{"--std: "}},
		{list{"good.npz"}, Options{Std: []float64{math.Inf(1)}}, list{"--std: "}},
	} {
		_, err := Open(from(files, tt.sources...), tt.opts)
		checkError(t, err, tt.want, "%v, %+v", tt.sources, tt.opts)
	}
}

// checkError holds an error against what it has to say; one that begins with a flag is an OptionError, and no other is.
func checkError(t *testing.T, err error, want []string, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, want %q in it", what, err, want)
		}
		if want := strings.Contains(want, "not exist"); want && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v is not fs.ErrNotExist", what, err)
		}
	}
	var option *OptionError
	if got, want := errors.As(err, &option), strings.HasPrefix(err.Error(), "--"); got != want {
		t.Errorf("%s: %q is an OptionError: %v", what, err, got)
	}
}

// What is wrong beyond the examples in use does no harm.
func TestUnusedExamples(t *testing.T) {
	files := disk(map[string][]byte{
		"x": npytest.File("<f4", false, []int{3, 1}, make([]float32, 3)),
		"y": npytest.File("<i8", false, []int{3}, []int64{2, 0, -1}),
	})
	if s := mustOpen(t, from(files, "x", "y"), Options{Examples: 2}); s.Classes != 3 || s.N != 2 || s.Total != 3 {
		t.Errorf("%+v", s)
	}
}

// closing is a file that counts.
type closing struct {
	fs.FS
	open *int
}

func (c closing) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if _, ok := f.(io.ReaderAt); !ok {
		return f, nil
	}
	*c.open++
	return &closingFile{f, f.(io.ReaderAt), c.open}, nil
}

type closingFile struct {
	fs.File
	io.ReaderAt
	open *int
}

func (c *closingFile) Close() error {
	*c.open--
	return c.File.Close()
}

// Files stay open until Close, and not after an error.
func TestClose(t *testing.T) {
	n := 0
	fsys := closing{cifarDisk(), &n}
	s, err := Open(from(fsys, "10"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n != 5 {
		t.Errorf("%d files are open, want 5", n)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil || n != 0 {
		t.Errorf("%d files are open after Close (%v)", n, err)
	}
	if _, err := Open(from(fsys, "10"), Options{Examples: 99}); err == nil || n != 0 {
		t.Errorf("%d files are open after %v", n, err)
	}
}

// A file cut short after it was opened is an error of reading.
func TestTruncatedLater(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"x.npy": npytest.File("|u1", false, []int{2, 3}, count(6)), "y.npy": npytest.File("<i2", false, []int{2, 2}, make([]int16, 4)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, from(os.DirFS(dir), "x.npy", "y.npy"), Options{})
	if err := errors.Join(os.Truncate(filepath.Join(dir, "x.npy"), 130), os.Truncate(filepath.Join(dir, "y.npy"), 130)); err != nil {
		t.Fatal(err)
	}
	_, errHash := s.SHA256()
	_, errStats := s.InputStats()
	_, errCounts := s.ClassCounts()
	for want, err := range map[string]error{"x.npy: reading 6 bytes at offset 128": errHash, "x.npy: reading": errStats, "y.npy: reading 8 bytes at offset 128": errCounts} {
		if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A path that the user typed stands in messages and in Files.
func TestPath(t *testing.T) {
	s := Source{FS: disk(map[string][]byte{"d/train-images-idx3-ubyte": idx(8, []uint32{1, 1, 1}, []byte{1})}), Name: "d", Path: "../data/d"}
	_, err := Open([]Source{s}, Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "../data/d/train-images-idx3-ubyte: ") {
		t.Errorf("got %v", err)
	}
}

func TestCallersBugsPanic(t *testing.T) {
	s := mustOpen(t, from(cifarDisk(), "10"), Options{})
	for name, f := range map[string]func(){
		"examples beyond the end": func() { s.X.Floats(make([]float64, 3072), 10, 11) },
		"a short destination":     func() { s.X.Floats(make([]float64, 3071), 0, 1) },
		"a negative example":      func() { s.X.Floats(make([]float64, 3072), -1, 0) },
		"integers of numbers":     func() { s.X.Ints(make([]int64, 3072), 0, 1) },
		"numbers of labels":       func() { s.Y.Floats(make([]float64, 1), 0, 1) },
		"a path that is not one":  func() { Open(from(cifarDisk(), "../10"), Options{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// Several readers at once get what one gets.
func TestConcurrentReads(t *testing.T) {
	s := mustOpen(t, from(cifarDisk(), "10"), Options{Mean: []float64{0.1, 0.2, 0.3}})
	want := floats(t, s, s.X)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for lo := range s.N {
				hi := min(s.N, lo+1+i)
				got := make([]float64, (hi-lo)*3072)
				if err := s.X.Floats(got, lo, hi); err != nil || !slices.Equal(got, want[lo*3072:hi*3072]) {
					t.Errorf("examples %d to %d differ (%v)", lo, hi, err)
				}
			}
		})
	}
	wait.Wait()
}

// Reading images asks for no memory once a buffer is there.
func TestReadAllocations(t *testing.T) {
	s := mustOpen(t, from(cifarDisk(), "10"), Options{})
	dst := make([]float64, s.N*3072)
	n := testing.AllocsPerRun(20, func() {
		if err := s.X.Floats(dst, 0, s.N); err != nil {
			t.Fatal(err)
		}
	})
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func TestSHA256(t *testing.T) {
	// Computed apart from this package, over struct.pack("<d", byte/255) and struct.pack("<q", label).
	const want = "482a4a2faa3068252f079a47ccb29a780acef6914cd323d93f5e0f5fb7a850f8"
	pixels := []byte{0, 1, 128, 255, 4, 5, 6, 7}
	reals := scaled(pixels, 0, 1)
	files := disk(map[string][]byte{
		"train-images-idx3-ubyte": idx(8, []uint32{2, 2, 2}, pixels), "train-labels-idx1-ubyte": idx(8, []uint32{2}, []byte{3, 0}),
		"x": npytest.File(">f8", false, []int{2, 4}, reals), "y": npytest.File("<i2", false, []int{2}, []int16{3, 0}),
	})
	for _, sources := range [][]string{{"."}, {"x", "y"}} {
		s := mustOpen(t, from(files, sources...), Options{})
		if got, err := s.SHA256(); err != nil || got != want {
			t.Errorf("%v: got %s, %v, want %s", sources, got, err, want)
		}
	}
	s := mustOpen(t, from(files, "."), Options{Mean: []float64{0.5}})
	if got, err := s.SHA256(); err != nil || got == want {
		t.Errorf("normalised: got %s, %v", got, err)
	}
}

func TestClassCounts(t *testing.T) {
	s := mustOpen(t, from(cifarDisk(), "10"), Options{})
	got, err := s.ClassCounts()
	if want := []ClassCount{{1, 1}, {2, 2}, {3, 2}, {4, 2}, {5, 2}, {6, 1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	files := disk(map[string][]byte{"x": npytest.File("<f4", false, []int{1, 1}, []float32{1})})
	if got, err := mustOpen(t, from(files, "x", "x"), Options{}).ClassCounts(); err != nil || got != nil {
		t.Errorf("of numbers: got %v, %v", got, err)
	}
}

func TestInputStats(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	many := make([]float32, 1500)
	for i := range many {
		many[i] = float32(i)
	}
	for _, tt := range []struct {
		values any
		descr  string
		n      int
		want   Stats
	}{
		{[]float64{1, -2, nan, 4, inf, 5}, "<f8", 3, Stats{3, 6, 2, -2, 5, 2}},
		{[]float64{nan, inf}, "<f8", 1, Stats{1, 2, 2, nan, nan, nan}},
		{[]int32{1, 2, 3, 6}, "<i4", 2, Stats{2, 4, 0, 1, 6, 3}},
		{[]uint8{0, 255, 51, 0}, "|u1", 2, Stats{2, 4, 0, 0, 1, 0.3}},
		{many, "<f4", 1500, Stats{1000, 1000, 0, 0, 999, 499.5}},
	} {
		features := lenOf(tt.values) / tt.n
		files := disk(map[string][]byte{
			"x": npytest.File(tt.descr, false, []int{tt.n, features}, tt.values),
			"y": npytest.File("|u1", false, []int{tt.n}, make([]byte, tt.n)),
		})
		got, err := mustOpen(t, from(files, "x", "y"), Options{}).InputStats()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v: got %v, %v, want %v", tt.descr, got, err, tt.want)
		}
	}
}

// Real data under HESSDENS_DATA, by default ~/.cache/hessdens-data; hashes were computed apart from
// this package.
func TestRealData(t *testing.T) {
	dir := os.Getenv("HESSDENS_DATA")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".cache", "hessdens-data")
	}
	for _, tt := range []struct {
		name    string
		opts    Options
		total   int
		classes int
		want    string
	}{
		{"mnist", Options{Examples: 1000}, 60000, 10, "1bc6bf730cf345a56789da65c4c60f4b01fab078e98e3cadf606e583f91aa7f7"},
		{"mnist", Options{Sample: 100, SampleSeed: 7, Mean: []float64{.1307}, Std: []float64{.3081}}, 60000, 10, "8752796fc2321fd2ca83b6fdf856ac7ef256b715470866a186c33fb0f61de475"},
		{"fashion-mnist", Options{Examples: 1000}, 60000, 10, "f981b1221a034ba9acd82dcc592dc1ec67c6fab04ee782b6f610626894911096"},
		{"cifar-10-batches-bin", Options{Split: "test", Examples: 500, Mean: []float64{.4914, .4822, .4465}, Std: []float64{.2470, .2435, .2616}}, 10000, 10, "a45109cb2761c90880f23f0fe0f6bab196cd881065a2e5ad73064698c1a391b1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(dir, tt.name)); err != nil {
				t.Skip("the data is not there")
			}
			s := mustOpen(t, []Source{{FS: os.DirFS(dir), Name: tt.name}}, tt.opts)
			got, err := s.SHA256()
			if err != nil || got != tt.want || s.Total != tt.total || s.Classes != tt.classes {
				t.Errorf("%d of %d examples, %d classes, hash %s, %v, want %s", s.N, s.Total, s.Classes, got, err, tt.want)
			}
		})
	}
}

// The arrays of reference networks' cases, where HESSDENS_REFERENCE names their folder.
func TestReferenceCases(t *testing.T) {
	dir := os.Getenv("HESSDENS_REFERENCE")
	if dir == "" {
		t.Skip("HESSDENS_REFERENCE does not name the folder of reference networks")
	}
	for _, tt := range []struct {
		name            string
		n               int
		shape, target   []int
		classes, tokens int
		want            string
	}{
		// The first 1000 images of MNIST: the hash is that of the IDX files.
		{"mlp-mnist.npz", 1000, []int{1, 28, 28}, []int{}, 10, 0, "1bc6bf730cf345a56789da65c4c60f4b01fab078e98e3cadf606e583f91aa7f7"},
		{"gpt-1.npz", 4, []int{64}, []int{64}, 65, 65, ""},
	} {
		s := mustOpen(t, []Source{{FS: os.DirFS(dir), Name: "cases/" + tt.name}}, Options{})
		got, err := s.SHA256()
		if err != nil || tt.want != "" && got != tt.want || s.N != tt.n || !slices.Equal(s.X.Shape(), tt.shape) || !slices.Equal(s.Y.Shape(), tt.target) || s.Classes > tt.classes || s.Tokens > tt.tokens {
			t.Errorf("%s: %+v of shapes %v and %v, %s, %v", tt.name, s, s.X.Shape(), s.Y.Shape(), got, err)
		}
	}
}

func lenOf(values any) int {
	switch v := values.(type) {
	case []float64:
		return len(v)
	case []float32:
		return len(v)
	case []int32:
		return len(v)
	case []uint8:
		return len(v)
	}
	panic("a type that no test has")
}
