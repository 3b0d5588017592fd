package onnx

import (
	"fmt"
	"hash/maphash"
	"math"
	"regexp"
	"slices"
	"strings"
)

// generated are names that exporters make up for what they compute themselves.
var generated = regexp.MustCompile(`^(onnx::\w+_\d+|_?val_?\d+|/.*|.*_output_\d+|_?[Cc]onst(ant)?_?\d*|Const__\d+.*|const_fold_opt__\d+.*|\d+|.*#\d+/.*|(permute|transpose|t|slice|view|expand|unsqueeze|triu|tril|add|sub|mul|div|full|zeros|ones|arange|clone|detach|_to_copy|lift_fresh_copy)(_\d+)?)$`)

// fixedName are names of tensors that are not trained.
var fixedName = regexp.MustCompile(`(?i)(running_mean|running_var|moving_mean|moving_variance|num_batches_tracked|inv_freq|cos_cached|sin_cached|rotary|rope_|_rope|freqs_c|position_ids|masked_bias|causal_mask|attn_mask|attention_mask|(^|[._/])mask$|relative_position_index|anchors?$|dropout.*ratio)`)

// statistic are names of running statistics in checkpoints.
var statistic = regexp.MustCompile(`(^|[./])(running_mean|running_var|moving_mean|moving_variance)(:0)?$`)

// use is a place where a node reads a weight.
type use struct {
	n *node
	i int
}

// survey finds which initialisers of a graph are weights.
type survey struct {
	body  *body
	nodes []*node
	maker map[string]*node
	input string // the data
	dep   map[string]bool
	// scaled is the data, moved or combined with constants element by element at most.
	scaled map[string]bool
	uses   map[string][]use // direct ones, by initialiser
	vary   map[string]bool
	fixed  map[string]string // initialisers in a place for weights that are none: why
	stats  map[string]bool   // running statistics
	merged []string          // initialisers that are known to be their own, whatever they are equal to
}

// passes are operators that move their first operand's values and compute nothing.
var passes = map[string]bool{"Identity": true, "Transpose": true, "Reshape": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true, "Cast": true,
	"CastLike": true, "Slice": true, "Split": true, "Expand": true, "Tile": true, "Dropout": true, "Gather": true}

// combines are operators that make weights of weights.
var combines = map[string]bool{"Add": true, "Sub": true, "Mul": true, "Div": true, "Sum": true, "MatMul": true, "Gemm": true, "Neg": true, "Concat": true}

type slot uint8

const (
	none   slot = iota
	strong      // nothing but a weight is read here
	table       // rows
	soft        // a weight beside what depends on the input
)

// slotOf says what a node keeps at operand i.
func slotOf(n *node, i int) slot {
	weights := func(is ...int) slot {
		if slices.Contains(is, i) {
			return strong
		}
		return none
	}
	switch n.op {
	case "Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization":
		return weights(1, 2)
	case "Gemm", "MatMul", "Einsum":
		return weights(0, 1, 2)
	case "LSTM", "GRU", "RNN":
		return weights(1, 2, 3, 7)
	case "PRelu":
		return weights(1)
	case "Gather", "GatherND", "GatherElements":
		if i == 0 {
			return table
		}
	case "Add", "Mul", "Sum", "Concat":
		return soft
	}
	return none
}

// dependents are the names whose values depend on those of an input; nodes are sorted.
func dependents(nodes []*node, input string) map[string]bool {
	deps := map[string]bool{input: true}
	for _, n := range nodes {
		dep := false
		switch {
		case n.op == "Shape" || n.op == "Size" || n.op == "ConstantOfShape":
		case passes[n.op] && n.op != "Gather":
			dep = len(n.in) > 0 && deps[n.in[0]]
		default:
			for _, in := range slices.Concat(n.in, n.free) {
				dep = dep || in != "" && deps[in]
			}
		}
		for _, o := range n.out {
			if o != "" && dep {
				deps[o] = true
			}
		}
	}
	return deps
}

