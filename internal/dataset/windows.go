package dataset

import (
	"fmt"

	"hessdens/internal/tensor"
)

// windows is a block of windows of a sequence of tokens: row i is the length tokens from token
// first + i·stride on. They may overlap, and nothing is copied.
type windows struct {
	tokens                *series // of single tokens
	rows                  int
	first, length, stride int
}

func (w *windows) Rows() int          { return w.rows }
func (w *windows) Type() tensor.DType { return tensor.Int64 }

func (w *windows) Ints(dst []int64, lo, hi int) error {
	if w.stride == w.length && lo < hi {
		return w.read(dst, w.first+lo*w.length)
	}
	for i := lo; i < hi; i++ {
		at := (i - lo) * w.length
		if err := w.read(dst[at:at+w.length], w.first+i*w.stride); err != nil {
			return err
		}
	}
	return nil
}

// read reads the tokens from one on.
func (w *windows) read(dst []int64, from int) error {
	return w.tokens.each(from, from+len(dst), func(a block, from, to, at int) error {
		return a.Ints(dst[at:at+to-from], from, to)
	})
}

func (w *windows) Floats([]float64, int, int) error { panic(badColumn) }
func (w *windows) Bytes([]uint8, int, int) error    { panic(badColumn) }

// language are the examples of a language model in a sequence of tokens: the inputs of window i are
// the T tokens from i·S on, T the context and S the stride, and the targets are those one to
// the right. Tokens that fill no window at the end are left out, and a note says so.
func (o *opener) language(p *pair, name string, tokens series) error {
	if err := o.needContext(name, p.format); err != nil {
		return err
	}
	length := o.opts.Context
	stride := o.opts.Stride
	if stride == 0 {
		stride = length
	}
	total := tokens.rows()
	if total <= length { // not length + 1, which may overflow
		return fmt.Errorf("%s: %d tokens, too few for a window of %d and the one after it (give more text, or a smaller --context)", name, total, length)
	}
	rows := (total-1-length)/stride + 1
	p.x = series{name: name, shape: []int{length}, parts: []block{&windows{tokens: &tokens, rows: rows, length: length, stride: stride}}}
	p.y = series{name: name, shape: []int{length}, parts: []block{&windows{tokens: &tokens, rows: rows, first: 1, length: length, stride: stride}}}
	if left := total - 1 - ((rows-1)*stride + length); left > 0 && (o.opts.Examples == 0 || o.opts.Examples == rows) {
		p.note(name, "%d tokens make %d windows of %d; the last %d fill none and are left out", total, rows, length, left)
	}
	return nil
}

// needContext fails where it is not known how long windows are.
func (o *opener) needContext(name, format string) error {
	if o.opts.Context > 0 {
		return nil
	}
	return badOption("--context", "%s is %s, which is cut into windows, and the network takes none (give a network of tokens, or --context T)", name, format)
}
