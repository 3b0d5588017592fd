package npytest

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sbinet/npyio"
	"github.com/sbinet/npyio/npz"
)

// An independent reader accepts what File and Archive write.
func TestOracle(t *testing.T) {
	want := []float64{1, -2, 3.5, 4, 5, 6}
	for _, descr := range []string{"<f8", ">f8"} {
		var got []float64
		if err := npyio.Read(bytes.NewReader(File(descr, false, []int{2, 3}, want)), &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", descr, got, err, want)
		}
	}
	for _, deflate := range []bool{false, true} {
		b := Archive(deflate, Entry{"a.npy", File("<i4", false, []int{2}, []int32{7, -8})})
		r, err := npz.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var got []int32
		if err := r.Read("a.npy", &got); err != nil || !slices.Equal(got, []int32{7, -8}) {
			t.Errorf("deflate %v: got %v, %v", deflate, got, err)
		}
	}
}

// A header is padded so that the values begin at a multiple of 64.
func TestRawAligned(t *testing.T) {
	for major := byte(1); major <= 3; major++ {
		for n := range 130 {
			if got := len(Raw(major, string(bytes.Repeat([]byte{'x'}, n)), nil)); got%64 != 0 {
				t.Fatalf("version %d, header of %d bytes: values at %d", major, n, got)
			}
		}
	}
}
