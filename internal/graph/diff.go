package graph

import "slices"

// JVP extends the graph by directional derivatives: out[i] = (∂outs[i]/∂θ)·θ̇, where seeds maps
// nodes θ to their directions θ̇ (nodes of the same shape). A derivative that is zero whatever
// the values is nil. The result is linear in the seeds' directions.
func JVP(outs []*Node, seeds map[*Node]*Node) []*Node {
	need := Ancestors(outs...)
	dot := map[*Node]*Node{}
	for id, ok := range need {
		if !ok {
			continue
		}
		n := outs[0].g.nodes[id]
		if t, ok := seeds[n]; ok {
			dot[n] = t
			continue
		}
		active := false
		in := make([]*Node, len(n.in))
		for i, x := range n.in {
			if in[i] = dot[x]; in[i] != nil {
				active = true
			}
		}
		if rule := ops[n.op].jvp; active && rule != nil {
			if t := rule(n.g, n, in); t != nil {
				dot[n] = t
			}
		}
	}
	res := make([]*Node, len(outs))
	for i, o := range outs {
		res[i] = dot[o]
	}
	return res
}

// VJP extends the graph by gradients: grad[j] = Σᵢ (∂outs[i]/∂wrt[j])ᵀ cotangents[i]. A gradient
// that is zero whatever the values is nil.
func VJP(outs, cotangents, wrt []*Node) []*Node {
	need := Ancestors(outs...)
	active := make([]bool, len(need)) // depends on wrt
	for _, w := range wrt {
		if w.id < len(active) {
			active[w.id] = true
		}
	}
	g := outs[0].g
	for id := range need {
		if need[id] && !active[id] && ops[g.nodes[id].op].vjp != nil {
			for _, x := range g.nodes[id].in {
				active[id] = active[id] || active[x.id]
			}
		}
	}
	bar := map[*Node]*Node{}
	accumulate := func(n, ct *Node) {
		if old := bar[n]; old != nil {
			ct = g.Add(old, ct)
		}
		bar[n] = ct
	}
	for i, o := range outs {
		if cotangents[i] != nil && active[o.id] {
			accumulate(o, cotangents[i])
		}
	}
	for id := len(need) - 1; id >= 0; id-- {
		n := g.nodes[id]
		ct := bar[n]
		if ct == nil || !active[id] || ops[n.op].vjp == nil {
			continue
		}
		wanted := make([]bool, len(n.in))
		for i, x := range n.in {
			wanted[i] = active[x.id]
		}
		for i, c := range ops[n.op].vjp(g, n, ct, wanted) {
			if c != nil && wanted[i] {
				accumulate(n.in[i], c)
			}
		}
	}
	res := make([]*Node, len(wrt))
	for j, w := range wrt {
		res[j] = bar[w]
	}
	return res
}

// Kinks are the nodes under outs whose values say on which branch of a piecewise smooth
// function a point lies: signs, comparisons, positions of maxima. What only a detached value
// depends on is left out.
func Kinks(outs ...*Node) []*Node {
	var kinks []*Node
	seen := map[*Node]bool{}
	stack := slices.Clone(outs)
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n == nil || seen[n] {
			continue
		}
		seen[n] = true
		if n.op.Kink() {
			kinks = append(kinks, n)
		}
		if n.op != OpDetach {
			stack = append(stack, n.in...)
		}
	}
	slices.SortFunc(kinks, func(a, b *Node) int { return a.id - b.id })
	return kinks
}
