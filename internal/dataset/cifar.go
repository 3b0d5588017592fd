package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// cifarImage is the number of bytes of an image: three planes of 32 × 32.
const cifarImage = 3 * 32 * 32

// maxNames bounds the file with the names of the classes, in bytes.
const maxNames = 1 << 16

// cifarForm is how a binary version lays out its records: labels of one byte each, then the image.
//
// Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
type cifarForm struct {
	labels      []int64 // number of classes of each label; the last one is used
	train, test []string
	names       string // of the file with the names of the classes, one a line
}

var cifarForms = map[string]cifarForm{
	CIFAR10: {
		labels: []int64{10},
		train:  []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
		test:   []string{"test_batch.bin"},
		names:  "batches.meta.txt",
	},
	CIFAR100: {
		labels: []int64{20, 100}, // coarse, fine
		train:  []string{"train.bin"},
		test:   []string{"test.bin"},
		names:  "fine_label_names.txt",
	},
}

func (c cifarForm) record() int64 { return int64(len(c.labels)) + cifarImage }

// cifarNames are the files of a format.
func cifarNames(format string) []string {
	c := cifarForms[format]
	return slices.Concat(c.train, c.test)
}

// cifarDirectory opens a split of a directory, all its files.
func (o *opener) cifarDirectory(s Source, names map[string]bool, format string) (pair, error) {
	form := cifarForms[format]
	p := pair{format: format, split: "train"}
	files := form.train
	if o.opts.Split == "test" {
		p.split, files = "test", form.test
	}
	p.x.name, p.y.name = s.path(), s.path()
	for _, name := range files {
		if !names[name] {
			return p, s.errorf("%s of the %s split is not in the directory: %w (put it there, or give one file)", name, p.split, fs.ErrNotExist)
		}
		part := s.in(name)
		f, err := o.file(part)
		if err != nil {
			return p, err
		}
		if err := p.cifar(part, f, form); err != nil {
			return p, err
		}
	}
	// Names are for people: a file that is not there or not as it should be does no harm.
	if b, err := s.in(form.names).bytes(maxNames); err == nil {
		if lines := strings.Fields(string(b)); int64(len(lines)) == form.labels[len(form.labels)-1] {
			p.names = lines
		}
	}
	return p, nil
}

// cifarFile opens one batch. Which version it is of is seen from its size, and from its labels
// where that fits both.
func (o *opener) cifarFile(s Source, f file) (pair, error) {
	split := ""
	for _, form := range cifarForms {
		switch base := path.Base(s.Name); {
		case slices.Contains(form.train, base):
			split = "train"
		case slices.Contains(form.test, base):
			split = "test"
		}
	}
	if err := o.fileSplit(s, split); err != nil {
		return pair{}, err
	}
	formats := []string{CIFAR10, CIFAR100}
	if o.opts.Format != "" {
		formats = []string{o.opts.Format}
	}
	var failed error
	for _, format := range formats {
		form := cifarForms[format]
		if f.size%form.record() != 0 {
			continue
		}
		p := pair{format: format, split: split}
		p.x.name, p.y.name = s.path(), s.path()
		err := p.cifar(s, f, form)
		if err == nil {
			return p, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		var records []string
		for _, format := range formats {
			records = append(records, fmt.Sprintf("%d (%s)", cifarForms[format].record(), format))
		}
		failed = s.errorf("%d bytes are no whole number of records of %s bytes (the file is truncated or of another format; name that with --data-format)", f.size, strings.Join(records, " or "))
	}
	return pair{}, failed
}

// cifar appends the records of a file, after a look at all their labels.
func (p *pair) cifar(s Source, f file, form cifarForm) error {
	record := form.record()
	if f.size%record != 0 {
		return s.errorf("%d bytes are no whole number of records of %d bytes (the file is truncated or damaged; copy it again)", f.size, record)
	}
	n := int(f.size / record)
	array := func(offset int, shape ...int) *npy.Array {
		return &npy.Array{DType: tensor.Uint8, Shape: append([]int{n}, shape...), Data: f, Offset: int64(offset), Stride: record}
	}
	labels := make([]int64, n)
	var y *npy.Array
	for i, classes := range form.labels {
		y = array(i)
		if err := y.Ints(labels, 0, n); err != nil {
			return s.errorf("%w", err)
		}
		for j, v := range labels {
			if v >= classes {
				return s.errorf("offset %d: label %d of record %d is not below %d (the file is damaged or of another format; name that with --data-format)", int64(j)*record+int64(i), v, j, classes)
			}
		}
	}
	p.x.parts = append(p.x.parts, array(len(form.labels), 3, 32, 32))
	p.x.shape = []int{3, 32, 32}
	p.y.parts = append(p.y.parts, y)
	p.y.shape = []int{}
	return nil
}
