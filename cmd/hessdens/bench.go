package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
	"hessdens/internal/kernel"
	"hessdens/internal/model"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

type benchOptions struct {
	subject subjectOptions
	probes  []int
	runs    int
	format  string
}

func newBench(a *app) *cobra.Command {
	o := &benchOptions{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "The cost of a Hessian-vector product on this machine",
		Long: `bench measures what this machine can do (multiply-adds in registers, bandwidth of memory)
and what a product of the Hessian with --probes vectors in lockstep takes: seconds, the
multiply-adds of its tangent part and their share of the peak, memory, and where the time
goes. Weights may be left out (initial values then) and data too (noise then). Data change
the time where they are mostly zero, as images on black are: what is zero is left out of
the products of a first dense layer, and counted all the same; convolutions count as direct
sums, of which Winograd's tiles save more than half. A product runs --runs times after two that do not count; the best is given,
since other programs can only add to it.`,
		Example: `  hessdens bench                                           the embedded example
  hessdens bench --model resnet20 --examples 64
  hessdens bench --model mlp:784-128-64-10 --data ./mnist --precision float64 --format json
  hessdens bench --model gpt2:layers=2,heads=4,width=64,context=64,vocab=65 --probes 1,4,10`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.format == "" {
				o.format = "json"
				if a.outTerminal {
					o.format = "text"
				}
			}
			switch {
			case o.format != "json" && o.format != "text":
				return usagef("--format %s: no such form (give text or json)", o.format)
			case o.runs < 1:
				return usagef("--runs %d: at least one run is needed", o.runs)
			case len(o.probes) == 0 || slices.Min(o.probes) < 1:
				return usagef("--probes %s: numbers of at least 1", strings.Trim(fmt.Sprint(o.probes), "[]"))
			}
			if err := o.subject.check(cmd); err != nil {
				return err
			}
			return o.run(cmd.Context(), a)
		},
	}
	o.subject.register(cmd)
	f := cmd.Flags()
	f.IntSliceVar(&o.probes, "probes", []int{1, 10}, "numbers `K,…` of vectors in lockstep")
	f.IntVar(&o.runs, "runs", 5, "measure a product `R` times")
	f.StringVar(&o.format, "format", "", "`FORM` of the output: text or json (default text on a terminal, else json)")
	return cmd
}

type machineInfo struct {
	CPU       string  `json:"cpu"`
	Kernels   string  `json:"kernel_path"`
	Threads   int     `json:"threads"`
	Peak32    float64 `json:"peak_gflops_f32"` // of all threads together
	Peak64    float64 `json:"peak_gflops_f64"`
	Bandwidth float64 `json:"bandwidth_gbs"`
}

type productInfo struct {
	Probes          int     `json:"probes"`
	Precision       string  `json:"precision"`
	Seconds         float64 `json:"seconds"`
	SecondsPerProbe float64 `json:"seconds_per_probe"`
	TangentGFLOP    float64 `json:"tangent_gflop"` // of all probes
	GFLOPS          float64 `json:"gflops"`
	ShareOfPeak     float64 `json:"share_of_peak"`
	Allocations     float64 `json:"allocations"`
	PeakMemory      int64   `json:"peak_memory_bytes"` // of the process until then; 0: not known
}

type operationShare struct {
	Op    string  `json:"op"`
	Share float64 `json:"share"`
}

type benchmark struct {
	Machine    machineInfo      `json:"machine"`
	Model      string           `json:"model"`
	Parameters int              `json:"parameters"`
	Data       string           `json:"data"`
	Examples   int              `json:"examples"`
	Batch      int              `json:"batch"`
	Products   []productInfo    `json:"products"`
	Operations []operationShare `json:"operations"` // of the last of the products
}

// peakSeconds is how long each figure of the machine is measured.
const peakSeconds = 0.3

