package pickle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// bufSize is what is read of a file at once, in bytes: a pickle of a few dozen tensors.
	bufSize = 1 << 14
	// maxInline is the longest string that is kept; longer ones become a Blob. No name is as long.
	maxInline = 1 << 12
	// maxLine bounds an argument that ends with a newline, in bytes.
	maxLine = 1 << 16
)

// source reads a range of a file forwards.
type source struct {
	r        io.ReaderAt
	pos, end int64 // of the next byte, and of the range, in r
	buf      []byte
	at       int64 // of buf in r
}

// next is the n bytes that follow, valid until the next call.
func (s *source) next(n int64) ([]byte, error) {
	if n < 0 || n > s.end-s.pos {
		return nil, fmt.Errorf("%d bytes are due at offset %d, but only %d follow (the file is truncated or damaged)", uint64(n), s.pos, s.end-s.pos)
	}
	if s.pos < s.at || s.pos+n > s.at+int64(len(s.buf)) {
		if err := s.fill(max(n, min(bufSize, s.end-s.pos))); err != nil {
			return nil, err
		}
	}
	b := s.buf[s.pos-s.at:][:n]
	s.pos += n
	return b, nil
}

func (s *source) fill(n int64) error {
	if int64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	s.buf, s.at = s.buf[:n], s.pos
	if got, err := s.r.ReadAt(s.buf, s.at); int64(got) < n {
		s.buf = s.buf[:0]
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("reading %d bytes at offset %d: %w", n, s.at, err)
	}
	return nil
}

// skip passes n bytes over without reading them.
func (s *source) skip(n int64) error {
	if n < 0 || n > s.end-s.pos {
		return fmt.Errorf("%d bytes are due at offset %d, but only %d follow (the file is truncated or damaged)", uint64(n), s.pos, s.end-s.pos)
	}
	s.pos += n
	return nil
}

// line is the bytes up to a newline, without it.
func (s *source) line() (string, error) {
	var out []byte
	start := s.pos
	for {
		if s.pos == s.end {
			return "", fmt.Errorf("the line at offset %d has no end (the file is truncated or damaged)", start)
		}
		if s.pos < s.at || s.pos >= s.at+int64(len(s.buf)) {
			if err := s.fill(min(bufSize, s.end-s.pos)); err != nil {
				return "", err
			}
		}
		rest := s.buf[s.pos-s.at:]
		i := bytes.IndexByte(rest, '\n')
		if i >= 0 {
			rest = rest[:i]
		}
		if len(out)+len(rest) > maxLine {
			return "", fmt.Errorf("the line at offset %d is longer than %d bytes (the file is damaged)", start, maxLine)
		}
		out = append(out, rest...)
		s.pos += int64(len(rest))
		if i >= 0 {
			s.pos++
			return string(out), nil
		}
	}
}
