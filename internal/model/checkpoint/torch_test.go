package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gopickle "github.com/nlpodyssey/gopickle/pytorch"
	"github.com/nlpodyssey/gopickle/types"

	"hessdens/internal/tensor"
)

// openAt opens a file of testdata, or of elsewhere, as NAME or NAME#KEY.
func openAt(t *testing.T, name string) *File {
	t.Helper()
	path, key, _ := strings.Cut(name, "#")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := OpenAt(bytes.NewReader(file), int64(len(file)), key)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

// same holds two tensors against each other, value by value and exactly; a type may be wider.
func same(got, want *tensor.Tensor) error {
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("shape %v, want %v", got.Shape, want.Shape)
	}
	if got.I64 != nil && want.I64 != nil {
		if !slices.Equal(got.I64, want.I64) {
			return fmt.Errorf("%v, want %v", got.I64, want.I64)
		}
		return nil
	}
	if n := len(got.F64) + len(got.F32) + len(got.I64) + len(got.U8); n != want.Len() {
		return fmt.Errorf("%d values, want %d", n, want.Len())
	}
	for i := range want.Len() {
		if got.At(i) != want.At(i) {
			return fmt.Errorf("value %d is %v, want %v", i, got.At(i), want.At(i))
		}
	}
	return nil
}

// PyTorch's own files hold what PyTorch says they hold, in the order of the state_dict.
func TestPyTorchFiles(t *testing.T) {
	want := load(t, "testdata/pytorch/expected.safetensors")
	open := map[string]*File{}
	seen := map[string]int{}
	for _, e := range want.Entries {
		name, key, _ := strings.Cut(e.Name, "|")
		f := open[name]
		if f == nil {
			f = openAt(t, "testdata/pytorch/"+name)
			open[name] = f
		}
		seen[name]++
		got, err := f.Tensor(key)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i := slices.IndexFunc(f.Entries, func(e Entry) bool { return e.Name == key })
		if f.Entries[i].DType != got.DType || !slices.Equal(f.Entries[i].Shape, got.Shape) {
			t.Errorf("%s: tensor %q: listed as %v, read as %s %v", name, key, f.Entries[i], got.DType, got.Shape)
		}
		if err := same(got, must(want.Tensor(e.Name))); err != nil {
			t.Errorf("%s: tensor %q: %v", name, key, err)
		}
	}
	for name, f := range open {
		format := PyTorch
		switch {
		case strings.Contains(name, ".legacy."):
			format = PyTorchLegacy
		case strings.Contains(name, ".tar."):
			format = PyTorchTar
		case strings.HasSuffix(name, ".pkl"):
			format = Pickle
		}
		if f.Format != format {
			t.Errorf("%s: format %s, want %s", name, f.Format, format)
		}
		if extra := len(f.Entries) - seen[name]; extra != 0 && name != "unread.pt" && name != "script.pt" {
			t.Errorf("%s: %d entries more than expected", name, extra)
		}
	}
	if len(open) < 24 {
		t.Errorf("%d files, want 24 or more", len(open))
	}
	for name, key := range map[string]string{"dtypes.pt": "", "training.pt": "net", "nested.pt": "model.state_dict", "training.pt#ema": "ema", "arrays5.pkl": "model", "list.pt#0": "0"} {
		if got := open[name].Key; got != key {
			t.Errorf("%s: key %q, want %q", name, got, key)
		}
	}
	var names []string
	for _, e := range open["module.pt"].Entries {
		names = append(names, e.Name)
	}
	order := "scale count features.0.weight features.0.bias features.1.weight features.1.bias features.1.running_mean features.1.running_var features.1.num_batches_tracked head.weight tied.weight"
	if strings.Join(names, " ") != order {
		t.Errorf("order %v, want %s", names, order)
	}
	if !slices.Contains(open["module.pt"].Unknown, "gone.Net") {
		t.Errorf("unknown names %v", open["module.pt"].Unknown)
	}
	for _, name := range []string{"dtypes.pt", "shared.pt", "strided.legacy.pt"} {
		if u := open[name].Unknown; len(u) > 0 {
			t.Errorf("%s: unknown names %v", name, u)
		}
	}
}

