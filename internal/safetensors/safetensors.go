// Package safetensors reads the directory of a .safetensors file: named arrays of one type each, which stay in the file.
//
// Files are hostile until parsed: every length is held against the size of the file before memory is asked for. Errors
// do not name the file, which only the caller knows.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// maxHeader bounds the JSON header in bytes: the format's own limit.
const maxHeader = 100_000_000

// metadataKey is the one name of the header that is no tensor.
const metadataKey = "__metadata__"

// dtypes are the names of safetensors for the types that are read.
var dtypes = map[string]tensor.DType{
	"F64": tensor.Float64, "F32": tensor.Float32, "F16": tensor.Float16, "BF16": tensor.BFloat16,
	"F8_E4M3": tensor.Float8E4, "F8_E5M2": tensor.Float8E5,
	"I64": tensor.Int64, "I32": tensor.Int32, "I16": tensor.Int16, "I8": tensor.Int8,
	"U64": tensor.Uint64, "U32": tensor.Uint32, "U16": tensor.Uint16, "U8": tensor.Uint8,
	"BOOL": tensor.Bool,
}

// File is the directory of a file.
type File struct {
	Entries  []Entry           // by offset of the values
	Metadata map[string]string // what is kept under __metadata__; nil when there is none
}

// Entry is an array of the directory. A type that is not read keeps the name that the file gives it (Size 0).
type Entry struct {
	Name  string
	DType tensor.DType
	Shape []int

	begin, end int64       // of the values, in bytes from the end of the header
	data       io.ReaderAt // the whole file
	offset     int64       // of the values in data
}

// Array describes the entry's values. It fails on a type that is not read.
func (e Entry) Array() (*npy.Array, error) {
	if e.DType.Size() == 0 {
		return nil, fmt.Errorf("values of safetensors type %.60q are not read (convert it to F32 and save again)", e.DType)
	}
	return &npy.Array{DType: e.DType, Shape: e.Shape, Data: e.data, Offset: e.offset}, nil
}

// Find is the entry of that name, nil when there is none.
func (f *File) Find(name string) *Entry {
	for i := range f.Entries {
		if f.Entries[i].Name == name {
			return &f.Entries[i]
		}
	}
	return nil
}

