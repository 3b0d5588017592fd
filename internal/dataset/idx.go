package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// idxTypes are the type codes of IDX.
//
// Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database, "the IDX file format".
var idxTypes = map[byte]tensor.DType{
	0x08: tensor.Uint8, 0x09: tensor.Int8, 0x0b: tensor.Int16, 0x0c: tensor.Int32, 0x0d: tensor.Float32, 0x0e: tensor.Float64,
}

// isIDX says whether a file may begin an IDX header: two zeros, a type, and 1 to 8 axes.
func isIDX(head []byte) bool {
	return len(head) >= 4 && head[0] == 0 && head[1] == 0 && idxTypes[head[2]] != "" && head[3] >= 1 && head[3] <= 8
}

// idxArray describes the array of an IDX file, plain or gzipped: two zero bytes, the type, the
// number of axes, their sizes as big-endian 32-bit numbers, and the values, big-endian, the last
// axis varying fastest.
func idxArray(s Source, f file) (*npy.Array, error) {
	var magic [2]byte
	if n, err := f.ReadAt(magic[:], 0); n < 2 {
		return nil, s.errorf("reading the header at offset 0: %w", short(err))
	}
	if magic != [2]byte{0x1f, 0x8b} {
		a, length, err := idxHeader(io.NewSectionReader(f, 0, f.size))
		if err != nil {
			return nil, s.errorf("%w", err)
		}
		if length != f.size {
			return nil, s.errorf("the IDX header at offset 0, shape %v of %s, needs %d bytes, but the file has %d (it is truncated or damaged; copy it again)", a.Shape, a.DType, length, f.size)
		}
		a.Data = f
		return a, nil
	}
	z, err := gzip.NewReader(io.NewSectionReader(f, 0, f.size))
	if err != nil {
		return nil, s.errorf("reading the gzip header at offset 0: %w (the file is damaged; copy it again)", short(err))
	}
	a, length, err := idxHeader(z)
	if err != nil {
		return nil, s.errorf("in the gzipped data: %w", err)
	}
	if !npy.CanInflate(f.size, length) {
		return nil, s.errorf("the IDX header in the gzipped data, shape %v of %s, needs %d bytes, more than %d compressed bytes can give (the file is damaged; copy it again)", a.Shape, a.DType, length, f.size)
	}
	values := make([]byte, length-a.Offset)
	if n, err := io.ReadFull(z, values); err != nil {
		return nil, s.errorf("the gzipped data ends at byte %d of the %d that its IDX header needs: %w (the file is truncated or damaged; copy it again)", a.Offset+int64(n), length, short(err))
	}
	// The checksum is compared at the end of the stream.
	var end [1]byte
	if n, err := io.ReadFull(z, end[:]); n != 0 || !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("more data than the IDX header says")
		}
		return nil, s.errorf("after byte %d of the gzipped data: %w (the file is damaged; copy it again)", length, err)
	}
	a.Data, a.Offset = bytes.NewReader(values), 0
	return a, nil
}

// idxHeader reads a header; length is that of the whole file.
func idxHeader(r io.Reader) (a *npy.Array, length int64, err error) {
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return nil, 0, fmt.Errorf("reading the IDX header at offset 0: %w (the file is truncated)", short(err))
	}
	if !isIDX(magic[:]) {
		return nil, 0, fmt.Errorf("offset 0: % x does not begin an IDX file (give the images file of MNIST or one like it)", magic)
	}
	sizes := make([]byte, 4*int(magic[3]))
	if _, err := io.ReadFull(r, sizes); err != nil {
		return nil, 0, fmt.Errorf("reading the IDX header at offset 4: %w (the file is truncated)", short(err))
	}
	a = &npy.Array{DType: idxTypes[magic[2]], BigEndian: true, Offset: int64(4 + len(sizes))}
	for i := range int(magic[3]) {
		a.Shape = append(a.Shape, int(binary.BigEndian.Uint32(sizes[4*i:])))
	}
	// A product with the size of a value beyond 2^62 bytes is as false as one that overflows.
	count, err := tensor.CheckedCount(a.Shape)
	if err == nil && int64(count) > 1<<59 {
		err = fmt.Errorf("shape %v holds more values than any file", a.Shape)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("offset 4: %w (the file is damaged)", err)
	}
	return a, a.Offset + int64(count)*int64(a.DType.Size()), nil
}

