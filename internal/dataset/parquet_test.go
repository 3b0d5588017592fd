package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const parquetDir = "testdata/parquet"

// Pictures in shards, as Hugging Face's datasets lay them out.
func TestParquetPictures(t *testing.T) {
	for _, tt := range []struct {
		name, split string
		rows        []int
	}{
		{"images", "", []int{0, 1, 2, 3, 4, 5}},
		{"images/data", "train", []int{0, 1, 2, 3, 4, 5}},
		{"images/data", "test", []int{6, 7}},
		{"images/data/train-00001-of-00002.parquet", "train", []int{4, 5}},
		{"images/data/validation-00000-of-00001.parquet", "test", []int{6, 7}},
	} {
		for _, opts := range []Options{{}, {KeepBytes: 500}, {KeepBytes: 1 << 20, Threads: 3}, {Threads: 1, Channels: 1}} {
			opts.Split = tt.split
			s := mustOpen(t, from(os.DirFS(parquetDir), tt.name), opts)
			channels := max(opts.Channels, 1)
			if opts.Channels == 0 {
				channels = 3
			}
			if s.Format != Parquet || s.N != len(tt.rows) || !slices.Equal(s.X.Shape(), []int{channels, 8, 9}) || !slices.Equal(s.Names, []string{"ant", "bee", "cat"}) {
				t.Errorf("%s: %+v of shape %v", tt.name, s, s.X.Shape())
			}
			var x []float64
			var y []int64
			for _, i := range tt.rows {
				i := uint32(i)
				colours := []uint32{20 * i, 255 - 20*i, i}
				if channels == 1 {
					colours = []uint32{(colours[0]*19595 + colours[1]*38470 + colours[2]*7471 + 0x8000) >> 16}
				}
				for _, v := range colours {
					x = append(x, slices.Repeat([]float64{float64(v) / 255}, 72)...)
				}
				y = append(y, int64(i)%3)
			}
			for range 2 {
				if !slices.Equal(floats(t, s, s.X), x) || !slices.Equal(ints(t, s, s.Y), y) {
					t.Errorf("%s, %+v: values or labels %v differ", tt.name, opts, ints(t, s, s.Y))
				}
			}
		}
	}
}