// Open reads the header of a file of size bytes: its length as 8 little-endian bytes, then JSON, then
// the values of all tensors without a gap. r stays in use by the arrays.
//
// Source: https://github.com/huggingface/safetensors, section "Format".
func Open(r io.ReaderAt, size int64) (*File, error) {
	var length [8]byte
	if size < 8 {
		return nil, fmt.Errorf("%d bytes are too few for a safetensors header (the file is truncated)", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("reading the safetensors header at offset 0: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > uint64(size-8) {
		return nil, fmt.Errorf("offset 0: a safetensors header of %d bytes does not fit a file of %d bytes (the file is truncated or damaged; copy or save it again)", n, size)
	}
	if n > maxHeader {
		return nil, fmt.Errorf("offset 0: a safetensors header of %d bytes, more than the %d that the format allows (the file is damaged)", n, maxHeader)
	}
	text := make([]byte, n)
	if got, err := r.ReadAt(text, 8); got < len(text) {
		return nil, fmt.Errorf("reading the safetensors header at offset 8: %w", err)
	}
	p := &header{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	spans, metadata, err := p.parse()
	if err != nil {
		return nil, err
	}
	start := 8 + int64(n)
	if err := checkSpans(spans, start, size); err != nil {
		return nil, err
	}
	for i := range spans {
		spans[i].data, spans[i].offset = r, start+spans[i].begin
	}
	return &File{Entries: spans, Metadata: metadata}, nil
}

// checkSpans sorts the spans by offset and holds them against each other, against their types and
// shapes, and against the file, whose values begin at start.
func checkSpans(spans []Entry, start, size int64) error {
	slices.SortStableFunc(spans, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	data := size - start
	var at int64
	for _, s := range spans {
		if s.end > data {
			return fmt.Errorf("tensor %q: its values end at offset %d, but the file has %d bytes (the file is truncated; copy or save it again)", s.Name, uint64(start)+uint64(s.end), size)
		}
		if s.begin != at {
			what := "overlap those of the tensor before it"
			if s.begin > at {
				what = "leave a hole after the tensor before it"
			}
			return fmt.Errorf("tensor %q: its values at offset %d %s, which ends at %d (the file is damaged; save it again)", s.Name, start+s.begin, what, start+at)
		}
		at = s.end
		count, err := tensor.CheckedCount(s.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w (the file is damaged; save it again)", s.Name, err)
		}
		es := int64(s.DType.Size())
		if es > 0 && (int64(count) > data/es || int64(count)*es != s.end-s.begin) {
			return fmt.Errorf("tensor %q: shape %v of %s does not fit its %d bytes at offset %d (the file is damaged; save it again)", s.Name, s.Shape, s.DType, s.end-s.begin, start+s.begin)
		}
	}
	if at != data {
		return fmt.Errorf("%d bytes from offset %d on belong to no tensor (the file is damaged; save it again)", data-at, start+at)
	}
	return nil
}

// header parses the JSON token by token: it refuses duplicate keys, which encoding/json would let
// the last one win, and any nesting that the format does not have.
type header struct {
	text []byte
	dec  *json.Decoder
}

func (p *header) errorf(format string, args ...any) error {
	return fmt.Errorf("offset %d: the safetensors header %s (the file is damaged; save it again)", 8+p.dec.InputOffset(), fmt.Sprintf(format, args...))
}

func (p *header) parse() (spans []Entry, metadata map[string]string, err error) {
	if !utf8.Valid(p.text) {
		return nil, nil, errors.New("offset 8: the safetensors header is not UTF-8 (the file is damaged; save it again)")
	}
	seen := map[string]bool{}
	err = p.object(func(key string) error {
		if seen[key] {
			return p.errorf("has %.200q twice", key)
		}
		seen[key] = true
		if key == metadataKey {
			metadata = map[string]string{}
			return p.object(func(key string) error {
				if _, ok := metadata[key]; ok {
					return p.errorf("has %.200q twice in %s", key, metadataKey)
				}
				var err error
				metadata[key], err = p.str("a value of " + metadataKey)
				return err
			})
		}
		s, err := p.tensor(key)
		spans = append(spans, s)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if rest := bytes.Trim(p.text[p.dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, nil, p.errorf("goes on after its end")
	}
	return spans, metadata, nil
}

// tensor parses {"dtype": …, "shape": […], "data_offsets": [begin, end]}.
func (p *header) tensor(name string) (Entry, error) {
	s := Entry{Name: name}
	var dtype, shape, offsets bool
	err := p.object(func(key string) error {
		var seen *bool
		var err error
		switch key {
		case "dtype":
			seen = &dtype
			var d string
			d, err = p.str("dtype")
			s.DType = dtypes[d]
			if s.DType == "" {
				s.DType = tensor.DType(d)
				if s.DType.Size() != 0 { // a name of ours, that is none of theirs
					s.DType = "?" + s.DType
				}
			}
		case "shape":
			seen = &shape
			s.Shape = []int{}
			err = p.array(func() error {
				if len(s.Shape) == npy.MaxRank {
					return p.errorf("gives tensor %.200q more than %d axes", name, npy.MaxRank)
				}
				n, err := p.size("shape")
				s.Shape = append(s.Shape, n)
				return err
			})
		case "data_offsets":
			seen = &offsets
			var at []int
			err = p.array(func() error {
				if len(at) == 2 {
					return p.errorf("gives tensor %.200q more than two data_offsets", name)
				}
				n, err := p.size("data_offsets")
				at = append(at, n)
				return err
			})
			if err == nil && (len(at) != 2 || at[0] > at[1]) {
				return p.errorf("gives tensor %.200q data_offsets %v that are no [begin, end]", name, at)
			}
			if err == nil {
				s.begin, s.end = int64(at[0]), int64(at[1])
			}
		default:
			return p.errorf("gives tensor %.200q an unknown key %.60q", name, key)
		}
		if err != nil {
			return err
		}
		if *seen {
			return p.errorf("gives tensor %.200q %q twice", name, key)
		}
		*seen = true
		return nil
	})
	if err == nil && !(dtype && shape && offsets) {
		err = p.errorf("does not give tensor %.200q all of dtype, shape and data_offsets", name)
	}
	return s, err
}

func (p *header) token() (json.Token, error) {
	t, err := p.dec.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.errorf("ends too early")
	case err != nil:
		return nil, p.errorf("is no JSON: %v", err)
	}
	return t, nil
}

// object parses an object and calls member for each key; member reads the value.
func (p *header) object(member func(key string) error) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return p.errorf("has %s where an object is due", show(t))
	}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return p.errorf("has a key that is no string")
		}
		if err := member(key); err != nil {
			return err
		}
	}
	_, err = p.token() // the closing brace
	return err
}

// array parses an array and calls item at each of its items; item reads it.
func (p *header) array(item func() error) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return p.errorf("has %s where an array is due", show(t))
	}
	for p.dec.More() {
		if err := item(); err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

func (p *header) str(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", p.errorf("has %s for %s, which is a string", show(t), what)
	}
	return s, nil
}

func (p *header) size(what string) (int, error) {
	t, err := p.token()
	if err != nil {
		return 0, err
	}
	if number, ok := t.(json.Number); ok {
		if n, err := strconv.Atoi(string(number)); err == nil && n >= 0 {
			return n, nil
		}
	}
	return 0, p.errorf("has %s in %s, which are sizes from 0 on", show(t), what)
}

// show is a token in a message.
func show(t json.Token) string {
	if s, ok := t.(string); ok {
		return fmt.Sprintf("%.60q", s)
	}
	return fmt.Sprintf("%.60v", t)
}
