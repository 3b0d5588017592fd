package dataset

import (
	"math/bits"
	"slices"
)

// sample draws k of the numbers 0, …, n−1 without replacement, all subsets alike, and gives them in
// ascending order. What it draws depends on its arguments alone and is the same in every version:
// the first k steps of a Fisher–Yates shuffle of 0, …, n−1 from the front, step i exchanging
// place i with place i + below(n−i).
func sample(n, k int, seed uint64) []int {
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
	slices.Sort(out)
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
