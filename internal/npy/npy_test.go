package npy

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sbinet/npyio"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/tensor"
)

func open(t *testing.T, file []byte) *Array {
	t.Helper()
	a, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Every type, in either byte order, gives its values as float64, as integers and as a tensor.
func TestTypes(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		descr string
		dtype tensor.DType
		file  any
		want  []float64
	}{
		{"f8", tensor.Float64, []float64{1.5, -inf, 5e-324}, []float64{1.5, -inf, 5e-324}},
		{"f4", tensor.Float32, []float32{1.5, -2, 1e-45}, []float64{1.5, -2, float64(float32(1e-45))}},
		{"f2", tensor.Float16, []uint16{0x3c00, 0xfc00, 0x0001, 0x7bff}, []float64{1, -inf, 1. / (1 << 24), 65504}},
		{"V2", tensor.BFloat16, []uint16{0x3f80, 0xc000, 0x0001}, []float64{1, -2, math.Ldexp(1, -133)}},
		{"i8", tensor.Int64, []int64{1, -1, 1 << 40}, []float64{1, -1, 1 << 40}},
		{"i4", tensor.Int32, []int32{1, -1, math.MinInt32}, []float64{1, -1, math.MinInt32}},
		{"i2", tensor.Int16, []int16{1, -1, math.MinInt16}, []float64{1, -1, math.MinInt16}},
		{"i1", tensor.Int8, []int8{1, -1, -128}, []float64{1, -1, -128}},
		{"u8", tensor.Uint64, []uint64{1, 2, 1 << 62}, []float64{1, 2, 1 << 62}},
		{"u4", tensor.Uint32, []uint32{1, 2, math.MaxUint32}, []float64{1, 2, math.MaxUint32}},
		{"u2", tensor.Uint16, []uint16{1, 2, 65535}, []float64{1, 2, 65535}},
		{"u1", tensor.Uint8, []uint8{1, 2, 255}, []float64{1, 2, 255}},
		{"b1", tensor.Bool, []uint8{0, 1, 7}, []float64{0, 1, 1}},
	} {
		for _, order := range "<>|=" {
			if order == '|' && tt.dtype.Size() > 1 {
				continue
			}
			descr := string(order) + tt.descr
			n := len(tt.want)
			a := open(t, npytest.File(descr, false, []int{n}, tt.file))
			if a.DType != tt.dtype {
				t.Errorf("%s: read as %s, want %s", descr, a.DType, tt.dtype)
			}
			got := make([]float64, n)
			if err := a.Floats(got, 0, n); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, %v, want %v", descr, got, err, tt.want)
			}
			tensor, err := a.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if tensor.At(i) != want {
					t.Errorf("%s: tensor holds %v at %d, want %v", descr, tensor.At(i), i, want)
				}
			}
			if a.DType.IsFloat() {
				continue
			}
			ints := make([]int64, n)
			if err := a.Ints(ints, 0, n); err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if ints[i] != int64(want) {
					t.Errorf("%s: integer %d at %d, want %v", descr, ints[i], i, want)
				}
			}
		}
	}
}

