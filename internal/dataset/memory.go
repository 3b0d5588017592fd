package dataset

import "hessdens/internal/tensor"

// numbers is a block of float64 in memory.
type numbers struct {
	row    int // values of a row
	values []float64
	half   []float32 // in the place of values, where they are the same: a table of digits takes no more memory than text
}

func (b *numbers) Rows() int          { return (len(b.values) + len(b.half)) / b.row }
func (b *numbers) Type() tensor.DType { return tensor.Float64 }

// seal ends a block.
func (b *numbers) seal() *numbers {
	for _, v := range b.values {
		if v != float64(float32(v)) { // also one that is no number
			return b
		}
	}
	b.half = make([]float32, len(b.values))
	for i, v := range b.values {
		b.half[i] = float32(v)
	}
	b.values = nil
	return b
}

func (b *numbers) Floats(dst []float64, lo, hi int) error {
	if b.half == nil {
		copy(dst, b.values[lo*b.row:hi*b.row])
		return nil
	}
	for i, v := range b.half[lo*b.row : hi*b.row] {
		dst[i] = float64(v)
	}
	return nil
}

func (b *numbers) Ints([]int64, int, int) error  { panic(badColumn) }
func (b *numbers) Bytes([]uint8, int, int) error { panic(badColumn) }

// ids is a block of labels or tokens in memory. It holds 32 bits a value, more than any network has
// classes or tokens.
type ids struct {
	row    int
	values []int32
}

func (b *ids) Rows() int          { return len(b.values) / b.row }
func (b *ids) Type() tensor.DType { return tensor.Int32 }

func (b *ids) Ints(dst []int64, lo, hi int) error {
	for i, v := range b.values[lo*b.row : hi*b.row] {
		dst[i] = int64(v)
	}
	return nil
}

func (b *ids) Floats([]float64, int, int) error { panic(badColumn) }
func (b *ids) Bytes([]uint8, int, int) error    { panic(badColumn) }
