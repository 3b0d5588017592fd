package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hessdens/internal/density"
	"hessdens/internal/hvp"
	"hessdens/internal/kernel"
	"hessdens/internal/report"
	"hessdens/internal/spectrum"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

// outputOptions are the flags of a command that gives one result.
type outputOptions struct {
	file, format, table string
	sigma2              string
	points              int
	smoothing           string
	confidence          float64
}

// tables are the forms of CSV.
var tables = map[string]spectrum.Format{"density": spectrum.CSV, "distribution": spectrum.DistributionCSV, "nodes": spectrum.NodesCSV}

func (o *outputOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "output", "o", "", "write `FILE` (.json, .json.gz or .csv), whole or not at all")
	f.StringVar(&o.format, "format", "", "`FORM` of standard output: json, csv or text (default text on a terminal, else json)")
	f.StringVar(&o.table, "table", "density", "`PART` that CSV holds: density, distribution or nodes")
	f.StringVar(&o.sigma2, "sigma2", "auto", "variance `V` of the smoothing kernel: auto or a number")
	f.IntVar(&o.points, "points", 0, "`N` points of the density's grid (default and least: two to a σ where there is density)")
	f.StringVar(&o.smoothing, "smoothing", "scale", "`RULE` of width and grid: scale, or ghorbani (that of the paper's code)")
	o.confidenceFlag(f)
	heading(f, "Output")
}

func (o *outputOptions) confidenceFlag(f *pflag.FlagSet) {
	f.Float64Var(&o.confidence, "confidence", spectrum.DefaultConfidence, "level `C` of bands and intervals, between 0 and 1")
}

// check validates the flags, and that the file can be written, before any work.
func (o *outputOptions) check(a *app) error {
	asked := o.format
	switch o.format {
	case "":
		o.format = "json"
		if a.outTerminal {
			o.format = "text"
		}
	case "json", "csv", "text":
	default:
		return usagef("--format %s: no such form (give json, csv or text)", o.format)
	}
	if _, ok := tables[o.table]; !ok {
		return usagef("--table %s: no such table (give density, distribution or nodes)", o.table)
	}
	if o.points < 0 || o.points > maxPoints {
		return usagef("--points %d: from 1 to %d, or 0 for as many as the density needs", o.points, maxPoints)
	}
	if o.smoothing != string(spectrum.Scale) && o.smoothing != string(spectrum.Ghorbani) {
		return usagef("--smoothing %s: no such rule (give scale or ghorbani)", o.smoothing)
	}
	if !(o.confidence > 0 && o.confidence < 1) {
		return usagef("--confidence %v: a level between 0 and 1 is needed (0.95 by default)", o.confidence)
	}
	if _, err := o.variance(); err != nil {
		return err
	}
	if o.file == "" {
		if o.table != "density" && o.format != "csv" {
			return usagef("--table %s: only CSV is a table (add --format csv, or -o FILE.csv)", o.table)
		}
		return nil
	}
	format, err := spectrum.FormatOf(o.file)
	switch {
	case err != nil:
		return usagef("-o %w", err)
	case asked == "csv" && format != spectrum.CSV, asked == "json" && format == spectrum.CSV:
		return usagef("--format %s: the suffix of -o %s says another (leave --format out, or change the suffix)", asked, o.file)
	case o.table != "density" && format != spectrum.CSV:
		return usagef("--table %s: only CSV is a table, and -o %s is not (use the suffix .csv)", o.table, o.file)
	}
	return writable("-o", o.file)
}

// maxPoints is the most points that package density gives a grid.
const maxPoints = 1 << 22

// refused is the error of a density that cannot be computed as asked.
func (o *outputOptions) refused(err error) error {
	if exitCode(err) != exitInput { // the width was not the reason
		return err
	}
	flags := "--sigma2 " + o.sigma2
	if o.points > 0 {
		flags += fmt.Sprintf(", --points %d", o.points)
	}
	return usagef("%s: %w (give a larger --sigma2, or leave these flags out)", flags, err)
}

func (o *outputOptions) variance() (float64, error) {
	if o.sigma2 == "auto" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(o.sigma2, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0, usagef("--sigma2 %s: not a variance (give auto or a positive number)", o.sigma2)
	}
	return v, nil
}

// settings are what a result is put together with.
func (o *outputOptions) settings(steps int, seed uint64, precision string, threads int) spectrum.Settings {
	v, _ := o.variance()
	return spectrum.Settings{Steps: steps, Seed: seed, Precision: precision, Smoothing: spectrum.Smoothing(o.smoothing), Sigma2: v, Points: o.points,
		Confidence: o.confidence, Threads: threads}
}

// writable finds out, before hours of work, whether the file that a flag names could be written.
func writable(flag, name string) error {
	refuse := func(err error) error {
		return code(exitOutput, fmt.Errorf("%s %s: %w (is the directory there, and yours to write to?)", flag, name, cause(err)))
	}
	at := name
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return code(exitOutput, fmt.Errorf("%s %s: is a directory (name a file in it)", flag, name))
	case err == nil && !info.Mode().IsRegular():
		return nil
	case err == nil:
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return refuse(err)
		}
		_ = f.Close() // nothing was written
		if at, err = filepath.EvalSymlinks(name); err != nil {
			return refuse(err)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(at), ".hessdens-*.tmp")
	if err != nil {
		return refuse(err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return refuse(err)
	}
	return nil
}

