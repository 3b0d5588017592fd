package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".parquet"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// column is all of a column, its groups one after the other.
func column(t *testing.T, f *File, name string) *Values {
	t.Helper()
	i := slices.IndexFunc(f.Columns, func(c *Column) bool { return c.Name() == name })
	if i < 0 {
		t.Fatalf("there is no column %q", name)
	}
	all := &Values{}
	for g := range f.Groups {
		v, err := f.Read(g, f.Columns[i])
		if err != nil {
			t.Fatal(err)
		}
		all.Def, all.Rep = append(all.Def, v.Def...), append(all.Rep, v.Rep...)
		all.Ints, all.Floats, all.Bytes = append(all.Ints, v.Ints...), append(all.Floats, v.Floats...), append(all.Bytes, v.Bytes...)
	}
	return all
}

// The table of testdata/make.py, in each form.
func TestRead(t *testing.T) {
	for name, groups := range map[string]int{"snappy": 1, "none": 1, "zstd": 1, "gzip": 5, "pages": 1, "runs": 1, "delta": 1} {
		t.Run(name, func(t *testing.T) {
			b := read(t, name)
			f, err := Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if f.Rows != 300 || len(f.Groups) != groups || len(f.Columns) != 12 {
				t.Fatalf("%d rows, %d groups, %d columns", f.Rows, len(f.Groups), len(f.Columns))
			}
			var want struct {
				ints, small, bools, null, list []int64
				float, double, nested          []float64
				text, image, path, half        []string
				def, listDef, listRep          []uint8
				nestedRep                      []uint8
			}
			for i := range 300 {
				want.ints = append(want.ints, int64(7*i-1000))
				want.small = append(want.small, int64(i%256))
				want.float = append(want.float, float64(float32(float64(i)/3)))
				want.double = append(want.double, float64(i)/7)
				want.bools = append(want.bools, map[bool]int64{true: 1}[i%3 == 0])
				want.text = append(want.text, fmt.Sprintf("row %d", i%11))
				want.def = append(want.def, map[bool]uint8{false: 1}[i%5 == 0])
				if i%5 > 0 {
					want.null = append(want.null, int64(i))
				}
				if i%4 == 0 {
					want.listDef, want.listRep = append(want.listDef, 1), append(want.listRep, 0)
				} else {
					want.listDef, want.listRep = append(want.listDef, 3, 3, 3), append(want.listRep, 0, 1, 1)
					want.list = append(want.list, int64(i), int64(i)+1, int64(i)+2)
				}
				want.image = append(want.image, strings.Repeat(string([]byte{byte(i)}), i%7))
				want.path = append(want.path, fmt.Sprintf("%d.png", i))
				want.nested = append(want.nested, float64(i), float64(i)+0.5, float64(i)+1, float64(i)+1.5)
				want.nestedRep = append(want.nestedRep, 0, 2, 1, 2)
			}
			texts := func(v [][]byte) (out []string) {
				for _, b := range v {
					out = append(out, string(b))
				}
				return out
			}
			nulls, list, nested := column(t, f, "null"), column(t, f, "list.list.element"), column(t, f, "nested.list.element.list.element")
			half := column(t, f, "half").Bytes
			for what, ok := range map[string]bool{
				"int": slices.Equal(column(t, f, "int").Ints, want.ints), "small": slices.Equal(column(t, f, "small").Ints, want.small),
				"float": slices.Equal(column(t, f, "float").Floats, want.float), "double": slices.Equal(column(t, f, "double").Floats, want.double),
				"bool": slices.Equal(column(t, f, "bool").Ints, want.bools), "text": slices.Equal(texts(column(t, f, "text").Bytes), want.text),
				"null":   slices.Equal(nulls.Ints, want.null) && slices.Equal(nulls.Def, want.def),
				"list":   slices.Equal(list.Ints, want.list) && slices.Equal(list.Def, want.listDef) && slices.Equal(list.Rep, want.listRep),
				"nested": slices.Equal(nested.Floats, want.nested) && slices.Equal(nested.Rep, want.nestedRep),
				"image":  slices.Equal(texts(column(t, f, "image.bytes").Bytes), want.image), "path": slices.Equal(texts(column(t, f, "image.path").Bytes), want.path),
				"half": len(half) == 300 && bytes.Equal(half[8], []byte{0, 0x3c}),
			} {
				if !ok {
					t.Errorf("column %q differs", what)
				}
			}
			for name, logical := range map[string]Logical{"int": None, "small": Uint8, "text": String, "half": Float16, "image.bytes": None} {
				if i := slices.IndexFunc(f.Columns, func(c *Column) bool { return c.Name() == name }); f.Columns[i].Logical != logical {
					t.Errorf("column %q stands for %d, want %d", name, f.Columns[i].Logical, logical)
				}
			}
		})
	}
}

