package dataset

import (
	"testing"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/tensor"
)

// readAll reads a set that opened out of files of size bytes in all, in two ways.
func readAll(t *testing.T, s *Set, err error, size int) {
	if err != nil {
		return
	}
	defer s.Close()
	for _, c := range []Column{s.X, s.Y} {
		n := s.N * tensor.Count(c.Shape())
		if n > 1100*size+2000 {
			t.Fatalf("%d values out of %d bytes", n, size)
		}
		// A value that does not fit an int64 is an error that only reading finds.
		if c.Integer() {
			if err := c.Ints(make([]int64, n), 0, s.N); err != nil {
				t.Fatalf("integers that Open read: %v", err)
			}
		} else if err := c.Floats(make([]float64, n), 0, s.N); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.InputStats(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClassCounts(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SHA256(); err != nil {
		t.Fatal(err)
	}
}

func FuzzIDX(f *testing.F) {
	labels := idx(8, []uint32{3}, []byte{1, 7, 0})
	for _, images := range [][]byte{idx(8, []uint32{3, 2, 5}, count(30)), idx(0x0e, []uint32{3, 2}, count(48)), idx(0x0b, []uint32{3, 2}, count(12)), idx(8, []uint32{1 << 31, 1 << 31, 1}, nil)} {
		f.Add(images, labels, uint8(0))
		f.Add(zipped(images), zipped(labels), uint8(2))
		f.Add(images, zipped(labels), uint8(1)) // gzipped by the target
	}
	f.Fuzz(func(t *testing.T, images, labels []byte, mode uint8) {
		if mode&1 != 0 { // reach what lies behind the checksum
			images, labels = zipped(images), zipped(labels)
		}
		files := disk(map[string][]byte{"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels})
		s, err := Open(from(files, "."), Options{Sample: int(mode >> 1)})
		readAll(t, s, err, len(images)+len(labels))
	})
}

func FuzzCIFAR(f *testing.F) {
	f.Add(record(CIFAR10, 3, 1), false)
	f.Add(record(CIFAR100, 99, 1), false)
	f.Add(append(record(CIFAR10, 3, 1), record(CIFAR10, 9, 1)...), true)
	f.Add(record(CIFAR10, 10, 1), true)
	f.Fuzz(func(t *testing.T, batch []byte, directory bool) {
		if directory {
			s, err := Open(from(disk(map[string][]byte{"test_batch.bin": batch}), "."), Options{Split: "test"})
			readAll(t, s, err, len(batch))
			return
		}
		s, err := Open(from(disk(map[string][]byte{"x.bin": batch}), "x.bin"), Options{})
		readAll(t, s, err, len(batch))
	})
}

func FuzzNPZ(f *testing.F) {
	x := npytest.File("|u1", false, []int{2, 2, 2}, count(8))
	y := npytest.File("<i8", false, []int{2}, []int64{0, 1})
	tokens := npytest.File("<u8", true, []int{2, 3}, make([]uint64, 6))
	for _, deflate := range []bool{false, true} {
		f.Add(npytest.Archive(deflate, npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: y}), []byte(nil), false)
		f.Add(x, y, deflate)
		f.Add(tokens, tokens, deflate)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, deflate bool) {
		file := a
		if b != nil { // two arrays, in a zip that is well formed
			file = npytest.Archive(deflate, npytest.Entry{Name: "x.npy", Data: a}, npytest.Entry{Name: "y.npy", Data: b})
		}
		s, err := Open(from(disk(map[string][]byte{"set": file}), "set"), Options{})
		readAll(t, s, err, len(file))
	})
}
