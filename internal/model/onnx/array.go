package onnx

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"

	"hessdens/internal/model/onnx/onnxpb"
	"hessdens/internal/tensor"
)

// dtype is the type of a tensor's elements, as TensorProto numbers them.
type dtype = onnxpb.TensorProto_DataType

const (
	dtFloat  = onnxpb.TensorProto_FLOAT
	dtDouble = onnxpb.TensorProto_DOUBLE
	dtInt64  = onnxpb.TensorProto_INT64
	dtInt32  = onnxpb.TensorProto_INT32
	dtBool   = onnxpb.TensorProto_BOOL
)

// isFloat says whether elements are real numbers; the rest that are read are integers and bools.
func isFloat(d dtype) bool {
	switch d {
	case dtFloat, dtDouble, onnxpb.TensorProto_FLOAT16, onnxpb.TensorProto_BFLOAT16, onnxpb.TensorProto_FLOAT8E4M3FN, onnxpb.TensorProto_FLOAT8E5M2:
		return true
	}
	return false
}

// width is the number of bits of an element in raw data, 0 for a type that is not read.
func width(d dtype) int {
	switch d {
	case dtDouble, dtInt64, onnxpb.TensorProto_UINT64:
		return 64
	case dtFloat, dtInt32, onnxpb.TensorProto_UINT32:
		return 32
	case onnxpb.TensorProto_FLOAT16, onnxpb.TensorProto_BFLOAT16, onnxpb.TensorProto_INT16, onnxpb.TensorProto_UINT16:
		return 16
	case dtBool, onnxpb.TensorProto_INT8, onnxpb.TensorProto_UINT8, onnxpb.TensorProto_FLOAT8E4M3FN, onnxpb.TensorProto_FLOAT8E5M2:
		return 8
	}
	return 0
}

// array is a tensor whose values are known: real numbers in f, integers and bools in i.
type array struct {
	dt    dtype
	shape []int
	f     []float64
	i     []int64
}

func (a *array) size() int {
	if a.f != nil {
		return len(a.f)
	}
	return len(a.i)
}

// at is element i as a real number.
func (a *array) at(i int) float64 {
	if a.f != nil {
		return a.f[i]
	}
	return float64(a.i[i])
}

// newArray makes an array of zeros.
func newArray(dt dtype, shape ...int) *array {
	a := &array{dt: dt, shape: slices.Clone(shape)}
	n := tensor.Count(shape)
	if isFloat(dt) {
		a.f = make([]float64, n)
	} else {
		a.i = make([]int64, n)
	}
	return a
}

func ints(v ...int64) *array { return &array{dt: dtInt64, shape: []int{len(v)}, i: v} }

// like makes an array of the type of a whose element j is element index[j] of a, or 0 where the
// index is negative.
func (a *array) like(shape []int, index []int) *array {
	out := newArray(a.dt, shape...)
	for j, s := range index {
		switch {
		case s < 0:
		case a.f != nil:
			out.f[j] = a.f[s]
		default:
			out.i[j] = a.i[s]
		}
	}
	return out
}

// loader reads tensors: from the file itself, and from the files that it names.
type loader struct {
	fsys fs.FS
	dir  string // of the model, for the names of external data
	data map[string][]byte
	room int64 // bytes that external files may still take
	size int64 // bytes of the model's file

	spread int // places of sparse tensors so far
}

// most is how many elements and entries may be computed when importing: a small file does not ask for a large memory.
func (l *loader) most() int {
	size := l.size + maxExternal - l.room
	return int(min(maxSpent, freeSpent+perByte*min(size, maxSpent)))
}

// tensor decodes a TensorProto. What it declares is checked against the data that are there
// before anything of that size is made.
func (l *loader) tensor(t *onnxpb.TensorProto) (*array, error) {
	a := &array{dt: dtype(t.GetDataType())}
	n, err := dims(a, t.GetDims())
	if err != nil {
		return nil, err
	}
	bits := width(a.dt)
	if bits == 0 {
		return nil, fmt.Errorf("elements of type %s, which are not read", a.dt)
	}
	if t.GetSegment() != nil {
		return nil, fmt.Errorf("is stored in segments, which are not read")
	}
	raw := t.GetRawData()
	if t.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		if raw, err = l.external(t, n, bits/8); err != nil {
			return nil, err
		}
	}
	if raw != nil || t.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		if n > len(raw) || n*(bits/8) != len(raw) {
			return nil, fmt.Errorf("declares %d values of %d bytes and holds %d bytes", n, bits/8, len(raw))
		}
		a.fromRaw(raw, n)
		return a, nil
	}
	return a, a.fromFields(t, n)
}