// All 2^16 halves and all 2^8 eight-bit floats against their definition.
func TestSmallFloats(t *testing.T) {
	define := func(bits, expBits, fracBits int, ieee bool) float64 {
		exp, frac := bits>>fracBits&(1<<expBits-1), bits&(1<<fracBits-1)
		bias := 1<<(expBits-1) - 1
		sign := 1 - 2*float64(bits>>(expBits+fracBits))
		top := exp == 1<<expBits-1
		switch {
		case top && ieee && frac == 0:
			return sign * math.Inf(1)
		case top && ieee, top && frac == 1<<fracBits-1:
			return math.NaN()
		case exp == 0:
			return sign * math.Ldexp(float64(frac), 1-bias-fracBits)
		}
		return sign * math.Ldexp(float64(frac+1<<fracBits), exp-bias-fracBits)
	}
	same := func(got float32, want float64) bool {
		return math.IsNaN(want) && got != got || float64(got) == want && math.Signbit(float64(got)) == math.Signbit(want)
	}
	for b := range 1 << 16 {
		if got, want := float16(uint16(b)), define(b, 5, 10, true); !same(got, want) {
			t.Fatalf("float16 %#04x: got %v, want %v", b, got, want)
		}
		if got, want := bfloat16(uint16(b)), define(b, 8, 7, true); !same(got, want) {
			t.Fatalf("bfloat16 %#04x: got %v, want %v", b, got, want)
		}
	}
	for b := range 1 << 8 {
		if got, want := float8E4(uint8(b)), define(b, 4, 3, false); !same(got, want) {
			t.Fatalf("float8_e4m3fn %#02x: got %v, want %v", b, got, want)
		}
		if got, want := float8E5(uint8(b)), define(b, 5, 2, true); !same(got, want) {
			t.Fatalf("float8_e5m2 %#02x: got %v, want %v", b, got, want)
		}
	}
	for d, want := range map[tensor.DType][]float64{tensor.Float8E4: {448, -0.001953125}, tensor.Float8E5: {math.NaN(), -1. / 65536}} {
		a := &Array{DType: d, Shape: []int{2}, Data: bytes.NewReader([]byte{0x7e, 0x81})}
		got := make([]float64, 2)
		if err := a.Floats(got, 0, 2); err != nil || !same(float32(got[0]), want[0]) || got[1] != want[1] {
			t.Errorf("%s: got %v, %v, want %v", d, got, err, want)
		}
	}
	if float8E4(0x7e) != 448 || float16(0x3555) != 0.333251953125 {
		t.Error("known values differ")
	}
}

// What an independent writer writes is read.
func TestOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]float64, 60000) // more than one buffer
	for i := range want {
		want[i] = r.NormFloat64()
	}
	var file bytes.Buffer
	if err := npyio.Write(&file, want); err != nil {
		t.Fatal(err)
	}
	a := open(t, file.Bytes())
	got := make([]float64, len(want)-20)
	if err := a.Floats(got, 7, len(want)-13); err != nil || !slices.Equal(got, want[7:len(want)-13]) {
		t.Errorf("values differ (%v)", err)
	}
}

// Ranges of rows are the same in C order, in Fortran order and with a stride, and so is the tensor.
func TestRowsOfEveryOrder(t *testing.T) {
	for _, shape := range [][]int{{7, 3, 4}, {5, 1}, {4, 1, 6}, {6}, {3, 2, 2, 5}, {0, 3}, {3, 0}, {}} {
		n := tensor.Count(shape)
		values := make([]int32, n)
		for i := range values {
			values[i] = int32(i * i)
		}
		columns := make([]int32, n) // the same values in Fortran order
		at := make([]int, len(shape))
		for i := range values {
			rest, index, stride := i, 0, 1
			for j := len(shape) - 1; j >= 0; j-- {
				at[j], rest = rest%shape[j], rest/shape[j]
			}
			for j, s := range shape {
				index += at[j] * stride
				stride *= s
			}
			columns[index] = values[i]
		}
		c := open(t, npytest.File("<i4", false, shape, values))
		arrays := map[string]*Array{"C": c, "Fortran": open(t, npytest.File(">i4", true, shape, columns))}
		row, rows := c.RowLen(), c.Rows()
		var gaps []byte
		for i := range rows {
			gaps = append(append(gaps, "gap"...), npytest.Bytes(values[i*row:(i+1)*row], false)...)
		}
		arrays["stride"] = &Array{DType: tensor.Int32, Shape: shape, Data: bytes.NewReader(gaps), Offset: 3, Stride: int64(4*row + 3)}
		for name, a := range arrays {
			for lo := 0; lo <= rows; lo++ {
				for hi := lo; hi <= rows; hi++ {
					got := make([]int64, (hi-lo)*row)
					if err := a.Ints(got, lo, hi); err != nil {
						t.Fatal(err)
					}
					for i, v := range got {
						if v != int64(values[lo*row+i]) {
							t.Fatalf("%s order of %v, rows %d to %d: got %v", name, shape, lo, hi, got)
						}
					}
				}
			}
			if name == "stride" {
				continue
			}
			all, err := a.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range all.I64 {
				if v != int64(values[i]) {
					t.Fatalf("%s order of %v: tensor is %v", name, shape, all.I64)
				}
			}
			if len(all.I64) != n || !slices.Equal(all.Shape, shape) {
				t.Errorf("%s order of %v: %d values of shape %v", name, shape, len(all.I64), all.Shape)
			}
		}
	}
}

