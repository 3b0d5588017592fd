package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/image/bmp"
)

// dot is a PNG of w × h pixels of one grey.
func dot(w, h int, v uint8) []byte {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = v
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// zoo is a folder of pictures whose greys say their order in torchvision's ImageFolder: the classes B, a, é,
// with the paths of folders sorted as texts.
func zoo() fstest.MapFS {
	return disk(map[string][]byte{
		"d/B/1.png": dot(3, 2, 0), "d/B/10.PNG": dot(3, 2, 1), "d/B/2.png": dot(3, 2, 2), "d/B/notes.txt": []byte("no picture"),
		"d/a/z.png": dot(3, 2, 3), "d/a/in-1/x.png": dot(3, 2, 5), "d/a/in/x.png": dot(3, 2, 4), "d/a/in/in/x.png": dot(3, 2, 6),
		"d/é/.hidden.png": []byte("no picture"), "d/é/x.png": dot(3, 2, 7), "d/.checkpoints/x.png": []byte("no picture"), "d/README.md": nil,
	})
}

func TestImageFolder(t *testing.T) {
	for _, fsys := range []fs.FS{zoo(), plain{zoo()}} {
		for _, opts := range []Options{{}, {Format: ImageFolder, KeepBytes: 20}, {Channels: 1, Threads: 3, KeepBytes: 1 << 20}, {Channels: 1, ImageSize: []int{2, 3}}} {
			s := mustOpen(t, from(fsys, "d"), opts)
			channels := 3
			if opts.Channels == 1 {
				channels = 1
			}
			if s.Format != ImageFolder || s.Name != "d" || s.Split != "" || s.N != 8 || !slices.Equal(s.Names, []string{"B", "a", "é"}) || !slices.Equal(s.Files, []string{"d"}) || s.Notes != nil {
				t.Errorf("%+v", s)
			}
			if got := s.X.Shape(); !slices.Equal(got, []int{channels, 2, 3}) {
				t.Errorf("inputs of shape %v", got)
			}
			if got := ints(t, s, s.Y); !slices.Equal(got, []int64{0, 0, 0, 1, 1, 1, 1, 2}) {
				t.Errorf("labels %v", got)
			}
			for range 2 {
				x := floats(t, s, s.X)
				for i, v := range x {
					// "a/in" < "a/in-1" < "a/in/in", since '-' is before '/'.
					if want := float64(i/(6*channels)) / 255; v != want {
						t.Fatalf("value %d is %v, want %v", i, v, want)
					}
				}
			}
		}
	}
}

func TestImageFolderSplits(t *testing.T) {
	files := disk(map[string][]byte{
		"d/train/a/1.png": dot(1, 1, 1), "d/train/b/1.png": dot(1, 1, 2), "d/val/a/1.png": dot(1, 1, 3), "d/val/b/1.png": dot(1, 1, 4),
		"e/train/a/1.png": dot(1, 1, 1), "e/val/a/1.png": dot(1, 1, 3), "e/test/b/1.png": dot(1, 1, 5),
		"f/train/a/1.png": dot(1, 1, 1), "f/other/a/1.png": dot(1, 1, 1),
	})
	for _, tt := range []struct {
		name, split, got string
		first            float64
		names            []string
		notes            int
	}{
		{"d", "", "train", 1, []string{"a", "b"}, 0},
		{"d", "train", "train", 1, []string{"a", "b"}, 0},
		{"d", "test", "test", 3, []string{"a", "b"}, 0},
		{"e", "test", "test", 5, []string{"b"}, 1},
		{"f", "train", "", 1, []string{"other", "train"}, 0},
	} {
		s := mustOpen(t, from(files, tt.name), Options{Split: tt.split, Channels: 1})
		if got := floats(t, s, s.X)[0]; s.Split != tt.got || got != tt.first/255 || !slices.Equal(s.Names, tt.names) || len(s.Notes) != tt.notes {
			t.Errorf("%s, %s: %+v, first value %v", tt.name, tt.split, s, got)
		}
	}
}

// What becomes of pictures of other sizes than the network takes.
func TestPictureForm(t *testing.T) {
	same := disk(map[string][]byte{"d/a/1.png": dot(40, 30, 1), "d/a/2.png": dot(40, 30, 1)})
	mixed := disk(map[string][]byte{"d/a/1.png": dot(40, 30, 1), "d/a/2.png": dot(20, 60, 1)})
	for _, tt := range []struct {
		fsys  fs.FS
		opts  Options
		shape []int
		note  string
	}{
		{same, Options{}, []int{3, 30, 40}, ""},
		{same, Options{ImageSize: []int{30, 40}}, []int{3, 30, 40}, ""},
		{same, Options{ImageSize: []int{28, 28}}, []int{3, 28, 28}, "resized to 32 pixels and the middle 28 x 28"},
		{same, Options{ImageSize: []int{20, 28}}, []int{3, 20, 28}, "resized to 32 pixels and the middle 28 x 20"},
		{same, Options{Resize: 15}, []int{3, 15, 20}, ""},
		{same, Options{Resize: 15, ImageSize: []int{12, 12}}, []int{3, 12, 12}, ""},
		{same, Options{Crop: 50}, []int{3, 50, 50}, ""},
		{mixed, Options{ImageSize: []int{224, 224}}, []int{3, 224, 224}, "resized to 256 pixels and the middle 224 x 224"},
		{mixed, Options{ImageSize: []int{30, 40}}, []int{3, 30, 40}, "resized to 46 pixels"},
		{mixed, Options{Resize: 16, Crop: 14}, []int{3, 14, 14}, ""},
		{mixed, Options{Crop: 14}, []int{3, 14, 14}, ""},
	} {
		s := mustOpen(t, from(tt.fsys, "d"), tt.opts)
		if got := s.X.Shape(); !slices.Equal(got, tt.shape) || !strings.Contains(strings.Join(s.Notes, ""), tt.note) || tt.note == "" != (s.Notes == nil) {
			t.Errorf("%+v: shape %v, notes %q", tt.opts, got, s.Notes)
		}
		if x := floats(t, s, s.X); len(x) != 2*tt.shape[0]*tt.shape[1]*tt.shape[2] {
			t.Errorf("%+v: %d values", tt.opts, len(x))
		}
	}
}

func TestFewClasses(t *testing.T) {
	s := mustOpen(t, from(zoo(), "d"), Options{Examples: 3})
	if want := "the 3 examples in use are of 1 of the 3 classes (--sample N takes examples of all classes at random)"; !slices.Equal(s.Notes, []string{want}) {
		t.Errorf("notes %q", s.Notes)
	}
	if s := mustOpen(t, from(zoo(), "d"), Options{Examples: 8}); s.Notes != nil {
		t.Errorf("notes %q", s.Notes)
	}
}

// A picture that is not kept and is another one later is an error of reading, and so is one that is gone.
func TestPictureChanges(t *testing.T) {
	files := disk(map[string][]byte{"d/a/1.png": dot(2, 2, 1), "d/a/2.png": dot(2, 2, 2), "d/a/3.png": dot(2, 2, 3)})
	s := mustOpen(t, from(files, "d"), Options{Channels: 1, KeepBytes: 4, Threads: 1})
	want := floats(t, s, s.X)
	files["d/a/1.png"].Data = dot(2, 2, 9) // kept
	if got := floats(t, s, s.X); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	files["d/a/3.png"].Data = dot(2, 2, 9)
	if err := s.X.Floats(make([]float64, 12), 0, 3); err == nil || !strings.HasPrefix(err.Error(), "d/a/3.png: is another file than it was") {
		t.Errorf("got %v", err)
	}
	delete(files, "d/a/2.png")
	if err := s.X.Floats(make([]float64, 12), 0, 3); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "d/a/2.png: ") {
		t.Errorf("got %v", err)
	}
}

