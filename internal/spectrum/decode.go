package spectrum

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
)

const (
	// MaxBytes is the most JSON that Read takes, after decompression: a million exact eigenvalues are 70 MB.
	MaxBytes = 256 << 20

	// maxValues bounds what the file's numbers take in memory, which can be four times their text.
	maxValues = 1 << 24

	// freeValues are those that any file may have; beyond them each has valueBytes bytes of text, where honest ones have twenty: a list of
	// a digit each would take many times the file.
	freeValues = 1 << 20
	valueBytes = 4
)

// Read reads one result, .json or .json.gz by its content. It is strict: a field that is unknown, missing,
// given twice or of another type is an error, and so is whatever Validate objects to and anything behind the
// result. An error about the content is a *FormatError. Memory stays within a small multiple of the file's
// size, and that below MaxBytes.
func Read(r io.Reader) (*Result, error) {
	all, err := read(r, true, MaxBytes, maxValues)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ReadSeries reads one result after another, as EncodeLine writes them, compressed or not. A file of one
// result is a series of one.
func ReadSeries(r io.Reader) ([]*Result, error) {
	return read(r, false, MaxBytes, maxValues)
}

func read(r io.Reader, single bool, bytesLeft int64, valuesLeft int) ([]*Result, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var in io.Reader = b
	if bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, &FormatError{Offset: -1, Err: "damaged gzip file: " + err.Error()}
		}
		in = z
	}
	in = &limited{r: in, left: bytesLeft}
	d := &decoder{json: json.NewDecoder(in), left: valuesLeft}
	d.json.UseNumber()
	var all []*Result
	for {
		at := d.json.InputOffset()
		token, err := d.json.Token()
		if err == io.EOF && len(all) > 0 {
			return all, nil
		}
		if err != nil {
			return nil, d.failed(err, "", len(all) == 0)
		}
		if single && len(all) > 0 {
			return nil, &FormatError{Offset: at, Err: "there is something behind the result"}
		}
		if token != json.Delim('{') {
			return nil, &FormatError{Offset: at, Err: "not a hessdens result file: no JSON object"}
		}
		result := &Result{}
		if err := d.object(reflect.ValueOf(result).Elem(), ""); err != nil {
			return nil, err
		}
		if err := result.Validate(); err != nil {
			if _, damage := io.Copy(io.Discard, in); errors.Is(damage, gzip.ErrChecksum) { // then that is why
				return nil, d.failed(damage, "", false)
			}
			return nil, err
		}
		all = append(all, result)
	}
}

var errTooLong = errors.New("file is too long")

// limited is an io.LimitReader that tells a file at its end from one that goes on.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// decoder fills the types of a result from a stream of tokens, without trusting either.
type decoder struct {
	json *json.Decoder
	left int // values that may still come
	got  int64
}

func (d *decoder) wrong(path, format string, args ...any) error {
	return &FormatError{Path: path, Offset: d.json.InputOffset(), Err: fmt.Sprintf(format, args...)}
}

// failed translates an error of the token stream.
func (d *decoder) failed(err error, path string, first bool) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, errTooLong):
		return d.wrong(path, "too long a file (more than %d MiB of JSON)", MaxBytes>>20)
	case errors.Is(err, io.EOF) && first && d.json.InputOffset() == 0:
		return &FormatError{Offset: -1, Err: "the file is empty"}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return d.wrong(path, "the file ends too early")
	case errors.As(err, &syntax):
		if first && path == "" {
			return &FormatError{Offset: syntax.Offset, Err: "not a hessdens result file: " + syntax.Error()}
		}
		return &FormatError{Path: path, Offset: syntax.Offset, Err: "not JSON: " + syntax.Error()}
	case errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || strings.Contains(err.Error(), "flate:"):
		return d.wrong(path, "damaged gzip file: %v", err)
	}
	return err // of the reader itself
}

func (d *decoder) token(path string) (json.Token, error) {
	t, err := d.json.Token()
	if err != nil {
		return nil, d.failed(err, path, false)
	}
	if d.left--; d.left < 0 {
		return nil, d.wrong(path, "too many values in the file (more than %d)", maxValues)
	}
	if d.got++; d.got > freeValues+d.json.InputOffset()/valueBytes {
		return nil, d.wrong(path, "too many values for a file of this size")
	}
	return t, nil
}

