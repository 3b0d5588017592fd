package dataset

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"sync"

	"golang.org/x/image/bmp"
	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
	"golang.org/x/image/webp"
)

// pictureKind is a format of pictures.
type pictureKind struct {
	name    string
	magic   []string // with ? for any byte
	perByte int      // no honest file has more pixels for each of its bytes, but for the first million
	config  func(io.Reader) (image.Config, error)
	decode  func([]byte) (image.Image, error)
}

var pictureKinds = []pictureKind{
	{"JPEG", []string{"\xff\xd8\xff"}, maxPerByte, jpeg.DecodeConfig, decodeWith(jpeg.Decode)},
	{"PNG", []string{"\x89PNG\r\n\x1a\n"}, maxPerByte, png.DecodeConfig, decodeWith(png.Decode)},
	{"GIF", []string{"GIF87a", "GIF89a"}, maxPerByte, gif.DecodeConfig, decodeGIF},
	{"BMP", []string{"BM"}, 8, bmp.DecodeConfig, decodeWith(bmp.Decode)},
	{"WebP", []string{"RIFF????WEBP"}, maxPerByte, webp.DecodeConfig, decodeWebP},
}

// unreadKinds are formats that a person may well have.
var unreadKinds = []pictureKind{
	{name: "TIFF", magic: []string{"II*\x00", "MM\x00*"}},
	{name: "PPM", magic: []string{"P1", "P2", "P3", "P4", "P5", "P6"}},
	{name: "AVIF or HEIF", magic: []string{"????ftyp"}},
	{name: "JPEG 2000", magic: []string{"\x00\x00\x00\x0cjP  "}},
}

func decodeWith(f func(io.Reader) (image.Image, error)) func([]byte) (image.Image, error) {
	return func(b []byte) (image.Image, error) { return f(bytes.NewReader(b)) }
}

func (k pictureKind) is(head []byte) bool {
	for _, m := range k.magic {
		if len(head) < len(m) {
			continue
		}
		same := true
		for i := range m {
			same = same && (m[i] == '?' || m[i] == head[i])
		}
		if same {
			return true
		}
	}
	return false
}

// kindOf recognises a picture by its first bytes.
func kindOf(head []byte) (pictureKind, error) {
	for _, k := range pictureKinds {
		if k.is(head) {
			return k, nil
		}
	}
	for _, k := range unreadKinds {
		if k.is(head) {
			return k, fmt.Errorf("is %s, which is not read (convert it to PNG)", k.name)
		}
	}
	if len(head) == 0 {
		return pictureKind{}, errors.New("the file is empty (copy it again, or take it away)")
	}
	return pictureKind{}, errors.New("is no picture that is read: neither JPEG, PNG, GIF, BMP nor WebP (convert it to PNG, or take it away)")
}

// Bounds of a picture, so that a small file does not ask for a large memory: the most pixels, the most for each
// byte of a file that is compressed (as deflate, the most that any archive gives), the most that any file may have, whatever
// its size, and the most of which two are decoded at once.
const (
	maxPixels   = 1 << 26
	maxPerByte  = 1032
	freePixels  = 1 << 20
	largePixels = 1 << 22
	maxSide     = 1 << 13 // of --resize and --crop
)

// large is held while a large picture is decoded: one at a time.
var large sync.Mutex

// pictureSize is the width and height that a picture of size bytes declares.
func pictureSize(r io.Reader, size int64) (w, h int, err error) {
	defer recovered(&err)
	b := bufio.NewReader(r)
	head, err := b.Peek(16)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	k, err := kindOf(head)
	if err != nil {
		return 0, 0, err
	}
	c, err := k.config(b)
	if err != nil {
		return 0, 0, k.damaged(err)
	}
	return c.Width, c.Height, k.checkSize(c.Width, c.Height, size)
}

