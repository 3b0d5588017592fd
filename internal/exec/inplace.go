package exec

import (
	"slices"

	"hessdens/internal/graph"
)

// addsOnto joins an addition to the group of one of its operands where that is products with zeros around them, which nothing else reads, and
// the other is made of products too: the products are then added to what is there, and the zeros never made. So are the cotangents of keys and
// values, of which each piece of queries sees some.
func addsOnto(v *value, readers [][]*value) bool {
	if v.op != graph.OpAdd || v.stage != stageTangent {
		return false
	}
	alone := func(x *value) bool {
		return !x.isView() && !x.output && len(readers[x.id]) == 1 && x.stage == v.stage && x.linear == v.linear && x.contiguous()
	}
	for i, onto := range v.in {
		pad := v.in[1-i]
		if !alone(onto) || !alone(pad) || pad.op != graph.OpPad || pad.group.products > 0 || !alone(pad.in[0]) {
			continue
		}
		h := pad.in[0].group
		if !onlyMatMuls(onto.group) || !onlyMatMuls(h) || byPanels(onto.group) || byPanels(h) || h.onto != nil || slices.Max(pad.attr.(graph.PadAttr).Between) > 0 {
			continue
		}
		h.members = append(h.members, pad, v)
		h.onto = onto
		pad.group, v.group = h, h
		return true
	}
	return false
}

// settle makes what only a concatenation reads, or only products that are added to it, be made where these would put it. Groups come in the
// order of the schedule: what a reader decides holds for what it reads.
func settle(groups []*group) {
	readers := map[*value]int{}
	for _, h := range groups {
		for _, x := range h.inputs {
			readers[x.root]++
		}
	}
	for _, h := range slices.Backward(groups) {
		v := h.members[len(h.members)-1]
		switch {
		case h.onto != nil:
			l := v.layout
			for a, low := range h.members[len(h.members)-2].attr.(graph.PadAttr).Low {
				l.off += low * l.stride[a]
			}
			h.lay(l)
			if !h.onto.settle(v, v.layout) {
				panic("exec: a sum of products lies nowhere")
			}
		case v.op == graph.OpConcat && v.stage == stageTangent && !v.output:
			axis, l := int(v.attr.(graph.Axis)), v.layout
			times := map[*value]int{}
			for _, x := range v.in {
				times[x.root]++
			}
			for _, x := range v.in {
				r := x.root
				if readers[r] == 1 && times[r] == 1 && r.stage == v.stage && r.linear == v.linear && !r.output && (r.op == graph.OpConcat || onlyMatMuls(r.group)) {
					x.settle(v, l)
				}
				l.off += x.shape[axis] * l.stride[axis]
			}
		}
	}
}

// lay says where the products of a group go.
func (g *group) lay(l layout) {
	for _, x := range g.members[:g.products] {
		x.layout = l
	}
}

// byPanels says whether a product of a group computes all directions as the columns of one, from panels.
func byPanels(h *group) bool {
	return slices.ContainsFunc(h.members[:h.products], func(x *value) bool { return x.in[1].linear && keptPanels(x.stage, x.in[1]) })
}

// settle makes the root of x lie in the buffer of another so that x lies there as l says. It does nothing, and is false, where x is not the whole
// root with its axes in some order, or where products would have to write columns, or those of one direction after those of another, that lie apart.
func (v *value) settle(in *value, l layout) bool {
	r := v.root
	if v.size() != r.size() || len(v.shape) != len(r.shape) {
		return false
	}
	to := layout{l.off, make([]int, len(r.shape)), l.dir}
	taken := make([]bool, len(r.shape))
	for a, n := range r.shape {
		b := 0
		for b < len(taken) && (taken[b] || v.shape[b] != n || v.layout.stride[b] != r.layout.stride[a]) {
			b++
		}
		if b == len(taken) {
			return false
		}
		taken[b], to.stride[a] = true, l.stride[b]
	}
	products := r.group.products > 0
	if n := lastAxis(r.shape); products && (lastAxis(to.stride) != 1 && n > 1 || to.dir != n && byPanels(r.group)) {
		return false
	}
	r.home, r.layout, r.spread = in.host(), to, 0
	if products && r.group.onto == nil {
		r.group.lay(to)
	}
	return true
}

// host is the value in whose buffer a root lies: itself, as a rule.
func (v *value) host() *value {
	for v.home != nil {
		v = v.home
	}
	return v
}

// holds says whether an operand of a concatenation lies in its place already.
func (v *value) holds(x *value) bool { return x.root.home != nil && x.root.host() == v.host() }
