package dataset

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// sample draws k of the numbers 0, …, n−1 without replacement, all subsets alike, and gives them in
// ascending order. What it draws depends on its arguments alone and is the same in every version:
// the first k steps of a Fisher–Yates shuffle of 0, …, n−1 from the front, step i exchanging
// place i with place i + below(n−i).
func sample(n, k int, seed uint64) []int {
	out := shuffle(n, k, seed)
	slices.Sort(out)
	return out
}

// shuffle is what sample draws, in the order in which it is drawn.
func shuffle(n, k int, seed uint64) []int {
	g := splitMix64(seed)
	moved := map[int]int{} // the shuffled array, where it differs from 0, 1, 2, …
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	out := make([]int, k)
	for i := range out {
		j := i + int(g.below(uint64(n-i)))
		out[i] = at(j)
		moved[j] = at(i)
		delete(moved, i)
	}
	return out
}

// Shuffled returns both sides of the set with its examples in an order drawn at random from a seed. They are good until
// the set is closed.
func (s *Set) Shuffled(seed uint64) (x, y Column) {
	order := shuffle(s.N, s.N, seed)
	return s.X.(*column).ordered(order), s.Y.(*column).ordered(order)
}

// ordered returns the column's examples in another order.
func (c *column) ordered(order []int) *column {
	out := &column{series: c.series, n: c.n, sums: make([]atomic.Uint64, len(order)), threads: c.threads, index: make([]int, len(order)), target: c.target, ignore: c.ignore,
		mean: c.mean, std: c.std, bytes: c.bytes}
	for i, at := range order {
		out.index[i] = at
		out.sums[i].Store(c.sums[at].Load()) // what was read of it
		if c.index != nil {
			out.index[i] = c.index[at]
		}
		if c.kept != nil {
			out.kept = append(out.kept, c.kept[at])
		}
	}
	return out
}

// splitMix64 is the generator of Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, OOPSLA 2014; its state begins with the seed.
type splitMix64 uint64

func (g *splitMix64) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	z := uint64(*g)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is uniform on 0, …, n−1: the upper word of next()·n, drawn again in the rare case that
// would make some values likelier (Lemire, Fast Random Integer Generation in an Interval, 2019).
func (g *splitMix64) below(n uint64) uint64 {
	hi, lo := bits.Mul64(g.next(), n)
	if lo < n {
		for reject := -n % n; lo < reject; {
			hi, lo = bits.Mul64(g.next(), n)
		}
	}
	return hi
}
