package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// A mutator makes files that are nearly valid out of valid ones: every file is a function of the seed.
type mutator struct {
	*rand.Rand
	others   [][]byte                // valid files, to splice with
	parts    func(b []byte) [][2]int // where a file's lengths and names lie, from and to; nil: at both ends
	numerals bool                    // lengths are written in digits
}

// mutate changes a file in one place or a few.
func (m *mutator) mutate(file []byte) []byte {
	b := bytes.Clone(file)
	for more := true; more; more = m.IntN(3) == 0 {
		if len(b) == 0 {
			return b
		}
		b = m.change(b)
	}
	return b
}

// at is a place in a file: most often where its structure lies.
func (m *mutator) at(b []byte) int {
	if m.IntN(4) == 0 {
		return m.IntN(len(b))
	}
	parts := [][2]int{{0, 128}, {len(b) - 128, len(b)}}
	if m.parts != nil {
		if p := m.parts(b); len(p) > 0 {
			parts = p
		}
	}
	p := parts[m.IntN(len(parts))]
	from, to := max(p[0], 0), min(p[1], len(b))
	if from >= to {
		return m.IntN(len(b))
	}
	return from + m.IntN(to-from)
}

// span is some bytes of a file: most often few.
func (m *mutator) span(b []byte) (from, to int) {
	from = m.at(b)
	n := 1 + m.IntN(32)
	if m.IntN(4) == 0 {
		n = 1 + m.IntN(len(b))
	}
	return from, min(from+n, len(b))
}

func (m *mutator) change(b []byte) []byte {
	kinds := 11
	if m.numerals {
		kinds = 16
	}
	switch at := m.at(b); m.IntN(kinds) {
	case 0, 1:
		b[at] ^= 1 << m.IntN(8)
	case 2:
		b[at] = []byte{0, 1, 0x7f, 0x80, 0xff, b[at] + 1, b[at] - 1, byte(m.Uint32())}[m.IntN(8)]
	case 3:
		b = b[:at]
	case 4:
		from, to := m.span(b)
		b = slices.Delete(b, from, to)
	case 5:
		from, to := m.span(b)
		b = slices.Insert(b, at, bytes.Clone(b[from:to])...)
	case 6:
		from, to := m.span(b)
		copy(b[at:], bytes.Clone(b[from:to]))
	case 7: // the beginning of one and the end of another
		other := m.others[m.IntN(len(m.others))]
		if len(other) > 0 {
			b = slices.Concat(b[:at], other[m.at(other):])
		}
	case 8, 9:
		m.length(b, at)
	case 10: // a number of variable length beyond 64 bits, or a deep nesting
		fill := []byte{0xff, 0x80, '[', '{', '(', b[at]}[m.IntN(6)]
		b = slices.Insert(b, at, bytes.Repeat([]byte{fill}, 1<<m.IntN(11))...)
	default:
		b = m.numeral(b, at)
	}
	return b
}

// length changes what looks like a length: the next number of 16, 32 or 64 bits, in either order, that is not beyond the file's size.
func (m *mutator) length(b []byte, at int) {
	size := []int{2, 4, 8}[m.IntN(3)]
	order := []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}[m.IntN(2)]
	get := func(p []byte) uint64 {
		switch size {
		case 2:
			return uint64(order.Uint16(p))
		case 4:
			return uint64(order.Uint32(p))
		}
		return order.Uint64(p)
	}
	put := func(p []byte, v uint64) {
		switch size {
		case 2:
			order.PutUint16(p, uint16(v))
		case 4:
			order.PutUint32(p, uint32(v))
		default:
			order.PutUint64(p, v)
		}
	}
	for i := at; i < at+64 && i+size <= len(b); i++ {
		if v := get(b[i:]); v > 0 && v <= uint64(len(b)) {
			n := uint64(len(b))
			put(b[i:], []uint64{0, v - 1, v + 1, 2 * v, n, n - 1, n + 1, 1 << 16, 1 << 24, math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 40, 1 << 62, math.MaxInt64, 1 << 63, math.MaxUint64}[m.IntN(17)])
			return
		}
	}
}

// numeral replaces the next number that is written in digits.
func (m *mutator) numeral(b []byte, at int) []byte {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	for at < len(b) && !digit(b[at]) {
		at++
	}
	end := at
	for end < len(b) && digit(b[end]) {
		end++
	}
	v, _ := strconv.Atoi(string(b[at:end]))
	choices := []string{"0", "-1", strconv.Itoa(v - 1), strconv.Itoa(v + 1), strconv.Itoa(2 * v), "3", "255", "65536", "2147483648", "4294967295", "9223372036854775807", "18446744073709551616",
		"1e9", "1e400", "1e-400", "NaN", "null", "true", "\"\"", "[]", "{}"}
	return slices.Replace(b, at, end, []byte(choices[m.IntN(len(choices))])...)
}

