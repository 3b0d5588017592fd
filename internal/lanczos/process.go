package lanczos

import (
	"context"

	"hessdens/internal/kernel"
)

// Process is a run that can go on: probes can be added to it, and steps to all of them. It keeps every basis,
// ProcessBytes(n, m, k, storage) in all. A probe's bits are those that Run gives it. A Journal keeps its steps; there are no
// groups that end.
type Process interface {
	// Grow takes the process to k probes and m steps, neither fewer than it has. The new probes do their steps in
	// lockstep, and so do the old ones theirs. It fails as Run does, and must not be called again after it has failed.
	Grow(ctx context.Context, k, m int) error
	// Probes returns the probes as they are now, without their Orthogonality. Their slices belong to the process until the
	// next Grow.
	Probes() []Probe
	// Orthogonal measures the Orthogonality of the probes that Probes returns from now on.
	Orthogonal()
	// Eigenvectors finds the Eigenvectors of the last of the probes that Probes returns from now on.
	Eigenvectors()
	// Products returns the number of products so far.
	Products() int
	// Close ends the goroutines of the process.
	Close()
}

// NewProcess makes a process without probes. Of the options, Steps, Probes, Groups and KeepBasis are not used.
func NewProcess(op Operator, o Options) Process {
	switch {
	case op.Dim() <= 0:
		panic(badDim)
	case o.First < 0:
		panic(badFirst)
	}
	if o.Storage == Single {
		return newProcess[float32](op, o)
	}
	return newProcess[float64](op, o)
}

type process[T kernel.Float] struct {
	run    *run[T]
	states []*state[T]
}

func newProcess[T kernel.Float](op Operator, o Options) *process[T] {
	p := &process[T]{run: newRun[T](op, o, 0)}
	p.run.open = true
	return p
}

func (p *process[T]) Close() { p.run.team.close() }

func (p *process[T]) Grow(ctx context.Context, k, m int) error {
	had, before := len(p.states), p.run.m
	m = min(m, p.run.n)
	switch {
	case k <= 0 || k < had:
		panic(badProbes)
	case m <= 0 || m < before:
		panic(badSteps)
	}
	p.run.m = m
	if m > before && had > 0 {
		var going []*state[T]
		for _, s := range p.states {
			p.run.prepare(s)
			if !s.probe.Exhausted {
				s.probe.Beta = append(s.probe.Beta, s.probe.BetaLast)
				s.probe.BetaLast = 0
				going = append(going, s)
			}
		}
		if err := p.run.advance(ctx, going, before, k-had); err != nil {
			return err
		}
	}
	if k > had {
		for i := had; i < k; i++ {
			s := p.run.slot(i)
			probe := p.run.fresh(p.run.o.First + i)
			s.probe = &probe
			p.states = append(p.states, s)
		}
		if err := p.run.begin(p.states[had:]); err != nil {
			return err
		}
		if err := p.run.advance(ctx, p.states[had:], 0, 0); err != nil {
			return err
		}
	}
	return p.run.finish(p.states, k)
}

func (p *process[T]) Probes() []Probe {
	out := make([]Probe, len(p.states))
	for i, s := range p.states {
		out[i] = *s.probe
	}
	return out
}

func (p *process[T]) Orthogonal() { p.run.orthogonality(p.states) }

func (p *process[T]) Eigenvectors() {
	if p.run.o.Eigenvectors != nil {
		p.run.eigenvectors(p.Probes(), p.states[len(p.states)-1])
	}
}

func (p *process[T]) Products() int { return p.run.products }
