package density

import (
	"context"
	"fmt"
	"math"

	"hessdens/internal/lanczos"
)

// Stop says what ended a run.
type Stop string

// What ends a run.
const (
	Steps       Stop = "steps"        // it has as many probes and steps as were asked for
	Reached     Stop = "tolerance"    // the error that it foretells is within the tolerance
	Balanced    Stop = "balanced"     // what the steps leave is below what the probes leave
	Found       Stop = "found"        // the eigenvalues that were asked for have converged
	OutOf       Stop = "max_products" // more would exceed the products that were allowed
	OutOfMemory Stop = "memory"       // more would not fit
	Exhausted   Stop = "exhausted"    // more steps change nothing: every probe has found an invariant subspace, or all that it can tell apart
)

// Stops lists what can end a run.
var Stops = []string{string(Steps), string(Reached), string(Balanced), string(Found), string(OutOf), string(OutOfMemory), string(Exhausted)}

const (
	// FirstProbes and FirstSteps are what a run begins with that chooses them itself.
	FirstProbes, FirstSteps = 2, 30

	moreSteps = 10 // that all probes are given at once

	// Probes are multiplied by (2s/tolerance)², the number that halves the tolerance by 1/√k, within these.
	leastFactor, mostFactor = 1.2, 2
)

// Goal is what a run that grows is to reach, and what it may take.
type Goal struct {
	Probes, Steps         int     // to begin with
	MoreProbes, MoreSteps bool    // whether Tolerance may add any
	Tolerance             float64 // of the distance to the spectrum over the mean |λ|; 0: none
	Confidence            float64 // with which it is to hold
	Top, Bottom           int     // so many of the largest and of the smallest eigenvalues are to be known

	MaxProducts int   // of the run, at least Probes·Steps
	Memory      int64 // bytes for the bases

	Round func(probes, steps int) // is told the size before each round
}

// Grow runs probes on op until the goal is reached or what it may take is used up, and says which. Of the options,
// Probes and Steps are the goal's. More than one of Groups says that not all of the probes to begin with fit into memory at
// once: then they are run in these, and none is added.
//
// With a tolerance: until the error that is foretold is within it (see within), twice in a row where steps can be added.
// While the part of the steps is the larger one (q > s), all probes go on by ten steps; otherwise probes are added, k
// times (2s/tolerance)² within 1.2 and 2. MoreSteps without a tolerance stops when q ≤ s, twice in a row. Then all probes go on by ten
// steps at a time until Top and Bottom are known, or cannot be.
func Grow(ctx context.Context, op lanczos.Operator, o lanczos.Options, g Goal) ([]lanczos.Probe, Stop, error) {
	n := op.Dim()
	k, m := g.Probes, min(g.Steps, n)
	grow := &grower{Goal: g, n: n, productError: o.Storage.ProductError(o.ProductError)}
	if len(o.Groups) > 1 {
		o.Probes, o.Steps = k, m
		probes, err := lanczos.Run(ctx, op, o)
		if err != nil {
			return nil, "", err
		}
		_, stop := grow.next(probes, m)
		if stop == "" {
			stop = OutOfMemory
		}
		return probes, stop, nil
	}
	process := lanczos.NewProcess(op, o)
	defer process.Close()
	for {
		if g.Round != nil {
			g.Round(k, m)
		}
		if err := process.Grow(ctx, k, m); err != nil {
			return nil, "", err
		}
		to, stop := grow.next(process.Probes(), m)
		left := g.MaxProducts - process.Products()
		if to.steps > m {
			to.steps = min(to.steps, m+left/k)
		} else {
			to.probes = min(to.probes, k+left/m)
		}
		switch {
		case stop != "":
		case to.steps <= m && to.probes <= k:
			stop = OutOf
		case lanczos.ProcessBytes(n, to.steps, to.probes, o.Storage) > g.Memory:
			stop = OutOfMemory
		}
		if stop != "" {
			process.Orthogonal()
			process.Eigenvectors()
			return process.Probes(), stop, nil
		}
		k, m = to.probes, to.steps
	}
}

// within says that an error foretold as s + q is within the tolerance, for a spectrum of a mean |λ|: the sum, and, s
// being what the probes err by on average, what they err by with the goal's confidence, were their error a single normal
// number (of standard deviation √(π/2)·s), beside q.
func (g *Goal) within(s, q, mean float64) bool {
	return s+q <= g.Tolerance*mean && math.Hypot(g.chance()*s, q) <= g.Tolerance*mean
}

// chance times s is the error of the probes with the goal's confidence.
func (g *Goal) chance() float64 { return NormalQuantile(g.Confidence) * math.Sqrt(math.Pi/2) }

