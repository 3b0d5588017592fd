package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
	"hessdens/internal/report"
	"hessdens/internal/spectrum"
	"hessdens/internal/tensor"
)

type inspectOptions struct {
	subject   subjectOptions
	estimator estimatorOptions
	evaluate  bool
	format    string
}

func newInspect(a *app) *cobra.Command {
	o := &inspectOptions{}
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "What a network, checkpoint, data set or result file holds, and what a run would take",
		Long: `inspect shows parameters and shapes, examples and classes, and the memory and the
number of products that estimate would take; with --data alone it shows the data. Of
images the first are drawn. With FILE it shows what a checkpoint, a network (an ONNX
file, a directory), a data set or a result file holds. With --evaluate it runs the network over the
data once: loss, and accuracy for classes; if these are not those of training, then the
data are not prepared as they were there (--mean, --std).`,
		Example: `  hessdens inspect
  hessdens inspect net.safetensors
  hessdens inspect result.json
  hessdens inspect --weights net.safetensors --data ./cifar-10-batches-bin --split test --evaluate \
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  hessdens inspect --data ./photos --resize 64 --crop 64
  hessdens inspect --model resnet56`,
		Args: arguments(0, 1, "at most one FILE is"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.format == "" {
				o.format = "json"
				if a.outTerminal {
					o.format = "text"
				}
			}
			if o.format != "json" && o.format != "text" {
				return usagef("--format %s: no such form (give text or json)", o.format)
			}
			if err := o.subject.check(cmd); err != nil {
				return err
			}
			if err := o.estimator.check(cmd); err != nil {
				return err
			}
			if len(args) == 1 {
				for _, name := range []string{"model", "weights", "data", "evaluate"} {
					if cmd.Flags().Changed(name) {
						return usagef("--%s: inspect FILE shows what that file holds (give a checkpoint as --weights to measure it)", name)
					}
				}
				return o.file(cmd.Context(), a, args[0])
			}
			return o.run(cmd.Context(), a)
		},
	}
	o.subject.register(cmd)
	o.estimator.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.evaluate, "evaluate", false, "run the network over the data: loss, and accuracy for classes")
	f.StringVar(&o.format, "format", "", "`FORM` of the output: text or json (default text on a terminal, else json)")
	return cmd
}

type tensorInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype,omitempty"`
	Shape []int  `json:"shape"`
}

type modelInfo struct {
	Name       string       `json:"name"`
	Parameters int          `json:"parameters"`
	Tensors    []tensorInfo `json:"tensors"`
	Buffers    []tensorInfo `json:"buffers"`
	Input      []int        `json:"input"`
	Outputs    int          `json:"outputs"`
	SHA256     *string      `json:"sha256"`
	Notes      []string     `json:"notes"`
}

type dataInfo struct {
	Name     string               `json:"name"`
	Format   string               `json:"format"`
	Split    string               `json:"split"`
	Examples int                  `json:"examples"`
	Total    int                  `json:"total"`
	Input    []int                `json:"input"`
	Target   []int                `json:"target"`
	Classes  []dataset.ClassCount `json:"classes"`
	Names    []string             `json:"class_names,omitempty"`
	Notes    []string             `json:"notes,omitempty"`
	Stats    dataset.Stats        `json:"stats"`
	SHA256   string               `json:"sha256"`

	Vocabulary int    `json:"vocabulary,omitempty"` // tokens that are known; of text alone
	Text       string `json:"text,omitempty"`       // the first example, quoted
}

type costInfo struct {
	Products   int   `json:"products"`
	BasisBytes int64 `json:"basis_bytes"`
	Available  int64 `json:"available_bytes"`
	Groups     []int `json:"groups"`

	// Of data alone, where a product could be tried.
	ProgramBytes *int64   `json:"program_bytes"` // and primal parts that are kept
	MemoryBytes  *int64   `json:"memory_bytes"`  // of the process at most
	Seconds      *float64 `json:"seconds"`
}

type evaluation struct {
	Loss     float64  `json:"loss"`
	LossKind string   `json:"loss_kind"`
	Right    *int     `json:"right"`
	Of       int      `json:"of"`
	Accuracy *float64 `json:"accuracy"`
}

