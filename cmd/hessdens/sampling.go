package main

import (
	"context"
	"math"
	"slices"

	"hessdens/internal/density"
	"hessdens/internal/hvp"
	"hessdens/internal/kernel"
	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

const (
	// The vectors that blocks of the data are multiplied with: at most mostEigenvectors of the outermost eigenvalues, one for each productShare
	// products of the run, but fewEigenvectors in any case; and the starts of as many probes as the run has, within fewStarts
	// and mostStarts. That is a twentieth of a run of 10 probes and 90 steps.
	mostEigenvectors, fewEigenvectors = 32, 4
	mostStarts, fewStarts             = 32, 4
	productShare                      = 16

	// blocks is the least number of blocks, where there are as many examples: a standard deviation of 32 numbers is good to 13 %.
	blocks = 32

	// fewBlocks is the number below which their spread says nothing (of four it is good to 40 %): there can be so few with --batchnorm batch.
	fewBlocks = 4
)

// sampled says whether the examples are a part of those in the files.
func (s *subject) sampled() bool { return s.set.N < s.set.Total }

// correction is what the error of a mean over the examples is multiplied with: where they were drawn from a population of known size, the
// error is that of the population's mean, √(1 − N/N_all); the first examples are taken as drawn from one without end.
func (s *subject) correction() float64 {
	if s.set.Drawn == 0 {
		return 1
	}
	return math.Sqrt(1 - float64(s.set.N)/float64(s.set.Drawn))
}

// eigenvectors is how many are kept of a run of so many products.
func eigenvectors(products int) int {
	return min(max(products/productShare, fewEigenvectors), mostEigenvectors)
}

// dataErrors measures how far other data would move the eigenvalues and the trace, by one more pass over the data, in blocks. A pass that
// fails is no reason to lose the run.
func (s *subject) dataErrors(ctx context.Context, a *app, r *spectrum.Result, probes []lanczos.Probe, atOnce int, seed uint64) error {
	var values []float64
	var vectors [][]float64
	for _, v := range probes[len(probes)-1].Eigenvectors {
		values, vectors = append(values, v.Value), append(vectors, v.Vector)
	}
	known, n := len(values), r.Model.Parameters
	if known < n {
		for i := range min(max(len(probes), fewStarts), mostStarts) {
			v := make([]float64, n)
			lanczos.Gaussian(v, seed, i)
			project(v, vectors[:known])
			vectors = append(vectors, v)
		}
	}
	forms, share, err := s.forms(ctx, a, vectors, atOnce)
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil:
		s.warn(a, "data_error_unknown", "what other data would change could not be measured: %v (errors and intervals hold the probes alone)", err)
		return nil
	case len(share) < fewBlocks:
		return nil
	}
	b := density.Blocks{Share: share, Order: n}
	for _, q := range forms {
		b.Known, b.Rest = append(b.Known, q[:known]), append(b.Rest, q[known:])
	}
	r.SetDataErrors(&b, values, s.correction())
	return nil
}

// project takes the parts of v along orthonormal vectors out, twice for the rounding, and makes its length 1.
func project(v []float64, from [][]float64) {
	for range 2 {
		along := make([]float64, len(from))
		kernel.Dots(along, from, 0, v)
		kernel.Minus(v, along, from, 0)
	}
	length := norm(v)
	for i := range v {
		v[i] /= length
	}
}

// forms are the quadratic forms of vectors with what blocks of the data add to the Hessian, and the blocks' shares in the data. The blocks depend
// on the data and the network alone: examples come into them at random, whatever their order in the files. With --batchnorm batch
// they are the batches that the risk is made of.
func (s *subject) forms(ctx context.Context, a *app, vectors [][]float64, atOnce int) (forms [][]float64, share []float64, err error) {
	opt, err := s.hvpOptions(a, s.set.N, 0)
	if err != nil {
		return nil, nil, err
	}
	opt.MaxBytes = 0 // a pass that is not made where memory is short would be another result
	data := hvp.Data{N: s.set.N, X: s.set.X, Y: s.set.Y}
	given := opt.BatchSize
	if !opt.BatchStats {
		opt.BatchSize, opt.Batches = 0, blocks
		data.X, data.Y = s.set.Shuffled(^s.o.dataSeed)
	}
	op, err := hvp.New(s.net, data, opt)
	if err != nil && opt.BatchSize != given { // a network made for one size of batch
		opt.BatchSize = given
		op, err = hvp.New(s.net, data, opt)
	}
	if err != nil {
		return nil, nil, err
	}
	defer op.Close()
	forms = make([][]float64, op.Batches())
	a.line.begin("other data", (len(vectors)+atOnce-1)/atOnce)
	for part := range slices.Chunk(vectors, atOnce) {
		var q [][]float64
		if q, share, err = op.Forms(ctx, part); err != nil {
			return nil, nil, err
		}
		for b := range forms {
			forms[b] = append(forms[b], q[b]...)
		}
	}
	return forms, share, nil
}
