package exec

import "hessdens/internal/kernel"

// Reset makes the totals zero: each is when it is added to next.
func (p *Program[T]) Reset() {
	for _, t := range p.totals {
		for part := range t.zero {
			t.zero[part] = true
		}
	}
}

// Accumulate adds what outputs along directions are now to their totals, in float64.
func (p *Program[T]) Accumulate() { p.pool.do(p.adds) }

// Shares is a number of shares for AccumulateShare that makes the wait for one short.
func (p *Program[T]) Shares() int { return max(1, min(p.adding.parts(), mostShares)) }

const mostShares = 64

// AccumulateShare does one of so many shares of Accumulate, on the calling thread: while one program of several that stand beside each other adds
// one, another may add another.
func (p *Program[T]) AccumulateShare(share, of int) {
	n := p.adding.parts()
	for part := n * share / of; part < n*(share+1)/of; part++ {
		p.adding.run(0, part)
	}
}

// MoveTotal adds direction j of the total of the i-th output to dst, row-major, or puts it there: one of so many shares of it.
func (p *Program[T]) MoveTotal(dst []float64, i, j int, add bool, share, of int) {
	v := &p.outs[i]
	if t := p.totalOf(v.root); t != nil {
		fetchRows(v, dst, t.sum, v.layout.off+j*v.layout.dir, add, share, of)
	} else if !add && share == 0 {
		clear(dst) // it depends on no direction
	}
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
	p.adds = newPlan(&p.adding)
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
