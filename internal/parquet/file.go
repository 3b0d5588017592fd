// Package parquet reads the columns of Parquet files: data pages of both versions in all encodings that
// are in use, as they are or compressed by snappy, gzip or zstd.
//
// Files are hostile until parsed: lengths are held against what is left of the file, and the memory that a
// column asks for against the size of the file.
//
// Source: https://github.com/apache/parquet-format
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Kind is the physical type of a column's values.
type Kind int

// The kinds, by their numbers in the format.
const (
	Boolean Kind = iota
	Int32
	Int64
	Int96
	Float
	Double
	ByteArray
	FixedLenByteArray
)

func (k Kind) String() string {
	names := []string{"boolean", "int32", "int64", "int96", "float", "double", "byte array", "fixed-length byte array"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("type %d", int(k))
	}
	return names[k]
}

// Logical is what values stand for, where that is not their kind.
type Logical int

// The logical types; Other is one that is none of them: a decimal, a date, a time, …
const (
	None Logical = iota
	String
	Uint8 // in int32
	Float16
	Other
)

// Column is a column of values, a leaf of the schema.
type Column struct {
	Path    []string // its name, with those of structures and lists that it is in
	Kind    Kind
	Logical Logical
	MaxDef  uint8 // the definition level of a value that is there
	MaxRep  uint8 // 0, or in how many lists it is
	length  int   // bytes of a FixedLenByteArray
	index   int
}

// Name is the path as a person writes it.
func (c *Column) Name() string { return strings.Join(c.Path, ".") }

// Group is a group of rows, which are read together.
type Group struct {
	Rows   int
	chunks []chunk
}

type chunk struct {
	kind, codec    int64
	values         int64
	offset, length int64
}

// File is an open file.
type File struct {
	Columns []*Column
	Groups  []Group
	Rows    int
	Meta    map[string]string // what writers leave beside the data

	r    io.ReaderAt
	size int64
}

const magic = "PAR1"

// Magic is what a file begins with.
const Magic = magic

// maxRows is the most rows of a file, so that sums of them fit an int of 32 bits.
const maxRows = math.MaxInt32

// Open reads the metadata of a file of size bytes. It fails on a file that is damaged, encrypted, or of a
// form that no column could be read of; what a column needs is found when it is read.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size, Meta: map[string]string{}}
	if size < 12 {
		return nil, fmt.Errorf("%d bytes are no Parquet file (it is truncated; copy it again)", size)
	}
	var tail [8]byte
	if _, err := r.ReadAt(tail[:], size-8); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the last 8 bytes: %w", err)
	}
	switch string(tail[4:]) {
	case magic:
	case "PARE":
		return nil, errors.New("the file is encrypted, which is not read (write it without a key)")
	default:
		return nil, errors.New("the file does not end as Parquet does (it is truncated; copy it again)")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n > size-12 {
		return nil, fmt.Errorf("metadata of %d bytes in a file of %d: %w", n, size, errDamaged)
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, size-8-n); err != nil {
		return nil, fmt.Errorf("reading %d bytes of metadata: %w", n, err)
	}
	var schema []element
	t := &thrift{b: b}
	encrypted := false
	t.structure(thriftStruct, func(id int, kind byte) {
		switch id {
		case 2:
			t.list(kind, func(kind byte) { schema = append(schema, t.element(kind)) })
		case 3:
			f.Rows = t.count(kind, "rows")
		case 4:
			t.list(kind, func(kind byte) { f.Groups = append(f.Groups, t.group(kind)) })
		case 5:
			t.list(kind, func(kind byte) {
				var key, value string
				t.structure(kind, func(id int, kind byte) {
					switch id {
					case 1:
						key = t.text(kind)
					case 2:
						value = t.text(kind)
					default:
						t.skip(kind)
					}
				})
				f.Meta[key] = value
			})
		case 8:
			encrypted = true
			t.skip(kind)
		default:
			t.skip(kind)
		}
	})
	switch {
	case t.err != nil:
		return nil, fmt.Errorf("%w: %w", t.err, errDamaged)
	case encrypted:
		return nil, errors.New("columns are encrypted, which is not read (write it without a key)")
	}
	if err := f.tree(schema); err != nil {
		return nil, err
	}
	return f, f.checkGroups()
}

// element is a node of the schema.
type element struct {
	kind, length, repetition, children int64
	name                               string
	logical                            Logical
}

func (t *thrift) element(kind byte) element {
	e := element{kind: -1}
	t.structure(kind, func(id int, kind byte) {
		switch id {
		case 1:
			e.kind = t.integer(kind)
		case 2:
			e.length = t.integer(kind)
		case 3:
			e.repetition = t.integer(kind)
		case 4:
			e.name = t.text(kind)
		case 5:
			e.children = t.integer(kind)
		case 6: // the older form of field 10
			if c := t.integer(kind); e.logical == None {
				e.logical = converted(c)
			}
		case 10:
			t.structure(kind, func(id int, kind byte) { e.logical = t.logical(id, kind) })
		default:
			t.skip(kind)
		}
	})
	return e
}