func (k pictureKind) checkSize(w, h int, size int64) error {
	if w < 1 || h < 1 {
		return fmt.Errorf("the %s has a size of %d x %d pixels (it is damaged; copy it again)", k.name, w, h)
	}
	if pixels := int64(w) * int64(h); w > maxPixels || h > maxPixels || pixels > maxPixels {
		return fmt.Errorf("the %s has %d x %d pixels, more than the %d that are read (make it smaller)", k.name, w, h, maxPixels)
	} else if pixels > freePixels+size*int64(k.perByte) {
		return fmt.Errorf("the %s declares %d x %d pixels, which %d bytes do not hold (it is damaged; copy it again)", k.name, w, h, size)
	}
	return nil
}

// damaged is the error of a decoder.
func (k pictureKind) damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the %s is truncated (copy it again): %w", k.name, io.ErrUnexpectedEOF)
	}
	for _, prefix := range []string{"image/jpeg: ", "jpeg: ", "png: ", "gif: ", "bmp: ", "webp: ", "vp8: ", "vp8l: ", "invalid format: ", "unsupported feature: "} {
		if s, ok := strings.CutPrefix(err.Error(), prefix); ok {
			err = errors.New(s)
		}
	}
	return fmt.Errorf("the %s cannot be decoded: %w (convert it to PNG with another program, or copy it again if it is damaged)", k.name, err)
}

// recovered turns the panic of a decoder of others into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("cannot be decoded: %v (it is damaged; copy it again, or convert it to PNG with another program)", r)
	}
}

// decodePicture gives the pixels of a file in three channels, red, green and blue, or in one of grey:
// as Pillow's convert('RGB') and then convert('L') do. An alpha channel is left out, 16 bits are cut to
// the upper 8.
func decodePicture(b []byte, channels int) (r raster, err error) {
	defer recovered(&err)
	w, h, err := pictureSize(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return r, err
	}
	if w*h > largePixels {
		large.Lock()
		defer large.Unlock()
	}
	k, err := kindOf(b[:min(len(b), 16)])
	if err != nil {
		return r, err
	}
	m, err := k.decode(b)
	if err != nil {
		return r, k.damaged(err)
	}
	if got := m.Bounds(); got.Dx() != w || got.Dy() != h {
		return r, fmt.Errorf("the %s holds %d x %d pixels but declares %d x %d (save it again with another program)", k.name, got.Dx(), got.Dy(), w, h)
	}
	r = newRaster(w, h, 3)
	if err := fill(r, m); err != nil {
		return r, k.damaged(err)
	}
	if channels == 1 {
		r = r.grey()
	}
	return r, nil
}

// grey is the luma of ITU-R 601-2 in 16 bits.
func (r raster) grey() raster {
	out := newRaster(r.w, r.h, 1)
	for i := range out.pix {
		p := r.pix[3*i : 3*i+3]
		out.pix[i] = uint8((uint32(p[0])*19595 + uint32(p[1])*38470 + uint32(p[2])*7471 + 0x8000) >> 16)
	}
	return out
}