// Files in the folders of splits, and in the one of a configuration.
func TestParquetFolders(t *testing.T) {
	files := fstest.MapFS{}
	for as, name := range map[string]string{
		"d/train/0000.parquet": "images/data/train-00001-of-00002.parquet", "d/test/0000.parquet": "images/data/validation-00000-of-00001.parquet",
		"e/plain/train.parquet": "images/data/train-00001-of-00002.parquet", "e/README.md": "make.py", "e/plain/val.parquet": "images/data/validation-00000-of-00001.parquet",
		"f/all.parquet": "images/data/train-00001-of-00002.parquet",
	} {
		b, err := os.ReadFile(filepath.Join(parquetDir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[as] = &fstest.MapFile{Data: b}
	}
	for _, tt := range []struct {
		name, split, got string
		label            int64 // of the first row
	}{{"d", "", "train", 1}, {"d", "test", "test", 0}, {"e", "train", "train", 1}, {"e", "test", "test", 0}, {"f", "train", "", 1}} {
		s := mustOpen(t, from(files, tt.name), Options{Split: tt.split})
		if got := ints(t, s, s.Y)[0]; s.Split != tt.got || got != tt.label || s.N != 2 {
			t.Errorf("%s, %s: %+v, label %d", tt.name, tt.split, s, got)
		}
	}
}

func TestParquetTable(t *testing.T) {
	for _, tt := range []struct {
		opts   Options
		x      func(i float64) []float64
		y      func(i int) int64
		shape  []int
		notes  int
		names  []string
		tokens bool
	}{
		{Options{Label: "word", Input: "b"}, func(i float64) []float64 { return []float64{i} }, func(i int) int64 { return min(int64(i)%3, 1) }, []int{1}, 1, []string{"ant", "cat"}, false},
		{Options{Label: "b", Input: "a,c,quantity"}, func(i float64) []float64 { return []float64{i / 2, float64((int(i) + 1) % 2), i / 4} }, func(i int) int64 { return int64(i) }, []int{3}, 0, nil, false},
		{Options{Label: "c", Input: "a"}, func(i float64) []float64 { return []float64{i / 2} }, func(i int) int64 { return int64(i+1) % 2 }, []int{1}, 0, nil, false},
	} {
		for _, keep := range []int64{0, 40, 1 << 20} {
			tt.opts.KeepBytes = keep
			s := mustOpen(t, from(os.DirFS(parquetDir), "table.parquet"), tt.opts)
			var x []float64
			var y []int64
			for i := range 10 {
				x, y = append(x, tt.x(float64(i))...), append(y, tt.y(i))
			}
			if got := floats(t, s, s.X); !slices.Equal(got, x) || !slices.Equal(s.X.Shape(), tt.shape) {
				t.Errorf("%+v: inputs %v of shape %v", tt.opts, got, s.X.Shape())
			}
			if got := ints(t, s, s.Y); !slices.Equal(got, y) || len(s.Notes) != tt.notes || !slices.Equal(s.Names, tt.names) {
				t.Errorf("%+v: labels %v, %q", tt.opts, got, s.Notes)
			}
		}
	}
	s := mustOpen(t, from(os.DirFS(parquetDir), "index.parquet"), Options{})
	if got := floats(t, s, s.X); !slices.Equal(got, []float64{0.5, 2.5, 1.5, 3.5}) || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], `"__index_level_0__" is an index`) {
		t.Errorf("inputs %v without the index, notes %q", got, s.Notes)
	}
	s = mustOpen(t, from(os.DirFS(parquetDir), "table.parquet"), Options{Label: "quantity", Input: "b", Sample: 4, SampleSeed: 3})
	x, y := floats(t, s, s.X), floats(t, s, s.Y)
	for i := range y {
		if y[i] != x[i]/4 {
			t.Errorf("quantities %v of %v", y, x)
		}
	}
}

func TestParquetLists(t *testing.T) {
	var x, pixels []float64
	var tokens, y []int64
	for i := range 10 {
		v := float64(i)
		x = append(x, v, v+0.5, -v)
		pixels = append(pixels, v/255, 2*v/255, 3*v/255, (255-v)/255)
		tokens = append(tokens, int64(i), int64(i)+1)
		y = append(y, int64(i)%4)
	}
	open := func(input string) *Set {
		return mustOpen(t, from(os.DirFS(parquetDir), "lists.parquet"), Options{Input: input})
	}
	if s := open(""); !slices.Equal(floats(t, s, s.X), x) || !slices.Equal(s.X.Shape(), []int{3}) || !slices.Equal(ints(t, s, s.Y), y) || s.Classes != 4 {
		t.Errorf("%+v of shape %v: %v", s, s.X.Shape(), floats(t, s, s.X))
	}
	if s := open("pixels"); !slices.Equal(floats(t, s, s.X), pixels) || !slices.Equal(s.X.Shape(), []int{1, 2, 2}) {
		t.Errorf("pixels of shape %v: %v", s.X.Shape(), floats(t, s, s.X))
	}
	if s := open("tokens"); !slices.Equal(ints(t, s, s.X), tokens) || s.Tokens != 11 {
		t.Errorf("tokens %v", ints(t, s, s.X))
	}
}

