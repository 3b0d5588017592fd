package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hessdens/internal/parquet"
	"hessdens/internal/tensor"
)

const parquetSuffix = ".parquet"

// Usual names of columns with inputs and with labels, the likeliest first.
var (
	usualInputs = []string{"image", "img", "images", "x", "features", "inputs", "input_ids", "text", "sentence", "content"}
	usualLabels = []string{"label", "labels", "fine_label", "target", "targets", "class", "y"}
)

// fieldKind is what a column of a table holds, as far as it makes a difference here.
type fieldKind int

const (
	otherField fieldKind = iota
	pictureField
	textField
	numberField
	listField
)

// field is a column of a table, or the part of a structure that counts.
type field struct {
	name string
	kind fieldKind
	leaf *parquet.Column
}

// fields are the columns of a file, in its order. Pictures are bytes that are no text, alone or as the
// member bytes of a structure, as Hugging Face's datasets write them.
func fields(f *parquet.File) []field {
	var out []field
	for i := 0; i < len(f.Columns); {
		name := f.Columns[i].Path[0]
		end := i + 1
		for end < len(f.Columns) && f.Columns[end].Path[0] == name {
			end++
		}
		members := f.Columns[i:end]
		i = end
		c := members[0]
		kind := otherField
		number := c.Logical <= parquet.Uint8 && c.Logical != parquet.String && slices.Contains([]parquet.Kind{parquet.Boolean, parquet.Int32, parquet.Int64, parquet.Float, parquet.Double}, c.Kind)
		if at := slices.IndexFunc(members, func(c *parquet.Column) bool {
			return len(c.Path) == 2 && c.Path[1] == "bytes" && c.MaxRep == 0 && c.Kind == parquet.ByteArray
		}); at >= 0 {
			c, kind = members[at], pictureField
		} else if len(members) == 1 {
			switch {
			case number && c.MaxRep > 0:
				kind = listField
			case len(c.Path) > 1 || c.MaxRep > 0:
			case number:
				kind = numberField
			case c.Kind == parquet.ByteArray && c.Logical == parquet.String:
				kind = textField
			case c.Kind == parquet.ByteArray && c.Logical == parquet.None:
				kind = pictureField
			}
		}
		out = append(out, field{name, kind, c})
	}
	return out
}

// parquetTable is a table in one file or several that follow each other.
type parquetTable struct {
	name   string
	fields []field
	files  []parquetPart
	groups []parquetGroup
	rows   int
	known  []string // names of the network's classes
}

type parquetPart struct {
	source Source
	size   int64
	file   *parquet.File
	fields []field
}

// parquetGroup is a group of rows of a file, which are read together.
type parquetGroup struct {
	part, group   int
	first, inFile int // row of the table and of the file that it begins with
	rows          int
}

// parquetFile opens a table in one file.
func (o *opener) parquetFile(s Source, f file) (pair, error) {
	split, _ := splitOf(s.Name)
	if o.opts.Split == "test" && split != "test" {
		return pair{}, badOption("--split", "%s is not of the test split (leave it out, or give the file of the split)", s.path())
	}
	return o.parquet(s.path(), split, []Source{s}, []file{f})
}

// splitWords find the split in the name of a file, data/train-00000-of-00002.parquet, and how it may be called.
var (
	splitWords = regexp.MustCompile(`(?:^|[-_./])(train|test|validation|valid|val|dev)(?:[-_.0-9]|$)`)
	shardWords = regexp.MustCompile(`-(\d+)-of-(\d+)\.parquet$`)
)

// splitOf is the split that a file's name says, "train" or "test", and the word for it; "" where it says none.
func splitOf(name string) (split, word string) {
	m := splitWords.FindStringSubmatch(path.Base(name))
	switch {
	case m == nil:
		return "", ""
	case m[1] == "train":
		return "train", m[1]
	}
	return "test", m[1]
}

