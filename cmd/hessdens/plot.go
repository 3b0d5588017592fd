package main

import (
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"hessdens/internal/report"
)

type plotOptions struct {
	file          string
	title         string
	x             string
	from, to      float64
	width, height int
	evolution     bool
	ascii         bool
}

func newPlot(a *app) *cobra.Command {
	o := &plotOptions{}
	cmd := &cobra.Command{
		Use:   "plot RESULT…",
		Short: "Result files to SVG, PNG, PDF, or the terminal",
		Long: `plot draws the densities of one or more result files (- is standard input) over each
other, the density on a logarithmic axis. With -o it writes a picture, by suffix .svg,
.png or .pdf; without, it draws in the terminal.`,
		Example: `  hessdens plot net.json
  hessdens plot net.json -o net.svg
  hessdens plot early.json late.json --x symlog -o both.png
  hessdens plot series.jsonl --evolution -o series.svg
  hessdens estimate | hessdens plot -`,
		Args: arguments(1, -1, "at least one RESULT is"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return o.run(a, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.file, "output", "o", "", "write the picture to `FILE`.svg, .png or .pdf")
	f.StringVar(&o.title, "title", "", "`TEXT` above the picture")
	f.StringVar(&o.x, "x", "auto", "`AXIS` of the eigenvalues: auto, linear or symlog")
	f.Float64Var(&o.from, "from", 0, "smallest eigenvalue `L` shown (with --to)")
	f.Float64Var(&o.to, "to", 0, "largest eigenvalue `L` shown (with --from)")
	f.IntVar(&o.width, "width", 0, "`W` of the picture, in pixels (default 900), or columns of the terminal")
	f.IntVar(&o.height, "height", 0, "`H` of the picture, in pixels (default 540), or lines of the terminal")
	f.BoolVar(&o.evolution, "evolution", false, "draw the results as a series, one row each")
	f.BoolVar(&o.ascii, "ascii", false, "in the terminal keep to ASCII characters")
	return cmd
}

// check validates what needs no file.
func (o *plotOptions) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case given("from") != given("to"):
		return usagef("--from, --to: one without the other (give both, or neither)")
	case given("from") && !(o.from < o.to && o.to-o.from <= math.MaxFloat64):
		return usagef("--from %v --to %v: no interval (give the smaller first)", o.from, o.to)
	case o.file == "" && o.evolution:
		return usagef("--evolution: needs a picture (add -o FILE.svg, .png or .pdf)")
	case o.file != "" && o.ascii:
		return usagef("--ascii: is for the terminal (leave out -o)")
	}
	least := smallestPicture
	if o.file == "" {
		least = 1
	}
	for name, v := range map[string]int{"width": o.width, "height": o.height} {
		if given(name) && (v < least || v > largestPicture) {
			return usagef("--%s %d: out of range (give %d to %d)", name, v, least, largestPicture)
		}
	}
	return nil
}

// Sides of a picture that package report draws, in pixels.
const (
	smallestPicture = 160
	largestPicture  = 10000
)

// axis is the axis that a flag names.
func axis(flag, name string) (report.XScale, error) {
	switch name {
	case "auto":
		return report.Auto, nil
	case "linear":
		return report.Linear, nil
	case "symlog":
		return report.SymLog, nil
	}
	return report.Auto, usagef("%s %s: no such axis (give auto, linear or symlog)", flag, name)
}

func (o *plotOptions) run(a *app, args []string) error {
	x, err := axis("--x", o.x)
	if err != nil {
		return err
	}
	format := ""
	if o.file != "" {
		if format, err = pictureFormat("-o", o.file); err != nil {
			return err
		}
		if err := writable("-o", o.file); err != nil {
			return err
		}
	}
	var curves []report.Curve
	for _, name := range args {
		rs, err := readResults(a, name)
		if err != nil {
			return err
		}
		for _, r := range rs {
			label := legend(name)
			if len(rs) > 1 { // a series says itself what each is
				label = r.Model.Name
			}
			curves = append(curves, report.FromResult(label, r))
		}
	}
	if format == "" {
		width, height := o.width, o.height
		if width == 0 {
			width = min(a.width, 110)
		}
		if height == 0 {
			height = 18
		}
		if o.title != "" {
			fmt.Fprintln(a.stdout, o.title)
		}
		for _, c := range curves {
			if len(curves) > 1 {
				fmt.Fprintln(a.stdout, report.Printable(c.Name))
			}
			opt := report.TerminalOptions{Color: a.color(a.stdout), ASCII: o.ascii, X: x, From: o.from, To: o.to}
			if err := report.Terminal(a.stdout, c, width, height, opt); err != nil {
				return usagef("%w", err)
			}
		}
		return nil
	}
	opt := report.Options{Title: o.title, Width: o.width, Height: o.height, X: x, From: o.from, To: o.to}
	draw := report.Plot
	if o.evolution {
		draw = report.PlotEvolution
	}
	return writePicture("-o", o.file, func(w io.Writer) error { return draw(w, format, curves, opt) })
}
