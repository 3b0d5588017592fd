package exec

import (
	"slices"

	"hessdens/internal/graph"
)

// group is a unit of the schedule: a chain of pointwise operations on one shape that are
// computed together, a block at a time, one or more products and their sum, or one other operation.
type group struct {
	members  []*value // in order of id; of products and sums the products first
	products int      // how many members are products, which are added up to the last member
	inputs   []*value // read from memory, distinct
	outputs  []*value // members that others read
	stamp    int
}

// first is at or before what the group begins with.
func (g *group) first() int { return g.members[0].id }
func (g *group) last() int  { return g.members[len(g.members)-1].id }

// maxOperands bounds how many arrays a chain reads: beyond it, its blocks leave the nearest
// cache.
const maxOperands = 24

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
			if x := v.in[0]; x.group.products == 0 && x.stage == v.stage {
				x.group.members = append(x.group.members, v)
				v.group = x.group
			}
			continue
		}
		if !fusible(v) || sumOfProducts(v, readers) {
			continue
		}
		for _, x := range v.in {
			h := x.group
			if x.isView() || h == nil || h == v.group || !fusible(x) || h.products > 0 || x.stage != v.stage || x.linear != v.linear || !slices.Equal(x.shape, v.shape) {
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
	for _, h := range groups {
		for _, m := range h.members {
			for _, x := range m.in {
				if (x.group != h || x.isView()) && !slices.Contains(h.inputs, x) {
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

// outside are the readers of a member for which it has to be in memory: those of other groups, and those that look at it
// through a view.
func outside(m *value, readers [][]*value) []*value {
	var out []*value
	for _, r := range readers[m.id] {
		if r.group != m.group || slices.ContainsFunc(r.in, func(x *value) bool { return x.root == m && x.isView() }) {
			out = append(out, r)
		}
	}
	return out
}

// sink moves multiples of a derivative that a chain would write, for other chains to read, into these: they read the derivative
// itself, of which there is one, instead of its multiples. It returns the readers, of what is moved too.
func sink(h *group, readers [][]*value) [][]*value {
	if h.products > 0 {
		return readers
	}
	sinks := func(m *value) bool {
		if m.output || multipleOf(m) == nil {
			return false
		}
		out := outside(m, readers)
		for _, r := range out {
			if r.group == h || !fusible(r) || r.group.products > 0 || !slices.Contains(r.in, m) || r.stage != m.stage || r.linear != m.linear || !slices.Equal(r.shape, m.shape) {
				return false
			}
			if n, _ := operands(r.group, r.group); n >= maxOperands {
				return false
			}
		}
		return len(out) > 0
	}
	for i := len(h.members) - 1; i >= 0; i-- {
		m := h.members[i]
		if !sinks(m) {
			continue
		}
		// What it is a multiple of is in memory anyway, or will be instead of several multiples.
		x := multipleOf(m)
		if x.group == h && !x.isView() && !x.output {
			others := 0
			for _, r := range readers[x.id] {
				if r != m && r.group == h && multipleOf(r) == x && sinks(r) {
					others++
				}
			}
			if len(outside(x, readers)) == 0 && others == 0 || multipleOf(x) != nil && sinks(x) {
				continue
			}
		}
		for _, r := range outside(m, readers) {
			q := r.group
			if q == h || !slices.Contains(r.in, m) {
				continue // has been given its own already
			}
			c := *m
			own := &c
			own.id, own.root, own.group, own.in = len(readers), own, q, slices.Clone(m.in)
			readers = append(readers, nil)
			for _, y := range q.members {
				for j := range y.in {
					if y.in[j] == m {
						y.in[j] = own
						readers[own.id] = append(readers[own.id], y)
					}
				}
			}
			for _, y := range own.in {
				readers[y.root.id] = append(readers[y.root.id], own)
			}
			at := slices.Index(q.members, readers[own.id][0])
			q.members = slices.Insert(q.members, at, own)
		}
		readers[m.id] = slices.DeleteFunc(readers[m.id], func(r *value) bool { return !slices.Contains(r.in, m) })
		if len(readers[m.id]) == 0 && len(h.members) > 1 {
			h.members = slices.Delete(h.members, i, i+1)
			for _, y := range m.in {
				readers[y.root.id] = slices.DeleteFunc(readers[y.root.id], func(r *value) bool { return r == m })
			}
		}
	}
	return readers
}

// multipleOf is the derivative that a value multiplies by what depends on no direction, or nil.
func multipleOf(m *value) *value {
	switch {
	case m.op == graph.OpScale && m.linear:
		return m.in[0]
	case m.op == graph.OpMul && m.linear && m.in[0].linear != m.in[1].linear:
		if m.in[0].linear {
			return m.in[0]
		}
		return m.in[1]
	}
	return nil
}

// sumOfProducts joins an addition to its operands where these are products, or sums of such, that nothing else reads: each
// product is then added to what is there.
func sumOfProducts(v *value, readers [][]*value) bool {
	if v.op != graph.OpAdd || v.in[0] == v.in[1] {
		return false
	}
	for _, x := range v.in {
		if x.isView() || x.group == nil || x.group.products == 0 || len(readers[x.id]) > 1 || x.output || x.stage != v.stage || x.linear != v.linear || !x.contiguous() {
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

// operands counts what two groups together would read from memory; not ok if one reads a member
// of the other through a view, which has to be in memory first.
func operands(a, b *group) (n int, ok bool) {
	seen := map[*value]bool{}
	for _, h := range []*group{a, b} {
		for _, m := range h.members {
			for _, x := range m.in {
				inside := x.root.group == a || x.root.group == b
				if inside && x.isView() {
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
