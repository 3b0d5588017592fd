// Package tensor holds a shape, a data type and values: what readers of checkpoints and
// data sets hand over, and nothing more.
package tensor

import (
	"fmt"
	"math"
)

// DType is the type that a tensor's values had in its file.
type DType string

// The data types that readers know. Values are handed over in the smallest of Go's types
// that holds them all: float16, bfloat16 and float8 as float32, integers as int64, bool and
// uint8 as uint8.
const (
	Float64  DType = "float64"
	Float32  DType = "float32"
	Float16  DType = "float16"
	BFloat16 DType = "bfloat16"
	Float8E4 DType = "float8_e4m3fn"
	Float8E5 DType = "float8_e5m2"
	Int64    DType = "int64"
	Int32    DType = "int32"
	Int16    DType = "int16"
	Int8     DType = "int8"
	Uint64   DType = "uint64"
	Uint32   DType = "uint32"
	Uint16   DType = "uint16"
	Uint8    DType = "uint8"
	Bool     DType = "bool"
)

// Size is the number of bytes of one value in a file, 0 for an unknown type.
func (d DType) Size() int {
	switch d {
	case Float64, Int64, Uint64:
		return 8
	case Float32, Int32, Uint32:
		return 4
	case Float16, BFloat16, Int16, Uint16:
		return 2
	case Float8E4, Float8E5, Int8, Uint8, Bool:
		return 1
	}
	return 0
}

// IsFloat says whether values of the type are floating-point numbers.
func (d DType) IsFloat() bool {
	switch d {
	case Float64, Float32, Float16, BFloat16, Float8E4, Float8E5:
		return true
	}
	return false
}

// Tensor is a dense row-major array. Exactly one of F64, F32, I64 and U8 is in use (the others
// are nil); its length is the product of Shape.
type Tensor struct {
	DType DType // in the file
	Shape []int
	F64   []float64
	F32   []float32
	I64   []int64
	U8    []uint8
}

// Len is the number of values.
func (t *Tensor) Len() int { return Count(t.Shape) }

// At is the value at flat index i as a float64 (integers beyond 2^53 are rounded).
func (t *Tensor) At(i int) float64 {
	switch {
	case t.F64 != nil:
		return t.F64[i]
	case t.F32 != nil:
		return float64(t.F32[i])
	case t.I64 != nil:
		return float64(t.I64[i])
	}
	return float64(t.U8[i])
}

// Float64s are the values as float64: the tensor's own slice where it holds float64, else a copy.
func (t *Tensor) Float64s() []float64 {
	if t.F64 != nil {
		return t.F64
	}
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = t.At(i)
	}
	return out
}

// Count is the product of a shape's sizes, 1 for a scalar. It panics on a negative size or a
// product that does not fit an int: readers check with [CheckedCount] first.
func Count(shape []int) int {
	n, err := CheckedCount(shape)
	if err != nil {
		panic("tensor: " + err.Error())
	}
	return n
}

// CheckedCount is Count for shapes that come from a file: a negative size or a product beyond
// an int is an error.
func CheckedCount(shape []int) (int, error) {
	n, zero := 1, false
	for _, s := range shape {
		switch {
		case s < 0:
			return 0, fmt.Errorf("shape %v has a negative size", shape)
		case s == 0:
			zero = true
		case n > math.MaxInt/s:
			return 0, fmt.Errorf("shape %v holds more values than an int counts", shape)
		default:
			n *= s
		}
	}
	if zero {
		return 0, nil
	}
	return n, nil
}
