package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hessdens/internal/density"
	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

// estimatorOptions are the flags of stochastic Lanczos quadrature.
type estimatorOptions struct {
	probes, steps int
	seed          uint64
	basis         string
	growth        *growthOptions // nil: the command's runs have a fixed size
}

func (o *estimatorOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.probes, "probes", 10, "`K` random vectors; probe p depends on (--seed, p) alone")
	f.IntVar(&o.steps, "steps", 90, "`M` Lanczos steps for each probe")
	f.Uint64Var(&o.seed, "seed", 0, "seed `S` of the probes")
	f.StringVar(&o.basis, "basis", spectrum.Float64, "`TYPE` in which Lanczos keeps its vectors: float64, or float32 in half the memory")
	heading(f, "Estimator")
}

func (o *estimatorOptions) check(cmd *cobra.Command) error {
	switch {
	case o.probes < 1:
		return usagef("--probes %d: at least one probe is needed (give 1 or more, 10 by default)", o.probes)
	case o.steps < 1:
		return usagef("--steps %d: at least one step is needed (give 1 or more, 90 by default)", o.steps)
	case o.basis != spectrum.Float32 && o.basis != spectrum.Float64:
		return usagef("--basis %s: float32 or float64", o.basis)
	}
	if o.growth != nil {
		o.growth.given(cmd)
		return o.growth.check(o)
	}
	return nil
}

// groups cuts the probes into groups whose bases fit into their share of so many bytes; one probe at a time may take all.
func (o *estimatorOptions) groups(n int, memory float64) ([]int, error) {
	m, storage := min(o.steps, n), spectrum.Storage(o.basis)
	share := max(basisShare*memory, min(memory, float64(lanczos.BasisBytes(n, m, 1, storage))))
	return lanczos.Groups(o.probes, n, m, storage, int64(share))
}

// lanczos are the options of a run in these groups.
func (o *estimatorOptions) lanczos(groups []int, s *subject) lanczos.Options {
	return lanczos.Options{Steps: o.steps, Probes: o.probes, Seed: o.seed, Groups: groups, Threads: threads(s.o.threads),
		ProductError: spectrum.ProductError(s.o.precision), Storage: spectrum.Storage(o.basis)}
}

type estimateOptions struct {
	subject   subjectOptions
	estimator estimatorOptions
	repeat    repeatOptions
	keep      keepOptions
	output    outputOptions
}

func newEstimate(a *app) *cobra.Command {
	o := &estimateOptions{}
	cmd := &cobra.Command{
		Use:   "estimate",
		Short: "The density of one checkpoint by stochastic Lanczos quadrature",
		Long: `estimate measures the eigenvalue density of the Hessian of the mean loss at a
checkpoint: exact Hessian-vector products over the whole data set, --probes random
vectors with --steps Lanczos steps each, a Gaussian-smoothed density. Eigenvalues that
the probes agree on are exact; everything else has a band or an interval of --confidence.
With --tolerance the run chooses its own size.

With --examples or --sample below the whole, λ max, λ min, known eigenvalues and the
trace have the standard error that the choice of the data makes, from one more pass over
them; with --repeat the density has it too.

Without --model, --weights and --data it measures the embedded example: an MLP
784-20-10 trained on 1,000 images of Fashion-MNIST. On a terminal it prints a summary
and a picture; in a pipeline, JSON.

A run of more than a minute with -o FILE keeps its state in FILE.checkpoint, and any run
with --checkpoint in the file named there. After an interruption the same command with
--resume goes on from it, to the same result; when that is written, the file is removed.`,
		Example: `  hessdens estimate
  hessdens estimate --weights mlp.safetensors --data ~/mnist -o mlp.json
  hessdens estimate --weights resnet20.safetensors --data cifar-10-batches-bin --examples 1000 \
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 | jq .summary.lambda_max
  hessdens estimate --weights net.safetensors --data x.npy,y.npy --format csv > density.csv
  hessdens estimate --weights net.safetensors --data x.npy,y.npy --tolerance 0.05
  hessdens estimate --weights net.safetensors --data x.npy,y.npy --top 20
  hessdens estimate --weights net.safetensors --data x.npy,y.npy --sample 2000 --repeat 5`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.subject.check(cmd); err != nil {
				return err
			}
			if err := o.estimator.check(cmd); err != nil {
				return err
			}
			if err := o.output.check(a); err != nil {
				return err
			}
			if err := o.repeat.check(cmd, &o.subject); err != nil {
				return err
			}
			k, err := o.keep.check(a, o.output.file)
			if err != nil {
				return err
			}
			defer k.close()
			s, err := o.subject.open(a)
			if err != nil {
				return err
			}
			defer s.close()
			if err := o.repeat.fits(s); err != nil {
				return err
			}
			r, err := s.estimate(cmd.Context(), a, &o.estimator, &o.output, k)
			if err != nil {
				return err
			}
			if err := o.repeat.run(cmd.Context(), a, o, s, r, k); err != nil {
				return err
			}
			if err := o.output.write(a, r); err != nil {
				return k.unwritten(err)
			}
			k.remove()
			return nil
		},
	}
	o.subject.register(cmd)
	o.repeat.register(cmd)
	o.estimator.register(cmd)
	o.estimator.grows(cmd)
	o.keep.register(cmd)
	o.output.register(cmd)
	return cmd
}

