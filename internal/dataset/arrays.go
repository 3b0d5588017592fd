package dataset

import (
	"fmt"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/safetensors"
)

// arrayKeys are the names under which a file of named arrays has the two sides of a data set, by preference.
var arrayKeys = []struct{ split, x, y string }{
	{"", "x", "y"},
	{"", "images", "labels"},
	{"train", "x_train", "y_train"},
	{"test", "x_test", "y_test"},
}

// named is an array of a file, opened on demand.
type named struct {
	name string
	open func() (*npy.Array, error)
}

// npzFile opens the two sides of an .npz.
func (o *opener) npzFile(s Source, f file) (pair, error) {
	z, err := npy.OpenArchive(f, f.size)
	if err != nil {
		return pair{}, s.errorf("%w", err)
	}
	var arrays []named
	for i := range z.Members {
		arrays = append(arrays, named{z.Members[i].Name, z.Members[i].Array})
	}
	return o.arrays(s, NPZ, arrays)
}

// safetensorsFile opens the two sides of a .safetensors file.
func (o *opener) safetensorsFile(s Source, f file) (pair, error) {
	z, err := safetensors.Open(f, f.size)
	if err != nil {
		return pair{}, s.errorf("%w", err)
	}
	var arrays []named
	for _, e := range z.Entries {
		arrays = append(arrays, named{e.Name, e.Array})
	}
	return o.arrays(s, Safetensors, arrays)
}

// arrays finds the two sides among the arrays of a file. Where it has both, the keys without a split come first,
// unless the test split is asked for.
func (o *opener) arrays(s Source, format string, arrays []named) (pair, error) {
	p := pair{format: format}
	find := func(name string) *named {
		for i := range arrays {
			if arrays[i].name == name {
				return &arrays[i]
			}
		}
		return nil
	}
	test, splitless := o.opts.Split == "test", false
	for _, k := range arrayKeys {
		if (k.split == "test") != test && k.split != "" {
			continue
		}
		x, y := find(k.x), find(k.y)
		if x == nil && y == nil {
			continue
		}
		if test && k.split == "" {
			splitless = true
			continue
		}
		if x == nil || y == nil {
			return p, s.errorf("of %q and %q only one is there (save both)", k.x, k.y)
		}
		p.split = k.split
		ax, err := x.open()
		if err != nil {
			return p, s.errorf("array %q: %w", k.x, err)
		}
		ay, err := y.open()
		if err != nil {
			return p, s.errorf("array %q: %w", k.y, err)
		}
		if p.x, err = inputs(fmt.Sprintf("%s: array %q", s.path(), k.x), ax, false); err != nil {
			return p, err
		}
		p.y, err = targets(fmt.Sprintf("%s: array %q", s.path(), k.y), ay)
		return p, err
	}
	if splitless {
		return p, badOption("--split", "%s has no splits, x_test and y_test (leave it out)", s.path())
	}
	var keys []string
	for i, m := range arrays {
		if i == 8 {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, fmt.Sprintf("%q", m.name))
	}
	has := "no arrays"
	if keys != nil {
		has = strings.Join(keys, ", ")
	}
	return p, s.errorf("holds %s, and neither x and y, images and labels, nor x_train, y_train, x_test and y_test by --split (save them under these names)", has)
}
