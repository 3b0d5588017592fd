package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// thrift reads the compact protocol of Apache Thrift, in which the metadata of a Parquet file are
// written. A fault ends it: every later value is zero, and err says what it was. No list is longer than the
// bytes that are left, and structures are at most maxNesting deep.
//
// Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
type thrift struct {
	b     []byte
	at    int
	depth int
	err   error
}

const maxNesting = 64

// The types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

func (t *thrift) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("metadata at byte %d: %w", t.at, fmt.Errorf(format, args...))
		t.at = len(t.b)
	}
}

// take is the next n bytes, nil when they are not there.
func (t *thrift) take(n uint64) []byte {
	if n > uint64(len(t.b)-t.at) {
		t.fail("%d bytes are asked for where %d are left", n, len(t.b)-t.at)
		return nil
	}
	out := t.b[t.at : t.at+int(n)]
	t.at += int(n)
	return out
}

func (t *thrift) byte() byte {
	if b := t.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (t *thrift) uvarint() uint64 {
	v, n := binary.Uvarint(t.b[t.at:])
	if n <= 0 {
		t.fail("a number is cut off or too long")
		return 0
	}
	t.at += n
	return v
}

// integer is a value of any integer type, or a truth value of a list.
func (t *thrift) integer(kind byte) int64 {
	switch kind {
	case thriftTrue:
		return 1
	case thriftFalse:
		return 0
	case thriftByte:
		return int64(int8(t.byte()))
	case thriftI16, thriftI32, thriftI64:
		v := t.uvarint()
		return int64(v>>1) ^ -int64(v&1)
	}
	t.fail("a field of type %d where an integer belongs", kind)
	return 0
}

func (t *thrift) text(kind byte) string {
	if kind != thriftBinary {
		t.fail("a field of type %d where a text belongs", kind)
		return ""
	}
	return string(t.take(t.uvarint()))
}

// structure calls f for each field, which reads its value or skips it.
func (t *thrift) structure(kind byte, f func(id int, kind byte)) {
	if kind != thriftStruct {
		t.fail("a field of type %d where a structure belongs", kind)
		return
	}
	if t.depth++; t.depth > maxNesting {
		t.fail("structures are more than %d deep", maxNesting)
		return
	}
	for id := 0; t.err == nil; {
		head := t.byte()
		if head == 0 {
			break
		}
		if head>>4 != 0 {
			id += int(head >> 4)
		} else {
			id = int(int16(t.integer(thriftI16)))
		}
		f(id, head&15)
	}
	t.depth--
}

// list calls f for each element; a truth value has the type that says it.
func (t *thrift) list(kind byte, f func(kind byte)) {
	if kind != thriftList && kind != thriftSet {
		t.fail("a field of type %d where a list belongs", kind)
		return
	}
	head := t.byte()
	n := uint64(head >> 4)
	if n == 15 {
		n = t.uvarint()
	}
	if n > uint64(len(t.b)-t.at) {
		t.fail("a list of %d elements where %d bytes are left", n, len(t.b)-t.at)
		return
	}
	for ; n > 0 && t.err == nil; n-- {
		kind := head & 15
		if kind == thriftTrue || kind == thriftFalse {
			kind = t.byte()
		}
		f(kind)
	}
}

// skip passes over a value.
func (t *thrift) skip(kind byte) {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte, thriftI16, thriftI32, thriftI64:
		t.integer(kind)
	case thriftDouble:
		t.take(8)
	case thriftBinary:
		t.take(t.uvarint())
	case thriftList, thriftSet:
		if t.depth++; t.depth > maxNesting {
			t.fail("lists are more than %d deep", maxNesting)
			return
		}
		t.list(kind, t.skip)
		t.depth--
	case thriftStruct:
		t.structure(kind, func(_ int, kind byte) { t.skip(kind) })
	default: // maps have no place in Parquet's metadata
		t.fail("a field of type %d", kind)
	}
}

var errDamaged = errors.New("the file is damaged (copy it again)")
