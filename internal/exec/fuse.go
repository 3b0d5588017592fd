package exec

import (
	"slices"

	"hessdens/internal/graph"
)

// group is a unit of the schedule: a chain of pointwise operations and sums over channels that are
// computed together, a block at a time, one or more products and their sum, or one other operation.
type group struct {
	members  []*value // in order of id; of products and sums the products first
	products int      // how many members are products, which are added up to the last member
	onto     *value   // what products with zeros around them are added to, where the last two members are these and the sum
	inputs   []*value // read from memory, distinct
	outputs  []*value // members that others read
	stamp    int
}

// isChain says whether the group is pointwise operations and sums that go along with these.
func (g *group) isChain() bool {
	return g.products == 0 && (g.members[0].op.Pointwise() || g.members[0].reduce != reduceNone)
}

// first is at or before what the group begins with.
func (g *group) first() int { return g.members[0].id }
func (g *group) last() int  { return g.members[len(g.members)-1].id }

// whole is a value with all channels of a chain's positions: a member, or what a sum is made of.
func (g *group) whole() (v *value) {
	for _, m := range g.members {
		if m.reduce != reduceNone {
			m = m.in[0]
		}
		if v == nil || lastAxis(m.shape) > lastAxis(v.shape) {
			v = m
		}
	}
	return v
}

// alike says whether two chains go along the same positions, with as many channels, or one of them with a single element a position.
func alike(a, b *group) bool {
	v, w := a.whole(), b.whole()
	if lastAxis(v.shape) < lastAxis(w.shape) {
		b, v, w = a, w, v
	}
	if v.stage != w.stage || v.linear != w.linear || len(v.shape) != len(w.shape) {
		return false
	}
	n, m, last := lastAxis(v.shape), lastAxis(w.shape), max(0, len(v.shape)-1)
	positions := func(m *value) bool { return m.reduce == reducePositions }
	if m != n && (m > 1 || n > maxChannels || slices.ContainsFunc(b.members, positions)) {
		return false
	}
	return slices.Equal(v.shape[:last], w.shape[:last])
}

// repeats says whether x is a member of a chain with one element a position, repeated for the channels of others.
func repeats(x *value) bool {
	r, last := x.root, len(x.shape)-1
	return x.isView() && last >= 0 && inChain(r) && len(r.shape) == len(x.shape) && r.shape[last] == 1 && slices.Equal(r.shape[:last], x.shape[:last]) &&
		x.layout.stride[last] == 0 && slices.Equal(r.layout.stride[:last], x.layout.stride[:last]) && x.layout.off == 0
}

// maxOperands bounds how many arrays a chain reads: beyond it, its blocks leave the nearest
// cache.
const maxOperands = 16

// fuse puts every root into a group. A pointwise operation joins the groups of its operands
// where shape and stage agree and no path leads out of the group and back in.
func fuse(values []*value) []*group {
	readers := make([][]*value, len(values)) // roots that read a root
	for _, v := range values {
		if v.isView() {
			continue
		}
		for _, x := range v.in {
			readers[x.root.id] = append(readers[x.root.id], v)
		}
	}
	stamp := 0
	// returns reports whether a path from the groups leaves them and comes back; every group on such
	// a path begins before the value top.
	returns := func(inside []*group, top int) bool {
		stamp++
		stack := slices.Clone(inside)
		for len(stack) > 0 {
			h := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			start := slices.Contains(inside, h)
			for _, m := range h.members {
				for _, r := range readers[m.id] {
					q := r.group
					if q == nil || q.stamp == stamp || q.first() > top {
						continue
					}
					if slices.Contains(inside, q) {
						if start {
							continue // a step within
						}
						return true
					}
					q.stamp = stamp
					stack = append(stack, q)
				}
			}
		}
		return false
	}
	for _, v := range values {
		if v.isView() || v.leaf != nil {
			continue
		}
		v.group = &group{members: []*value{v}}
		if isProduct(v) {
			v.group.products = 1
			continue
		}
		if v.reduce != reduceNone { // it reads nothing else, so that no path leads back
			x := v.in[0]
			if h := x.group; h.products == 0 && x.stage == v.stage && (v.reduce == reduceChannels || lastAxis(x.shape) == lastAxis(h.whole().shape)) {
				x.group.members = append(x.group.members, v)
				v.group = x.group
			}
			continue
		}
		if !fusible(v) || sumOfProducts(v, readers) || addsOnto(v, readers) {
			continue
		}
		for _, x := range v.in {
			h := x.root.group
			if x.isView() && !repeats(x) || h == nil || h == v.group || !inChain(x.root) || h.products > 0 || !alike(h, v.group) {
				continue
			}
			if n, ok := operands(h, v.group); !ok || n > maxOperands {
				continue
			}
			if returns([]*group{h, v.group}, v.id) {
				continue
			}
			members := slices.Concat(h.members, v.group.members)
			slices.SortFunc(members, func(a, b *value) int { return a.id - b.id })
			merged := &group{members: members}
			for _, m := range members {
				m.group = merged
			}
		}
	}
	var groups []*group
	seen := map[*group]bool{}
	for _, v := range values {
		if v.group == nil || seen[v.group] {
			continue
		}
		seen[v.group] = true
		groups = append(groups, v.group)
	}
	for _, h := range groups {
		readers = sink(h, readers)
	}
	groups = slices.DeleteFunc(groups, func(h *group) bool { return len(h.members) == 0 })
	for _, h := range groups {
		for _, m := range h.members {
			for _, x := range m.in {
				if x.root.group != h && !slices.Contains(h.inputs, x) {
					h.inputs = append(h.inputs, x)
				}
			}
			if m.output || len(outside(m, readers)) > 0 {
				h.outputs = append(h.outputs, m)
			}
		}
	}
	return groups
}

