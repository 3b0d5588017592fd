package parquet

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// Values are a column's of a group. Where a definition level is below Column.MaxDef there is none: a null, or a
// list that is null or empty. A repetition level of 0 begins a row. Exactly one of Ints, Floats and Bytes is in
// use, by the column's kind, and holds the values that are there; what is in Bytes is not to be written to.
type Values struct {
	Def, Rep []uint8 // of each value or its absence; nil where Column.MaxDef or MaxRep is 0
	Ints     []int64
	Floats   []float64
	Bytes    [][]byte
}

// Bounds of the memory that a column of a group may ask for, and of the number of rows: what a byte of the
// file can stand for, and what is free for a small file. See Most.
const (
	perByte   = 256
	freeBytes = 16 << 20
	maxWindow = 64 << 20 // of zstd, whose highest levels take 8 MiB and more only when told to
)

// The encodings that are read.
const (
	plain           = 0
	plainDictionary = 2
	rle             = 3
	deltaPacked     = 5
	deltaLength     = 6
	deltaBytes      = 7
	rleDictionary   = 8
	byteStreamSplit = 9
)

// reader reads a column of a group.
type reader struct {
	c          *Column
	codec      int64
	b          []byte // of the chunk, from the next page on
	budget     int64  // bytes that may still be asked for
	dictionary *Values
	zstd       *zstd.Decoder // once a page needs it
	out        Values
}

// Most is how many bytes of memory a column of a group may ask for.
func (f *File) Most() int64 { return freeBytes + perByte*f.size }