func (o *benchOptions) run(ctx context.Context, a *app) error {
	s, err := o.open(a)
	if err != nil {
		return err
	}
	defer s.close()
	op, err := s.operator(a, int64(keepShare*float64(availableMemory())))
	if err != nil {
		return err
	}
	defer op.Close()
	a.line.begin("measuring the machine", 0)
	b := &benchmark{Model: s.net.Name, Parameters: op.Dim(), Data: s.name, Examples: s.set.N, Batch: op.BatchSize(), Machine: machine(threads(o.subject.threads))}
	for _, k := range o.probes {
		a.line.begin(fmt.Sprintf("products with %d vectors", k), o.runs+2)
		p, shares, err := o.product(ctx, op, k)
		if err != nil {
			return s.product(ctx, op, err)
		}
		p.Precision = o.subject.precision
		peak := b.Machine.Peak32
		if p.Precision == hvp.Float64 {
			peak = b.Machine.Peak64
		}
		p.ShareOfPeak = p.GFLOPS / peak
		b.Products, b.Operations = append(b.Products, *p), shares
	}
	a.line.clear()
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return toStdout(e.Encode(b))
	}
	return b.print(a)
}

// open is the network and its data; what is not there is made up, as noise without zeros.
func (o *benchOptions) open(a *app) (*subject, error) {
	s, err := o.subject.openAny(a)
	if err != nil {
		return nil, err
	}
	if s.net.Params[0].Values == nil {
		zoo.Initialise(s.net, 0)
	}
	if s.set == nil {
		n := o.subject.examples
		if n == 0 {
			n = noiseExamples
		}
		s.set = noise(s.net, n)
		s.name = s.set.Name
	}
	return s, nil
}

// product measures products with k vectors.
func (o *benchOptions) product(ctx context.Context, op *hvp.Operator, k int) (*productInfo, []operationShare, error) {
	r := rand.New(rand.NewPCG(0, uint64(k)))
	src, dst := make([][]float64, k), make([][]float64, k)
	for j := range src {
		src[j], dst[j] = kernel.Zeros[float64](op.Dim()), kernel.Zeros[float64](op.Dim())
		for i := range src[j] {
			src[j][i] = r.NormFloat64()
		}
	}
	once := func() (float64, error) {
		start := time.Now()
		err := op.Apply(ctx, dst, src)
		return time.Since(start).Seconds(), err
	}
	for range 2 { // programs are compiled and primal parts kept
		if _, err := once(); err != nil {
			return nil, nil, err
		}
	}
	var seconds []float64
	var allocations []uint64
	for range o.runs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		t, err := once()
		if err != nil {
			return nil, nil, err
		}
		runtime.ReadMemStats(&after)
		seconds, allocations = append(seconds, t), append(allocations, after.Mallocs-before.Mallocs)
	}
	p := &productInfo{Probes: k, Seconds: slices.Min(seconds), TangentGFLOP: 2e-9 * float64(op.Cost().Work),
		Allocations: float64(slices.Min(allocations)), PeakMemory: processMemory("VmHWM")} // Go's own threads and timers can only add to them
	p.SecondsPerProbe, p.GFLOPS = p.Seconds/float64(k), p.TangentGFLOP/p.Seconds
	spent := map[string]time.Duration{}
	op.Measure(spent)
	defer op.Measure(nil)
	t, err := once()
	if err != nil {
		return nil, nil, err
	}
	return p, shares(spent, t), nil
}

// shares are the operations by the time that they take, the longest first; what is left is reading, and adding up batches.
func shares(spent map[string]time.Duration, total float64) []operationShare {
	var out []operationShare
	rest := 1.0
	for _, op := range slices.Sorted(maps.Keys(spent)) {
		share := spent[op].Seconds() / total
		out = append(out, operationShare{op, share})
		rest -= share
	}
	out = append(out, operationShare{"the rest", max(rest, 0)})
	slices.SortStableFunc(out, func(x, y operationShare) int {
		switch {
		case x.Share > y.Share:
			return -1
		case x.Share < y.Share:
			return 1
		}
		return 0
	})
	return out
}