// outside are the readers of a member for which it has to be in memory: those of other groups.
func outside(m *value, readers [][]*value) []*value {
	return slices.DeleteFunc(slices.Clone(readers[m.id]), func(r *value) bool { return r.group == m.group })
}

// What an element costs a chain, in operations on blocks in the nearest cache: estimates, on which no bit depends.
const (
	costRead  = 6
	costWrite = 12 // what is overwritten is read too
)

// sink moves what a chain would write for other chains alone to read into these, where they read less from memory for it than
// would be written and read: multiples of a derivative that is in memory anyway, and what is made of a few numbers a position. It
// returns the readers, of what is moved too.
func sink(h *group, readers [][]*value) [][]*value {
	if h.products > 0 {
		return readers
	}
	s := &sinking{h: h, readers: readers, copies: map[*group]map[*value]*value{}}
	// Several multiples of one derivative make it worth writing.
	multiples := map[*value]int{}
	for _, m := range h.members {
		if s.movable(m) && !s.sinks(m) {
			multiples[s.base(m)]++
		}
	}
	for x, n := range multiples {
		if x != nil && n > 1 {
			s.kept = append(s.kept, x)
		}
	}
	for _, m := range slices.Backward(h.members) {
		if s.sinks(m) {
			s.move(m)
		}
	}
	for i := len(h.members) - 1; i >= 0; i-- {
		if m := h.members[i]; !m.output && len(s.readers[m.id]) == 0 {
			h.members = slices.Delete(h.members, i, i+1)
			for _, x := range m.in {
				s.drop(x.root, m)
			}
		}
	}
	for q := range s.copies {
		q.sort()
	}
	return s.readers
}

// sinking is the state of sink.
type sinking struct {
	h       *group
	readers [][]*value
	kept    []*value // members that are in memory for their multiples
	copies  map[*group]map[*value]*value
}

// base is the member that m is a multiple of, by factors that depend on no direction; or nil.
func (s *sinking) base(m *value) (x *value) {
	for m.op == graph.OpScale || m.op == graph.OpMul && m.in[0].linear != m.in[1].linear {
		y := m.in[0]
		if !y.linear {
			y = m.in[1]
		}
		if y.group != s.h {
			break
		}
		x, m = y, y
	}
	return x
}

// movable says whether only other chains of the same shape read a member from memory.
func (s *sinking) movable(m *value) bool {
	if m.output || !m.linear || !fusible(m) || m.size() < s.h.whole().size() {
		return false
	}
	out := outside(m, s.readers)
	for _, r := range out {
		if !fusible(r) || r.group.products > 0 || !slices.Contains(r.in, m) || !slices.Equal(r.shape, m.shape) || !alike(r.group, s.h) {
			return false
		}
	}
	return len(out) > 0
}

// parts are the members that have to be computed again for m where it is read, m the last, and what they read. What is in
// memory anyway, and what has one element a position, is read.
func (s *sinking) parts(m *value) (again, leaves []*value) {
	var visit func(m *value)
	visit = func(m *value) {
		for _, x := range m.in {
			switch {
			case slices.Contains(again, x) || slices.Contains(leaves, x):
			case x.group != s.h || slices.Contains(s.kept, x) || x.output || len(outside(x, s.readers)) > 0 && !s.sinks(x):
				leaves = append(leaves, x)
			default:
				visit(x)
			}
		}
		again = append(again, m)
	}
	visit(m)
	return again, leaves
}

// sinks says whether it pays to compute m where it is read.
func (s *sinking) sinks(m *value) bool {
	if !s.movable(m) {
		return false
	}
	again, leaves := s.parts(m)
	cost := -costWrite * m.size()
	for _, q := range s.targets(m) {
		n, _ := operands(q, q)
		cost += len(again)*m.size() - costRead*m.size()
		for _, x := range leaves {
			if !slices.ContainsFunc(q.members, func(y *value) bool { return slices.Contains(y.in, x) }) {
				cost += costRead * x.root.size()
				n++
			}
		}
		if n > maxOperands+1 { // m goes
			return false
		}
	}
	return cost < 0
}

