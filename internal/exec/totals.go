package exec

import "hessdens/internal/kernel"

// Reset makes the totals zero: each is when it is added to next. Nothing is held.
func (p *Program[T]) Reset() {
	p.held = p.held[:0]
	for _, t := range p.totals {
		for part := range t.zero {
			t.zero[part] = true
		}
	}
}

// Shares is a number of shares for Accumulate that makes the wait for one short.
func (p *Program[T]) Shares() int { return max(1, min(p.adding.parts(), mostShares)) }

const mostShares = 64

// Accumulate adds what outputs along directions are now to their totals, in float64: one of so many shares of them, on the calling thread.
// Programs that stand beside each other have the same totals; while one adds a share, another may add another.
func (p *Program[T]) Accumulate(share, of int) {
	n := p.adding.parts()
	for part := n * share / of; part < n*(share+1)/of; part++ {
		p.adding.run(0, part)
	}
}

// Hold makes outputs that programs have count as added to the totals, in this order, until these programs run again.
func (p *Program[T]) Hold(programs ...*Program[T]) { p.held = append(p.held[:0], programs...) }

// Holds says whether outputs are held.
func (p *Program[T]) Holds() bool { return len(p.held) > 0 }

// AccumulateHeld is Accumulate of what is held.
func (p *Program[T]) AccumulateHeld(share, of int) {
	for _, q := range p.held {
		q.Accumulate(share, of)
	}
}

// MoveSum is MoveOutput of what has been added up.
func (p *Program[T]) MoveSum(dst []float64, i, j int, add bool, share, of int) {
	v := p.outs[i]
	var sum []float64
	if t := p.totalOf(v.root); t != nil && !t.zero[0] {
		sum = t.sum
	}
	fetchRows(v, dst, sum, p.held, v.layout.off+j*v.layout.dir, add, share, of)
}

// outputTotal is the sum of what an output's buffer was, in its own order: it is turned into rows once a product.
type outputTotal[T kernel.Float] struct {
	p    *Program[T]
	of   *value
	sum  []float64
	zero []bool // parts that are zero, whatever they hold
}

// findTotals makes a total of each buffer that outputs along directions are in.
func (p *Program[T]) findTotals() {
	for _, v := range p.outs {
		if v.linear && p.totalOf(v.root) == nil {
			t := &outputTotal[T]{p: p, of: v.root}
			p.totals = append(p.totals, t)
			p.adding.add(t)
		}
	}
}

func (p *Program[T]) totalOf(root *value) *outputTotal[T] {
	for _, t := range p.totals {
		if t.of == root {
			return t
		}
	}
	return nil
}

func (t *outputTotal[T]) parts() int { return cuts(t.of.buffer.size, partLen) }

func (t *outputTotal[T]) run(_, part int) {
	sum := t.sum[part*partLen : min((part+1)*partLen, len(t.sum))]
	if t.zero[part] {
		clear(sum)
		t.zero[part] = false
	}
	kernel.AddTo(sum, t.p.at(t.of.buffer.ref)[part*partLen:])
}
