package dataset

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Usual names of columns, the likeliest first.
var (
	labelNames = []string{"label", "labels", "target", "targets", "class", "y"}
	textNames  = []string{"text", "sentence", "content", "review", "document"}
)

// tableExt is the extension by which a table is recognised, "" for other files.
func tableExt(name string) string {
	switch ext := path.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz")); ext {
	case ".csv", ".tsv":
		return ext
	}
	return ""
}

// maxTableInflate is how many bytes a gzipped table may have for each compressed one. Deflate can give
// 1032, but a table that does is a bomb: MNIST, mostly zeros, has about 8.
const maxTableInflate = 256

// bounded fails where more is read than is allowed.
type bounded struct {
	io.Reader
	left int64
}

var errInflate = fmt.Errorf("more than %d bytes for each compressed one (unpack the file first, if it is not damaged)", maxTableInflate)

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errInflate
	}
	return n, err
}

// tableBlock is about how many numbers of a table are in one block.
const tableBlock = 1 << 20

// table reads a CSV file row by row.
type table struct {
	source Source
	csv    *csv.Reader
	names  []string
	first  []string // a row that was read as a header and is none
}

// newTable reads the first line: the names of the columns, or, where it holds numbers, a row of columns named 0, 1, 2, ….
//
// Source: RFC 4180, but the separator may be a semicolon or a tab.
func newTable(s Source, f file) (*table, error) {
	var r io.Reader = io.NewSectionReader(f, 0, f.size)
	if strings.HasSuffix(strings.ToLower(s.Name), ".gz") {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, s.errorf("reading the gzip header at offset 0: %w (the file is damaged; copy it again)", short(err))
		}
		r = &bounded{z, maxTableInflate * f.size}
	}
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(1 << 16)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, s.errorf("reading the first line: %w", err)
	}
	if bom := "\ufeff"; strings.HasPrefix(string(head), bom) {
		_, _ = b.Discard(len(bom)) // was peeked at
		head = head[len(bom):]
	}
	line, _, _ := strings.Cut(string(head), "\n")
	t := &table{source: s, csv: csv.NewReader(b)}
	t.csv.ReuseRecord, t.csv.FieldsPerRecord = true, -1
	switch {
	case tableExt(s.Name) == ".tsv":
		t.csv.Comma = '\t'
	case strings.Contains(line, ","):
	case strings.Contains(line, ";"):
		t.csv.Comma = ';'
	case strings.Contains(line, "\t"):
		t.csv.Comma = '\t'
	}
	row, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, s.errorf("the file holds no lines")
	} else if err != nil {
		return nil, t.damaged(err)
	}
	row = slices.Clone(row)
	for i, v := range row {
		row[i] = strings.TrimSpace(v)
		if !utf8.ValidString(v) {
			return nil, s.errorf("line 1: not UTF-8 (convert the file, for instance with iconv)")
		}
	}
	header, err := isHeader(row)
	if err != nil {
		return nil, s.errorf("line 1: %w", err)
	}
	if header {
		t.names = row
		return t, nil
	}
	t.first = row
	for i := range row {
		t.names = append(t.names, strconv.Itoa(i))
	}
	return t, nil
}

// isHeader says whether a first row holds names. Numbers among names are only those that pandas gives to columns without one.
func isHeader(row []string) (bool, error) {
	var number, name string
	fraction, numbered := false, true
	for i, v := range row {
		if _, err := strconv.ParseFloat(v, 64); err != nil {
			name = v
			continue
		}
		number = v
		if _, err := strconv.Atoi(v); err != nil {
			fraction = true
		}
		numbered = numbered && v == strconv.Itoa(i)
	}
	switch {
	case number == "":
		return true, nil
	case fraction || !slices.ContainsFunc(row, func(v string) bool { _, err := strconv.ParseFloat(v, 64); return err != nil }):
		return false, nil
	case numbered:
		return true, nil
	}
	return false, fmt.Errorf("holds both numbers, %.40q, and text, %.40q: it may be names or values (put a line with the names of the columns first)", number, name)
}

// next is the next row, in use until the next call; io.EOF after the last.
func (t *table) next() ([]string, error) {
	if row := t.first; row != nil {
		t.first = nil
		return row, nil
	}
	row, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, t.damaged(err)
	}
	if len(row) != len(t.names) {
		line, _ := t.csv.FieldPos(0)
		return nil, t.source.errorf("line %d has %d fields, the first line %d (a value that holds the separator needs quotes)", line, len(row), len(t.names))
	}
	return row, nil
}

func (t *table) damaged(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return t.source.errorf("line %d, byte %d: %w (save it as CSV again)", p.Line, p.Column, p.Err)
	}
	return t.source.errorf("%w", short(err))
}

// at is an error about a field.
func (t *table) at(field int, format string, args ...any) error {
	line, _ := t.csv.FieldPos(field)
	return t.source.errorf("line %d, column %.60q: %w", line, t.names[field], fmt.Errorf(format, args...))
}

