package dataset

import (
	"fmt"

	"hessdens/internal/tensor"
	"hessdens/internal/tokenizer"
)

// sequences is a block of sequences of tokens of different lengths; rows are filled up with the padding token.
type sequences struct {
	row    int // tokens of the longest
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
// that it puts around a text, cut at the right to Options.Context, and padded to the longest. It fills p.x, p.vocab and p.notes;
// name is what messages call the file.
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
	x := &sequences{}
	shortest, cut := o.opts.Context, 0
	for i, text := range texts {
		tokens, over, err := t.Example(text, o.opts.Context)
		if err != nil {
			return fmt.Errorf("%s: the text of example %d: %w", name, i, err)
		}
		x.tokens = append(x.tokens, tokens...)
		x.ends = append(x.ends, len(x.tokens))
		x.row, shortest = max(x.row, len(tokens)), min(shortest, len(tokens))
		cut += min(over, 1)
	}
	if shortest < x.row {
		if x.pad, err = t.Pad(); err != nil {
			return o.opts.VocabFile.errorf("%w", err)
		}
	}
	if cut > 0 {
		p.note(name, "%d of %d texts are longer than %d tokens and cut", cut, len(texts), o.opts.Context)
	}
	p.x = series{name: name, parts: []block{x}, shape: []int{x.row}}
	p.vocab = t
	return nil
}
