package graph

import (
	"slices"
	"testing"
)

// What lies beside each other between zeros is joined, in any order, and nothing else.
func TestBeside(t *testing.T) {
	g := New()
	part := func(from, to, of int) *Node { // of axis 1
		return g.Pad(g.Param("x", 2, to-from), []int{1, from}, []int{0, of - to}, nil)
	}
	for _, c := range []struct {
		what  string
		sum   *Node
		op    Op
		sizes []int // of what is joined
	}{
		{"two", g.Add(part(0, 2, 7), part(2, 7, 7)), OpPad, []int{2, 5}},
		{"three from the last", g.Add(g.Add(part(5, 7, 7), part(2, 5, 7)), part(0, 2, 7)), OpPad, []int{2, 3, 2}},
		{"some of the whole", g.Add(part(1, 2, 7), part(2, 4, 7)), OpPad, []int{1, 2}},
		{"with a gap", g.Add(part(0, 2, 7), part(3, 7, 7)), OpAdd, nil},
		{"one over the other", g.Add(part(0, 3, 7), part(2, 7, 7)), OpAdd, nil},
		{"the same place", g.Add(part(0, 3, 7), part(0, 3, 7)), OpAdd, nil},
		{"two axes", g.Add(part(0, 2, 7), g.Pad(g.Param("y", 2, 5), []int{0, 2}, []int{1, 0}, nil)), OpAdd, nil},
		{"zeros between", g.Add(g.Pad(g.Param("a", 2), []int{0}, []int{3}, []int{1}), g.Pad(g.Param("b", 3), []int{3}, []int{0}, nil)), OpAdd, nil},
	} {
		if c.sum.op != c.op {
			t.Errorf("%s: %v, want %v", c.what, c.sum.op, c.op)
			continue
		}
		if c.op != OpPad {
			continue
		}
		joined := c.sum.in[0]
		var sizes []int
		for _, x := range joined.in {
			sizes = append(sizes, x.shape[1])
		}
		if joined.op != OpConcat || !slices.Equal(sizes, c.sizes) || !slices.Equal(c.sum.shape, []int{3, 7}) {
			t.Errorf("%s: %v of %v in %v, want pieces of %v", c.what, joined.op, sizes, c.sum.shape, c.sizes)
		}
	}
	whole := g.Add(g.Pad(g.Param("a", 2), []int{0}, []int{3}, nil), g.Pad(g.Param("b", 3), []int{2}, []int{0}, nil))
	if whole.op != OpConcat || whole.shape[0] != 5 {
		t.Errorf("all of a tensor: %v %v", whole.op, whole.shape)
	}
}