func encoded(t *testing.T, m image.Image, encode func(b *bytes.Buffer, m image.Image) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// with puts bytes into a copy of a file.
func with(file []byte, at int, b ...byte) []byte {
	out := bytes.Clone(file)
	copy(out[at:], b)
	return out
}

func TestBadPictures(t *testing.T) {
	m := image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{color.Black, color.White})
	pngFile := dot(40, 30, 7)
	jpegFile := encoded(t, m, func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) })
	gifFile := encoded(t, m, func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) })
	bmpFile := encoded(t, m, func(b *bytes.Buffer, m image.Image) error { return bmp.Encode(b, m) })
	webpFile, err := os.ReadFile("testdata/pictures/lossless.webp")
	if err != nil {
		t.Fatal(err)
	}
	alphaFile, err := os.ReadFile("testdata/pictures/alpha.webp")
	if err != nil {
		t.Fatal(err)
	}
	sof := bytes.Index(jpegFile, []byte{0xff, 0xc0})
	frame := bytes.IndexByte(gifFile, 0x2c) // the first of that value is in the palette or begins the frame
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                      {nil, "the file is empty"},
		"text":                       {[]byte("hello, world"), "is no picture that is read"},
		"a TIFF by another name":     {[]byte("II*\x00 and so on"), "is TIFF, which is not read (convert it to PNG)"},
		"an AVIF by another name":    {[]byte("\x00\x00\x00\x1cftypavif"), "is AVIF or HEIF, which is not read"},
		"a PNG cut short":            {pngFile[:len(pngFile)-20], "the PNG cannot be decoded: unexpected EOF"},
		"a PNG's header alone":       {pngFile[:20], "the PNG is truncated"},
		"a JPEG cut short":           {jpegFile[:len(jpegFile)-9], "the JPEG cannot be decoded: invalid JPEG format: short Huffman data"},
		"a GIF cut short":            {gifFile[:len(gifFile)-9], "the GIF cannot be decoded: not enough image data"},
		"a BMP cut short":            {bmpFile[:len(bmpFile)-9], "the BMP is truncated"},
		"a WebP cut short":           {webpFile[:len(webpFile)-200], "the WebP"},
		"a PNG of 2^31 x 2^31":       {with(pngFile, 16, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff), "the PNG"},
		"a PNG of 10000 x 10000":     {checksum(with(pngFile, 16, 0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10)), "10000 x 10000 pixels, more than the"},
		"a PNG of 8000 x 8000":       {checksum(with(pngFile, 16, 0, 0, 0x1f, 0x40, 0, 0, 0x1f, 0x40)), "declares 8000 x 8000 pixels, which"},
		"a PNG of 0 x 30":            {checksum(with(pngFile, 16, 0, 0, 0, 0)), "the PNG cannot be decoded"},
		"a JPEG of 65535 x 65535":    {with(jpegFile, sof+5, 0xff, 0xff, 0xff, 0xff), "65535 x 65535 pixels, more than"},
		"a JPEG of 4000 x 4000":      {with(jpegFile, sof+5, 0x0f, 0xa0, 0x0f, 0xa0), "declares 4000 x 4000 pixels, which"},
		"a GIF of 65535 x 65535":     {with(gifFile, 6, 0xff, 0xff, 0xff, 0xff), "65535 x 65535 pixels, more than"},
		"a GIF of 60 x 30":           {with(gifFile, 6, 60), "holds 40 x 30 pixels but declares 60 x 30"},
		"a GIF's frame beyond it":    {with(gifFile, 6, 8, 0, 8, 0), "the GIF cannot be decoded"},
		"a GIF without a frame":      {append(bytes.Clone(gifFile[:frame]), 0x3b), "the GIF cannot be decoded"},
		"a BMP of 2^31 x 30":         {with(bmpFile, 18, 0xff, 0xff, 0xff, 0x7f), "the BMP"},
		"a BMP of -40 x 30":          {with(bmpFile, 18, 0xd8, 0xff, 0xff, 0xff), "the BMP"},
		"a BMP of 5000 x 5000":       {with(bmpFile, 18, 0x88, 0x13, 0, 0, 0x88, 0x13, 0, 0), "declares 5000 x 5000 pixels, which"},
		"a lossless WebP of 2^14":    {with(webpFile, 21, 0xff, 0xff, 0xff, 0x0f), "the WebP has 16384 x 16384 pixels, more than"},
		"a WebP of 4000 x 4000":      {with(webpFile, 21, 0x9f, 0xcf, 0xe7, 0x3), "declares 4000 x 4000 pixels, which"},
		"a GIF of 3000 x 3000":       {with(gifFile, 6, 0xb8, 0x0b, 0xb8, 0x0b), "declares 3000 x 3000 pixels, which"},
		"a WebP whose frame differs": {with(alphaFile, 24, 99), "a frame of 26 x 20 pixels in a picture of 100 x 20"},
		"a WebP of 2^24 x 2^24":      {with(alphaFile, 24, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "the WebP has 16777216 x 16777216 pixels, more than"},
		"an animated WebP":           {bytes.Replace(alphaFile, []byte("ALPH"), []byte("ANIM"), 1), "the WebP cannot be decoded: animations are not read"},
	} {
		if _, err := decodePicture(tt.file, 3); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
	for name, b := range map[string][]byte{"png": pngFile, "jpeg": jpegFile, "gif": gifFile, "bmp": bmpFile, "webp": webpFile, "alpha": alphaFile} {
		if _, err := decodePicture(b, 1); err != nil {
			t.Errorf("%s as it was: %v", name, err)
		}
	}
}

