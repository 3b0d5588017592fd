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
	if x := newPaired(t, u, k); x != nil {
		tasks[0] = x
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

// paired is a sum of two matrix products, direction by direction: what is the same for all of them is arranged for the kernels once a tile,
// and the rest of a direction's tile stays near while both are added to it.
type paired[T kernel.Float] struct {
	k      int
	batch  int // products of one direction
	terms  [2]pairTerm[T]
	c      ref
	d      kernel.Terms
	tm, tn int // size of a tile, of one direction
	nm, nn int
	next   *paired[T] // that is computed after this one, with other tasks between
}

// pairTerm is one of the products.
type pairTerm[T kernel.Float] struct {
	*matmul[T]
	kernel.Term[T]
	each int // how many products of the task are one for all directions
}

// newPaired is nil where the products are not of that kind.
func newPaired[T kernel.Float](t, u *matmul[T], k int) *paired[T] {
	p := &paired[T]{k: k, c: t.c}
	if t.step[2] != u.step[2] {
		return nil
	}
	for i, x := range [2]*matmul[T]{t, u} {
		d := &x.d
		term := pairTerm[T]{x, kernel.Term[T]{K: d.K, RowA: d.RowA, ColA: d.ColA, StepA: x.step[0],
			RowB: d.RowB, ColB: d.ColB, StepB: x.step[1], Panels: x.panels}, 1}
		row := d.RowC
		switch x.along {
		case alongProducts:
			term.each = k
		case alongRows:
			term.RowA, row = d.RowA*k, x.step[2]*k
			if term.ColA != 1 || term.RowA*sizeof[T]()%cacheWay == 0 {
				return nil // the rows of a direction would displace each other
			}
		case alongColumns:
			if x.panels != nil {
				if term.StepB = x.one[1]; term.StepB%kernel.PanelWidth != 0 {
					return nil
				}
			}
		}
		if n := len(x.offs) / term.each; i > 0 && (n != p.batch || row != p.d.RowC) {
			return nil
		} else {
			p.batch, p.d.RowC = n, row
		}
		p.terms[i] = term
	}
	for at := range p.batch {
		if t.offs[at*p.terms[0].each][2] != u.offs[at*p.terms[1].each][2] {
			return nil
		}
	}
	p.d.Directions, p.d.StepC, p.d.Add = k, t.step[2], t.d.Add
	p.cut()
	return p
}

// nearPair is how many bytes the left operands of a tile may have, which are read again for each panel of the right ones: they stay about in the
// second cache.
const nearPair = 1200 << 10

// cut chooses tiles: large ones where one thread computes a batch, though more than one, for a batch that all threads compute.
func (p *paired[T]) cut() {
	t := p.terms[0]
	m, n, k := t.one[0], t.one[1], t.K+p.terms[1].K
	tm, tn := m, n
	if p.batch < fewParts {
		if !t.p.lone() {
			tm, tn = tiles(m, n, k*p.k)
		} else if p.batch == 1 && tm >= 192 {
			tm /= 2
		} else if p.batch == 1 && tn >= 192 {
			tn /= 2
		}
	}
	for k*tm*sizeof[T]() > nearPair && tm > 96 {
		tm /= 2
	}
	p.tm, p.tn = min(m, (tm+11)/12*12), min(n, (tn+15)/16*16)
	p.nm, p.nn = (m+p.tm-1)/p.tm, (n+p.tn-1)/p.tn
}

func (p *paired[T]) work() int { return p.terms[0].work() + p.terms[1].work() }

func (p *paired[T]) parts() int { return p.batch * p.nm * p.nn }

func (p *paired[T]) run(wi, part int) {
	var terms, later [2]kernel.Term[T]
	var areas [kernel.MaxAreas]kernel.Area[T]
	soon := areas[:0]
	t := p.terms[0]
	if next, at := p.after(part); next != nil && t.p.lone() {
		d, _ := next.operands(at, &later)
		for x := range later {
			soon = later[x].Areas(&d, soon)
		}
	}
	d, c := p.operands(part, &terms)
	kernel.MulTerms(&t.p.workers[wi].ws, &d, c, terms[:], soon)
}

// after is the part of such a sum that comes next where one thread computes all, or nil.
func (p *paired[T]) after(part int) (*paired[T], int) {
	if part+1 < p.parts() {
		return p, part + 1
	}
	return p.next, 0
}

// operands are those of a part, and where its result goes.
func (p *paired[T]) operands(part int, terms *[2]kernel.Term[T]) (d kernel.Terms, c []T) {
	i := part % p.nm * p.tm
	part /= p.nm
	j := part % p.nn * p.tn
	at := part / p.nn
	one := p.terms[0].one
	d = p.d
	d.M, d.N = min(p.tm, one[0]-i), min(p.tn, one[1]-j)
	for x := range p.terms {
		t := &p.terms[x]
		o := t.offs[at*t.each]
		terms[x] = t.Term
		terms[x].A = t.p.at(t.a)[o[0]+i*t.RowA:]
		if terms[x].First = j; t.Panels == nil {
			terms[x].B = t.p.at(t.b)[o[1]+j*t.ColB:]
		}
	}
	t := &p.terms[0]
	return d, t.p.at(t.c)[t.offs[at*t.each][2]+i*d.RowC+j:]
}

// link tells each such sum which one comes after it: what that reads is fetched while the last of this one is computed.
func link[T kernel.Float](tasks []task) {
	var last *paired[T]
	for _, t := range tasks {
		if p, ok := t.(*paired[T]); ok {
			if last != nil {
				last.next = p
			}
			last = p
		}
	}
}
