package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func terminal(t *testing.T, c Curve, width, height int, o TerminalOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := Terminal(&b, c, width, height, o); err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("HESSDENS_PICTURES"); dir != "" {
		name := fmt.Sprintf("terminal-%s-%dx%d%s.txt", strings.ReplaceAll(c.Name, " ", "-"), width, height, o.X)
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestTerminalFits(t *testing.T) {
	spectra := []Curve{paperLike(), degenerate["far"][0]}
	for _, curves := range degenerate {
		spectra = append(spectra, curves[0])
	}
	for _, c := range spectra {
		for _, width := range []int{30, 41, 80, 133} {
			for _, height := range []int{6, 9, 24, 50} {
				for _, o := range []TerminalOptions{{}, {X: SymLog}, {ASCII: true}, {ASCII: true, X: Linear}} {
					got := terminal(t, c, width, height, o)
					lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
					if len(lines) > height {
						t.Errorf("%s, %d x %d: %d lines", c.Name, width, height, len(lines))
					}
					for _, l := range lines {
						if n := utf8.RuneCountInString(l); n > width {
							t.Errorf("%s, %d x %d: a line of %d characters: %q", c.Name, width, height, n, l)
						}
					}
					if o.ASCII {
						for _, r := range got {
							if r != '\n' && (r < ' ' || r > '~') {
								t.Fatalf("%s: character %q in %q", c.Name, r, got)
							}
						}
					}
					if strings.Contains(got, "\x1b") {
						t.Errorf("%s: an escape sequence without being asked for colour", c.Name)
					}
				}
			}
		}
	}
}

func TestTerminalShows(t *testing.T) {
	got := terminal(t, paperLike(), 80, 24, TerminalOptions{})
	for _, want := range []string{"1e3", "1e-3", "λ", "0.1", "0.2", "▲ 10 converged: 0.318  0.269", "…", "╭"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	marks := 0
	for l := range strings.Lines(got) {
		if strings.Contains(l, "▲") && !strings.Contains(l, "converged") {
			marks = strings.Count(l, "▲")
		}
	}
	if marks != 10 {
		t.Errorf("%d marks, want 10 in\n%s", marks, got)
	}
	if colored := terminal(t, paperLike(), 80, 24, TerminalOptions{Color: true}); !strings.Contains(colored, "\x1b[") {
		t.Error("no escape sequence though asked for colour")
	}
	if got := terminal(t, Curve{Name: "null"}, 80, 24, TerminalOptions{}); !strings.Contains(got, "no smooth density") {
		t.Errorf("nothing said of the missing density in\n%s", got)
	}
	if err := Terminal(&bytes.Buffer{}, Curve{Grid: []float64{0}}, 80, 24, TerminalOptions{}); err == nil {
		t.Error("no error for a grid without densities")
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"abc def", 7, "abc def"},
		{"abc def", 6, "abc …"},
		{"abc  def ghi", 10, "abc  def …"},
		{"abcdefghi", 5, "abcd…"},
		{"λλλ λλλ", 6, "λλλ …"},
	} {
		if got := fit(c.in, c.width); got != c.want {
			t.Errorf("fit(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
