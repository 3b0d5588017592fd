package dataset

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/npy/npytest"
	"hessdens/internal/tokenizer"
)

// tokenFile is a file of tokens of 16 bits.
func tokenFile(n int) []byte {
	var b []byte
	for i := range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(i*257))
	}
	return b
}

// Windows, whatever the tokens come from: input i·S+j, target one to the right, what is left over left out.
func TestWindows(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	files := disk(map[string][]byte{
		"a.txt": []byte(letters), "dir/1.txt": []byte(letters[:5]), "dir/10.txt": []byte(letters[5:6]), "dir/2.txt": []byte(letters[6:]), "dir/notes.md": []byte("x"),
		"t.bin": tokenFile(26), "llmc.bin": slices.Concat(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, llmcMagic), 1), 26), make([]byte, 1012), tokenFile(26)),
	})
	for _, tt := range []struct {
		context, stride, examples, rows, left int
	}{
		{5, 0, 0, 5, 0}, {5, 5, 0, 5, 0}, {4, 0, 0, 6, 1}, {6, 0, 0, 4, 1}, {25, 0, 0, 1, 0}, {24, 0, 0, 1, 1}, {5, 1, 0, 21, 0}, {5, 2, 0, 11, 0}, {6, 2, 0, 10, 1}, {3, 7, 0, 4, 1}, {3, 100, 0, 1, 22},
		{4, 0, 3, 6, 0}, {4, 0, 6, 6, 1}, // nothing is said of what is not asked for
	} {
		for _, name := range []string{"a.txt", "dir", "t.bin", "llmc.bin"} {
			what := fmt.Sprintf("%s %+v", name, tt)
			s := mustOpen(t, from(files, name), Options{Context: tt.context, Stride: tt.stride, Examples: tt.examples, VocabSize: 26})
			step := 1 // of tokens
			if strings.HasSuffix(name, ".bin") {
				step = 257
			}
			stride := max(tt.stride, 1)
			if tt.stride == 0 {
				stride = tt.context
			}
			x, y := ints(t, s, s.X), ints(t, s, s.Y)
			for i := range s.N {
				for j := range tt.context {
					want := int64((i*stride + j) * step)
					if at := i*tt.context + j; x[at] != want || y[at] != want+int64(step) {
						t.Fatalf("%s: window %d at %d: %d → %d, want %d → %d", what, i, j, x[at], y[at], want, want+int64(step))
					}
				}
			}
			if s.Total != tt.rows || !slices.Equal(s.X.Shape(), []int{tt.context}) || !slices.Equal(s.Y.Shape(), []int{tt.context}) || !s.X.Integer() || !s.Y.Integer() {
				t.Errorf("%s: %d windows of shape %v, want %d", what, s.Total, s.X.Shape(), tt.rows)
			}
			said := slices.ContainsFunc(s.Notes, func(n string) bool {
				return strings.Contains(n, fmt.Sprintf("the last %d fill none and are left out", tt.left))
			})
			if said != (tt.left > 0) {
				t.Errorf("%s: notes %q, with %d left out", what, s.Notes, tt.left)
			}
		}
	}
	// Rows that follow each other may be read from any place.
	s := mustOpen(t, from(files, "dir"), Options{Context: 4, Stride: 3, VocabSize: 26, Sample: 3})
	all := ints(t, s, s.X)
	one := make([]int64, 4)
	for i := range s.N {
		if err := s.X.Ints(one, i, i+1); err != nil || !slices.Equal(one, all[4*i:4*i+4]) {
			t.Errorf("row %d: %v, %v, want %v", i, one, err, all[4*i:4*i+4])
		}
	}
}

// A language model's tokens are those of its reference.
func TestReferenceText(t *testing.T) {
	shared := filepath.Join("..", "..", "..", "shared")
	if _, err := os.Stat(filepath.Join(shared, "data", "tinyshakespeare.txt")); err != nil {
		t.Skip("no shared folder")
	}
	s := mustOpen(t, from(os.DirFS(filepath.Join(shared, "data")), "tinyshakespeare.txt"), Options{Context: 64, VocabSize: 65, Examples: 4})
	want := mustOpen(t, []Source{{FS: os.DirFS(filepath.Join(shared, "reference", "cases")), Name: "gpt-1.npz"}}, Options{})
	if !slices.Equal(ints(t, s, s.X), ints(t, want, want.X)) || !slices.Equal(ints(t, s, s.Y), ints(t, want, want.Y)) {
		t.Error("other windows than those of the reference")
	}
}

