package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"hessdens/internal/model/checkpoint/pickle"
	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// unpickler gives the names of a PyTorch file their meaning. The names of call are all that it
// knows; any other makes an inert object.
type unpickler struct {
	data     io.ReaderAt // of the pickle
	storages map[string]*storage
	unknown  map[string]bool // names that were called and are not known

	// open finds the bytes of a new storage; nil where they come after the pickle.
	open func(s *storage)
	// tensors are what persistent ids stand for in a tar; nil elsewhere.
	tensors map[string]*view
}

// maxUnknown bounds how many unknown names are kept.
const maxUnknown = 100

var errArgs = errors.New("arguments of a wrong number or type (the file is damaged, or of a newer PyTorch)")

// call is what a known name gives. Nothing is executed: each case is a constructor of plain data.
func (u *unpickler) call(fn pickle.Global, args pickle.Tuple) (v any, known bool, err error) {
	switch fn.Module {
	case "torch._utils", "torch._tensor", "torch.tensor", "torch":
		v, known, err = u.rebuild(fn.Name, args)
	case "torch.nn.parameter", "torch.autograd.variable", "torch.autograd":
		if t := asView(arg(args, 0)); t != nil && (fn.Name == "Parameter" || fn.Name == "Variable" || fn.Name == "Buffer") {
			return t, true, nil
		}
		if len(args) == 0 && (fn.Name == "Parameter" || fn.Name == "Variable") {
			return &variable{}, true, nil
		}
	case "torch.jit._pickle":
		if len(args) > 0 { // build_intlist and the like, restore_type_tag: their first argument
			return args[0], true, nil
		}
	case "torch.serialization":
		if s, ok := arg(args, 0).(string); ok && fn.Name == "_get_layout" {
			return pickle.Global{Module: "torch", Name: strings.TrimPrefix(s, "torch.")}, true, nil
		}
	case "collections":
		switch fn.Name {
		case "OrderedDict", "Counter":
			d, ok := newDict(arg(args, 0))
			return d, ok, nil
		case "defaultdict":
			d, ok := newDict(arg(args, 1))
			return d, ok, nil
		}
	case "builtins", "__builtin__":
		v, known = builtin(fn.Name, args)
	case "copyreg", "copy_reg":
		g, ok := arg(args, 0).(pickle.Global)
		switch {
		case ok && fn.Name == "_reconstructor":
			if g.Module == "collections" || g.Module == "builtins" || g.Module == "__builtin__" {
				return u.call(g, nil)
			}
			u.note(g)
			return &pickle.Object{Class: g}, true, nil
		case ok && fn.Name == "__newobj__":
			v, known, err := u.call(g, args[1:])
			if !known {
				v = &pickle.Object{Class: g, Args: args[1:]}
			}
			return v, true, err
		}
	case "_codecs":
		if fn.Name == "encode" {
			return encode(args)
		}
	case "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric", "numpy":
		v, known, err = u.numpy(fn.Name, args)
	}
	if !known {
		u.note(fn)
	}
	return v, known, err
}

// note keeps a name that is not known.
func (u *unpickler) note(g pickle.Global) {
	if len(u.unknown) < maxUnknown {
		if u.unknown == nil {
			u.unknown = map[string]bool{}
		}
		u.unknown[fmt.Sprintf("%.100s", g)] = true
	}
}

func arg(args pickle.Tuple, i int) any {
	if i < len(args) {
		return args[i]
	}
	return nil
}