// checksum makes the header of a PNG whole again.
func checksum(file []byte) []byte {
	crc := crc32.ChecksumIEEE(file[12:29])
	return with(file, 29, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}

func TestRecovered(t *testing.T) {
	err := func() (err error) {
		defer recovered(&err)
		var none []int
		_ = none[len(none)]
		return nil
	}()
	if err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
		t.Errorf("got %v", err)
	}
}

func TestBadFolders(t *testing.T) {
	for _, tt := range []struct {
		files map[string][]byte
		opts  Options
		want  string
	}{
		{map[string][]byte{"d/1.png": dot(1, 1, 1)}, Options{}, "d: holds no folders, one for each class (put"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1), "d/b/x.txt": nil}, Options{}, "d/b: the folder of the class holds no picture, .jpg .jpeg .png .gif .bmp .webp (put"},
		{map[string][]byte{"d/a/1.tif": dot(1, 1, 1)}, Options{}, "d/a/1.tif: pictures of the form .tif are not read (convert"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1), "d/b/deep/2.PPM": nil}, Options{}, "d/b/deep/2.PPM: pictures of the form .ppm are not read"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1)}, Options{Split: "test"}, "--split: d has no folders train and test"},
		{map[string][]byte{"d/a/1.png": dot(1, 2, 1), "d/a/2.png": dot(2, 2, 1)}, Options{}, "--crop: the pictures differ in size, d/a/1.png is of 1 x 2 pixels and d/a/2.png of 2 x 2 (give --resize and --crop)"},
		{map[string][]byte{"d/a/1.png": dot(1, 2, 1), "d/a/2.png": dot(2, 2, 1)}, Options{Resize: 8}, "--crop: the pictures differ in size"},
		{map[string][]byte{"d/a/1.png": dot(1, 60, 1)}, Options{Resize: 8192}, "--resize: d/a/1.png is 8192 x 491520 pixels when resized"},
		{map[string][]byte{"d/a/1.png": dot(1, 60, 1)}, Options{Resize: 8192, Crop: 8}, "d/a/1.png: of 1 x 60 pixels is 8192 x 491520 when resized"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1)}, Options{Crop: 8193}, "--crop: 8193 pixels (give a number from 1 to 8192)"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1)}, Options{Channels: 4}, "pictures have 1 channel or 3, but the network takes 4"},
		{map[string][]byte{"d/a/1.png": []byte("hello")}, Options{}, "d/a/1.png: is no picture that is read"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1), "d/a/2.png": []byte("hello")}, Options{}, "d/a/2.png: is no picture that is read"},
		{map[string][]byte{"d/a/1.png": dot(1, 1, 1), "d/a/2.png": nil}, Options{}, "d/a/2.png: the file is empty"},
	} {
		s, err := Open(from(disk(tt.files), "d"), tt.opts)
		if err == nil {
			_, err = s.SHA256()
			s.Close()
		}
		checkError(t, err, []string{tt.want}, "%+v", tt.opts)
	}
}

