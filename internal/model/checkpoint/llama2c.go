package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// llama2.c's files begin with seven numbers, from version 1 on after a magic number and a version, in 256 bytes in
// all. Then come float32 values, the tensors of all layers of a kind one after the other, under no names.
//
// Source: https://github.com/karpathy/llama2.c, export.py.
const (
	llamaMagic   = 0x616b3432 // ak42
	llamaHeader  = 256        // of version 1, in bytes
	legacyHeader = 28         // of version 0
	llamaLayers  = 1 << 12    // more than any network has
)

// llamaSizes are the numbers of the header.
type llamaSizes struct {
	dim, hidden, layers, heads, groups, vocab, context int
	shared                                             bool // the classifier is the embedding
}

// llamaKind is the tensors of a kind: one, or one a layer, with the layer's number in the name. No name: values that are skipped.
type llamaKind struct {
	name  string
	each  bool
	shape []int
}

func (k llamaKind) count(s llamaSizes) int {
	if k.each {
		return s.layers
	}
	return 1
}

// tensors are those of a file in their order, and how many bytes they take; −1 for more than a file has.
func (s llamaSizes) tensors(version int) (kinds []llamaKind, size int64) {
	one := func(name string, shape ...int) llamaKind { return llamaKind{name, false, shape} }
	each := func(name string, shape ...int) llamaKind { return llamaKind{"layers.%d." + name, true, shape} }
	head := s.dim / s.heads
	attention := []llamaKind{each("attention.wq.weight", s.dim, s.dim), each("attention.wk.weight", s.groups*head, s.dim),
		each("attention.wv.weight", s.groups*head, s.dim), each("attention.wo.weight", s.dim, s.dim)}
	perceptron := []llamaKind{each("feed_forward.w1.weight", s.hidden, s.dim), each("feed_forward.w2.weight", s.dim, s.hidden), each("feed_forward.w3.weight", s.hidden, s.dim)}
	embedding, norm := one("tok_embeddings.weight", s.vocab, s.dim), one("norm.weight", s.dim)
	before, after := each("attention_norm.weight", s.dim), each("ffn_norm.weight", s.dim)
	if version == 0 {
		kinds = append([]llamaKind{embedding, before}, attention...)
		kinds = append(append(kinds, after), perceptron...)
		kinds = append(kinds, norm, one("", 2, s.context, head/2)) // the cosines and sines of rotary positions
	} else {
		kinds = append([]llamaKind{before, after, norm, embedding}, attention...)
		kinds = append(kinds, perceptron...)
	}
	if !s.shared {
		kinds = append(kinds, one("output.weight", s.vocab, s.dim))
	}
	for _, k := range kinds {
		n, err := tensor.CheckedCount(append([]int{k.count(s), 4}, k.shape...))
		if err != nil || int64(n) > math.MaxInt64-size {
			return nil, -1
		}
		size += int64(n)
	}
	return kinds, size
}

// readLlama takes the header of a llama2.c file apart. ok says that head begins one: by its magic number, or, in version 0, which
// has none, by sizes that add up to the size of the file.
func readLlama(head []byte, size int64) (s llamaSizes, version int, start int64, ok bool) {
	word := func(i int) int { return int(int32(binary.LittleEndian.Uint32(head[4*i:]))) }
	at := 0
	if len(head) < legacyHeader {
		return s, 0, 0, false
	}
	if uint32(word(0)) == llamaMagic {
		version, at = word(1), 2
		if len(head) < llamaHeader {
			return s, version, 0, true
		}
		s.shared = head[36] != 0
	}
	s.dim, s.hidden, s.layers, s.heads, s.groups, s.vocab, s.context = word(at), word(at+1), word(at+2), word(at+3), word(at+4), word(at+5), word(at+6)
	if at > 0 {
		return s, version, llamaHeader, true
	}
	s.shared = s.vocab > 0
	s.vocab = max(s.vocab, -s.vocab)
	if s.fault() != nil {
		return s, 0, 0, false
	}
	_, want := s.tensors(0)
	return s, 0, legacyHeader, want >= 0 && want == size-legacyHeader
}

func (s llamaSizes) fault() error {
	for _, v := range []int{s.dim, s.hidden, s.layers, s.heads, s.groups, s.vocab, s.context} {
		if v < 1 || v > 1<<24 {
			return fmt.Errorf("a size of %d in the header (the file is damaged; copy or export it again)", v)
		}
	}
	if s.layers > llamaLayers {
		return fmt.Errorf("%d layers in the header (the file is damaged; copy or export it again)", s.layers)
	}
	if s.dim%s.heads != 0 || s.heads%s.groups != 0 || s.dim/s.heads%2 != 0 {
		return fmt.Errorf("%d heads of a width of %d with %d of keys (the file is damaged; copy or export it again)", s.heads, s.dim, s.groups)
	}
	return nil
}

// openLlama describes the tensors of a llama2.c file under the names of its PyTorch module.
func openLlama(r io.ReaderAt, size int64, s llamaSizes, version int, start int64) (*File, error) {
	switch {
	case version == 2:
		return nil, errors.New("a llama2.c file of version 2 holds integers in place of weights, and has lost their values (export it with --version 1)")
	case version < 0 || version > 2 || version == 0 && start != legacyHeader:
		return nil, fmt.Errorf("a llama2.c file of version %d is not read (export it with --version 1)", version)
	case start == 0:
		return nil, fmt.Errorf("%d bytes are too few for the header of a llama2.c file (the file is truncated; copy it again)", size)
	}
	if err := s.fault(); err != nil {
		return nil, fmt.Errorf("llama2.c: %w", err)
	}
	kinds, want := s.tensors(version)
	if want < 0 || want != size-start {
		return nil, fmt.Errorf("a llama2.c file of these sizes (dim %d, hidden_dim %d, %d layers, vocabulary %d) does not have %d bytes (the file is truncated or damaged; copy or export it again)",
			s.dim, s.hidden, s.layers, s.vocab, size)
	}
	f := &File{Format: Llama2C, Model: fmt.Sprintf("llama2c:layers=%d,heads=%d,kv_heads=%d,width=%d,inner=%d,context=%d,vocab=%d,tied=%t", s.layers, s.heads, s.groups, s.dim, s.hidden, s.context, s.vocab, s.shared),
		load: map[string]func() (*tensor.Tensor, error){}}
	for _, k := range kinds {
		for i := range k.count(s) {
			name := k.name
			if k.each {
				name = fmt.Sprintf(name, i)
			}
			a := &npy.Array{DType: tensor.Float32, Shape: k.shape, Data: r, Offset: start}
			start += 4 * int64(tensor.Count(k.shape))
			if name != "" {
				f.Entries = append(f.Entries, Entry{Name: name, DType: tensor.Float32, Shape: k.shape})
				f.load[name] = a.Tensor
			}
		}
	}
	return f, nil
}
