package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hessdens/internal/report"
	"hessdens/internal/spectrum"
)

type trackOptions struct {
	subject   subjectOptions
	estimator estimatorOptions
	output    outputOptions
	plot      string
	title, x  string
}

func newTrack(a *app) *cobra.Command {
	o := &trackOptions{}
	cmd := &cobra.Command{
		Use:   "track CHECKPOINT…",
		Short: "A series of checkpoints to one table and one picture",
		Long: `track estimates the spectrum at each of a series of checkpoints of one network, in the
order given, with the same probes. A checkpoint is a file with weights, or a directory
with config.json and its weights, as a trainer of transformers leaves them. It writes a result a line (JSON lines) to standard
output or -o FILE.jsonl, a table on a terminal, and with --plot one picture of how the
density moves in training.`,
		Example: `  hessdens track --data ./fashion-mnist --examples 1000 step*.safetensors
  hessdens track --data ./fashion-mnist -o run.jsonl --plot run.svg step*.safetensors
  hessdens track --data tokens.npz checkpoint-500 checkpoint-1000 checkpoint-1500`,
		Args: arguments(1, -1, "at least one CHECKPOINT is"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, a, args)
		},
	}
	o.subject.register(cmd)
	cmd.Flags().MarkHidden("weights") //nolint:errcheck // the flag is there
	o.estimator.register(cmd)
	o.estimator.grows(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.output.file, "output", "o", "", "write `FILE`.jsonl, whole or not at all")
	f.StringVar(&o.output.format, "format", "", "`FORM` of standard output: json (lines) or text (default text on a terminal, else json)")
	f.StringVar(&o.plot, "plot", "", "write a picture to `FILE`.svg, .png or .pdf")
	f.StringVar(&o.title, "title", "", "`TEXT` above the picture")
	f.StringVar(&o.x, "x", "auto", "`AXIS` of the picture's eigenvalues: auto, linear or symlog")
	f.StringVar(&o.output.sigma2, "sigma2", "auto", "variance `V` of the smoothing kernel: auto or a number")
	f.IntVar(&o.output.points, "points", 0, "`N` points of the density's grid")
	f.StringVar(&o.output.smoothing, "smoothing", "scale", "`RULE` of width and grid: scale or ghorbani")
	o.output.confidenceFlag(f)
	heading(f, "Output")
	return cmd
}

func (o *trackOptions) run(cmd *cobra.Command, a *app, files []string) error {
	if o.subject.weights != "" {
		return usagef("--weights: track takes checkpoints as arguments (leave the flag out)")
	}
	o.subject.weights = files[0] // so that the network is not taken for the embedded one
	if err := o.subject.check(cmd); err != nil {
		return err
	}
	if err := o.estimator.check(cmd); err != nil {
		return err
	}
	file := o.output.file
	o.output.file, o.output.table = "", "density"
	if err := o.output.check(a); err != nil {
		return err
	}
	if o.output.format == "csv" {
		return usagef("--format csv: no table of a series (give json or text)")
	}
	x, err := axis("--x", o.x)
	if err != nil {
		return err
	}
	if file != "" {
		if !strings.HasSuffix(file, ".jsonl") {
			return usagef("-o %s: the suffix says no format (use .jsonl)", file)
		}
		if err := writable("-o", file); err != nil {
			return err
		}
	}
	format := ""
	if o.plot != "" {
		if format, err = pictureFormat("--plot", o.plot); err != nil {
			return err
		}
		if err := writable("--plot", o.plot); err != nil {
			return err
		}
	}
	var results []*spectrum.Result
	var names []string
	var curves []report.Curve
	for i, name := range files {
		a.line.prefix = fmt.Sprintf("%s (%d of %d): ", legend(name), i+1, len(files))
		r, err := o.one(cmd.Context(), a, name)
		if err != nil {
			return err
		}
		results, names = append(results, r), append(names, legend(name))
		curves = append(curves, report.FromResult(legend(name), r))
		if file == "" && o.output.format == "json" {
			if err := toStdout(spectrum.EncodeLine(a.stdout, r)); err != nil {
				return err
			}
		}
	}
	if file != "" {
		err := writeFile("-o", file, func(w io.Writer) error {
			for _, r := range results {
				if err := spectrum.EncodeLine(w, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if o.plot != "" {
		opt := report.Options{Title: o.title, X: x}
		if err := writePicture("--plot", o.plot, func(w io.Writer) error { return report.PlotEvolution(w, format, curves, opt) }); err != nil {
			return err
		}
	}
	switch {
	case file == "" && o.output.format == "text":
		return toStdout(report.Table(a.stdout, names, results))
	case a.errTerminal:
		return report.Table(a.stderr, names, results)
	}
	return nil
}

// one measures one checkpoint.
func (o *trackOptions) one(ctx context.Context, a *app, name string) (*spectrum.Result, error) {
	so := o.subject
	so.weights = name
	s, err := so.open(a)
	if err != nil {
		return nil, err
	}
	defer s.close()
	r, err := s.estimate(ctx, a, &o.estimator, &o.output, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	a.warnOf(name+": ", r)
	r.Model.Name += " " + legend(name)
	return r, nil
}