// machine measures what all threads can do together.
func machine(threads int) machineInfo {
	together := func(f func() float64) float64 {
		var wg sync.WaitGroup
		each := make([]float64, threads)
		for i := range each {
			wg.Go(func() { each[i] = f() })
		}
		wg.Wait()
		sum := 0.0
		for _, v := range each {
			sum += v
		}
		return sum
	}
	return machineInfo{
		CPU: cpuName(), Kernels: kernel.Path(), Threads: threads,
		Peak32:    together(func() float64 { return kernel.PeakGFLOPS[float32](peakSeconds) }),
		Peak64:    together(func() float64 { return kernel.PeakGFLOPS[float64](peakSeconds) }),
		Bandwidth: together(func() float64 { return kernel.BandwidthGBS(peakSeconds) }),
	}
}

func (b *benchmark) print(a *app) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	m := b.Machine
	fmt.Fprintf(w, "machine\t%s, %d thread(s), kernels %s\n", m.CPU, m.Threads, m.Kernels)
	fmt.Fprintf(w, "peak\t%.0f GFLOP/s float32, %.0f float64, memory %.1f GB/s\n", m.Peak32, m.Peak64, m.Bandwidth)
	fmt.Fprintf(w, "network\t%s, %d parameters\n", b.Model, b.Parameters)
	fmt.Fprintf(w, "data\t%s, %d examples, %d at once\n\n", b.Data, b.Examples, b.Batch)
	if err := w.Flush(); err != nil {
		return toStdout(err)
	}
	w = tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "probes\tprecision\tseconds\ta probe\tGFLOP\tGFLOP/s\tof peak\tallocations\tmemory\t")
	for _, p := range b.Products {
		fmt.Fprintf(w, "%d\t%s\t%.4g\t%.4g\t%.4g\t%.4g\t%.1f %%\t%.4g\t%.0f MiB\t\n", p.Probes, p.Precision, p.Seconds, p.SecondsPerProbe, p.TangentGFLOP, p.GFLOPS, 100*p.ShareOfPeak, p.Allocations, float64(p.PeakMemory)/(1<<20))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return toStdout(err)
	}
	w = tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "where the time goes, %d probe(s)\n", b.Products[len(b.Products)-1].Probes)
	for _, s := range b.Operations {
		fmt.Fprintf(w, "  %s\t%.1f %%\n", s.Op, 100*s.Share)
	}
	return toStdout(w.Flush())
}

// noise is a data set made up for a network: normal numbers or tokens, and labels; only its shapes matter.
func noise(net *model.Network, n int) *dataset.Set {
	x, y := &noiseColumn{shape: net.Input}, &noiseColumn{shape: []int{}, below: max(net.Outputs, 2)}
	if net.Tokens {
		x.below = max(net.Vocab, 2)
		if !net.Sequence {
			y.shape = net.Input
		}
	}
	return &dataset.Set{Name: "noise", N: n, Total: n, X: x, Y: y}
}

// noiseColumn is one side of it: integers below a bound, or numbers where that is 0.
type noiseColumn struct {
	shape []int
	below int
}

func (c *noiseColumn) Shape() []int { return slices.Clone(c.shape) }

func (c *noiseColumn) Integer() bool { return c.below > 0 }

// each calls f for the values of examples [lo, hi); those of an example follow from its number alone.
func (c *noiseColumn) each(lo, hi int, f func(i int, r *rand.Rand)) {
	row := tensor.Count(c.shape)
	for e := lo; e < hi; e++ {
		r := rand.New(rand.NewPCG(1, uint64(e)))
		for i := range row {
			f((e-lo)*row+i, r)
		}
	}
}

func (c *noiseColumn) Floats(dst []float64, lo, hi int) error {
	c.each(lo, hi, func(i int, r *rand.Rand) { dst[i] = r.NormFloat64() })
	return nil
}

func (c *noiseColumn) Ints(dst []int64, lo, hi int) error {
	c.each(lo, hi, func(i int, r *rand.Rand) { dst[i] = int64(r.IntN(c.below)) })
	return nil
}

// noiseExamples is how many examples are made up where --examples does not say.
const noiseExamples = 256