// How text becomes tokens, as asked for or as it has to be.
func TestVocabulary(t *testing.T) {
	files := disk(map[string][]byte{
		"t.txt": []byte("ba é\nab"), "prose": []byte("ba é\nab"), "latin.txt": []byte("ba \xe9\nab"),
		"chars": []byte("éab \n"), "chars.txt": []byte("\nab é\n"), "split/train.txt": []byte("abab"), "split/val.txt": []byte("bcbc"), "split/notes.txt": []byte("zzz"),
	})
	for _, tt := range []struct {
		name  string
		opts  Options
		x     []int64 // of the first window
		size  int
		split string
		note  string
	}{
		{"t.txt", Options{VocabSize: 5}, []int64{3, 2, 1, 4, 0}, 5, "", "the 5 distinct characters"},
		{"prose", Options{VocabSize: 5}, []int64{3, 2, 1, 4, 0}, 5, "", "the 5 distinct characters"},
		{"t.txt", Options{VocabSize: 256}, []int64{'b', 'a', ' ', 0xc3, 0xa9}, 256, "", "bytes of the text"},
		{"latin.txt", Options{VocabSize: 256}, []int64{'b', 'a', ' ', 0xe9, '\n'}, 256, "", "bytes of the text"},
		{"t.txt", Options{VocabSize: 7, Vocab: "chars"}, []int64{3, 2, 1, 4, 0}, 5, "", "5 distinct characters, and the network knows 7"},
		{"t.txt", Options{VocabSize: 5, Vocab: "bytes"}, []int64{'b', 'a', ' ', 0xc3, 0xa9}, 256, "", ""},
		{"t.txt", Options{VocabSize: 5, VocabFile: &from(files, "chars")[0]}, []int64{2, 1, 3, 0, 4}, 5, "", ""},
		{"t.txt", Options{VocabSize: 5, VocabFile: &from(files, "chars.txt")[0]}, []int64{2, 1, 3, 4, 0}, 5, "", ""},
		{"split", Options{VocabSize: 3, Context: 2}, []int64{0, 1}, 3, "train", "3 distinct characters"},
		{"split", Options{VocabSize: 3, Context: 2, Split: "test"}, []int64{1, 2}, 3, "test", "3 distinct characters"},
	} {
		if tt.opts.Context == 0 {
			tt.opts.Context = 5
		}
		tt.opts.Examples = 1
		s := mustOpen(t, from(files, tt.name), tt.opts)
		if x := ints(t, s, s.X); !slices.Equal(x, tt.x) || s.VocabularySize() != tt.size || s.Split != tt.split || s.Format != Text {
			t.Errorf("%s, %+v: got %v, vocabulary %d, split %q, want %v, %d, %q", tt.name, tt.opts, x, s.VocabularySize(), s.Split, tt.x, tt.size, tt.split)
		}
		notes := slices.DeleteFunc(slices.Clone(s.Notes), func(n string) bool { return strings.Contains(n, "left out") })
		if got := strings.Join(notes, "\n"); !strings.Contains(got, tt.note) || tt.note == "" && got != "" {
			t.Errorf("%s, %+v: notes %q, want %q", tt.name, tt.opts, got, tt.note)
		}
	}
}

// The splits of a directory of tokens, which a network of images takes for CIFAR.
func TestTokenDirectory(t *testing.T) {
	files := disk(map[string][]byte{"d/train.bin": tokenFile(9), "d/val.bin": tokenFile(5), "d/input.txt": []byte("x"), "d/meta.pkl": nil})
	for split, n := range map[string]int{"": 4, "train": 4, "test": 2} {
		s := mustOpen(t, from(files, "d"), Options{Context: 2, Split: split})
		if s.Total != n || s.Format != Tokens || s.Split != map[string]string{"": "train"}[split]+split || s.VocabularySize() != 0 {
			t.Errorf("%q: %d windows, %s, %q", split, s.Total, s.Format, s.Split)
		}
	}
	if s := mustOpen(t, from(files, "d/val.bin"), Options{Context: 2}); s.Split != "test" {
		t.Errorf("split %q", s.Split)
	}
	if _, err := Open(from(files, "d/train.bin"), Options{ImageSize: []int{32, 32}}); err == nil || !strings.Contains(err.Error(), "cifar10") {
		t.Errorf("for a network of images: %v", err)
	}
	if s := mustOpen(t, from(files, "d"), Options{Context: 2, Format: Tokens}); s.Format != Tokens {
		t.Errorf("%s", s.Format)
	}
}

