package dataset

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// textFile opens a text.
func (o *opener) textFile(s Source, f file) (pair, error) {
	p := pair{format: Text}
	p.split, _ = splitOf(s.Name)
	if err := o.fileSplit(s, p.split); err != nil {
		return p, err
	}
	text, err := contents(s, f)
	if err != nil {
		return p, err
	}
	return p, o.texts(&p, s, []Source{s}, []string{text})
}

// textDirectory opens the texts of a directory in the order of their names, or, where it has train.txt and
// one of test.txt, val.txt and so on, that of the split.
func (o *opener) textDirectory(s Source, names map[string]bool) (pair, error) {
	p := pair{format: Text}
	find := func(split string) string {
		for _, name := range splitFiles(split, textSuffix) {
			if names[name] {
				return name
			}
		}
		return ""
	}
	train, test := find("train"), find("test")
	if train != "" && test != "" {
		use, other := train, test
		if p.split = "train"; o.opts.Split == "test" {
			p.split, use, other = "test", test, train
		}
		texts, err := o.read(s.in(use), s.in(other))
		if err != nil {
			return p, err
		}
		return p, o.texts(&p, s.in(use), []Source{s.in(use)}, texts)
	}
	if o.opts.Split == "test" {
		return p, badOption("--split", "%s has no splits, train.txt and test.txt or val.txt (leave it out)", s.path())
	}
	var all []string
	for name := range names {
		if strings.HasSuffix(name, textSuffix) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	var use []Source
	for _, name := range all {
		use = append(use, s.in(name))
	}
	if use == nil {
		return p, s.errorf("no %s files in the directory (give the text file)", textSuffix)
	}
	texts, err := o.read(use...)
	if err != nil {
		return p, err
	}
	return p, o.texts(&p, s, use, texts)
}

const textSuffix = ".txt"

// read reads files into memory.
func (o *opener) read(sources ...Source) ([]string, error) {
	var texts []string
	for _, s := range sources {
		f, err := o.file(s)
		if err != nil {
			return nil, err
		}
		text, err := contents(s, f)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// maxText is how many bytes of text are read into memory.
const maxText = 1 << 32

// contents reads a file into memory.
func contents(s Source, f file) (string, error) {
	if f.size > min(maxText, math.MaxInt) {
		return "", s.errorf("%d bytes are more text than is read into memory (make the tokens beforehand and save them as .bin)", f.size)
	}
	var b strings.Builder // of which no copy is made
	b.Grow(int(f.size))
	if n, err := io.CopyN(&b, io.NewSectionReader(f, 0, f.size), f.size); err != nil {
		return "", s.errorf("read %d bytes of %d: %w", n, f.size, short(err))
	}
	return b.String(), nil
}

// texts makes a language model's examples of the files in use, which follow each other. More texts than those have a
// say in which characters there are, and no more.
func (o *opener) texts(p *pair, s Source, use []Source, all []string) error {
	if err := o.needContext(s.path(), p.format); err != nil {
		return err
	}
	if err := o.vocabulary(p, s, all); err != nil {
		return err
	}
	var tokens series
	for i, src := range use {
		if _, ok := p.vocab.(byteVocabulary); ok { // as they are
			tokens.parts = append(tokens.parts, &npy.Array{DType: tensor.Uint8, Shape: []int{len(all[i])}, Data: strings.NewReader(all[i])})
			continue
		}
		if err := validUTF8(all[i]); err != nil {
			return src.errorf("%w", err)
		}
		if v, ok := p.vocab.(*charVocabulary); ok {
			t, err := v.array(all[i])
			if err != nil {
				return src.errorf("%w", err)
			}
			tokens.parts = append(tokens.parts, t)
			continue
		}
		t, err := p.vocab.Encode(all[i])
		if err != nil {
			return src.errorf("%w", err)
		}
		tokens.parts = append(tokens.parts, &ids{row: 1, values: t})
	}
	return o.language(p, s.path(), tokens)
}

// documents makes a language model's examples of the texts of a table, which follow each other, each ended by a line feed where it
// has none.
func (o *opener) documents(p *pair, name string, texts []string) error {
	if len(texts) == 0 {
		return errEmpty(name)
	}
	var b strings.Builder
	for _, text := range texts {
		b.WriteString(text)
		if !strings.HasSuffix(text, "\n") {
			b.WriteByte('\n')
		}
	}
	s := Source{Name: name}
	p.note(name, "%d texts follow each other as one, each ended by a line feed", len(texts))
	return o.texts(p, s, []Source{s}, []string{b.String()})
}

// vocabulary finds how texts become tokens: as the options say or, where they say nothing, as the number of tokens that
// the network knows suggests.
func (o *opener) vocabulary(p *pair, s Source, texts []string) error {
	var err error
	if o.opts.VocabFile != nil {
		p.vocab, err = o.vocabularyFile()
		return err
	}
	known := o.opts.VocabSize
	if o.opts.Vocab == "bytes" {
		p.vocab = byteVocabulary{}
		return nil
	}
	chars := distinct(texts)
	switch {
	case o.opts.Vocab == "chars":
		if chars == nil {
			break // encoding says where
		}
		if known != 0 && len(chars) != known {
			p.note(s.path(), "the text has %d distinct characters, and the network knows %d tokens: their numbers may not be those of training (--vocab FILE gives the characters)", len(chars), known)
		}
	case known != 0 && len(chars) == known:
		p.note(s.path(), "tokens are the %d distinct characters of the text, sorted, as many as the network knows (--vocab chars)", known)
	case known == 256:
		p.note(s.path(), "tokens are the bytes of the text, since the network knows 256 (--vocab bytes)")
		p.vocab = byteVocabulary{}
		return nil
	default:
		what := fmt.Sprintf("%d distinct characters", len(chars))
		if chars == nil {
			what = "bytes that are not UTF-8"
		}
		if known != 0 {
			what += fmt.Sprintf(", and the network knows %d tokens", known)
		}
		return badOption("--vocab", "%s has %s: how text becomes tokens is not clear (give --vocab FILE with tokenizer.json or the characters, --vocab chars or --vocab bytes)", s.path(), what)
	}
	p.vocab = newCharVocabulary(chars)
	return nil
}