// Read reads a column of a group. It fails on damage, and on encodings and compressions that are not read.
func (f *File) Read(group int, c *Column) (*Values, error) {
	g := &f.Groups[group]
	ch := g.chunks[c.index]
	r := &reader{c: c, codec: ch.codec, b: make([]byte, ch.length), budget: f.Most()}
	v, err := r.read(f.r, ch)
	if r.zstd != nil {
		r.zstd.Close()
	}
	if err == nil && c.MaxRep == 0 && ch.values != int64(g.Rows) {
		err = fmt.Errorf("%d values of %d rows: %w", ch.values, g.Rows, errDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("column %q, row group %d: %w", c.Name(), group, err)
	}
	return v, nil
}

// ask takes bytes of the budget.
func (r *reader) ask(n int64) error {
	if n < 0 || n > r.budget {
		return errors.New("the values take far more memory than the file has bytes (is it damaged?)")
	}
	r.budget -= n
	return nil
}

func (r *reader) read(from io.ReaderAt, ch chunk) (*Values, error) {
	if n, err := from.ReadAt(r.b, ch.offset); n < len(r.b) {
		return nil, fmt.Errorf("reading %d bytes at offset %d: %w", len(r.b), ch.offset, err)
	}
	size := int64(8)
	if r.c.Kind == ByteArray || r.c.Kind == FixedLenByteArray {
		size = 24
	}
	if ch.values > math.MaxInt32 {
		return nil, errDamaged
	}
	if err := r.ask(ch.values * (size + 2)); err != nil {
		return nil, err
	}
	for left := ch.values; left > 0; {
		n, err := r.page(left)
		if err != nil {
			return nil, err
		}
		left -= n
	}
	return &r.out, nil
}

// pageHeader is what precedes a page.
type pageHeader struct {
	kind, full, packed int64 // the type, and the bytes of the page when decompressed and in the file
	values, encoding   int64
	levels             int64 // encoding of levels in the first version, where that is not rle
	defBytes, repBytes int64 // second version
	compressed         bool
}

func (r *reader) header() (pageHeader, error) {
	h := pageHeader{kind: -1, compressed: true, levels: rle}
	t := &thrift{b: r.b}
	t.structure(thriftStruct, func(id int, kind byte) {
		switch id {
		case 1:
			h.kind = t.integer(kind)
		case 2:
			h.full = t.integer(kind)
		case 3:
			h.packed = t.integer(kind)
		case 5, 7:
			t.structure(kind, func(id int, kind byte) {
				switch id {
				case 1:
					h.values = t.integer(kind)
				case 2:
					h.encoding = t.integer(kind)
				case 3, 4:
					e := t.integer(kind)
					if e != rle && (id == 3 && r.c.MaxDef > 0 || id == 4 && r.c.MaxRep > 0) {
						h.levels = e
					}
				default:
					t.skip(kind)
				}
			})
		case 8:
			t.structure(kind, func(id int, kind byte) {
				switch id {
				case 1:
					h.values = t.integer(kind)
				case 4:
					h.encoding = t.integer(kind)
				case 5:
					h.defBytes = t.integer(kind)
				case 6:
					h.repBytes = t.integer(kind)
				case 7:
					h.compressed = t.integer(kind) != 0
				default:
					t.skip(kind)
				}
			})
		default:
			t.skip(kind)
		}
	})
	if t.err != nil {
		return h, fmt.Errorf("the header of a page: %w: %w", t.err, errDamaged)
	}
	r.b = r.b[t.at:]
	if h.packed < 0 || h.packed > int64(len(r.b)) || h.full < 0 || h.values < 0 || h.defBytes < 0 || h.repBytes < 0 || h.defBytes > h.packed || h.repBytes > h.packed-h.defBytes {
		return h, fmt.Errorf("a page of %d bytes where %d are left: %w", h.packed, len(r.b), errDamaged)
	}
	return h, nil
}

// page reads the next page, at most left values, and says how many it held.
func (r *reader) page(left int64) (int64, error) {
	if len(r.b) == 0 {
		return 0, fmt.Errorf("%d values are missing: %w", left, errDamaged)
	}
	h, err := r.header()
	if err != nil {
		return 0, err
	}
	b := r.b[:h.packed]
	r.b = r.b[h.packed:]
	switch h.kind {
	case 2:
		if r.dictionary != nil || h.encoding != plain && h.encoding != plainDictionary || h.values > math.MaxInt32 {
			return 0, fmt.Errorf("a dictionary of %d values in encoding %d: %w", h.values, h.encoding, errDamaged)
		}
		if b, err = r.decompress(b, h.full); err != nil {
			return 0, err
		}
		if err := r.ask(24 * h.values); err != nil {
			return 0, err
		}
		r.dictionary = &Values{}
		return 0, r.plain(r.dictionary, b, int(h.values))
	case 0, 3:
	default:
		return 0, nil // an index page
	}
	if h.values > left {
		return 0, fmt.Errorf("a page of %d values where %d are left: %w", h.values, left, errDamaged)
	}
	n := int(h.values)
	var rep, def []uint8
	if h.kind == 0 {
		if h.levels != rle {
			return 0, fmt.Errorf("levels in encoding %d are not read (write the file with pyarrow)", h.levels)
		}
		if b, err = r.decompress(b, h.full); err != nil {
			return 0, err
		}
		if rep, b, err = levelsBefore(b, n, r.c.MaxRep); err != nil {
			return 0, err
		}
		if def, b, err = levelsBefore(b, n, r.c.MaxDef); err != nil {
			return 0, err
		}
	} else {
		if rep, err = levels(b[:h.repBytes], n, r.c.MaxRep); err != nil {
			return 0, err
		}
		if def, err = levels(b[h.repBytes:h.repBytes+h.defBytes], n, r.c.MaxDef); err != nil {
			return 0, err
		}
		if b = b[h.repBytes+h.defBytes:]; h.compressed {
			if b, err = r.decompress(b, h.full-h.repBytes-h.defBytes); err != nil {
				return 0, err
			}
		}
	}
	present := n
	for _, d := range def {
		if d < r.c.MaxDef {
			present--
		}
	}
	r.out.Rep, r.out.Def = append(r.out.Rep, rep...), append(r.out.Def, def...)
	switch h.encoding {
	case plain:
		err = r.plain(&r.out, b, present)
	case plainDictionary, rleDictionary:
		err = r.indexed(b, present)
	case rle:
		if r.c.Kind != Boolean {
			return 0, fmt.Errorf("values in runs: %w", errDamaged)
		}
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return 0, errCut
		}
		err = hybrid(b[4:4+binary.LittleEndian.Uint32(b)], 1, present, func(v uint32) error {
			r.out.Ints = append(r.out.Ints, int64(v))
			return nil
		})
	case deltaPacked:
		if r.c.Kind != Int32 && r.c.Kind != Int64 {
			return 0, fmt.Errorf("values in differences: %w", errDamaged)
		}
		_, err = differences(b, present, func(v int64) error {
			if r.c.Kind == Int32 {
				v = int64(int32(v))
			}
			r.out.Ints = append(r.out.Ints, v)
			return nil
		})
	case deltaLength, deltaBytes:
		if r.c.Kind != ByteArray && (r.c.Kind != FixedLenByteArray || h.encoding == deltaLength) {
			return 0, fmt.Errorf("values in differences: %w", errDamaged)
		}
		err = r.deltas(b, present, h.encoding == deltaBytes)
	case byteStreamSplit:
		if b, err = r.unsplit(b, present); err == nil {
			err = r.plain(&r.out, b, present)
		}
	default:
		return 0, fmt.Errorf("the encoding %d is not read (write the file with pyarrow or pandas as they do by default)", h.encoding)
	}
	return h.values, err
}