// rebuild are torch's own functions.
func (u *unpickler) rebuild(name string, args pickle.Tuple) (v any, known bool, err error) {
	switch name {
	case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor":
		t, err := strided(args)
		if err != nil {
			return nil, true, err
		}
		meta := arg(args, 6)
		switch name {
		case "_rebuild_tensor_v3":
			if t.dtype, err = torchDType(arg(args, 6)); err != nil {
				return nil, true, err
			}
			meta = arg(args, 7)
		case "_rebuild_qtensor":
			t.fault = fmt.Errorf("a quantised tensor (%.60s) is not read (save it after .dequantize())", t.dtype)
			meta = nil
		}
		if d, ok := meta.(*pickle.Dict); ok {
			for _, bit := range []string{"conj", "neg"} {
				if on, _ := d.Get(bit); on == true {
					t.fault = fmt.Errorf("a view that is to be negated or conjugated when it is read (save it after .resolve_%s())", bit)
				}
			}
		}
		return t, true, nil
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		if t := asView(arg(args, 0)); t != nil {
			return t, true, nil
		}
		return arg(args, 0), true, nil // a tensor of a kind that is not known
	case "_rebuild_from_type", "_rebuild_from_type_v2":
		fn, ok1 := arg(args, 0).(pickle.Global)
		inner, ok2 := arg(args, 2).(pickle.Tuple)
		if !ok1 || !ok2 || fn.Name == name || strings.HasPrefix(fn.Name, "_rebuild_from_type") {
			return nil, true, errArgs
		}
		v, known, err := u.call(fn, inner)
		if !known {
			v = &pickle.Object{Class: fn, Args: inner}
		}
		return v, true, err
	case "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_device_tensor_from_numpy", "_rebuild_xla_tensor":
		if t := asView(arg(args, 0)); t != nil {
			return t, true, nil
		}
		return nil, true, errArgs
	case "_rebuild_meta_tensor_no_storage":
		return u.unreadable(args, 0, 1, "a tensor without values (device \"meta\": load the weights before saving)")
	case "_rebuild_wrapper_subclass":
		return u.unreadable(args, 1, 2, "a tensor subclass without a storage of its own is not read (convert it to a plain tensor and save it again)")
	case "_rebuild_sparse_tensor":
		data, _ := arg(args, 1).(pickle.Tuple)
		t := &view{dtype: "sparse", fault: errors.New("a sparse tensor is not read (save it after .to_dense())")}
		for i := 2; i < len(data); i++ { // (indices, values, size) or, compressed, one array more before
			if shape, err := ints(data[i]); err == nil {
				t.shape = shape
			}
		}
		if values := asView(arg(data, 1)); values != nil {
			t.dtype = values.dtype
		}
		return t, true, nil
	case "_rebuild_nested_tensor":
		return &view{dtype: "nested", fault: errors.New("a nested tensor is not read (save its parts, .unbind(), as tensors)")}, true, nil
	case "Size":
		if t, ok := arg(args, 0).(pickle.Tuple); ok {
			return t, true, nil
		}
		if l, ok := arg(args, 0).(*pickle.List); ok {
			return pickle.Tuple(l.Items), true, nil
		}
		return pickle.Tuple{}, true, nil
	case "device":
		return fmt.Sprint("device:", asText(arg(args, 0))), true, nil
	}
	return nil, false, nil
}

// unreadable is a tensor of a kind that has no values here; its dtype and shape are listed.
func (u *unpickler) unreadable(args pickle.Tuple, dtype, shape int, why string) (any, bool, error) {
	d, err := torchDType(arg(args, dtype))
	if err != nil {
		return nil, true, err
	}
	n, err := ints(arg(args, shape))
	if err != nil {
		return nil, true, err
	}
	return &view{dtype: d, shape: n, fault: errors.New(why)}, true, nil
}

// strided is (storage, offset, size, stride, …).
func strided(args pickle.Tuple) (*view, error) {
	s, ok := arg(args, 0).(*storage)
	if !ok {
		return nil, errArgs
	}
	offset, ok := arg(args, 1).(int64)
	if !ok {
		return nil, errArgs
	}
	shape, err := ints(arg(args, 2))
	if err != nil {
		return nil, err
	}
	stride, err := ints(arg(args, 3))
	if err != nil {
		return nil, err
	}
	return &view{storage: s, dtype: s.dtype, offset: offset, shape: shape, stride: stride}, nil
}

// ints is a tuple or list of integers.
func ints(v any) ([]int, error) {
	items, ok := sequence(v)
	if !ok {
		return nil, errArgs
	}
	if len(items) > npy.MaxRank {
		return nil, fmt.Errorf("a shape of %d axes, more than %d (the file is damaged)", len(items), npy.MaxRank)
	}
	out := make([]int, len(items))
	for i, x := range items {
		n, ok := x.(int64)
		if !ok {
			return nil, fmt.Errorf("a size that is no integer below 2^63: %w", errArgs)
		}
		out[i] = int(n)
	}
	return out, nil
}