// parquetNames are the Parquet files of a directory: those in it, else those in its folders. Nil where there are
// none.
func (s Source) parquetNames(entries []fs.DirEntry) []string {
	in := func(prefix string, entries []fs.DirEntry) (names []string) {
		for _, e := range entries {
			if !hidden(e.Name()) && strings.HasSuffix(e.Name(), parquetSuffix) {
				names = append(names, prefix+e.Name())
			}
		}
		return names
	}
	names := in("", entries)
	if names != nil {
		return names
	}
	for _, name := range s.folders(entries) {
		if below, err := fs.ReadDir(s.FS, path.Join(s.Name, name)); err == nil {
			names = append(names, in(name+"/", below)...)
		}
	}
	slices.Sort(names)
	return names
}

// parquetDirectory opens a split of a directory as Hugging Face lays it out: train-00000-of-00002.parquet, …,
// or train/0000.parquet, …. Files whose names say no split are all of the data.
func (o *opener) parquetDirectory(s Source, entries []fs.DirEntry) (pair, error) {
	names := s.parquetNames(entries)
	if len(names) == 0 {
		return pair{}, s.errorf("holds no file *.parquet (give the directory that does)")
	}
	want := o.opts.Split
	if want == "" {
		want = "train"
	}
	words := map[string][]string{} // the files that say one
	splits := map[string]string{}
	folder := "" // the one that is no split
	for _, n := range names {
		split, word := splitOf(n)
		dir := path.Dir(n)
		if ofDir, wordOfDir := splitOf(dir); wordOfDir == dir {
			split, word = ofDir, dir
		} else if folder == "" {
			folder = dir
		} else if folder != dir {
			return pair{}, s.errorf("holds tables in several folders, %s and %s (give one of them)", folder, dir)
		}
		words[word] = append(words[word], n)
		splits[word] = split
	}
	word := want
	if want == "test" && words[word] == nil { // the one beside train that is there
		for _, w := range slices.Sorted(maps.Keys(words)) {
			if splits[w] == "test" {
				word = w
			}
		}
	}
	if len(words) == 1 && words[""] != nil {
		if want == "test" {
			return pair{}, badOption("--split", "%s has no splits (leave it out)", s.path())
		}
		word, want = "", ""
	}
	if words[word] == nil {
		return pair{}, badOption("--split", "%s has no files of the split %s, only %s (give --split with the one that is there, or a file)", s.path(), want, strings.Join(names[:min(len(names), 4)], ", "))
	}
	var sources []Source
	var files []file
	shards := map[string]bool{}
	for _, n := range words[word] {
		if m := shardWords.FindStringSubmatch(n); m != nil {
			shards[m[2]] = true
			if count, err := strconv.Atoi(m[2]); err == nil && (len(words[word]) != count || len(shards) > 1) {
				return pair{}, s.errorf("holds %d files of the split %s, but %s is one of %d (put all of them there, or give one file)", len(words[word]), want, n, count)
			}
		}
		f, err := o.file(s.in(n))
		if err != nil {
			return pair{}, err
		}
		sources, files = append(sources, s.in(n)), append(files, f)
	}
	return o.parquet(s.path(), want, sources, files)
}

// parquet opens files that are one table.
func (o *opener) parquet(name, split string, sources []Source, files []file) (pair, error) {
	p := pair{format: Parquet, split: split}
	t := &parquetTable{name: name, known: o.opts.Classes}
	for i, s := range sources {
		file, err := parquet.Open(files[i], files[i].size)
		if err != nil {
			return p, s.errorf("%w", err)
		}
		fs := fields(file)
		for _, c := range t.fields {
			at := slices.IndexFunc(fs, func(f field) bool { return f.name == c.name })
			if at < 0 || fs[at].kind != c.kind || fs[at].leaf.Kind != c.leaf.Kind || fs[at].leaf.MaxRep != c.leaf.MaxRep {
				return p, s.errorf("has no column %q as %s does (give files of one table)", c.name, sources[0].path())
			}
		}
		if i == 0 {
			t.fields = fs
		}
		t.files = append(t.files, parquetPart{s, files[i].size, file, fs})
		first := 0
		for g, group := range file.Groups {
			if group.Rows > 0 {
				t.groups = append(t.groups, parquetGroup{part: i, group: g, first: t.rows, inFile: first, rows: group.Rows})
				t.rows += group.Rows
				first += group.Rows
			}
		}
	}
	if t.rows == 0 {
		return p, fmt.Errorf("%s: the data set is empty (give one with examples)", name)
	}
	inputs, label, err := t.choose(o.opts)
	if err != nil {
		return p, err
	}
	if o.opts.Input == "" && inputs[0].kind == numberField {
		for _, f := range t.fields {
			if pandasIndex.MatchString(f.name) {
				p.notes = append(p.notes, fmt.Sprintf("%s: the column %q is an index, as pandas writes it, and left out (--input A,B,… chooses columns)", path.Base(name), f.name))
			}
		}
	}
	text := inputs[0].kind == textField
	if text && o.opts.Context > 0 && !o.opts.Sequence {
		texts, err := t.texts(inputs[0])
		if err != nil {
			return p, err
		}
		p, err := o.documents(name, texts)
		p.format, p.split = Parquet, split
		return p, err
	}
	if label.kind == otherField {
		return p, fmt.Errorf("%s: of the columns %s none is called %s (name the one with the labels with --label)", name, t.names(), strings.Join(usualLabels, ", "))
	}
	if text {
		texts, err := t.texts(inputs[0])
		if err != nil {
			return p, err
		}
		err = o.textRows(&p, name, texts)
		if err != nil {
			return p, err
		}
	} else if err := o.parquetInputs(&p, t, inputs); err != nil {
		return p, err
	}
	return p, t.labels(&p, label)
}

