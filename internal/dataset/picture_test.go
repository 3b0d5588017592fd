package dataset

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/npy"
)

// pillow is what Pillow makes of the pictures of testdata/pictures, by the names that make.py says.
func pillow(t testing.TB) map[string]raster {
	t.Helper()
	b, err := os.ReadFile("testdata/pictures/pillow.npz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := npy.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]raster{}
	for _, m := range z.Members {
		a, err := m.Array()
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		channels := 1
		if len(v.Shape) == 3 {
			channels = v.Shape[2]
		}
		out[m.Name] = raster{v.Shape[1], v.Shape[0], channels, v.U8}
	}
	return out
}

// difference is the largest and the mean difference of two pictures of one size.
func difference(t *testing.T, got, want raster) (most int, mean float64) {
	t.Helper()
	if got.w != want.w || got.h != want.h || got.channels != want.channels || len(got.pix) != len(want.pix) {
		t.Fatalf("%d x %d x %d of %d bytes, want %d x %d x %d", got.h, got.w, got.channels, len(got.pix), want.h, want.w, want.channels)
	}
	for i, v := range want.pix {
		d := max(int(got.pix[i])-int(v), int(v)-int(got.pix[i]))
		most, mean = max(most, d), mean+float64(d)/float64(len(want.pix))
	}
	return most, mean
}

// Pictures are what Pillow decodes, to the bit; the inverse cosine transform of JPEG is the decoder's
// own, which moves values by a few levels.
func TestDecodePicture(t *testing.T) {
	references := pillow(t)
	seen := 0
	for key, want := range references {
		name, form := path.Split(key)
		if form != "rgb" && form != "l" {
			continue
		}
		seen++
		b, err := os.ReadFile(filepath.Join("testdata/pictures", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodePicture(b, want.channels)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		most, mean := difference(t, got, want)
		if strings.HasSuffix(name, ".jpg/") {
			t.Logf("%s: up to %d levels, %.3f on average", key, most, mean)
			if most > 3 || mean > 0.1 {
				t.Errorf("%s: differs by up to %d levels, %.3f on average", key, most, mean)
			}
		} else if most > 0 {
			t.Errorf("%s: differs by up to %d levels, %.3f on average", key, most, mean)
		}
	}
	if seen != 60 {
		t.Errorf("%d references, want 60", seen)
	}
}

// Resize and CenterCrop are those of torchvision, to the bit.
func TestResizeAndCrop(t *testing.T) {
	references := pillow(t)
	seen := 0
	for key, want := range references {
		name, form := path.Split(key)
		var n, h, w int
		if _, err := fmt.Sscanf(form, "%d-%dx%d", &n, &h, &w); err != nil {
			continue
		}
		seen++
		got := references[name+map[int]string{1: "l", 3: "rgb"}[want.channels]]
		if n > 0 {
			got = got.resize(n)
		}
		if h > 0 {
			got = got.crop(w, h)
		}
		if most, mean := difference(t, got, want); most > 0 {
			t.Errorf("%s: differs by up to %d levels, %.3f on average", key, most, mean)
		}
	}
	if seen != 20 {
		t.Errorf("%d references, want 20", seen)
	}
}

func TestPlanes(t *testing.T) {
	got := make([]uint8, 12)
	raster{2, 2, 3, count(12)}.planes(got)
	if want := []uint8{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