// short turns an end of file in the middle of something into io.ErrUnexpectedEOF.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// idxImages are the usual names of a split's images file.
func idxImages(split string) []string {
	prefix := map[string]string{"train": "train", "test": "t10k"}[split]
	return []string{
		prefix + "-images-idx3-ubyte", prefix + "-images.idx3-ubyte",
		prefix + "-images-idx3-ubyte.gz", prefix + "-images.idx3-ubyte.gz",
	}
}

var idxRank = regexp.MustCompile(`[-.]idx[0-9]`)

// idxLabels are the names under which the labels of an images file may be found beside it, the
// likeliest first; none when the file is not named as an images file.
func idxLabels(images string) []string {
	base, gz := strings.CutSuffix(images, ".gz")
	i := strings.LastIndex(base, "images")
	if i < 0 {
		return nil
	}
	base = base[:i] + "labels" + base[i+len("images"):]
	suffixes := []string{"", ".gz"}
	if gz {
		suffixes = []string{".gz", ""}
	}
	at := idxRank.FindStringIndex(base)
	if at == nil {
		return []string{base + suffixes[0], base + suffixes[1]}
	}
	separators := []string{"-", "."}
	if base[at[0]] == '.' {
		separators = []string{".", "-"}
	}
	var names []string
	for _, separator := range separators {
		for _, suffix := range suffixes {
			names = append(names, base[:at[0]]+separator+"idx1"+base[at[1]:]+suffix)
		}
	}
	return names
}

// idxDirectory opens a split of a directory.
func (o *opener) idxDirectory(s Source, names map[string]bool) (pair, error) {
	split := o.opts.Split
	if split == "" {
		split = "train"
	}
	for _, name := range idxImages(split) {
		if names[name] {
			images := s.in(name)
			f, err := o.file(images)
			if err != nil {
				return pair{}, err
			}
			return o.idxFile(images, f)
		}
	}
	return pair{}, s.errorf("no images file of the %s split in the directory, looked for %s: %w (choose another --split, or give the images file)", split, strings.Join(idxImages(split), ", "), fs.ErrNotExist)
}

// idxFile opens an images file, and finds the labels beside it.
func (o *opener) idxFile(s Source, f file) (pair, error) {
	p := pair{format: IDX}
	base := path.Base(s.Name)
	switch {
	case strings.HasPrefix(base, "train"):
		p.split = "train"
	case strings.HasPrefix(base, "t10k"):
		p.split = "test"
	}
	if err := o.fileSplit(s, p.split); err != nil {
		return p, err
	}
	x, err := idxArray(s, f)
	if err != nil {
		return p, err
	}
	if len(x.Shape) == 1 {
		return p, s.errorf("a labels file, it seems: one axis of %d values (give the images file; its labels are found beside it)", x.Shape[0])
	}
	if p.x, err = inputs(s.path(), x, true); err != nil {
		return p, err
	}
	candidates := idxLabels(base)
	if candidates == nil {
		return p, s.errorf("where the labels are is not clear from this name, which lacks 'images' (give both files, IMAGES,LABELS)")
	}
	var labels Source
	found := slices.ContainsFunc(candidates, func(name string) bool {
		labels = s.beside(name)
		_, err := fs.Stat(s.FS, labels.Name)
		return err == nil
	})
	if !found {
		return p, s.errorf("no labels file beside it, looked for %s: %w (put it there, or give both files, IMAGES,LABELS)", strings.Join(candidates, ", "), fs.ErrNotExist)
	}
	g, err := o.file(labels)
	if err != nil {
		return p, err
	}
	y, err := idxArray(labels, g)
	if err != nil {
		return p, err
	}
	p.y, err = targets(labels.path(), y)
	return p, err
}