// missing are the ways to write that there is no value.
var missing = []string{"", "?", "-", "na", "n/a", "nan", "null", "none"}

// number parses a field.
func (t *table) number(field int, s string) (float64, error) {
	s = strings.TrimSpace(s)
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && !math.IsNaN(v) && !math.IsInf(v, 0):
		return v, nil
	case slices.Contains(missing, strings.ToLower(s)):
		return 0, t.at(field, "%q is a missing value (fill it in, or leave the row out)", s)
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, t.at(field, "%.40q is not a finite number", s)
	case strings.EqualFold(s, "true"): // as pandas writes bool
		return 1, nil
	case strings.EqualFold(s, "false"):
		return 0, nil
	}
	return 0, t.at(field, "%.40q is no number (only labels may be text, and for a network of tokens the inputs; --input A,B,… chooses columns)", s)
}

// column finds a name; nothing else may have it.
func (t *table) column(flag, name string) (int, error) {
	i := slices.Index(t.names, name)
	if i < 0 {
		return 0, badOption(flag, "%s has no column %q (it has %s)", t.source.path(), name, quotedList(t.names))
	}
	if slices.Contains(t.names[i+1:], name) {
		return 0, badOption(flag, "%s has several columns %q (rename them)", t.source.path(), name)
	}
	return i, nil
}

// columns finds the names of a flag: the whole of it, or a list.
func (t *table) columns(flag, value string) ([]int, error) {
	names := []string{value}
	if !slices.Contains(t.names, value) {
		names = strings.Split(value, ",")
	}
	var out []int
	for _, name := range names {
		i, err := t.column(flag, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, i) {
			return nil, badOption(flag, "%q is there twice", name)
		}
		out = append(out, i)
	}
	return out, nil
}

// usual is the column with the first of these names that there is, whatever its case; −1 without.
func (t *table) usual(names []string) int {
	for _, name := range names {
		if i := slices.IndexFunc(t.names, func(s string) bool { return strings.EqualFold(s, name) }); i >= 0 {
			return i
		}
	}
	return -1
}

// quotedList shows the first few of a list.
func quotedList(names []string) string {
	const most = 12
	var out []string
	for i, n := range names {
		if i == most {
			out = append(out, fmt.Sprintf("… (%d in all)", len(names)))
			break
		}
		out = append(out, fmt.Sprintf("%.40q", n))
	}
	return strings.Join(out, ", ")
}

// csvFile opens a table: a row an example, labels in one column (or targets in several), numbers in the others.
func (o *opener) csvFile(s Source, f file) (pair, error) {
	p := pair{format: CSV}
	if o.opts.Split == "test" {
		return p, badOption("--split", "%s has no splits (leave it out, or give the file of the split)", s.path())
	}
	t, err := newTable(s, f)
	if err != nil {
		return p, err
	}
	note := func(format string, args ...any) {
		p.notes = append(p.notes, path.Base(s.path())+": "+fmt.Sprintf(format, args...))
	}
	var labels []int
	if o.opts.Label != "" {
		if labels, err = t.columns("--label", o.opts.Label); err != nil {
			return p, err
		}
	} else if i := t.usual(labelNames); i >= 0 {
		labels = []int{i}
	} else {
		labels = []int{len(t.names) - 1}
		note("labels are taken from the last column, %.60q (--label NAME chooses)", t.names[labels[0]])
	}
	y := &answers{table: t, columns: labels}
	if o.opts.Context > 0 {
		texts, err := o.csvTexts(t, y)
		if err != nil {
			return p, err
		}
		if err := o.textRows(&p, s.path(), texts); err != nil {
			return p, err
		}
		return p, y.finish(&p, o.opts.Quantities, o.opts.Classes)
	}
	var features []int
	if o.opts.Input != "" {
		if features, err = t.columns("--input", o.opts.Input); err != nil {
			return p, err
		}
		if i := slices.IndexFunc(features, func(i int) bool { return slices.Contains(labels, i) }); i >= 0 {
			return p, badOption("--input", "%q is the label (choose that with --label)", t.names[features[i]])
		}
	} else {
		for i, name := range t.names {
			switch {
			case slices.Contains(labels, i):
			case i == 0 && name == "":
				note("the first column has no name: an index, as pandas writes it, and left out")
			default:
				features = append(features, i)
			}
		}
	}
	if len(features) == 0 {
		return p, s.errorf("no columns but the labels %s (give a table with inputs)", quotedList(t.names))
	}
	p.x = series{name: s.path(), shape: []int{len(features)}}
	x := &numbers{row: len(features)}
	pixels, most := true, 0.0
	err = t.each(func(row []string) error {
		if len(x.values) >= tableBlock { // another one, not a longer one that is copied
			p.x.parts = append(p.x.parts, x)
			x = &numbers{row: len(features)}
		}
		for _, i := range features {
			v, err := t.number(i, row[i])
			if err != nil {
				return err
			}
			pixels, most = pixels && v >= 0 && v <= 255 && v == math.Floor(v), max(most, v)
			x.values = append(x.values, v)
		}
		return y.add(row)
	})
	if err != nil {
		return p, err
	}
	if pixels && most == 255 && len(o.opts.Std) == 0 {
		note("the inputs are whole numbers of 0..255 and taken as they are (--std 255 scales them to 0..1)")
	}
	p.x.parts = append(p.x.parts, x)
	if size := o.opts.ImageSize; len(size) == 2 && len(features)%(size[0]*size[1]) == 0 && (pixels || !o.opts.Flat) {
		p.x.shape = []int{len(features) / (size[0] * size[1]), size[0], size[1]}
	}
	return p, y.finish(&p, o.opts.Quantities, o.opts.Classes)
}