// newSurvey looks through nodes; where a loss's targets come in ("" without any), nothing is a weight.
func newSurvey(b *body, nodes []*node, input, target string) *survey {
	s := &survey{body: b, nodes: nodes, maker: map[string]*node{}, input: input, dep: dependents(nodes, input), scaled: map[string]bool{input: true}, uses: map[string][]use{}, vary: map[string]bool{}, fixed: map[string]string{}, stats: map[string]bool{}}
	var loss map[string]bool
	if target != "" {
		loss = dependents(nodes, target)
	}
	for _, n := range nodes {
		for _, o := range n.out {
			if o != "" {
				s.maker[o] = n
				s.scaled[o] = s.scales(n)
			}
		}
	}
	for _, n := range nodes {
		if n.op == "BatchNormalization" {
			for _, in := range n.in[min(3, len(n.in)):] {
				s.stats[s.source(in)] = true
			}
		}
	}
	for _, n := range nodes {
		if slices.ContainsFunc(n.out, func(o string) bool { return loss[o] }) {
			continue
		}
		for i, in := range n.in {
			k := slotOf(n, i)
			if k == none || in == "" || s.dep[in] {
				continue
			}
			if k == soft && !s.beside(n, i) {
				continue
			}
			s.walk(in, k, use{n, i}, true, 0)
		}
	}
	return s
}

// scales says whether a node moves or scales the data.
func (s *survey) scales(n *node) bool {
	if len(n.in) == 0 {
		return false
	}
	if passes[n.op] {
		return n.op != "Gather" && s.scaled[n.in[0]]
	}
	raw, other := false, false
	for _, in := range n.in {
		raw = raw || s.scaled[in]
		other = other || s.dep[in] && !s.scaled[in]
	}
	return keeps[n.op] && raw && !other
}

// source is the initialiser that a name comes from through operators that only move values.
func (s *survey) source(name string) string {
	for range len(s.nodes) + 1 {
		p := s.maker[name]
		if p == nil || !passes[p.op] || len(p.in) == 0 {
			break
		}
		name = p.in[0]
	}
	return name
}

// beside says whether another operand depends on the input, and is not the input itself, whose scaling is no layer.
func (s *survey) beside(n *node, i int) bool {
	other := false
	for j, in := range n.in {
		if j == i || !s.dep[in] {
			continue
		}
		if n.op != "Concat" && s.scaled[in] {
			return false
		}
		other = true
	}
	return other
}

// walk follows a name back to initialisers.
func (s *survey) walk(name string, k slot, at use, direct bool, depth int) {
	if a := s.body.inits[name]; a != nil {
		s.decide(name, a, k, at, direct)
		return
	}
	p := s.maker[name]
	if p == nil || s.dep[name] || depth > 64 {
		return
	}
	switch {
	case passes[p.op] && len(p.in) > 0:
		s.walk(p.in[0], k, at, direct && p.op != "Expand" && p.op != "Tile" && p.op != "Slice" && p.op != "Gather", depth+1)
	case combines[p.op]:
		for _, in := range p.in {
			if in != "" {
				s.walk(in, k, at, false, depth+1)
			}
		}
	}
}

func (s *survey) decide(name string, a *array, k slot, at use, direct bool) {
	if !isFloat(a.dt) || a.size() == 0 {
		return
	}
	why := ""
	switch {
	case s.stats[name]:
		why = "running statistics"
	case fixedName.MatchString(name):
		why = "its name"
	case k == strong && direct:
	case a.size() == 1 && !(k == soft && direct && s.biasOfOne(at, a)):
		why = "a single number"
	case k == table && len(a.shape) < 2:
		why = "a list that is looked up"
	case sinusoids(a):
		why = "sines and cosines"
	case k != table && k != strong && masks(a):
		why = "a mask"
	case generated.MatchString(name) && uniformValues(a):
		why = "one value, under a name that the exporter made up"
	}
	if why != "" {
		if !s.vary[name] {
			s.fixed[name] = why
		}
		return
	}
	s.vary[name] = true
	delete(s.fixed, name)
	if direct && !slices.Contains(s.uses[name], at) {
		s.uses[name] = append(s.uses[name], at)
	}
}