type inspection struct {
	Model      *modelInfo  `json:"model,omitempty"`
	Data       *dataInfo   `json:"data,omitempty"`
	Cost       *costInfo   `json:"cost,omitempty"`
	Evaluation *evaluation `json:"evaluation,omitempty"`
}

func (o *inspectOptions) run(ctx context.Context, a *app) error {
	if o.subject.model == "" && o.subject.weights == "" && o.subject.data != "" && !o.evaluate {
		return o.data(a)
	}
	s, err := o.subject.openAny(a)
	if err != nil {
		return err
	}
	defer s.close()
	var in inspection
	net := s.net
	trained := net.Params[0].Values != nil
	in.Model = &modelInfo{Name: net.Name, Parameters: net.Size(), Input: net.Input, Outputs: net.Outputs, Notes: net.Notes}
	for _, p := range net.Params {
		in.Model.Tensors = append(in.Model.Tensors, tensorInfo{Name: p.Name, Shape: p.Shape})
	}
	for _, p := range net.Buffers {
		in.Model.Buffers = append(in.Model.Buffers, tensorInfo{Name: p.Name, Shape: p.Shape})
	}
	if trained {
		hash := net.SHA256()
		in.Model.SHA256 = &hash
	}
	n, available := net.Size(), availableMemory()
	var op *hvp.Operator
	if s.set != nil {
		if !trained {
			zoo.Initialise(net, 0)
		}
		if op, err = s.operator(a, int64(keepShare*float64(available))); err != nil {
			return err
		}
		defer op.Close()
		n = op.Dim()
		if in.Data, err = s.describeData(); err != nil {
			return err
		}
		if o.evaluate {
			if !trained {
				return usagef("--evaluate: %s needs the values of its parameters (--weights)", net.Name)
			}
			a.line.begin("evaluating", 1)
			if in.Evaluation, err = s.evaluate(ctx, a); err != nil {
				return err
			}
			a.line.clear()
		}
	} else if o.evaluate {
		return usagef("--evaluate: --data is needed")
	}
	if in.Cost, err = o.cost(ctx, a, s, op, n, available); err != nil {
		return err
	}
	return o.print(a, s, &in)
}

// cost is what estimate would take: what the numbers alone say, and with data, what trying says. That a run would fail is a warning.
func (o *inspectOptions) cost(ctx context.Context, a *app, s *subject, op *hvp.Operator, n int, available int64) (*costInfo, error) {
	m := min(o.estimator.steps, n)
	c := &costInfo{Products: o.estimator.probes * m, BasisBytes: lanczos.BasisBytes(n, m, o.estimator.probes, spectrum.Storage(o.estimator.basis)), Available: available}
	var err error
	if c.Groups, err = o.estimator.groups(n, float64(available)); err != nil {
		s.warn(a, "memory", "%v", err)
		return c, nil
	}
	if op == nil {
		return c, nil
	}
	a.line.begin("trying a product", 0)
	defer a.line.clear()
	p, err := predict(ctx, op, &o.estimator, threads(o.subject.threads), available)
	switch {
	case ctx.Err() != nil:
		return nil, err
	case err != nil:
		s.warn(a, "product", "%v", err)
	default:
		c.ProgramBytes, c.MemoryBytes, c.Seconds = &p.Programs, &p.Memory, &p.Seconds
	}
	return c, nil
}

// data shows a data set without a network.
func (o *inspectOptions) data(a *app) error {
	s := &subject{o: &o.subject, net: &model.Network{}}
	if err := s.openData(a); err != nil {
		return err
	}
	defer s.close()
	d, err := s.describeData()
	if err != nil {
		return err
	}
	return o.print(a, s, &inspection{Data: d})
}

func (s *subject) describeData() (*dataInfo, error) {
	d := &dataInfo{Name: s.name, Format: s.set.Format, Split: s.set.Split, Examples: s.set.N, Total: s.set.Total, Input: s.set.X.Shape(), Target: s.set.Y.Shape(), Vocabulary: s.set.VocabularySize(), Names: s.set.Names, Notes: s.set.Notes}
	var err error
	if d.Text, err = s.set.Preview(); err != nil {
		return nil, err
	}
	if d.Classes, err = s.set.ClassCounts(); err != nil {
		return nil, err
	}
	if d.Stats, err = s.set.InputStats(); err != nil {
		return nil, err
	}
	d.SHA256, err = s.set.SHA256()
	return d, err
}

