package exec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Directions of any layout, moved in any number of shares: to and from the places that the strides say, and nowhere else.
func TestRowMajor(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type testCase struct {
		shape, order []int // of the axes in memory, the outermost first
		k            int
	}
	cases := []testCase{
		{nil, nil, 1}, {nil, nil, 3}, {[]int{5}, []int{0}, 2}, {[]int{1, 1}, []int{1, 0}, 1},
		{[]int{2000, 3}, []int{0, 1}, 1}, {[]int{70, 90}, []int{1, 0}, 1}, {[]int{97, 101}, []int{1, 0}, 2},
		{[]int{40, 24, 3, 3}, []int{2, 3, 1, 0}, 1}, {[]int{40, 24, 3, 3}, []int{2, 3, 1, 0}, 3}, {[]int{17, 1, 5, 5}, []int{2, 3, 1, 0}, 2},
		{[]int{30, 20, 16}, []int{1, 2, 0}, 1}, {[]int{30, 20, 16}, []int{1, 0, 2}, 2}, {[]int{6, 50, 11}, []int{0, 2, 1}, 2},
	}
	for range 40 {
		var c testCase
		for range 1 + r.IntN(4) {
			c.shape = append(c.shape, 1+r.IntN(20))
		}
		c.order, c.k = r.Perm(len(c.shape)), 1+r.IntN(3)
		cases = append(cases, c)
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.shape, c.order, c.k), func(t *testing.T) {
			moved := make([]int, len(c.shape))
			for i, a := range c.order {
				moved[i] = c.shape[a]
			}
			lies := defaultLayout(moved, c.k, true)
			v := &value{shape: c.shape, k: c.k, linear: true, layout: layout{off: 3, stride: make([]int, len(c.shape)), dir: lies.dir}}
			for i, a := range c.order {
				v.layout.stride[a] = lies.stride[i]
				if i%2 == 1 && r.IntN(3) == 0 { // backwards
					v.layout.off += lies.stride[i] * (c.shape[a] - 1)
					v.layout.stride[a] *= -1
				}
			}
			m := newRowMajor(v)
			n := count(c.shape)
			place := make([]int, n) // of direction 0
			for i := range place {
				place[i] = v.layout.off
				for a, rest := len(c.shape)-1, i; a >= 0; a-- {
					place[i] += rest % c.shape[a] * v.layout.stride[a]
					rest /= c.shape[a]
				}
			}
			vector := make([]float64, n)
			for i := range vector {
				vector[i] = float64(1 + i)
			}
			memory := make([]float32, v.size()+6)
			want := slices.Clone(memory)
			for j := range c.k {
				for i, at := range place {
					want[at+j*v.layout.dir] = float32(vector[i]) + float32(j)/4
				}
			}
			shares := 1 + r.IntN(5)
			for j := range c.k {
				for i := range vector {
					vector[i] += float64(j) / 4
				}
				for _, share := range r.Perm(shares) {
					giveRows(m, memory, v.layout.off+j*v.layout.dir, vector, share, shares)
				}
				for i := range vector {
					vector[i] = float64(1 + i)
				}
			}
			for i, x := range memory {
				if x != want[i] {
					t.Fatalf("in %d shares: %v at %d, want %v", shares, x, i, want[i])
				}
			}
			v.root, v.buffer = v, &buffer{ref: ref{stageTangent, 0, len(memory)}}
			p, q := &Program[float32]{}, &Program[float32]{}
			p.arena[stageTangent], q.arena[stageTangent] = memory, memory
			total := make([]float64, len(memory)) // as much again
			for i, x := range memory {
				total[i] = 2 * float64(x)
			}
			for j := range c.k {
				got := make([]float64, n)
				for i := range got {
					got[i] = 1e6
				}
				for _, add := range []bool{false, true} {
					sum, of, times := []float64(nil), []*Program[float32]{p}, 1.0
					if add {
						sum, of, times = total, []*Program[float32]{p, q}, 5
					}
					for _, share := range r.Perm(shares) {
						fetchRows(m, got, sum, of, v.layout.off+j*v.layout.dir, add, share, shares)
					}
					for i, x := range got {
						if x != times*float64(want[place[i]+j*v.layout.dir]) {
							t.Fatalf("element %d of direction %d is %v, want %v x %v", i, j, x, times, want[place[i]+j*v.layout.dir])
						}
					}
				}
			}
		})
	}
}
