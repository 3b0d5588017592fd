package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hessdens/internal/density"
	"hessdens/internal/spectrum"
)

// notKnown stands where a number is not known.
const notKnown = "–"

// withInterval is a value and the interval around it, where that is wide enough for four digits to show it.
func withInterval(v float64, i *spectrum.Interval) string {
	if i == nil || !(i[1]-i[0] > 1e-4*math.Abs(v)) {
		return short(v)
	}
	return fmt.Sprintf("%s  [%s, %s]", short(v), short(i[0]), short(i[1]))
}

// withStderr is a value and its standard error, with as many digits as that leaves.
func withStderr(v float64, stderr *float64) string {
	if stderr == nil || !(*stderr > 0) || !finite(*stderr) {
		return short(v)
	}
	return withError(v, *stderr)
}

// frobenius is the norm of H and its standard error to first order.
func frobenius(s *spectrum.Summary) (norm float64, stderr *float64) {
	norm = math.Sqrt(math.Max(0, s.FrobeniusSq))
	if s.FrobeniusSqStderr != nil && norm > 0 {
		e := *s.FrobeniusSqStderr / (2 * norm)
		stderr = &e
	}
	return norm, stderr
}

// withError writes a value to the second digit of its standard error.
func withError(v, stderr float64) string {
	digits := 2 + int(math.Floor(math.Log10(math.Max(math.Abs(v), stderr)))) - int(math.Floor(math.Log10(stderr)))
	digits = min(max(digits, 2), 10)
	decimals := max(0, 1-int(math.Floor(math.Log10(stderr))))
	if a := math.Max(math.Abs(v), stderr); a >= 1e6 || a < 1e-4 || decimals > 9 {
		return fmt.Sprintf("%s ± %s", shortExponent(strconv.FormatFloat(v, 'e', digits-1, 64)), shortExponent(strconv.FormatFloat(stderr, 'e', 1, 64)))
	}
	return fmt.Sprintf("%.*f ± %.*f", decimals, v, decimals, stderr)
}

// summaryLine is the width that the summary keeps to where it lists.
const summaryLine = 78

// share is a part of a whole, its interval, and what it is.
type share struct {
	value    float64
	interval *spectrum.Interval
	what     string
}

// listShares writes shares on one line, or each on its own where intervals go with them.
func listShares(of []share) []string {
	var texts []string
	wide := false
	for _, x := range of {
		text := percent(x.value)
		if i := x.interval; i != nil && i[1]-i[0] > 1e-4*x.value {
			text += fmt.Sprintf("  [%s, %s]", short(round3(100*i[0])), short(round3(100*i[1])))
			wide = true
		}
		texts = append(texts, text+x.what)
	}
	if wide {
		return texts
	}
	return []string{strings.Join(texts, ", ")}
}

// foretold says how far the spectrum is at most, and, of a run that grew, what ended it.
func foretold(e *spectrum.Estimator) string {
	if e.W1Sampling == nil || e.W1Quadrature == nil {
		return ""
	}
	text := fmt.Sprintf("%s of the mean |λ| (Wasserstein-1)", percent(*e.W1Sampling+*e.W1Quadrature))
	if e.MaxProducts != nil && e.Stopped != nil {
		text += "; run ended: " + *e.Stopped
	}
	return text
}

// sampling says what other data would change, and what difference between two runs that is.
func sampling(r *spectrum.Result) []string {
	s, d := &r.Summary, &r.Data
	var lines, errors, apart []string
	two := math.Sqrt2 * density.NormalQuantile(r.Estimator.Confidence)
	for _, x := range []struct {
		name   string
		stderr *float64
	}{{"λ max", s.LambdaMaxDataStderr}, {"λ min", s.LambdaMinDataStderr}, {"trace", s.TraceDataStderr}} {
		if x.stderr != nil {
			errors = append(errors, fmt.Sprintf("%s ± %.2g", x.name, *x.stderr))
			apart = append(apart, fmt.Sprintf("%.2g in %s", two**x.stderr, x.name))
		}
	}
	from := d.DrawnFrom
	if from == nil {
		from = d.Total
	}
	if errors != nil && from != nil {
		lines = append(lines, fmt.Sprintf("%s of %s examples: %s", thousands(d.Examples), thousands(*from), strings.Join(errors, ", ")),
			fmt.Sprintf("by chance, two such samples differ by up to %s", strings.Join(apart, ", ")))
	}
	if d.Subsets != nil {
		var largest []float64
		for _, x := range d.Subsets {
			largest = append(largest, x.LambdaMax)
		}
		lines = append(lines, fmt.Sprintf("λ max of %d parts: %s to %s", len(largest), short(slices.Min(largest)), short(slices.Max(largest))))
	}
	return lines
}