// evaluate runs the network over the data. Its loss is without weight decay.
func (s *subject) evaluate(ctx context.Context, a *app) (*evaluation, error) {
	o := *s.o
	o.weightDecay = 0
	plain := *s
	plain.o = &o
	op, err := plain.operator(a, 0)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	e := &evaluation{LossKind: op.Loss(), Of: op.Total()}
	per := tensor.Count(s.set.Y.Shape())
	positions := 1 // with an output, of each example
	if s.net.Tokens && !s.net.Sequence {
		positions = tensor.Count(s.set.X.Shape())
	}
	// Scores of classes are those of cross-entropy, or what goes into a loss of the network's own.
	scores := s.set.Y.Integer() && (op.Loss() == model.CrossEntropy || op.Loss() == model.Own && s.net.Outputs > 1 && per == positions)
	right, of := 0, 0
	var labels []int64
	count := func(first int, f []float64) error {
		c := s.net.Outputs
		rows := len(f) / c
		labels = append(labels[:0], make([]int64, rows)...)
		if err := s.set.Y.Ints(labels, first, first+rows/per); err != nil {
			return err
		}
		of += rows
		for r, y := range labels {
			best := 0
			for j, v := range f[r*c : (r+1)*c] {
				if v > f[r*c+best] {
					best = j
				}
			}
			if int64(best) == y && (y != s.o.ignoreIndex || op.Loss() == model.Own) {
				right++
			}
		}
		return nil
	}
	if !scores {
		count = nil
	}
	if e.Loss, err = op.Evaluate(ctx, count); err != nil {
		return nil, fmt.Errorf("%s: %w", s.dataName(), err)
	}
	if !scores {
		return e, nil
	}
	if op.Loss() == model.Own { // labels, of which an example may have several
		e.Of = of
	}
	share := float64(right) / float64(e.Of)
	e.Right, e.Accuracy = &right, &share
	return e, nil
}

func (o *inspectOptions) print(a *app, s *subject, in *inspection) error {
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return toStdout(e.Encode(in))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if m := in.Model; m != nil {
		fmt.Fprintf(w, "network\t%s\n", report.Printable(m.Name))
		fmt.Fprintf(w, "parameters\t%d\n", m.Parameters)
		fmt.Fprintf(w, "input\t%s\n", model.ShapeString(m.Input))
		fmt.Fprintf(w, "outputs\t%d\n", m.Outputs)
		if m.SHA256 != nil {
			fmt.Fprintf(w, "sha256\t%s\n", *m.SHA256)
		}
		for _, n := range m.Notes {
			fmt.Fprintf(w, "note\t%s\n", report.Printable(n))
		}
	}
	if d := in.Data; d != nil {
		fmt.Fprintf(w, "data\t%s (%s)\n", report.Printable(strings.TrimSpace(d.Name+" "+d.Split)), d.Format)
		fmt.Fprintf(w, "examples\t%d of %d, inputs %s\n", d.Examples, d.Total, model.ShapeString(d.Input))
		if d.Stats.Values > 0 {
			fmt.Fprintf(w, "values\t%.4g to %.4g, mean %.4g (first %d examples)\n", d.Stats.Min, d.Stats.Max, d.Stats.Mean, d.Stats.Examples)
		}
		if len(d.Classes) > 0 {
			var c []string
			for _, x := range d.Classes {
				c = append(c, fmt.Sprintf("%s: %d", s.className(x.Class), x.Count))
			}
			if len(c) > 20 {
				c = append(c[:20], fmt.Sprintf("… (%d in all)", len(d.Classes)))
			}
			fmt.Fprintf(w, "classes\t%s\n", strings.Join(c, "  "))
		}
		if d.Vocabulary > 0 {
			fmt.Fprintf(w, "vocabulary\t%d tokens\n", d.Vocabulary)
			fmt.Fprintf(w, "text\t%s\n", d.Text)
		}
		for _, n := range d.Notes {
			fmt.Fprintf(w, "note\t%s\n", report.Printable(n))
		}
		fmt.Fprintf(w, "sha256\t%s\n", d.SHA256)
	}
	if c := in.Cost; c != nil {
		groups := "does not fit: fewer --steps or --probes"
		if c.Groups != nil {
			groups = fmt.Sprintf("in %d lockstep group(s)", len(c.Groups))
		}
		fmt.Fprintf(w, "estimate\t%d products, basis %.1f MiB of %.1f MiB available, %s\n", c.Products, float64(c.BasisBytes)/(1<<20), float64(c.Available)/(1<<20), groups)
		if c.Seconds != nil {
			fmt.Fprintf(w, "takes about\t%s, %.0f MiB of memory\n", spell(*c.Seconds), float64(*c.MemoryBytes)/(1<<20))
		}
	}
	if e := in.Evaluation; e != nil {
		fmt.Fprintf(w, "loss\t%.10g (%s)\n", e.Loss, e.LossKind)
		if e.Right != nil {
			fmt.Fprintf(w, "right\t%d of %d (%.2f %%)\n", *e.Right, e.Of, 100**e.Accuracy)
		}
	}
	if m := in.Model; m != nil {
		fmt.Fprintln(w)
		writeTensors(w, m.Tensors, "")
		writeTensors(w, m.Buffers, "constant")
	}
	if err := w.Flush(); err != nil || s.set == nil {
		return toStdout(err)
	}
	return s.preview(a)
}