func (t *parquetTable) names() string {
	var names []string
	for i, f := range t.fields {
		if i == 20 {
			names = append(names, "…")
			break
		}
		names = append(names, strconv.Quote(f.name))
	}
	return strings.Join(names, ", ")
}

// pandasIndex are the names that pandas gives the index of a table where it writes that as a column.
var pandasIndex = regexp.MustCompile(`^__index_level_[0-9]+__$`)

// choose finds the columns of inputs and of labels. A label of another kind is none.
func (t *parquetTable) choose(opts Options) (inputs []field, label field, err error) {
	named := func(flag, name string) (field, error) {
		for _, f := range t.fields {
			if f.name == name {
				if f.kind == otherField {
					return f, badOption(flag, "column %q of %s holds values of a type that is not read (choose another)", name, t.name)
				}
				return f, nil
			}
		}
		return field{}, badOption(flag, "%s has no column %q, only %s", t.name, name, t.names())
	}
	usual := func(names []string) field {
		for _, n := range names {
			if f, err := named("", n); err == nil {
				return f
			}
		}
		return field{}
	}
	if opts.Label != "" {
		if label, err = named("--label", opts.Label); err != nil {
			return nil, label, err
		}
	} else {
		label = usual(usualLabels)
	}
	if opts.Input != "" {
		for n := range strings.SplitSeq(opts.Input, ",") {
			f, err := named("--input", n)
			if err != nil {
				return nil, label, err
			}
			inputs = append(inputs, f)
		}
	} else if f := usual(usualInputs); f.kind != otherField && f.name != label.name {
		inputs = []field{f}
	} else {
		of := map[fieldKind][]field{}
		for _, f := range t.fields {
			if f.name != label.name && !pandasIndex.MatchString(f.name) {
				of[f.kind] = append(of[f.kind], f)
			}
		}
		switch pictures, lists, texts := of[pictureField], of[listField], of[textField]; {
		case len(pictures) == 1:
			inputs = pictures
		case len(pictures) == 0 && len(lists) == 1:
			inputs = lists
		case len(pictures)+len(lists) == 0 && len(of[numberField]) > 0:
			inputs = of[numberField]
		case len(pictures)+len(lists) == 0 && len(texts) == 1:
			inputs = texts
		default:
			return nil, label, fmt.Errorf("%s: which of the columns %s holds the inputs is not clear (name it with --input)", t.name, t.names())
		}
	}
	for _, f := range inputs {
		if f.name == label.name {
			return nil, label, badOption("--input", "%q is the column of the labels (choose that with --label)", f.name)
		}
		if len(inputs) > 1 && f.kind != numberField {
			return nil, label, badOption("--input", "column %q is no number in each row, as each of several has to be (give it alone)", f.name)
		}
	}
	return inputs, label, nil
}

