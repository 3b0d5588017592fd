package checkpoint

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/tensor"
)

// raw is a safetensors file of any header text and any values.
func raw(header string, values []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), values...)
}

// item is a tensor for write.
type item struct {
	name, dtype string
	shape       []int
	values      any // a slice of fixed-size values
}

// write is a safetensors file of the items, their values in order.
func write(items ...item) []byte {
	header := map[string]any{}
	var values []byte
	for _, x := range items {
		begin := len(values)
		values = append(values, npytest.Bytes(x.values, false)...)
		header[x.name] = map[string]any{"dtype": x.dtype, "shape": x.shape, "data_offsets": []int{begin, len(values)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return raw(string(text), values)
}

func open(t *testing.T, file []byte) *File {
	t.Helper()
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The test's writer gives the bytes that the format's documentation shows.
func TestWrite(t *testing.T) {
	got := write(item{"a", "I16", []int{2}, []int16{1, -2}})
	header := `{"a":{"data_offsets":[0,4],"dtype":"I16","shape":[2]}}`
	want := string(rune(len(header))) + "\x00\x00\x00\x00\x00\x00\x00" + header + "\x01\x00\xfe\xff"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSafetensorsTypes(t *testing.T) {
	for _, tt := range []struct {
		dtype  string
		values any
		want   tensor.Tensor // without shape
	}{
		{"F64", []float64{1.5, -5e-324}, tensor.Tensor{DType: tensor.Float64, F64: []float64{1.5, -5e-324}}},
		{"F32", []float32{1.5, -1e-45}, tensor.Tensor{DType: tensor.Float32, F32: []float32{1.5, -1e-45}}},
		{"F16", []uint16{0x3555, 0x8001}, tensor.Tensor{DType: tensor.Float16, F32: []float32{0.333251953125, -1. / (1 << 24)}}},
		{"BF16", []uint16{0x3eab, 0xbf80}, tensor.Tensor{DType: tensor.BFloat16, F32: []float32{0.333984375, -1}}},
		{"F8_E4M3", []uint8{0x7e, 0x81}, tensor.Tensor{DType: tensor.Float8E4, F32: []float32{448, -1. / 512}}},
		{"F8_E5M2", []uint8{0x7b, 0x81}, tensor.Tensor{DType: tensor.Float8E5, F32: []float32{57344, -1. / 65536}}},
		{"I64", []int64{math.MinInt64, 2}, tensor.Tensor{DType: tensor.Int64, I64: []int64{math.MinInt64, 2}}},
		{"I32", []int32{-1, 2}, tensor.Tensor{DType: tensor.Int32, I64: []int64{-1, 2}}},
		{"I16", []int16{-1, 2}, tensor.Tensor{DType: tensor.Int16, I64: []int64{-1, 2}}},
		{"I8", []int8{-1, 2}, tensor.Tensor{DType: tensor.Int8, I64: []int64{-1, 2}}},
		{"U64", []uint64{math.MaxInt64, 2}, tensor.Tensor{DType: tensor.Uint64, I64: []int64{math.MaxInt64, 2}}},
		{"U32", []uint32{math.MaxUint32, 2}, tensor.Tensor{DType: tensor.Uint32, I64: []int64{math.MaxUint32, 2}}},
		{"U16", []uint16{65535, 2}, tensor.Tensor{DType: tensor.Uint16, I64: []int64{65535, 2}}},
		{"U8", []uint8{255, 2}, tensor.Tensor{DType: tensor.Uint8, U8: []uint8{255, 2}}},
		{"BOOL", []uint8{0, 1}, tensor.Tensor{DType: tensor.Bool, U8: []uint8{0, 1}}},
	} {
		f := open(t, write(item{"before", "U8", []int{1}, []uint8{9}}, item{"w", tt.dtype, []int{2, 1}, tt.values}))
		got, err := f.Tensor("w")
		if err != nil {
			t.Errorf("%s: %v", tt.dtype, err)
			continue
		}
		tt.want.Shape = []int{2, 1}
		if fmt.Sprint(*got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.dtype, *got, tt.want)
		}
		if e := f.Entries[1]; e.DType != tt.want.DType || !slices.Equal(e.Shape, []int{2, 1}) {
			t.Errorf("%s: entry %v", tt.dtype, e)
		}
	}
}

func TestSafetensorsDirectory(t *testing.T) {
	f := open(t, raw(`{"__metadata__": {"format": "pt", "": "é"},
		"z": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
		"empty": {"shape": [3, 0], "data_offsets": [2, 2], "dtype": "F32"},
		"scalar": {"dtype": "U8", "shape": [], "data_offsets": [3, 4]},
		"new": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [2, 3]},
		"odd": {"dtype": "float64", "shape": [0], "data_offsets": [4, 4]}}   `, []byte{1, 2, 3, 4}))
	var names []string
	for _, e := range f.Entries {
		names = append(names, e.Name)
	}
	if want := []string{"z", "empty", "new", "scalar", "odd"}; f.Format != Safetensors || !slices.Equal(names, want) {
		t.Errorf("%s with entries %v, want %v", f.Format, names, want)
	}
	if len(f.Metadata) != 2 || f.Metadata["format"] != "pt" || f.Metadata[""] != "é" {
		t.Errorf("metadata %v", f.Metadata)
	}
	if e, err := f.Tensor("empty"); err != nil || e.Len() != 0 || e.F32 == nil {
		t.Errorf("empty: %v, %v", e, err)
	}
	if s, err := f.Tensor("scalar"); err != nil || s.Len() != 1 || s.At(0) != 4 {
		t.Errorf("scalar: %v, %v", s, err)
	}
	for name, want := range map[string]string{"new": "F8_E8M0", "odd": "not read", "none": `the file holds "z"`} {
		if _, err := f.Tensor(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
}

// A file without tensors is a file.
func TestSafetensorsEmpty(t *testing.T) {
	f := open(t, raw("{}", nil))
	if _, err := f.Tensor("w"); len(f.Entries) != 0 || err == nil || !strings.Contains(err.Error(), "holds none") {
		t.Errorf("%v, %v", f.Entries, err)
	}
}

func TestNPZ(t *testing.T) {
	for _, deflate := range []bool{false, true} {
		f := open(t, npytest.Archive(deflate,
			npytest.Entry{Name: "b.npy", Data: npytest.File(">f4", true, []int{2, 3}, []float32{1, 4, 2, 5, 3, 6})},
			npytest.Entry{Name: "a.weight.npy", Data: npytest.File("<f2", false, []int{}, []uint16{0x3c00})},
			npytest.Entry{Name: "note.npy", Data: npytest.File("<U1", false, []int{1}, []int32{65})},
			npytest.Entry{Name: "note.txt"},
		))
		if f.Format != NPZ || fmt.Sprint(f.Entries) != "[{b float32 [2 3]} {a.weight float16 []} {note <U1 [1]}]" {
			t.Errorf("%s: %v", f.Format, f.Entries)
		}
		b, err := f.Tensor("b")
		if err != nil || !slices.Equal(b.F32, []float32{1, 2, 3, 4, 5, 6}) {
			t.Errorf("deflate %v: b is %v, %v", deflate, b, err)
		}
		a, err := f.Tensor("a.weight")
		if err != nil || !slices.Equal(a.F32, []float32{1}) {
			t.Errorf("deflate %v: a.weight is %v, %v", deflate, a, err)
		}
		if _, err := f.Tensor("note"); err == nil || !strings.Contains(err.Error(), `tensor "note"`) {
			t.Errorf("note: %v", err)
		}
	}
}

func TestOtherFormats(t *testing.T) {
	var tarball bytes.Buffer
	w := tar.NewWriter(&tarball)
	if err := w.WriteHeader(&tar.Header{Name: "storages", Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "empty"},
		{"text", []byte("hello"), "not recognised"},
		{"an empty data.pkl", npytest.Archive(false, npytest.Entry{Name: "archive/data.pkl"}, npytest.Entry{Name: "archive/data/0"}), "without a STOP"},
		{"a pickle's beginning", []byte("\x80\x04\x95"), "truncated"},
		{"another tar", tarball.Bytes(), `a tar without "tensors"`},
		{"another zip", npytest.Archive(false, npytest.Entry{Name: "x.txt"}), "neither .npy"},
		{"an empty zip", npytest.Archive(false), "neither .npy"},
		{"one array", npytest.File("<f4", false, []int{1}, []float32{1}), "numpy.savez"},
		{"LFS", []byte("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"},
	} {
		_, err := Open(bytes.NewReader(tt.file), int64(len(tt.file)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// A header of 640 bytes begins like a pickle, and is none.
func TestLengthLikeAPickle(t *testing.T) {
	file := raw("{}"+strings.Repeat(" ", 638), nil)
	if file[0] != 0x80 || file[1] != 2 {
		t.Fatal("the test's file does not begin like a pickle")
	}
	open(t, file)
}

// equal says whether two checkpoints hold the same tensors, in any order.
func equal(a, b *File) error {
	if len(a.Entries) != len(b.Entries) {
		return fmt.Errorf("%d and %d entries", len(a.Entries), len(b.Entries))
	}
	for _, e := range a.Entries {
		x, err := a.Tensor(e.Name)
		if err != nil {
			return err
		}
		y, err := b.Tensor(e.Name)
		if err != nil {
			return err
		}
		if !slices.Equal(x.Shape, y.Shape) || !slices.Equal(x.Float64s(), y.Float64s()) {
			return fmt.Errorf("tensor %q differs", e.Name)
		}
	}
	return nil
}

func TestEqual(t *testing.T) {
	a := open(t, write(item{"v", "U8", []int{2}, []uint8{1, 2}}))
	for _, tt := range []struct {
		other item
		same  bool
	}{
		{item{"v", "F32", []int{2}, []float32{1, 2}}, true},
		{item{"v", "U8", []int{2}, []uint8{1, 3}}, false},
		{item{"v", "U8", []int{2, 1}, []uint8{1, 2}}, false},
		{item{"w", "U8", []int{2}, []uint8{1, 2}}, false},
	} {
		if err := equal(a, open(t, write(tt.other))); (err == nil) != tt.same {
			t.Errorf("%v: got %v", tt.other, err)
		}
	}
}

func load(t *testing.T, name string) *File {
	t.Helper()
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

// Two writers' files of one network hold the same.
func TestRealFiles(t *testing.T) {
	a, b := load(t, "testdata/mlp-final.safetensors"), load(t, "testdata/mlp-final.npz")
	if err := equal(a, b); err != nil {
		t.Error(err)
	}
	n := 0
	for _, e := range a.Entries {
		n += tensor.Count(e.Shape)
	}
	if n != 15910 {
		t.Errorf("%d parameters, want 15910", n)
	}
}

// All files of a folder of reference networks are read or refused as they should be; roundings of
// one to 16 bits are within half a unit in the last place.
func TestReferenceFolder(t *testing.T) {
	dir := os.Getenv("HESSDENS_REFERENCE")
	if dir == "" {
		t.Skip("HESSDENS_REFERENCE does not name the folder of reference networks")
	}
	dir = filepath.Join(dir, "checkpoints")
	for _, e := range must(os.ReadDir(dir)) {
		name := filepath.Join(dir, e.Name())
		switch filepath.Ext(name) {
		case ".safetensors", ".npz":
			f := load(t, name)
			for _, e := range f.Entries {
				if _, err := f.Tensor(e.Name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	exact := load(t, filepath.Join(dir, "lenet5-final.safetensors"))
	for suffix, format := range map[string]struct{ bits, least int }{"f16": {11, -24}, "bf16": {8, -133}} {
		rounded := load(t, filepath.Join(dir, "lenet5-final-"+suffix+".safetensors"))
		for _, e := range exact.Entries {
			x, y := must(exact.Tensor(e.Name)), must(rounded.Tensor(e.Name))
			for i, v := range x.F32 {
				_, exp := math.Frexp(float64(v))
				unit := math.Ldexp(1, max(exp-format.bits, format.least)) // of the last place
				if want := float32(math.RoundToEven(float64(v)/unit) * unit); y.F32[i] != want {
					t.Fatalf("%s: %s[%d] is %v, to nearest even %v, in the file %v", suffix, e.Name, i, v, want, y.F32[i])
				}
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// readAll loads every tensor of a file that opened, and holds sizes against the file's.
func readAll(t *testing.T, file []byte) {
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		if s := err.Error(); s == "" || strings.HasPrefix(s, "EOF") {
			t.Fatalf("an error that says nothing: %q", s)
		}
		return
	}
	for _, e := range f.Entries {
		x, err := f.Tensor(e.Name)
		if err != nil {
			continue
		}
		n := len(x.F64) + len(x.F32) + len(x.I64) + len(x.U8)
		if n != x.Len() || !slices.Equal(x.Shape, e.Shape) {
			t.Fatalf("tensor %q: %d values of shape %v, entry %v", e.Name, n, x.Shape, e)
		}
		if n > 1100*len(file)+2000 {
			t.Fatalf("%d values out of %d bytes", n, len(file))
		}
	}
}

func FuzzNPZ(f *testing.F) {
	a := npytest.Entry{Name: "a.npy", Data: npytest.File("<f4", false, []int{2, 3}, make([]float32, 6))}
	b := npytest.Entry{Name: "b.npy", Data: npytest.File(">i8", true, []int{3, 2}, make([]int64, 6))}
	f.Add(npytest.Archive(false, a, b))
	f.Add(npytest.Archive(true, a, b))
	f.Add(npytest.Archive(true, npytest.Entry{Name: "z.npy", Data: npytest.File("|b1", false, []int{5000}, make([]uint8, 5000))}))
	f.Add(npytest.Archive(false, npytest.Entry{Name: "archive/data.pkl"}))
	f.Fuzz(readAll)
}
