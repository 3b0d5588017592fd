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

// lanes are a checksum of 64 bits in four parts, for a processor to work on at once.
type lanes [4]uint64

// add takes in the i-th value.
func (l *lanes) add(i int, value uint64) {
	x := &l[i%len(l)]
	*x = bits.RotateLeft64(*x^value, 29) * 0x9e3779b97f4a7c15
}

// sum is never 0, which stands for what was not read yet.
func (l *lanes) sum() uint64 {
	var s uint64
	for _, x := range l {
		s = (s ^ x ^ x>>32) * 0x9e3779b97f4a7c15
	}
	return s | 1
}

// sameFloats holds examples [lo, hi) of row numbers against what was read of them before.
func (c *column) sameFloats(values []float64, row, lo, hi int) error {
	for i := lo; i < hi; i++ {
		var l lanes
		for j, v := range values[(i-lo)*row : (i-lo+1)*row] {
			l.add(j, math.Float64bits(v))
		}
		if err := c.same(i, l.sum()); err != nil {
			return err
		}
	}
	return nil
}

// sameInts is sameFloats for integers.
func (c *column) sameInts(values []int64, row, lo, hi int) error {
	for i := lo; i < hi; i++ {
		var l lanes
		for j, v := range values[(i-lo)*row : (i-lo+1)*row] {
			l.add(j, uint64(v))
		}
		if err := c.same(i, l.sum()); err != nil {
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