// dims checks declared sizes and gives them to a.
func dims(a *array, d []int64) (int, error) {
	if len(d) > maxRank {
		return 0, fmt.Errorf("declares %d axes", len(d))
	}
	a.shape = make([]int, len(d))
	for i, s := range d {
		if s < 0 || s > math.MaxInt32 {
			return 0, fmt.Errorf("declares an axis of size %d", s)
		}
		a.shape[i] = int(s)
	}
	return tensor.CheckedCount(a.shape)
}

func (a *array) fromRaw(raw []byte, n int) {
	if isFloat(a.dt) {
		a.f = make([]float64, n)
	} else {
		a.i = make([]int64, n)
	}
	le := binary.LittleEndian
	for j := range n {
		switch a.dt {
		case dtFloat:
			a.f[j] = float64(math.Float32frombits(le.Uint32(raw[4*j:])))
		case dtDouble:
			a.f[j] = math.Float64frombits(le.Uint64(raw[8*j:]))
		case onnxpb.TensorProto_FLOAT16, onnxpb.TensorProto_BFLOAT16:
			a.f[j] = small(a.dt, uint32(le.Uint16(raw[2*j:])))
		case onnxpb.TensorProto_FLOAT8E4M3FN, onnxpb.TensorProto_FLOAT8E5M2:
			a.f[j] = small(a.dt, uint32(raw[j]))
		case dtInt64, onnxpb.TensorProto_UINT64:
			a.i[j] = int64(le.Uint64(raw[8*j:]))
		case dtInt32:
			a.i[j] = int64(int32(le.Uint32(raw[4*j:])))
		case onnxpb.TensorProto_UINT32:
			a.i[j] = int64(le.Uint32(raw[4*j:]))
		case onnxpb.TensorProto_INT16:
			a.i[j] = int64(int16(le.Uint16(raw[2*j:])))
		case onnxpb.TensorProto_UINT16:
			a.i[j] = int64(le.Uint16(raw[2*j:]))
		case onnxpb.TensorProto_INT8:
			a.i[j] = int64(int8(raw[j]))
		case dtBool:
			a.i[j] = truth(raw[j] != 0)
		default:
			a.i[j] = int64(raw[j])
		}
	}
}

// fromFields takes values from the field that the type is stored in when it is not raw.
func (a *array) fromFields(t *onnxpb.TensorProto, n int) error {
	have := 0
	switch a.dt {
	case dtFloat:
		have = len(t.GetFloatData())
	case dtDouble:
		have = len(t.GetDoubleData())
	case dtInt64:
		have = len(t.GetInt64Data())
	case onnxpb.TensorProto_UINT64, onnxpb.TensorProto_UINT32:
		have = len(t.GetUint64Data())
	default:
		have = len(t.GetInt32Data())
	}
	if have != n {
		return fmt.Errorf("declares %d values and holds %d", n, have)
	}
	if isFloat(a.dt) {
		a.f = make([]float64, n)
	} else {
		a.i = make([]int64, n)
	}
	for j := range n {
		switch a.dt {
		case dtFloat:
			a.f[j] = float64(t.GetFloatData()[j])
		case dtDouble:
			a.f[j] = t.GetDoubleData()[j]
		case dtInt64:
			a.i[j] = t.GetInt64Data()[j]
		case onnxpb.TensorProto_UINT64, onnxpb.TensorProto_UINT32:
			a.i[j] = int64(t.GetUint64Data()[j])
		default:
			v := t.GetInt32Data()[j]
			if isFloat(a.dt) {
				a.f[j] = small(a.dt, uint32(v))
			} else {
				a.i[j] = int64(v)
			}
		}
	}
	return nil
}

