package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// wordPiece takes the longest piece of the vocabulary that a word begins with, then that of the rest, and so on.
//
// Source: Devlin et al., BERT, NAACL 2019, and its tokenization.py.
type wordPiece struct {
	vocab    map[string]int32
	prefix   string // of pieces that do not begin a word
	unknown  int32
	maxChars int // longer words are unknown
	longest  int // token, in bytes
}

func newWordPiece(vocab map[string]int32, prefix, unknown string, maxChars int) (*wordPiece, error) {
	m := &wordPiece{vocab: vocab, prefix: prefix, maxChars: maxChars}
	var ok bool
	if m.unknown, ok = vocab[unknown]; !ok {
		return nil, fmt.Errorf("unk_token %.60q is not in the vocabulary (the file is damaged)", unknown)
	}
	if maxChars < 0 {
		return nil, errors.New("max_input_chars_per_word is negative (the file is damaged)")
	}
	for token := range vocab {
		m.longest = max(m.longest, len(token))
	}
	return m, nil
}

func (m *wordPiece) encode(dst []int32, word string) ([]int32, error) {
	if utf8.RuneCountInString(word) > m.maxChars {
		return append(dst, m.unknown), nil
	}
	first := len(dst)
	for rest := word; rest != ""; {
		prefix := ""
		if len(rest) < len(word) {
			prefix = m.prefix
		}
		end := min(len(rest), m.longest)
		for ; end > 0; end-- {
			if id, ok := m.vocab[prefix+rest[:end]]; ok {
				dst = append(dst, id)
				break
			}
		}
		if end == 0 {
			return append(dst[:first], m.unknown), nil
		}
		rest = rest[end:]
	}
	return dst, nil
}

func (m *wordPiece) decode(token string) (string, bool) {
	if rest, ok := strings.CutPrefix(token, m.prefix); ok && m.prefix != "" {
		return rest, false
	}
	return token, true
}