func TestPreview(t *testing.T) {
	long := strings.Repeat("é\x1b[31m\"", 500)
	files := disk(map[string][]byte{"t.txt": []byte("say \"hi\"\x00\x1b[2J\u202eé\n.."), "long.txt": []byte(long), "t.bin": tokenFile(30),
		"x.npy": npytest.File("<f4", false, []int{1, 2}, []float32{1, 2}), "y.npy": npytest.File("<i8", false, []int{1}, []int64{0})})
	s := mustOpen(t, from(files, "t.txt"), Options{Context: 16, Vocab: "chars"})
	if got, err := s.Preview(); err != nil || got != `"say \"hi\"\x00\x1b[2J\u202eé\n"` {
		t.Errorf("got %s, %v", got, err)
	}
	for _, vocab := range []string{"chars", "bytes"} {
		s = mustOpen(t, from(files, "long.txt"), Options{Context: 3000, Vocab: vocab})
		got, err := s.Preview()
		if err != nil || len(got) > 1000 || !strings.HasPrefix(got, `"é\x1b[31m\"é`) || !strings.HasSuffix(got, "…") || strings.Contains(got, `\xc3`) && vocab == "chars" {
			t.Errorf("%s: got %d bytes, %.40s … %v", vocab, len(got), got, err)
		}
	}
	s = mustOpen(t, from(files, "t.bin"), Options{Context: 3})
	if got, err := s.Preview(); got != "" || err != nil {
		t.Errorf("tokens without a vocabulary: %s, %v", got, err)
	}
	s = mustOpen(t, from(files, "x.npy", "y.npy"), Options{})
	if got, err := s.Preview(); got != "" || err != nil || s.VocabularySize() != 0 {
		t.Errorf("numbers: %s, %v", got, err)
	}
}

// bert is a tokenizer.json of WordPiece with special tokens around a text.
func bert(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "tokenizer", "testdata", "bert.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Texts by tokenizer.json: windows of a language model, and the rows of a table.
func TestTokenizer(t *testing.T) {
	file := bert(t)
	tok, err := tokenizer.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	const text = "Before we proceed any further, hear me speak. We are accounted poor citizens, the patricians good."
	files := disk(map[string][]byte{"tokenizer.json": file, "t.txt": []byte(text), "t.bin": tokenFile(9)[:4],
		"t.csv": []byte("id,Text,label\n1,\" we, are\",0\n2,\"" + text + "\",2\n"), "chars": []byte("abc")})
	vocab := &from(files, "tokenizer.json")[0]
	want, err := tok.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, from(files, "t.txt"), Options{Context: 7, Examples: 1, VocabFile: vocab})
	if x := ints(t, s, s.X); fmt.Sprint(x) != fmt.Sprint(want[:7]) || s.VocabularySize() != tok.Size() || s.Total != (len(want)-1)/7 {
		t.Errorf("windows: %v of %d, want %v", x, s.Total, want[:7])
	}
	s = mustOpen(t, from(files, "t.csv"), Options{Context: 8, VocabFile: vocab, Input: "Text", Sequence: true})
	short, err := tok.Encode(" we, are")
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Concat([]int32{2}, short, []int32{3})
	for len(rows) < 8 {
		rows = append(rows, 0)
	}
	rows = slices.Concat(rows, []int32{2}, want[:6], []int32{3})
	if x, y := ints(t, s, s.X), ints(t, s, s.Y); fmt.Sprint(x) != fmt.Sprint(rows) || !slices.Equal(y, []int64{0, 2}) || len(s.Y.Shape()) != 0 {
		t.Errorf("table: %v, %v, want %v", x, y, rows)
	}
	if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "1 of 2 texts are longer than 8 tokens and cut") {
		t.Errorf("notes %q", s.Notes)
	}
	if got, err := s.Preview(); err != nil || got != `"[CLS] we , are [SEP] [PAD] [PAD] [PAD]"` {
		t.Errorf("preview %s, %v", got, err)
	}
	// By its usual name, and no longer than its texts.
	if s := mustOpen(t, from(files, "t.csv"), Options{Context: 512, VocabFile: vocab, Sequence: true}); s.Total != 2 || s.X.Shape()[0] != len(want)+2 || len(s.Notes) != 0 {
		t.Errorf("%d examples of shape %v, %q", s.Total, s.X.Shape(), s.Notes)
	}
	s = mustOpen(t, from(files, "t.bin"), Options{Context: 1, VocabFile: vocab})
	if got, err := s.Preview(); err != nil || got != `"[PAD]"` {
		t.Errorf("tokens: %s, %v", got, err)
	}
}

