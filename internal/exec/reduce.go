package exec

import (
	"slices"

	"hessdens/internal/graph"
	"hessdens/internal/kernel"
)

// sumRows is how many terms are added up in the program's type before they go to a float64: a
// matter of the number of terms alone.
const sumRows = 128

// sum adds up the middle of three axes: in [a, r, b] to out [a, b].
type sum[T kernel.Float] struct {
	p       *Program[T]
	in, out ref
	own     []T // where a pass is between two
	from    []T
	a, r, b int
	each    bool // b counts directions only
	rows    int  // of a part, where b > 1: columns
	cuts    int
}

// newSum makes a task for each run of neighbouring axes that are summed.
func newSum[T kernel.Float](p *Program[T], v *value) []task {
	x := v.in[0]
	over := make([]bool, len(x.shape))
	for _, a := range v.attr.(graph.Axes) {
		over[a] = true
	}
	axes := x.axes()
	barrier := -1 // how a sum runs must not depend on k: none goes across the directions, were it one
	if x.linear {
		barrier = len(x.shape) - 1
		over = slices.Insert(over, barrier, false)
	}
	var tasks []task
	var from []T
	for {
		end := len(axes)
		for end > 0 && (!over[end-1] || axes[end-1] == 1) {
			end--
		}
		start := end
		for start > 0 && start-1 != barrier && (over[start-1] || axes[start-1] == 1) {
			start--
		}
		t := &sum[T]{p: p, in: x.root.buffer.ref, out: v.buffer.ref, from: from, a: count(axes[:start]), r: count(axes[start:end]), b: count(axes[end:])}
		t.each = t.b == 1 || x.linear && t.b == x.k && end < len(axes)
		axes = slices.Clone(axes)
		for i := start; i < end; i++ {
			axes[i] = 1
		}
		more := false
		for i, a := range axes {
			more = more || over[i] && a > 1
		}
		if more {
			t.own = make([]T, count(axes))
			p.extra += len(t.own)
		}
		t.cut()
		tasks = append(tasks, t)
		if !more {
			return tasks
		}
		from = t.own
	}
}

func (t *sum[T]) cut() {
	if t.each {
		t.rows = max(1, partLen/(t.r*t.b))
		t.cuts = 1
		return
	}
	t.cuts = max(1, min(t.b/16, t.a*t.r*t.b/partLen/max(t.a, 1)))
	t.rows = max(1, partLen/(t.r*t.b))
}

func (t *sum[T]) parts() int { return (t.a + t.rows - 1) / t.rows * t.cuts }

func (t *sum[T]) run(wi, part int) {
	in, out := t.from, t.own
	if in == nil {
		in = t.p.at(t.in)
	}
	if out == nil {
		out = t.p.at(t.out)
	}
	first := part / t.cuts * t.rows
	last := min(first+t.rows, t.a)
	if t.each {
		for a := first; a < last; a++ {
			for b := range t.b {
				out[a*t.b+b] = T(kernel.Sum(in[a*t.r*t.b+b:(a+1)*t.r*t.b], t.b))
			}
		}
		return
	}
	cut := part % t.cuts
	lo, hi := t.b*cut/t.cuts, t.b*(cut+1)/t.cuts
	w := t.p.workers[wi]
	if len(w.sums) < hi-lo {
		w.sums = make([]float64, hi-lo)
	}
	sums := w.sums[:hi-lo]
	for a := first; a < last; a++ {
		dst := out[a*t.b+lo : a*t.b+hi]
		clear(sums)
		for r := 0; r < t.r; r += sumRows {
			clear(dst)
			kernel.AddRows(dst, in[(a*t.r+r)*t.b+lo:], min(sumRows, t.r-r), t.b)
			for i, x := range dst {
				sums[i] += float64(x)
			}
		}
		for i, s := range sums {
			dst[i] = T(s)
		}
	}
}
