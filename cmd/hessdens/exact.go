package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hessdens/internal/hvp"
	"hessdens/internal/spectrum"
)

type exactOptions struct {
	subject subjectOptions
	seed    uint64
	output  outputOptions
}

func newExact(a *app) *cobra.Command {
	o := &exactOptions{}
	cmd := &cobra.Command{
		Use:   "exact",
		Short: "All eigenvalues by a dense Hessian, for small networks",
		Long: `exact computes the whole Hessian from products with unit vectors, sets rows and
columns that are zero aside, and finds all eigenvalues. The result has the form of
estimate's; its density uses the width that a quadrature of 10 probes and 90 steps would
choose, so that the two can be laid over each other. It takes 16 n² bytes and time that
grows with n³: a minute for n = 2,000, more than an hour for n = 10,000.`,
		Example: `  hessdens exact --weights small.safetensors --data x.npy,y.npy -o exact.json
  hessdens exact --params '3.*' --precision float64      one layer of the embedded example`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.subject.check(cmd); err != nil {
				return err
			}
			if err := o.output.check(a); err != nil {
				return err
			}
			s, err := o.subject.open(a)
			if err != nil {
				return err
			}
			defer s.close()
			r, err := s.exact(cmd.Context(), a, o.seed, &o.output)
			if err != nil {
				return err
			}
			return o.output.write(a, r)
		},
	}
	o.subject.register(cmd)
	cmd.Flags().Uint64Var(&o.seed, "seed", 0, "seed `S` of the quadrature that chooses the width")
	o.output.register(cmd)
	return cmd
}

// eigenvalues are all of the operator's, ascending.
func (s *subject) eigenvalues(ctx context.Context, a *app, op *hvp.Operator) (*hvp.Dense, []float64, error) {
	n := int64(op.Dim())
	a.line.begin("dense Hessian", (int(n)+dense-1)/dense)
	left := memoryLeft()
	d, err := op.Dense(ctx, a.line.steps)
	var memory *hvp.MemoryError
	if errors.As(err, &memory) {
		return nil, nil, s.dense(memory, left)
	}
	if err != nil {
		return nil, nil, s.product(ctx, op, err)
	}
	a.line.begin(fmt.Sprintf("eigenvalues of a matrix of %d rows", len(d.Live)), 0)
	type outcome struct {
		values []float64
		err    error
		defect any
	}
	done := make(chan outcome, 1)
	go func() { // it cannot be interrupted: a signal leaves it behind
		var o outcome
		defer func() {
			o.defect = recover()
			done <- o
		}()
		o.values, o.err = d.Eigenvalues()
	}()
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case o := <-done:
		if o.defect != nil {
			panic(o.defect)
		}
		a.line.clear()
		return d, o.values, code(exitNumerics, o.err)
	}
}

func (s *subject) exact(ctx context.Context, a *app, seed uint64, out *outputOptions) (*spectrum.Result, error) {
	start := time.Now()
	if err := s.needWeights(); err != nil {
		return nil, err
	}
	op, err := s.operator(a, int64(keepShare*float64(availableMemory())))
	if err != nil {
		return nil, err
	}
	defer op.Close()
	loss, grad, err := s.gradient(ctx, op)
	if err != nil {
		return nil, err
	}
	d, values, err := s.eigenvalues(ctx, a, op)
	if err != nil {
		return nil, err
	}
	r, err := spectrum.FromExact(ctx, values, out.settings(0, seed, s.o.precision, threads(s.o.threads)))
	if err != nil {
		return nil, out.refused(err)
	}
	return r, s.fill(a, r, op, loss, norm(grad), len(d.Live), start)
}
