package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hessdens/internal/density"
	"hessdens/internal/spectrum"
)

type compareOptions struct {
	maxW1, maxW1Rel float64
	maxRel          []string
	format          string
}

func newCompare(a *app) *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare OLD NEW",
		Short: "Two results to distances; exit 1 beyond a limit",
		Long: `compare says how far two spectra are apart: the Wasserstein-1 distance of their
quadratures (in units of λ, and relative to the mean |λ| of OLD), the L1 distance of their
densities smoothed alike (0 to 2), and the differences of the numbers that both report,
each with its interval: one that holds 0 may be chance, as between two seeds. Between
results of different data, some of them parts of a set, λ max, λ min and trace have
intervals that hold the chance of the choice too; of others it is not known.
With a limit it is a gate: exit 1 when one is exceeded. - is standard input.`,
		Example: `  hessdens compare main.json branch.json
  hessdens compare main.json branch.json --max-w1-rel 0.1 --max-rel lambda_max=20%
  hessdens estimate --weights new.safetensors --data ./mnist | hessdens compare main.json - --max-w1 0.05`,
		Args: arguments(2, 2, "OLD and NEW are"),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.run(a, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Float64Var(&o.maxW1, "max-w1", math.Inf(1), "largest Wasserstein-1 distance allowed, in units of λ")
	f.Float64Var(&o.maxW1Rel, "max-w1-rel", math.Inf(1), "the same relative to the mean |λ| of OLD")
	f.StringArrayVar(&o.maxRel, "max-rel", nil, "`FIELD=P%`: largest change of a number of the summary allowed (repeatable)")
	f.StringVar(&o.format, "format", "", "`FORM` of the output: text or json (default text on a terminal, else json)")
	for _, name := range []string{"max-w1", "max-w1-rel"} {
		f.Lookup(name).DefValue = "0" // so that help shows none
	}
	return cmd
}

// row is one line of a comparison. Interval is that of Delta, and Significant says that it does not hold 0; both are
// null where the error of a quantity is not known, or the levels differ; Significant also where the data differ and what that makes is
// not known.
type row struct {
	Quantity    string             `json:"quantity"`
	Old         *float64           `json:"old"`
	New         *float64           `json:"new"`
	Delta       *float64           `json:"delta"`
	Interval    *spectrum.Interval `json:"interval"`
	Significant *bool              `json:"significant"`
	Limit       *float64           `json:"limit"`
	OK          bool               `json:"ok"`
}

type comparison struct {
	Rows []row `json:"rows"`
	OK   bool  `json:"ok"`
}

// field is a number of a summary, nil where not known, with its interval. A bound is what the number lies within for
// certain.
type field struct {
	value    *float64
	interval *spectrum.Interval
	bound    bool
	sampling *float64 // standard error by the choice of data, nil where that is not known
}

// fields are the numbers of a summary by their names in the result file.
func fields(s *spectrum.Summary) map[string]field {
	return map[string]field{
		"lambda_max": {&s.LambdaMax, s.LambdaMaxInterval, true, s.LambdaMaxDataStderr},
		"lambda_min": {&s.LambdaMin, s.LambdaMinInterval, true, s.LambdaMinDataStderr},
		"trace":      {&s.Trace, s.TraceInterval, false, s.TraceDataStderr}, "frobenius_sq": {&s.FrobeniusSq, s.FrobeniusSqInterval, false, nil},
		"mean": {&s.Mean, s.MeanInterval, false, nil}, "mean_abs": {&s.MeanAbs, s.MeanAbsInterval, false, nil}, "variance": {&s.Variance, s.VarianceInterval, false, nil},
		"mass_negative": {&s.MassNegative, s.MassNegativeInterval, false, nil}, "mass_zero": {&s.MassZero, s.MassZeroInterval, false, nil},
		"mass_positive":      {&s.MassPositive, s.MassPositiveInterval, false, nil},
		"negative_energy_l1": {s.NegativeEnergyL1, s.NegativeEnergyL1Interval, false, nil},
		"negative_energy_l2": {s.NegativeEnergyL2, s.NegativeEnergyL2Interval, false, nil},
	}
}

