package lanczos

import (
	"errors"

	"hessdens/internal/kernel"
)

// ErrJournal says that a step of a journal is not one of this run.
var ErrJournal = errors.New("what was kept is not of this run")

// Journal keeps what a run has done, so that another of the same operator and options goes on from there, with the same bits.
// Run calls Finished once for each group (but for the last where Options.Eigenvectors needs its steps); where that says false, Next for each step until that says false, for the rest of the
// run; then Step after each step, and Finish after each group. An error of a Journal ends the run and is returned as it is.
type Journal interface {
	// Finished sets Alpha, Beta, BetaLast, Exhausted, Orthogonality, Asymmetry, Overlaps and, of the first probe of a run,
	// Outermost of the probes of a group to what an earlier run found, or says that it found not all of them: the probes may
	// then hold anything. Alpha and Beta have room.
	Finished(group []Probe) (bool, error)
	// Next sets Alpha, Beta, Asymmetry, Going and the vector of steps to what an earlier run kept of them, or says that it kept nothing:
	// the vectors may then hold anything.
	Next(steps []Step) (bool, error)
	// Step keeps a step of a group. It must not keep the slices.
	Step(steps []Step) error
	// Finish keeps a group that has ended; its steps are not needed any more.
	Finish(group []Probe) error
}

// Step is what a step brings a probe.
type Step struct {
	Probe, Step int // Step from 1
	Alpha       float64
	Beta        float64 // as measured, whatever is made of it
	Asymmetry   float64 // of the probe after the step
	Going       bool    // the probe goes on with the vector

	// The vector is the next column of the basis, in the type that it is kept in; the other is nil. Both are after the
	// last step of a run that does not grow.
	Double []float64
	Single []float32
}

// steps describes the step j of the active probes.
func (r *run[T]) steps(j int, active []*state[T]) []Step {
	steps := make([]Step, len(active))
	for i, s := range active {
		steps[i] = Step{Probe: s.probe.Index, Step: j + 1, Alpha: s.total[j], Beta: s.norm, Asymmetry: s.probe.Asymmetry, Going: s.going}
		if j+1 < len(s.columns) {
			steps[i].setVector(s.columns[j+1])
		}
	}
	return steps
}

func (s *Step) setVector(column any) {
	switch c := column.(type) {
	case []float64:
		s.Double = c
	case []float32:
		s.Single = c
	}
}

// replay takes the step j from the journal and says whether it was there.
func (r *run[T]) replay(j int, active []*state[T]) (bool, error) {
	steps := r.steps(j, active)
	ok, err := r.o.Journal.Next(steps)
	if !ok || err != nil {
		return false, err
	}
	for i, s := range active {
		s.total[j], s.norm, s.kept = steps[i].Alpha, steps[i].Beta, steps[i].Going
		s.probe.Asymmetry = steps[i].Asymmetry
	}
	return true, nil
}

// restore makes the next columns, which the journal has set, the vectors to multiply.
func restore[T kernel.Float](j int, states []*state[T]) error {
	for _, s := range states {
		if s.kept != s.going { // a vector is missing, or is one too many
			return ErrJournal
		}
		if !s.kept {
			continue
		}
		for i, x := range s.columns[j+1] {
			s.v[i] = float64(x)
		}
	}
	return nil
}

// keep gives the step j of the active probes to the journal.
func (r *run[T]) keep(j int, active []*state[T]) error { return r.o.Journal.Step(r.steps(j, active)) }
