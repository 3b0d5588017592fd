package safetensors

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/tensor"
)

// file is a file of any header text and any values.
func file(header string, values ...byte) []byte {
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), []byte(header), values)
}

// The directory is in the order of the values, which stay in the file; package checkpoint has the table of types.
func TestOpen(t *testing.T) {
	b := file(`{"b": {"dtype": "I16", "shape": [2], "data_offsets": [1, 5]}, "a": {"dtype": "U4", "shape": [2], "data_offsets": [0, 1]}, "__metadata__": {"k": "v"}}`, 9, 1, 0, 0xfe, 0xff)
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) != 2 || f.Entries[0].Name != "a" || f.Entries[1].DType != tensor.Int16 || f.Metadata["k"] != "v" || f.Find("c") != nil {
		t.Errorf("%+v", f)
	}
	a, err := f.Find("b").Array()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]int64, 2)
	if err := a.Ints(got, 0, 2); err != nil || !slices.Equal(got, []int64{1, -2}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := f.Find("a").Array(); err == nil || !strings.Contains(err.Error(), `type "U4" are not read`) {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestHostile(t *testing.T) {
	const w = `{"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}`
	good := file(`{"w": `+w+`}`, 1, 2)
	long := slices.Clone(good)
	binary.LittleEndian.PutUint64(long, 1<<63)
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"a cut header", good[:30], "does not fit"},
		{"a huge header", long, "does not fit"},
		{"cut values", good[:len(good)-1], `tensor "w": its values end at offset`},
		{"values too many", append(slices.Clone(good), 0), "1 bytes from offset"},
		{"a name twice", file(`{"w": `+w+`, "w": `+w+`}`, 1, 2), `"w" twice`},
		{"a name twice, escaped", file(`{"w": `+w+`, "\u0077": `+w+`}`, 1, 2), `"w" twice`},
		{"a field twice", file(`{"w": {"dtype": "U8", "dtype": "U8"}}`, 1, 2), `"dtype" twice`},
		{"metadata twice", file(`{"__metadata__": {}, "__metadata__": {}}`), "twice"},
		{"a metadata key twice", file(`{"__metadata__": {"a": "", "a": ""}}`), "twice"},
		{"metadata of another type", file(`{"__metadata__": {"a": 1}}`), "is a string"},
		{"deep metadata", file(`{"__metadata__": {"a": {"b": "c"}}}`), "is a string"},
		{"an overlap", file(`{"v": `+w+`, "w": `+w+`}`, 1, 2), "overlap"},
		{"half an overlap", file(`{"v": `+w+`, "w": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}`, 1, 2, 3), "overlap"},
		{"a hole", file(`{"w": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}`, 1, 2), "hole"},
		{"offsets turned round", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [2, 0]}}`, 1, 2), "no [begin, end]"},
		{"one offset", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [2]}}`, 1, 2), "no [begin, end]"},
		{"three offsets", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2, 2]}}`, 1, 2), "more than two"},
		{"a negative offset", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [-2, 0]}}`, 1, 2), "sizes from 0"},
		{"a huge offset", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 9223372036854775807]}}`, 1, 2), "end at offset"},
		{"an offset beyond 2^63", file(`{"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 18446744073709551615]}}`, 1, 2), "sizes from 0"},
		{"a broken size", file(`{"w": {"dtype": "U8", "shape": [2.5], "data_offsets": [0, 2]}}`, 1, 2), "sizes from 0"},
		{"a shape of another size", file(`{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2]}}`, 1, 2), "does not fit its 2 bytes"},
		{"a shape that overflows", file(`{"w": {"dtype": "F64", "shape": [4294967296, 4294967296], "data_offsets": [0, 2]}}`, 1, 2), "more values than an int"},
		{"a size that overflows", file(`{"w": {"dtype": "F64", "shape": [2305843009213693952], "data_offsets": [0, 0]}}`), "does not fit its 0 bytes"},
		{"many axes", file(`{"w": {"shape": [`+strings.Repeat("1,", 64)+`1]}}`, 1, 2), "more than 64"},
		{"a missing field", file(`{"w": {"dtype": "U8", "shape": [2]}}`, 1, 2), "all of dtype"},
		{"an unknown field", file(`{"w": {"device": "cpu"}}`, 1, 2), `unknown key "device"`},
		{"a list for an object", file(`{"w": [[[[[]]]]]}`, 1, 2), "where an object is due"},
		{"depth", file(`{"w": {"shape": ` + strings.Repeat("[", 100000)), "sizes from 0"},
		{"no end", file(`{"w": `+w, 1, 2), "ends too early"},
		{"no JSON", file(`{"w" = 3}`, 1, 2), "no JSON"},
		{"text behind", file(`{} {"w": `+w+`}`, 1, 2), "goes on"},
		{"no UTF-8", file("{\"\xff\": "+w+"}", 1, 2), "UTF-8"},
		{"a null tensor", file(`{"w": null}`), "where an object is due"},
	} {
		_, err := Open(bytes.NewReader(tt.file), int64(len(tt.file)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// A header longer than the format allows is refused before it is read.
func TestHeaderLimit(t *testing.T) {
	head := append(binary.LittleEndian.AppendUint64(nil, 100_000_001), '{')
	if _, err := Open(bytes.NewReader(head), 1<<40); err == nil || !strings.Contains(err.Error(), "format allows") {
		t.Errorf("got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(file(`{"b": {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}}`, 1, 0, 0xfe, 0xff))
	f.Add(file(`{"__metadata__": {"k": "v"}, "a": {"dtype": "F8_E8M0", "shape": [], "data_offsets": [0, 1]}}`, 1))
	f.Add(file(`{"w": {"dtype": "F64", "shape": [4294967296, 4294967296], "data_offsets": [0, 9223372036854775807]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, e := range s.Entries {
			a, err := e.Array()
			if err != nil {
				continue
			}
			if n := a.Rows() * a.RowLen(); n > len(b) {
				t.Fatalf("%d values in %d bytes", n, len(b))
			} else if err := a.Floats(make([]float64, n), 0, a.Rows()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
