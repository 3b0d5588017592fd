package dataset

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// llmcMagic begins the header of 256 numbers of 32 bits that llm.c puts before its tokens: magic, version,
// number of tokens.
//
// Source: A. Karpathy, https://github.com/karpathy/llm.c, dev/data/data_common.py.
const (
	llmcMagic  = 20240520
	llmcHeader = 256 * 4
)

// tokensFile opens a file of tokens, little-endian numbers of 16 bits without a header, as nanoGPT and
// llama2.c write them, or with that of llm.c.
func (o *opener) tokensFile(s Source, f file) (pair, error) {
	p := pair{format: Tokens}
	p.split, _ = splitOf(s.Name)
	if err := o.fileSplit(s, p.split); err != nil {
		return p, err
	}
	a := &npy.Array{DType: tensor.Uint16, Data: f}
	var head [12]byte
	if f.size >= llmcHeader {
		if _, err := f.ReadAt(head[:], 0); err != nil {
			return p, s.errorf("reading the first %d bytes: %w", len(head), short(err))
		}
	}
	if binary.LittleEndian.Uint32(head[:]) == llmcMagic {
		version, n := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:])
		if version != 1 {
			return p, s.errorf("offset 4: version %d of llm.c's token files is not read (write the tokens as uint16)", version)
		}
		if need := llmcHeader + 2*int64(n); need != f.size {
			return p, s.errorf("offset 8: %d tokens need %d bytes, but the file has %d (it is truncated or damaged; copy it again)", n, need, f.size)
		}
		a.Offset = llmcHeader
	}
	if f.size%2 != 0 {
		return p, s.errorf("%d bytes are no whole number of tokens of 16 bits (the file is truncated or of another format; name that with --data-format)", f.size)
	}
	a.Shape = []int{int((f.size - a.Offset) / 2)}
	if o.opts.VocabFile != nil { // to look at them
		v, err := o.vocabularyFile()
		if err != nil {
			p.notes = append(p.notes, fmt.Sprintf("the tokens cannot be shown as text: %v", err))
		} else {
			p.vocab = v
		}
	}
	return p, o.language(&p, s.path(), series{parts: []block{a}})
}

// tokensDirectory opens a split of a directory.
func (o *opener) tokensDirectory(s Source, names map[string]bool) (pair, error) {
	split := cmp.Or(o.opts.Split, "train")
	candidates := splitFiles(split, ".bin")
	for _, name := range candidates {
		if !names[name] {
			continue
		}
		part := s.in(name)
		f, err := o.file(part)
		if err != nil {
			return pair{}, err
		}
		return o.tokensFile(part, f)
	}
	return pair{}, s.errorf("no tokens of the %s split in the directory, looked for %s: %w (choose another --split, or give the file)", split, strings.Join(candidates, ", "), fs.ErrNotExist)
}
