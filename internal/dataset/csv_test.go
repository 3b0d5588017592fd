package dataset

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// openCSV opens a table of that name.
func openCSV(t *testing.T, name, text string, opts Options) *Set {
	t.Helper()
	file := []byte(text)
	if strings.HasSuffix(name, ".gz") {
		file = zipped(file)
	}
	return mustOpen(t, from(disk(map[string][]byte{name: file}), name), opts)
}

func TestCSV(t *testing.T) {
	const plain = "a,b,label\n1,2.5,0\n-3e2,4,2\n"
	want := []float64{1, 2.5, -300, 4}
	for _, tt := range []struct {
		name, text string
		opts       Options
		x          []float64
		y          []int64
	}{
		{"t.csv", plain, Options{}, want, []int64{0, 2}},
		{"t.csv", strings.TrimSuffix(plain, "\n"), Options{}, want, []int64{0, 2}},
		{"t.csv", "\ufeff" + strings.ReplaceAll(plain, "\n", "\r\n"), Options{}, want, []int64{0, 2}},
		{"T.CSV", plain, Options{}, want, []int64{0, 2}},
		{"t.csv.gz", plain, Options{}, want, []int64{0, 2}},
		{"t.tsv", strings.ReplaceAll(plain, ",", "\t"), Options{}, want, []int64{0, 2}},
		{"t.csv", strings.ReplaceAll(plain, ",", "\t"), Options{}, want, []int64{0, 2}},
		{"t.csv", strings.ReplaceAll(plain, ",", ";"), Options{}, want, []int64{0, 2}},
		{"t", plain, Options{Format: CSV}, want, []int64{0, 2}},
		{"t.csv", "a, b, label\n 1 , 2.5 , 0 \n-300,4,2\n", Options{}, want, []int64{0, 2}},
		{"t.csv", "\"a\",\"b\",\"label\"\n\"1\",\"2.5\",\"0\"\n-300,4,2\n", Options{}, want, []int64{0, 2}},
		{"t.csv", "a,label,b\n1,0,2.5\n-300,2,4\n", Options{}, want, []int64{0, 2}},
		{"t.csv", "a,Class,b\n1,0,2.5\n-300,2,4\n", Options{}, want, []int64{0, 2}},
		{"t.csv", "y,class,a,b\n9,0,1,2.5\n9,2,-300,4\n", Options{Input: "a,b"}, want, []int64{0, 2}}, // class before y
		{"t.csv", "k,a,b,z\n0,1,2.5,7\n2,-300,4,7\n", Options{Label: "k", Input: "a, b"}, want, []int64{0, 2}},
		{"t.csv", "b,a,k\n2.5,1,0\n4,-300,2\n", Options{Label: "k", Input: "a,b"}, want, []int64{0, 2}}, // in the order asked for
		{"t.csv", "1,2.5,0\n-300,4,2\n", Options{}, want, []int64{0, 2}},
		{"t.csv", "0,1,2.5\n2,-300,4\n", Options{Label: "0"}, want, []int64{0, 2}},
		{"t.csv", ",a,b,label\n0,1,2.5,0\n1,-300,4,2\n", Options{}, want, []int64{0, 2}}, // the index of pandas
		{"t.csv", "0,1,label\n1,2.5,0\n-300,4,2\n", Options{}, want, []int64{0, 2}},      // numbered names of pandas
		{"t.csv", "a,b,label\nTrue,false,1\nFALSE,true,0\n", Options{}, []float64{1, 0, 0, 1}, []int64{1, 0}},
		{"t.csv", "a,b,species\n1,2.5,setosa\n-300,4,virginica\n1,2.5,\"iris, other\"\n", Options{Label: "species"}, append(slices.Clone(want), 1, 2.5), []int64{1, 2, 0}},
		{"t.csv", "a,b,species\n1,2.5,setosa\n-300,4,virginica\n1,2.5,setosa\n", Options{Classes: []string{"Virginica", "Other", "Setosa"}}, append(slices.Clone(want), 1, 2.5), []int64{2, 0, 2}},
		{"t.csv", "5.1,3,Iris-b\n4,2,Iris-a\n", Options{}, []float64{5.1, 3, 4, 2}, []int64{1, 0}}, // iris.data
		{"t.csv", "a,label\n1,-100\n2,1\n", Options{Ignore: new(int64)}, nil, nil},
	} {
		if tt.x == nil {
			*tt.opts.Ignore = -100
			tt.x, tt.y = []float64{1, 2}, []int64{-100, 1}
		}
		s := openCSV(t, tt.name, tt.text, tt.opts)
		if x, y := floats(t, s, s.X), ints(t, s, s.Y); !slices.Equal(x, tt.x) || !slices.Equal(y, tt.y) || s.Format != CSV || len(s.Y.Shape()) != 0 {
			t.Errorf("%s %q: got %v, %v (%s), want %v, %v", tt.name, tt.text, x, y, s.Format, tt.x, tt.y)
		}
	}
}

