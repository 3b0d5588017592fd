package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"hessdens/internal/model/checkpoint/pickle"
	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// maxExpanded is how many values a view may have that repeats the few of its storage (a stride of
// 0): more would be memory that the file does not justify. Masks and tables of positions are smaller.
const maxExpanded = 1 << 20

// storage is a range of the file that tensors are views of.
type storage struct {
	key       string
	elem      int64 // bytes of a value, of a typed storage
	size      int64 // bytes
	data      io.ReaderAt
	offset    int64 // of the first byte in data
	bigEndian bool
	dtype     tensor.DType
	fault     error                              // why it cannot be read
	open      func() (io.ReaderAt, int64, error) // checks, or decodes, the bytes anew; nil: data and offset as they are

	// A view of another storage (files before PyTorch 0.4): where it begins there, in bytes.
	root  *storage
	begin int64
}

// at is the storage that has the bytes, and where those of s begin in it.
func (s *storage) at() (*storage, int64) {
	if s.root != nil {
		return s.root, s.begin
	}
	return s, 0
}

// view is a tensor of a PyTorch file: a shape and strides over a storage.
type view struct {
	storage *storage
	dtype   tensor.DType
	offset  int64 // of the first value, in values
	shape   []int
	stride  []int
	fault   error // why its values are not read, whatever the storage holds
}

// storageTypes are the names of typed storages: what they hold, and bytes of a value.
var storageTypes = map[string]struct {
	dtype tensor.DType
	size  int64
}{
	"DoubleStorage": {tensor.Float64, 8}, "FloatStorage": {tensor.Float32, 4}, "HalfStorage": {tensor.Float16, 2}, "BFloat16Storage": {tensor.BFloat16, 2},
	"LongStorage": {tensor.Int64, 8}, "IntStorage": {tensor.Int32, 4}, "ShortStorage": {tensor.Int16, 2}, "CharStorage": {tensor.Int8, 1},
	"ByteStorage": {tensor.Uint8, 1}, "BoolStorage": {tensor.Bool, 1}, "UntypedStorage": {tensor.Uint8, 1}, "_UntypedStorage": {tensor.Uint8, 1},
	"ComplexFloatStorage": {"complex64", 8}, "ComplexDoubleStorage": {"complex128", 16}, "QInt8Storage": {"qint8", 1}, "QUInt8Storage": {"quint8", 1},
	"QInt32Storage": {"qint32", 4}, "QUInt4x2Storage": {"quint4x2", 1}, "QUInt2x4Storage": {"quint2x4", 1},
}

// torchDTypes are the names of torch's dtypes for the types that are read.
var torchDTypes = map[string]tensor.DType{
	"float64": tensor.Float64, "double": tensor.Float64, "float32": tensor.Float32, "float": tensor.Float32, "float16": tensor.Float16, "half": tensor.Float16,
	"bfloat16": tensor.BFloat16, "float8_e4m3fn": tensor.Float8E4, "float8_e5m2": tensor.Float8E5,
	"int64": tensor.Int64, "long": tensor.Int64, "int32": tensor.Int32, "int": tensor.Int32, "int16": tensor.Int16, "short": tensor.Int16, "int8": tensor.Int8,
	"uint64": tensor.Uint64, "uint32": tensor.Uint32, "uint16": tensor.Uint16, "uint8": tensor.Uint8, "bool": tensor.Bool,
}

// torchDType is the type of that name; one that is not read keeps its name.
func torchDType(v any) (tensor.DType, error) {
	g, ok := v.(pickle.Global)
	if !ok || g.Module != "torch" {
		return "", errors.New("a dtype is due (the file is damaged)")
	}
	if d, ok := torchDTypes[g.Name]; ok {
		return d, nil
	}
	return unread(g.Name), nil
}

// check holds the view against its storage.
func (v *view) check() error {
	if v.fault != nil {
		return nil // told when the values are asked for
	}
	count, err := tensor.CheckedCount(v.shape)
	if err != nil {
		return fmt.Errorf("%w (the file is damaged; save it again)", err)
	}
	es := int64(v.dtype.Size())
	if es == 0 {
		return nil
	}
	if len(v.stride) != len(v.shape) || len(v.shape) > npy.MaxRank {
		return fmt.Errorf("shape %v with strides %v: not one stride for each of at most %d axes (the file is damaged; save it again)", v.shape, v.stride, npy.MaxRank)
	}
	if v.offset < 0 {
		return fmt.Errorf("storage offset %d (the file is damaged; save it again)", v.offset)
	}
	for _, s := range v.stride {
		if s < 0 {
			return fmt.Errorf("strides %v: a negative one (the file is damaged; save it again)", v.stride)
		}
	}
	s := v.storage
	if root, _ := s.at(); root.fault != nil {
		return root.fault
	}
	if count == 0 {
		return nil
	}
	have := s.size / es
	last := v.offset
	for i, n := range v.shape {
		step := int64(n - 1)
		if step > 0 && int64(v.stride[i]) > (math.MaxInt64-last)/step {
			last = math.MaxInt64
			break
		}
		last += step * int64(v.stride[i])
	}
	if last >= have {
		return fmt.Errorf("shape %v with strides %v from offset %d goes beyond storage %.60q, which has %d values (the file is damaged; save it again)", v.shape, v.stride, v.offset, s.key, have)
	}
	if int64(count) > have && count > maxExpanded {
		return fmt.Errorf("shape %v with strides %v repeats the %d values of storage %.60q (save it again after .contiguous())", v.shape, v.stride, have, s.key)
	}
	return nil
}