func TestBytes(t *testing.T) {
	a := open(t, npytest.File("|b1", false, []int{2, 2}, []uint8{0, 1, 9, 0}))
	got := make([]uint8, 2)
	if err := a.Bytes(got, 1, 2); err != nil || !slices.Equal(got, []uint8{1, 0}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCallersBugsPanic(t *testing.T) {
	floats := open(t, npytest.File("<f4", false, []int{2, 3}, make([]float32, 6)))
	for name, f := range map[string]func(){
		"rows beyond the end":  func() { floats.Floats(make([]float64, 9), 0, 3) },
		"a short destination":  func() { floats.Floats(make([]float64, 2), 0, 1) },
		"a negative row":       func() { floats.Floats(make([]float64, 6), -1, 1) },
		"integers of floats":   func() { floats.Ints(make([]int64, 3), 0, 1) },
		"bytes of floats":      func() { floats.Bytes(make([]uint8, 3), 0, 1) },
		"an array of no dtype": func() { (&Array{Shape: []int{1}}).Tensor() },
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

func TestVersionsAndHeaders(t *testing.T) {
	values := npytest.Bytes([]float32{1, 2}, false)
	for _, header := range []string{
		"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
		`{"shape":(2,1),"fortran_order":True,"descr":"<f4"}`,
		"{'descr': 'f4', 'fortran_order': False, 'shape': (2L,), }",
		" { 'descr' : '=f4' , 'fortran_order' : False , 'shape' : ( 1 , 2 ) } ",
	} {
		for major := byte(1); major <= 3; major++ {
			a := open(t, npytest.Raw(major, header, values))
			got := make([]float64, 2)
			if err := a.Floats(got, 0, a.Rows()); err != nil || !slices.Equal(got, []float64{1, 2}) {
				t.Errorf("version %d, %s: got %v, %v", major, header, got, err)
			}
		}
	}
}

func TestBadFiles(t *testing.T) {
	good := npytest.File("<f4", false, []int{2, 3}, make([]float32, 6))
	h := func(s string) []byte { return npytest.Raw(1, s, make([]byte, 24)) }
	at := func(i int, b ...byte) []byte {
		out := slices.Clone(good)
		copy(out[i:], b)
		return out
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "too few"},
		{"only a magic", good[:8], "too few"},
		{"another file", []byte("this is no array at all"), "magic"},
		{"a future version", at(6, 4), "version 4.0"},
		{"a long header", at(8, 0xff, 0xff), "does not fit"},
		{"a cut header", good[:40], "does not fit"},
		{"a huge header", append(at(6, 2, 0, 0, 0, 0x20, 0), make([]byte, 1<<22)...), "more than"},
		{"cut values", good[:len(good)-1], "truncated"},
		{"values too many", append(slices.Clone(good), 0), "needs 24 bytes, but 25"},
		{"no dictionary", h("descr"), "not a dictionary"},
		{"a key twice", h("{'shape': (6,), 'shape': (6,)}"), "twice"},
		{"an unknown key", h("{'order': 3}"), `unknown key "order"`},
		{"a missing key", h("{'descr': '<f4', 'shape': (6,)}"), "not all there"},
		{"text behind", h("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} x"), "text after"},
		{"an endless string", h("{'descr': '<f4}"), "without end"},
		{"an endless type", h("{'descr': [('a', '<f4')"), "without end"},
		{"an escape", h(`{'descr\n': 1}`), "escape"},
		{"a negative size", h("{'shape': (-6,)}"), "not a size"},
		{"a huge size", h("{'shape': (99999999999999999999,)}"), "not a size"},
		{"an overflow", h("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}"), "more values than an int"},
		{"a lie", h("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}"), "truncated"},
		{"many axes", h("{'shape': (" + strings.Repeat("1,", 65) + ")}"), "more than 64"},
		{"a word for a bool", h("{'fortran_order': Maybe}"), "neither"},
		{"objects", h("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}"), "pickle"},
		{"a structure", h("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}"), "structured"},
		{"text", h("{'descr': '<U6', 'fortran_order': False, 'shape': (1,)}"), "not read"},
		{"a long double", h("{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}"), "not read"},
		{"complex", h("{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}"), "complex numbers"},
		{"one-byte floats", h("{'descr': '<f1', 'fortran_order': False, 'shape': (24,)}"), "safetensors"},
	} {
		_, err := Open(bytes.NewReader(tt.file), int64(len(tt.file)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestValueBeyondInt64(t *testing.T) {
	a := open(t, npytest.File("<u8", false, []int{2}, []uint64{1, 1 << 63}))
	err := a.Ints(make([]int64, 2), 0, 2)
	if err == nil || !strings.Contains(err.Error(), "offset 136") {
		t.Errorf("got %v, want an error at offset 136", err)
	}
	if _, err := a.Tensor(); err == nil {
		t.Error("no error from Tensor")
	}
	got := make([]float64, 2)
	if err := a.Floats(got, 0, 2); err != nil || got[1] != 1<<63 {
		t.Errorf("as floats: got %v, %v", got, err)
	}
}

// A file that shrinks after it was opened is an error, not a panic.
func TestShrunkFile(t *testing.T) {
	file := npytest.File("<f4", false, []int{2, 3}, make([]float32, 6))
	a := open(t, file)
	a.Data = bytes.NewReader(file[:len(file)-2])
	if err := a.Floats(make([]float64, 6), 0, 2); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v", err)
	}
}

func TestArchive(t *testing.T) {
	a := npytest.File("<f4", false, []int{3}, []float32{1, 2, 3})
	b := npytest.File("<f8", true, []int{100, 100}, make([]float64, 10000))
	for _, deflate := range []bool{false, true} {
		file := npytest.Archive(deflate, npytest.Entry{Name: "a.b.npy", Data: a}, npytest.Entry{Name: "readme.txt", Data: []byte("hi")}, npytest.Entry{Name: "sub/b.npy", Data: b})
		z, err := OpenArchive(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if len(z.Members) != 2 || z.Members[0].Name != "a.b" || z.Members[1].Name != "sub/b" || !slices.Equal(z.Others, []string{"readme.txt"}) {
			t.Fatalf("deflate %v: got %v, %v", deflate, z.Members, z.Others)
		}
		array, err := z.Find("a.b").Array()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float64, 3)
		if err := array.Floats(got, 0, 3); err != nil || !slices.Equal(got, []float64{1, 2, 3}) {
			t.Errorf("deflate %v: got %v, %v", deflate, got, err)
		}
		if m := z.Find("sub/b"); !m.Fortran || !slices.Equal(m.Shape, []int{100, 100}) {
			t.Errorf("deflate %v: header %+v", deflate, m.Header)
		}
		if z.Find("readme.txt") != nil || z.Find("nothing") != nil {
			t.Error("found what is not there")
		}
	}
}

func TestArchiveDamage(t *testing.T) {
	values := make([]float64, 500)
	for i := range values {
		values[i] = math.Sqrt(float64(i))
	}
	for _, deflate := range []bool{false, true} {
		file := npytest.Archive(deflate, npytest.Entry{Name: "w.npy", Data: npytest.File("<f8", false, []int{500}, values)})
		file[len(file)/2] ^= 1
		z, err := OpenArchive(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Find("w").Array(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("deflate %v: a flipped bit gave %v", deflate, err)
		}
	}
}

// entry writes a zip with what the directory says under the caller's control.
func entry(h zip.FileHeader, packed []byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h.Name = "w.npy"
	w, err := z.CreateRaw(&h)
	if err == nil {
		_, err = w.Write(packed)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestHostileArchives(t *testing.T) {
	npy := npytest.File("<f4", false, []int{2}, []float32{1, 2})
	n := uint64(len(npy))
	plain := npytest.Archive(false, npytest.Entry{Name: "w.npy", Data: npy})
	twice := npytest.Archive(false, npytest.Entry{Name: "w.npy", Data: npy}, npytest.Entry{Name: "w.npy", Data: npy})
	apart := npytest.Archive(false, npytest.Entry{Name: "v.npy", Data: npy}, npytest.Entry{Name: "w.npy", Data: npy})
	// Point the second entry of the directory at the first one's local header, whose name then differs.
	overlap := slices.Clone(apart)
	i := bytes.LastIndex(overlap, []byte("PK\x01\x02"))
	copy(overlap[i+42:i+46], make([]byte, 4))
	lie := npytest.Raw(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,)}", nil)
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"a cut file", plain[:len(plain)-5], "zip directory"},
		{"no zip", []byte("PK\x03\x04 and then nothing"), "zip directory"},
		{"a name twice", twice, "twice"},
		{"an overlap", overlap, "overlap"},
		{"encryption", entry(zip.FileHeader{Flags: 1, CompressedSize64: n, UncompressedSize64: n}, npy), "encrypted"},
		{"another method", entry(zip.FileHeader{Method: 12, CompressedSize64: n, UncompressedSize64: n}, npy), "method 12"},
		{"stored sizes that differ", entry(zip.FileHeader{CompressedSize64: n, UncompressedSize64: n + 8}, npy), "declared as"},
		{"a size beyond the file", entry(zip.FileHeader{CompressedSize64: 1 << 40, UncompressedSize64: 1 << 40}, npy), "beyond the end"},
		{"a bomb", entry(zip.FileHeader{Method: zip.Deflate, CompressedSize64: uint64(len(lie)), UncompressedSize64: 1e12 + uint64(len(lie))}, lie), "can give"},
		{"more than 2^63", entry(zip.FileHeader{Method: zip.Deflate, CompressedSize64: n, UncompressedSize64: 1<<64 - 1}, npy), "can give"},
		{"no array inside", npytest.Archive(true, npytest.Entry{Name: "w.npy", Data: []byte("a text of no use")}), "magic"},
		{"a cut array", npytest.Archive(true, npytest.Entry{Name: "w.npy", Data: npy[:len(npy)-1]}), "truncated"},
	} {
		_, err := OpenArchive(bytes.NewReader(tt.file), int64(len(tt.file)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// Sizes declared wrong for a deflated member are found when it is read, at the latest.
func TestDeclaredSize(t *testing.T) {
	for delta, ok := range map[int]bool{0: true, -4: false, 4: false} {
		// The header inside agrees with the lie of the directory; the stream holds 200 values.
		npy := npytest.File("<f4", false, []int{200 + delta/4}, make([]float32, 200))
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.BestCompression)
		if err == nil {
			_, err = w.Write(npy)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		file := entry(zip.FileHeader{
			Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(npy),
			CompressedSize64: uint64(packed.Len()), UncompressedSize64: uint64(len(npy) + delta),
		}, packed.Bytes())
		a, err := OpenArchive(bytes.NewReader(file), int64(len(file)))
		if err == nil {
			_, err = a.Find("w").Array()
		}
		if (err == nil) != ok {
			t.Errorf("%+d bytes: got %v", delta, err)
		}
	}
}

func TestCanInflate(t *testing.T) {
	for _, tt := range []struct {
		packed, size int64
		want         bool
	}{{0, 0, true}, {1, 1032, true}, {10, 10320, true}, {10, 12000, false}, {1 << 20, 1032 << 20, true}, {1 << 20, 1034 << 20, false}, {1, 1 << 62, false}} {
		if got := CanInflate(tt.packed, tt.size); got != tt.want {
			t.Errorf("%d bytes to %d: got %v", tt.packed, tt.size, got)
		}
	}
	// The most compressible file there is passes.
	file := npytest.Archive(true, npytest.Entry{Name: "w.npy", Data: npytest.File("|u1", false, []int{1 << 22}, make([]uint8, 1<<22))})
	if _, err := OpenArchive(bytes.NewReader(file), int64(len(file))); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(npytest.File("<f4", false, []int{2, 3}, make([]float32, 6)))
	f.Add(npytest.File(">i2", true, []int{2, 3}, make([]int16, 6)))
	f.Add(npytest.Raw(2, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", make([]byte, 4)))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		all, err := a.Tensor()
		if err != nil {
			if a.DType == tensor.Uint64 {
				return
			}
			t.Fatalf("opened, but not read: %v", err)
		}
		row, rows := a.RowLen(), a.Rows()
		if row == 0 {
			return
		}
		got := make([]float64, rows*row)
		for i := range rows {
			if err := a.Floats(got[i*row:(i+1)*row], i, i+1); err != nil {
				t.Fatal(err)
			}
		}
		for i, v := range got {
			if want := all.At(i); !(v == want) && !(v != v && want != want) {
				t.Fatalf("value %d: %v by rows, %v in the tensor", i, v, want)
			}
		}
	})
}
