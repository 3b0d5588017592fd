package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/guptarohit/asciigraph"
)

// TerminalOptions of a picture for the terminal. The zero value is a picture without colour.
type TerminalOptions struct {
	// Color lets the curve and the marks have a colour, by ANSI escape sequences.
	Color bool

	// ASCII keeps to the 95 printable characters, for terminals and log files that know no others.
	ASCII bool

	// X and LinearWidth are those of Options.
	X           XScale
	LinearWidth float64

	// From and To bound the λ shown; both 0: all.
	From, To float64
}

// The smallest picture that can be read.
const (
	smallestColumns = 30
	smallestRows    = 6
)

// Terminal draws the density of a spectrum, log φ over λ, in at most width columns and height lines.
//
// Under the axis ▲ marks the converged eigenvalues, and the last line lists the largest of them. The floor is that
// of Plot. A column shows the largest density within it, so that no peak is lost. The curve is one of at least 30 columns and 6
// lines, whatever is asked for.
func Terminal(w io.Writer, c Curve, width, height int, o TerminalOptions) error {
	if err := c.check(); err != nil {
		return err
	}
	width, height = max(width, smallestColumns), max(height, smallestRows)
	curves := []Curve{c}
	s, err := newScale(curves, &Options{X: o.X, LinearWidth: o.LinearWidth, From: o.From, To: o.To})
	if err != nil {
		return err
	}
	values := descending(c.Eigenvalues)
	below := 2 // the axis and its numbers
	if len(values) > 0 {
		below = 4
	}

	var lines []string
	margin := 2
	if peak(curves) > 0 {
		plotted, left := graph(&c, s, width, height-below, o.Color)
		lines, margin = plotted, left
	} else {
		lines = []string{"  " + fit("no smooth density: all of the spectrum is at a few points", width-4)}
	}
	columns := width - margin
	axis, numbers := axisLines(s, columns)
	pad := strings.Repeat(" ", margin-1)
	name, room := "λ", width
	if o.ASCII {
		name, room = "lambda", width-2 // … becomes ...
	}
	lines = append(lines, pad+"└"+axis, numbersLine(name, numbers, margin, width))
	if len(values) > 0 {
		marks := []rune(strings.Repeat(" ", columns))
		for _, v := range values {
			if p := s.at(v); p >= 0 && p <= 1 {
				marks[min(int(p*float64(columns)), columns-1)] = '▲'
			}
		}
		marked := strings.TrimRight(string(marks), " ")
		if o.Color {
			marked = asciigraph.Red.String() + marked + asciigraph.Default.String()
		}
		lines = append(lines, pad+" "+marked, fit("▲ "+list("converged", values), room))
	}

	out := bufio.NewWriter(w)
	for _, l := range lines {
		if o.ASCII {
			l = toASCII.Replace(l)
		}
		fmt.Fprintln(out, strings.TrimRight(l, " "))
	}
	return out.Flush()
}

// graph is log φ in lines of text, and the number of columns before the first of the curve.
func graph(c *Curve, s scale, width, height int, color bool) (lines []string, left int) {
	curves := []Curve{*c}
	lo, hi := logRange(curves)
	hi = math.Ceil(hi)
	rows := max(1, height-1)
	const labelWidth, offset = 6, 2
	left = labelWidth + offset
	columns := width - left

	series := columnPeaks(c, s, columns)
	for i, v := range series { // from 0 on: asciigraph rounds both ends of a range by themselves
		series[i] = floored(v, lo) - lo
	}
	step := (hi - lo) / float64(rows)
	every := math.Max(1, math.Ceil((hi-lo)/math.Min(8, float64(rows))))
	options := []asciigraph.Option{
		asciigraph.Height(rows), asciigraph.LowerBound(0), asciigraph.UpperBound(hi - lo), asciigraph.Offset(offset),
		asciigraph.YAxisValueFormatter(func(v float64) string {
			label := ""
			if e := every * math.Round(v/every); math.Abs(v-e) <= step/2*(1-1e-9) {
				label = fmt.Sprintf("1e%d", int(lo+e))
			}
			return fmt.Sprintf("%*s", labelWidth, label)
		}),
	}
	if color {
		options = append(options, asciigraph.SeriesColors(asciigraph.Blue))
	}
	text := asciigraph.Plot(series, options...)
	return strings.Split(text, "\n"), left
}

// number is a label below the axis, centred on a column.
type number struct {
	column int
	text   string
}

// axisLines is the axis of λ with its marks, and the numbers that belong to the marks.
func axisLines(s scale, columns int) (string, []number) {
	axis := []rune(strings.Repeat("─", columns))
	var numbers []number
	for _, t := range s.ticks(math.Min(0.5, 11/float64(columns)), plainNumber) {
		p := s.at(t.Value)
		if t.Label == "" || p < 0 || p > 1 {
			continue
		}
		k := min(int(p*float64(columns)), columns-1)
		axis[k] = '┬'
		numbers = append(numbers, number{k, t.Label})
	}
	return string(axis), numbers
}

// numbersLine sets the numbers under their marks, after the axis's name.
func numbersLine(name string, numbers []number, margin, width int) string {
	line := []rune(strings.Repeat(" ", width))
	first := copy(line, []rune(name)) + 1
	for _, n := range numbers {
		r := []rune(n.text)
		at := min(max(margin+n.column-len(r)/2, first), width-len(r))
		if at < 0 || strings.TrimSpace(string(line[max(0, at-1):min(width, at+len(r)+1)])) != "" {
			continue
		}
		copy(line[at:], r)
	}
	return string(line)
}

// list names values and their number; it need not be longer than a line, to which fit cuts it.
func list(name string, values []float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", len(values), name)
	for i, v := range values {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("  ")
		}
		b.WriteString(short(v))
		if b.Len() > 4096 {
			break
		}
	}
	return b.String()
}

// fit cuts a line at a blank so that it has at most width columns, and says so by ….
func fit(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	for cut := width - 2; cut > 0; cut-- {
		if r[cut] == ' ' {
			return strings.TrimRight(string(r[:cut]), " ") + " …"
		}
	}
	return string(r[:width-1]) + "…"
}

// short writes a number with four digits, and with an exponent where plainNumber does.
func short(v float64) string {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil || !finite(v) {
		return fmt.Sprint(v)
	}
	return plainNumber(r)
}

// toASCII writes our characters by others.
var toASCII = strings.NewReplacer(
	"┤", "|", "┼", "+", "│", "|", "─", "-", "└", "+", "┬", "+",
	"╭", ".", "╮", ".", "╰", "'", "╯", "'", "╴", "-", "╶", "-",
	"▲", "^", "…", "...", "λ", "lambda", "φ", "phi", "±", "+/-", "‖", "|", "·", "*", "×", "x", "−", "-", "–", "-", "²", "^2", "σ", "sigma", "∫", "int ",
)
