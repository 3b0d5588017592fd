package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
	"hessdens/internal/tokenizer"
)

// vocabulary turns text into tokens and back.
type vocabulary interface {
	// Size is the number of tokens that it knows.
	Size() int
	// Encode fails on text that it has no tokens for, and says at which byte.
	Encode(text string) ([]int32, error)
	// Decode is text to look at; a token that is not known is U+FFFD.
	Decode(tokens []int64) string
}

// byteVocabulary has a token for each byte.
type byteVocabulary struct{}

func (byteVocabulary) Size() int { return 256 }

func (byteVocabulary) Encode(text string) ([]int32, error) {
	out := make([]int32, len(text))
	for i := range out {
		out[i] = int32(text[i])
	}
	return out, nil
}

func (byteVocabulary) Decode(tokens []int64) string {
	var b []byte
	for _, v := range tokens {
		if v < 0 || v > 255 {
			b = append(b, string(utf8.RuneError)...)
			continue
		}
		b = append(b, byte(v))
	}
	return string(b)
}

// charVocabulary has a token for each character, by its place in a list.
type charVocabulary struct {
	chars []rune
	token map[rune]int32
}

func newCharVocabulary(chars []rune) *charVocabulary {
	v := &charVocabulary{chars: chars, token: make(map[rune]int32, len(chars))}
	for i, c := range chars {
		v.token[c] = int32(i)
	}
	return v
}

// distinct are the characters of texts in ascending order, nil where one is not UTF-8.
func distinct(texts []string) []rune {
	seen := map[rune]bool{}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return nil
		}
		for _, c := range text {
			seen[c] = true
		}
	}
	chars := make([]rune, 0, len(seen))
	for c := range seen {
		chars = append(chars, c)
	}
	slices.Sort(chars)
	return chars
}

func (v *charVocabulary) Size() int { return len(v.chars) }

func (v *charVocabulary) Encode(text string) ([]int32, error) {
	out := make([]int32, 0, utf8.RuneCountInString(text))
	err := v.each(text, func(t int32) { out = append(out, t) })
	return out, err
}

// array is Encode in as few bytes a token as the vocabulary needs.
func (v *charVocabulary) array(text string) (*npy.Array, error) {
	n := utf8.RuneCountInString(text)
	a := &npy.Array{DType: tensor.Uint8, Shape: []int{n}}
	add := func(b []byte, t int32) []byte { return append(b, byte(t)) }
	switch {
	case len(v.chars) > 1<<16:
		a.DType = tensor.Int32
		add = func(b []byte, t int32) []byte { return binary.LittleEndian.AppendUint32(b, uint32(t)) }
	case len(v.chars) > 1<<8:
		a.DType = tensor.Uint16
		add = func(b []byte, t int32) []byte { return binary.LittleEndian.AppendUint16(b, uint16(t)) }
	}
	b := make([]byte, 0, n*a.DType.Size())
	err := v.each(text, func(t int32) { b = add(b, t) })
	a.Data = bytes.NewReader(b)
	return a, err
}

func (v *charVocabulary) each(text string, f func(token int32)) error {
	for i, c := range text {
		t, ok := v.token[c]
		if !ok {
			return fmt.Errorf("offset %d: the character %q is not among the %d of the vocabulary (check --vocab)", i, c, len(v.chars))
		}
		f(t)
	}
	return nil
}

func (v *charVocabulary) Decode(tokens []int64) string {
	var b strings.Builder
	for _, t := range tokens {
		c := utf8.RuneError
		if t >= 0 && t < int64(len(v.chars)) {
			c = v.chars[t]
		}
		b.WriteRune(c)
	}
	return b.String()
}

// vocabularyFile reads Options.VocabFile: a tokenizer.json, or the characters in the order of their tokens.
// The line feed that editors put at the end of a file is none of them where there is one before.
func (o *opener) vocabularyFile() (vocabulary, error) {
	s := *o.opts.VocabFile
	texts, err := o.read(s)
	if err != nil {
		return nil, err
	}
	text := texts[0]
	if strings.HasSuffix(s.Name, ".json") {
		t, err := tokenizer.Parse([]byte(text))
		if err != nil {
			return nil, s.errorf("%w", err)
		}
		return t, nil
	}
	if err := validUTF8(text); err != nil {
		return nil, s.errorf("%w", err)
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if body := strings.TrimSuffix(text, "\n"); strings.Contains(body, "\n") {
		text = body
	}
	seen := map[rune]bool{}
	for i, c := range text {
		if seen[c] {
			return nil, s.errorf("offset %d: the character %q is there twice (give the characters of the vocabulary, each once, in the order of their tokens, or a tokenizer.json)", i, c)
		}
		seen[c] = true
	}
	if text == "" {
		return nil, s.errorf("the file is empty (give the characters of the vocabulary)")
	}
	return newCharVocabulary([]rune(text)), nil
}

// validUTF8 fails at the first byte that is not UTF-8.
func validUTF8(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for i, c := range text {
		if c == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			return fmt.Errorf("offset %d: the byte %#02x is not UTF-8 (convert the text, for instance with iconv)", i, text[i])
		}
	}
	panic("unreachable")
}

// previewTokens is how many tokens a preview shows at most, and previewBytes how many bytes of text.
const (
	previewTokens = 256
	previewBytes  = 400
)

// Preview is the inputs of the first example as text, quoted, with what is not printable escaped, and cut to what fits a
// few lines; "" when they are no text.
func (s *Set) Preview() (string, error) {
	if s.vocab == nil {
		return "", nil
	}
	tokens := make([]int64, s.X.Shape()[0])
	if err := s.X.Ints(tokens, 0, 1); err != nil {
		return "", err
	}
	more := len(tokens) > previewTokens
	text := s.vocab.Decode(tokens[:min(len(tokens), previewTokens)])
	if len(text) > previewBytes {
		text, more = text[:previewBytes], true
		for !utf8.ValidString(text[len(text)-1:]) && len(text) > previewBytes-utf8.UTFMax {
			text = text[:len(text)-1]
		}
	}
	quoted := strconv.Quote(text)
	if more {
		quoted += "…"
	}
	return quoted, nil
}

// VocabularySize is the number of tokens that the vocabulary of a text knows, 0 when inputs are no text.
func (s *Set) VocabularySize() int {
	if s.vocab == nil {
		return 0
	}
	return s.vocab.Size()
}

// isText says whether the beginning of a file may be that of a text: UTF-8 without control characters but those of
// lines and pages.
func isText(head []byte) bool {
	for i := 0; len(head) > 0 && i < utf8.UTFMax-1 && !utf8.Valid(head); i++ {
		head = head[:len(head)-1] // a character that the end cuts
	}
	return len(head) > 0 && utf8.Valid(head) && !bytes.ContainsFunc(head, func(r rune) bool {
		return r < ' ' && !strings.ContainsRune("\t\n\v\f\r", r) || r == 0x7f
	})
}
