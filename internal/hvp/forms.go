package hvp

import (
	"context"

	"hessdens/internal/exec"
	"hessdens/internal/model"
)

// Forms computes the quadratic forms of vectors u of length Dim with what each batch adds to the Hessian,
//
//	H = Σ_b G_b + wd·I,   forms[b][j] = u_jᵀ G_b u_j,
//
// and the share of each batch in the mean: of the examples, or of the weights of the targets that are not ignored. The Hessian of the
// batch's own mean loss is G_b/share[b]. A form's bits do not depend on the other vectors. It takes a product with as many
// vectors, and ends as Apply does; a form that is not finite is a *NonFiniteError.
func (o *Operator) Forms(ctx context.Context, u [][]float64) (forms [][]float64, share []float64, err error) {
	if share, err = o.shares(); err != nil {
		return nil, nil, err
	}
	if err = o.engine.forms(ctx, u, func(q []float64) { forms = append(forms, q) }); err != nil {
		var v []float64 // the one whose form is not finite
		if len(forms) > 0 {
			if j := nonFinite(forms[len(forms)-1]); j >= 0 {
				v = u[j]
			}
		}
		return nil, nil, o.explain(ctx, err, v)
	}
	return forms, share, nil
}

// shares are those of the batches in the mean; they sum to 1.
func (o *Operator) shares() ([]float64, error) {
	share := make([]float64, o.Batches())
	if o.opt.Loss != model.CrossEntropy || !o.set.TargetInteger {
		for b := range share {
			share[b] = float64(min(o.batch, o.data.N-b*o.batch)) / float64(o.data.N)
		}
		return share, nil
	}
	err := o.integers(o.data.Y, func(example int, v int64) error {
		if !o.ignored(v) {
			share[example/o.batch] += o.weight(v)
		}
		return nil
	})
	for b := range share {
		share[b] /= o.set.Total
	}
	return share, err
}

func (e *engineOf[T]) forms(ctx context.Context, u [][]float64, visit func(q []float64)) error {
	o := e.o
	k := len(u)
	e.only(k)
	e.begin(u)
	largest := 0
	for _, g := range o.groups {
		largest = max(largest, g.Size)
	}
	product := make([]float64, largest) // G_b u_j, a tensor at a time
	return e.passes(ctx, k, purposeProduct, &pass[T]{run: e.tangent, finish: func(main *program[T], p *exec.Program[T], lo, hi int) error {
		q := make([]float64, k)
		for i, g := range o.groups {
			if main.outs[i] < 0 {
				continue
			}
			for j := range q {
				part := product[:g.Size]
				p.MoveOutput(part, main.outs[i], j, false, 0, 1)
				q[j] += exec.Dot(u[j][g.Offset:g.Offset+g.Size], part)
			}
		}
		visit(q)
		if nonFinite(q) >= 0 {
			return &NonFiniteError{What: whatProduct, First: lo, Last: hi}
		}
		return nil
	}})
}
