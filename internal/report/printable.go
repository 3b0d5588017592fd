package report

import (
	"strings"
	"unicode"
)

// Printable is a text that may come from a file, for a terminal: what is neither printed nor a space would move the cursor, change
// colours or titles, or turn the text around, and becomes '?'.
func Printable(text string) string { return printable(text, "") }

// PrintableLines is Printable of a text of several lines.
func PrintableLines(text string) string { return printable(text, "\n") }

func printable(text, more string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !strings.ContainsRune(more, r) {
			return '?'
		}
		return r
	}, text)
}
