package graph

import "slices"

// JVP extends the graph by directional derivatives: out[i] = (∂outs[i]/∂θ)·θ̇, where seeds maps
// nodes θ to their directions θ̇ (nodes of the same shape). A derivative that is zero whatever
// the values is nil. The result is linear in the seeds' directions.
//
// Through pointwise operations a derivative is carried as a sum Σ c·t of factors c that depend on no direction and derivatives t of what is not
// pointwise, and becomes a node only where it is needed as one: the factors are worked out once for all directions.
func JVP(outs []*Node, seeds map[*Node]*Node) []*Node {
	need := Ancestors(outs...)
	if len(outs) > 0 {
		defer outs[0].g.making(Making{})()
	}
	whole := make([]bool, len(need)) // derivatives that are needed as nodes
	readers := make([]int, len(need))
	for _, o := range outs {
		whole[o.id] = true
	}
	for id, ok := range need {
		if ok {
			n := outs[0].g.nodes[id]
			for _, x := range n.in {
				whole[x.id] = whole[x.id] || !n.op.Pointwise()
				readers[x.id]++
			}
		}
	}
	dot := map[*Node]combination{}
	for id, ok := range need {
		if !ok {
			continue
		}
		n := outs[0].g.nodes[id]
		if t, ok := seeds[n]; ok {
			dot[n] = combination{{nil, t}}
			continue
		}
		if !slices.ContainsFunc(n.in, func(x *Node) bool { return dot[x] != nil }) {
			continue
		}
		n.g.made = Making{Of: n, Along: true}
		rule := ops[n.op]
		if rule.through != nil {
			d := n.g.through(n, dot)
			if len(d) > maxTerms { // a sum of sums
				for _, x := range n.in {
					dot[x] = n.g.node(dot[x])
				}
				d = n.g.through(n, dot)
			}
			if whole[id] || readers[id] > 1 && len(d) == maxTerms {
				d = n.g.node(d)
			}
			if d != nil {
				dot[n] = d
			}
			continue
		}
		if rule.jvp == nil {
			continue
		}
		in := make([]*Node, len(n.in))
		for i, x := range n.in {
			if d := dot[x]; d != nil {
				in[i] = d[0].t
			}
		}
		if t := rule.jvp(n.g, n, in); t != nil {
			dot[n] = combination{{nil, t}}
		}
	}
	res := make([]*Node, len(outs))
	for i, o := range outs {
		if d := dot[o]; d != nil {
			res[i] = d[0].t
		}
	}
	return res
}

// maxTerms is how many arrays a derivative may be made of before it becomes one.
const maxTerms = 4

// combination is a derivative Σ c·t; a factor that is nil stands for 1.
type combination []struct{ c, t *Node }

// through is the derivative of a pointwise operation from those of its operands.
func (g *Graph) through(n *Node, dot map[*Node]combination) combination {
	var sum combination
	for i, x := range n.in {
		for _, term := range dot[x] {
			c, ok := ops[n.op].through(g, n, i, term.c)
			if !ok {
				continue
			}
			at := slices.IndexFunc(sum, func(s struct{ c, t *Node }) bool { return s.t == term.t })
			if at < 0 {
				sum = append(sum, struct{ c, t *Node }{c, term.t})
				continue
			}
			sum[at].c = g.Add(g.orOne(sum[at].c), g.orOne(c))
		}
	}
	return sum
}

func (g *Graph) orOne(c *Node) *Node {
	if c == nil {
		return g.Scalar(1)
	}
	return c
}

// node makes one node of a derivative: terms of one factor are added up before they are multiplied.
func (g *Graph) node(d combination) combination {
	var sum *Node
	done := make([]bool, len(d))
	for i, term := range d {
		if done[i] {
			continue
		}
		t := term.t
		for j := i + 1; j < len(d); j++ {
			if d[j].c == term.c {
				t, done[j] = g.Add(t, d[j].t), true
			}
		}
		if term.c != nil {
			t = g.Mul(term.c, t)
		}
		sum = g.plus(sum, t)
	}
	if sum == nil {
		return nil
	}
	return combination{{nil, sum}}
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
	defer g.making(Making{})()
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
		g.made = Making{Of: n}
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