func TestBadParquet(t *testing.T) {
	files := fstest.MapFS{}
	add := func(name, as string) {
		b, err := os.ReadFile(filepath.Join(parquetDir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[as] = &fstest.MapFile{Data: b}
	}
	add("images/data/train-00000-of-00002.parquet", "half/train-00000-of-00002.parquet")
	add("images/data/validation-00000-of-00001.parquet", "eval/validation-00000-of-00001.parquet")
	add("images/data/train-00000-of-00002.parquet", "mixed/a.parquet")
	add("table.parquet", "mixed/b.parquet")
	add("table.parquet", "table.parquet")
	add("table.parquet", "configs/en/train.parquet")
	add("table.parquet", "configs/fr/train.parquet")
	add("lists.parquet", "lists.parquet")
	add("text.parquet", "text.parquet")
	cut := files["table.parquet"].Data
	files["cut.parquet"] = &fstest.MapFile{Data: cut[:len(cut)-9]}
	for _, tt := range []struct {
		name string
		opts Options
		want []string
	}{
		{"half", Options{}, []string{"half: holds 1 files of the split train, but train-00000-of-00002.parquet is one of 2 (put"}},
		{"eval", Options{}, []string{"--split: eval has no files of the split train, only validation-00000-of-00001.parquet (give"}},
		{"mixed", Options{}, []string{`mixed/b.parquet: has no column "image" as mixed/a.parquet does`}},
		{"mixed", Options{Split: "test"}, []string{"--split: mixed has no splits"}},
		{"configs", Options{}, []string{"configs: holds tables in several folders, en and fr (give one of them)"}},
		{"table.parquet", Options{Split: "test"}, []string{"--split: table.parquet is not of the test split"}},
		{"table.parquet", Options{}, []string{"table.parquet: of the columns", "none is called label, labels"}},
		{"table.parquet", Options{Label: "none"}, []string{`--label: table.parquet has no column "none", only "a", "word", "b"`}},
		{"table.parquet", Options{Label: "b", Input: "day"}, []string{`--input: column "day" of table.parquet holds values of a type that is not read`}},
		{"table.parquet", Options{Label: "b", Input: "b"}, []string{`--input: "b" is the column of the labels`}},
		{"table.parquet", Options{Label: "b", Input: "a,word"}, []string{`--input: column "word" is no number`}},
		{"table.parquet", Options{Label: "hole", Input: "a"}, []string{`table.parquet: row 7 of column "hole": there is no value`}},
		{"table.parquet", Options{Input: "a"}, []string{"table.parquet: of the columns", "--label"}},
		{"lists.parquet", Options{Input: "ragged"}, []string{`lists.parquet: row 8 of column "ragged": a list that is not of the shape [2]`}},
		{"text.parquet", Options{}, []string{"text.parquet: the inputs are texts", "--input"}},
		{"cut.parquet", Options{}, []string{"cut.parquet: the file does not end as Parquet does (it is truncated"}},
		{"half", Options{Format: NPZ}, []string{"--data-format: npz is a format of files"}},
	} {
		s, err := Open(from(files, tt.name), tt.opts)
		if err == nil {
			_, err = s.SHA256()
			s.Close()
		}
		if err == nil {
			t.Errorf("%s, %+v: no error", tt.name, tt.opts)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %+v: got %q, want %q in it", tt.name, tt.opts, err, want)
			}
		}
		var option *OptionError
		if got, want := errors.As(err, &option), strings.HasPrefix(err.Error(), "--"); got != want {
			t.Errorf("%s: %q is an OptionError: %v", tt.name, err, got)
		}
	}
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"images/data/train-00001-of-00002.parquet", "table.parquet", "lists.parquet", "text.parquet"} {
		b, err := os.ReadFile(filepath.Join(parquetDir, name))
		if err != nil {
			f.Fatal(err)
		}
		for _, input := range []string{"", "a,b", "pixels"} {
			f.Add(b, "", input)
		}
		f.Add(b, "word", "a")
	}
	f.Fuzz(func(t *testing.T, b []byte, label, input string) {
		s, err := Open(from(disk(map[string][]byte{"x.parquet": b}), "x.parquet"), Options{Label: label, Input: input})
		if err != nil {
			return
		}
		defer s.Close()
		if _, err := s.SHA256(); err != nil {
			return
		}
		if _, err := s.ClassCounts(); err != nil {
			t.Fatal(err)
		}
	})
}
