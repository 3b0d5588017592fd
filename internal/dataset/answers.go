package dataset

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// missing are the ways to write that there is no value.
var missing = []string{"", "?", "-", "na", "n/a", "nan", "null", "none"}

// parseNumber parses a number of a table.
func parseNumber(s string) (float64, error) {
	s = strings.TrimSpace(s)
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && !math.IsNaN(v) && !math.IsInf(v, 0):
		return v, nil
	case slices.Contains(missing, strings.ToLower(s)):
		return 0, errMissing(s)
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%.40q is not a finite number", s)
	case strings.EqualFold(s, "true"): // as pandas writes bool
		return 1, nil
	case strings.EqualFold(s, "false"):
		return 0, nil
	}
	return 0, fmt.Errorf("%.40q is no number (only labels may be text, and for a network of tokens the inputs; --input A,B,… chooses columns)", s)
}

func errMissing(s string) error {
	return fmt.Errorf("%q is a missing value (fill it in, or leave the row out)", s)
}

// answers are the targets that a table has as texts: class numbers, names of classes, or quantities.
type answers struct {
	row    int       // of each example
	values []float64 // row-major
	real   bool      // one of them is no integer
	large  error     // about the first integer beyond 32 bits

	classes map[string]int32 // by name in the order of appearance, nil when labels are numbers
	codes   []int32          // and that of each example
}

// add takes the texts of an example. place makes an error one about the i-th of them.
func (a *answers) add(place func(i int, err error) error, texts ...string) error {
	if a.row = len(texts); a.row == 1 {
		name := strings.TrimSpace(texts[0])
		_, err := strconv.ParseFloat(name, 64)
		if a.classes == nil && a.values == nil && err != nil && name != "" {
			a.classes = map[string]int32{}
		}
		if a.classes != nil {
			if err := a.name(name, err == nil); err != nil {
				return place(0, err)
			}
			return nil
		}
	}
	for i, s := range texts {
		v, err := parseNumber(s)
		if err != nil {
			return place(i, err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		switch {
		case err != nil:
			a.real = true
		case n != int64(int32(n)) && a.large == nil:
			a.large = place(i, fmt.Errorf("the label %d is not in 0..%d (number classes from 0; --loss mse takes labels for quantities)", n, math.MaxInt32))
		}
		a.values = append(a.values, v)
	}
	return nil
}

// name adds the name of a class.
func (a *answers) name(name string, number bool) error {
	switch {
	case name == "":
		return errMissing(name)
	case number:
		return fmt.Errorf("%.40q is a number, and the labels before it are names (give all labels in one way)", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%.40q is not UTF-8 (convert the file, for instance with iconv)", name)
	}
	code, ok := a.classes[name]
	if !ok {
		code = int32(len(a.classes))
		a.classes[strings.Clone(name)] = code
	}
	a.codes = append(a.codes, code)
	return nil
}

// finish makes the targets of a pair. The names of classes, in the column called so, are numbered as known has them, or in their
// order, and a note says how.
func (a *answers) finish(p *pair, column string, quantities bool, known []string) error {
	p.y = series{name: p.x.name, shape: []int{}}
	if a.row > 1 {
		p.y.shape = []int{a.row}
	}
	row := max(a.row, 1) // of no examples
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
		p.notes = append(p.notes, numberedNote(path.Base(p.x.name), fmt.Sprintf("the names in column %.60q are numbered %s", column, numberedBy(words, names)), words, numbers))
		p.y.parts = []block{&ids{row: 1, values: a.codes}}
	case a.real || quantities:
		p.y.parts = []block{&numbers{row: row, values: a.values}}
	case a.large != nil:
		return a.large
	default:
		whole := make([]int32, len(a.values))
		for i, v := range a.values {
			whole[i] = int32(v)
		}
		p.y.parts = []block{&ids{row: row, values: whole}}
	}
	return nil
}
