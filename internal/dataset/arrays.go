package dataset

import (
	"fmt"
	"slices"

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

// npzFile opens the two sides of an .npz.
func (o *opener) npzFile(s Source, f file) (pair, error) {
	z, err := npy.OpenArchive(f, f.size)
	if err != nil {
		return pair{}, s.errorf("%w", err)
	}
	var names []string
	for _, m := range z.Members {
		names = append(names, m.Name)
	}
	return o.arrays(s, NPZ, names, func(name string) (*npy.Array, error) { return z.Find(name).Array() })
}

// safetensorsFile opens the two sides of a .safetensors file.
func (o *opener) safetensorsFile(s Source, f file) (pair, error) {
	z, err := safetensors.Open(f, f.size)
	if err != nil {
		return pair{}, s.errorf("%w", err)
	}
	var names []string
	for _, e := range z.Entries {
		names = append(names, e.Name)
	}
	return o.arrays(s, Safetensors, names, func(name string) (*npy.Array, error) { return z.Find(name).Array() })
}

// arrays finds the two sides among the arrays of a file, which open describes. Where it has both, the keys without a split come
// first, unless the test split is asked for.
func (o *opener) arrays(s Source, format string, names []string, open func(name string) (*npy.Array, error)) (pair, error) {
	p := pair{format: format}
	test, splitless := o.opts.Split == "test", false
	for _, k := range arrayKeys {
		if (k.split == "test") != test && k.split != "" {
			continue
		}
		x, y := slices.Contains(names, k.x), slices.Contains(names, k.y)
		if !x && !y {
			continue
		}
		if test && k.split == "" {
			splitless = true
			continue
		}
		if !x || !y {
			return p, s.errorf("of %q and %q only one is there (save both)", k.x, k.y)
		}
		p.split = k.split
		ax, err := open(k.x)
		if err != nil {
			return p, s.errorf("array %q: %w", k.x, err)
		}
		ay, err := open(k.y)
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
	has := "no arrays"
	if names != nil {
		has = quotedList(names)
	}
	return p, s.errorf("holds %s, and neither x and y, images and labels, nor x_train, y_train, x_test and y_test by --split (save them under these names)", has)
}
