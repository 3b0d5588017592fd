package checkpoint

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"hessdens/internal/model/checkpoint/pickle"
	"hessdens/internal/npy"
)

// maxInflated bounds what is inflated into memory, in bytes. PyTorch itself never compresses.
const maxInflated = 1 << 28

// record is a file of a PyTorch zip and where its bytes are.
type record struct {
	*zip.File
	offset int64
	once   sync.Once // compares the checksum,
	err    error     // which is not what it should be
}

// torchZip is the archive that torch.save has written since PyTorch 1.6, or torch.jit.save.
type torchZip struct {
	r         io.ReaderAt
	size      int64
	prefix    string // of all names, with a slash
	records   map[string]*record
	bigEndian bool
	checksums bool // torch.serialization.set_crc32_options may have left them out
}

// openZip reads an archive: PyTorch's, or else an .npz.
func openZip(r io.ReaderAt, size int64, key string) (*File, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the zip directory: %w (the file is truncated or damaged; copy or save it again)", err)
	}
	var found []string
	for _, f := range z.File {
		switch dir, base := path.Split(f.Name); {
		case base == "data.pkl" && strings.Count(dir, "/") <= 1:
			found = append(found, dir)
		case base == "serialized_exported_program.json" || base == "model.json" && strings.HasSuffix(dir, "/models/"):
			return nil, errors.New("an archive of torch.export is not read (export the program with torch.onnx.export, or save its .state_dict with torch.save)")
		case base == "model.json" || base == "attributes.pkl":
			return nil, fmt.Errorf("a TorchScript archive of PyTorch 1.0 to 1.3 (%q) is not read (load it with torch.jit.load, and save its .state_dict() with torch.save)", f.Name)
		case strings.Contains(f.Name, ".data/extern_modules"):
			return nil, errors.New("an archive of torch.package is not read (load the model with torch.package.PackageImporter, and save its .state_dict() with torch.save)")
		}
	}
	switch {
	case len(found) == 0:
		if key != "" {
			return nil, errKey
		}
		return openNPZ(r, size)
	case len(found) > 1:
		return nil, fmt.Errorf("the zip holds several PyTorch files, among them %q and %q (unpack it and give one of them)", found[0]+"data.pkl", found[1]+"data.pkl")
	}
	t := &torchZip{r: r, size: size, prefix: found[0], records: make(map[string]*record, len(z.File))}
	if err := t.index(z, size); err != nil {
		return nil, err
	}
	if err := t.options(); err != nil {
		return nil, err
	}
	return t.unpickle(key)
}

// index finds the bytes of all records, and holds them against the file and each other.
func (t *torchZip) index(z *zip.Reader, size int64) error {
	order := make([]*record, 0, len(z.File))
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if t.records[f.Name] != nil {
			return fmt.Errorf("zip record %.200q is there twice (the file is damaged; save it again)", f.Name)
		}
		off, err := f.DataOffset()
		if err != nil {
			return fmt.Errorf("zip record %.200q: reading its local header: %w (the file is damaged; save it again)", f.Name, err)
		}
		if off > size || f.CompressedSize64 > uint64(size-off) {
			return fmt.Errorf("zip record %.200q: %d bytes at offset %d go beyond the end of the file (the file is truncated; copy or save it again)", f.Name, f.CompressedSize64, off)
		}
		switch {
		case f.Flags&1 != 0:
			return fmt.Errorf("zip record %.200q is encrypted (save it without a password)", f.Name)
		case f.Method == zip.Store && f.UncompressedSize64 != f.CompressedSize64:
			return fmt.Errorf("zip record %.200q: stored as %d bytes but declared as %d (the file is damaged; save it again)", f.Name, f.CompressedSize64, f.UncompressedSize64)
		case f.Method == zip.Deflate && (f.UncompressedSize64 > 1<<62 || !npy.CanInflate(int64(f.CompressedSize64), int64(f.UncompressedSize64))):
			return fmt.Errorf("zip record %.200q: %d bytes are declared, more than %d compressed bytes can give (the file is damaged; save it again)", f.Name, f.UncompressedSize64, f.CompressedSize64)
		}
		x := &record{File: f, offset: off}
		t.records[f.Name] = x
		order = append(order, x)
	}
	// Records that share bytes would multiply what the file's size bounds.
	slices.SortFunc(order, func(x, y *record) int { return cmp.Compare(x.offset, y.offset) })
	for i := 1; i < len(order); i++ {
		p, q := order[i-1], order[i]
		if p.offset+int64(p.CompressedSize64) > q.offset {
			return fmt.Errorf("zip records %.200q and %.200q overlap at offset %d (the file is damaged; save it again)", p.Name, q.Name, q.offset)
		}
	}
	return nil
}