var errCut = fmt.Errorf("a page is cut off: %w", errDamaged)

// decompress gives the full bytes of a page.
func (r *reader) decompress(b []byte, full int64) ([]byte, error) {
	if r.codec == 0 || full == 0 {
		return b[:min(full, int64(len(b)))], nil
	}
	if err := r.ask(full); err != nil {
		return nil, err
	}
	var out []byte
	var err error
	switch r.codec {
	case 1:
		var n int
		if n, err = snappy.DecodedLen(b); err == nil && int64(n) == full {
			out, err = snappy.Decode(nil, b)
		}
	case 2:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			out = make([]byte, full)
			_, err = io.ReadFull(z, out)
		}
	case 6:
		out, err = r.unzstd(b, full)
	default:
		names := map[int64]string{3: "LZO", 4: "Brotli", 5: "LZ4", 7: "LZ4"}
		return nil, fmt.Errorf("the compression %d %s is not read (write the file with snappy, gzip, zstd or none)", r.codec, names[r.codec])
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing a page: %w: %w", err, errDamaged)
	}
	if int64(len(out)) != full {
		return nil, fmt.Errorf("a page that does not decompress to %d bytes: %w", full, errDamaged)
	}
	return out, nil
}

// unzstd gives at most the bytes that are asked for, whatever the frames hold.
func (r *reader) unzstd(b []byte, full int64) ([]byte, error) {
	var err error
	if r.zstd == nil {
		r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
	}
	if err := r.zstd.Reset(bytes.NewReader(b)); err != nil {
		return nil, err
	}
	out := make([]byte, full)
	_, err = io.ReadFull(r.zstd, out)
	return out, err
}

// plain appends n values that are written one after the other.
func (r *reader) plain(out *Values, b []byte, n int) error {
	width := map[Kind]int{Int32: 4, Int64: 8, Float: 4, Double: 8, FixedLenByteArray: r.c.length}[r.c.Kind]
	if int64(width)*int64(n) > int64(len(b)) || r.c.Kind == Boolean && (n+7)/8 > len(b) || r.c.Kind == ByteArray && n > len(b)/4 {
		return errCut
	}
	switch r.c.Kind {
	case Boolean:
		for i := range n {
			out.Ints = append(out.Ints, int64(b[i/8]>>(i%8)&1))
		}
	case Int32:
		for i := range n {
			out.Ints = append(out.Ints, int64(int32(binary.LittleEndian.Uint32(b[4*i:]))))
		}
	case Int64:
		for i := range n {
			out.Ints = append(out.Ints, int64(binary.LittleEndian.Uint64(b[8*i:])))
		}
	case Float:
		for i := range n {
			out.Floats = append(out.Floats, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))))
		}
	case Double:
		for i := range n {
			out.Floats = append(out.Floats, math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
		}
	case ByteArray:
		for range n {
			if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
				return errCut
			}
			end := 4 + int(binary.LittleEndian.Uint32(b))
			out.Bytes = append(out.Bytes, b[4:end:end])
			b = b[end:]
		}
	case FixedLenByteArray:
		if width == 0 {
			return fmt.Errorf("values of no bytes: %w", errDamaged)
		}
		for i := range n {
			out.Bytes = append(out.Bytes, b[i*width:(i+1)*width:(i+1)*width])
		}
	default:
		return fmt.Errorf("values of type %s are not read (write them as another type)", r.c.Kind)
	}
	return nil
}

