package dataset

import "hessdens/internal/tensor"

// numbers is a block of float64 in memory.
type numbers struct {
	row    int // values of a row
	values []float64
}

func (b *numbers) Rows() int          { return len(b.values) / b.row }
func (b *numbers) Type() tensor.DType { return tensor.Float64 }

func (b *numbers) Floats(dst []float64, lo, hi int) error {
	copy(dst, b.values[lo*b.row:hi*b.row])
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
