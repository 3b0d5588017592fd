package npy

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxInflate is the most that deflate can give for each byte: 258 bytes for two bits.
const maxInflate = 1032

// inflateSlack is what is allowed on top of maxInflate, for the tail of a tiny stream.
const inflateSlack = 1024

// CanInflate says whether a deflated stream of that many bytes can give size bytes: what a file
// declares beyond this is a lie, told before memory is asked for.
func CanInflate(compressed, size int64) bool {
	return size <= inflateSlack || (size-inflateSlack+maxInflate-1)/maxInflate <= compressed
}

// Archive is the directory of an .npz file, or of any other zip.
type Archive struct {
	Members []Member // the arrays, in the order of the zip's directory
	Others  []string // names of files that are not .npy
}

// Member is an array of an archive: its name without .npy, and its header.
type Member struct {
	Name string
	Header
	file   *zip.File
	data   io.ReaderAt // of the whole archive
	offset int64       // of the member's bytes in data
}

// OpenArchive reads the directory of a zip of size bytes and the headers of its .npy files; no
// values. It fails on a damaged directory, on members that are encrypted, compressed by
// something other than deflate, overlapping, of the same name, larger than their compressed bytes
// can give, or that are not .npy under a name that says so. An archive without arrays is no
// error.
func OpenArchive(r io.ReaderAt, size int64) (*Archive, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the zip directory: %w (the file is truncated or damaged; copy or save it again)", err)
	}
	a := &Archive{}
	seen := map[string]bool{}
	for _, f := range z.File {
		name, isArray := strings.CutSuffix(f.Name, ".npy")
		if !isArray {
			a.Others = append(a.Others, f.Name)
			continue
		}
		if seen[name] {
			return nil, fmt.Errorf("array %q is there twice (save it again with numpy.savez)", name)
		}
		seen[name] = true
		m := Member{Name: name, file: f, data: r}
		if err := m.open(size); err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		a.Members = append(a.Members, m)
	}
	// Members that share bytes would multiply what the file's size bounds.
	order := slices.Clone(a.Members)
	slices.SortFunc(order, func(x, y Member) int { return cmp.Compare(x.offset, y.offset) })
	for i := 1; i < len(order); i++ {
		p, q := order[i-1], order[i]
		if p.offset+int64(p.file.CompressedSize64) > q.offset {
			return nil, fmt.Errorf("arrays %q and %q overlap at offset %d (the file is damaged; save it again)", p.Name, q.Name, q.offset)
		}
	}
	return a, nil
}

// Find is the member of that name, nil when there is none.
func (a *Archive) Find(name string) *Member {
	for i := range a.Members {
		if a.Members[i].Name == name {
			return &a.Members[i]
		}
	}
	return nil
}

// open checks the sizes that the directory declares, and reads the member's header.
func (m *Member) open(size int64) error {
	f := m.file
	if f.Flags&1 != 0 {
		return errors.New("the zip is encrypted (save it without a password)")
	}
	off, err := f.DataOffset()
	if err != nil {
		return fmt.Errorf("reading the zip's local header: %w (the file is damaged; save it again)", err)
	}
	m.offset = off
	packed := f.CompressedSize64
	if off > size || packed > uint64(size-off) {
		return fmt.Errorf("%d bytes at offset %d go beyond the end of the file (the file is truncated)", packed, off)
	}
	switch f.Method {
	case zip.Store:
		if f.UncompressedSize64 != packed {
			return fmt.Errorf("offset %d: stored as %d bytes but declared as %d (the file is damaged)", off, packed, f.UncompressedSize64)
		}
	case zip.Deflate:
		if f.UncompressedSize64 > 1<<62 || !CanInflate(int64(packed), int64(f.UncompressedSize64)) {
			return fmt.Errorf("offset %d: %d bytes are declared, more than %d compressed bytes can give (the file is damaged)", off, f.UncompressedSize64, packed)
		}
	default:
		return fmt.Errorf("zip compression method %d is not read (save it with numpy.savez or numpy.savez_compressed)", f.Method)
	}
	rc, err := f.Open()
	if err != nil {
		return fmt.Errorf("offset %d: %w", off, err)
	}
	defer rc.Close()
	m.Header, err = ReadHeader(rc, int64(f.UncompressedSize64))
	return err
}

// Array opens the member's values, checked against the zip's checksum. A stored member stays in
// the file, a deflated one is decompressed into memory, never more than the directory declares.
// It fails on a type that is not read and on damaged bytes.
func (m *Member) Array() (*Array, error) {
	if err := m.Supported(); err != nil {
		return nil, err
	}
	rc, err := m.file.Open()
	if err != nil {
		return nil, fmt.Errorf("offset %d: %w", m.offset, err)
	}
	defer rc.Close()
	if m.file.Method == zip.Store {
		if _, err := io.Copy(io.Discard, rc); err != nil {
			return nil, m.damaged(err)
		}
		return m.array(m.data, m.offset), nil
	}
	buf := make([]byte, m.file.UncompressedSize64)
	if _, err := io.ReadFull(rc, buf); err != nil {
		return nil, m.damaged(err)
	}
	// The checksum is compared at the end of the stream.
	var end [1]byte
	if n, err := io.ReadFull(rc, end[:]); n != 0 || !errors.Is(err, io.EOF) {
		return nil, m.damaged(err)
	}
	return m.array(bytes.NewReader(buf), 0), nil
}

func (m *Member) damaged(err error) error {
	switch {
	case errors.Is(err, zip.ErrChecksum):
		return fmt.Errorf("the bytes at offset %d do not match the zip's checksum (the file is damaged; copy or save it again)", m.offset)
	case err == nil:
		err = errors.New("more bytes than declared")
	}
	return fmt.Errorf("reading the bytes at offset %d: %w (the file is damaged; copy or save it again)", m.offset, noEOF(err))
}