// What is a tensor and is not read is listed, and refused alone.
func TestPyTorchUnread(t *testing.T) {
	f := openAt(t, "testdata/pytorch/unread.pt")
	const want = "[{plain float32 [2]} {complex complex64 [2]} {quantised quint8 [3]} {sparse float32 [3 3]} {meta float32 [2 5]}]"
	if got := fmt.Sprint(f.Entries); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, want := range map[string]string{"complex": "complex64", "quantised": ".dequantize()", "sparse": ".to_dense()", "meta": "without values"} {
		if _, err := f.Tensor(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"two.pt", "#netG, #netD"},
		{"two.pt#netX", `the keys are "netG", "netD", "epoch"`},
		{"two.pt#epoch", "no tensors"},
		{"list.pt", "#0"},
		{"optimizer.pt", "#. for the state"},
		{"list.pt#1", "no tensors"},
		{"training.pt#args", "no tensors"},
		{"training.pt#.", ""},
		{"training.pt#net", ""},
		{"training.pt#net.features.0.weight", ""},
		{"nested.pt#model.state_dict", ""},
		{"module.pt#features", ""},
		{"module.pt#features.0", ""},
		{"expected.safetensors#model", "only PyTorch files"},
	} {
		name, key, _ := strings.Cut("testdata/pytorch/"+tt.name, "#")
		file := must(os.ReadFile(name))
		f, err := OpenAt(bytes.NewReader(file), int64(len(file)), key)
		switch {
		case tt.want == "" && (err != nil || len(f.Entries) == 0):
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
	if f := openAt(t, "testdata/pytorch/training.pt#."); len(f.Entries) != 2 || f.Entries[0].Name != "best_acc1" {
		t.Errorf("top level %v", f.Entries)
	}
	if f := openAt(t, "testdata/pytorch/module.pt#features"); f.Entries[0].Name != "0.weight" {
		t.Errorf("part of a module %v", f.Entries)
	}
}

// The optimiser's state is found beside the weights.
func TestOptimizer(t *testing.T) {
	f := openAt(t, "testdata/pytorch/training.pt")
	if len(f.Optimizers) != 1 || f.Optimizers[0].Key != "optimizer" {
		t.Fatalf("optimisers %v", f.Optimizers)
	}
	o := f.Optimizers[0]
	if len(o.Groups) != 1 || !slices.Equal(o.Groups[0].Params, []string{"0", "1", "2", "3", "4", "5"}) {
		t.Fatalf("groups %v", o.Groups)
	}
	opt := o.Groups[0].Options
	if opt["lr"] != 1e-3 || opt["weight_decay"] != 0.01 || opt["amsgrad"] != false || fmt.Sprint(opt["betas"]) != "[0.9 0.999]" {
		t.Errorf("options %v", opt)
	}
	state := must(o.Open())
	if err := equal(state, openAt(t, "testdata/pytorch/training.pt#optimizer")); err != nil {
		t.Error(err)
	}
	if err := equal(state, openAt(t, "testdata/pytorch/optimizer.pt#.")); err != nil {
		t.Error(err)
	}
	if step := must(state.Tensor("state.3.step")); step.At(0) != 3 || len(state.Entries) != 18 {
		t.Errorf("step %v, %d entries", step, len(state.Entries))
	}
}

// reference is the folder of reference networks, and what lies beside it.
func reference(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("HESSDENS_REFERENCE")
	if dir == "" {
		t.Skip("HESSDENS_REFERENCE does not name the folder of reference networks")
	}
	return dir
}

// Each .pt of the reference networks holds what the .safetensors of the same network does.
func TestReferencePyTorch(t *testing.T) {
	dir := filepath.Join(reference(t), "checkpoints")
	n := 0
	for _, e := range must(os.ReadDir(dir)) {
		stem, ok := strings.CutSuffix(e.Name(), ".pt")
		if !ok {
			continue
		}
		n++
		name := e.Name()
		switch stem {
		case "lenet5-adam", "smallcnn-nobn-sgd":
			name += "#model"
			stem = stem[:strings.LastIndexByte(stem, '-')] + "-final"
		}
		got, want := openAt(t, filepath.Join(dir, name)), load(t, filepath.Join(dir, strings.TrimSuffix(stem, ".legacy")+".safetensors"))
		if err := equal(got, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n < 12 {
		t.Errorf("%d files, want 12", n)
	}
	if o := openAt(t, filepath.Join(dir, "smallcnn-nobn-sgd.pt")).Optimizers; len(o) != 1 || len(must(o[0].Open()).Entries) != 8 {
		t.Errorf("smallcnn-nobn-sgd.pt: optimisers %v", o)
	}
}

// A file of PyTorch 1.0 that many people have.
func TestPublishedFile(t *testing.T) {
	dir := filepath.Join(reference(t), "..", "data")
	if _, err := os.Stat(filepath.Join(dir, "resnet20-12fca82f.th")); errors.Is(err, os.ErrNotExist) {
		t.Skip("resnet20-12fca82f.th is not there")
	}
	got, want := openAt(t, filepath.Join(dir, "resnet20-12fca82f.th")), load(t, filepath.Join(dir, "resnet20-12fca82f.safetensors"))
	if got.Format != PyTorchLegacy || got.Key != "state_dict" || len(got.Entries) != len(want.Entries) {
		t.Errorf("%s, key %q, %d entries", got.Format, got.Key, len(got.Entries))
	}
	for _, e := range want.Entries {
		x, err := got.Tensor("module." + e.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := same(x, must(want.Tensor(e.Name))); err != nil {
			t.Errorf("tensor %q: %v", e.Name, err)
		}
	}
}

// Another reader of PyTorch files finds the same storages, offsets and strides.
func TestAgainstGopickle(t *testing.T) {
	for _, name := range []string{"strided.pt", "strided.legacy.pt"} {
		theirs, err := gopickle.Load("testdata/pytorch/" + name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours := openAt(t, "testdata/pytorch/"+name)
		for _, e := range *theirs.(*types.Dict) {
			x, y := must(ours.Tensor(e.Key.(string))), e.Value.(*gopickle.Tensor)
			data := y.Source.(*gopickle.FloatStorage).Data
			if !slices.Equal(x.Shape, y.Size) {
				t.Fatalf("%s: %v has shape %v, theirs %v", name, e.Key, x.Shape, y.Size)
			}
			for i := range x.F32 {
				at, rest := y.StorageOffset, i
				for k := len(y.Size) - 1; k >= 0; k-- {
					at += rest % y.Size[k] * y.Stride[k]
					rest /= y.Size[k]
				}
				if x.F32[i] != data[at] {
					t.Fatalf("%s: %v[%d] is %v, theirs %v", name, e.Key, i, x.F32[i], data[at])
				}
			}
		}
	}
}

// counted counts what is read of a file.
type counted struct {
	io.ReaderAt
	n int64
}

func (c *counted) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	c.n += int64(n)
	return n, err
}

// Opening a file reads and allocates a few times its directory, whatever the size of its values; a
// view reads what it needs of its storage.
func TestPyTorchMemory(t *testing.T) {
	for _, name := range []string{"dtypes.pt", "training.pt", "module.pt", "dtypes.legacy.pt", "module.legacy.pt"} {
		file := must(os.ReadFile("testdata/pytorch/" + name)) // these are mostly directory
		n := allocated(func() { must(Open(bytes.NewReader(file), int64(len(file)))) })
		if most := 16*uint64(len(file)) + 32_000; n > most {
			t.Errorf("%s: %d bytes allocated for a file of %d, want at most %d", name, n, len(file), most)
		}
	}
	// A terabyte of float32 before PyTorch 1.6: all of it, and one value of each half.
	const values, half = "\x8a\x06\x00\x00\x00\x00\x40\x00", "\x8a\x05\x00\x00\x00\x00\x20"
	storage := "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + values + "NtQ"
	tensor := func(name, shape, stride string) string {
		return "X\x01\x00\x00\x00" + name + "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + "K\x00" + shape + "\x85" + stride + "\x85\x89}tRs"
	}
	head := []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}." +
		"\x80\x02}" + tensor("w", values, "K\x01") + tensor("v", "K\x02", half) + ".\x80\x02]X\x01\x00\x00\x000a.\x00\x00\x00\x00\x40\x00\x00\x00")
	r := &counted{ReaderAt: zeros{head}}
	n := allocated(func() {
		f, err := Open(r, int64(len(head))+4<<38)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.Entries); got != "[{w float32 [274877906944]} {v float32 [2]}]" {
			t.Errorf("entries %s", got)
		}
		if v, err := f.Tensor("v"); err != nil || len(v.F32) != 2 {
			t.Errorf("%v, %v", v, err)
		}
	})
	if n > 500_000 || r.n > 100_000 {
		t.Errorf("%d bytes allocated and %d read of a terabyte", n, r.n)
	}
}

// zeros is a file that begins with head and then has no end.
type zeros struct{ head []byte }

func (z zeros) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(z.head)) {
		copy(b, z.head[off:])
	}
	return len(b), nil
}
