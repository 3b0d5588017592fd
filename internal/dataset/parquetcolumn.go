package dataset

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"hessdens/internal/parquet"
	"hessdens/internal/tensor"
)

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