// options reads the small records that say how the others are written.
func (t *torchZip) options() error {
	t.checksums = true
	if v := t.records[t.prefix+"version"]; v != nil && v.Method == zip.Store && v.UncompressedSize64 <= 64 {
		// Where the writer left checksums out, this record's is wrong too.
		t.checksums = t.sum(v) == nil
	}
	b := t.records[t.prefix+"byteorder"]
	if b == nil {
		return nil
	}
	if b.UncompressedSize64 > 64 {
		return fmt.Errorf("zip record %.200q has %d bytes, not a byte order (the file is damaged; save it again)", b.Name, b.UncompressedSize64)
	}
	text, off, err := t.bytes(b)
	if err != nil {
		return err
	}
	order := make([]byte, b.UncompressedSize64)
	if _, err := text.ReadAt(order, off); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("zip record %.200q: %w", b.Name, err)
	}
	switch string(bytes.TrimSpace(order)) {
	case "little":
	case "big":
		t.bigEndian = true
	default:
		return fmt.Errorf("offset %d: byte order %q is neither little nor big (the file is damaged; save it again)", b.offset, order)
	}
	return nil
}

// sum compares a stored record with its checksum, once.
func (t *torchZip) sum(x *record) error {
	x.once.Do(func() {
		h := crc32.NewIEEE()
		buf := make([]byte, max(1, min(x.UncompressedSize64, 1<<17)))
		if _, err := io.CopyBuffer(h, io.NewSectionReader(t.r, x.offset, int64(x.UncompressedSize64)), buf); err != nil {
			x.err = fmt.Errorf("reading zip record %.200q at offset %d: %w", x.Name, x.offset, err)
		} else if h.Sum32() != x.CRC32 {
			x.err = fmt.Errorf("the bytes of zip record %.200q at offset %d do not match its checksum (the file is damaged; copy or save it again)", x.Name, x.offset)
		}
	})
	return x.err
}

// bytes are where a record's bytes are, held against its checksum: in the file, or, when they are
// compressed, in memory.
func (t *torchZip) bytes(x *record) (io.ReaderAt, int64, error) {
	switch x.Method {
	case zip.Store:
		if t.checksums {
			if err := t.sum(x); err != nil {
				return nil, 0, err
			}
		}
		return t.r, x.offset, nil
	case zip.Deflate:
	default:
		return nil, 0, fmt.Errorf("zip record %.200q: compression method %d is not read (save it again with torch.save)", x.Name, x.Method)
	}
	if x.UncompressedSize64 > maxInflated {
		return nil, 0, fmt.Errorf("zip record %.200q is compressed, and %d bytes are too many to hold in memory (unpack the zip and pack it again without compression, zip -0, or save it again with torch.save)", x.Name, x.UncompressedSize64)
	}
	rc, err := x.Open()
	if err != nil {
		return nil, 0, fmt.Errorf("zip record %.200q: %w", x.Name, err)
	}
	defer rc.Close()
	var buf bytes.Buffer // grows with what there is, not with what is declared
	if n, err := io.Copy(&buf, io.LimitReader(rc, int64(x.UncompressedSize64)+1)); err != nil || uint64(n) != x.UncompressedSize64 {
		if err == nil {
			err = fmt.Errorf("%d bytes, declared as %d", n, x.UncompressedSize64)
		}
		return nil, 0, fmt.Errorf("zip record %.200q at offset %d: %w (the file is damaged; copy or save it again)", x.Name, x.offset, err)
	}
	return bytes.NewReader(buf.Bytes()), 0, nil
}

// unpickle reads data.pkl.
func (t *torchZip) unpickle(key string) (*File, error) {
	x := t.records[t.prefix+"data.pkl"]
	if x.Method != zip.Store && x.UncompressedSize64 > uint64(t.size)+1<<16 {
		return nil, fmt.Errorf("zip record %.200q at offset %d inflates to %d bytes, more than the whole file has (the file is made to do harm, or damaged; save it again with torch.save)", x.Name, x.offset, x.UncompressedSize64)
	}
	data, off, err := t.bytes(x)
	if err != nil {
		return nil, err
	}
	u := &unpickler{data: data, storages: map[string]*storage{}, open: t.locate}
	m := pickle.NewReader(data, off, int64(x.UncompressedSize64), t.size, pickle.Hooks{Call: u.call, Persistent: u.persistent})
	v, err := m.Next()
	if err != nil {
		return nil, fmt.Errorf("zip record %.200q: %w", x.Name, err)
	}
	return newPicker(PyTorch, u, int64(x.UncompressedSize64)).file(v, key)
}

// locate finds the record of a storage.
func (t *torchZip) locate(s *storage) {
	name := t.prefix + "data/" + s.key
	x := t.records[name]
	if x == nil {
		s.fault = fmt.Errorf("its zip record %.200q is missing (the file is damaged; save it again)", name)
		return
	}
	if int64(x.UncompressedSize64) < s.size {
		s.fault = fmt.Errorf("its storage of %d bytes is larger than zip record %.200q at offset %d, which has %d (the file is damaged; save it again)", s.size, name, x.offset, x.UncompressedSize64)
		return
	}
	s.size, s.bigEndian = int64(x.UncompressedSize64), t.bigEndian
	s.data, s.offset = t.r, x.offset
	if x.Method != zip.Store || t.checksums {
		s.open = func() (io.ReaderAt, int64, error) { return t.bytes(x) }
	}
}
