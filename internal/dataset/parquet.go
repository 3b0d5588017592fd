package dataset

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// pandasIndex is the column that pandas makes of an index, and its likes.
const pandasIndex = "__index_level_"

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
	header
	fields []field // in the order of the header
	files  []parquetPart
	groups []parquetGroup
	rows   int
}

type parquetPart struct {
	source Source
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
	if err := o.fileSplit(s, split); err != nil {
		return pair{}, err
	}
	return o.parquet(s.path(), split, []Source{s}, []file{f})
}

// shardWords find the number of shards in the name of one.
var shardWords = regexp.MustCompile(`-(\d+)-of-(\d+)\.parquet$`)

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
	want := cmp.Or(o.opts.Split, "train")
	words := map[string][]string{} // the files that say one
	folder := ""                   // the one that is no split
	for _, n := range names {
		_, word := splitOf(n)
		dir := path.Dir(n)
		if _, ofDir := splitOf(dir); ofDir == dir {
			word = dir
		} else if folder == "" {
			folder = dir
		} else if folder != dir {
			return pair{}, s.errorf("holds tables in several folders, %s and %s (give one of them)", folder, dir)
		}
		words[word] = append(words[word], n)
	}
	word := want
	for _, w := range splitWords(want) {
		if words[w] != nil {
			word = w
			break
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
	t := &parquetTable{header: header{path: name}}
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
		t.files = append(t.files, parquetPart{s, file, fs})
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
		return p, errEmpty(name)
	}
	for _, f := range t.fields {
		t.names = append(t.names, f.name)
	}
	inputs, labels, err := o.choose(&p, t)
	if err != nil {
		return p, err
	}
	var texts []string
	if inputs[0].kind == textField {
		if texts, err = t.texts(inputs[0]); err != nil {
			return p, err
		}
		if o.opts.Context > 0 && !o.opts.Sequence {
			return p, o.documents(&p, name, texts)
		}
		err = o.textRows(&p, name, texts)
	} else {
		err = o.parquetInputs(&p, t, inputs)
	}
	if err != nil {
		return p, err
	}
	return p, o.parquetLabels(&p, t, labels)
}

// choose finds the columns of inputs and of labels. Inputs are those of --input; else one of pictures, lists or texts that has a
// usual name or is the only one; else all numbers. Labels are those of --label or the column with a usual name; else, where inputs
// are numbers, or texts of which each has a label, the last column.
func (o *opener) choose(p *pair, t *parquetTable) (inputs, labels []field, err error) {
	var input, label []int
	if o.opts.Label != "" {
		if label, err = t.columns("--label", o.opts.Label); err != nil {
			return nil, nil, err
		}
	} else if i := t.usual(labelNames); i >= 0 && t.fields[i].kind != otherField {
		label = []int{i}
	}
	if o.opts.Input != "" {
		if input, err = t.inputs(o.opts.Input, label); err != nil {
			return nil, nil, err
		}
	} else if input = o.usualInputs(t, label); input == nil {
		return nil, nil, fmt.Errorf("%s: which of the columns %s holds the inputs is not clear (name it with --input)", t.path, quotedList(t.names))
	}
	kind := t.fields[input[0]].kind
	if label == nil && (kind == numberField || kind == textField && o.opts.Sequence) {
		label = []int{t.lastColumn(p)}
		if o.opts.Input != "" {
			if input, err = t.inputs(o.opts.Input, label); err != nil {
				return nil, nil, err
			}
		} else if input = slices.DeleteFunc(input, func(i int) bool { return i == label[0] }); len(input) == 0 {
			return nil, nil, fmt.Errorf("%s: no inputs beside the labels among the columns %s (name both, with --input and --label)", t.path, quotedList(t.names))
		}
	}
	if kind == numberField && o.opts.Input == "" {
		var rest []string
		for i, name := range t.names {
			if !slices.Contains(input, i) && !slices.Contains(label, i) {
				rest = append(rest, name)
			}
		}
		if rest != nil {
			p.note(t.path, "the columns %s are no numbers, or an index, and left out (--input A,B,… chooses)", quotedList(rest))
		}
	}
	if inputs, err = t.these("--input", input); err != nil {
		return nil, nil, err
	}
	labels, err = t.these("--label", label)
	return inputs, labels, err
}

// usualInputs are the columns of inputs where --input does not say them, nil where that is not clear.
func (o *opener) usualInputs(t *parquetTable, label []int) []int {
	of := map[fieldKind][]int{}
	for i, f := range t.fields {
		if !slices.Contains(label, i) && !strings.HasPrefix(f.name, pandasIndex) {
			of[f.kind] = append(of[f.kind], i)
		}
	}
	pictures, lists, texts, numbers := of[pictureField], of[listField], of[textField], of[numberField]
	for _, name := range inputNames {
		for _, i := range slices.Concat(pictures, lists, texts) {
			if strings.EqualFold(t.names[i], name) {
				return []int{i}
			}
		}
	}
	switch {
	case len(pictures) == 1:
		return pictures
	case len(pictures) == 0 && len(lists) == 1:
		return lists
	case len(pictures)+len(lists) > 0:
		return nil
	case len(numbers) > 0 && (o.opts.Context == 0 || len(texts) == 0):
		return numbers
	case len(texts) == 1:
		return texts
	}
	return nil
}

