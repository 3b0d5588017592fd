package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"hessdens/internal/density"
)

// growthOptions are the flags of a run that chooses its size.
type growthOptions struct {
	tolerance   float64
	maxProducts int
	top, bottom int
	autoSteps   bool // --steps auto

	probesGiven, productsGiven bool
	stepsGiven                 bool // as a number
}

// defaultProducts bounds a run that chooses its size: about ten times what one of the default size takes.
const defaultProducts = 10_000

// grows registers the flags of a run that chooses its size beside those of the estimator.
func (o *estimatorOptions) grows(cmd *cobra.Command) {
	g := &growthOptions{}
	o.growth = g
	f := cmd.Flags()
	steps := f.Lookup("steps")
	steps.Value = &stepsValue{&o.steps, &g.autoSteps}
	steps.Usage = "`M` Lanczos steps for each probe, or auto"
	f.Float64Var(&g.tolerance, "tolerance", 0, "probes and steps grow until the error foretold is within `T` of the mean |λ| (Wasserstein-1); --probes or --steps holds that number fixed")
	f.IntVar(&g.top, "top", 0, "more steps until the `K` largest eigenvalues are known")
	f.IntVar(&g.bottom, "bottom", 0, "and the `K` smallest")
	f.IntVar(&g.maxProducts, "max-products", defaultProducts, "most products `P` of a run that grows")
	heading(f, "Estimator")
}

// given notes which flags were set.
func (g *growthOptions) given(cmd *cobra.Command) {
	f := cmd.Flags()
	g.probesGiven, g.productsGiven = f.Changed("probes"), f.Changed("max-products")
	g.stepsGiven = f.Changed("steps") && !g.autoSteps
}

// any says whether a run chooses its size.
func (g *growthOptions) any() bool {
	return g.tolerance > 0 || g.autoSteps || g.top > 0 || g.bottom > 0
}

func (g *growthOptions) check(e *estimatorOptions) error {
	switch {
	case !(g.tolerance >= 0) || math.IsInf(g.tolerance, 0):
		return usagef("--tolerance %v: a positive share of the mean |λ| is needed (for example 0.05)", g.tolerance)
	case g.top < 0:
		return usagef("--top %d: a number of eigenvalues is needed (give 0 or more)", g.top)
	case g.bottom < 0:
		return usagef("--bottom %d: a number of eigenvalues is needed (give 0 or more)", g.bottom)
	case g.tolerance > 0 && g.probesGiven && g.stepsGiven:
		return usagef("--tolerance %v: both --probes and --steps are fixed, nothing can grow (leave one of them out)", g.tolerance)
	case g.productsGiven && !g.any():
		return usagef("--max-products %d: the run has a fixed size (add --tolerance, --steps auto, --top or --bottom)", g.maxProducts)
	}
	if goal := g.goal(e, 0.5, 0); goal != nil && g.maxProducts < goal.Probes*goal.Steps {
		return usagef("--max-products %d: the run begins with %d (%d probes of %d steps; allow as many)", g.maxProducts, goal.Probes*goal.Steps, goal.Probes, goal.Steps)
	}
	return nil
}

// goal is what a run is to reach with a confidence and memory bytes for its bases; nil: it has a fixed size.
func (g *growthOptions) goal(e *estimatorOptions, confidence float64, memory int64) *density.Goal {
	if g == nil || !g.any() {
		return nil
	}
	goal := &density.Goal{Probes: e.probes, Steps: e.steps, Tolerance: g.tolerance, Confidence: confidence, Top: g.top, Bottom: g.bottom, MaxProducts: g.maxProducts, Memory: memory}
	if g.tolerance > 0 && !g.probesGiven {
		goal.Probes, goal.MoreProbes = density.FirstProbes, true
	}
	if (g.tolerance > 0 || g.autoSteps) && !g.stepsGiven {
		goal.Steps, goal.MoreSteps = density.FirstSteps, true
	}
	return goal
}

// words tell goals apart, by all that a run's bits depend on.
func words(g *density.Goal) string {
	if g == nil {
		return ""
	}
	return fmt.Sprintf("tolerance %v with confidence %v by more probes (%v) and steps (%v), the largest %d and the smallest %d, within %d products",
		g.Tolerance, g.Confidence, g.MoreProbes, g.MoreSteps, g.Top, g.Bottom, g.MaxProducts)
}

// stepsValue is a number of steps, or auto.
type stepsValue struct {
	steps *int
	auto  *bool
}

func (v *stepsValue) String() string {
	switch {
	case v.steps == nil:
		return ""
	case *v.auto:
		return "auto"
	}
	return strconv.Itoa(*v.steps)
}

func (v *stepsValue) Set(s string) error {
	if *v.auto = s == "auto"; *v.auto {
		return nil
	}
	n, err := strconv.ParseInt(s, 0, strconv.IntSize) // as flags of whole numbers do
	if err != nil {
		return errors.Unwrap(err)
	}
	*v.steps = int(n)
	return nil
}

// Type names the value for messages.
func (v *stepsValue) Type() string { return "steps" }
