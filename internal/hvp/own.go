package hvp

import (
	"fmt"
	"math"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// OwnLossError says that a network's own loss is no mean over the examples of a batch, so that those of batches do not add up to one
// over the data set.
type OwnLossError struct{ msg string }

func (e *OwnLossError) Error() string { return e.msg }

// checkMean holds the network's own loss of a few examples together against the mean of their losses one by one, in float64 and with
// running statistics. A network that takes no single example cannot be checked.
func (o *Operator) checkMean() error {
	const (
		most = 4
		tol  = 1e-9
	)
	if o.opt.Loss != model.Own || o.data.N < 2 {
		return nil
	}
	at, err := o.different(most)
	if err != nil {
		return err
	}
	var sum, size float64
	for i := range at {
		l, ok, err := o.ownLoss(at[i : i+1])
		if err != nil || !ok {
			return err
		}
		sum += l
		size = max(size, math.Abs(l))
	}
	k := float64(len(at))
	together, ok, err := o.ownLoss(at)
	switch diff := math.Abs(together - sum/k); {
	case err != nil || !ok:
		return err
	case diff <= tol*size || !finite(together): // what is not finite is found when it is measured
		return nil
	}
	mend := ""
	if o.net.Outputs > 0 {
		mend = ", or choose --loss cross-entropy, mse or bce, which take the outputs before it"
	}
	if math.Abs(together-sum) <= tol*size*k {
		return &OwnLossError{fmt.Sprintf("--loss %s: the loss of %s is a sum over the examples of a batch, and not their mean (export it with reduction='mean'%s)", model.Own, o.net.Name, mend)}
	}
	return &OwnLossError{fmt.Sprintf("--loss %s: the loss that %s has for %d examples together is %.9g, and the mean of theirs one by one %.9g: with class weights or a label that is ignored, a batch's weighted mean is not that of the data set "+
		"(export it without them, reduction='mean'%s; --class-weights and --ignore-index go with cross-entropy)", model.Own, o.net.Name, len(at), together, sum/k, mend)}
}

// different are up to so many examples, 2 at least, with different integer targets as far as there are, else spread over the data set.
func (o *Operator) different(most int) ([]int, error) {
	var at []int
	if o.set.TargetInteger {
		seen := map[int64]bool{}
		last := -1
		err := o.integers(o.data.Y, func(example int, v int64) error {
			if len(at) < most && example != last && !seen[v] {
				seen[v], last = true, example
				at = append(at, example)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(at) < 2 {
		at = nil
		for i := range min(most, o.data.N) {
			at = append(at, i*o.data.N/min(most, o.data.N))
		}
	}
	return at, nil
}

// ownLoss is the network's own loss of some examples; not ok where it cannot be made for so many.
func (o *Operator) ownLoss(examples []int) (loss float64, ok bool, err error) {
	s := o.set
	s.Total, s.BatchStats = float64(len(examples)), false
	m, err := o.net.Build(len(examples), s)
	if err != nil {
		return 0, false, nil // a network made for one size of batch
	}
	p, err := exec.Compile[float64]([]*graph.Node{m.Loss}, exec.Options{Pool: o.pool})
	if err != nil {
		return 0, false, err
	}
	for i, leaf := range m.Params {
		p.SetFloats(leaf, o.net.Params[i].Values)
	}
	for i, leaf := range m.Buffers {
		p.SetFloats(leaf, o.net.Buffers[i].Values)
	}
	set := func(c Column, leaf *graph.Node) error {
		if !p.Has(leaf) {
			return nil
		}
		per := tensor.Count(c.Shape())
		if c.Integer() {
			v := make([]int64, per*len(examples))
			for j, i := range examples {
				if err := c.Ints(v[j*per:(j+1)*per], i, i+1); err != nil {
					return err
				}
			}
			p.SetInts(leaf, v)
			return nil
		}
		v := make([]float64, per*len(examples))
		for j, i := range examples {
			if err := c.Floats(v[j*per:(j+1)*per], i, i+1); err != nil {
				return err
			}
		}
		p.SetFloats(leaf, v)
		return nil
	}
	if err := set(o.data.X, m.X); err != nil {
		return 0, false, err
	}
	if err := set(o.data.Y, m.Y); err != nil {
		return 0, false, err
	}
	p.Prepare()
	p.RunPrimal()
	return p.Output(0)[0], true, nil
}