// Targets that are quantities, one or several.
func TestCSVQuantities(t *testing.T) {
	for _, tt := range []struct {
		text  string
		opts  Options
		shape []int
		y     []float64
	}{
		{"a,y\n1,0.5\n2,3\n", Options{}, []int{}, []float64{0.5, 3}},
		{"a,y\n1,4000000000\n2,3\n", Options{Quantities: true}, []int{}, []float64{4e9, 3}},
		{"a,p,q\n1,0.5,1\n2,3,2\n", Options{Label: "q,p"}, []int{2}, []float64{1, 0.5, 2, 3}},
		{"a,p,q\n1,5,1\n2,3,2\n", Options{Label: "p,q", Quantities: true}, []int{2}, []float64{5, 1, 3, 2}},
		{"a,\"p,q\"\n1,0.5\n2,3\n", Options{Label: "p,q"}, []int{}, []float64{0.5, 3}}, // one name with a comma
	} {
		s := openCSV(t, "t.csv", tt.text, tt.opts)
		if y := floats(t, s, s.Y); !slices.Equal(y, tt.y) || !slices.Equal(s.Y.Shape(), tt.shape) {
			t.Errorf("%q: got %v of shape %v, want %v of shape %v", tt.text, y, s.Y.Shape(), tt.y, tt.shape)
		}
	}
	// Several columns of integers are labels, as a multi-label loss has them.
	if s := openCSV(t, "t.csv", "a,p,q\n1,0,1\n2,1,1\n", Options{Label: "p,q"}); !slices.Equal(ints(t, s, s.Y), []int64{0, 1, 1, 1}) {
		t.Errorf("%v", ints(t, s, s.Y))
	}
}

