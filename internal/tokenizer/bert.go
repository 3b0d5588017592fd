package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Of the categories of characters the library that makes tokenizer.json has the tables of Unicode 8.0, in these three respects.
func isMark(c rune) bool {
	return unicode.Is(unicode.Mn, c) && !unicode.Is(since8, c) && c != 0x111c9 || c == 0x1734
}

func isPunctuation(c rune) bool {
	switch {
	case c < 0x80:
		return c > ' ' && c < 0x7f && !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z')
	case c == 0x166d || c == 0x111c9:
		return true
	}
	return unicode.Is(unicode.P, c) && !unicode.Is(since8, c)
}

func isControl(c rune) bool {
	switch c {
	case '\t', '\n', '\r':
		return false
	}
	return unicode.In(c, unicode.Cc, unicode.Cf, unicode.Co) && !unicode.Is(since8, c)
}

// isHan are the blocks of characters that BERT takes for Chinese; the gap at U+2B820 is the library's.
func isHan(c rune) bool {
	return c >= 0x3400 && c <= 0x4dbf || c >= 0x4e00 && c <= 0x9fff || c >= 0xf900 && c <= 0xfaff || c >= 0x20000 && c <= 0x2a6df ||
		c >= 0x2a700 && c <= 0x2b81f || c >= 0x2b920 && c <= 0x2ceaf || c >= 0x2f800 && c <= 0x2fa1f
}

// clean takes control characters out and makes all white space a space.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == 0xfffd || isControl(c):
			return -1
		case unicode.IsSpace(c):
			return ' '
		}
		return c
	}, s)
}

// spaceHan puts spaces around Chinese characters.
func spaceHan(s string) string {
	if strings.IndexFunc(s, isHan) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if isHan(c) {
			b.WriteByte(' ')
			b.WriteRune(c)
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// stripAccents takes accents off.
func stripAccents(s string) string {
	return strings.Map(func(c rune) rune {
		if isMark(c) {
			return -1
		}
		return c
	}, normalise(norm.NFD)(s))
}

// normalise is a normal form by the tables of Unicode 9.0. What is newer separates, and so do characters beyond U+FFFF that have
// no part in composition: norm takes U+10041 for U+0041 there.
func normalise(form norm.Form) func(string) string {
	separates := func(c rune) bool {
		switch {
		case unicode.Is(since9, c):
			return true
		case c <= 0xffff || unicode.Is(composing, c):
			return false
		}
		p := form.PropertiesString(string(c))
		return p.CCC() == 0 && p.Decomposition() == nil
	}
	return func(s string) string {
		var b strings.Builder
		start := 0
		for i, c := range s {
			if separates(c) {
				b.WriteString(form.String(s[start:i]))
				b.WriteRune(c)
				start = i + utf8.RuneLen(c)
			}
		}
		b.WriteString(form.String(s[start:]))
		return b.String()
	}
}

// lower is lower case, character by character, as Unicode has it without regard to the language.
func lower(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c == 'İ' { // the one character that becomes two
			b.WriteString("i\u0307")
			continue
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// bertSplit makes words at white space, and each punctuation mark one.
func bertSplit(words []string, s string) []string {
	start := 0
	word := func(end int) {
		if start < end {
			words = append(words, s[start:end])
		}
	}
	for i, c := range s {
		switch {
		case unicode.IsSpace(c):
			word(i)
			start = i + utf8.RuneLen(c)
		case isPunctuation(c):
			word(i)
			start = i + utf8.RuneLen(c)
			words = append(words, s[i:start])
		}
	}
	word(len(s))
	return words
}
