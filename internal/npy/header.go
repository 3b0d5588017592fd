// Package npy reads NumPy's array files: the .npy format, versions 1.0 to 3.0, and .npz, a zip
// of them. Its Array is a block of values of one type in an io.ReaderAt, read in ranges of rows
// and converted on the way; other formats that store such blocks (safetensors, IDX, CIFAR
// records) describe theirs with it too.
//
// Files are hostile until parsed: every length is held against the size of the file before
// memory is asked for. Errors do not name the file, which only the caller knows.
package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"hessdens/internal/tensor"
)

// Magic is how a .npy file begins.
const Magic = "\x93NUMPY"

const (
	// MaxRank is the largest number of axes an array may have, that of NumPy 2.
	MaxRank = 64
	// maxHeader bounds the text of a header in bytes. NumPy's own are 118 long; 1 MiB leaves
	// room for structured types with thousands of fields.
	maxHeader = 1 << 20
)

// Header is what a .npy file says about its array.
type Header struct {
	Descr     string       // NumPy's type string as it is in the file, e.g. "<f4"
	DType     tensor.DType // "" when Descr is a type that this package does not read
	BigEndian bool
	Fortran   bool // the first axis varies fastest
	Shape     []int
	Len       int64 // bytes before the values
}

// ReadHeader reads the header at the beginning of r, a .npy file of size bytes, and no byte
// after it. A type that this package does not read is no error here (DType is then empty), but
// values that the file is too short or too long for are. It fails on anything that is not a
// header, with the offset of what is wrong.
//
// Source: NEP 1 of NumPy, "A simple file format for NumPy arrays".
func ReadHeader(r io.Reader, size int64) (Header, error) {
	var h Header
	var fixed [12]byte
	if size < 10 {
		return h, fmt.Errorf("%d bytes are too few for a .npy header (the file is truncated or not .npy; save it again with numpy.save)", size)
	}
	if _, err := io.ReadFull(r, fixed[:8]); err != nil {
		return h, fmt.Errorf("reading the .npy header at offset 0: %w", noEOF(err))
	}
	if string(fixed[:6]) != Magic {
		return h, fmt.Errorf("offset 0: not a .npy file, the magic %q is missing (save it with numpy.save)", Magic)
	}
	var n, at int64
	switch major := fixed[6]; major {
	case 1:
		at = 10
		if _, err := io.ReadFull(r, fixed[8:10]); err != nil {
			return h, fmt.Errorf("reading the .npy header at offset 8: %w", noEOF(err))
		}
		n = int64(binary.LittleEndian.Uint16(fixed[8:]))
	case 2, 3:
		at = 12
		if size < 12 {
			return h, fmt.Errorf("%d bytes are too few for a .npy header (the file is truncated; save it again with numpy.save)", size)
		}
		if _, err := io.ReadFull(r, fixed[8:12]); err != nil {
			return h, fmt.Errorf("reading the .npy header at offset 8: %w", noEOF(err))
		}
		n = int64(binary.LittleEndian.Uint32(fixed[8:]))
	default:
		return h, fmt.Errorf("offset 6: .npy format version %d.%d is not known, versions 1.0 to 3.0 are (save it again with numpy.save)", major, fixed[7])
	}
	if n > size-at {
		return h, fmt.Errorf("offset 8: a header of %d bytes does not fit a file of %d bytes (the file is truncated or damaged)", n, size)
	}
	if n > maxHeader {
		return h, fmt.Errorf("offset 8: a header of %d bytes, more than the %d allowed (the file is damaged)", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, fmt.Errorf("reading the .npy header at offset %d: %w", at, noEOF(err))
	}
	p := &literal{s: string(text), base: at}
	if err := p.header(&h); err != nil {
		return Header{}, err
	}
	h.Len = at + n
	h.DType, h.BigEndian = parseDescr(h.Descr)
	count, err := tensor.CheckedCount(h.Shape)
	if err != nil {
		return Header{}, fmt.Errorf("offset %d: %w (the file is damaged)", at, err)
	}
	if es := int64(h.DType.Size()); es > 0 {
		have := size - h.Len
		if int64(count) > have/es {
			return Header{}, fmt.Errorf("shape %v of %s needs more than the %d bytes that follow the header at offset %d (the file is truncated)", h.Shape, h.DType, have, h.Len)
		}
		if want := int64(count) * es; want != have {
			return Header{}, fmt.Errorf("shape %v of %s needs %d bytes, but %d follow the header at offset %d (the header is wrong, or the file holds several arrays; save one array a file)", h.Shape, h.DType, want, have, h.Len)
		}
	}
	return h, nil
}

// Supported is nil when the type is one that this package reads, else an error that says what to
// do about it.
func (h Header) Supported() error {
	if h.DType != "" {
		return nil
	}
	kind := strings.TrimLeft(h.Descr, "<>|=")
	switch {
	case kind != "" && strings.ContainsRune("[(", rune(kind[0])):
		return fmt.Errorf("a structured array (%.60s) is not a tensor (save each field as an array of its own)", h.Descr)
	case strings.HasPrefix(kind, "O"):
		return errors.New("an array of Python objects is stored as a pickle, which is never executed (convert it to a numeric type with .astype and save it again)")
	case strings.HasPrefix(kind, "c"):
		return fmt.Errorf("complex numbers (%.60s) are not read (save real and imaginary parts side by side)", h.Descr)
	case kind == "f1" || kind == "V1":
		return fmt.Errorf("type %q does not say which 8-bit float it is (save it as .safetensors, or convert it with .astype('float32'))", h.Descr)
	}
	return fmt.Errorf("values of NumPy type %.60q are not read (convert them with .astype('float32') or .astype('int64') and save again)", h.Descr)
}

// parseDescr turns NumPy's type string into a data type and a byte order. An unsigned 'V2' is
// how NumPy writes the bfloat16 of ml_dtypes, which has no letter of its own.
func parseDescr(s string) (d tensor.DType, bigEndian bool) {
	kind := s
	if kind != "" && strings.ContainsRune("<>|=", rune(kind[0])) {
		bigEndian = kind[0] == '>'
		kind = kind[1:]
	}
	switch kind {
	case "f8":
		d = tensor.Float64
	case "f4":
		d = tensor.Float32
	case "f2":
		d = tensor.Float16
	case "V2":
		d = tensor.BFloat16
	case "i8":
		d = tensor.Int64
	case "i4":
		d = tensor.Int32
	case "i2":
		d = tensor.Int16
	case "i1":
		d = tensor.Int8
	case "u8":
		d = tensor.Uint64
	case "u4":
		d = tensor.Uint32
	case "u2":
		d = tensor.Uint16
	case "u1":
		d = tensor.Uint8
	case "b1", "?":
		d = tensor.Bool
	}
	return d, bigEndian && d.Size() > 1
}

// literal parses the Python dictionary of a header: only what numpy.save writes, no expression.
type literal struct {
	s    string
	i    int
	base int64 // offset of s in the file
}

func (p *literal) errorf(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s (the header is damaged; save the array again with numpy.save)", p.base+int64(p.i), fmt.Sprintf(format, args...))
}

func (p *literal) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// accept skips white space and then c, if it is there.
func (p *literal) accept(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *literal) header(h *Header) error {
	var descr, order, shape bool
	if !p.accept('{') {
		return p.errorf("the header is not a dictionary")
	}
	for !p.accept('}') {
		key, err := p.str()
		if err != nil {
			return err
		}
		if !p.accept(':') {
			return p.errorf("no ':' after key %q", key)
		}
		var seen *bool
		switch key {
		case "descr":
			seen = &descr
			h.Descr, err = p.descr()
		case "fortran_order":
			seen = &order
			h.Fortran, err = p.boolean()
		case "shape":
			seen = &shape
			h.Shape, err = p.tuple()
		default:
			return p.errorf("unknown key %.60q", key)
		}
		if err != nil {
			return err
		}
		if *seen {
			return p.errorf("key %q is there twice", key)
		}
		*seen = true
		if !p.accept(',') {
			if !p.accept('}') {
				return p.errorf("no ',' or '}' after the value of %q", key)
			}
			break
		}
	}
	p.space()
	if p.i < len(p.s) {
		return p.errorf("text after the dictionary")
	}
	if !descr || !order || !shape {
		return p.errorf("the keys 'descr', 'fortran_order' and 'shape' are not all there")
	}
	return nil
}

func (p *literal) str() (string, error) {
	p.space()
	if p.i >= len(p.s) || p.s[p.i] != '\'' && p.s[p.i] != '"' {
		return "", p.errorf("no string where one is due")
	}
	n := strings.IndexByte(p.s[p.i+1:], p.s[p.i])
	if n < 0 {
		return "", p.errorf("a string without end")
	}
	s := p.s[p.i+1 : p.i+1+n]
	if strings.IndexByte(s, '\\') >= 0 {
		return "", p.errorf("an escape in a string")
	}
	p.i += n + 2
	return s, nil
}

// descr is a type string, or the list of a structured type, kept as its text.
func (p *literal) descr() (string, error) {
	p.space()
	if p.i >= len(p.s) || p.s[p.i] != '[' && p.s[p.i] != '(' {
		return p.str()
	}
	start, depth := p.i, 0
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case '\'', '"':
			if _, err := p.str(); err != nil {
				return "", err
			}
			continue
		}
		p.i++
		if depth == 0 {
			return p.s[start:p.i], nil
		}
	}
	return "", p.errorf("a type without end")
}

func (p *literal) boolean() (bool, error) {
	p.space()
	for word, v := range map[string]bool{"True": true, "False": false} {
		if strings.HasPrefix(p.s[p.i:], word) {
			p.i += len(word)
			return v, nil
		}
	}
	return false, p.errorf("'fortran_order' is neither True nor False")
}

func (p *literal) tuple() ([]int, error) {
	if !p.accept('(') {
		return nil, p.errorf("'shape' is not a tuple")
	}
	shape := []int{}
	for !p.accept(')') {
		start := p.i
		for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
			p.i++
		}
		n, err := strconv.Atoi(p.s[start:p.i])
		if err != nil {
			p.i = start
			return nil, p.errorf("'shape' holds something that is not a size")
		}
		if p.i < len(p.s) && p.s[p.i] == 'L' { // a long of Python 2
			p.i++
		}
		if len(shape) == MaxRank {
			return nil, p.errorf("'shape' has more than %d axes", MaxRank)
		}
		shape = append(shape, n)
		if !p.accept(',') {
			if !p.accept(')') {
				return nil, p.errorf("no ',' or ')' in 'shape'")
			}
			break
		}
	}
	return shape, nil
}

// noEOF turns an end of file in the middle of something into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
