package checkpoint

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"hessdens/internal/model/checkpoint/pickle"
)

const (
	// legacyMagic is the integer 0x1950a86a20f9469cfc6c that begins the format before PyTorch 1.6.
	legacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
	// legacyProtocol is its one version.
	legacyProtocol = 1001
)

// openPickle reads a file that begins with a pickle: torch.save before PyTorch 1.6, or
// pickle.dump of a dictionary of NumPy arrays.
func openPickle(r io.ReaderAt, size int64, key string) (*File, error) {
	u := &unpickler{data: r, storages: map[string]*storage{}}
	m := pickle.NewReader(r, 0, size, size, pickle.Hooks{Call: u.call, Persistent: u.persistent})
	first, err := m.Next()
	if err != nil {
		return nil, err
	}
	if first != pickle.Big(legacyMagic) {
		u.close()
		return newPicker(Pickle, u, m.Offset()).file(first, key)
	}
	start := m.Offset()
	protocol, err := m.Next()
	if err != nil {
		return nil, err
	}
	if protocol != int64(legacyProtocol) {
		return nil, fmt.Errorf("offset %d: the version of the format is not %d (the file is damaged, or of a newer PyTorch)", start, legacyProtocol)
	}
	if _, err := m.Next(); err != nil { // about the machine that wrote it; values are always little-endian
		return nil, err
	}
	v, err := m.Next()
	if err != nil {
		return nil, err
	}
	start = m.Offset()
	list, err := m.Next()
	if err != nil {
		return nil, err
	}
	keys, ok := sequence(list)
	if !ok {
		return nil, fmt.Errorf("offset %d: the keys of the storages are no list (the file is damaged; save it again)", start)
	}
	directory := m.Offset()
	for _, k := range keys {
		name := keyText(k)
		s := u.storages[name]
		if s == nil {
			return nil, fmt.Errorf("offset %d: storage %.60q belongs to no tensor (the file is damaged; save it again)", start, name)
		}
		if s.data != nil {
			return nil, fmt.Errorf("offset %d: storage %.60q is there twice (the file is damaged; save it again)", start, name)
		}
		if err := s.read(m, r, size); err != nil {
			return nil, err
		}
	}
	u.close()
	return newPicker(PyTorchLegacy, u, directory).file(v, key)
}

// close says of each storage that was named, and whose values did not come, that they are not there.
func (u *unpickler) close() {
	for _, s := range u.storages {
		if s.data == nil {
			s.fault = fmt.Errorf("its storage %.60q is not in the file (the file is truncated or damaged; save it again)", s.key)
		}
	}
}

// read takes the storage whose size, in values, and values follow. A size that the pickle gave has
// to be the same.
func (s *storage) read(m *pickle.Reader, r io.ReaderAt, end int64) error {
	at := m.Offset()
	word, err := m.Raw(8)
	if err != nil {
		return fmt.Errorf("storage %.60q: %w", s.key, err)
	}
	n := binary.LittleEndian.Uint64(word)
	if n > math.MaxInt64/uint64(s.elem) || int64(n)*s.elem > end-m.Offset() {
		return fmt.Errorf("offset %d: storage %.60q of %d values of %d bytes goes beyond the end of the file (the file is truncated; copy or save it again)", at, s.key, n, s.elem)
	}
	if s.size >= 0 && int64(n)*s.elem != s.size {
		return fmt.Errorf("offset %d: storage %.60q has %d values, but its tensors were told %d (the file is damaged; save it again)", at, s.key, n, s.size/s.elem)
	}
	s.data, s.offset, s.size = r, m.Offset(), int64(n)*s.elem
	m.SkipTo(s.offset + s.size)
	return nil
}

// openTar reads the format before PyTorch 0.1.10: a tar of three files, each a sequence of pickles.
func openTar(r io.ReaderAt, size int64, key string) (*File, error) {
	type member struct{ offset, size int64 }
	members := map[string]member{}
	section := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(section)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tar: %w (the file is truncated or damaged; copy or save it again)", err)
		}
		switch h.Name {
		case "storages", "tensors", "pickle":
		default:
			continue
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if _, twice := members[h.Name]; twice || h.Typeflag != tar.TypeReg || h.Size > size-at {
			return nil, fmt.Errorf("offset %d: tar member %q is there twice, or is no whole file (the file is truncated or damaged; copy or save it again)", at, h.Name)
		}
		for k := range h.PAXRecords {
			if len(k) > 10 && k[:10] == "GNU.sparse" {
				return nil, fmt.Errorf("offset %d: tar member %q has holes (the file is damaged; save it again)", at, h.Name)
			}
		}
		members[h.Name] = member{at, h.Size}
	}
	for _, name := range []string{"storages", "tensors", "pickle"} {
		if _, ok := members[name]; !ok {
			return nil, fmt.Errorf("a tar without %q is no PyTorch file (unpack it, and give the weights in it)", name)
		}
	}
	u := &unpickler{data: r, storages: map[string]*storage{}, tensors: map[string]*view{}}
	open := func(name string) *pickle.Reader {
		return pickle.NewReader(r, members[name].offset, members[name].size, size, pickle.Hooks{Call: u.call, Persistent: u.persistent})
	}
	m := open("storages")
	end := members["storages"].offset + members["storages"].size
	if err := u.tarStorages(m, r, end); err != nil {
		return nil, fmt.Errorf("tar member %q: %w", "storages", err)
	}
	if err := u.tarTensors(open("tensors")); err != nil {
		return nil, fmt.Errorf("tar member %q: %w", "tensors", err)
	}
	v, err := open("pickle").Next()
	if err != nil {
		return nil, fmt.Errorf("tar member %q: %w", "pickle", err)
	}
	u.close()
	return newPicker(PyTorchTar, u, members["pickle"].size+members["tensors"].size).file(v, key)
}