// sequence are the items of a tuple or list.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case pickle.Tuple:
		return v, true
	case *pickle.List:
		return v.Items, true
	}
	return nil, false
}

// variable is a Parameter as PyTorch 0.1 pickled it: empty, then given its tensor.
type variable struct{ t *view }

// Build takes (data, creator, hooks, requires_grad, volatile).
func (v *variable) Build(state any) error {
	if items, ok := sequence(state); ok && len(items) > 0 {
		v.t = asView(items[0])
	}
	return nil
}

// asView is the tensor that a value is, nil for any other value.
func asView(v any) *view {
	switch v := v.(type) {
	case *view:
		return v
	case *variable:
		return v.t
	case *ndarray:
		return v.view()
	}
	return nil
}

// asText is a string that may be a Python 2 str.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case pickle.Bytes:
		return string(v)
	}
	return ""
}

// newDict is dict(v); ok is false for what it cannot be made of.
func newDict(v any) (*pickle.Dict, bool) {
	d := &pickle.Dict{}
	switch v := v.(type) {
	case nil:
	case *pickle.Dict:
		d.Items = append(d.Items, v.Items...)
	case *pickle.List: // of pairs: protocol 0 and Python 2
		for _, x := range v.Items {
			p, ok := sequence(x)
			if !ok || len(p) != 2 {
				return nil, false
			}
			d.Items = append(d.Items, pickle.Pair{Key: p[0], Value: p[1]})
		}
	default:
		return nil, false
	}
	return d, true
}

func builtin(name string, args pickle.Tuple) (v any, known bool) {
	items, isSequence := sequence(arg(args, 0))
	if len(args) > 0 && !isSequence && name != "dict" {
		if len(args) == 1 {
			switch x := args[0].(type) {
			case int64, float64, bool, string:
				if name == "int" || name == "float" || name == "bool" || name == "str" {
					return x, true
				}
			}
		}
		return nil, false
	}
	switch name {
	case "bytes":
		if len(args) == 0 { // how protocol 2 writes none
			return pickle.Bytes(""), true
		}
	case "dict":
		d, ok := newDict(arg(args, 0))
		return d, ok
	case "set", "frozenset":
		return &pickle.Set{Items: items}, true
	case "list":
		return &pickle.List{Items: append([]any(nil), items...)}, true
	case "tuple":
		return pickle.Tuple(items), true
	}
	return nil, false
}

// latin1 is bytes that a pickle of protocol 2 or less holds as text, a character a byte.
type latin1 struct{ pickle.Blob }

// encode is _codecs.encode(text, "latin1"): how protocols before 3 write bytes.
func encode(args pickle.Tuple) (v any, known bool, err error) {
	if codec := asText(arg(args, 1)); codec != "latin1" && codec != "latin-1" {
		return nil, false, nil
	}
	switch s := arg(args, 0).(type) {
	case string:
		b, err := fromLatin1([]byte(s))
		return pickle.Bytes(b), true, err
	case pickle.Blob:
		return latin1{s}, true, nil
	}
	return nil, true, errArgs
}

func fromLatin1(text []byte) ([]byte, error) {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r > 0xff {
			return nil, errors.New("bytes written as text with a character beyond 255 (the file is damaged)")
		}
		out = append(out, byte(r))
		text = text[n:]
	}
	return out, nil
}

// numpyType is a numpy.dtype.
type numpyType struct {
	name string
	big  bool
}

// Build takes (version, byte order, …).
func (d *numpyType) Build(state any) error {
	items, _ := sequence(state)
	d.big = len(items) > 1 && asText(items[1]) == ">"
	return nil
}

// numpyTypes are the type strings, without byte order, that are read.
var numpyTypes = map[string]tensor.DType{
	"f8": tensor.Float64, "f4": tensor.Float32, "f2": tensor.Float16, "i8": tensor.Int64, "i4": tensor.Int32, "i2": tensor.Int16, "i1": tensor.Int8,
	"u8": tensor.Uint64, "u4": tensor.Uint32, "u2": tensor.Uint16, "u1": tensor.Uint8, "b1": tensor.Bool,
}

