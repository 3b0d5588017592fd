package main

import (
	"context"
	"errors"
	"fmt"

	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
)

// gradient is the loss and gradient at the checkpoint, with errors that name the files.
func (s *subject) gradient(ctx context.Context, op *hvp.Operator) (float64, []float64, error) {
	loss, grad, err := op.Gradient(ctx)
	if err != nil {
		return 0, nil, s.pass(err)
	}
	return loss, grad, nil
}

// pass is an error of a pass over the data, with the files that it is of; what a file could not give names it already.
func (s *subject) pass(err error) error {
	var value *hvp.DataError
	var result *hvp.NonFiniteError
	var batch *hvp.BatchError
	switch {
	case errors.As(err, &value):
		return fmt.Errorf("%s: %w", s.set.Place(value.Target, value.Example), err)
	case errors.As(err, &result):
		return fmt.Errorf("%s with %s: %w", s.weightsName(), s.dataName(), err)
	case errors.As(err, &batch):
		return fmt.Errorf("%s: %w", s.dataName(), err)
	}
	return err
}

// product is an error of the products at the checkpoint, with what it is of and where a number ceased to be one.
func (s *subject) product(ctx context.Context, op *hvp.Operator, err error) error {
	var step *lanczos.NonFiniteError
	if !errors.As(err, &step) {
		return s.pass(err)
	}
	where := op.Explain(ctx, step.Vector)
	switch {
	case where == nil:
		return fmt.Errorf("%s with %s: %w (numbers beyond the range of float64: check that inputs are scaled as in training, --mean, --std)", s.weightsName(), s.dataName(), err)
	case exitCode(where) != exitNumerics:
		return where
	}
	return s.pass(fmt.Errorf("probe %d, step %d: %w", step.Probe, step.Step, where))
}
