package dataset

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/parquet"
	"hessdens/internal/tensor"
)

const parquetSuffix = ".parquet"

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

// numberKinds are the types of numbers.
var numberKinds = []parquet.Kind{parquet.Boolean, parquet.Int32, parquet.Int64, parquet.Float, parquet.Double}

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
		number := (c.Logical == parquet.None || c.Logical == parquet.Uint8) && slices.Contains(numberKinds, c.Kind)
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
		c.dtype = tensor.Float64
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
		p.x.shape = o.rowShape(len(inputs), seen)
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
		return y.finish(p, labels[0].name, o.opts.Quantities, o.opts.Classes)
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