func (d *numpyType) dtype() tensor.DType {
	if t, ok := numpyTypes[strings.TrimLeft(d.name, "<>|=")]; ok {
		return t
	}
	return unread("numpy " + d.name)
}

// ndarray is a numpy.ndarray; its bytes lie in the pickle.
type ndarray struct {
	u       *unpickler
	shape   []int
	dtype   *numpyType
	fortran bool
	data    any // Bytes, Blob or latin1
}

// Build takes (version, shape, dtype, Fortran order, bytes).
func (a *ndarray) Build(state any) error {
	items, ok := sequence(state)
	if !ok || len(items) < 5 {
		return errArgs
	}
	var err error
	if a.shape, err = ints(items[1]); err != nil {
		return err
	}
	a.dtype, _ = items[2].(*numpyType)
	a.fortran, _ = items[3].(bool)
	a.data = items[4]
	return nil
}

// view is the array as a tensor, nil for one without numbers.
func (a *ndarray) view() *view {
	if a.dtype == nil {
		return nil
	}
	v := &view{dtype: a.dtype.dtype(), shape: a.shape, stride: contiguous(a.shape, a.fortran)}
	s := &storage{key: "ndarray", data: a.u.data, bigEndian: a.dtype.big || strings.HasPrefix(a.dtype.name, ">")}
	switch d := a.data.(type) {
	case pickle.Bytes:
		s.data, s.size = strings.NewReader(string(d)), int64(len(d))
	case string: // Python 2's str
		s.data, s.size = strings.NewReader(d), int64(len(d))
	case pickle.Blob:
		s.offset, s.size = d.Offset, d.Len
	case latin1:
		s.size = d.Len
		s.open = func() (io.ReaderAt, int64, error) {
			b, err := d.bytes(a.u.data)
			return bytes.NewReader(b), 0, err
		}
	default:
		v.fault = errors.New("an array of Python objects is not read (convert it to a numeric type with .astype and save it again)")
	}
	v.storage = s
	return v
}

// bytes decodes the text, which is in r.
func (l latin1) bytes(r io.ReaderAt) ([]byte, error) {
	text := make([]byte, l.Len)
	if n, err := r.ReadAt(text, l.Offset); n < len(text) {
		return nil, fmt.Errorf("reading %d bytes at offset %d: %w", len(text), l.Offset, err)
	}
	b, err := fromLatin1(text)
	if err != nil {
		return nil, fmt.Errorf("offset %d: %w", l.Offset, err)
	}
	return b, nil
}

// numpy are NumPy's functions.
func (u *unpickler) numpy(name string, args pickle.Tuple) (v any, known bool, err error) {
	switch name {
	case "dtype":
		if s := asText(arg(args, 0)); s != "" {
			return &numpyType{name: s}, true, nil
		}
	case "_reconstruct":
		return &ndarray{u: u}, true, nil
	case "_frombuffer": // (bytes, dtype, shape, order)
		shape, err := ints(arg(args, 2))
		if err != nil {
			return nil, true, err
		}
		d, ok := arg(args, 1).(*numpyType)
		if !ok {
			return nil, true, errArgs
		}
		return &ndarray{u: u, shape: shape, dtype: d, fortran: asText(arg(args, 3)) == "F", data: arg(args, 0)}, true, nil
	case "scalar":
		d, ok1 := arg(args, 0).(*numpyType)
		b, ok2 := arg(args, 1).(pickle.Bytes)
		if s, ok := arg(args, 1).(string); ok {
			b, ok2 = pickle.Bytes(s), true
		}
		if !ok1 || !ok2 {
			return nil, false, nil
		}
		return scalar(d, []byte(b))
	}
	return nil, false, nil
}