// tensor reads the values, row-major.
func (v *view) tensor() (*tensor.Tensor, error) {
	if v.fault != nil {
		return nil, v.fault
	}
	if v.dtype.Size() == 0 {
		return nil, fmt.Errorf("values of PyTorch type %.60q are not read (convert the tensor with .float(), or .dequantize(), and save it again)", v.dtype)
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	count := tensor.Count(v.shape)
	root, begin := v.storage.at()
	data, start := root.data, root.offset
	if count > 0 && root.open != nil {
		var err error
		if data, start, err = root.open(); err != nil {
			return nil, err
		}
	}
	es := int64(v.dtype.Size())
	flat := func(offset int64, shape ...int) (*tensor.Tensor, error) {
		a := npy.Array{DType: v.dtype, BigEndian: root.bigEndian && es > 1, Shape: shape, Data: data, Offset: start + begin + offset*es}
		return a.Tensor()
	}
	shape, stride := collapse(v.shape, v.stride)
	if count == 0 || len(shape) == 0 || len(shape) == 1 && stride[0] == 1 {
		return flat(v.offset, v.shape...)
	}
	span := 1
	for i, n := range shape {
		span += (n - 1) * stride[i]
	}
	// A view that uses a good part of its range is gathered out of it; one that is sparse, run by run.
	if span/8 <= count {
		t, err := flat(v.offset, span)
		if err != nil {
			return nil, err
		}
		t.Shape = slices.Clone(v.shape)
		t.F64, t.F32 = gather(t.F64, shape, stride), gather(t.F32, shape, stride)
		t.I64, t.U8 = gather(t.I64, shape, stride), gather(t.U8, shape, stride)
		return t, nil
	}
	run := 1
	if last := len(shape) - 1; stride[last] == 1 {
		run, shape, stride = shape[last], shape[:last], stride[:last]
	}
	out := &tensor.Tensor{DType: v.dtype, Shape: slices.Clone(v.shape)}
	for at := range places(shape, stride) {
		t, err := flat(v.offset+int64(at), run)
		if err != nil {
			return nil, err
		}
		out.F64, out.F32 = append(out.F64, t.F64...), append(out.F32, t.F32...)
		out.I64, out.U8 = append(out.I64, t.I64...), append(out.U8, t.U8...)
	}
	return out, nil
}

// collapse leaves out axes of one value, and joins those that one stride walks through.
func collapse(shape, stride []int) (n, s []int) {
	for i := range shape {
		if shape[i] == 1 {
			continue
		}
		if k := len(n) - 1; k >= 0 && s[k] == stride[i]*shape[i] {
			n[k] *= shape[i]
			s[k] = stride[i]
			continue
		}
		n, s = append(n, shape[i]), append(s, stride[i])
	}
	return n, s
}

// gather is the values of src at the places of a strided view; nil for nil.
func gather[T any](src []T, shape, stride []int) []T {
	if src == nil {
		return nil
	}
	dst := make([]T, 0, tensor.Count(shape))
	for at := range places(shape, stride) {
		dst = append(dst, src[at])
	}
	return dst
}

// places are the indices of a strided view in row-major order. No size is 0.
func places(shape, stride []int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		index := make([]int, len(shape))
		at := 0
		for yield(at) {
			i := len(shape) - 1
			for ; i >= 0; i-- {
				index[i]++
				at += stride[i]
				if index[i] < shape[i] {
					break
				}
				at -= index[i] * stride[i]
				index[i] = 0
			}
			if i < 0 {
				return
			}
		}
	}
}

// contiguous are the strides of a row-major array, or, with the first axis fastest, of a Fortran one.
func contiguous(shape []int, fortran bool) []int {
	stride := make([]int, len(shape))
	n := 1
	for k := range shape {
		i := len(shape) - 1 - k
		if fortran {
			i = k
		}
		stride[i] = n
		if shape[i] > 0 && n <= math.MaxInt/shape[i] { // else checked where the shape is
			n *= shape[i]
		}
	}
	return stride
}