// fill writes the colours of a decoded picture, without its alpha channel.
func fill(dst raster, m image.Image) error {
	switch m := m.(type) {
	case *image.Gray:
		dst.each(m.Pix, m.Stride, 1, 0, 0, 0)
	case *image.Gray16:
		dst.each(m.Pix, m.Stride, 2, 0, 0, 0)
	case *image.RGBA:
		dst.each(m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.NRGBA:
		dst.each(m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.RGBA64:
		dst.each(m.Pix, m.Stride, 8, 0, 2, 4)
	case *image.NRGBA64:
		dst.each(m.Pix, m.Stride, 8, 0, 2, 4)
	case *image.Paletted:
		return dst.paletted(m)
	case *image.CMYK:
		dst.cmyk(m)
	case *image.YCbCr:
		dst.jpeg(m)
	case *webpYUV:
		dst.webp(m)
	default:
		return fmt.Errorf("pixels of type %T", m)
	}
	return nil
}

// each copies pixels of size bytes with the three colours at these places.
func (r raster) each(pix []uint8, stride, size, red, green, blue int) {
	for y := range r.h {
		in, out := pix[y*stride:], r.pix[y*r.w*3:][:r.w*3]
		for x := 0; x < r.w; x++ {
			p := in[x*size:]
			out[3*x], out[3*x+1], out[3*x+2] = p[red], p[green], p[blue]
		}
	}
}

func (r raster) paletted(m *image.Paletted) error {
	var table [256][3]uint8
	for i, c := range m.Palette[:min(len(m.Palette), 256)] {
		switch c := c.(type) {
		case color.RGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		case color.NRGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		default:
			return fmt.Errorf("a palette of type %T", c)
		}
	}
	for y := range r.h {
		for x, i := range m.Pix[y*m.Stride:][:r.w] {
			copy(r.pix[(y*r.w+x)*3:], table[i][:])
		}
	}
	return nil
}

// cmyk mixes inks as Pillow does: (255 − K) − (255 − K)·C/255, rounded.
func (r raster) cmyk(m *image.CMYK) {
	for y := range r.h {
		for x := range r.w {
			p := m.Pix[y*m.Stride+4*x:][:4]
			rest := 255 - int32(p[3])
			for c := range 3 {
				v := int32(p[c])*rest + 128
				r.pix[(y*r.w+x)*3+c] = clamp(rest - ((v>>8)+v)>>8)
			}
		}
	}
}

// decodeGIF decodes the first picture. The decoder forgets the colour of transparent pixels, which
// counts here; so none is transparent.
func decodeGIF(b []byte) (image.Image, error) {
	b = bytes.Clone(b)
	at := 13
	if len(b) > 10 && b[10]&0x80 != 0 {
		at += 3 << (b[10]&7 + 1)
	}
	for at+2 < len(b) && b[at] == 0x21 { // extensions; 0x2c begins the picture
		if b[at+1] == 0xf9 && at+3 < len(b) {
			b[at+3] &^= 1
		}
		at += 2
		for at < len(b) && b[at] != 0 {
			at += int(b[at]) + 1
		}
		at++
	}
	return gif.Decode(bytes.NewReader(b))
}

// webpYUV is a lossy WebP: luma and chroma of a smaller range than those of JPEG.
type webpYUV struct{ image.YCbCr }

// decodeWebP decodes a still WebP. The size of what it holds is compared with the declared one before.
func decodeWebP(b []byte) (image.Image, error) {
	c, err := webp.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for at := 12; at+8 <= len(b); {
		id, n := string(b[at:at+4]), int(binary.LittleEndian.Uint32(b[at+4:]))
		data := b[at+8:]
		data = data[:min(n, len(data))]
		w, h := c.Width, c.Height
		switch id {
		case "VP8 ":
			d := vp8.NewDecoder()
			d.Init(bytes.NewReader(data), len(data))
			head, err := d.DecodeFrameHeader()
			if err != nil {
				return nil, err
			}
			w, h = head.Width, head.Height
		case "VP8L":
			head, err := vp8l.DecodeConfig(bytes.NewReader(data))
			if err != nil {
				return nil, err
			}
			w, h = head.Width, head.Height
		case "ANIM", "ANMF":
			return nil, errors.New("animations are not read")
		}
		if w != c.Width || h != c.Height {
			return nil, fmt.Errorf("a frame of %d x %d pixels in a picture of %d x %d", w, h, c.Width, c.Height)
		}
		at += 8 + min(n, len(b)) + n&1
	}
	m, err := webp.Decode(bytes.NewReader(b))
	switch m := m.(type) {
	case *image.YCbCr:
		return &webpYUV{*m}, err
	case *image.NYCbCrA:
		return &webpYUV{m.YCbCr}, err
	}
	return m, err
}