// biasOfOne says whether a single number is the bias of a layer with one output.
func (s *survey) biasOfOne(at use, a *array) bool {
	if at.n.op != "Add" || len(a.shape) == 0 {
		return false
	}
	for j, in := range at.n.in {
		if p := s.maker[in]; j != at.i && p != nil {
			switch p.op {
			case "MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum":
				return true
			}
		}
	}
	return false
}

func uniformValues(a *array) bool {
	return !slices.ContainsFunc(a.f, func(v float64) bool { return v != a.f[0] })
}

// masks says whether values are those of a mask: numbers that no weight has, or zeros and one other value.
func masks(a *array) bool {
	const beyond = 1e4
	other, zeros := math.NaN(), false
	two := len(a.shape) >= 2 && len(a.f) > 4
	for _, v := range a.f {
		if math.IsNaN(v) || math.Abs(v) > beyond {
			return true
		}
		switch {
		case v == 0:
			zeros = true
		case math.IsNaN(other):
			other = v
		case v != other:
			two = false
		}
	}
	return two && zeros && !math.IsNaN(other)
}

// sinusoids says whether the columns of a table are cosines or sines of multiples of an angle each: cos pω is 1 at
// p = 0 and obeys cos 2ω = 2cos²ω − 1; sin pω is 0 there and obeys sin²2ω = 4 sin²ω(1 − sin²ω).
func sinusoids(a *array) bool {
	r := len(a.shape)
	if r < 2 {
		return false
	}
	cols := a.shape[r-1]
	rows := a.size() / max(cols, 1)
	if rows < 3 || cols < 1 {
		return false
	}
	const tol = 1e-3
	moves := false
	for c := range cols {
		v := [3]float64{a.f[c], a.f[cols+c], a.f[2*cols+c]}
		if math.Abs(v[1]) > 1+tol {
			return false
		}
		switch {
		case math.Abs(v[0]-1) < tol && math.Abs(v[2]-(2*v[1]*v[1]-1)) < tol:
			moves = moves || v[1] < 1-tol
		case math.Abs(v[0]) < tol && math.Abs(v[2]*v[2]-4*v[1]*v[1]*(1-v[1]*v[1])) < tol:
			moves = moves || math.Abs(v[1]) > tol
		default:
			return false
		}
	}
	return moves
}

// alias is an initialiser that stands for another: itself, or its transpose.
type alias struct {
	of         string
	transposed bool
}