// scalar is a number of NumPy as one of Python's.
func scalar(d *numpyType, b []byte) (v any, known bool, err error) {
	t := d.dtype()
	if len(b) != t.Size() || t.Size() == 0 {
		return nil, false, nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if d.big {
		order = binary.BigEndian
	}
	switch t {
	case tensor.Float64:
		return math.Float64frombits(order.Uint64(b)), true, nil
	case tensor.Float32:
		return float64(math.Float32frombits(order.Uint32(b))), true, nil
	case tensor.Int64:
		return int64(order.Uint64(b)), true, nil
	case tensor.Int32:
		return int64(int32(order.Uint32(b))), true, nil
	case tensor.Bool:
		return b[0] != 0, true, nil
	}
	return nil, false, nil
}

// persistent is what a persistent id stands for.
func (u *unpickler) persistent(id any) (any, error) {
	t, ok := id.(pickle.Tuple)
	if !ok {
		key := keyText(id)
		if v := u.tensors[key]; v != nil {
			return v, nil
		}
		if s := u.storages[key]; s != nil && u.tensors != nil {
			return s, nil
		}
		return nil, fmt.Errorf("persistent id %.60q is no storage of this file (the file is damaged; save it again)", key)
	}
	kind := asText(arg(t, 0))
	if g, ok := arg(t, 0).(pickle.Global); ok && u.tensors != nil { // a class and its source, in a tar
		return g, nil
	}
	switch {
	case kind == "module" && len(t) > 1: // a class and its source
		return t[1], nil
	case kind != "storage" || len(t) < 5:
		return nil, fmt.Errorf("a persistent id of kind %.60q and %d parts, not a storage (the file is damaged, or of a newer PyTorch)", kind, len(t))
	}
	s, err := newStorage(t[1], t[2])
	if err != nil {
		return nil, err
	}
	numel, ok := t[4].(int64)
	if !ok || numel < 0 || numel > math.MaxInt64/s.elem {
		return nil, fmt.Errorf("storage %.60q has a size that is none (the file is damaged; save it again)", s.key)
	}
	s.size = numel * s.elem
	root := u.storages[s.key]
	if root == nil {
		root = s
		if u.open != nil {
			u.open(s)
		}
		u.storages[s.key] = s
	} else if root.dtype != s.dtype { // two types over the same bytes
		s.root, s.size = root, root.size
		root = s
	}
	part, ok := arg(t, 5).(pickle.Tuple)
	if !ok {
		return root, nil
	}
	// (key, offset, size) of a view, in values
	offset, ok1 := arg(part, 1).(int64)
	n, ok2 := arg(part, 2).(int64)
	if !ok1 || !ok2 {
		return nil, errArgs
	}
	return root.part(offset, n)
}

// part is n values of a storage from offset on.
func (s *storage) part(offset, n int64) (*storage, error) {
	have := s.size / s.elem
	if offset < 0 || n < 0 || offset > have || n > have-offset {
		return nil, fmt.Errorf("%d values from %d on of storage %.60q, which has %d (the file is damaged; save it again)", n, offset, s.key, have)
	}
	root, begin := s.at()
	return &storage{key: s.key, elem: s.elem, dtype: s.dtype, size: n * s.elem, root: root, begin: begin + offset*s.elem}, nil
}

// newStorage is a storage of a class of torch, under a key.
func newStorage(class, key any) (*storage, error) {
	g, ok := class.(pickle.Global)
	kind, known := storageTypes[g.Name]
	if !ok || !known || g.Module != "torch" && !strings.HasPrefix(g.Module, "torch.") {
		return nil, fmt.Errorf("a storage of an unknown type (%.100s) (the file is damaged, or of a newer PyTorch: save it as .safetensors)", g)
	}
	switch key.(type) {
	case string, pickle.Bytes, int64:
		return &storage{key: keyText(key), elem: kind.size, dtype: kind.dtype}, nil
	}
	return nil, errArgs
}

// keyText is the key of a storage, a text or a number, as text.
func keyText(v any) string {
	if n, ok := v.(int64); ok {
		return strconv.FormatInt(n, 10)
	}
	return asText(v)
}

// unread is the type of an entry under a name that is not known: the name itself, unless
// that would pass for one of ours.
func unread(name string) tensor.DType {
	if d := tensor.DType(name); d.Size() == 0 {
		return d
	}
	return tensor.DType("?" + name)
}