// difference is the interval around after − before, of the level of both: the root of the sum of the squares of what each
// adds, or the sum for bounds; nil where one of them is not known. The two runs are taken as independent. What the choice of the data
// adds, a normal number of standard error sampling, comes to that as another such root.
func difference(before, after field, level, sampling float64) *spectrum.Interval {
	if before.value == nil || after.value == nil || before.interval == nil || after.interval == nil {
		return nil
	}
	add := math.Hypot
	if before.bound {
		add = func(a, b float64) float64 { return a + b }
	}
	d := *after.value - *before.value
	chance := density.NormalQuantile(level) * sampling
	return &spectrum.Interval{
		d - math.Hypot(add(*after.value-after.interval[0], before.interval[1]-*before.value), chance),
		d + math.Hypot(add(after.interval[1]-*after.value, *before.value-before.interval[0]), chance),
	}
}

// sampling is the standard error that the choice of the data gives a difference, and whether it is known: 0 for the same data.
func sampling(before, after *spectrum.Result, a, b field) (stderr float64, known bool) {
	if x, y := before.Data.SHA256, after.Data.SHA256; x != nil && y != nil && *x == *y {
		return 0, true
	}
	known = true
	for _, of := range []struct {
		data  *spectrum.Data
		field field
	}{{&before.Data, a}, {&after.Data, b}} {
		switch d := of.data; {
		case of.field.sampling != nil:
			stderr = math.Hypot(stderr, *of.field.sampling)
		case d.Total != nil && d.Examples < *d.Total:
			known = false
		}
	}
	return stderr, known
}

// shown are the fields that are always listed.
var shown = []string{"lambda_max", "lambda_min", "trace", "frobenius_sq", "mass_negative", "mass_zero", "mass_positive", "negative_energy_l1"}

// limits parses --max-rel.
func (o *compareOptions) limits() (map[string]float64, error) {
	known := slices.Sorted(maps.Keys(fields(&spectrum.Summary{})))
	out := map[string]float64{}
	for _, l := range o.maxRel {
		name, value, ok := strings.Cut(l, "=")
		number, percent := strings.CutSuffix(value, "%")
		v, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return nil, usagef("--max-rel %s: not of the form FIELD=P%% (for example lambda_max=20%%)", l)
		}
		if !slices.Contains(known, name) {
			return nil, usagef("--max-rel %s: no such field (known: %s)", l, strings.Join(known, ", "))
		}
		if percent {
			v /= 100
		}
		out[name] = v
	}
	return out, nil
}

func (o *compareOptions) run(a *app, oldName, newName string) error {
	limits, err := o.limits()
	if err != nil {
		return err
	}
	if o.format == "" {
		o.format = "json"
		if a.outTerminal {
			o.format = "text"
		}
	}
	if o.format != "json" && o.format != "text" {
		return usagef("--format %s: no such form (give text or json)", o.format)
	}
	if !(o.maxW1 >= 0) {
		return usagef("--max-w1 %v: a distance of at least 0 is needed", o.maxW1)
	}
	if !(o.maxW1Rel >= 0) {
		return usagef("--max-w1-rel %v: a distance of at least 0 is needed", o.maxW1Rel)
	}
	if oldName == "-" && newName == "-" {
		return usagef("-: only one of the two results can be standard input (give a file for the other)")
	}
	before, err := readResult(a, oldName)
	if err != nil {
		return err
	}
	after, err := readResult(a, newName)
	if err != nil {
		return err
	}
	if before.Operator != after.Operator {
		return inputf("%s measures the %s, %s the %s: they cannot be compared", label(oldName), before.Operator, label(newName), after.Operator)
	}
	c := o.compare(before, after, limits)
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		err = e.Encode(c)
	} else {
		err = c.text(a, before, after)
	}
	if err != nil {
		return toStdout(err)
	}
	if !c.OK {
		return errCheck
	}
	return nil
}

