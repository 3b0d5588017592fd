package dataset

import (
	"fmt"
	"math"
	"math/bits"
)

// ChangedError says that an example is no longer what it was when it was read first.
type ChangedError struct {
	Name string // of the file or files
	Row  int    // in them
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: example %d is not what it was when it was read first: the data changed while they were measured (begin again, with a copy that nothing writes to)", e.Name, e.Row)
}

// mix takes a value into a part of a checksum.
func mix(part, value uint64) uint64 { return bits.RotateLeft64(part^value, 29) * 0x9e3779b97f4a7c15 }

// sumOf is a checksum of 64 bits and never 0, which stands for what was not read yet. It goes in four parts, for a processor to work on at once.
func sumOf(values []float64) uint64 {
	var a, b, c, d uint64
	for ; len(values) >= 4; values = values[4:] {
		a, b = mix(a, math.Float64bits(values[0])), mix(b, math.Float64bits(values[1]))
		c, d = mix(c, math.Float64bits(values[2])), mix(d, math.Float64bits(values[3]))
	}
	for _, v := range values {
		a = mix(a, math.Float64bits(v))
	}
	return mix(mix(mix(a, b), c), d) | 1
}

// sumOfInts is sumOf for integers, which are few.
func sumOfInts(values []int64) uint64 {
	var a uint64
	for _, v := range values {
		a = mix(a, uint64(v))
	}
	return a | 1
}

// sameRows holds examples [lo, hi) of row values against what was read of them before.
func sameRows[V float64 | int64](c *column, sum func([]V) uint64, values []V, row, lo, hi int) error {
	for i := lo; i < hi; i++ {
		if err := c.same(i, sum(values[(i-lo)*row:(i-lo+1)*row])); err != nil {
			return err
		}
	}
	return nil
}

// same remembers the checksum of an example, and fails where another is remembered.
func (c *column) same(example int, sum uint64) error {
	if c.sums[example].CompareAndSwap(0, sum) || c.sums[example].Load() == sum {
		return nil
	}
	return &ChangedError{c.name, c.rowOf(example)}
}

// rowOf is where in the files an example is.
func (c *column) rowOf(example int) int {
	if c.index != nil {
		return c.index[example]
	}
	return example
}

// Place says where messages are to look for an example, which need not have its number in the file.
func (s *Set) Place(target bool, example int) string {
	c := s.X.(*column)
	if target {
		c = s.Y.(*column)
	}
	if row := c.rowOf(example); row != example {
		return fmt.Sprintf("%s: example %d of the sample is %d of the file", c.name, example, row)
	}
	return c.name
}
