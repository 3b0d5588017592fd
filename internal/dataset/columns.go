package dataset

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// Usual names of the columns of a table, in any case, the likeliest first.
var (
	labelNames = []string{"label", "labels", "fine_label", "target", "targets", "class", "y"}
	textNames  = []string{"text", "sentence", "content", "review", "document"}
	inputNames = append([]string{"image", "img", "images", "x", "features", "inputs", "input_ids"}, textNames...)
)

// pandasIndex begins the names of the columns that pandas makes of an index in Parquet.
const pandasIndex = "__index_level_"

// header is the names of a table's columns, and what messages call the table.
type header struct {
	path  string
	names []string
}

// column finds a name; nothing else may have it.
func (h header) column(flag, name string) (int, error) {
	i := slices.Index(h.names, name)
	if i < 0 {
		return 0, badOption(flag, "%s has no column %q (it has %s)", h.path, name, quotedList(h.names))
	}
	if slices.Contains(h.names[i+1:], name) {
		return 0, badOption(flag, "%s has several columns %q (rename them)", h.path, name)
	}
	return i, nil
}

// columns finds the names of a flag: the whole of it, or a list.
func (h header) columns(flag, value string) ([]int, error) {
	names := []string{value}
	if !slices.Contains(h.names, value) {
		names = strings.Split(value, ",")
	}
	var out []int
	for _, name := range names {
		i, err := h.column(flag, strings.TrimSpace(name))
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

// inputs finds the columns of --input, which may not be those of the labels.
func (h header) inputs(value string, labels []int) ([]int, error) {
	columns, err := h.columns("--input", value)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(columns, func(i int) bool { return slices.Contains(labels, i) }); i >= 0 {
		return nil, badOption("--input", "%q is the label (choose that with --label)", h.names[columns[i]])
	}
	return columns, nil
}

// usual is the column with the first of these names that there is, whatever its case, −1 without.
func (h header) usual(names []string) int {
	for _, name := range names {
		if i := slices.IndexFunc(h.names, func(s string) bool { return strings.EqualFold(s, name) }); i >= 0 {
			return i
		}
	}
	return -1
}

// lastColumn is the last column that is no index, and a note that labels are taken from it.
func (h header) lastColumn(p *pair) int {
	i := len(h.names) - 1
	for i > 0 && strings.HasPrefix(h.names[i], pandasIndex) {
		i--
	}
	p.note(h.path, "labels are taken from the last column, %.60q (--label NAME chooses)", h.names[i])
	return i
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

// note adds one about a file.
func (p *pair) note(file, format string, args ...any) {
	p.notes = append(p.notes, path.Base(file)+": "+fmt.Sprintf(format, args...))
}

// rowShape is the shape of n numbers: images, where the network takes images of a size that divides n, or rows that may be images and
// the numbers are those of pixels.
func (o *opener) rowShape(n int, seen pixels) []int {
	if size := o.opts.ImageSize; len(size) == 2 && n%(size[0]*size[1]) == 0 && (!o.opts.Flat || !seen.other) {
		return []int{n / (size[0] * size[1]), size[0], size[1]}
	}
	return []int{n}
}

// pixels looks at numbers that may be bytes of images: whole, from 0 to 255, and the largest of them 255.
type pixels struct {
	other bool
	most  float64
}

func (p *pixels) add(v float64) {
	p.other = p.other || !(v >= 0 && v <= 255 && v == math.Floor(v))
	p.most = max(p.most, v)
}

// scaleNote notes that such numbers are taken as they are.
func (o *opener) scaleNote(p *pair, seen pixels) {
	if !seen.other && seen.most == 255 && len(o.opts.Std) == 0 {
		p.note(p.x.name, "the inputs are whole numbers of 0..255 and taken as they are (--std 255 scales them to 0..1)")
	}
}