func (o *compareOptions) compare(before, after *spectrum.Result, limits map[string]float64) comparison {
	c := comparison{OK: true}
	add := func(r row) {
		c.OK = c.OK && r.OK
		c.Rows = append(c.Rows, r)
	}
	distance := func(name string, d, limit float64) {
		r := row{Quantity: name, Delta: finite(d), OK: true}
		if !math.IsInf(limit, 1) {
			r.Limit, r.OK = &limit, d <= limit
		}
		add(r)
	}
	mb, ma := before.Measure(), after.Measure()
	w1 := density.W1(mb, ma)
	var mean float64
	for i, x := range mb.Nodes {
		mean += mb.Weights[i] * math.Abs(x)
	}
	rel := w1 / mean
	if w1 == 0 {
		rel = 0
	}
	distance("w1", w1, o.maxW1)
	distance("w1_rel", rel, o.maxW1Rel)
	if sigma2 := commonWidth(before, after); sigma2 > 0 {
		if l1, err := density.L1(mb, ma, sigma2); err == nil {
			distance("density_l1", l1, math.Inf(1))
		}
	}
	fb, fa := fields(&before.Summary), fields(&after.Summary)
	names := slices.Clone(shown)
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		r := row{Quantity: name, Old: fb[name].value, New: fa[name].value, OK: true}
		if r.Old != nil && r.New != nil {
			d := *r.New - *r.Old
			r.Delta = &d
		}
		stderr, known := sampling(before, after, fb[name], fa[name])
		if level := before.Estimator.Confidence; level == after.Estimator.Confidence {
			r.Interval = difference(fb[name], fa[name], level, stderr)
		}
		if r.Interval != nil {
			if outside := r.Interval[0] > 0 || r.Interval[1] < 0; known || !outside {
				r.Significant = &outside
			}
		}
		if limit, ok := limits[name]; ok {
			r.OK = r.Delta != nil && math.Abs(*r.Delta) <= limit*math.Abs(*r.Old)
			if r.Old != nil {
				l := limit * math.Abs(*r.Old)
				r.Limit = &l
			}
		}
		add(r)
	}
	return c
}

// commonWidth is the variance with which two densities are compared: that of the estimate, where
// the other is exact, else the larger; 0 where one has no density.
func commonWidth(a, b *spectrum.Result) float64 {
	switch {
	case a.Density == nil || b.Density == nil:
		return 0
	case a.Estimator.Method == spectrum.MethodExact && b.Estimator.Method != spectrum.MethodExact:
		return b.Density.Sigma2
	case b.Estimator.Method == spectrum.MethodExact && a.Estimator.Method != spectrum.MethodExact:
		return a.Density.Sigma2
	}
	return max(a.Density.Sigma2, b.Density.Sigma2)
}

// finite is nil for what JSON cannot hold.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func (c comparison) text(a *app, before, after *spectrum.Result) error {
	if before.Model.Parameters != after.Model.Parameters {
		fmt.Fprintf(a.stdout, "note: %d and %d parameters vary\n", before.Model.Parameters, after.Model.Parameters)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\told\tnew\tdelta\tinterval\tlimit\t\t")
	number := func(x *float64) string {
		if x == nil {
			return "-"
		}
		return strconv.FormatFloat(*x, 'g', 6, 64)
	}
	for _, r := range c.Rows {
		verdict := ""
		if r.Limit != nil {
			verdict = "ok"
		}
		if !r.OK {
			verdict = "EXCEEDED"
		}
		interval := "-"
		if r.Interval != nil {
			interval = fmt.Sprintf("[%.3g, %.3g]", r.Interval[0], r.Interval[1])
			switch {
			case r.Significant == nil:
				interval += " or the data"
			case !*r.Significant:
				interval += " may be 0"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Quantity, number(r.Old), number(r.New), number(r.Delta), interval, number(r.Limit), verdict)
	}
	return w.Flush()
}