// ties finds weights that are equal, or each other's transpose, and have two axes or more.
func (s *survey) ties() (map[string]alias, []string) {
	seed := maphash.MakeSeed()
	hash := func(a *array, transposed bool) string {
		var h maphash.Hash
		h.SetSeed(seed)
		shape := slices.Clone(a.shape)
		if transposed {
			slices.Reverse(shape)
		}
		fmt.Fprint(&h, shape)
		var buf [8]byte
		for i := range a.f {
			j := i
			if transposed {
				j = i%shape[1]*shape[0] + i/shape[1]
			}
			u := math.Float64bits(a.f[j])
			for k := range buf {
				buf[k] = byte(u >> (8 * k))
			}
			h.Write(buf[:])
		}
		return fmt.Sprint(h.Sum64())
	}
	equal := func(a, b *array, transposed bool) bool {
		if !transposed {
			return slices.Equal(a.shape, b.shape) && slices.Equal(a.f, b.f)
		}
		if len(a.shape) != 2 || len(b.shape) != 2 || a.shape[0] != b.shape[1] || a.shape[1] != b.shape[0] {
			return false
		}
		for i, v := range a.f {
			if v != b.f[i%a.shape[1]*a.shape[0]+i/a.shape[1]] {
				return false
			}
		}
		return true
	}
	var names []string
	for _, name := range s.body.order {
		if a := s.body.inits[name]; s.vary[name] && len(a.shape) >= 2 && a.size() > 1 && !uniformValues(a) && !slices.Contains(s.merged, name) {
			names = append(names, name)
		}
	}
	// Those with a name of their own stay, then tables, whose layout no exporter changes.
	slices.SortStableFunc(names, func(x, y string) int { return s.standing(x) - s.standing(y) })
	first := map[string]string{}
	out := map[string]alias{}
	var notes []string
	for _, name := range names {
		a := s.body.inits[name]
		h := hash(a, false)
		if of, ok := first[h]; ok && equal(a, s.body.inits[of], false) {
			out[name] = alias{of, false}
			notes = append(notes, fmt.Sprintf("%s is equal to %s, and is taken for the same parameter", name, of))
			continue
		}
		if len(a.shape) == 2 {
			if of, ok := first[hash(a, true)]; ok && equal(a, s.body.inits[of], true) {
				out[name] = alias{of, true}
				notes = append(notes, fmt.Sprintf("%s is the exact transpose of %s, and is taken for the same parameter", name, of))
				continue
			}
		}
		first[h] = name
	}
	return out, notes
}

// standing is lower for a name that a parameter keeps when it has several.
func (s *survey) standing(name string) int {
	k := 0
	if generated.MatchString(name) {
		k = 2
	}
	if !slices.ContainsFunc(s.uses[name], func(u use) bool { return strings.HasPrefix(u.n.op, "Gather") }) {
		k++
	}
	return k
}

// apart gives every layer its own copy of a vector of one value that the exporter merged. It returns, by
// new name, the initialiser that it was; nodes are changed to read the new names.
func (s *survey) apart() (map[string]string, []string) {
	copies := map[string]string{}
	var notes []string
	for _, name := range s.body.order {
		a, uses := s.body.inits[name], s.uses[name]
		if !s.vary[name] || len(a.shape) != 1 || len(uses) < 2 || !uniformValues(a) || s.sharedLayer(name, uses) {
			if s.vary[name] && len(uses) > 1 {
				notes = append(notes, fmt.Sprintf("%s is used in %d places and is one parameter", name, len(uses)))
			}
			continue
		}
		k := 0
		for _, u := range uses {
			if u.n.in[u.i] != name {
				continue // through another operator: stays
			}
			if k++; k == 1 {
				continue
			}
			to := fmt.Sprintf("%s#%d", name, k)
			copies[to] = name
			u.n.in[u.i] = to
		}
		if k > 1 {
			notes = append(notes, fmt.Sprintf("%s holds %v alone and is used by %d layers: taken for %d parameters that the exporter merged (%s, %s#2, …)", name, a.f[0], k, k, name, name))
		}
	}
	return copies, notes
}

// sharedLayer says whether the nodes that read a vector also read one matrix, as a layer that is used twice does.
func (s *survey) sharedLayer(name string, uses []use) bool {
	seen := map[string]bool{}
	for _, u := range uses {
		nodes := []*node{u.n}
		for _, in := range u.n.in { // the product that a bias is added to
			if p := s.maker[in]; p != nil && u.n.op == "Add" {
				nodes = append(nodes, p)
			}
		}
		for _, n := range nodes {
			for _, in := range n.in {
				src := s.source(in)
				if src == name || !s.vary[src] || len(s.body.inits[src].shape) < 2 {
					continue
				}
				if seen[src] {
					return true
				}
				seen[src] = true
			}
		}
	}
	return false
}

// force makes constants vary that --params names in full.
func (s *survey) force(patterns []string) {
	for _, p := range patterns {
		if a := s.body.inits[p]; a != nil && isFloat(a.dt) && !strings.ContainsAny(p, `*?[\`) {
			s.vary[p] = true
			delete(s.fixed, p)
			delete(s.stats, p)
		}
	}
}
