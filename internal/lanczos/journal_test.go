package lanczos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

var errCrash = errors.New("crash")

// memory is a journal that loses power after a number of calls.
type memory struct {
	left     int
	steps    [][]Step
	read     int
	finished map[int]Probe
}

func (m *memory) crash() error {
	if m.left--; m.left < 0 {
		return errCrash
	}
	return nil
}

func (m *memory) Finished(group []Probe) (bool, error) {
	for i, p := range group {
		f, ok := m.finished[p.Index]
		if !ok {
			return false, nil
		}
		group[i].Alpha, group[i].Beta = append(p.Alpha, f.Alpha...), append(p.Beta, f.Beta...)
		group[i].BetaLast, group[i].Exhausted, group[i].Orthogonality = f.BetaLast, f.Exhausted, f.Orthogonality
		group[i].Asymmetry, group[i].Overlaps, group[i].Outermost = f.Asymmetry, f.Overlaps, f.Outermost
	}
	return true, nil
}

func (m *memory) Next(steps []Step) (bool, error) {
	if m.read == len(m.steps) {
		for i := range steps { // what was torn
			for l := range steps[i].Double {
				steps[i].Double[l] = 1e300
			}
		}
		return false, nil
	}
	for i, s := range m.steps[m.read] {
		if s.Probe != steps[i].Probe || s.Step != steps[i].Step {
			return false, fmt.Errorf("probe %d, step %d asked for, %d and %d kept", steps[i].Probe, steps[i].Step, s.Probe, s.Step)
		}
		copy(steps[i].Double, s.Double)
		copy(steps[i].Single, s.Single)
		steps[i].Alpha, steps[i].Beta, steps[i].Asymmetry, steps[i].Going = s.Alpha, s.Beta, s.Asymmetry, s.Going
	}
	m.read++
	return true, nil
}

func (m *memory) Step(steps []Step) error {
	if err := m.crash(); err != nil {
		return err
	}
	kept := slices.Clone(steps)
	for i := range kept {
		kept[i].Double, kept[i].Single = slices.Clone(kept[i].Double), slices.Clone(kept[i].Single)
	}
	m.steps = append(m.steps, kept)
	return nil
}

func (m *memory) Finish(group []Probe) error {
	if err := m.crash(); err != nil {
		return err
	}
	m.steps, m.read = nil, 0
	for _, p := range group {
		m.finished[p.Index] = p
	}
	return nil
}

// A run that ends after any number of steps and groups goes on with the same bits, and does nothing twice. One of the probes
// ends early.
func TestJournal(t *testing.T) {
	const n, m = 300, 7
	d := make(Diagonal, n)
	rng := rand.New(rand.NewPCG(1, 4))
	for i := range d {
		d[i] = rng.NormFloat64()
	}
	products := 0
	op := operatorFunc{n, func(ctx context.Context, dst, src [][]float64) error {
		products += len(src)
		return d.Apply(ctx, dst, src)
	}}
	for _, storage := range storages {
		o := Options{Steps: m, Probes: 5, Groups: []int{3, 2}, Storage: storage, Start: func(dst []float64, p int) {
			Gaussian(dst, 1, p)
			if p == 1 {
				clear(dst)
				dst[10], dst[20], dst[30] = 1, 2, 3
			}
		}}
		want := mustRun(t, d, o)
		if !want[1].Exhausted || len(want[1].Alpha) != 3 {
			t.Fatalf("%+v", want[1])
		}
		for stop := range 2*m + 3 {
			journal := &memory{left: stop, finished: map[int]Probe{}}
			o.Journal, products = journal, 0
			_, err := Run(context.Background(), op, o)
			if (err == nil) != (stop == 2*m+2) || err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("stop after %d: %v", stop, err)
			}
			journal.left, journal.read = 1000, 0
			var last Progress
			kept := 0
			o.Progress = func(p Progress) {
				last = p
				if p.Kept {
					kept++
				}
			}
			for i, p := range mustRun(t, op, o) {
				if !reflect.DeepEqual(p, want[i]) {
					t.Errorf("storage %d, stop after %d: probe %d is %+v, want %+v", storage, stop, i, p, want[i])
				}
			}
			o.Progress = nil
			// Probe 1 takes 3 steps; of a group at most the step is done twice that was not kept.
			if all := 4*m + 3; last.Products != all || products > all+3 {
				t.Errorf("stop after %d: %d products in all, want %d; %d were made", stop, last.Products, all, products)
			}
			if (kept > 0) != (stop > 0) {
				t.Errorf("stop after %d: %d steps from the journal", stop, kept)
			}
		}
	}
}

// A process that ends after any step, and one that grows anew from its journal, have the same bits; so has the run of its size.
func TestJournalOfProcess(t *testing.T) {
	const n = 200
	d := make(Diagonal, n)
	rng := rand.New(rand.NewPCG(1, 4))
	for i := range d {
		d[i] = rng.NormFloat64()
	}
	sizes := [][2]int{{2, 3}, {2, 5}, {4, 5}, {4, 9}}
	for _, storage := range storages {
		o := Options{Storage: storage, Start: func(dst []float64, p int) {
			Gaussian(dst, 1, p)
			if p == 1 {
				clear(dst)
				dst[10], dst[20], dst[30], dst[40] = 1, 2, 3, 4 // ends with its fourth step
			}
		}}
		grow := func() ([]Probe, int, error) {
			p := NewProcess(d, o)
			defer p.Close()
			for _, size := range sizes {
				if err := p.Grow(context.Background(), size[0], size[1]); err != nil {
					return nil, 0, err
				}
			}
			p.Orthogonal()
			return p.Probes(), p.Products(), nil
		}
		want, products, err := grow()
		if err != nil {
			t.Fatal(err)
		}
		whole := o
		whole.Probes, whole.Steps = 4, 9
		for i, p := range mustRun(t, d, whole) {
			if !reflect.DeepEqual(p, want[i]) {
				t.Errorf("storage %d: probe %d is %+v, of a run %+v", storage, i, want[i], p)
			}
		}
		const steps = 3 + 2 + 5 + 4 // in lockstep
		for stop := range steps + 1 {
			journal := &memory{left: stop}
			o.Journal = journal
			if _, _, err := grow(); (err == nil) != (stop == steps) || err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("stop after %d: %v", stop, err)
			}
			journal.left = 1000
			got, count, err := grow()
			if err != nil || count != products || !reflect.DeepEqual(got, want) {
				t.Errorf("storage %d, stop after %d: %d products, want %d; %+v, want %+v; %v", storage, stop, count, products, got, want, err)
			}
			if journal.read != stop {
				t.Errorf("stop after %d: %d steps from the journal", stop, journal.read)
			}
		}
	}
}

// What cannot be of this run is refused.
func TestJournalOfAnother(t *testing.T) {
	for name, spoil := range map[string]func(s *Step){
		"a probe that ends goes on": func(s *Step) { s.Beta = 0 },
		"a probe that goes on ends": func(s *Step) { s.Going = false },
	} {
		journal := &memory{left: 3, finished: map[int]Probe{}}
		o := Options{Steps: 9, Probes: 1, Journal: journal}
		if _, err := Run(context.Background(), ramp(50), o); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		spoil(&journal.steps[1][0])
		if _, err := Run(context.Background(), ramp(50), o); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