// object reads the fields of v behind its opening brace.
func (d *decoder) object(v reflect.Value, path string) error {
	t := v.Type()
	seen := make([]bool, t.NumField())
	for {
		token, err := d.token(path)
		if err != nil {
			return err
		}
		if token == json.Delim('}') {
			break
		}
		name, _ := token.(string) // the decoder lets nothing else be a key
		at := -1
		for i := range seen {
			if t.Field(i).Tag.Get("json") == name {
				at = i
			}
		}
		switch {
		case at < 0 && path == "" && !seen[0]:
			return d.wrong("", "not a hessdens result file: it has a field %s before any schema", quoted(name))
		case at < 0:
			return d.wrong(join(path, quoted(name)), "is no field of %s", Schema)
		case seen[at]:
			return d.wrong(join(path, name), "is given twice")
		}
		seen[at] = true
		if err := d.value(v.Field(at), join(path, name), t.Field(at).Tag.Get("nullable") != ""); err != nil {
			return err
		}
		if path == "" && name == "schema" && v.Field(at).String() != Schema {
			return d.schema(v.Field(at).String())
		}
	}
	for i, ok := range seen {
		if !ok {
			if name := t.Field(i).Tag.Get("json"); path == "" && name == "schema" {
				return d.wrong("", "not a hessdens result file: it has no schema")
			} else {
				return d.wrong(join(path, name), "is missing")
			}
		}
	}
	return nil
}

// schema says what to do about a file of another version, or another kind.
func (d *decoder) schema(got string) error {
	family, _, _ := strings.Cut(Schema, "/")
	if version, ok := strings.CutPrefix(got, family+"/"); ok && len(version) < 20 {
		return d.wrong("schema", "is %q, and this version of hessdens reads %q (take a newer hessdens)", got, Schema)
	}
	return d.wrong("schema", "is %s: not a hessdens result file, whose schema is %q", quoted(got), Schema)
}

func (d *decoder) value(v reflect.Value, path string, nullable bool) error {
	token, err := d.token(path)
	if err != nil {
		return err
	}
	if token == nil {
		if v.Kind() == reflect.Pointer || nullable {
			return nil
		}
		return d.wrong(path, "is null")
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		if token != json.Delim('{') {
			return d.wrong(path, "is %s, not an object", kind(token))
		}
		return d.object(v, path)
	case reflect.Slice, reflect.Array:
		if token != json.Delim('[') {
			return d.wrong(path, "is %s, not an array", kind(token))
		}
		return d.array(v, path)
	case reflect.String:
		s, ok := token.(string)
		if !ok {
			return d.wrong(path, "is %s, not a string", kind(token))
		}
		v.SetString(s)
	case reflect.Float64, reflect.Int, reflect.Uint64:
		number, ok := token.(json.Number)
		if !ok {
			return d.wrong(path, "is %s, not a number", kind(token))
		}
		return d.number(v, string(number), path)
	}
	return nil
}

func (d *decoder) number(v reflect.Value, text, path string) error {
	var err error
	switch v.Kind() {
	case reflect.Float64:
		var x float64
		x, err = strconv.ParseFloat(text, 64)
		v.SetFloat(x)
	case reflect.Int:
		var x int64
		x, err = strconv.ParseInt(text, 10, strconv.IntSize)
		v.SetInt(x)
	default:
		var x uint64
		x, err = strconv.ParseUint(text, 10, 64)
		v.SetUint(x)
	}
	switch {
	case err == nil:
		return nil
	case v.Kind() == reflect.Float64:
		return d.wrong(path, "%s is beyond the range of float64", quoted(text))
	}
	// 3.0 and 3e0 are integers to JSON.
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 || v.Kind() == reflect.Uint64 && x < 0 {
		return d.wrong(path, "%s is not an integer in range", quoted(text))
	}
	if v.Kind() == reflect.Int {
		v.SetInt(int64(x))
	} else {
		v.SetUint(uint64(x))
	}
	return nil
}

// array reads the elements of v behind its opening bracket.
func (d *decoder) array(v reflect.Value, path string) error {
	if numbers, ok := v.Addr().Interface().(*[]float64); ok {
		return d.numbers(numbers, path)
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	for i := 0; d.json.More(); i++ {
		at := indexed(path, i)
		if v.Kind() == reflect.Array {
			if i == v.Len() {
				return d.wrong(path, "has more than %d elements", v.Len())
			}
		} else {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		if err := d.value(v.Index(i), at, false); err != nil {
			return err
		}
		if v.Kind() == reflect.Array && i+1 == v.Len() && !d.json.More() {
			_, err := d.token(path)
			return err
		}
	}
	if _, err := d.token(path); err != nil {
		return err
	}
	if v.Kind() == reflect.Array {
		return d.wrong(path, "has fewer than %d elements", v.Len())
	}
	return nil
}

// numbers is array for what most of a file is.
func (d *decoder) numbers(v *[]float64, path string) error {
	*v = []float64{}
	for {
		token, err := d.token(path)
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case json.Number:
			x, err := strconv.ParseFloat(string(token), 64)
			if err != nil {
				return d.wrong(indexed(path, len(*v)), "%s is beyond the range of float64", quoted(string(token)))
			}
			*v = append(*v, x)
		case json.Delim:
			if token == ']' {
				return nil
			}
			return d.wrong(indexed(path, len(*v)), "is %s, not a number", kind(token))
		default:
			return d.wrong(indexed(path, len(*v)), "is %s, not a number", kind(token))
		}
	}
}

func kind(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "an array"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case nil:
		return "null"
	}
	return "a number"
}

// quoted shows a piece of a file, shortened, with nothing in it that a terminal would act on.
func quoted(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strconv.Quote(s)
}