// marks are the places around texts that begin a record.
func marks(before, after int, texts ...string) func(b []byte) [][2]int {
	return func(b []byte) [][2]int {
		var parts [][2]int
		for _, s := range texts {
			for from := 0; ; {
				i := bytes.Index(b[from:], []byte(s))
				if i < 0 || len(parts) >= 1000 {
					break
				}
				parts = append(parts, [2]int{from + i - before, from + i + after})
				from += i + len(s)
			}
		}
		return parts
	}
}

// zipRecords are the headers of a zip: the end of its directory, the entries of the directory, those before the files.
var zipRecords = marks(0, 46, "PK\x05\x06", "PK\x01\x02", "PK\x03\x04")

// pngChunks are the types of a PNG's chunks with the lengths before them and the beginning of what they hold.
var pngChunks = marks(4, 20, "IHDR", "PLTE", "tRNS", "IDAT", "IEND")

// safetensorsHeader is the length and the text before the values.
func safetensorsHeader(b []byte) [][2]int {
	if len(b) < 8 {
		return nil
	}
	return [][2]int{{0, 8 + int(min(binary.LittleEndian.Uint64(b), uint64(len(b))))}}
}

// parquetFooter is the metadata with their length behind them.
func parquetFooter(b []byte) [][2]int {
	if len(b) < 8 {
		return nil
	}
	n := int64(binary.LittleEndian.Uint32(b[len(b)-8:]))
	return [][2]int{{len(b) - 8 - int(min(n, int64(len(b)))), len(b)}, {0, 64}}
}

// protobufTags are the tags of the fields with their lengths, at all depths.
func protobufTags(b []byte) [][2]int {
	var parts [][2]int
	var walk func(from, to, depth int) bool
	walk = func(from, to, depth int) bool {
		for from < to {
			tag, n := binary.Uvarint(b[from:to])
			if n <= 0 || tag>>3 == 0 {
				return false
			}
			begin := from
			from += n
			switch tag & 7 {
			case 0:
				_, n = binary.Uvarint(b[from:to])
			case 1:
				n = 8
			case 2:
				size, m := binary.Uvarint(b[from:to])
				if m <= 0 || size > uint64(to-from-m) {
					return false
				}
				n = m
				parts = append(parts, [2]int{begin, from + m + 4})
				if known := len(parts); depth < 8 && !walk(from+m, from+m+int(size), depth+1) {
					parts = parts[:known]
				}
				n += int(size)
			case 5:
				n = 4
			default:
				return false
			}
			if n <= 0 || n > to-from {
				return false
			}
			if tag&7 != 2 {
				parts = append(parts, [2]int{begin, from + n})
			}
			from += n
		}
		return true
	}
	walk(0, len(b), 0)
	return parts
}

// Formats with checksums are also changed behind them: a member of an archive, the content of a gzip, a PNG with its chunks' sums set right.

// inZip changes one member of an archive, and packs all again.
func (m *mutator) inZip(file []byte) []byte {
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(z.File) == 0 {
		return m.mutate(file)
	}
	pick := m.IntN(len(z.File))
	for i, f := range z.File { // a pickle holds the structure, where there is one
		if bytes.HasSuffix([]byte(f.Name), []byte("data.pkl")) && m.IntN(4) > 0 {
			pick = i
		}
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return m.mutate(file)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return m.mutate(file)
		}
		if i == pick {
			inner := &mutator{Rand: m.Rand, others: [][]byte{content}, numerals: bytes.HasPrefix(content, []byte("\x93NUMPY"))}
			content = inner.mutate(content)
		}
		part, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: f.Method})
		if err == nil {
			_, err = part.Write(content)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// inGzip changes what is compressed.
func (m *mutator) inGzip(file []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return m.mutate(file)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return m.mutate(file)
	}
	inner := &mutator{Rand: m.Rand, others: [][]byte{content}, numerals: m.numerals}
	return gzipped(inner.mutate(content))
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// inPNG changes a PNG and sets the checksums of its chunks right.
func (m *mutator) inPNG(file []byte) []byte {
	b := m.mutate(file)
	for at := 8; at+12 <= len(b); {
		n := int64(binary.BigEndian.Uint32(b[at:]))
		if n > int64(len(b)-at-12) {
			break
		}
		end := at + 8 + int(n)
		binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[at+4:end]))
		at = end + 4
	}
	return b
}
