package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"hessdens/internal/spectrum"
)

// repeatOptions are the flags of a run that is repeated on other data.
type repeatOptions struct {
	times int // the run itself is one of them; 0: it is not repeated
}

func (o *repeatOptions) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.times, "repeat", 0, "run on `R` disjoint parts of the data, each as large as --examples or --sample says: the result is that of the first, and the density has its error by the data (R times the time)")
	heading(cmd.Flags(), "Data")
}

func (o *repeatOptions) check(cmd *cobra.Command, s *subjectOptions) error {
	switch {
	case !cmd.Flags().Changed("repeat"):
		return nil
	case o.times < 2:
		return usagef("--repeat %d: at least two parts of the data are needed", o.times)
	case !s.givenExamples && !s.givenSample:
		return usagef("--repeat %d: the parts have no size (add --sample N, or --examples N)", o.times)
	}
	return nil
}

// fits refuses more parts than there are.
func (o *repeatOptions) fits(s *subject) error {
	if o.times <= s.set.Parts() {
		return nil
	}
	of := s.set.Total
	if s.set.Drawn > 0 {
		of = s.set.Drawn
	}
	return usagef("--repeat %d: %d disjoint parts of %d examples are %d, and there are %d (give at most --repeat %d, or smaller parts)",
		o.times, o.times, s.set.N, o.times*s.set.N, of, s.set.Parts())
}

// run repeats the estimate r of s, with as many probes and steps, on the other parts of the data, and sets what they say.
func (o *repeatOptions) run(ctx context.Context, a *app, e *estimateOptions, s *subject, r *spectrum.Result, k *keeper) error {
	if o.times == 0 {
		return nil
	}
	same := e.estimator
	same.probes, same.steps, same.growth = r.Estimator.Probes, r.Estimator.Steps, nil
	var others []*spectrum.Result
	for part := 1; part < o.times; part++ {
		a.line.prefix = fmt.Sprintf("part %d of %d: ", part+1, o.times)
		x, err := s.on(ctx, a, part, &same, &e.output, k)
		if err != nil {
			return err
		}
		r.Provenance.Seconds += x.Provenance.Seconds
		r.Provenance.Products += x.Provenance.Products
		others = append(others, x)
	}
	a.line.prefix = ""
	r.SetSubsets(others, s.correction())
	return nil
}

// on is the estimate on another part of the data; k is the keeper of the first.
func (s *subject) on(ctx context.Context, a *app, part int, e *estimatorOptions, out *outputOptions, k *keeper) (*spectrum.Result, error) {
	kept, err := k.part(part)
	if err != nil {
		return nil, err
	}
	options := *s.o
	options.part = part
	other := &subject{o: &options, net: s.net, embedded: s.embedded}
	if err := other.openData(a); err != nil {
		return nil, err
	}
	defer other.close()
	return other.estimate(ctx, a, e, out, kept)
}