// needWeights refuses to measure a network that nobody trained.
func (s *subject) needWeights() error {
	for _, p := range s.net.Params {
		if p.Values == nil {
			return usagef("--weights: %s needs the values of its parameters (a .safetensors or .npz file)", s.net.Name)
		}
	}
	return nil
}

// estimate runs the quadrature; k, where it is not nil, keeps its state.
func (s *subject) estimate(ctx context.Context, a *app, e *estimatorOptions, out *outputOptions, k *keeper) (*spectrum.Result, error) {
	start := time.Now()
	if err := s.needWeights(); err != nil {
		return nil, err
	}
	left := memoryLeft()
	op, err := s.operator(a, int64(keepShare*float64(left.orUsual())))
	if err != nil {
		return nil, err
	}
	defer op.Close()
	n := op.Dim()
	goal := e.growth.goal(e, out.confidence, int64(basisShare*float64(left.orUsual())))
	first := *e // the run to begin with
	if goal != nil {
		first.probes, first.steps = goal.Probes, goal.Steps
	}
	groups, err := s.fit(a, op, &first, left)
	if err != nil {
		return nil, err
	}
	a.line.begin("loss and gradient", 1)
	loss, grad, err := s.gradient(ctx, op)
	if err != nil {
		return nil, err
	}
	if k != nil {
		run, err := s.journalOf(&first, op, goal, groups, loss, norm(grad))
		if err != nil {
			return nil, err
		}
		if groups, err = k.begin(run, goal); err != nil {
			return nil, err
		}
	}
	var done lanczos.Progress
	opt := first.lanczos(groups, s)
	opt.Progress = func(p lanczos.Progress) {
		done = p
		a.line.lanczos(p)
	}
	if k != nil {
		opt.Journal = k
	}
	if s.sampled() && s.o.part == 0 {
		opt.Eigenvectors = eigenvectors
	}
	round := func(probes, steps int) {
		a.line.begin(fmt.Sprintf("%d probes x %d steps", probes, min(steps, n)), len(groups)*min(steps, n))
	}
	settings := out.settings(e.steps, e.seed, s.o.precision, threads(s.o.threads))
	settings.Basis = e.basis
	var probes []lanczos.Probe
	if goal == nil {
		round(e.probes, e.steps)
		probes, err = lanczos.Run(ctx, op, opt)
	} else {
		goal.Round = round
		settings.Goal = goal
		probes, settings.Stopped, err = density.Grow(ctx, op, opt, *goal)
		settings.Steps = 1
		for _, p := range probes {
			settings.Steps = max(settings.Steps, len(p.Nodes))
		}
	}
	if err != nil && k != nil {
		err = k.ended(ctx, err, done)
	}
	if err != nil {
		return nil, s.product(ctx, op, err)
	}
	op.Release() // makes room for the passes to come
	if s.o.precision == spectrum.Float32 {
		switch probes[0].ProductError, err = s.productError(ctx, a, &probes[0]); {
		case ctx.Err() != nil:
			return nil, err
		case err != nil: // no reason to lose the run
			s.warn(a, "product_error_unknown", "what float32 costs could not be measured: %v (the eigenvalues' bounds hold what the products scatter, and no more)", err)
		}
	}
	a.line.clear()
	r, err := spectrum.FromProbes(probes, n, settings)
	if err != nil {
		return nil, out.refused(err)
	}
	if opt.Eigenvectors != nil {
		if err := s.dataErrors(ctx, a, r, probes, slices.Max(groups), e.seed); err != nil {
			if k != nil {
				err = k.ended(ctx, err, done)
			}
			return nil, err
		}
	}
	return r, s.fill(a, r, op, loss, norm(grad), done.Products, start)
}

// productError measures the error of products in float32 by one in float64: its residual at the outermost Ritz vector. It takes
// the memory that it needs, of which fit has taken account, for its bits must not depend on what is there.
func (s *subject) productError(ctx context.Context, a *app, p *lanczos.Probe) (float64, error) {
	o := *s.o
	o.precision = spectrum.Float64
	exact := *s
	exact.o = &o
	op, err := exact.operator(a, 0)
	if err != nil {
		return 0, err
	}
	defer op.Close()
	defer op.Release()
	op.Limit(0)
	a.line.begin("one product in float64", 1)
	y := make([]float64, op.Dim())
	if err := op.Apply(ctx, [][]float64{y}, [][]float64{p.Outermost}); err != nil {
		return 0, s.pass(err)
	}
	return p.Residual(y), nil
}

func norm(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s)
}
