package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"hessdens/internal/tensor"
)

// NonFiniteError is a weight that is no number.
type NonFiniteError struct {
	Tensor string // as the checkpoint names it
	Index  int    // of the first such value, row-major
	Value  float64
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("tensor %q: value %d is %v (the training diverged; take an earlier checkpoint)", e.Tensor, e.Index, e.Value)
}

// MismatchError is all that keeps a checkpoint's tensors from being a network's; its message has the first 20.
type MismatchError struct {
	Network  string
	Problems []string // NAME: what is wrong; sorted
}

func (e *MismatchError) Error() string {
	s := "tensors do"
	if len(e.Problems) == 1 {
		s = "tensor does"
	}
	const most = 20
	lines := e.Problems
	if len(lines) > most {
		lines = append(slices.Clone(lines[:most]), fmt.Sprintf("… and %d more", len(e.Problems)-most))
	}
	return fmt.Sprintf("%d %s not fit %s:\n  %s\n(is --model what the weights were trained as? left out, it is recognised from them)",
		len(e.Problems), s, e.Network, strings.Join(lines, "\n  "))
}

// wrappers are the prefixes that wrappers of PyTorch put before all names: DataParallel,
// torch.compile, and the attribute in which training frameworks keep the network.
var wrappers = []string{"module.", "_orig_mod.", "model."}

// Unwrap is the names without the prefix of a wrapper that all have.
func Unwrap(names []string) []string {
	out := slices.Clone(names)
	for {
		i := slices.IndexFunc(wrappers, func(w string) bool {
			return len(out) > 0 && !slices.ContainsFunc(out, func(n string) bool { return !strings.HasPrefix(n, w) })
		})
		if i < 0 {
			return out
		}
		for j := range out {
			out[j] = out[j][len(wrappers[i]):]
		}
	}
}

// Ignored says whether a tensor of a checkpoint has no part in a network's outputs: the count of
// batches that batch normalisation has seen.
func Ignored(name string) bool {
	return name == "num_batches_tracked" || strings.HasSuffix(name, ".num_batches_tracked")
}

// matching pairs a checkpoint's tensors with the network's.
type matching struct {
	n        *Network
	given    map[string][]string // names in the checkpoint, by name in the network
	problems []string
}

// problem notes what is wrong with a tensor.
func (m *matching) problem(name, format string, args ...any) {
	m.problems = append(m.problems, name+": "+fmt.Sprintf(format, args...))
}

// err is all problems in one error.
func (m *matching) err() error {
	if len(m.problems) == 0 {
		return nil
	}
	slices.Sort(m.problems)
	return &MismatchError{m.n.Name, m.problems}
}

// tensors are parameters and buffers in order.
func (n *Network) tensors() []Param { return slices.Concat(n.Params, n.Buffers) }

func (n *Network) match(names []string) *matching {
	m := &matching{n: n, given: map[string][]string{}}
	has := map[string]bool{}
	for _, p := range n.tensors() {
		has[p.Name] = true
	}
	bare := Unwrap(names)
	var to map[string]string
	if n.Match != nil {
		to = n.Match(bare)
	}
	for i, name := range bare {
		target, ok := to[name]
		if !ok {
			target = name
		}
		switch {
		case Ignored(name) || ok && target == "":
		case has[target]:
			m.given[target] = append(m.given[target], names[i])
		default:
			m.problem(names[i], "not in the network")
		}
	}
	for _, p := range n.tensors() {
		if m.given[p.Name] == nil && !p.Optional {
			m.problem(p.Name, "missing")
		}
	}
	return m
}

func (m *matching) shape(name string, got, want []int) bool {
	if !slices.Equal(got, want) {
		m.problem(name, "shape %s, the network has %s", ShapeString(got), ShapeString(want))
		return false
	}
	return true
}

// Fits says whether tensors of these names and shapes are the network's, by the rules of
// SetWeights; its error is a *MismatchError.
func (n *Network) Fits(names []string, shapes [][]int) error {
	m := n.match(names)
	shape := make(map[string][]int, len(names))
	for i, name := range names {
		shape[name] = shapes[i]
	}
	for _, p := range n.tensors() {
		for _, name := range m.given[p.Name] {
			m.shape(name, shape[name], p.Shape)
		}
	}
	return m.err()
}

// SetWeights takes the values of all parameters and buffers from a checkpoint that has tensors of
// these names, by name: without the prefix of a wrapper (module., _orig_mod., model.) where all names
// have it, without num_batches_tracked, and through Match. get loads one tensor.
//
// It fails with one *MismatchError that lists every tensor that is missing, not in the network, of
// another shape, or not of floating-point numbers; with a *NonFiniteError at a NaN or an infinity;
// and with get's error. The network is then as it was.
func (n *Network) SetWeights(names []string, get func(name string) (*tensor.Tensor, error)) error {
	if n.Reject != nil {
		if err := n.Reject(Unwrap(names)); err != nil {
			return err
		}
	}
	m := n.match(names)
	values := map[string][]float64{}
	var nonFinite error
	for _, p := range n.tensors() {
		for _, name := range m.given[p.Name] {
			t, err := get(name)
			if err != nil {
				return err
			}
			if !m.shape(name, t.Shape, p.Shape) {
				continue
			}
			if !t.DType.IsFloat() {
				m.problem(name, "%s values, where floating-point numbers are needed", t.DType)
				continue
			}
			v := t.Float64s()
			if j := slices.IndexFunc(v, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }); j >= 0 && nonFinite == nil {
				nonFinite = &NonFiniteError{name, j, v[j]}
			}
			if nonFinite == nil && values[p.Name] != nil && !slices.Equal(v, values[p.Name]) {
				m.problem(name, "differs from %s, which is the same tensor in the network", m.given[p.Name][0])
				continue
			}
			values[p.Name] = v
		}
	}
	if err := m.err(); err != nil {
		return err
	}
	if nonFinite != nil {
		return nonFinite
	}
	for _, ps := range [][]Param{n.Params, n.Buffers} {
		for i := range ps {
			if m.given[ps[i].Name] != nil {
				ps[i].Values = values[ps[i].Name]
			}
		}
	}
	return nil
}