// indexed appends n values of the dictionary.
func (r *reader) indexed(b []byte, n int) error {
	d := r.dictionary
	if d == nil {
		return fmt.Errorf("a dictionary is missing: %w", errDamaged)
	}
	if n == 0 {
		return nil
	}
	if len(b) < 1 || b[0] > 32 {
		return errCut
	}
	size := uint32(len(d.Ints) + len(d.Floats) + len(d.Bytes))
	return hybrid(b[1:], int(b[0]), n, func(i uint32) error {
		switch {
		case i >= size:
			return fmt.Errorf("value %d of a dictionary of %d: %w", i, size, errDamaged)
		case d.Ints != nil:
			r.out.Ints = append(r.out.Ints, d.Ints[i])
		case d.Floats != nil:
			r.out.Floats = append(r.out.Floats, d.Floats[i])
		default:
			r.out.Bytes = append(r.out.Bytes, d.Bytes[i])
		}
		return nil
	})
}

// levelsBefore reads levels that are preceded by their number of bytes, and gives what follows them.
func levelsBefore(b []byte, n int, most uint8) (levs []uint8, rest []byte, err error) {
	if most == 0 {
		return nil, b, nil
	}
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, errCut
	}
	end := 4 + int(binary.LittleEndian.Uint32(b))
	levs, err = levels(b[4:end], n, most)
	return levs, b[end:], err
}

// levels reads n levels up to most; nil where that is 0.
func levels(b []byte, n int, most uint8) ([]uint8, error) {
	if most == 0 {
		return nil, nil
	}
	out := make([]uint8, 0, n)
	err := hybrid(b, bits.Len8(most), n, func(v uint32) error {
		if v > uint32(most) {
			return fmt.Errorf("a level of %d, more than %d: %w", v, most, errDamaged)
		}
		out = append(out, uint8(v))
		return nil
	})
	return out, err
}

// hybrid calls f for n numbers of width bits, up to 32, that are written in runs and packed groups of eight.
func hybrid(b []byte, width, n int, f func(uint32) error) error {
	for n > 0 {
		head, used := binary.Uvarint(b)
		if used <= 0 {
			return errCut
		}
		b = b[used:]
		if head&1 == 0 { // a run
			size := (width + 7) / 8
			if len(b) < size {
				return errCut
			}
			v := uint32(0)
			for i := range size {
				v |= uint32(b[i]) << (8 * i)
			}
			b = b[size:]
			for range min(head>>1, uint64(n)) {
				if err := f(v); err != nil {
					return err
				}
			}
			n -= int(min(head>>1, uint64(n)))
			continue
		}
		count := n
		if head>>1 <= uint64(n)/8 {
			count = int(head>>1) * 8
		}
		if (count*width+7)/8 > len(b) {
			return errCut
		}
		at, have, bit := 0, uint64(0), 0
		for range count {
			for bit < width {
				have |= uint64(b[at]) << bit
				at++
				bit += 8
			}
			if err := f(uint32(have & (1<<width - 1))); err != nil {
				return err
			}
			have >>= width
			bit -= width
		}
		n -= count
		b = b[min(uint64(len(b)), (head>>1)*uint64(width)):]
	}
	return nil
}
