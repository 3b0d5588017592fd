package dataset

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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
	header
	source Source
	csv    *csv.Reader
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
	t := &table{header: header{path: s.path()}, source: s, csv: csv.NewReader(b)}
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
	named, err := isHeader(row)
	if err != nil {
		return nil, s.errorf("line 1: %w", err)
	}
	if named {
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
func (t *table) at(field int, err error) error {
	line, _ := t.csv.FieldPos(field)
	return t.source.errorf("line %d, column %.60q: %w", line, t.names[field], err)
}

// csvFile opens a table: a row an example, labels in one column (or targets in several), numbers or a text in the others.
func (o *opener) csvFile(s Source, f file) (pair, error) {
	p := pair{format: CSV}
	p.split, _ = splitOf(s.Name)
	if err := o.fileSplit(s, p.split); err != nil {
		return p, err
	}
	t, err := newTable(s, f)
	if err != nil {
		return p, err
	}
	if o.opts.Context > 0 && !o.opts.Sequence {
		texts, err := t.texts(o.opts.Input, nil, func([]string) error { return nil })
		if err != nil {
			return p, err
		}
		return p, o.documents(&p, t.path, texts)
	}
	var labels []int
	if o.opts.Label != "" {
		if labels, err = t.columns("--label", o.opts.Label); err != nil {
			return p, err
		}
	} else if i := t.usual(labelNames); i >= 0 {
		labels = []int{i}
	} else {
		labels = []int{t.lastColumn(&p)}
	}
	y := &answers{}
	values, place := make([]string, len(labels)), func(i int, err error) error { return t.at(labels[i], err) }
	answer := func(row []string) error {
		for i, at := range labels {
			values[i] = row[at]
		}
		return y.add(place, values...)
	}
	if o.opts.Context > 0 {
		var texts []string
		if texts, err = t.texts(o.opts.Input, labels, answer); err == nil {
			err = o.textRows(&p, t.path, texts)
		}
	} else {
		err = o.csvNumbers(&p, t, labels, answer)
	}
	if err != nil {
		return p, err
	}
	return p, y.finish(&p, t.names[labels[0]], o.opts.Quantities, o.opts.Classes)
}

// csvNumbers makes the inputs of columns of numbers: all, or those that are chosen. answer is called with each row.
func (o *opener) csvNumbers(p *pair, t *table, labels []int, answer func(row []string) error) error {
	var features []int
	if o.opts.Input != "" {
		var err error
		if features, err = t.inputs(o.opts.Input, labels); err != nil {
			return err
		}
	} else {
		for i, name := range t.names {
			switch {
			case slices.Contains(labels, i):
			case i == 0 && name == "":
				p.note(t.path, "the first column has no name: an index, as pandas writes it, and left out")
			default:
				features = append(features, i)
			}
		}
	}
	if len(features) == 0 {
		return t.source.errorf("no columns but the labels %s (give a table with inputs)", quotedList(t.names))
	}
	p.x = series{name: t.path}
	x := &numbers{row: len(features)}
	var seen pixels
	err := t.each(func(row []string) error {
		if len(x.values) >= tableBlock { // another one, not a longer one that is copied
			p.x.parts = append(p.x.parts, x.seal())
			x = &numbers{row: len(features)}
		}
		for _, i := range features {
			v, err := parseNumber(row[i])
			if err != nil {
				return t.at(i, err)
			}
			seen.add(v)
			x.values = append(x.values, v)
		}
		return answer(row)
	})
	p.x.parts, p.x.shape = append(p.x.parts, x.seal()), o.rowShape(len(features), seen)
	o.scaleNote(p, seen)
	return err
}

// texts is the column of texts, --input or the one with a usual name. answer is called with each row.
func (t *table) texts(input string, labels []int, answer func(row []string) error) ([]string, error) {
	column := t.usual(textNames)
	if input != "" {
		columns, err := t.inputs(input, labels)
		if err != nil {
			return nil, err
		}
		if column = columns[0]; len(columns) > 1 {
			return nil, badOption("--input", "%s has the texts in one column (give its name alone)", t.path)
		}
	}
	if column < 0 || slices.Contains(labels, column) {
		return nil, t.source.errorf("the network takes tokens, and of the columns %s none but the label is called %s (name the one with the texts with --input)", quotedList(t.names), strings.Join(textNames, ", "))
	}
	var texts []string
	err := t.each(func(row []string) error {
		texts = append(texts, strings.Clone(row[column]))
		return answer(row)
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