// grower decides how a run goes on.
type grower struct {
	Goal
	n            int
	productError float64
	calm         int // rounds in a row that were good enough
}

type size struct{ probes, steps int }

// next returns the size of the next round, or what ends the run.
func (g *grower) next(probes []lanczos.Probe, m int) (size, Stop) {
	agreed := lanczos.Agree(probes, g.n, g.productError)
	e := NewEstimate(probes, agreed)
	exhausted := m >= g.n
	if !exhausted {
		exhausted = true
		for _, p := range probes {
			exhausted = exhausted && p.Exhausted
		}
	}
	more := size{len(probes), min(m+moreSteps, g.n)}
	stop := Steps
	if g.MoreSteps || g.Tolerance > 0 {
		s, q := e.Foretell()
		mean := e.Mean(math.Abs, 0.5).Value
		good := q <= s
		stop = Balanced
		if g.Tolerance > 0 {
			good = g.within(s, q, mean)
			stop = Reached
		}
		needed := 1
		if g.MoreSteps && !exhausted {
			needed = 2
		}
		if g.calm++; !good {
			g.calm = 0
		}
		if g.calm < needed {
			addSteps := g.MoreSteps && !exhausted && (q > s || g.calm > 0 || !g.MoreProbes)
			switch {
			case addSteps && g.Tolerance > 0 && !g.MoreProbes && g.chance()*s > g.Tolerance*mean && q <= s/4:
				return size{}, Balanced // these probes cannot do better
			case addSteps:
				return more, ""
			case !g.MoreProbes, !g.MoreSteps && q > g.Tolerance*mean:
				return size{}, ended(exhausted)
			}
			k := float64(len(probes))
			k = math.Ceil(k * min(mostFactor, max(leastFactor, math.Pow(2*s/(g.Tolerance*mean), 2))))
			return size{int(k), m}, ""
		}
	}
	if top, bottom := e.Ends(); top < min(g.Top, g.n) || bottom < min(g.Bottom, g.n) {
		above, below := agreed.Settled(probes)
		if exhausted || (top >= g.Top || above) && (bottom >= g.Bottom || below) {
			return size{}, Exhausted
		}
		return more, ""
	} else if g.Top+g.Bottom > 0 && stop == Steps {
		stop = Found
	}
	return size{}, stop
}

func ended(exhausted bool) Stop {
	if exhausted {
		return Exhausted
	}
	return Steps
}

// Ends returns how many of the largest and of the smallest eigenvalues are known: those beyond all of the rest.
func (e *Estimate) Ends() (top, bottom int) {
	if len(e.rest) == 0 {
		return len(e.known), len(e.known)
	}
	for _, v := range e.known {
		if v.Value > e.rest[0].Max() {
			top++
		}
		if v.Value < e.rest[0].Min() {
			bottom++
		}
	}
	return top, bottom
}

// Short returns the warnings about a goal that the run of e did not reach.
func Short(e *Estimate, g Goal, stop Stop) []Warning {
	var w []Warning
	if g.Tolerance > 0 && stop != Reached && stop != Found {
		s, q := e.Foretell()
		mean := e.Mean(math.Abs, 0.5).Value
		if !g.within(s, q, mean) {
			w = append(w, warn(ToleranceMissed, "the error foretold is %.3g of the mean |λ| (%.3g by the probes, up to %.3g by chance; %.3g by the steps), not surely within %g: %s",
				(s+q)/mean, s/mean, g.chance()*s/mean, q/mean, g.Tolerance, stop.remedy()))
		}
	}
	top, bottom := e.Ends()
	for _, end := range []struct {
		name         string
		known, asked int
	}{{"largest", top, min(g.Top, e.n)}, {"smallest", bottom, min(g.Bottom, e.n)}} {
		if end.known < end.asked {
			w = append(w, warn(EigenvaluesMissing, "of the %s eigenvalues %d are known, %d were asked for: %s", end.name, end.known, end.asked, stop.remedy()))
		}
	}
	return w
}

// remedy says what ended a run, and what to do.
func (s Stop) remedy() string {
	switch s {
	case OutOf:
		return "the products allowed were used up (give a larger --max-products)"
	case OutOfMemory:
		return "more would not fit into memory (give it more)"
	case Exhausted:
		return "more steps would not tell the next ones apart (take --precision float64, or more --probes for those that repeat)"
	case Balanced:
		return "more steps would not help (give more --probes)"
	}
	return fmt.Sprintf("the run ended by %q (leave --probes or --steps out, or give more)", string(s))
}