// small is the value of a floating-point number of 16 or 8 bits.
func small(d dtype, bits uint32) float64 {
	exp, man, bias := 5, 10, 15
	switch d {
	case onnxpb.TensorProto_BFLOAT16:
		return float64(math.Float32frombits(bits << 16))
	case onnxpb.TensorProto_FLOAT8E4M3FN:
		exp, man, bias = 4, 3, 7
	case onnxpb.TensorProto_FLOAT8E5M2:
		exp, man, bias = 5, 2, 15
	}
	e := int(bits>>man) & (1<<exp - 1)
	m := float64(bits & (1<<man - 1))
	v := 0.0
	switch {
	case d == onnxpb.TensorProto_FLOAT8E4M3FN && bits&0x7f == 0x7f:
		v = math.NaN()
	case e == 1<<exp-1 && d != onnxpb.TensorProto_FLOAT8E4M3FN:
		v = math.Inf(1)
		if m != 0 {
			v = math.NaN()
		}
	case e == 0:
		v = math.Ldexp(m, 1-bias-man)
	default:
		v = math.Ldexp(1+math.Ldexp(m, -man), e-bias)
	}
	if bits>>(exp+man)&1 != 0 {
		v = -v
	}
	return v
}

// external reads a tensor's bytes from the file that it names, which lies in the folder of the
// model or below it.
func (l *loader) external(t *onnxpb.TensorProto, n, size int) ([]byte, error) {
	var name string
	off, length := int64(0), int64(-1)
	for _, e := range t.GetExternalData() {
		var err error
		switch e.GetKey() {
		case "location":
			name = e.GetValue()
		case "offset":
			off, err = strconv.ParseInt(e.GetValue(), 10, 64)
		case "length":
			length, err = strconv.ParseInt(e.GetValue(), 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("external data: %s is %q, which is no number", e.GetKey(), e.GetValue())
		}
	}
	name = path.Clean(name)
	if !fs.ValidPath(name) || name == "." {
		return nil, fmt.Errorf("external data: %q does not name a file in the folder of the model", name)
	}
	if n > math.MaxInt/8 {
		return nil, fmt.Errorf("declares %d values", n)
	}
	want := int64(n) * int64(size)
	if length < 0 {
		length = want
	}
	if length != want {
		return nil, fmt.Errorf("external data: declares %d values of %d bytes, and %d bytes in %s", n, size, length, name)
	}
	name = path.Join(l.dir, name)
	b, ok := l.data[name]
	if !ok {
		f, err := l.fsys.Open(name)
		if err != nil {
			return nil, fmt.Errorf("external data: %w (it belongs beside the model)", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("external data: %w", err)
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("external data: %s is no regular file", name)
		}
		if l.room -= info.Size(); l.room < 0 {
			return nil, fmt.Errorf("external data: %s is larger than what is read (%d bytes)", name, int64(maxExternal))
		}
		if b, err = fs.ReadFile(l.fsys, name); err != nil {
			return nil, fmt.Errorf("external data: %w", err)
		}
		l.data[name] = b
	}
	if off < 0 || off > int64(len(b)) || length > int64(len(b))-off {
		return nil, fmt.Errorf("external data: bytes %d to %d of %s, which has %d", off, off+length, name, len(b))
	}
	return b[off : off+length], nil
}

// sparse decodes a SparseTensorProto to a dense array.
func (l *loader) sparse(t *onnxpb.SparseTensorProto) (*array, error) {
	v, err := l.tensor(t.GetValues())
	if err != nil {
		return nil, err
	}
	at, err := l.tensor(t.GetIndices())
	if err != nil {
		return nil, err
	}
	shape := &array{}
	n, err := dims(shape, t.GetDims())
	if err != nil {
		return nil, err
	}
	rank, values := len(shape.shape), v.size()
	if n > maxConst || isFloat(at.dt) || !isFloat(v.dt) || len(at.i) != values && len(at.i) != values*rank {
		return nil, fmt.Errorf("a sparse tensor of %d values at %d indices does not fit its %d places", values, len(at.i), n)
	}
	if l.spread += n; l.spread > l.most() {
		return nil, fmt.Errorf("sparse tensors of more than %d places together", l.most())
	}
	out := newArray(v.dt, shape.shape...)
	for j := range values {
		p := 0
		if len(at.i) == values && len(at.shape) < 2 {
			p = int(at.i[j])
		} else {
			for a, s := range shape.shape {
				i := at.i[j*rank+a]
				if i < 0 || i >= int64(s) {
					return nil, fmt.Errorf("a sparse tensor has index %d on an axis of %d", i, s)
				}
				p = p*s + int(i)
			}
		}
		if p < 0 || p >= n {
			return nil, fmt.Errorf("a sparse tensor has index %d of %d", p, n)
		}
		out.f[p] = v.f[j]
	}
	return out, nil
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