// csvTexts reads the column of texts of a table, and the answers.
func (o *opener) csvTexts(t *table, y *answers) ([]string, error) {
	column := t.usual(textNames)
	if o.opts.Input != "" {
		var err error
		if column, err = t.column("--input", o.opts.Input); err != nil {
			return nil, err
		}
	}
	if column < 0 {
		return nil, t.source.errorf("the network takes tokens, and of the columns %s none is called %s (name the one with the texts with --input)", quotedList(t.names), strings.Join(textNames, ", "))
	}
	if slices.Contains(y.columns, column) {
		return nil, badOption("--input", "%q is the label (choose that with --label)", t.names[column])
	}
	var texts []string
	err := t.each(func(row []string) error {
		texts = append(texts, strings.Clone(row[column]))
		return y.add(row)
	})
	return texts, err
}

// each goes through the rows.
func (t *table) each(f func(row []string) error) error {
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(row)
		}
		if err != nil {
			return err
		}
	}
}

// answers are the targets of a table: class numbers, names of classes, or quantities.
type answers struct {
	table   *table
	columns []int

	values []float64 // row-major
	real   bool      // one of them is no integer
	large  error     // about the first integer beyond 32 bits

	classes map[string]int32 // by name in the order of appearance, nil when labels are numbers
	codes   []int32          // and that of each example
}

func (a *answers) add(row []string) error {
	if len(a.columns) == 1 {
		i := a.columns[0]
		name := strings.TrimSpace(row[i])
		_, err := strconv.ParseFloat(name, 64)
		switch {
		case a.classes == nil && a.values == nil && err != nil && name != "":
			a.classes = map[string]int32{}
			fallthrough
		case a.classes != nil:
			return a.name(i, name, err == nil)
		}
	}
	for _, i := range a.columns {
		v, err := a.table.number(i, row[i])
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(row[i]), 10, 64)
		switch {
		case err != nil:
			a.real = true
		case n != int64(int32(n)) && a.large == nil:
			a.large = a.table.at(i, "the label %d is not in 0..%d (number classes from 0; --loss mse takes labels for quantities)", n, math.MaxInt32)
		}
		a.values = append(a.values, v)
	}
	return nil
}

// name adds the name of a class.
func (a *answers) name(i int, name string, number bool) error {
	switch {
	case name == "":
		return a.table.at(i, "%q is a missing value (fill it in, or leave the row out)", name)
	case number:
		return a.table.at(i, "%.40q is a number, and the labels before it are names (give all labels in one way)", name)
	case !utf8.ValidString(name):
		return a.table.at(i, "%.40q is not UTF-8 (convert the file, for instance with iconv)", name)
	}
	code, ok := a.classes[name]
	if !ok {
		code = int32(len(a.classes))
		a.classes[strings.Clone(name)] = code
	}
	a.codes = append(a.codes, code)
	return nil
}

// finish makes the targets of a pair: names are numbered as known has them, or in their order, and a note says how.
func (a *answers) finish(p *pair, quantities bool, known []string) error {
	p.y = series{name: p.x.name, shape: []int{}}
	if len(a.columns) > 1 {
		p.y.shape = []int{len(a.columns)}
	}
	switch {
	case a.classes != nil:
		words := slices.Sorted(maps.Keys(a.classes))
		numbers, names := classNumbers(words, known)
		number := make([]int32, len(words)) // by order of appearance
		for i, word := range words {
			number[a.classes[word]] = int32(numbers[i])
		}
		for i, code := range a.codes {
			a.codes[i] = number[code]
		}
		p.names = names
		p.notes = append(p.notes, numberedNote(path.Base(p.x.name), fmt.Sprintf("the names in column %.60q are numbered %s", a.table.names[a.columns[0]], numberedBy(words, names)), words, numbers))
		p.y.parts = []block{&ids{row: 1, values: a.codes}}
	case a.real || quantities:
		p.y.parts = []block{&numbers{row: len(a.columns), values: a.values}}
	case a.large != nil:
		return a.large
	default:
		whole := make([]int32, len(a.values))
		for i, v := range a.values {
			whole[i] = int32(v)
		}
		p.y.parts = []block{&ids{row: len(a.columns), values: whole}}
	}
	return nil
}