// these are columns that a flag names, or might: each of a type that is read, and several numbers.
func (t *parquetTable) these(flag string, columns []int) ([]field, error) {
	var out []field
	for _, i := range columns {
		f := t.fields[i]
		if f.kind == otherField {
			return nil, badOption(flag, "column %q of %s holds values of a type that is not read (choose another)", f.name, t.path)
		}
		if len(columns) > 1 && f.kind != numberField {
			return nil, badOption(flag, "column %q of %s is no number in each row, as each of several has to be (give it alone)", f.name, t.path)
		}
		out = append(out, f)
	}
	return out, nil
}

// parquetInputs makes the inputs: pictures; a list of numbers in each row, bytes as images; or numbers of
// several columns, of any type.
func (o *opener) parquetInputs(p *pair, t *parquetTable, inputs []field) error {
	c, err := t.column(inputs, o.opts.KeepBytes)
	if err != nil {
		return err
	}
	p.x = series{name: t.path, parts: []block{c}, shape: c.shape}
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
		c.dtype, p.x.shape = tensor.Float64, o.rowShape(len(inputs))
		v, err := c.group(0)
		if err != nil {
			return err
		}
		var seen pixels
		for _, x := range v.floats {
			seen.add(x)
		}
		for _, x := range v.ints {
			seen.add(float64(x))
		}
		o.scaleNote(p, seen)
	case c.dtype == tensor.Uint8 && len(c.shape) == 2:
		p.x.shape = []int{1, c.shape[0], c.shape[1]}
	}
	return nil
}

// parquetLabels makes the targets: numbers, or texts as any table has them.
func (o *opener) parquetLabels(p *pair, t *parquetTable, labels []field) error {
	switch {
	case labels == nil:
		return fmt.Errorf("%s: of the columns %s none is called %s (name the one with the labels with --label)", t.path, quotedList(t.names), strings.Join(labelNames, ", "))
	case labels[0].kind == pictureField:
		return badOption("--label", "column %q of %s holds bytes, not labels (choose another)", labels[0].name, t.path)
	case labels[0].kind == textField:
		y := &answers{}
		err := t.eachText(labels[0], func(row int, b []byte) error {
			return y.add(func(_ int, err error) error {
				g, in := t.at(row)
				return &fileError{t.place(labels[0], g, in), err}
			}, string(b))
		})
		if err != nil {
			return err
		}
		return y.finish(p, labels[0].name, o.opts.Quantities)
	}
	c, err := t.column(labels, 0)
	if err != nil {
		return err
	}
	switch {
	case o.opts.Quantities:
		c.dtype = tensor.Float64
	case c.dtype == tensor.Uint8: // labels of a byte are labels all the same
		c.dtype = tensor.Int64
	}
	p.y = series{name: t.path, parts: []block{c}, shape: c.shape}
	if len(labels) == 1 {
		if labels[0].kind != listField {
			p.y.shape = []int{}
		}
		p.names = t.classNames(labels[0].name)
	}
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

// eachText calls do for the rows of a column of texts.
func (t *parquetTable) eachText(f field, do func(row int, b []byte) error) error {
	c, err := t.column([]field{f}, 0)
	if err != nil {
		return err
	}
	for g := range t.groups {
		v, err := c.group(g)
		if err != nil {
			return err
		}
		for i, b := range v.bytes {
			if err := do(t.groups[g].first+i, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// texts are all rows of a column of texts. A file says a text once that many rows have.
func (t *parquetTable) texts(f field) ([]string, error) {
	texts := make([]string, 0, t.rows)
	left := int64(0)
	for _, p := range t.files {
		left += p.file.Most()
	}
	err := t.eachText(f, func(_ int, b []byte) error {
		if left -= int64(len(b)); left < 0 {
			return fmt.Errorf("%s: the texts of column %q are far longer than the file (is it damaged?)", t.path, f.name)
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
	case slices.ContainsFunc(fields, func(f field) bool { return f.leaf.Kind == parquet.Float || f.leaf.Kind == parquet.Double }):
		c.dtype = tensor.Float64
	case len(fields) > 1:
		c.dtype = tensor.Int64
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
	n := at.rows * len(c.fields)
	if len(c.fields) > 1 && int64(at.rows) > part.file.Most()/int64(8*len(c.fields)) {
		return nil, &fileError{part.source.path(), fmt.Errorf("%d columns of %d rows take far more memory than the file has bytes (is it damaged?)", len(c.fields), at.rows)}
	}
	switch {
	case len(c.fields) == 1:
	case c.dtype == tensor.Int64:
		out.ints = make([]int64, n)
	default:
		out.floats = make([]float64, n)
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
			switch at := r*len(c.fields) + i; {
			case out.ints != nil:
				out.ints[at] = v.Ints[r]
			case v.Floats != nil:
				out.floats[at] = v.Floats[r]
			default:
				out.floats[at] = float64(v.Ints[r])
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
