package parquet

import (
	"encoding/binary"
	"fmt"
)

// differences calls f for n numbers that are written as the first one and the differences between neighbours, in blocks
// of packed numbers, and gives what follows them.
func differences(b []byte, n int, f func(int64) error) (rest []byte, err error) {
	next := func() (v uint64) {
		v, used := binary.Uvarint(b)
		if used <= 0 {
			err = errCut
			return 0
		}
		b = b[used:]
		return v
	}
	zigzag := func() int64 {
		v := next()
		return int64(v>>1) ^ -int64(v&1)
	}
	size, parts, total, value := next(), next(), next(), zigzag()
	if err != nil {
		return nil, err
	}
	if parts == 0 || size > 1<<20 || size%parts != 0 || size/parts%8 != 0 || size == 0 || total != uint64(n) {
		return nil, fmt.Errorf("%d differences, in blocks of %d in %d parts, of %d values: %w", total, size, parts, n, errDamaged)
	}
	if n == 0 {
		return b, nil
	}
	if err := f(value); err != nil {
		return nil, err
	}
	per := int(size / parts)
	var padded []byte
	for left := n - 1; left > 0; {
		least := zigzag()
		if err != nil || uint64(len(b)) < parts {
			return nil, errCut
		}
		widths := b[:parts]
		b = b[parts:]
		for _, w := range widths {
			if left == 0 {
				break
			}
			width := int(w)
			if width > 64 || per*width/8 > len(b) {
				return nil, errCut
			}
			padded = append(append(padded[:0], b[:per*width/8]...), make([]byte, 9)...)
			b = b[per*width/8:]
			for i := range min(per, left) {
				at, shift := i*width/8, i*width%8
				v := binary.LittleEndian.Uint64(padded[at:]) >> shift
				if shift+width > 64 {
					v |= uint64(padded[at+8]) << (64 - shift)
				}
				if width < 64 {
					v &= 1<<width - 1
				}
				value += least + int64(v)
				if err := f(value); err != nil {
					return nil, err
				}
			}
			left -= min(per, left)
		}
	}
	return b, nil
}

// deltas appends n texts, of which the lengths are written first; with prefixes how much each has of the one before, and
// then what it has of its own.
func (r *reader) deltas(b []byte, n int, prefixes bool) error {
	if err := r.ask(16 * int64(n)); err != nil {
		return err
	}
	list := func() ([]int64, error) {
		var out []int64
		var err error
		b, err = differences(b, n, func(v int64) error {
			if v < 0 {
				return errCut
			}
			out = append(out, v)
			return nil
		})
		return out, err
	}
	var shared []int64
	var err error
	if prefixes {
		if shared, err = list(); err != nil {
			return err
		}
	}
	own, err := list()
	if err != nil {
		return err
	}
	var last []byte
	for i, length := range own {
		if length > int64(len(b)) {
			return errCut
		}
		v := b[:length:length]
		b = b[length:]
		if prefixes {
			if shared[i] > int64(len(last)) {
				return errCut
			}
			if shared[i] > 0 {
				if err := r.ask(shared[i] + length); err != nil {
					return err
				}
				v = append(append(make([]byte, 0, shared[i]+length), last[:shared[i]]...), v...)
			}
			last = v
		}
		if r.c.Kind == FixedLenByteArray && len(v) != r.c.length {
			return errCut
		}
		r.out.Bytes = append(r.out.Bytes, v)
	}
	return nil
}

// unsplit puts the bytes of n values beside each other, which are written byte by byte of all.
func (r *reader) unsplit(b []byte, n int) ([]byte, error) {
	width := map[Kind]int{Int32: 4, Int64: 8, Float: 4, Double: 8, FixedLenByteArray: r.c.length}[r.c.Kind]
	if width == 0 || int64(width)*int64(n) > int64(len(b)) {
		return nil, errCut
	}
	out := make([]byte, n*width)
	for i := range out {
		out[i] = b[i%width*n+i/width]
	}
	return out, nil
}
