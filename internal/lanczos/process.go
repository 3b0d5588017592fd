package lanczos

import "context"

// Process is a run that can go on: probes can be added to it, and steps to all of them. It keeps every basis,
// BasisBytes(n, m, k) in all. A probe's bits are those that Run gives it.
type Process struct {
	run    *run
	states []*state
}

// NewProcess makes a process without probes. Of the options, Steps, Probes, Groups and KeepBasis are not used.
func NewProcess(op Operator, o Options) *Process {
	switch {
	case op.Dim() <= 0:
		panic(badDim)
	case o.First < 0:
		panic(badFirst)
	}
	o.Steps, o.KeepBasis = 0, true
	return &Process{run: newRun(op, o)}
}

// Close ends the goroutines of the process.
func (p *Process) Close() { p.run.team.close() }

// Grow takes the process to k probes and m steps, neither fewer than it has. The new probes do their steps in
// lockstep, and so do the old ones theirs. It fails as Run does, and must not be called again after it has failed.
func (p *Process) Grow(ctx context.Context, k, m int) error {
	had := len(p.states)
	m = min(m, p.run.n)
	switch {
	case k <= 0 || k < had:
		panic(badProbes)
	case m <= 0 || m < p.run.m:
		panic(badSteps)
	}
	before := p.run.m
	p.run.m = m
	p.run.ortho = newOrthogonaliser(p.run.team, p.run.n, m, k)
	if m > before && had > 0 {
		if err := p.extend(ctx, before, k-had); err != nil {
			return err
		}
	}
	if k > had {
		states, err := p.run.begin(make([]Probe, k-had), p.run.o.First+had)
		if err != nil {
			return err
		}
		if err := p.run.advance(ctx, states, 0, 0); err != nil {
			return err
		}
		p.states = append(p.states, states...)
	}
	return p.run.finish(p.states, p.run.o.First, k)
}

// extend takes the probes from step before to step m, those at least that have not ended; later is the number of
// probes to come.
func (p *Process) extend(ctx context.Context, before, later int) error {
	var going []*state
	for _, s := range p.states {
		for len(s.columns) <= p.run.m {
			s.columns = append(s.columns, make([]float64, p.run.n))
		}
		if !s.probe.Exhausted {
			s.probe.Beta = append(s.probe.Beta, s.probe.BetaLast)
			s.probe.BetaLast = 0
			going = append(going, s)
		}
	}
	p.run.ortho.load(before-1, going)
	p.run.ortho.normalise()
	return p.run.advance(ctx, going, before, later)
}

// Probes returns the probes as they are now. Their slices belong to the process until the next Grow.
func (p *Process) Probes() []Probe {
	out := make([]Probe, len(p.states))
	for i, s := range p.states {
		out[i] = *s.probe
	}
	return out
}

// Steps returns the number of steps that probes which have not ended have done.
func (p *Process) Steps() int { return p.run.m }

// Products returns the number of products so far.
func (p *Process) Products() int { return p.run.products }
