package tokenizer

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The regular expressions that pre-tokenizers use. All end in \s+(?!\S)|\s+, which Go's do not know, and match any
// character.
const (
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var patterns = map[string]func() *pattern{
	gpt2Pattern:   sync.OnceValue(func() *pattern { return newPattern(gpt2Pattern) }),
	llama3Pattern: sync.OnceValue(func() *pattern { return newPattern(llama3Pattern) }),
	qwen2Pattern:  sync.OnceValue(func() *pattern { return newPattern(qwen2Pattern) }),
}

// pattern splits text into what a regular expression matches.
type pattern struct{ re *regexp.Regexp }

// whiteSpace is what \s stands for in Unicode, inside of a class.
const whiteSpace = `\t-\r\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

// newPattern takes the part with the look-ahead off: the group matches white space that nothing else does.
func newPattern(source string) *pattern {
	head, ok := strings.CutSuffix(source, `\s+(?!\S)|\s+`)
	if !ok {
		panic("tokenizer: a pattern of another form")
	}
	head = strings.ReplaceAll(head, `[^\s`, `[^`+whiteSpace)
	head = strings.ReplaceAll(head, `\s`, `[`+whiteSpace+`]`)
	return &pattern{regexp.MustCompile(`\A(?:` + head + `([` + whiteSpace + `]+))`)}
}

// split appends the words of s.
func (p *pattern) split(words []string, s string) []string {
	for s != "" {
		m := p.re.FindStringSubmatchIndex(s)
		end := m[1]
		// Before other text \s+(?!\S) leaves the last of several spaces to the next word.
		if m[2] >= 0 && end < len(s) {
			if _, size := utf8.DecodeLastRuneInString(s[:end]); size < end {
				end -= size
			}
		}
		words = append(words, s[:end])
		s = s[end:]
	}
	return words
}

// digits makes numbers words, one of each digit or of those that follow each other.
func digits(each bool) func(words []string, s string) []string {
	return func(words []string, s string) []string {
		start, number := 0, false
		for i, c := range s {
			n := unicode.Is(unicode.N, c)
			if i > start && (n != number || n && each) {
				words = append(words, s[start:i])
				start = i
			}
			number = n
		}
		if start < len(s) {
			words = append(words, s[start:])
		}
		return words
	}
}

// spaced puts a space before words without one.
func spaced(words []string, s string) []string {
	if !strings.HasPrefix(s, " ") {
		s = " " + s
	}
	return append(words, s)
}
