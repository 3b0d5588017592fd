package exec

import "hessdens/internal/kernel"

// join makes one task of a matrix product, the only one of tasks, and another that is added to it, where it can; k is the number of
// directions.
func (p *Program[T]) join(tasks, more []task, k int) bool {
	if len(tasks) != 1 || len(more) != 1 {
		return false
	}
	t, ok := tasks[0].(*matmul[T])
	if !ok {
		return false
	}
	u, ok := more[0].(*matmul[T])
	if !ok || u.one != t.one || t.sparse != nil || u.sparse != nil {
		return false
	}
	if t.along == u.along && t.along != alongRows {
		if u.d.RowC != t.d.RowC || u.d.N != t.d.N || len(u.offs) != len(t.offs) {
			return false
		}
		for i, o := range t.offs {
			if u.offs[i][2] != o[2] {
				return false
			}
		}
		u.tm, u.tn, u.nm, u.nn, u.together = t.tm, t.tn, t.nm, t.nn, t.together
		for t.next != nil {
			t = t.next
		}
		t.next = u
		return true
	}
	if t.next != nil {
		return false
	}
	if u := newPaired(t, u, k); u != nil {
		tasks[0] = u
		return true
	}
	c := &crossed[T]{terms: [2]*matmul[T]{t, u}, k: k, batch: len(t.offs)}
	for _, x := range c.terms {
		n := len(x.offs)
		switch x.along {
		case alone:
			return false
		case alongColumns: // a panel must not hold columns of two directions
			if x.panels == nil || x.one[1]%kernel.PanelWidth != 0 {
				return false
			}
		case alongProducts:
			n /= k
		}
		c.batch = min(c.batch, n)
	}
	for _, x := range c.terms {
		if n := len(x.offs); n != c.batch && n != c.batch*k {
			return false
		}
	}
	c.cut()
	tasks[0] = c
	return true
}

// crossed is a sum of two matrix products whose directions lie differently, tile by tile: all directions of some rows and columns.
type crossed[T kernel.Float] struct {
	terms  [2]*matmul[T]
	k      int
	batch  int // products of one direction
	tm, tn int // size of a tile, of one direction
	nm, nn int
}

// nearTile is how many bytes a tile of all directions may have: it stays in the second cache between two products.
const nearTile = 320 << 10

func (c *crossed[T]) cut() {
	m, n := c.terms[0].one[0], c.terms[0].one[1]
	c.tm, c.tn = m, n
	if c.batch < 2*fewParts {
		c.tm, c.tn = tiles(m, n, c.terms[0].d.K*c.k)
		c.tn = min(n, (c.tn+63)/64*64)
	}
	for c.tm*c.tn*c.k*sizeof[T]() > nearTile {
		switch {
		case c.tn > 64:
			c.tn = (c.tn/2 + 63) / 64 * 64
		case c.tm > 48:
			c.tm = (c.tm/2 + 11) / 12 * 12
		default:
			c.nm, c.nn = (m+c.tm-1)/c.tm, (n+c.tn-1)/c.tn
			return
		}
	}
	c.nm, c.nn = (m+c.tm-1)/c.tm, (n+c.tn-1)/c.tn
}

func (c *crossed[T]) work() int { return c.terms[0].work() + c.terms[1].work() }

func (c *crossed[T]) parts() int { return c.batch * c.nm * c.nn }

func (c *crossed[T]) run(wi, part int) {
	ws := &c.terms[0].p.workers[wi].ws
	i := part % c.nm * c.tm
	part /= c.nm
	j := part % c.nn * c.tn
	at := part / c.nn
	for _, t := range c.terms {
		m, n := min(c.tm, t.one[0]-i), min(c.tn, t.one[1]-j)
		switch t.along {
		case alongRows:
			t.block(ws, at, i*c.k, j, m*c.k, n)
		case alongColumns:
			for x := range c.k {
				t.block(ws, at, i, x*t.one[1]+j, m, n)
			}
		case alongProducts:
			for x := range c.k {
				t.block(ws, at*c.k+x, i, j, m, n)
			}
		}
	}
}

// paired is a sum of two matrix products, as of a weight gradient, where one operand of each is the same for all directions: it is
// arranged for the kernels once a tile. Both are added to a tile of one direction while that is near.
type paired[T kernel.Float] struct {
	terms  [2]*matmul[T]
	k      int
	batch  int // products of one direction
	tm, tn int // size of a tile, of one direction
	nm, nn int
}

// newPaired is nil where the products are not of that kind.
func newPaired[T kernel.Float](t, u *matmul[T], k int) *paired[T] {
	c := &paired[T]{terms: [2]*matmul[T]{t, u}, k: k}
	for i, x := range c.terms {
		batch := len(x.offs)
		switch {
		case x.panels != nil:
			return nil
		case x.along == alongProducts:
			batch /= k
		case x.along != alongColumns:
			return nil
		}
		if i > 0 && batch != c.batch {
			return nil
		}
		c.batch = batch
	}
	if t.step[2] != u.step[2] || t.d.RowC != u.d.RowC {
		return nil
	}
	c.cut()
	return c
}

// nearPair is how many bytes a tile and its operands may have: they stay in the second cache.
const nearPair = 2000 << 10

func (c *paired[T]) cut() {
	m, n, k := c.terms[0].one[0], c.terms[0].one[1], c.terms[0].d.K
	tm, tn := m, n
	for (k*(2*tm+tn)+tm*tn)*sizeof[T]() > nearPair && max(tm, tn) > 96 {
		if tm > tn || tm > 128 {
			tm /= 2
		} else {
			tn /= 2
		}
	}
	c.tm, c.tn = min(m, (tm+11)/12*12), min(n, (tn+15)/16*16)
	c.nm, c.nn = (m+c.tm-1)/c.tm, (n+c.tn-1)/c.tn
}

func (c *paired[T]) work() int { return c.terms[0].work() + c.terms[1].work() }

func (c *paired[T]) parts() int { return c.batch * c.nm * c.nn }

func (c *paired[T]) run(wi, part int) {
	t := c.terms[0]
	i := part % c.nm * c.tm
	part /= c.nm
	j := part % c.nn * c.tn
	at := part / c.nn
	d := kernel.Terms{M: min(c.tm, t.one[0]-i), N: min(c.tn, t.one[1]-j), Directions: c.k, RowC: t.d.RowC, StepC: t.step[2], Add: t.d.Add}
	var terms [2]kernel.Term[T]
	for x, t := range c.terms {
		d, o := t.d, t.offs[at*len(t.offs)/c.batch]
		terms[x] = kernel.Term[T]{K: d.K,
			A: t.p.at(t.a)[o[0]+i*d.RowA:], RowA: d.RowA, ColA: d.ColA, StepA: t.step[0],
			B: t.p.at(t.b)[o[1]+j*d.ColB:], RowB: d.RowB, ColB: d.ColB, StepB: t.step[1]}
	}
	c0 := t.offs[at*len(t.offs)/c.batch][2] + i*d.RowC + j
	kernel.MulTerms(&t.p.workers[wi].ws, &d, t.p.at(t.c)[c0:], terms[:])
}