// Links are followed, as torchvision does, but not in circles; and a picture that is no file is an error
// before it can block.
func TestFolderLinks(t *testing.T) {
	dir := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, err := range []error{
		os.MkdirAll(at("d", "a"), 0o700), os.MkdirAll(at("else", "deep"), 0o700),
		os.WriteFile(at("d", "a", "1.png"), dot(2, 2, 1), 0o600), os.WriteFile(at("else", "deep", "2.png"), dot(2, 2, 2), 0o600),
		os.Symlink(at("else"), at("d", "b")), os.Symlink(at("else", "deep", "2.png"), at("d", "a", "3.png")),
	} {
		if err != nil {
			t.Skip("no links here: ", err)
		}
	}
	s := mustOpen(t, from(os.DirFS(dir), "d"), Options{Channels: 1})
	if x := floats(t, s, s.X); s.N != 3 || x[0] != 1./255 || x[4] != 2./255 || x[8] != 2./255 || !slices.Equal(ints(t, s, s.Y), []int64{0, 0, 1}) {
		t.Errorf("%v, %v", x, ints(t, s, s.Y))
	}
	if err := os.Symlink(at("else"), at("else", "deep", "again")); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("d%cb%[1]cdeep%[1]cagain: is a link to a folder that it is in (take it away)", '/')
	if _, err := Open(from(os.DirFS(dir), "d"), Options{}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzPicture(f *testing.F) {
	names, err := filepath.Glob("testdata/pictures/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := kindOf(b[:min(16, len(b))]); err == nil {
			f.Add(b, uint16(9), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, resize, crop uint16) {
		r, err := decodePicture(b, 1+2*int(crop%2))
		if err != nil {
			return
		}
		if len(r.pix) != r.w*r.h*r.channels || r.w*r.h > freePixels+maxPerByte*len(b) {
			t.Fatalf("%d x %d pixels in %d bytes of %d", r.w, r.h, len(r.pix), len(b))
		}
		if w, h := resized(r.w, r.h, int(resize)+1); w*h < 1<<16 {
			r = r.resize(int(resize) + 1)
		}
		if crop%256 > 0 {
			r = r.crop(int(crop%256), int(crop%13)+1)
		}
		r.planes(make([]uint8, len(r.pix)))
	})
}

// The names of CIFAR's classes are in a file beside the batches, and are left out where that is not as it should be.
func TestCIFARNames(t *testing.T) {
	files := cifarDisk()
	names := []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
	for text, want := range map[string][]string{strings.Join(names, "\n") + "\n\n": names, "airplane\nbird\n": nil, strings.Repeat(strings.Repeat("a", maxNames/10)+"\n", 10): nil} {
		files["10/batches.meta.txt"] = &fstest.MapFile{Data: []byte(text)}
		if s := mustOpen(t, from(files, "10"), Options{}); !slices.Equal(s.Names, want) {
			t.Errorf("got %q, want %q", s.Names, want)
		}
	}
}
