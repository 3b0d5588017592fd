package exec

import (
	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

const (
	// cacheWay is how far apart arrays lie that displace each other in the first cache.
	cacheWay = 4096
	// spreadBy is by how many bytes rows lie further apart: a line of a cache.
	spreadBy = 64
)

// spreadRows moves apart the rows of tangents that would displace each other in the first cache, a row being the channels of a position for
// all directions: kernels write a dozen of them at a time. It does so where only matrix products and chains read them and
// one of these makes them, and where they are an output.
func spreadRows[T kernel.Float](groups []*group, outs []*value) {
	fixed := map[*value]bool{} // read by something else, or through a view
	for _, v := range outs {
		fixed[v.root] = v.isView() || !v.linear
	}
	for _, h := range groups {
		chain, product := h.isChain(), onlyMatMuls(h)
		for _, m := range h.members {
			for _, x := range m.in {
				if x.isView() || !product && !chain || chain && !wholeRows[T](x, h) {
					fixed[x.root] = true
				}
			}
		}
		for _, m := range h.outputs {
			if !(product || chain && wholeRows[T](m, h)) {
				fixed[m] = true
			}
		}
	}
	for _, h := range groups {
		for _, m := range h.outputs {
			if fixed[m] || m.stage != stageTangent || !m.linear || len(m.shape) != 2 || !m.contiguous() || m.layout.stride[0]*sizeof[T]()%cacheWay != 0 {
				continue
			}
			m.spread = spreadBy / sizeof[T]()
			m.layout.stride[0] += m.spread
			for _, x := range h.members[:h.products] {
				x.layout.stride[0] = m.layout.stride[0]
			}
		}
	}
}

// onlyMatMuls says whether a group is of matrix products whose sums are whole.
func onlyMatMuls(h *group) bool {
	for _, m := range h.members[:h.products] {
		if m.op != graph.OpMatMul {
			return false
		}
		r := len(m.shape)
		terms := m.in[0].shape[r-1]
		if m.attr.(graph.MatMulAttr).TransA {
			terms = m.in[0].shape[r-2]
		}
		if piecesOf(m.shape[r-2], m.shape[r-1], terms, false) > 1 {
			return false
		}
	}
	return h.products > 0
}

// wholeRows says whether a chain's blocks cut the rows of x evenly.
func wholeRows[T kernel.Float](x *value, h *group) bool {
	v := h.whole()
	if len(x.shape) != 2 || !x.linear || x.size() != v.size() || !v.contiguous() {
		return false
	}
	return x.shape[1]*x.k%blockFor(v.axes()) == 0
}
