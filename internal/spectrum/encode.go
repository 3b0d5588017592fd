package spectrum

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
)

// numbersPerLine keeps a file of long arrays readable and its differences local.
const numbersPerLine = 16

// Encode writes r as indented JSON: fields in the order of the schema, arrays of numbers sixteen to a line,
// numbers in the shortest form that reads back to the same float64. Equal results give equal bytes. Nothing is
// written when r is not valid (a number that is not finite, lengths that differ).
func Encode(w io.Writer, r *Result) error {
	b, err := encode(r, false)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// EncodeLine writes r as one line: a series of results is a file of such lines.
func EncodeLine(w io.Writer, r *Result) error {
	b, err := encode(r, true)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// EncodeGzip writes what Encode writes, compressed, with no name and no time in the header.
func EncodeGzip(w io.Writer, r *Result) error {
	b, err := encode(r, false)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	_, err = z.Write(b)
	return errors.Join(err, z.Close())
}

func encode(r *Result, line bool) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	e := encoder{line: line}
	e.value(reflect.ValueOf(r).Elem(), "", 0, false)
	e.buf.WriteByte('\n')
	return e.buf.Bytes(), e.err
}

// encoder writes the few kinds of value that a result is made of.
type encoder struct {
	buf  bytes.Buffer
	line bool // everything on one line
	err  error
}

func (e *encoder) newline(depth int) {
	if e.line {
		return
	}
	e.buf.WriteByte('\n')
	for range depth {
		e.buf.WriteString("  ")
	}
}

// gap is the space after a comma or colon.
func (e *encoder) gap() {
	if !e.line {
		e.buf.WriteByte(' ')
	}
}

func (e *encoder) value(v reflect.Value, path string, depth int, nullable bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			e.buf.WriteString("null")
			return
		}
		e.value(v.Elem(), path, depth, false)
	case reflect.Struct:
		e.object(v, path, depth)
	case reflect.Slice, reflect.Array:
		if nullable && v.IsNil() {
			e.buf.WriteString("null")
			return
		}
		e.array(v, path, depth)
	case reflect.String:
		e.text(v.String())
	case reflect.Int:
		e.buf.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint64:
		e.buf.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float64:
		x := v.Float()
		if math.IsNaN(x) || math.IsInf(x, 0) {
			e.err = errors.Join(e.err, fmt.Errorf("%s: %v cannot be written", path, x))
		}
		e.buf.Write(appendNumber(e.buf.AvailableBuffer(), x))
	default:
		panic("spectrum: a result holds a " + v.Type().String())
	}
}

func (e *encoder) object(v reflect.Value, path string, depth int) {
	flat := isFlat(v.Type()) && depth > 1
	e.buf.WriteByte('{')
	for i := range v.NumField() {
		if i > 0 {
			e.buf.WriteByte(',')
		}
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		switch {
		case !flat:
			e.newline(depth + 1)
		case i > 0:
			e.gap()
		}
		e.text(name)
		e.buf.WriteByte(':')
		e.gap()
		e.value(v.Field(i), join(path, name), depth+1, f.Tag.Get("nullable") != "")
	}
	if !flat {
		e.newline(depth)
	}
	e.buf.WriteByte('}')
}

func (e *encoder) array(v reflect.Value, path string, depth int) {
	numbers := v.Type().Elem().Kind() == reflect.Float64
	n := v.Len()
	broken := n > 0 && !numbers || n > numbersPerLine
	e.buf.WriteByte('[')
	for i := range n {
		if i > 0 {
			e.buf.WriteByte(',')
		}
		switch {
		case broken && (!numbers || i%numbersPerLine == 0):
			e.newline(depth + 1)
		case i > 0:
			e.gap()
		}
		e.value(v.Index(i), path+"["+strconv.Itoa(i)+"]", depth+1, false)
	}
	if broken {
		e.newline(depth)
	}
	e.buf.WriteByte(']')
}

// isFlat says that an object has no arrays or objects inside and fits on a line.
func isFlat(t reflect.Type) bool {
	for i := range t.NumField() {
		k := t.Field(i).Type
		if k.Kind() == reflect.Pointer {
			k = k.Elem()
		}
		switch k.Kind() {
		case reflect.Struct, reflect.Slice, reflect.Array:
			return false
		}
	}
	return true
}

func (e *encoder) text(s string) {
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(s); err != nil {
		e.err = errors.Join(e.err, err)
	}
	e.buf.Write(bytes.TrimSuffix(b.Bytes(), []byte{'\n'}))
}

// appendNumber appends the shortest decimal that reads back as x, as encoding/json and JavaScript write it.
func appendNumber(b []byte, x float64) []byte {
	format := byte('f')
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, x, format, -1, 64)
	if n := len(b); format == 'e' && n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1] // e-09 → e-9
		b = b[:n-1]
	}
	return b
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
