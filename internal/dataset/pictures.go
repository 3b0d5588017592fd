package dataset

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"

	"hessdens/internal/tensor"
)

// fileError is an error that names its file already.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// pictures are the inputs of a data set of encoded pictures, examples [channels h w] of bytes. They are
// decoded when they are read; the first ones are kept, as many as budget bytes hold, and the others
// decoded again each time. A file that is then another is an error.
type pictures struct {
	n      int
	file   func(i int) ([]byte, error) // of an example
	name   func(i int) string          // for messages
	form   pictureForm
	budget int64

	seed   maphash.Seed
	mu     sync.Mutex // of the following
	kept   [][]uint8
	hashes []uint64 // of files that were read, 0 for others
}

// pictureForm is what becomes of a picture: channels, the shorter side resized, the middle taken; h and w
// are those of the result.
type pictureForm struct {
	channels, resize int
	crop             bool
	h, w             int
}

func (p *pictures) Rows() int          { return p.n }
func (p *pictures) Type() tensor.DType { return tensor.Uint8 }

// Floats and Ints have no callers: bytes are read by Bytes.
func (p *pictures) Floats([]float64, int, int) error { panic(badColumn) }
func (p *pictures) Ints([]int64, int, int) error     { panic(badColumn) }

func (p *pictures) Bytes(dst []uint8, lo, hi int) error {
	row := p.form.channels * p.form.h * p.form.w
	for i := lo; i < hi; i++ {
		if err := p.read(dst[(i-lo)*row:(i-lo+1)*row], i); err != nil {
			return &fileError{p.name(i), err}
		}
	}
	return nil
}

// read decodes an example, unless it is kept.
func (p *pictures) read(dst []uint8, i int) error {
	p.mu.Lock()
	kept, before := p.kept[i], p.hashes[i]
	p.mu.Unlock()
	if kept != nil {
		copy(dst, kept)
		return nil
	}
	b, err := p.file(i)
	if err != nil {
		return err
	}
	hash := max(maphash.Bytes(p.seed, b), 1)
	if before != 0 && before != hash {
		return errors.New("is another file than it was (leave the data alone while they are in use)")
	}
	r, err := decodePicture(b, p.form.channels)
	if err != nil {
		return err
	}
	if n := p.form.resize; n > 0 {
		if w, h := resized(r.w, r.h, n); w > maxPixels/h {
			return fmt.Errorf("of %d x %d pixels is %d x %d when resized, more than the %d that are read (give a smaller --resize)", r.w, r.h, w, h, maxPixels)
		}
		r = r.resize(n)
	}
	if p.form.crop {
		r = r.crop(p.form.w, p.form.h)
	}
	if r.w != p.form.w || r.h != p.form.h {
		return fmt.Errorf("is of %d x %d pixels where others are of %d x %d (give --resize and --crop)", r.w, r.h, p.form.w, p.form.h)
	}
	r.planes(dst)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hashes[i] = hash
	if p.kept[i] == nil && int64(len(dst)) <= p.budget {
		p.budget -= int64(len(dst))
		p.kept[i] = append([]uint8(nil), dst...)
	}
	return nil
}

// Defaults of torchvision's evaluation of ImageNet: 256 pixels for a network that takes 224.
const shareOfShorterSide = 0.875

// newPictures decides how pictures become examples. size is what a picture declares; one that cannot be
// read does no harm until it is used.
func newPictures(opts Options, n int, file func(int) ([]byte, error), size func(int) (w, h int, err error), name func(int) string) (p *pictures, notes []string, err error) {
	p = &pictures{n: n, file: file, name: name, budget: opts.KeepBytes, seed: maphash.MakeSeed(), kept: make([][]uint8, n), hashes: make([]uint64, n)}
	f := &p.form
	f.channels, f.resize = opts.Channels, opts.Resize
	switch f.channels {
	case 1, 3:
	case 0:
		f.channels = 3
	default:
		return p, nil, &fileError{name(0), fmt.Errorf("pictures have 1 channel or 3, but the network takes %d (give another network)", f.channels)}
	}
	takes := len(opts.ImageSize) == 2 && opts.ImageSize[0] > 0 && opts.ImageSize[1] > 0
	switch {
	case opts.Crop > 0:
		f.crop, f.h, f.w = true, opts.Crop, opts.Crop
		return p, nil, nil
	case takes && f.resize > 0:
		f.crop, f.h, f.w = true, opts.ImageSize[0], opts.ImageSize[1]
		return p, nil, nil
	}
	first, failed := -1, error(nil)
	for i := range n {
		w, h, err := size(i)
		if err != nil {
			if failed == nil {
				failed = &fileError{name(i), err}
			}
			continue
		}
		if f.resize > 0 {
			w, h = resized(w, h, f.resize)
		}
		switch {
		case first < 0:
			first, f.w, f.h = i, w, h
		case (f.w != w || f.h != h) && !takes:
			return p, nil, badOption("--crop", "the pictures differ in size, %s is of %d x %d pixels and %s of %d x %d (give --resize and --crop)", name(first), f.w, f.h, name(i), w, h)
		}
		if takes && (h != opts.ImageSize[0] || w != opts.ImageSize[1]) {
			f.h, f.w, f.crop = opts.ImageSize[0], opts.ImageSize[1], true
			f.resize = int(math.Round(float64(max(f.h, f.w)) / shareOfShorterSide))
			return p, []string{fmt.Sprintf("the shorter side of the pictures is resized to %d pixels and the middle %d x %d are taken, as is usual for ImageNet (--resize and --crop say otherwise)", f.resize, f.w, f.h)}, nil
		}
	}
	if first < 0 {
		return p, nil, failed
	}
	if f.w > maxPixels/f.h {
		return p, nil, badOption("--resize", "%s is %d x %d pixels when resized, more than the %d that are read (give a smaller one)", name(first), f.w, f.h, maxPixels)
	}
	return p, nil, nil
}
