package dataset

import (
	"fmt"
	"strings"

	"hessdens/internal/npy"
)

// npzKeys are the names under which an .npz has its two sides, by preference.
var npzKeys = []struct{ split, x, y string }{
	{"", "x", "y"},
	{"", "images", "labels"},
	{"train", "x_train", "y_train"},
	{"test", "x_test", "y_test"},
}

// npzFile opens the two sides of an .npz. Where it has both, the keys without a split come first,
// unless the test split is asked for.
func (o *opener) npzFile(s Source, f file) (pair, error) {
	p := pair{format: NPZ}
	z, err := npy.OpenArchive(f, f.size)
	if err != nil {
		return p, s.errorf("%w", err)
	}
	test, splitless := o.opts.Split == "test", false
	for _, k := range npzKeys {
		if (k.split == "test") != test && k.split != "" {
			continue
		}
		x, y := z.Find(k.x), z.Find(k.y)
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
		ax, err := x.Array()
		if err != nil {
			return p, s.errorf("array %q: %w", k.x, err)
		}
		ay, err := y.Array()
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
	for i, m := range z.Members {
		if i == 8 {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, fmt.Sprintf("%q", m.Name))
	}
	has := "no arrays"
	if keys != nil {
		has = strings.Join(keys, ", ")
	}
	return p, s.errorf("holds %s, but neither x and y, images and labels, nor x_train, y_train, x_test and y_test by --split (save them with numpy.savez)", has)
}
