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

// The directory is in the order of the values, which stay in the file; package checkpoint has the tables of types and of
// damaged headers.
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

func FuzzOpen(f *testing.F) {
	f.Add(file(`{"b": {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}}`, 1, 0, 0xfe, 0xff))
	f.Add(file(`{"__metadata__": {"k": "v"}, "a": {"dtype": "F8_E8M0", "shape": [], "data_offsets": [0, 1]}}`, 1))
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
