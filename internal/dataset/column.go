package dataset

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// block is the values of some examples, rows of one length and type, as a file holds them. Its
// methods are those of npy.Array, which is one; they may be called by several goroutines at once.
type block interface {
	Rows() int
	Type() tensor.DType
	Floats(dst []float64, lo, hi int) error
	Ints(dst []int64, lo, hi int) error
	Bytes(dst []uint8, lo, hi int) error
}

// series is one side of all examples in the files: blocks of one type that follow each other.
type series struct {
	name  string // for messages
	parts []block
	shape []int // of an example
}

func (s *series) rows() int {
	n := 0
	for _, p := range s.parts {
		n += p.Rows()
	}
	return n
}

func (s *series) dtype() tensor.DType { return s.parts[0].Type() }

// each calls f for each part of rows [lo, hi), with the rows' range in the part and the first one's
// place after lo.
func (s *series) each(lo, hi int, f func(a block, from, to, at int) error) error {
	first := 0 // row of the series where the part begins
	for _, a := range s.parts {
		from, to := max(lo, first), min(hi, first+a.Rows())
		if from < to {
			if err := f(a, from-first, to-first, from-lo); err != nil {
				return err
			}
		}
		first += a.Rows()
	}
	return nil
}

// column is a series as the set shows it: some of its rows, scaled and normalised.
type column struct {
	series
	n       int
	threads int   // that read examples one by one, where that takes time; else 0
	index   []int // rows of the series; nil: the first n
	target  bool
	ignore  *int64 // an integer that may be negative

	kept []int64         // labels, when one an example
	sums []atomic.Uint64 // of each example, as it was read first

	mean, std []float64      // one a channel, or nil
	bytes     [][256]float64 // value of each byte, by channel; nil when inputs are not bytes
	scratch   sync.Pool      // of *[]byte
}

func (c *column) Shape() []int { return slices.Clone(c.shape) }

// Integer says that a column holds labels or tokens: targets of any integer type; inputs of any
// but bytes, which are images, and bool.
func (c *column) Integer() bool {
	d := c.dtype()
	return !d.IsFloat() && (c.target || d != tensor.Uint8 && d != tensor.Bool)
}

// Panics of this package: defects of the caller.
const (
	badRange  = "dataset: examples out of range or a destination of another length"
	badPart   = "dataset: no such part"
	badColumn = "dataset: integers read as numbers or numbers as integers"
)

// runs calls f for each run of rows of the series that examples [lo, hi) are, with the place of its
// first one after lo.
func (c *column) runs(lo, hi int, f func(from, to, at int) error) error {
	if c.index == nil {
		return f(lo, hi, 0)
	}
	for i := lo; i < hi; {
		j := i + 1
		for j < hi && c.index[j] == c.index[j-1]+1 {
			j++
		}
		if err := f(c.index[i], c.index[j-1]+1, i-lo); err != nil {
			return err
		}
		i = j
	}
	return nil
}

func (c *column) check(n, lo, hi int, integer bool) (row int) {
	row = tensor.Count(c.shape)
	if lo < 0 || hi < lo || hi > c.n || n != (hi-lo)*row {
		panic(badRange)
	}
	if integer != c.Integer() {
		panic(badColumn)
	}
	return row
}

