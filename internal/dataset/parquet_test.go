package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"hessdens/internal/tokenizer"
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
	s := mustOpen(t, from(os.DirFS(parquetDir), "table.parquet"), Options{Label: "quantity", Input: "b", Sample: 4, SampleSeed: 3})
	x, y := floats(t, s, s.X), floats(t, s, s.Y)
	for i := range y {
		if y[i] != x[i]/4 {
			t.Errorf("quantities %v of %v", y, x)
		}
	}
}

// The table that pandas writes: all numbers but the index are inputs, but the last, which is the label; what is taken for granted is said.
func TestParquetNumbers(t *testing.T) {
	s := mustOpen(t, from(os.DirFS(parquetDir), "pandas.parquet"), Options{ImageSize: []int{2, 1}})
	if got := floats(t, s, s.X); !slices.Equal(got, []float64{0, 1, 255, 2}) || !slices.Equal(s.X.Shape(), []int{1, 2, 1}) || !slices.Equal(ints(t, s, s.Y), []int64{0, 1}) {
		t.Errorf("%v of shape %v", got, s.X.Shape())
	}
	want := []string{`pandas.parquet: labels are taken from the last column, "z" (--label NAME chooses)`, `pandas.parquet: the columns "name", "__index_level_0__" are no numbers, or an index, and left out (--input A,B,… chooses)`,
		"pandas.parquet: the inputs are whole numbers of 0..255 and taken as they are (--std 255 scales them to 0..1)"}
	if !slices.Equal(s.Notes, want) {
		t.Errorf("notes %q", s.Notes)
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

// A column of texts: an example each, padded, for a network with one output for each; else one text, in windows.
func TestParquetTexts(t *testing.T) {
	tok, err := tokenizer.Parse(bert(t))
	if err != nil {
		t.Fatal(err)
	}
	vocab := &from(disk(map[string][]byte{"tokenizer.json": bert(t)}), "tokenizer.json")[0]
	texts := []string{"hear me", "before we proceed any further, hear me speak", "speak\n"}
	const context = 8
	var rows []int64
	for _, text := range texts {
		tokens, err := tok.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		row := make([]int64, context) // [PAD] is 0
		row[0] = 2                    // [CLS]
		for i, v := range tokens[:min(len(tokens), context-2)] {
			row[1+i], row[2+i] = int64(v), 3 // and [SEP] after it
		}
		rows = append(rows, row...)
	}
	for _, tt := range []struct {
		label string
		y     []int64
		names []string
		note  string
	}{
		{"stars", []int64{2, 10, 2}, nil, "1 of 3 texts are longer than 8 tokens"},
		{"", []int64{2, 10, 2}, nil, `labels are taken from the last column, "stars"`},
		{"id", []int64{0, 1, 2}, []string{"x", "y", "z"}, `the names in column "id" are numbered in their order: "x" = 0, "y" = 1, "z" = 2`},
	} {
		s := mustOpen(t, from(os.DirFS(parquetDir), "text.parquet"), Options{Sequence: true, Context: context, VocabFile: vocab, Label: tt.label})
		if x, y := ints(t, s, s.X), ints(t, s, s.Y); !slices.Equal(x, rows) || !slices.Equal(s.X.Shape(), []int{context}) || !slices.Equal(y, tt.y) || len(s.Y.Shape()) != 0 || !slices.Equal(s.Names, tt.names) || s.Format != Parquet {
			t.Errorf("label %q: %v of shape %v, %v, %q, want %v", tt.label, x, s.X.Shape(), y, s.Names, rows)
		}
		if notes := strings.Join(s.Notes, "\n"); !strings.Contains(notes, "text.parquet: "+tt.note) {
			t.Errorf("label %q: notes %q", tt.label, notes)
		}
	}

	joined := "hear me\nbefore we proceed any further, hear me speak\nspeak\n"
	want, err := tok.Encode(joined)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, from(os.DirFS(parquetDir), "text.parquet"), Options{Context: 5, VocabFile: vocab})
	n := (len(want) - 1) / 5
	if x, y := ints(t, s, s.X), ints(t, s, s.Y); s.N != n || fmt.Sprint(x) != fmt.Sprint(want[:5*n]) || fmt.Sprint(y) != fmt.Sprint(want[1:5*n+1]) || s.Format != Parquet {
		t.Errorf("%d windows %v, %v, want %v", s.N, x, y, want)
	}
	if len(s.Notes) == 0 || !strings.Contains(s.Notes[0], "text.parquet: 3 texts follow each other as one, each ended by a line feed") {
		t.Errorf("notes %q", s.Notes)
	}
	s = mustOpen(t, from(os.DirFS(parquetDir), "text.parquet"), Options{Context: 7, Vocab: "bytes"})
	if got, err := s.Preview(); err != nil || got != `"hear me"` || ints(t, s, s.Y)[6] != '\n' || s.N != (len(joined)-1)/7 {
		t.Errorf("bytes: %s, %v, %v", got, ints(t, s, s.Y), err)
	}
}

// The same table as CSV and as Parquet is the same data set.
func TestTablesAgree(t *testing.T) {
	table := "a,word,b,quantity\n"
	for i := range 10 {
		word := "cat"
		if i%3 == 0 {
			word = "ant"
		}
		table += fmt.Sprintf("%v,%s,%d,%v\n", float64(i)/2, word, i, float64(i)/4)
	}
	files := disk(map[string][]byte{"table.csv": []byte(table), "text.csv": []byte("id,text,stars\nx,hear me,2\ny,\"before we proceed any further, hear me speak\",10\nz,\"speak\n\",2\n"), "tokenizer.json": bert(t)})
	vocab := &from(files, "tokenizer.json")[0]
	for _, tt := range []struct {
		name string
		opts Options
	}{
		{"table", Options{Input: "a,b", Label: "word"}},
		{"table", Options{Input: "a, b", Label: "quantity", ImageSize: []int{1, 2}}},
		{"table", Options{Input: "b", Label: "quantity,a"}},
		{"table", Options{Input: "a", Label: "b"}},
		{"table", Options{Input: "a", Label: "b", Quantities: true}},
		{"text", Options{Sequence: true, Context: 9, VocabFile: vocab, Label: "id"}},
		{"text", Options{Sequence: true, Context: 90, VocabFile: vocab}},
		{"text", Options{Context: 6, Stride: 2, VocabFile: vocab}},
		{"text", Options{Context: 6, Vocab: "chars"}},
	} {
		a, b := mustOpen(t, from(os.DirFS(parquetDir), tt.name+".parquet"), tt.opts), mustOpen(t, from(files, tt.name+".csv"), tt.opts)
		hashes := [2]string{}
		for i, s := range []*Set{a, b} {
			var err error
			if hashes[i], err = s.SHA256(); err != nil {
				t.Fatal(err)
			}
		}
		notes := strings.ReplaceAll(strings.Join(a.Notes, "\n"), ".parquet", ".csv")
		if hashes[0] != hashes[1] || !slices.Equal(a.X.Shape(), b.X.Shape()) || !slices.Equal(a.Y.Shape(), b.Y.Shape()) || a.Classes != b.Classes || !slices.Equal(a.Names, b.Names) || notes != strings.Join(b.Notes, "\n") {
			t.Errorf("%s, %+v: %+v and %+v", tt.name, tt.opts, a, b)
		}
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
	for _, name := range []string{"a.parquet", "train.parquet", "val.parquet", "configs/en/train.parquet"} {
		add("table.parquet", name)
	}
	add("table.parquet", "configs/fr/train.parquet")
	add("lists.parquet", "lists.parquet")
	add("text.parquet", "text.parquet")
	add("unclear.parquet", "unclear.parquet")
	add("zeros.parquet", "zeros.parquet")
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
		{"table.parquet", Options{Split: "test"}, []string{"--split: table.parquet has no splits"}},
		{"table.parquet", Options{}, []string{`table.parquet: row 7 of column "hole"`}},
		{"a.parquet", Options{Split: "test"}, []string{"--split: a.parquet has no splits"}},
		{"train.parquet", Options{Split: "test"}, []string{"--split: train.parquet is of the train split"}},
		{"val.parquet", Options{Split: "train"}, []string{"--split: val.parquet is of the test split"}},
		{"table.parquet", Options{Label: "none"}, []string{`--label: table.parquet has no column "none" (it has "a", "word", "b"`}},
		{"table.parquet", Options{Label: "b", Input: "day"}, []string{`--input: column "day" of table.parquet holds values of a type that is not read`}},
		{"table.parquet", Options{Label: "b", Input: "b"}, []string{`--input: "b" is the label`}},
		{"table.parquet", Options{Label: "b", Input: "a,word"}, []string{`--input: column "word" of table.parquet is no number`}},
		{"table.parquet", Options{Label: "hole", Input: "a"}, []string{`table.parquet: row 7 of column "hole": there is no value`}},
		{"table.parquet", Options{Input: "hole"}, []string{`--input: "hole" is the label`}},
		{"table.parquet", Options{Input: "a", Label: "a,word"}, []string{`--input: "a" is the label`}},
		{"table.parquet", Options{Input: "a", Label: "b,word"}, []string{`--label: column "word" of table.parquet is no number`}},
		{"lists.parquet", Options{Input: "y"}, []string{`--input: "y" is the label`}},
		{"lists.parquet", Options{Input: "ragged"}, []string{`lists.parquet: row 8 of column "ragged": a list that is not of the shape [2]`}},
		{"text.parquet", Options{}, []string{"text.parquet: the inputs are texts", "--input"}},
		{"zeros.parquet", Options{}, []string{"zeros.parquet: 49 columns of 100000 rows take far more memory than the file has bytes"}},
		{"unclear.parquet", Options{}, []string{`unclear.parquet: which of the columns "p", "q" holds the inputs is not clear (name it with --input)`}},
		{"unclear.parquet", Options{Input: "p"}, []string{`unclear.parquet: of the columns "p", "q" none is called label, labels`, "--label"}},
		{"text.parquet", Options{Context: 8, Sequence: true}, []string{"--vocab: the inputs of text.parquet are texts"}},
		{"text.parquet", Options{Context: 8}, []string{"--vocab: text.parquet has 21 distinct characters"}},
		{"text.parquet", Options{Context: 8, Sequence: true, Input: "stars"}, []string{`--input: "stars" is the label`}},
		{"table.parquet", Options{Context: 8, Sequence: true, Input: "word", Label: "day"}, []string{`--label: column "day"`}},
		{"cut.parquet", Options{}, []string{"cut.parquet: the file does not end as Parquet does (it is truncated"}},
		{"half", Options{Format: NPZ}, []string{"--data-format: npz is a format of files"}},
	} {
		s, err := Open(from(files, tt.name), tt.opts)
		if err == nil {
			_, err = s.SHA256()
			s.Close()
		}
		checkError(t, err, tt.want, "%s, %+v", tt.name, tt.opts)
	}
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"images/data/train-00001-of-00002.parquet", "table.parquet", "lists.parquet", "text.parquet", "pandas.parquet"} {
		b, err := os.ReadFile(filepath.Join(parquetDir, name))
		if err != nil {
			f.Fatal(err)
		}
		for _, input := range []string{"", "a,b", "pixels"} {
			f.Add(b, "", input, uint8(0))
		}
		f.Add(b, "word", "a", uint8(0))
		f.Add(b, "", "", uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, label, input string, context uint8) {
		s, err := Open(from(disk(map[string][]byte{"x.parquet": b}), "x.parquet"), Options{Label: label, Input: input, Context: int(context), Vocab: "bytes"})
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