// parquetInputs makes the inputs: pictures; a list of numbers in each row, bytes as images; or numbers of
// several columns, of any type.
func (o *opener) parquetInputs(p *pair, t *parquetTable, inputs []field) error {
	c, err := t.column(inputs, o.opts.KeepBytes)
	if err != nil {
		return err
	}
	p.x = series{name: t.name, parts: []block{c}, shape: c.shape}
	switch {
	case inputs[0].kind == pictureField:
		c.budget = 0 // what is decoded is kept instead
		x, notes, err := newPictures(o.opts, t.rows, c.file,
			func(i int) (w, h int, err error) {
				b, err := c.file(i)
				if err != nil {
					return 0, 0, err
				}
				return pictureSize(bytes.NewReader(b), int64(len(b)))
			},
			func(i int) string {
				g, row := t.at(i)
				return t.place(c.fields[0], g, row)
			})
		p.notes = append(p.notes, notes...)
		p.x.parts, p.x.shape = []block{x}, []int{x.form.channels, x.form.h, x.form.w}
		return err
	case inputs[0].kind == numberField:
		c.dtype = tensor.Float64
	case c.dtype == tensor.Uint8 && len(c.shape) == 2:
		p.x.shape = []int{1, c.shape[0], c.shape[1]}
	}
	return nil
}

// labels makes the targets: numbers, or words that are numbered in their order.
func (t *parquetTable) labels(p *pair, label field) error {
	p.y = series{name: t.name, shape: []int{}}
	if label.kind == pictureField {
		return badOption("--label", "column %q of %s holds bytes, not labels (choose another)", label.name, t.name)
	}
	if label.kind != textField {
		c, err := t.column([]field{label}, 0)
		if err != nil {
			return err
		}
		if c.dtype == tensor.Uint8 { // labels of a byte are labels all the same
			c.dtype = tensor.Int64
		}
		p.y.parts = []block{c}
		if label.kind == listField {
			p.y.shape = c.shape
		}
		p.names = t.classNames(label.name)
		return nil
	}
	code := map[string]int64{} // of words, in the order of their appearance
	y := make(labels, 0, t.rows)
	err := t.eachText(label, func(b []byte) error {
		c, ok := code[string(b)]
		if !ok {
			c = int64(len(code))
			code[string(b)] = c
		}
		y = append(y, c)
		return nil
	})
	if err != nil {
		return err
	}
	words := slices.Sorted(maps.Keys(code))
	var numbers []int
	numbers, p.names = classNumbers(words, t.known)
	number := make([]int64, len(code))
	for i, w := range words {
		number[code[w]] = int64(numbers[i])
	}
	p.notes = append(p.notes, numberedNote(path.Base(t.name), fmt.Sprintf("the names in column %.60q are numbered %s", label.name, numberedBy(words, p.names)), words, numbers))
	for i, c := range y {
		y[i] = number[c]
	}
	p.y.parts = []block{y}
	return nil
}

// classNames are the names of a column's classes as Hugging Face's datasets leave them in the metadata.
func (t *parquetTable) classNames(column string) []string {
	var meta struct {
		Info struct {
			Features map[string]json.RawMessage
		}
	}
	var feature struct{ Names []string }
	if json.Unmarshal([]byte(t.files[0].file.Meta["huggingface"]), &meta) != nil || json.Unmarshal(meta.Info.Features[column], &feature) != nil {
		return nil
	}
	return feature.Names
}