func (c *column) Floats(dst []float64, lo, hi int) error {
	row := c.check(len(dst), lo, hi, false)
	if c.threads < 2 || hi-lo < 2 {
		return c.floats(dst, row, lo, hi)
	}
	errs := make([]error, hi-lo) // the first example's is given, whichever thread fails first
	var (
		next atomic.Int64
		wait sync.WaitGroup
	)
	for range min(c.threads, hi-lo) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= hi-lo {
					return
				}
				errs[i] = c.floats(dst[i*row:(i+1)*row], row, lo+i, lo+i+1)
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// floats is Floats for examples of row values, in one thread.
func (c *column) floats(dst []float64, row, lo, hi int) error {
	err := c.runs(lo, hi, func(from, to, at int) error {
		return c.each(from, to, func(a block, from, to, after int) error {
			i := (at + after) * row
			part := dst[i : i+(to-from)*row]
			if c.bytes != nil {
				return c.images(a, part, from, to)
			}
			return a.Floats(part, from, to)
		})
	})
	if err != nil {
		return c.named(err)
	}
	if err := sameRows(c, sumOf, dst, row, lo, hi); err != nil || c.mean == nil || c.bytes != nil {
		return err
	}
	plane := row / len(c.mean)
	for i := range dst {
		ch := i % row / plane
		dst[i] = (dst[i] - c.mean[ch]) / c.std[ch]
	}
	return nil
}

// named is an error with the column's name, unless it names the file itself.
func (c *column) named(err error) error {
	var file *fileError
	if errors.As(err, &file) {
		return err
	}
	if _, sized := c.parts[0].(*npy.Array); sized && errors.Is(err, io.ErrUnexpectedEOF) { // it was long enough when it was opened
		return fmt.Errorf("%s: %w: the file became shorter while it was measured (begin again, with a copy that nothing writes to)", c.name, err)
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

// images reads rows of bytes through the table of their values.
func (c *column) images(a block, dst []float64, lo, hi int) error {
	if lo == hi {
		return nil
	}
	row := len(dst) / (hi - lo)
	plane := row / len(c.bytes)
	step := max(1, (1<<16)/row) // rows at once, so that the bytes stay in the cache
	buf, _ := c.scratch.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, min(step, hi-lo)*row)
		buf = &b
	}
	defer c.scratch.Put(buf)
	for lo < hi {
		to := min(hi, lo+step)
		n := (to - lo) * row
		*buf = slices.Grow((*buf)[:0], n)[:n]
		if err := a.Bytes(*buf, lo, to); err != nil {
			return err
		}
		for i := 0; i < n; i += plane {
			table := &c.bytes[i/plane%len(c.bytes)]
			for j, b := range (*buf)[i : i+plane] {
				dst[i+j] = table[b]
			}
		}
		dst = dst[n:]
		lo = to
	}
	return nil
}

func (c *column) Ints(dst []int64, lo, hi int) error {
	row := c.check(len(dst), lo, hi, true)
	if c.kept != nil {
		copy(dst, c.kept[lo:hi])
		return nil
	}
	err := c.runs(lo, hi, func(from, to, at int) error {
		return c.each(from, to, func(a block, from, to, after int) error {
			i := (at + after) * row
			return a.Ints(dst[i:i+(to-from)*row], from, to)
		})
	})
	if err != nil {
		return c.named(err)
	}
	for i, v := range dst {
		// The largest is held to 32 bits: more classes or tokens than that are a mistake,
		// and a size that others ask memory for.
		if (v < 0 || v > math.MaxInt32) && (c.ignore == nil || v != *c.ignore) {
			what := "token"
			if c.target {
				what = "label"
			}
			return fmt.Errorf("%s: %s %d of example %d is not in 0..%d (number classes and tokens from 0; targets that are quantities have to be of a floating-point type)", c.name, what, v, c.rowOf(lo+i/row), math.MaxInt32)
		}
	}
	return sameRows(c, sumOfInts, dst, row, lo, hi)
}

// largest looks at all integers in use and gives the largest plus 1, 0 for a column of numbers.
// Labels stay in memory.
func (c *column) largest() (int, error) {
	if !c.Integer() {
		return 0, nil
	}
	row := tensor.Count(c.shape)
	if row == 1 {
		kept := make([]int64, c.n)
		if err := c.Ints(kept, 0, c.n); err != nil {
			return 0, err
		}
		c.kept = kept
		return max(int(slices.Max(kept)), -1) + 1, nil // -1: all are ignored
	}
	most := int64(0)
	err := chunks(c.n, row, 1, func(lo, hi int) error {
		buf := make([]int64, (hi-lo)*row)
		err := c.Ints(buf, lo, hi)
		most = max(most, slices.Max(buf))
		return err
	})
	return int(most) + 1, err
}

// chunks calls f for ranges that together are [0, n), each of about 2^16 values of which an example
// has row; or of the examples that threads read at once, up to 2^24 values.
func chunks(n, row, threads int, f func(lo, hi int) error) error {
	step := max(1, (1<<16)/row, min(4*threads, (1<<24)/row))
	for lo := 0; lo < n; lo += step {
		if err := f(lo, min(n, lo+step)); err != nil {
			return err
		}
	}
	return nil
}

// normalise prepares the scaling of bytes and (x − mean)/std, one value for all or one for each
// channel, the first axis of an example.
func (c *column) normalise(mean, std []float64) error {
	channels := 1
	if len(c.shape) > 0 {
		channels = c.shape[0]
	}
	for _, o := range []struct {
		flag   string
		values []float64
	}{{"--mean", mean}, {"--std", std}} {
		if len(o.values) == 0 {
			continue
		}
		if c.Integer() {
			return badOption(o.flag, "the inputs of %s are integers (tokens), which are not normalised (leave --mean and --std out)", c.name)
		}
		if n := len(o.values); n != 1 && n != channels {
			return badOption(o.flag, "%d values for inputs of shape %v (give --mean and --std one value, or one for each of %d channels)", n, c.shape, channels)
		}
	}
	if len(mean)+len(std) > 0 {
		// One entry a channel, or a single one when that is all there is to say.
		n := max(len(mean), len(std))
		c.mean, c.std = spread(mean, n, 0), spread(std, n, 1)
	}
	if c.dtype() != tensor.Uint8 {
		return nil
	}
	c.bytes = make([][256]float64, max(1, len(c.mean)))
	for ch := range c.bytes {
		for b := range 256 {
			v := float64(b) / 255
			if c.mean != nil {
				v = (v - c.mean[ch]) / c.std[ch]
			}
			c.bytes[ch][b] = v
		}
	}
	return nil
}

// spread is a list of n values out of none, one or n.
func spread(values []float64, n int, none float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		switch len(values) {
		case 0:
			out[i] = none
		case 1:
			out[i] = values[0]
		default:
			out[i] = values[i]
		}
	}
	return out
}