// count is a pickle of how many records follow.
func count(m *pickle.Reader) (int64, error) {
	at := m.Offset()
	v, err := m.Next()
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 {
		return 0, fmt.Errorf("offset %d: how many records follow is no number (the file is damaged)", at)
	}
	return n, nil
}

// fields are a pickle of a tuple of n values.
func fields(m *pickle.Reader, n int) ([]any, error) {
	at := m.Offset()
	v, err := m.Next()
	if err != nil {
		return nil, err
	}
	items, ok := sequence(v)
	if !ok || len(items) != n {
		return nil, fmt.Errorf("offset %d: not a tuple of %d values (the file is damaged)", at, n)
	}
	return items, nil
}

// tarStorages reads (key, location, type), size and values for each storage, then the list of those
// that are parts of others.
func (u *unpickler) tarStorages(m *pickle.Reader, r io.ReaderAt, end int64) error {
	n, err := count(m)
	if err != nil {
		return err
	}
	for range n {
		at := m.Offset()
		f, err := fields(m, 3)
		if err != nil {
			return err
		}
		s, err := newStorage(f[2], f[0])
		if err != nil {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		if u.storages[s.key] != nil {
			return fmt.Errorf("offset %d: storage %.60q is there twice (the file is damaged)", at, s.key)
		}
		s.size = -1
		if err := s.read(m, r, end); err != nil {
			return err
		}
		u.storages[s.key] = s
	}
	at := m.Offset()
	v, err := m.Next()
	if err != nil {
		return err
	}
	views, ok := sequence(v)
	if !ok {
		return fmt.Errorf("offset %d: the views of storages are no list (the file is damaged)", at)
	}
	for _, v := range views {
		f, ok := sequence(v)
		if !ok || len(f) != 4 {
			return fmt.Errorf("offset %d: a view of a storage is no tuple of 4 values (the file is damaged)", at)
		}
		root := u.storages[keyText(f[1])]
		offset, ok1 := f[2].(int64)
		n, ok2 := f[3].(int64)
		if root == nil || !ok1 || !ok2 {
			return fmt.Errorf("offset %d: a view of a storage that is not there (the file is damaged)", at)
		}
		part, err := root.part(offset, n)
		if err != nil {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		u.storages[keyText(f[0])] = part
	}
	return nil
}

// tarTensors reads (key, storage, type), then rank, shape, strides and offset for each tensor.
func (u *unpickler) tarTensors(m *pickle.Reader) error {
	n, err := count(m)
	if err != nil {
		return err
	}
	for range n {
		f, err := fields(m, 3)
		if err != nil {
			return err
		}
		at := m.Offset()
		word, err := m.Raw(8) // 4 bytes would do; the rest is not set
		if err != nil {
			return err
		}
		rank := int64(int32(binary.LittleEndian.Uint32(word)))
		const most = 64
		if rank < 0 || rank > most {
			return fmt.Errorf("offset %d: a tensor of %d axes (the file is damaged)", at, rank)
		}
		b, err := m.Raw(16*rank + 8)
		if err != nil {
			return err
		}
		long := func(i int64) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
		v := &view{shape: make([]int, rank), stride: make([]int, rank), offset: long(2 * rank)}
		for i := range rank {
			v.shape[i], v.stride[i] = int(long(i)), int(long(rank+i))
		}
		if v.storage = u.storages[keyText(f[1])]; v.storage == nil {
			v.storage = &storage{elem: 4, dtype: "float32", key: "none"} // a tensor without a storage is empty
			if rank == 0 {
				v.shape, v.stride = []int{0}, []int{1}
			}
		}
		v.dtype = v.storage.dtype
		u.tensors[keyText(f[0])] = v
	}
	return nil
}
