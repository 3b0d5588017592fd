package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
)

// TestDataChange: files that are written to between two passes are an error of the input that names file and example, whatever reads
// them again; so is one that is cut off. What is in memory since the first pass does not notice, and need not.
func TestDataChange(t *testing.T) {
	const inputs, width, example = 40, 6, 37
	x := floats([]int{fixtureExamples, inputs}, random(5, fixtureExamples*inputs))
	header := int64(len(x) - 4*fixtureExamples*inputs)
	for _, c := range []struct {
		name   string
		change func(f *os.File) error
		keep   int64
		want   string // "" no error
	}{
		{"a value", func(f *os.File) error { _, err := f.WriteAt([]byte{1}, header+4*(example*inputs+3)); return err }, 0, "x.npy: example 37 is not what it was when it was read first"},
		{"truncated", func(f *os.File) error { return f.Truncate(header + 4*example*inputs) }, 0, "the file became shorter while it was measured (begin again"},
		{"kept", func(f *os.File) error { _, err := f.WriteAt([]byte{1}, header+4*(example*inputs+3)); return err }, 1 << 30, ""},
		{"other bytes of the file", func(f *os.File) error { return f.Truncate(int64(len(x)) + 100) }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(name string) string { return filepath.Join(dir, name) }
			for name, b := range map[string][]byte{
				"net.safetensors": safetensors([]named{
					{"0.weight", []int{width, inputs}, random(1, width*inputs)}, {"0.bias", []int{width}, random(2, width)},
					{"2.weight", []int{fixtureClasses, width}, random(3, fixtureClasses*width)}, {"2.bias", []int{fixtureClasses}, random(4, fixtureClasses)},
				}, nil),
				"x.npy": x,
				"y.npy": labels(fixtureExamples, nil),
			} {
				if err := os.WriteFile(in(name), b, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			a := &app{line: &progress{}, said: map[string]bool{}}
			s, err := (&subjectOptions{weights: in("net.safetensors"), data: in("x.npy") + "," + in("y.npy"), precision: hvp.Float32, batchSize: "16"}).open(a)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			op, err := s.operator(a, c.keep)
			if err != nil {
				t.Fatal(err)
			}
			defer op.Close()
			ctx := context.Background()
			if _, _, err := s.gradient(ctx, op); err != nil {
				t.Fatal(err)
			}
			dst, src := [][]float64{make([]float64, op.Dim())}, [][]float64{make([]float64, op.Dim())}
			src[0][0] = 1
			if err := op.Apply(ctx, dst, src); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(in("x.npy"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := c.change(f); err != nil {
				t.Fatal(err)
			}
			err = s.product(ctx, op, op.Apply(ctx, dst, src))
			if c.want == "" && err == nil {
				if c.keep == 0 {
					return
				}
				// What the result says of the data is of what was measured, or is not said.
				if _, err := s.dataSHA256(); !errors.As(err, new(*dataset.ChangedError)) {
					t.Errorf("the hash of other data: %v", err)
				}
				return
			}
			if err == nil || c.want == "" || exitCode(err) != exitInput || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
