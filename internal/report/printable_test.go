package report

import (
	"strings"
	"testing"

	"hessdens/internal/density"
	"hessdens/internal/spectrum"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"‖H‖_F ± 1 · conv1.weight é": "‖H‖_F ± 1 · conv1.weight é",
		"\x1b]0;title\a\x1b[2J":      "?]0;title??[2J",
		"a\r\tb\u009b31m":            "a??b?31m",
		"a\u202eb\u2066c\u200b":      "a?b?c?",
		"a\nb":                       "a?b",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got, want := PrintableLines("a\n  b\x1b[2J\n"), "a\n  b?[2J\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nothing of a result file reaches the terminal as a command to it.
func TestSummaryPrintable(t *testing.T) {
	const evil = "\x1b]0;x\a\r"
	r := &spectrum.Result{Operator: evil, Model: spectrum.Model{Name: evil}, Data: spectrum.Data{Name: evil}, Risk: spectrum.Risk{LossKind: evil}, Warnings: []density.Warning{{Message: evil}}}
	var b strings.Builder
	if err := Summary(&b, r); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); strings.ContainsAny(s, "\x1b\a\r") || strings.Count(s, "?]0;x??") < 4 {
		t.Errorf("%q", s)
	}
}