// targets are the chains that read m.
func (s *sinking) targets(m *value) (t []*group) {
	for _, r := range outside(m, s.readers) {
		if !slices.Contains(t, r.group) {
			t = append(t, r.group)
		}
	}
	return t
}

// move computes m in the chains that read it.
func (s *sinking) move(m *value) {
	again, _ := s.parts(m)
	for _, q := range s.targets(m) {
		copies := s.copies[q]
		if copies == nil {
			copies = map[*value]*value{}
			s.copies[q] = copies
		}
		for _, x := range again {
			if copies[x] != nil {
				continue
			}
			c := *x
			own := &c
			own.id, own.root, own.group, own.in = len(s.readers), own, q, slices.Clone(x.in)
			s.readers = append(s.readers, nil)
			for j, y := range own.in {
				if copies[y] != nil {
					own.in[j] = copies[y]
				}
				s.readers[own.in[j].root.id] = append(s.readers[own.in[j].root.id], own)
			}
			copies[x] = own
			q.members = append(q.members, own)
		}
		for _, y := range q.members {
			for j := range y.in {
				if y.in[j] == m {
					y.in[j] = copies[m]
					s.drop(m, y)
					s.readers[copies[m].id] = append(s.readers[copies[m].id], y)
				}
			}
		}
	}
}

// drop takes a reader from those of a root.
func (s *sinking) drop(x, r *value) {
	s.readers[x.id] = slices.DeleteFunc(s.readers[x.id], func(y *value) bool { return y == r })
}

// sort puts members after those that they read, as late as that allows.
func (g *group) sort() {
	var order []*value
	var visit func(m *value)
	visit = func(m *value) {
		for _, x := range m.in {
			if x.root.group == g && !slices.Contains(order, x.root) {
				visit(x.root)
			}
		}
		order = append(order, m)
	}
	for _, m := range g.members {
		if !slices.Contains(order, m) {
			visit(m)
		}
	}
	g.members = order
}

// sumOfProducts joins an addition to its operands where these are products, or sums of such, that nothing else reads: each
// product is then added to what is there.
func sumOfProducts(v *value, readers [][]*value) bool {
	if v.op != graph.OpAdd || v.in[0] == v.in[1] {
		return false
	}
	for _, x := range v.in {
		if x.isView() || x.group == nil || x.group.products == 0 || x.group.onto != nil || len(readers[x.id]) > 1 || x.output || x.stage != v.stage || x.linear != v.linear || !x.contiguous() {
			return false
		}
	}
	a, b := v.in[0].group, v.in[1].group
	h := &group{products: a.products + b.products, members: slices.Concat(a.members[:a.products], b.members[:b.products])}
	slices.SortFunc(h.members, func(a, b *value) int { return a.id - b.id })
	h.members = slices.Concat(h.members, a.members[a.products:], b.members[b.products:], []*value{v})
	for _, m := range h.members {
		m.group = h
	}
	return true
}

// isProduct says whether an operation multiplies and adds up, so that it can add to what is there.
func isProduct(v *value) bool {
	return v.op == graph.OpMatMul || v.op == graph.OpConv || v.op == graph.OpConvW
}

// fusible says whether a root is pointwise and lies in the default layout.
func fusible(v *value) bool { return v.op.Pointwise() && v.contiguous() }

// inChain says whether the members of a chain may read a root as one of them.
func inChain(v *value) bool { return fusible(v) || v.reduce == reduceChannels }

// operands counts what two groups together would read from memory; not ok if one reads a member
// of the other through a view for which it has to be in memory first.
func operands(a, b *group) (n int, ok bool) {
	seen := map[*value]bool{}
	for _, h := range []*group{a, b} {
		for _, m := range h.members {
			for _, x := range m.in {
				inside := x.root.group == a || x.root.group == b
				if inside && x.isView() && !repeats(x) {
					return 0, false
				}
				if !inside {
					seen[x] = true
				}
			}
		}
	}
	return len(seen), true
}

// schedule orders groups so that each comes after what it reads; of those that are ready, the
// one that the graph names first.
func schedule(groups []*group) []*group {
	waits := map[*group]int{}
	next := map[*group][]*group{}
	for _, h := range groups {
		seen := map[*group]bool{}
		for _, x := range h.inputs {
			if q := x.root.group; q != nil && q != h && !seen[q] {
				seen[q] = true
				waits[h]++
				next[q] = append(next[q], h)
			}
		}
	}
	var ready []*group
	push := func(h *group) {
		i, _ := slices.BinarySearchFunc(ready, h, func(a, b *group) int { return b.last() - a.last() })
		ready = slices.Insert(ready, i, h)
	}
	for _, h := range groups {
		if waits[h] == 0 {
			push(h)
		}
	}
	var out []*group
	for len(ready) > 0 {
		h := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		out = append(out, h)
		for _, q := range next[h] {
			if waits[q]--; waits[q] == 0 {
				push(q)
			}
		}
	}
	if len(out) != len(groups) {
		panic("exec: fused chains depend on each other in a circle")
	}
	return out
}