func writeTensors(w io.Writer, ts []tensorInfo, what string) {
	for _, t := range ts {
		note := what
		if t.DType != "" {
			note = t.DType
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", report.Printable(t.Name), model.ShapeString(t.Shape), size(t.Shape), report.Printable(note))
	}
}

func size(shape []int) int {
	n, err := tensor.CheckedCount(shape)
	if err != nil {
		return math.MaxInt
	}
	return n
}

// file shows what a checkpoint, a directory with a network, or a result file holds.
func (o *inspectOptions) file(ctx context.Context, a *app, name string) error {
	base := strings.TrimSuffix(name, ".gz")
	if name == "-" || strings.HasSuffix(base, ".json") || strings.HasSuffix(base, ".jsonl") {
		rs, err := readResults(a, name)
		if err != nil {
			return err
		}
		for _, r := range rs {
			if o.format == "json" {
				e := json.NewEncoder(a.stdout)
				e.SetIndent("", "  ")
				if err := e.Encode(map[string]any{"model": r.Model, "data": r.Data, "risk": r.Risk, "operator": r.Operator, "estimator": r.Estimator, "summary": r.Summary, "warnings": r.Warnings}); err != nil {
					return toStdout(err)
				}
				continue
			}
			if err := picture(a, a.stdout, r); err != nil {
				return err
			}
		}
		return nil
	}
	if isDirectory(name) {
		return o.directory(a, name)
	}
	if isONNX(name) {
		o.subject.model = name
		return o.run(ctx, a)
	}
	ck, f, err := openCheckpoint(name)
	if errors.Is(err, checkpoint.ErrFormat) {
		o.subject.data = name
		if as := o.data(a); !errors.Is(as, dataset.ErrFormat) {
			return as
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return o.tensors(a, ck, recognised(ck))
}

// tensors shows the directory of a checkpoint.
func (o *inspectOptions) tensors(a *app, ck *checkpoint.File, network string) error {
	var tensors []tensorInfo
	total := 0
	for _, e := range ck.Entries {
		tensors = append(tensors, tensorInfo{e.Name, string(e.DType), e.Shape})
		total += size(e.Shape)
	}
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return toStdout(e.Encode(map[string]any{"format": ck.Format, "network": network, "values": total, "tensors": tensors}))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "format\t%s\nnetwork\t%s\nvalues\t%d\n\n", ck.Format, report.Printable(network), total)
	writeTensors(w, tensors, "")
	return toStdout(errors.Join(w.Flush()))
}
