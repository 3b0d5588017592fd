package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// stories is a llama2.c file: its header, and as many values as the sizes ask for, 0, 1, 2, …. Of another version than 0 it is
// with the magic number; a negative vocabulary or, with version 1, shared = 0 means a classifier of its own.
func stories(version int32, shared byte, sizes ...int32) []byte {
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	if version != 0 {
		put([]int32{llamaMagic, version})
	}
	put(sizes)
	dim, hidden, layers, heads, groups, vocab, context := sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6]
	if version != 0 {
		put(shared)
		b.Write(make([]byte, llamaHeader-b.Len()))
	}
	own := shared == 0
	if version == 0 {
		own = vocab < 0
	}
	vocab = max(vocab, -vocab)
	n := vocab*dim + dim + layers*(2*dim+2*dim*dim+2*dim*groups*dim/heads+3*dim*hidden)
	if version == 0 {
		n += context * dim / heads
	}
	if own {
		n += vocab * dim
	}
	for i := range n {
		put(float32(i))
	}
	return b.Bytes()
}

func TestLlama2C(t *testing.T) {
	for _, tt := range []struct {
		file               []byte
		model              string
		embedding, wk, own float32 // the first value of a tensor: where it lies
	}{
		{stories(0, 0, 4, 6, 2, 2, 1, 5, 8), "llama2c:layers=2,heads=2,kv_heads=1,width=4,inner=6,context=8,vocab=5,tied=true", 0, 20 + 8 + 32, -1},
		{stories(0, 0, 4, 6, 2, 2, 1, -5, 8), "llama2c:layers=2,heads=2,kv_heads=1,width=4,inner=6,context=8,vocab=5,tied=false", 0, 20 + 8 + 32, 20 + 8 + 32 + 16 + 16 + 32 + 8 + 144 + 4 + 16},
		{stories(1, 1, 4, 6, 2, 2, 1, 5, 8), "llama2c:layers=2,heads=2,kv_heads=1,width=4,inner=6,context=8,vocab=5,tied=true", 20, 20 + 20 + 32, -1},
		{stories(1, 0, 4, 6, 2, 2, 1, 5, 8), "llama2c:layers=2,heads=2,kv_heads=1,width=4,inner=6,context=8,vocab=5,tied=false", 20, 20 + 20 + 32, 20 + 20 + 32 + 16 + 16 + 32 + 144},
		// A width of 640 begins as a pickle of protocol 2 does.
		{stories(0, 0, 640, 1, 1, 320, 1, 1, 1), "llama2c:layers=1,heads=320,kv_heads=1,width=640,inner=1,context=1,vocab=1,tied=true", 0, 640 + 640 + 640*640, -1},
	} {
		f := open(t, tt.file)
		if f.Format != Llama2C || f.Model != tt.model {
			t.Errorf("got %s %s, want %s", f.Format, f.Model, tt.model)
		}
		for name, want := range map[string]float32{"tok_embeddings.weight": tt.embedding, "layers.0.attention.wk.weight": tt.wk, "output.weight": tt.own} {
			x, err := f.Tensor(name)
			if want < 0 && err == nil || want >= 0 && (err != nil || x.F32[0] != want) {
				t.Errorf("%s: %s: %v, %v; want %v", tt.model, name, x, err, want)
			}
		}
	}
}

func TestHostileLlama2C(t *testing.T) {
	good := stories(1, 1, 4, 6, 2, 2, 1, 5, 8)
	header := func(version int32, sizes ...int32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[4:], uint32(version))
		for i, v := range sizes {
			binary.LittleEndian.PutUint32(b[8+4*i:], uint32(v))
		}
		return b
	}
	const huge = 1<<31 - 1
	for want, files := range map[string][][]byte{
		"of version 2":                  {header(2)},
		"is not read":                   {header(3), header(0), header(-1)},
		"a size of":                     {header(1, 0), header(1, -4), header(1, 4, -6), header(1, 4, 6, huge), header(1, huge), header(1, 4, 6, 2, 2, 1, -5), header(1, 4, 6, 2, 2, 1, 5, 0)},
		"layers in the header":          {header(1, 4, 6, 1<<13)},
		"heads of a width":              {header(1, 4, 6, 2, 3), header(1, 4, 6, 2, 2, 4), header(1, 4, 6, 2, 4)},
		"truncated":                     {good[:len(good)-1], append(bytes.Clone(good), 0), good[:100], good[:28], header(1, 1<<24, 1<<24, 1<<12, 1, 1, 1<<24)},
		"the format is not recognised:": {good[:20], stories(0, 0, 4, 6, 2, 2, 1, 5, 8)[:500], stories(0, 0, 4, 6, 2, 2, 1, 5, 8)[:27]},
	} {
		for i, file := range files {
			var err error
			n := allocated(func() { _, err = Open(bytes.NewReader(file), int64(len(file))) })
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(") {
				t.Errorf("%s %d: got %v", want, i, err)
			}
			if n > allowance(len(file)) {
				t.Errorf("%s %d: %d bytes allocated", want, i, n)
			}
		}
	}
	if _, err := OpenAt(bytes.NewReader(good), int64(len(good)), "model"); !errors.Is(err, errKey) {
		t.Errorf("a key: %v", err)
	}
}

func FuzzLlama2C(f *testing.F) {
	f.Add(stories(0, 0, 4, 6, 2, 2, 1, 5, 8))
	f.Add(stories(0, 0, 4, 6, 1, 2, 1, -5, 8))
	f.Add(stories(1, 0, 4, 6, 2, 2, 1, 5, 8))
	f.Add(stories(2, 0, 4, 6, 2, 2, 1, 5, 8))
	f.Fuzz(readAll)
}
