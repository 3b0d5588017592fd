// Package tokenizer turns text into the tokens of a tokenizer.json, the file of Hugging Face's tokenizers library, as that
// library does: byte-level BPE (GPT-2, Llama 3, Qwen 2 and their kin) and WordPiece (BERT).
//
// A file says in many parts what is done to a text; a part, a setting or a key that is not known here is
// refused by its name, and never passed over. So is a text with characters that are newer than the
// Unicode tables at hand: how they are split would be a guess.
package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tokenizer is what a tokenizer.json describes. It keeps what it has seen: its methods are not to be called by several goroutines
// at once.
type Tokenizer struct {
	added      matcher // of tokens found in the text itself
	normalized matcher // of those found in the normalised text
	normalize  []func(string) string
	split      []func(words []string, s string) []string // of the pre-tokenizers, in order
	model      model

	prefix, suffix []int32 // special tokens around an example
	pad            int32   // −1: none
	padLeft        bool
	truncateLeft   bool

	text map[int32]string // of each token, to look at
	size int
}

// model turns a word into tokens.
type model interface {
	// encode fails on a word with characters that there are no tokens for.
	encode(dst []int32, word string) ([]int32, error)
	// decode is a token as text; words that follow each other may have to be joined by a space.
	decode(token string) (text string, space bool)
}

// Size is the largest token plus 1.
func (t *Tokenizer) Size() int { return t.size }

// Encode turns a text into tokens; tokens that are written out in it, such as <|endoftext|>, count as such, and no special
// tokens are added. It fails on text that is not UTF-8 or holds characters that are not known, and says at which byte.
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	out := make([]int32, 0, len(text)/3)
	err := t.added.cut(text, func(part string, token int32) error {
		if token >= 0 {
			out = append(out, token)
			return nil
		}
		for _, f := range t.normalize {
			part = f(part)
		}
		return t.normalized.cut(part, func(part string, token int32) error {
			if token >= 0 {
				out = append(out, token)
				return nil
			}
			for _, w := range t.words(part) {
				var err error
				if out, err = t.model.encode(out, w); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return out, err
}

// words are what the pre-tokenizers make of a normalised text.
func (t *Tokenizer) words(text string) []string {
	words := []string{text}
	for _, split := range t.split {
		var next []string
		for _, w := range words {
			next = split(next, w)
		}
		words = next
	}
	return words
}

// check fails on a byte that is not UTF-8 and on a character that the tables do not have.
func check(text string) error {
	for i, c := range text {
		switch {
		case c < 0x80:
		case c == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			return fmt.Errorf("offset %d: the byte %#02x is not UTF-8 (convert the text, for instance with iconv)", i, text[i])
		case unicode.Is(unicode.Cn, c):
			return fmt.Errorf("offset %d: the character %U is not in Unicode %s, so that how it is split is not known (leave it out)", i, c, unicode.Version)
		}
	}
	return nil
}

// Example is a text as one example of at most length tokens: the special tokens of the file around the text's own, of which the
// last are cut off where they are too many; cut says how many. It fails as Encode does, and where a file cuts at the left.
func (t *Tokenizer) Example(text string, length int) (tokens []int32, cut int, err error) {
	room := length - len(t.prefix) - len(t.suffix)
	if room < 0 {
		return nil, 0, fmt.Errorf("%d tokens are too few for the special tokens around a text (give a larger context)", length)
	}
	body, err := t.Encode(text)
	if err != nil {
		return nil, 0, err
	}
	cut = max(0, len(body)-room)
	if cut > 0 && t.truncateLeft {
		return nil, 0, fmt.Errorf(`%d tokens, and the tokenizer cuts the first ones off ("truncation" has direction "Left"), which is not done here (give shorter texts)`, len(body))
	}
	return slices.Concat(t.prefix, body[:len(body)-cut], t.suffix), cut, nil
}

// Pad is the token that follows an example up to the length of others. It fails where the file has none or pads at the left.
func (t *Tokenizer) Pad() (int32, error) {
	switch {
	case t.pad < 0:
		return 0, errors.New("the tokenizer has no padding token, which texts of different lengths need (add [PAD] or <pad> to it)")
	case t.padLeft:
		return 0, errors.New(`the tokenizer pads at the left ("padding" has direction "Left"), which is not done here (give texts of one length)`)
	}
	return t.pad, nil
}

// Decode is text to look at, with special tokens written out. A token that is not known is U+FFFD.
func (t *Tokenizer) Decode(tokens []int64) string {
	var b strings.Builder
	for i, v := range tokens {
		s, ok := "", v >= 0 && v < int64(t.size)
		if ok {
			s, ok = t.text[int32(v)]
		}
		if !ok {
			s = string(utf8.RuneError)
		}
		text, space := t.model.decode(s)
		if space && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(text)
	}
	return b.String()
}

// added is a token that is found in text before anything is split.
type added struct {
	content        string
	id             int32
	lstrip, rstrip bool // takes the white space before or after it along
}

// matcher finds added tokens: by their first byte, the longest first.
type matcher [256][]added

func (m *matcher) add(t added) {
	b := t.content[0]
	m[b] = append(m[b], t)
	slices.SortStableFunc(m[b], func(a, b added) int { return len(b.content) - len(a.content) })
}

// cut calls f for each part of a text in order: with a token, or with −1 and the text between tokens. Of tokens
// that begin at the same place the longest counts.
func (m *matcher) cut(text string, f func(part string, token int32) error) error {
	done := 0 // up to here f has seen the text
	for i := 0; i < len(text); {
		tokens := m[text[i]]
		at := slices.IndexFunc(tokens, func(t added) bool { return strings.HasPrefix(text[i:], t.content) })
		if at < 0 {
			i++
			continue
		}
		t := tokens[at]
		start, stop := i, i+len(t.content)
		if t.lstrip {
			start = max(done, len(strings.TrimRightFunc(text[:i], unicode.IsSpace)))
		}
		if t.rstrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start {
			if err := f(text[done:start], -1); err != nil {
				return err
			}
		}
		if err := f(text[start:stop], t.id); err != nil {
			return err
		}
		i, done = stop, stop
	}
	if done < len(text) {
		return f(text[done:], -1)
	}
	return nil
}

// largest is the size of a vocabulary.
func largest(ids map[int32]string) int {
	if len(ids) == 0 {
		return 0
	}
	return int(slices.Max(slices.Collect(maps.Keys(ids)))) + 1
}
