package dataset

import (
	"fmt"
	"path"

	"hessdens/internal/tensor"
	"hessdens/internal/tokenizer"
)

// sequences is a block of sequences of tokens of different lengths; rows are filled up with the padding token.
type sequences struct {
	row    int // tokens of a row
	tokens []int32
	ends   []int // of each row in tokens
	pad    int32
}

func (b *sequences) Rows() int          { return len(b.ends) }
func (b *sequences) Type() tensor.DType { return tensor.Int32 }

func (b *sequences) Ints(dst []int64, lo, hi int) error {
	for i := lo; i < hi; i++ {
		start := 0
		if i > 0 {
			start = b.ends[i-1]
		}
		row := dst[(i-lo)*b.row : (i-lo+1)*b.row]
		for j := range row {
			row[j] = int64(b.pad)
			if start+j < b.ends[i] {
				row[j] = int64(b.tokens[start+j])
			}
		}
	}
	return nil
}

func (b *sequences) Floats([]float64, int, int) error { panic(badColumn) }
func (b *sequences) Bytes([]uint8, int, int) error    { panic(badColumn) }

// textRows makes the inputs of texts, an example each: the tokens of Options.VocabFile, a tokenizer.json, with the special tokens
// that it puts around a text, cut or padded at the right to Options.Context. It fills p.x, p.vocab and p.notes; name is what
// messages call the file.
func (o *opener) textRows(p *pair, name string, texts []string) error {
	if o.opts.Context == 0 {
		return fmt.Errorf("%s: the inputs are texts, and the network takes no tokens (choose other columns with --input)", name)
	}
	if o.opts.VocabFile == nil {
		return badOption("--vocab", "the inputs of %s are texts, and how they become tokens is not said (give --vocab tokenizer.json)", name)
	}
	v, err := o.vocabularyFile()
	if err != nil {
		return err
	}
	t, ok := v.(*tokenizer.Tokenizer)
	if !ok {
		return badOption("--vocab", "texts of different lengths need a tokenizer.json, which has a token for padding (give that)")
	}
	length := o.opts.Context
	x := &sequences{row: length, pad: t.Pad()}
	cut, padded := 0, 0
	for i, text := range texts {
		tokens, over, err := t.Example(text, length)
		if err != nil {
			return fmt.Errorf("%s: the text of example %d: %w", name, i, err)
		}
		x.tokens = append(x.tokens, tokens...)
		x.ends = append(x.ends, len(x.tokens))
		cut += min(over, 1)
		padded += min(length-len(tokens), 1)
	}
	if cut+padded > 0 {
		p.notes = append(p.notes, fmt.Sprintf("%s: of %d texts %d are cut to %d tokens and %d padded to them", path.Base(name), len(texts), cut, length, padded))
	}
	p.x = series{name: name, parts: []block{x}, shape: []int{length}}
	p.vocab = t
	return nil
}