// What is not read says so, and what to do.
func TestNotRead(t *testing.T) {
	for name, want := range map[string]string{"brotli": "the compression 4 Brotli is not read (write"} {
		b := read(t, name)
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(0, f.Columns[0]); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `column "int", row group 0: `) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := read(t, "none")
	copy(b[len(b)-4:], "PARE")
	if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("got %v", err)
	}
}

// value is a thrift value of the tests' writer: an int64, a string, a bool, a list or a structure.
type (
	list  []any
	field struct {
		id    int
		value any
	}
	structure []field
)

func kindOf(v any) byte {
	switch v := v.(type) {
	case bool:
		if v {
			return thriftTrue
		}
		return thriftFalse
	case int, int64:
		return thriftI64
	case string:
		return thriftBinary
	case list:
		return thriftList
	}
	return thriftStruct
}

func encode(b []byte, v any) []byte {
	switch v := v.(type) {
	case int:
		b = binary.AppendVarint(b, int64(v))
	case int64:
		b = binary.AppendVarint(b, v)
	case string:
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	case list:
		kind := byte(thriftStruct)
		if len(v) > 0 {
			kind = kindOf(v[0])
		}
		b = binary.AppendUvarint(append(b, 0xf0|kind), uint64(len(v)))
		for _, e := range v {
			b = encode(b, e)
		}
	case structure:
		for _, f := range v {
			b = append(b, kindOf(f.value))
			b = encode(b, f.id) // a zigzag number, as any integer
			b = encode(b, f.value)
		}
		b = append(b, 0)
	}
	return b
}

// form is a file of one column "x" in one group, to be made wrong.
type form struct {
	kind, repetition int64 // of the column
	rows, values     int64 // as declared
	codec            int64
	offset, length   int64 // of the chunk; 0: right
	header           structure
	page             []byte // behind the header
	schema           list   // in place of the right one
}

func (f form) file() []byte {
	b := []byte(magic)
	page := encode(nil, f.header)
	page = append(page, f.page...)
	b = append(b, page...)
	if f.offset == 0 {
		f.offset = 4
	}
	if f.length == 0 {
		f.length = int64(len(page))
	}
	if f.schema == nil {
		f.schema = list{structure{{4, "root"}, {5, 1}}, structure{{1, f.kind}, {3, f.repetition}, {4, "x"}}}
	}
	chunk := structure{{3, structure{{1, f.kind}, {4, f.codec}, {5, f.values}, {7, f.length}, {9, f.offset}}}}
	meta := encode(nil, structure{{1, 1}, {2, f.schema}, {3, f.rows}, {4, list{structure{{1, list{chunk}}, {3, f.rows}}}}})
	b = append(b, meta...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(meta)))
	return append(b, magic...)
}

// dataPage is the header of a page of the first version.
func dataPage(full, packed, values, encoding int64) structure {
	return structure{{1, 0}, {2, full}, {3, packed}, {5, structure{{1, values}, {2, encoding}, {3, rle}, {4, rle}}}}
}