// eachText calls f for the rows of a column of texts.
func (t *parquetTable) eachText(f field, do func(b []byte) error) error {
	c, err := t.column([]field{f}, 0)
	if err != nil {
		return err
	}
	for g := range t.groups {
		v, err := c.group(g)
		if err != nil {
			return err
		}
		for _, b := range v.bytes {
			if err := do(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxTextBytes is how many bytes the texts of a column may have for each of the files', which say a text once that
// many rows have.
const maxTextBytes = 256

// texts are all rows of a column of texts.
func (t *parquetTable) texts(f field) ([]string, error) {
	texts := make([]string, 0, t.rows)
	left := int64(1 << 24)
	for _, p := range t.files {
		left += maxTextBytes * p.size
	}
	err := t.eachText(f, func(b []byte) error {
		if left -= int64(len(b)); left < 0 {
			return fmt.Errorf("%s: the texts of column %q are far longer than the file (is it damaged?)", t.name, f.name)
		}
		texts = append(texts, string(b))
		return nil
	})
	return texts, err
}

// at is the group of a row of the table, and the row in it.
func (t *parquetTable) at(row int) (g, in int) {
	g, found := slices.BinarySearchFunc(t.groups, row, func(g parquetGroup, row int) int { return g.first - row })
	if !found {
		g--
	}
	return g, row - t.groups[g].first
}

// place is what messages call a value.
func (t *parquetTable) place(f field, g, row int) string {
	at := t.groups[g]
	return fmt.Sprintf("%s: row %d of column %q", t.files[at.part].source.path(), at.inFile+row, f.name)
}

// parquetColumn is a block of the values of one column, a number, a text or a list of numbers in each row, or
// of several columns of numbers. Groups of rows are decoded when they are read: the first ones are kept, as
// many as budget bytes hold, and the two read last.
type parquetColumn struct {
	table  *parquetTable
	fields []field
	dtype  tensor.DType
	shape  []int

	mu     sync.Mutex // of the following
	budget int64
	kept   map[int]*groupValues
	recent [2]struct {
		group  int
		values *groupValues
	}
}

// groupValues are the values of a group of rows, row-major, in one of these.
type groupValues struct {
	ints   []int64
	floats []float64
	bytes  [][]byte
}

// column makes the block of fields. The lists of all rows have the shape of the first one.
func (t *parquetTable) column(fields []field, budget int64) (*parquetColumn, error) {
	c := &parquetColumn{table: t, fields: fields, budget: budget, kept: map[int]*groupValues{}}
	switch leaf := fields[0].leaf; {
	case len(fields) > 1, leaf.Kind == parquet.Float, leaf.Kind == parquet.Double:
		c.dtype = tensor.Float64
	case leaf.Kind == parquet.Boolean:
		c.dtype = tensor.Bool
	case leaf.Logical == parquet.Uint8:
		c.dtype = tensor.Uint8
	default:
		c.dtype = tensor.Int64
	}
	if fields[0].kind != listField {
		c.shape = []int{len(fields)}
		return c, nil
	}
	leaf := t.files[t.groups[0].part].field(fields[0].name).leaf
	v, err := t.files[t.groups[0].part].file.Read(t.groups[0].group, leaf)
	if err != nil {
		return nil, &fileError{t.files[t.groups[0].part].source.path(), err}
	}
	// Of the entries of the first row, those of a level up to k begin lists that are k deep.
	begun := make([]int, leaf.MaxRep+1)
	for i, r := range v.Rep {
		if r == 0 && i > 0 {
			break
		}
		for k := int(r); k < len(begun); k++ {
			begun[k]++
		}
	}
	for k := 1; k < len(begun); k++ {
		c.shape = append(c.shape, begun[k]/max(begun[k-1], 1))
	}
	return c, nil
}

// field is a file's column of a name.
func (p parquetPart) field(name string) field {
	return p.fields[slices.IndexFunc(p.fields, func(f field) bool { return f.name == name })]
}

// group is a group of rows, decoded where it is not kept.
func (c *parquetColumn) group(g int) (*groupValues, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.kept[g]; v != nil {
		return v, nil
	}
	for _, r := range c.recent {
		if r.values != nil && r.group == g {
			return r.values, nil
		}
	}
	v, err := c.load(g)
	if err != nil {
		return nil, err
	}
	size := 8 * int64(len(v.ints)+len(v.floats))
	if v.bytes == nil && size <= c.budget {
		c.budget -= size
		c.kept[g] = v
		return v, nil
	}
	c.recent[1] = c.recent[0]
	c.recent[0].group, c.recent[0].values = g, v
	return v, nil
}

func (c *parquetColumn) load(g int) (*groupValues, error) {
	t := c.table
	at := t.groups[g]
	part := t.files[at.part]
	out := &groupValues{}
	if len(c.fields) > 1 {
		out.floats = make([]float64, at.rows*len(c.fields))
	}
	for i, f := range c.fields {
		leaf := part.field(f.name).leaf
		v, err := part.file.Read(at.group, leaf)
		if err != nil {
			return nil, &fileError{part.source.path(), err}
		}
		if err := c.check(v, leaf, g, f); err != nil {
			return nil, err
		}
		if len(c.fields) == 1 {
			return &groupValues{v.Ints, v.Floats, v.Bytes}, nil
		}
		for r := range at.rows {
			if v.Floats != nil {
				out.floats[r*len(c.fields)+i] = v.Floats[r]
			} else {
				out.floats[r*len(c.fields)+i] = float64(v.Ints[r])
			}
		}
	}
	return out, nil
}

// check holds that no value of a group is missing, and that each list has the shape.
func (c *parquetColumn) check(v *parquet.Values, leaf *parquet.Column, g int, f field) error {
	rows := c.table.groups[g].rows
	n := tensor.Count(c.shape)
	if f.kind != listField {
		n = 1
	}
	for i, d := range v.Def {
		if d < leaf.MaxDef {
			row := i
			if leaf.MaxRep > 0 {
				row = -1
				for _, r := range v.Rep[:i+1] {
					if r == 0 {
						row++
					}
				}
			}
			return &fileError{c.table.place(f, g, max(row, 0)), errors.New("there is no value, or an empty list (fill it in, or leave the row out)")}
		}
	}
	row, in := -1, 0
	for _, r := range v.Rep {
		if r == 0 {
			if row >= 0 && in != n {
				break
			}
			row, in = row+1, 0
		}
		if int(r) != c.level(in) {
			in = -1
			break
		}
		in++
	}
	if leaf.MaxRep > 0 && (row != rows-1 || in != n) {
		return &fileError{c.table.place(f, g, max(row, 0)), fmt.Errorf("a list that is not of the shape %v of the first one (lists have to be of one length)", c.shape)}
	}
	if c.dtype == tensor.Uint8 && slices.ContainsFunc(v.Ints, func(x int64) bool { return x < 0 || x > 255 }) {
		return &fileError{c.table.place(f, g, 0), errors.New("a value that is no byte, as its type says (the file is damaged; copy it again)")}
	}
	if got := len(v.Ints) + len(v.Floats) + len(v.Bytes); got != rows*n {
		return &fileError{c.table.place(f, g, 0), fmt.Errorf("%d values in %d rows (the file is damaged; copy it again)", got, rows)}
	}
	return nil
}

// level is the repetition level of entry i of a list: how many of the lists that it is in have begun before.
func (c *parquetColumn) level(i int) int {
	inner := tensor.Count(c.shape)
	for k := range c.shape {
		if i%max(inner, 1) == 0 && (k > 0 || i == 0) {
			return k
		}
		inner /= max(c.shape[k], 1)
	}
	return len(c.shape)
}

func (c *parquetColumn) Rows() int          { return c.table.rows }
func (c *parquetColumn) Type() tensor.DType { return c.dtype }

// each calls f for the groups of rows [lo, hi), with the values of those rows and the place of the first after lo.
func (c *parquetColumn) each(lo, hi int, f func(v groupValues, at int)) error {
	n := tensor.Count(c.shape)
	for row := lo; row < hi; {
		g, in := c.table.at(row)
		v, err := c.group(g)
		if err != nil {
			return err
		}
		to := min(c.table.groups[g].rows, in+hi-row)
		part := groupValues{}
		if v.floats != nil {
			part.floats = v.floats[in*n : to*n]
		}
		if v.ints != nil {
			part.ints = v.ints[in*n : to*n]
		}
		f(part, (row-lo)*n)
		row += to - in
	}
	return nil
}

func (c *parquetColumn) Floats(dst []float64, lo, hi int) error {
	return c.each(lo, hi, func(v groupValues, at int) {
		copy(dst[at:], v.floats)
		for i, x := range v.ints {
			dst[at+i] = float64(x)
		}
	})
}

func (c *parquetColumn) Ints(dst []int64, lo, hi int) error {
	return c.each(lo, hi, func(v groupValues, at int) { copy(dst[at:], v.ints) })
}

func (c *parquetColumn) Bytes(dst []uint8, lo, hi int) error {
	return c.each(lo, hi, func(v groupValues, at int) {
		for i, x := range v.ints {
			dst[at+i] = uint8(x)
		}
	})
}

// file is a picture, as it is encoded.
func (c *parquetColumn) file(i int) ([]byte, error) {
	g, row := c.table.at(i)
	v, err := c.group(g)
	if err != nil {
		return nil, err
	}
	return v.bytes[row], nil
}
