package npy

import (
	"encoding/binary"
	"math"
	"slices"

	"hessdens/internal/tensor"
)

// swap reverses the bytes of each value of es bytes.
func swap(b []byte, es int) {
	for i := 0; i+es <= len(b); i += es {
		slices.Reverse(b[i : i+es])
	}
}

func toFloat64(dst []float64, src []byte, d tensor.DType) int {
	le := binary.LittleEndian
	switch d {
	case tensor.Float64:
		for i := range dst {
			dst[i] = math.Float64frombits(le.Uint64(src[8*i:]))
		}
	case tensor.Float32:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(le.Uint32(src[4*i:])))
		}
	case tensor.Float16:
		for i := range dst {
			dst[i] = float64(float16(le.Uint16(src[2*i:])))
		}
	case tensor.BFloat16:
		for i := range dst {
			dst[i] = float64(bfloat16(le.Uint16(src[2*i:])))
		}
	case tensor.Float8E4:
		for i := range dst {
			dst[i] = float64(float8E4(src[i]))
		}
	case tensor.Float8E5:
		for i := range dst {
			dst[i] = float64(float8E5(src[i]))
		}
	case tensor.Uint64: // not by way of int64: these may be beyond it
		for i := range dst {
			dst[i] = float64(le.Uint64(src[8*i:]))
		}
	default:
		for i := range dst {
			dst[i] = float64(integer(src, i, d))
		}
	}
	return -1
}

func toFloat32(dst []float32, src []byte, d tensor.DType) int {
	le := binary.LittleEndian
	switch d {
	case tensor.Float32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	case tensor.Float16:
		for i := range dst {
			dst[i] = float16(le.Uint16(src[2*i:]))
		}
	case tensor.BFloat16:
		for i := range dst {
			dst[i] = bfloat16(le.Uint16(src[2*i:]))
		}
	case tensor.Float8E4:
		for i := range dst {
			dst[i] = float8E4(src[i])
		}
	case tensor.Float8E5:
		for i := range dst {
			dst[i] = float8E5(src[i])
		}
	default:
		panic(badType)
	}
	return -1
}

func toInt64(dst []int64, src []byte, d tensor.DType) int {
	for i := range dst {
		dst[i] = integer(src, i, d)
		if d == tensor.Uint64 && dst[i] < 0 {
			return i
		}
	}
	return -1
}

func toUint8(dst []uint8, src []byte, d tensor.DType) int {
	copy(dst, src)
	if d == tensor.Bool {
		for i, v := range dst {
			if v != 0 {
				dst[i] = 1
			}
		}
	}
	return -1
}

// integer is value i of src; a uint64 keeps its bits.
func integer(src []byte, i int, d tensor.DType) int64 {
	le := binary.LittleEndian
	switch d {
	case tensor.Int64, tensor.Uint64:
		return int64(le.Uint64(src[8*i:]))
	case tensor.Int32:
		return int64(int32(le.Uint32(src[4*i:])))
	case tensor.Uint32:
		return int64(le.Uint32(src[4*i:]))
	case tensor.Int16:
		return int64(int16(le.Uint16(src[2*i:])))
	case tensor.Uint16:
		return int64(le.Uint16(src[2*i:]))
	case tensor.Int8:
		return int64(int8(src[i]))
	case tensor.Uint8:
		return int64(src[i])
	case tensor.Bool:
		if src[i] != 0 {
			return 1
		}
		return 0
	}
	panic(badType)
}

// float16 is the value of an IEEE 754 binary16, exactly; a NaN keeps its payload.
func float16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero or subnormal: frac · 2^-24
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// bfloat16 is the value of a bfloat16, the upper half of a float32.
func bfloat16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// float8E5 is the value of an 8-bit float of 5 exponent bits, the upper half of a binary16.
//
// Source: Micikevicius et al., FP8 Formats for Deep Learning, 2022, arXiv:2209.05433.
func float8E5(b uint8) float32 { return float16(uint16(b) << 8) }

// float8E4 is the value of an 8-bit float of 4 exponent bits, bias 7, without infinities: only
// S.1111.111 is no number, and the largest value is 448. Source as for float8E5.
func float8E4(b uint8) float32 {
	sign := uint32(b&0x80) << 24
	exp, frac := uint32(b>>3)&0xf, uint32(b)&7
	switch {
	case exp == 0: // zero or subnormal: frac · 2^-9
		f := float32(frac) * (1.0 / (1 << 9))
		return math.Float32frombits(sign | math.Float32bits(f))
	case exp == 0xf && frac == 7:
		return math.Float32frombits(sign | 0x7fc00000)
	}
	return math.Float32frombits(sign | (exp+120)<<23 | frac<<20)
}