// converted is a ConvertedType: UTF8 is 0, UINT_8 11, the other integers 12 to 18; JSON 19 is a text.
func converted(c int64) Logical {
	switch {
	case c == 0, c == 4, c == 19:
		return String
	case c == 11:
		return Uint8
	case c >= 12 && c <= 18:
		return None
	}
	return Other
}

// logical is a LogicalType, of which id is the member.
func (t *thrift) logical(id int, kind byte) Logical {
	bits, signed := int64(0), true
	t.structure(kind, func(id int, kind byte) {
		switch id {
		case 1:
			if kind == thriftByte {
				bits = t.integer(kind)
				return
			}
		case 2:
			if kind == thriftTrue || kind == thriftFalse {
				signed = kind == thriftTrue
				return
			}
		}
		t.skip(kind)
	})
	switch id {
	case 1, 4, 12:
		return String
	case 10:
		if bits == 8 && !signed {
			return Uint8
		}
		return None
	case 15:
		return Float16
	}
	return Other
}

// count is a number of things, from 0 to maxRows.
func (t *thrift) count(kind byte, what string) int {
	n := t.integer(kind)
	if n < 0 || n > maxRows {
		t.fail("%d %s", n, what)
		return 0
	}
	return int(n)
}

func (t *thrift) group(kind byte) Group {
	var g Group
	t.structure(kind, func(id int, kind byte) {
		switch id {
		case 1:
			t.list(kind, func(kind byte) {
				var c chunk
				t.structure(kind, func(id int, kind byte) {
					switch id {
					case 1:
						t.fail("a column is in another file, %q", t.text(kind))
					case 3:
						c = t.chunk(kind)
					default:
						t.skip(kind)
					}
				})
				g.chunks = append(g.chunks, c)
			})
		case 3:
			g.Rows = t.count(kind, "rows of a group")
		default:
			t.skip(kind)
		}
	})
	return g
}

func (t *thrift) chunk(kind byte) chunk {
	var c chunk
	dictionary := int64(0)
	t.structure(kind, func(id int, kind byte) {
		switch id {
		case 1:
			c.kind = t.integer(kind)
		case 4:
			c.codec = t.integer(kind)
		case 5:
			c.values = t.integer(kind)
		case 7:
			c.length = t.integer(kind)
		case 9:
			c.offset = t.integer(kind)
		case 11:
			dictionary = t.integer(kind)
		default:
			t.skip(kind)
		}
	})
	if dictionary > 0 && dictionary < c.offset {
		c.offset = dictionary
	}
	return c
}

// tree makes the columns of the schema, which lists its nodes depth first.
func (f *File) tree(schema []element) error {
	at := 0
	var walk func(path []string, def, rep uint8) error
	walk = func(path []string, def, rep uint8) error {
		if at >= len(schema) || len(path) > maxNesting {
			return fmt.Errorf("a schema of %d nodes that has more, or is more than %d deep: %w", len(schema), maxNesting, errDamaged)
		}
		e := schema[at]
		at++
		if at > 1 { // the root has no name and no repetition
			path = append(slices.Clip(path), e.name)
			switch e.repetition {
			case 0:
			case 1:
				def++
			case 2:
				def++
				rep++
			default:
				return fmt.Errorf("column %q: a repetition of type %d: %w", strings.Join(path, "."), e.repetition, errDamaged)
			}
		}
		if e.kind >= 0 && at > 1 {
			if e.kind > int64(FixedLenByteArray) || e.length < 0 || e.length > math.MaxInt32 {
				return fmt.Errorf("column %q: values of type %d of %d bytes: %w", strings.Join(path, "."), e.kind, e.length, errDamaged)
			}
			f.Columns = append(f.Columns, &Column{Path: path, Kind: Kind(e.kind), Logical: e.logical, MaxDef: def, MaxRep: rep, length: int(e.length), index: len(f.Columns)})
			return nil
		}
		for range e.children {
			if err := walk(path, def, rep); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(nil, 0, 0); err != nil {
		return err
	}
	if at != len(schema) {
		return fmt.Errorf("a schema of %d nodes, %d of which belong to none: %w", len(schema), len(schema)-at, errDamaged)
	}
	return nil
}

func (f *File) checkGroups() error {
	rows := 0
	for i, g := range f.Groups {
		if len(g.chunks) != len(f.Columns) {
			return fmt.Errorf("row group %d has %d columns, the schema %d: %w", i, len(g.chunks), len(f.Columns), errDamaged)
		}
		if rows += g.Rows; rows > f.Rows {
			break
		}
		for j, c := range g.chunks {
			if c.offset < 4 || c.length < 0 || c.offset > f.size || c.length > f.size-c.offset || Kind(c.kind) != f.Columns[j].Kind || c.values < 0 {
				return fmt.Errorf("column %q, row group %d: %d values in %d bytes at offset %d of a file of %d: %w", f.Columns[j].Name(), i, c.values, c.length, c.offset, f.size, errDamaged)
			}
		}
	}
	if int64(rows) > f.Most() {
		return fmt.Errorf("%d rows in %d bytes (is the file damaged?)", rows, f.size)
	}
	if rows != f.Rows {
		return fmt.Errorf("row groups of %d rows or more in a file of %d: %w", rows, f.Rows, errDamaged)
	}
	return nil
}