// cause is an error of the file system without the name of the file.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// write hands a result to where the flags say.
func (o *outputOptions) write(a *app, r *spectrum.Result) error {
	csv := tables[o.table]
	if o.file != "" {
		format, err := spectrum.FormatOf(o.file)
		if err != nil {
			return usagef("-o %w", err)
		}
		if format == spectrum.CSV {
			format = csv
		}
		if err := writeFile("-o", o.file, func(w io.Writer) error { return format.Write(w, r) }); err != nil {
			return err
		}
		if a.errTerminal {
			return picture(a, a.stderr, r)
		}
		return nil
	}
	if o.format == "text" {
		return picture(a, a.stdout, r)
	}
	a.warnOf("", r)
	if o.format == "csv" {
		return toStdout(csv.Write(a.stdout, r))
	}
	return toStdout(spectrum.JSON.Write(a.stdout, r))
}

// warnOf says the warnings of a result that nobody sees the summary of, unless they have been said.
func (a *app) warnOf(prefix string, r *spectrum.Result) {
	for _, w := range r.Warnings {
		if !a.said[w.Message] {
			a.warn("%s%s", prefix, w.Message)
		}
	}
}

func toStdout(err error) error {
	if err != nil {
		return code(exitOutput, fmt.Errorf("standard output: %w (what was written is not complete)", cause(err)))
	}
	return nil
}

// writeFile writes the file that a flag names, whole or not at all.
func writeFile(flag, name string, write func(io.Writer) error) error {
	if err := spectrum.WriteFile(name, write); err != nil {
		return code(exitOutput, fmt.Errorf("%s %s: %w (nothing was written; what was there before still is)", flag, name, cause(err)))
	}
	return nil
}

// picture is a result for people: the summary and the density.
func picture(a *app, w io.Writer, r *spectrum.Result) error {
	if err := report.Summary(w, r); err != nil {
		return toStdout(err)
	}
	fmt.Fprintln(w)
	return toStdout(report.Terminal(w, report.FromResult(r.Model.Name, r), min(a.width, 110), 18, report.TerminalOptions{Color: a.color(w)}))
}

// color says whether what is shown to people may be coloured.
func (a *app) color(w io.Writer) bool {
	terminal := a.outTerminal
	if w == a.stderr {
		terminal = a.errTerminal
	}
	return terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// fill adds to a result what its estimator does not know.
func (s *subject) fill(a *app, r *spectrum.Result, op *hvp.Operator, loss, gradientNorm float64, products int, start time.Time) error {
	r.Operator = s.o.operator
	r.Model.Name = s.net.Name
	hash := s.net.SHA256()
	r.Model.SHA256 = &hash
	for _, g := range op.Groups() {
		r.Model.Groups = append(r.Model.Groups, spectrum.Group{Name: g.Name, Size: g.Size})
	}
	data, err := s.dataSHA256()
	if err != nil {
		return err
	}
	r.Data.Name, r.Data.Examples, r.Data.SHA256, r.Data.Total = s.name, s.set.N, &data, &s.set.Total
	if s.set.Drawn > 0 {
		r.Data.DrawnFrom = &s.set.Drawn
	}
	if t := s.tokens(); t > 0 {
		r.Data.Tokens = &t
	}
	r.Risk = spectrum.Risk{Loss: &loss, GradientNorm: &gradientNorm, LossKind: op.Loss(), LabelSmoothing: s.o.smoothing, ClassWeights: op.Settings().ClassWeights, Ignored: op.Ignored(), WeightDecay: s.o.weightDecay}
	if s.net.BatchNorm {
		bn := spectrum.BatchNormEval
		if s.o.batchNorm == "batch" {
			bn = spectrum.BatchNormBatch
		}
		r.Risk.BatchNorm = &bn
	}
	var said []density.Warning
	for _, w := range s.warnings {
		said = append(said, density.Warning{Code: w.code, Message: w.message})
	}
	r.Warnings = append(r.Warnings, said...)
	r.Provenance = provenance(a, s.o.threads, products, start)
	return nil
}

// provenance is all that two equal runs may differ in.
func provenance(a *app, threads, products int, start time.Time) spectrum.Provenance {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := spectrum.Provenance{Version: version, Go: runtime.Version(), CPU: cpuName(), KernelPath: kernel.Path(), Threads: threads,
		Seconds: time.Since(start).Seconds(), Products: products, Command: strings.Join(append([]string{"hessdens"}, a.args...), " ")}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				p.Commit = s.Value
			}
		}
	}
	return p
}

// cpuName is what the system calls the processor, or its architecture.
func cpuName() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			}
		}
	}
	return runtime.GOARCH
}