// grown is a file system whose files say that they have so many bytes more.
type grown struct {
	fs.FS
	by int64
}

type grownFile struct {
	fs.File
	io.ReaderAt
	fs.FileInfo
	by int64
}

func (g grown) Open(name string) (fs.File, error) {
	f, err := g.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return &grownFile{f, f.(io.ReaderAt), info, g.by}, err // the files of disk can be read anywhere
}

func (f *grownFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *grownFile) Size() int64                { return f.FileInfo.Size() + f.by }

// No memory is asked for a text that is too long, as a file with holes may be.
func TestLongText(t *testing.T) {
	files := grown{disk(map[string][]byte{"t.txt": []byte("hello hello")}), 1 << 40}
	s, err := Open([]Source{{FS: files, Name: "t.txt"}}, Options{Context: 2, Vocab: "bytes", Format: Text})
	if s != nil || err == nil || !strings.Contains(err.Error(), "t.txt: 1099511627787 bytes are more text than is read into memory") {
		t.Errorf("got %v", err)
	}
}

func TestBadText(t *testing.T) {
	llmc := func(version, n uint32, tokens int) []byte {
		b := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, llmcMagic), version), n)
		return slices.Concat(b, make([]byte, 1012), tokenFile(tokens))
	}
	gpt2, err := os.ReadFile(filepath.Join("..", "tokenizer", "testdata", "gpt2.json"))
	if err != nil {
		t.Fatal(err)
	}
	files := disk(map[string][]byte{
		"t.txt": []byte("hello\n"), "latin.txt": []byte("caf\xe9 au lait"), "utf16.txt": []byte("\xff\xfeh\x00i\x00"), "empty.txt": nil, "data": {1, 2, 3, 0}, "binary": []byte("a\x00b"),
		"odd.bin": tokenFile(9)[:17], "few.bin": tokenFile(2), "version.bin": llmc(2, 4, 4), "lie.bin": llmc(1, 1<<31, 4), "train.bin": tokenFile(9), "d/val.bin": tokenFile(9), "e/x.md": nil,
		"twice": []byte("abca"), "none": nil, "few": []byte("helo"), "bad.json": []byte(`{"version": "1.0"}`), "tokenizer.json": bert(t),
		"t.csv": []byte("a,text,label\n1,hello,0\n"), "no.csv": []byte("a,b,label\n1,2,0\n"), "odd.csv": []byte("text,label\nhello,0\n\u0378,1\n"), "only.csv": []byte("text,z\nhello,x\n"), "empty.csv": []byte("text,label\n"), "lengths.csv": []byte("text,label\nhello,0\nhello hello,1\n"), "gpt2.json": gpt2,
	})
	file := func(name string) *Source { return &from(files, name)[0] }
	for _, tt := range []struct {
		name string
		opts Options
		want []string
	}{
		{"t.txt", Options{}, []string{"--context: t.txt is text", "--context T"}},
		{"t.txt", Options{Context: 2}, []string{"--vocab: t.txt has 5 distinct characters: "}},
		{"t.txt", Options{Context: 2, VocabSize: 65}, []string{"--vocab: t.txt has 5 distinct characters, and the network knows 65 tokens"}},
		{"latin.txt", Options{Context: 2, VocabSize: 65}, []string{"--vocab: ", "not UTF-8"}},
		{"latin.txt", Options{Context: 2, Vocab: "chars"}, []string{"latin.txt: offset 3: the byte 0xe9 is not UTF-8", "iconv"}},
		{"utf16.txt", Options{Context: 2, Vocab: "chars"}, []string{"utf16.txt: offset 0: the byte 0xff is not UTF-8"}},
		{"t.txt", Options{Context: 6, Vocab: "chars"}, []string{"t.txt: 6 tokens, too few for a window of 6"}},
		{"t.txt", Options{Context: math.MaxInt, Vocab: "bytes"}, []string{"too few"}},
		{"t.txt", Options{Context: 2, VocabSize: 5, Split: "test"}, []string{"--split: ", "no splits"}},
		{"empty.txt", Options{Context: 2}, []string{"empty.txt: the file is empty"}},
		{"binary", Options{Context: 2}, []string{"not recognised"}},
		{"data", Options{Context: 2}, []string{"not recognised"}},
		{"t.txt", Options{Context: 2, VocabFile: file("missing")}, []string{"missing: ", "not exist"}},
		{"t.txt", Options{Context: 2, VocabFile: file("twice")}, []string{"twice: offset 3: the character 'a' is there twice"}},
		{"t.txt", Options{Context: 2, VocabFile: file("none")}, []string{"none: the file is empty"}},
		{"t.txt", Options{Context: 2, VocabFile: file("latin.txt")}, []string{"latin.txt: offset 3: ", "not UTF-8"}},
		{"t.txt", Options{Context: 2, VocabFile: file("few")}, []string{`t.txt: offset 5: the character '\n' is not among the 4`}},
		{"t.txt", Options{Context: 2, VocabFile: file("bad.json")}, []string{"bad.json: model: is missing"}},
		{"odd.bin", Options{Context: 2}, []string{"odd.bin: 17 bytes are no whole number of tokens"}},
		{"few.bin", Options{Context: 2}, []string{"few.bin: 2 tokens, too few"}},
		{"version.bin", Options{Context: 2}, []string{"version.bin: offset 4: version 2"}},
		{"lie.bin", Options{Context: 2}, []string{"lie.bin: offset 8: 2147483648 tokens need"}},
		{"train.bin", Options{Context: 2, Split: "test"}, []string{"--split: ", "train split"}},
		{"train.bin", Options{Format: Tokens}, []string{"--context: "}},
		{"d", Options{Context: 2}, []string{"d: no tokens of the train split", "not exist"}},
		{"e", Options{Context: 2}, []string{"the format is not recognised"}},
		{"e", Options{Context: 2, Format: Text}, []string{"e: no .txt files"}},
		{"d", Options{Context: 2, Format: Text, Split: "test"}, []string{"--split: "}},
		{"t.csv", Options{Sequence: true, Context: 4}, []string{"--vocab: ", "tokenizer.json"}},
		{"t.csv", Options{Sequence: true, Context: 4, VocabFile: file("few")}, []string{"--vocab: ", "tokenizer.json"}},
		{"t.csv", Options{Sequence: true, Context: 1, VocabFile: file("tokenizer.json")}, []string{"t.csv: the text of example 0: 1 tokens are too few"}},
		{"empty.csv", Options{Sequence: true, Context: 4, VocabFile: file("tokenizer.json")}, []string{"empty.csv: the data set is empty"}},
		{"lengths.csv", Options{Sequence: true, Context: 90, VocabFile: file("gpt2.json")}, []string{"gpt2.json: the tokenizer has no padding token"}},
		{"odd.csv", Options{Sequence: true, Context: 4, VocabFile: file("tokenizer.json")}, []string{"odd.csv: the text of example 1: offset 0: the character U+0378"}},
		{"no.csv", Options{Sequence: true, Context: 4, VocabFile: file("tokenizer.json")}, []string{"no.csv: the network takes tokens", "--input"}},
		{"t.csv", Options{Sequence: true, Context: 4, VocabFile: file("tokenizer.json"), Input: "z"}, []string{"--input: ", `no column "z"`}},
		{"only.csv", Options{Sequence: true, Context: 4, VocabFile: file("tokenizer.json"), Input: "z"}, []string{"--input: ", "is the label"}},
	} {
		_, err := Open(from(files, tt.name), tt.opts)
		checkError(t, err, tt.want, "%s, %+v", tt.name, tt.opts)
	}
	// A tokenizer that is not read keeps no tokens from being read.
	s := mustOpen(t, from(files, "train.bin"), Options{Context: 2, VocabFile: file("bad.json")})
	if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "bad.json: model: is missing") || s.VocabularySize() != 0 {
		t.Errorf("notes %q", s.Notes)
	}
}