func open(b []byte) (*Values, error) {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	if len(f.Groups) == 0 {
		return nil, errors.New("no groups")
	}
	return f.Read(0, f.Columns[0])
}

func TestHelpers(t *testing.T) {
	v, err := open(form{kind: int64(Int32), rows: 2, values: 2, header: dataPage(8, 8, 2, plain), page: []byte{5, 0, 0, 0, 255, 255, 255, 255}}.file())
	if err != nil || !slices.Equal(v.Ints, []int64{5, -1}) {
		t.Errorf("got %v, %v", v, err)
	}
}

// zeros are n bytes of zero in a frame of zstd.
func zeros(t *testing.T, n int) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostile(t *testing.T) {
	good := form{kind: int64(Int32), rows: 2, values: 2, header: dataPage(8, 8, 2, plain), page: make([]byte, 8)}
	with := func(f func(*form)) []byte {
		b := good
		f(&b)
		return b.file()
	}
	deep := structure{}
	for range 200 {
		deep = structure{{1, deep}}
	}
	footer := func(b []byte) []byte {
		out := append([]byte("PAR1...."), b...)
		return append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), magic...)
	}
	long := good.file()
	binary.LittleEndian.PutUint32(long[len(long)-8:], 1<<31)
	bomb := zeros(t, 1<<28)
	for name, b := range map[string][]byte{
		"empty":                         nil,
		"short":                         []byte("PAR1"),
		"not Parquet":                   bytes.Repeat([]byte{7}, 100),
		"metadata longer than the file": long,
		"truncated":                     good.file()[:40],
		"a list of 2^60 nodes":          footer(binary.AppendUvarint([]byte{0x29, 0xfc}, 1<<60)),
		"a text of 2^63 bytes":          footer(append([]byte{0x18 + 0x40}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)),
		"structures in each other":      footer(encode(nil, structure{{77, deep}})),
		"no columns":                    with(func(f *form) { f.schema = list{structure{{4, "root"}, {5, 0}}} }),
		"a node too few":                with(func(f *form) { f.schema = list{structure{{4, "root"}, {5, 2}}, structure{{1, 1}, {3, 0}, {4, "x"}}} }),
		"2^40 children": with(func(f *form) {
			f.schema = list{structure{{4, "root"}, {5, int64(1 << 40)}}, structure{{1, 1}, {3, 0}, {4, "x"}}}
		}),
		"a node too many": with(func(f *form) {
			f.schema = list{structure{{4, "root"}, {5, 1}}, structure{{1, 1}, {3, 0}, {4, "x"}}, structure{{1, 1}, {3, 0}, {4, "y"}}}
		}),
		"an unknown repetition":     with(func(f *form) { f.repetition = 9 }),
		"an unknown type":           with(func(f *form) { f.kind = 99 }),
		"negative rows":             with(func(f *form) { f.rows = -1 }),
		"2^40 rows":                 with(func(f *form) { f.rows = 1 << 40 }),
		"more rows than values":     with(func(f *form) { f.rows = 3 }),
		"2^31 rows and values":      with(func(f *form) { f.rows, f.values = maxRows, maxRows }),
		"negative values":           with(func(f *form) { f.values = -2 }),
		"values that are missing":   with(func(f *form) { f.rows, f.values = 9, 9 }),
		"more values in the page":   with(func(f *form) { f.header = dataPage(8, 8, 3, plain) }),
		"2^62 values in the page":   with(func(f *form) { f.header = dataPage(8, 8, 1<<62, plain) }),
		"a chunk beyond the file":   with(func(f *form) { f.length = 1 << 40 }),
		"a chunk before the file":   with(func(f *form) { f.offset = -5 }),
		"a negative length":         with(func(f *form) { f.length = -5 }),
		"lengths that overflow":     with(func(f *form) { f.offset, f.length = 1<<62, 1<<62 }),
		"a page beyond the chunk":   with(func(f *form) { f.header = dataPage(8, 1<<30, 2, plain) }),
		"a page of negative length": with(func(f *form) { f.header = dataPage(8, -8, 2, plain) }),
		"a page of no values":       with(func(f *form) { f.header, f.page = dataPage(0, 0, 0, plain), nil }),
		"a page too short":          with(func(f *form) { f.page = f.page[:7] }),
		"an unknown encoding":       with(func(f *form) { f.header = dataPage(8, 8, 2, 77) }),
		"no dictionary":             with(func(f *form) { f.header = dataPage(8, 8, 2, rleDictionary) }),
		"a bomb":                    with(func(f *form) { f.codec, f.page, f.header = 6, bomb, dataPage(1<<28, int64(len(bomb)), 2, plain) }),
		"a bomb in disguise":        with(func(f *form) { f.codec, f.page, f.header = 6, bomb, dataPage(4, int64(len(bomb)), 2, plain) }),
		"a page of 2^60 bytes":      with(func(f *form) { f.codec, f.page, f.header = 6, bomb, dataPage(1<<60, int64(len(bomb)), 2, plain) }),
		"snappy of 2^32 bytes": with(func(f *form) {
			f.codec, f.page, f.header = 1, []byte{0xff, 0xff, 0xff, 0xff, 0xf}, dataPage(1<<32-1, 5, 2, plain)
		}),
		"a text of 2^32 bytes":        with(func(f *form) { f.kind, f.page = int64(ByteArray), []byte("\xff\xff\xff\xff1234") }),
		"fixed length 0":              with(func(f *form) { f.kind = int64(FixedLenByteArray) }),
		"timestamps of 96 bits":       with(func(f *form) { f.kind, f.page, f.header = int64(Int96), make([]byte, 24), dataPage(24, 24, 2, plain) }),
		"levels longer than the page": with(func(f *form) { f.repetition, f.page = 1, []byte("\xff\xff\xff\xff1234") }),
		"levels that are missing":     with(func(f *form) { f.repetition, f.page = 1, []byte("\x00\x00\x00\x001234") }),
		"second version, levels beyond": with(func(f *form) {
			f.header = structure{{1, 3}, {2, 8}, {3, 8}, {8, structure{{1, 2}, {4, plain}, {5, int64(1 << 62)}, {6, int64(1 << 62)}}}}
		}),
	} {
		if v, err := open(b); err == nil {
			t.Errorf("%s: no error, %v", name, v)
		} else if strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The example of the format's description: 7, 5, 3, 1, 2, 3, 4, 5 are differences of -2, ..., 1, …; and what is no list of
// differences.
func TestDifferences(t *testing.T) {
	want := []int64{7, 5, 3, 1, 2, 3, 4, 5}
	good := slices.Concat([]byte{128, 1, 4, 8, 14, 3, 2, 0, 0, 0}, []byte{0xc0, 0x3f}, make([]byte, 6))
	for name, tt := range map[string]struct {
		b    []byte
		n    int
		want []int64
	}{
		"good": {good, 8, want}, "one": {[]byte{128, 1, 4, 1, 14}, 1, []int64{7}}, "none": {[]byte{128, 1, 4, 0, 0}, 0, nil},
		"another number": {good, 9, nil}, "cut": {good[:12], 8, nil}, "empty": {nil, 8, nil},
		"no miniblocks": {[]byte{128, 1, 0, 8, 14, 3}, 8, nil}, "a width of 65": {[]byte{128, 1, 4, 8, 14, 3, 65, 0, 0, 0}, 8, nil},
		"a block of 2^63": {[]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1, 8, 14, 3, 1}, 8, nil},
	} {
		var got []int64
		_, err := differences(tt.b, tt.n, func(v int64) error { got = append(got, v); return nil })
		if ok := name == "good" || name == "one" || name == "none"; ok != (err == nil) || ok && !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// A page whose values repeat all of the one before asks for more than the file justifies.
func TestDeltaBomb(t *testing.T) {
	const n, long = 100_000, 60_000
	var page []byte
	constant := func(b []byte, first, rest int) []byte { // a list of n numbers: the first, then another in all places
		b = append(b, 128, 1, 4)
		b = binary.AppendUvarint(b, n)
		b = binary.AppendVarint(b, int64(first))
		for i := 0; i < n-1; i += 128 {
			d := 0
			if i == 0 {
				d = rest - first
			}
			if i == 0 { // the first difference is d, the others 0
				lowest := min(d, 0)
				b = binary.AppendVarint(b, int64(lowest))
				b = append(b, 17, 17, 17, 17)
				bitsOf := make([]byte, 128*17/8)
				for j := range 128 {
					v := -lowest
					if j == 0 {
						v = d - lowest
					}
					for k := range 17 {
						if v>>k&1 == 1 {
							bitsOf[(j*17+k)/8] |= 1 << ((j*17 + k) % 8)
						}
					}
				}
				b = append(b, bitsOf...)
				continue
			}
			b = append(b, 0, 0, 0, 0, 0)
		}
		return b
	}
	page = constant(page, 0, long) // prefixes
	page = constant(page, long, 0) // lengths of what follows
	page = append(page, make([]byte, long)...)
	_, err := open(form{kind: int64(ByteArray), rows: n, values: n, header: dataPage(int64(len(page)), int64(len(page)), n, deltaBytes), page: page}.file())
	if err == nil || !strings.Contains(err.Error(), "far more memory") {
		t.Errorf("got %v", err)
	}
}

// Indices beyond the dictionary, and numbers in runs and groups.
func TestHybrid(t *testing.T) {
	for _, tt := range []struct {
		b     []byte
		width int
		n     int
		want  []uint32
	}{
		{[]byte{8, 3}, 2, 4, []uint32{3, 3, 3, 3}},
		{[]byte{3, 0x88, 0xc6, 0xfa}, 3, 8, []uint32{0, 1, 2, 3, 4, 5, 6, 7}}, // the example of the format's description
		{[]byte{3, 0x88, 0xc6, 0xfa}, 3, 5, []uint32{0, 1, 2, 3, 4}},
		{[]byte{3, 0x88, 0xc6, 0xfa, 4, 9}, 3, 10, []uint32{0, 1, 2, 3, 4, 5, 6, 7, 9, 9}},
		{[]byte{200, 1}, 0, 3, []uint32{0, 0, 0}},
		{[]byte{4, 1, 2, 3, 4}, 32, 2, []uint32{0x04030201, 0x04030201}},
		{[]byte{3, 0x88}, 3, 8, nil},
		{[]byte{0, 0, 0}, 1, 8, nil},
		{[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 32, 8, nil},
		{nil, 1, 1, nil},
	} {
		var got []uint32
		err := hybrid(tt.b, tt.width, tt.n, func(v uint32) error { got = append(got, v); return nil })
		if tt.want == nil && err == nil || tt.want != nil && (err != nil || !slices.Equal(got, tt.want)) {
			t.Errorf("%v: got %v, %v, want %v", tt.b, got, err, tt.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, name := range []string{"snappy", "none", "zstd", "gzip", "pages", "runs", "delta"} {
		f.Add(read(f, name))
	}
	f.Add(form{kind: int64(Int32), rows: 2, values: 2, header: dataPage(8, 8, 2, plain), page: make([]byte, 8)}.file())
	f.Add(form{kind: int64(ByteArray), repetition: 1, rows: 1, values: 1, header: dataPage(11, 11, 1, plain), page: []byte("\x02\x00\x00\x00\x02\x01\x01\x00\x00\x00z")}.file())
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for g := range file.Groups {
			for _, c := range file.Columns {
				if v, err := file.Read(g, c); err == nil && (c.MaxDef > 0 && len(v.Def) != len(v.Rep) && c.MaxRep > 0) {
					t.Errorf("%d definition and %d repetition levels", len(v.Def), len(v.Rep))
				}
			}
		}
	})
}