// Summary writes what a result says, for people: a line a quantity, its uncertainty beside it. A value with ± has one
// standard error, one with [ , ] an interval of the result's level, which is named where it is not the usual 95 %.
func Summary(w io.Writer, r *spectrum.Result) error {
	out := bufio.NewWriter(w)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "  %-16s  %s\n", name, Printable(value))
		}
	}
	if head := join(" on ", r.Model.Name, r.Data.Name); head != "" {
		fmt.Fprintln(out, Printable(head))
	}
	line("parameters n", thousands(r.Model.Parameters))
	examples := thousands(r.Data.Examples)
	if r.Data.Tokens != nil {
		examples += fmt.Sprintf(" (%s tokens)", thousands(*r.Data.Tokens))
	}
	line("examples N", examples)
	line("loss", risk(&r.Risk))
	if r.Risk.GradientNorm != nil {
		line("gradient norm", short(*r.Risk.GradientNorm))
	}
	line("operator", how(r))
	fmt.Fprintln(out)

	s := &r.Summary
	line("λ max", withInterval(s.LambdaMax, s.LambdaMaxInterval))
	line("λ min", withInterval(s.LambdaMin, s.LambdaMinInterval))
	line("trace", withStderr(s.Trace, s.TraceStderr))
	line("‖H‖_F", withStderr(frobenius(s)))
	shares := func(name string, of ...share) {
		for i, text := range listShares(of) {
			if i > 0 {
				name = ""
			}
			line(name, text)
		}
	}
	shares("eigenvalues", share{s.MassNegative, s.MassNegativeInterval, " negative"},
		share{s.MassZero, s.MassZeroInterval, " within ±σ of zero"}, share{s.MassPositive, s.MassPositiveInterval, " positive"})
	if s.NegativeEnergyL1 != nil && s.NegativeEnergyL2 != nil {
		shares("negative energy", share{*s.NegativeEnergyL1, s.NegativeEnergyL1Interval, " of ∫|λ|"},
			share{*s.NegativeEnergyL2, s.NegativeEnergyL2Interval, " of ∫λ²"})
	}
	line("error foretold", foretold(&r.Estimator))
	for i, text := range sampling(r) {
		name := "other data"
		if i > 0 {
			name = ""
		}
		line(name, text)
	}
	if values := converged(r); len(values) > 0 {
		line("converged", fit(list("eigenvalues", values), summaryLine-20))
	}
	if c := r.Estimator.Confidence; c > 0 && c != spectrum.DefaultConfidence {
		line("intervals", "of "+percent(c))
	}
	for _, warning := range r.Warnings {
		line("warning", warning.Message)
	}
	return out.Flush()
}

// risk says what function of the parameters is measured, and its value.
func risk(r *spectrum.Risk) string {
	var terms []string
	if r.LossKind != "" {
		terms = append(terms, r.LossKind)
	}
	if r.LabelSmoothing != 0 {
		terms = append(terms, "label smoothing "+plainNumber(r.LabelSmoothing))
	}
	if r.ClassWeights != nil {
		terms = append(terms, "class weights")
	}
	if r.Ignored > 0 {
		terms = append(terms, fmt.Sprintf("%d targets ignored", r.Ignored))
	}
	if r.WeightDecay != 0 {
		terms = append(terms, "weight decay "+plainNumber(r.WeightDecay))
	}
	if r.BatchNorm != nil {
		terms = append(terms, "batch norm "+*r.BatchNorm)
	}
	loss := ""
	if r.Loss != nil {
		loss = fmt.Sprintf("%.6g", *r.Loss)
	}
	return join("  ", loss, strings.Join(terms, ", "))
}

// how says by which operator and method a result came about.
func how(r *spectrum.Result) string {
	method := []string{r.Estimator.Method}
	if r.Estimator.Probes > 0 {
		method = append(method, fmt.Sprintf("%d probes x %d steps", r.Estimator.Probes, r.Estimator.Steps))
	}
	if r.Estimator.Seed != nil {
		method = append(method, fmt.Sprintf("seed %d", *r.Estimator.Seed))
	}
	if r.Estimator.Precision != "" {
		method = append(method, r.Estimator.Precision)
	}
	if b := r.Estimator.Basis; b != nil && *b != spectrum.Float64 {
		method = append(method, "basis "+*b)
	}
	return join(": ", r.Operator, strings.Join(method, ", "))
}

// join joins those of two texts that are not empty.
func join(between, a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + between + b
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(share float64) string {
	return short(round3(100*share)) + " %"
}

// Table writes a line for each of a series of results, such as the checkpoints of a training, in columns; names stand at
// the left, or the models' names where names is nil.
func Table(w io.Writer, names []string, results []*spectrum.Result) error {
	cells := [][]string{{"", "loss", "λ max", "λ min", "trace", "‖H‖_F", "negative", "neg. energy", "converged"}}
	for i, r := range results {
		name := Printable(r.Model.Name)
		if names != nil {
			name = names[i]
		}
		s := &r.Summary
		loss, energy := notKnown, notKnown
		if r.Risk.Loss != nil {
			loss = short(*r.Risk.Loss)
		}
		if s.NegativeEnergyL1 != nil {
			energy = percent(*s.NegativeEnergyL1)
		}
		norm, _ := frobenius(s)
		cells = append(cells, []string{
			fitMiddle(name, func(t string) bool { return utf8.RuneCountInString(t) <= longestName }),
			loss, short(s.LambdaMax), short(s.LambdaMin), withStderr(s.Trace, s.TraceStderr), short(norm),
			percent(s.MassNegative), energy, strconv.Itoa(len(r.Eigenvalues)),
		})
	}
	return columns(w, cells)
}

// longestName is the number of characters that a table has room for.
const longestName = 32

// columns writes cells, the first column to the left and the others to the right.
func columns(w io.Writer, cells [][]string) error {
	var widths []int
	for _, row := range cells {
		for len(widths) < len(row) {
			widths = append(widths, 0)
		}
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range cells {
		var line strings.Builder
		for i, c := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i == 0 {
				line.WriteString(c + space)
			} else {
				line.WriteString("  " + space + c)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	return out.Flush()
}