// tensors is a safetensors file of one- or two-axis arrays.
func tensors(arrays map[string][]byte, types map[string]string, shapes map[string][]int) []byte {
	header := map[string]any{}
	var values []byte
	for _, name := range slices.Sorted(maps.Keys(arrays)) {
		b := arrays[name]
		header[name] = map[string]any{"dtype": types[name], "shape": shapes[name], "data_offsets": []int{len(values), len(values) + len(b)}}
		values = append(values, b...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, values)
}

// The keys of safetensors data are those of .npz.
func TestSafetensors(t *testing.T) {
	x, y := npytest.Bytes([]float32{1, 2, 3, 4}, false), npytest.Bytes([]int64{1, 0}, false)
	file := func(xName, yName, xType string, x []byte) []byte {
		return tensors(map[string][]byte{xName: x, yName: y}, map[string]string{xName: xType, yName: "I64"}, map[string][]int{xName: {2, 2}, yName: {2}})
	}
	good := file("x", "y", "F32", x)
	files := disk(map[string][]byte{
		"a.safetensors": good, "b.safetensors": file("images", "labels", "U8", []byte{0, 255, 51, 0}), "c.safetensors": file("x_train", "y_train", "F32", x), "d.safetensors": file("x_test", "y_test", "BF16", []byte{0x80, 0x3f, 0, 0x40, 0x40, 0x40, 0x80, 0x40}),
		"no.safetensors": file("a", "b", "F32", x), "half.safetensors": file("x", "labels", "F32", x), "cut.safetensors": good[:len(good)-1], "type.safetensors": file("x", "y", "F4", x),
	})
	for name, want := range map[string][]float64{"a": {1, 2, 3, 4}, "b": {0, 1, 0.2, 0}, "c": {1, 2, 3, 4}, "d": {1, 2, 3, 4}} {
		opts := Options{}
		if name == "d" {
			opts.Split = "test"
		}
		s := mustOpen(t, from(files, name+".safetensors"), opts)
		if got := floats(t, s, s.X); !slices.Equal(got, want) || !slices.Equal(ints(t, s, s.Y), []int64{1, 0}) || s.Format != Safetensors {
			t.Errorf("%s: got %v, %s", name, got, s.Format)
		}
	}
	for name, want := range map[string]string{
		"no": `no.safetensors: holds "a", "b", and neither x and y`, "half": "only one is there", "cut": "truncated", "type": `array "x": values of safetensors type "F4" are not read`,
	} {
		if _, err := Open(from(files, name+".safetensors"), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(tensors(map[string][]byte{"x": {1, 2, 3, 4}, "y": {0, 1}}, map[string]string{"x": "U8", "y": "U8"}, map[string][]int{"x": {2, 2}, "y": {2}}))
	f.Add(tensors(map[string][]byte{"x": make([]byte, 16), "y": make([]byte, 16)}, map[string]string{"x": "BF16", "y": "U64"}, map[string][]int{"x": {2, 4}, "y": {2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Open(from(disk(map[string][]byte{"s.safetensors": b}), "s.safetensors"), Options{})
		readAll(t, s, err, len(b))
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("hello, é\n world"), []byte("\nabc"), uint8(3), uint8(1), uint8(0))
	f.Add([]byte("hello, \xe9\n world"), []byte("helo, wrd\n"), uint8(2), uint8(0), uint8(1))
	f.Add([]byte("hello, world"), []byte("helo, wrd"), uint8(2), uint8(5), uint8(2))
	f.Fuzz(func(t *testing.T, text, chars []byte, context, stride, mode uint8) {
		files := disk(map[string][]byte{"t.txt": text, "chars": chars})
		opts := Options{Context: int(context), Stride: int(stride)}
		switch mode % 3 {
		case 0:
			opts.Vocab = "chars"
		case 1:
			opts.Vocab = "bytes"
		case 2:
			opts.VocabFile = &from(files, "chars")[0]
		}
		s, err := Open(from(files, "t.txt"), opts)
		if err == nil {
			if _, err := s.Preview(); err != nil {
				t.Fatal(err)
			}
		}
		readAll(t, s, err, 300*len(text))
	})
}

func FuzzTokens(f *testing.F) {
	f.Add(tokenFile(9), uint8(3), uint8(1))
	f.Add(tokenFile(600), uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, context, stride uint8) {
		s, err := Open(from(disk(map[string][]byte{"t.bin": b}), "t.bin"), Options{Context: max(1, int(context)), Stride: int(stride)})
		readAll(t, s, err, 300*len(b))
	})
}