// Values of several types are what strconv makes of them, to the last bit.
func TestCSVExact(t *testing.T) {
	s := openCSV(t, "t.csv", "a,b,c,y\n0.1,5e-324,1.7976931348623157e308,1\n", Options{})
	if got, want := floats(t, s, s.X), []float64{0.1, 5e-324, math.MaxFloat64}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What is taken for granted is said.
func TestCSVNotes(t *testing.T) {
	many := "a,label\n"
	for i := range 30 {
		many += fmt.Sprintf("1,n%02d\n", i)
	}
	for _, tt := range []struct {
		text string
		opts Options
		want []string // of the notes, in order; each in one
	}{
		{"a,b,label\n1,2,0\n", Options{}, nil},
		{"a,b,z\n1,2,0\n", Options{}, []string{`t.csv: labels are taken from the last column, "z" (--label NAME chooses)`}},
		{",b,label\n1,2,0\n", Options{}, []string{"the first column has no name"}},
		{"a,label\n0,0\n255,1\n", Options{}, []string{"whole numbers of 0..255 and taken as they are (--std 255"}},
		{"a,label\n0,0\n255,1\n", Options{Std: []float64{255}}, nil},
		{"a,label\n0,0\n254,1\n", Options{}, nil},
		{"a,label\n0.5,0\n255,1\n", Options{}, nil},
		{"a,label\n-1,0\n255,1\n", Options{}, nil},
		{"a,label\n1,virginica\n1,setosa\n", Options{}, []string{`the names in column "label" are numbered in their order: "setosa" = 0, "virginica" = 1`}},
		{many, Options{}, []string{`"n19" = 19, … (30 in all)`}},
	} {
		s := openCSV(t, "t.csv", tt.text, tt.opts)
		if len(s.Notes) != len(tt.want) {
			t.Errorf("%q: got notes %q, want %q", tt.text, s.Notes, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(s.Notes[i], want) {
				t.Errorf("%q: got note %q, want %q in it", tt.text, s.Notes[i], want)
			}
		}
	}
}

// A table of many blocks is one table.
func TestCSVBlocks(t *testing.T) {
	var text strings.Builder
	text.WriteString("label")
	const columns, rows = 1 << 10, 1<<11 + 3
	for i := range columns {
		fmt.Fprintf(&text, ",c%d", i)
	}
	tail := strings.Repeat(",7", columns-1)
	for i := range rows {
		fmt.Fprintf(&text, "\n%d,%d%s", i%3, i, tail)
	}
	s := openCSV(t, "t.csv", text.String(), Options{})
	x, y := floats(t, s, s.X), ints(t, s, s.Y)
	for i := range rows {
		if x[i*columns] != float64(i) || x[i*columns+columns-1] != 7 || y[i] != int64(i%3) {
			t.Fatalf("row %d: %v, …, %v and %d", i, x[i*columns], x[i*columns+columns-1], y[i])
		}
	}
	if s.N != rows {
		t.Errorf("%d rows, want %d", s.N, rows)
	}
}

// A row of pixels is an image where the network takes images of that size.
func TestCSVImages(t *testing.T) {
	row := strings.Repeat("1,", 12)
	for _, tt := range []struct {
		size, want []int
	}{{nil, []int{12}}, {[]int{2, 3}, []int{2, 2, 3}}, {[]int{3, 4}, []int{1, 3, 4}}, {[]int{5, 5}, []int{12}}} {
		if s := openCSV(t, "t.csv", row+"0\n"+row+"1\n", Options{ImageSize: tt.size}); !slices.Equal(s.X.Shape(), tt.want) {
			t.Errorf("%v: got shape %v, want %v", tt.size, s.X.Shape(), tt.want)
		}
	}
}

func TestBadCSV(t *testing.T) {
	bomb := zipped([]byte("a,label\n" + strings.Repeat("0,0\n", 1<<20)))
	whole := zipped([]byte("a,b,label\n1,2,0\n"))
	files := disk(map[string][]byte{
		"good.csv": []byte("a,b,label\n1,2,0\n"), "bomb.csv.gz": bomb, "cut.csv.gz": whole[:len(whole)-4], "no.csv.gz": []byte("a,b\n1,2\n"),
		"empty.csv": nil, "blank.csv": []byte("\n\n\n"), "twice.csv": []byte("a,label,label\n1,2,0\n"),
	})
	for i, text := range []string{
		0:  "a,b,label\n1,,0\n",
		1:  "a,b,label\n1,NaN,0\n",
		2:  "a,b,label\n1,2,0\n1,inf,0\n",
		3:  "a,b,label\n1,1e999,0\n",
		4:  "a,b,label\n1,2,0\n1,x,0\n",
		5:  "a,b,label\n1,2\n",
		6:  "a,b,label\n1,2,3,4\n",
		7:  "a,b,label\n1,\"2,3\n",
		8:  "a,b,label\n1,\"2\"3,4\n",
		9:  "a,b,label\n1,2,\n",
		10: "a,b,label\n1,2,0\n1,2,x\n",
		11: "a,b,label\n1,2,x\n1,2,0\n",
		12: "a,b,label\n1,2,x\n1,2,\n",
		13: "a,b,label\n1,2,4000000000\n",
		14: "a,b,label\n1,2,-1\n",
		15: "a,b,label\n",
		16: "label\n1\n2\n",
		17: "5,3,1,0,Iris\n4,3,1,0,Iris\n",
		18: "a,b\xff,label\n1,2,0\n",
		19: "a,b,label\n1,2,caf\xe9\n",
		20: "\xff\xfea\x00,\x00b\x00\n\x00",
		21: "a,b,label\n1,0x1p-2_,0\n",
	} {
		files[fmt.Sprintf("%d.csv", i)] = disk(map[string][]byte{"f": []byte(text)})["f"]
	}
	for _, tt := range []struct {
		name string
		opts Options
		want []string
	}{
		{"0.csv", Options{}, []string{`0.csv: line 2, column "b": "" is a missing value`}},
		{"1.csv", Options{}, []string{`line 2, column "b": "NaN" is a missing value`}},
		{"2.csv", Options{}, []string{`line 3, column "b": "inf" is not a finite number`}},
		{"3.csv", Options{}, []string{`"1e999" is not a finite number`}},
		{"4.csv", Options{}, []string{`line 3, column "b": "x" is no number`, "--input"}},
		{"5.csv", Options{}, []string{"line 2 has 2 fields, the first line 3"}},
		{"6.csv", Options{}, []string{"line 2 has 4 fields, the first line 3"}},
		{"7.csv", Options{}, []string{"7.csv: line 2, byte "}},
		{"8.csv", Options{}, []string{"8.csv: line 2, byte "}},
		{"9.csv", Options{}, []string{`column "label": "" is a missing value`}},
		{"10.csv", Options{}, []string{`line 3, column "label": "x" is no number`}},
		{"11.csv", Options{}, []string{`line 3, column "label": "0" is a number, and the labels before it are names`}},
		{"12.csv", Options{}, []string{`line 3, column "label": "" is a missing value`}},
		{"13.csv", Options{}, []string{"13.csv: line 2", "4000000000 is not in 0..2147483647", "--loss mse"}},
		{"14.csv", Options{}, []string{"14.csv: label -1 of example 0"}},
		{"15.csv", Options{}, []string{"15.csv: the data set is empty"}},
		{"16.csv", Options{}, []string{"no columns but the labels"}},
		{"17.csv", Options{}, []string{"line 1: holds both numbers", "names of the columns"}},
		{"18.csv", Options{}, []string{"line 1: not UTF-8"}},
		{"19.csv", Options{}, []string{`"caf\xe9" is not UTF-8`}},
		{"20.csv", Options{}, []string{"line 1: not UTF-8"}},
		{"21.csv", Options{}, []string{"is no number"}},
		{"empty.csv", Options{}, []string{"empty.csv: the file is empty"}},
		{"blank.csv", Options{}, []string{"blank.csv: the file holds no lines"}},
		{"twice.csv", Options{Label: "label"}, []string{"--label: ", "several columns"}},
		{"bomb.csv.gz", Options{}, []string{"bomb.csv.gz: more than 256 bytes for each compressed one"}},
		{"cut.csv.gz", Options{}, []string{"cut.csv.gz: ", "unexpected EOF"}},
		{"no.csv.gz", Options{}, []string{"no.csv.gz: reading the gzip header"}},
		{"good.csv", Options{Label: "z"}, []string{"--label: ", `good.csv has no column "z" (it has "a", "b", "label")`}},
		{"good.csv", Options{Label: "a,a"}, []string{"--label: ", "twice"}},
		{"good.csv", Options{Input: "a,z"}, []string{"--input: ", `no column "z"`}},
		{"good.csv", Options{Input: "a,label"}, []string{"--input: ", "is the label"}},
		{"good.csv", Options{Label: "a,b,label"}, []string{"no columns but the labels"}},
		{"good.csv", Options{Split: "test"}, []string{"--split: ", "no splits"}},
	} {
		_, err := Open(from(files, tt.name), tt.opts)
		checkError(t, err, tt.want, "%s, %+v", tt.name, tt.opts)
	}
}

func FuzzCSV(f *testing.F) {
	for _, text := range []string{"a,b,label\n1,2.5,0\n-3e2,4,2\n", ",a;b\n1;x\n", "1,2\n3,4\n", "a\ttext\tlabel\n1\t\"x\n\"\t3\n", "5.1,3,Iris\n", "\ufeffa,label\n0,0\n255,1\n"} {
		f.Add([]byte(text), "", false)
		f.Add([]byte(text), "label,a", true)
	}
	f.Fuzz(func(t *testing.T, b []byte, label string, gz bool) {
		name, size := "t.csv", len(b)
		if gz {
			name, b = "t.csv.gz", zipped(b)
		}
		s, err := Open(from(disk(map[string][]byte{name: b}), name), Options{Label: label, ImageSize: []int{1, 2}})
		readAll(t, s, err, size)
	})
}
