package kernel

// The products are rounded before they are added, T(x*y), so that no compiler
// fuses the two: these kernels give the same bits on every processor.

// The register block of the generic kernels: with these eight sums no compiler
// runs out of registers.
const (
	tileM = 4
	tileN = 2
)

// block is the sums of a register block.
type block[T Float] [tileM][tileN]T

// mulGeneric packs both operands a block of K at a time: B in panels of tileN
// columns, A in rows, unless its rows are contiguous.
func mulGeneric[T Float](ws *Workspace[T], d *MatMul, c, a, b []T) {
	kc := cut(d.K, blockK)
	rows := grow(&ws.bufA, tileM*kc)
	for p := 0; p < d.K; p += kc {
		k := min(kc, d.K-p)
		panels := packGeneric(ws, k, d.N, d.RowB, d.ColB, b[p*d.RowB:])
		for i := 0; i < d.M; i += tileM {
			m := min(tileM, d.M-i)
			var ar [tileM][]T
			for r := range tileM {
				at := (i+min(r, m-1))*d.RowA + p*d.ColA
				if d.ColA == 1 {
					ar[r] = a[at : at+k]
					continue
				}
				ar[r] = rows[r*kc : r*kc+k]
				for q := range ar[r] {
					ar[r][q] = a[at+q*d.ColA]
				}
			}
			for j := 0; j < d.N; j += tileN {
				var acc block[T]
				dot(&acc, ar[0], ar[1], ar[2], ar[3], panels[j*k:(j+tileN)*k])
				putTile(&acc, c[i*d.RowC+j:], m, min(tileN, d.N-j), d.RowC, d.Add || p > 0)
			}
		}
	}
}

// packGeneric copies k rows of n columns into panels of tileN columns, filled up
// with zeros.
func packGeneric[T Float](ws *Workspace[T], k, n, row, col int, b []T) []T {
	panels := grow(&ws.bufB, (n+tileN-1)/tileN*tileN*k)
	q := 0
	for j := 0; j < n; j += tileN {
		w := min(tileN, n-j)
		for p := range k {
			d := panels[q : q+tileN]
			for x := range d {
				d[x] = 0
				if x < w {
					d[x] = b[p*row+(j+x)*col]
				}
			}
			q += tileN
		}
	}
	return panels
}

// dot adds to acc the products of four rows with the columns of a panel.
func dot[T Float](acc *block[T], a0, a1, a2, a3, b []T) {
	c00, c01 := acc[0][0], acc[0][1]
	c10, c11 := acc[1][0], acc[1][1]
	c20, c21 := acc[2][0], acc[2][1]
	c30, c31 := acc[3][0], acc[3][1]
	a1, a2, a3 = a1[:len(a0)], a2[:len(a0)], a3[:len(a0)]
	for p, x := range a0 {
		if len(b) < tileN {
			break
		}
		b0, b1 := b[0], b[1]
		b = b[tileN:]
		c00 += T(x * b0)
		c01 += T(x * b1)
		x = a1[p]
		c10 += T(x * b0)
		c11 += T(x * b1)
		x = a2[p]
		c20 += T(x * b0)
		c21 += T(x * b1)
		x = a3[p]
		c30 += T(x * b0)
		c31 += T(x * b1)
	}
	*acc = block[T]{{c00, c01}, {c10, c11}, {c20, c21}, {c30, c31}}
}

// putTile writes or adds the first m x n sums to c.
func putTile[T Float](acc *block[T], c []T, m, n, row int, add bool) {
	for i := range m {
		ci := c[i*row : i*row+n]
		for j := range ci {
			if add {
				ci[j] += acc[i][j]
			} else {
				ci[j] = acc[i][j]
			}
		}
	}
}

// part is a block of the sum of a Gather: taps t0 to t1, channels c0 to c1.
type part struct{ t0, t1, c0, c1 int }

// next gives the block after q, starting from the zero value; a block with no
// taps ends the sum. It takes whole taps, or pieces of one that is too wide.
func (d *Gather) next(q part) part {
	if d.Width > blockK {
		w := cut(d.Width, blockK)
		if q.t1 > 0 && q.c1 < d.Width {
			return part{q.t0, q.t1, q.c1, min(q.c1+w, d.Width)}
		}
		return part{q.t1, min(q.t1+1, d.Taps), 0, w}
	}
	return part{q.t1, min(q.t1+cut(d.Taps, max(1, blockK/d.Width)), d.Taps), 0, d.Width}
}

func mulGatherGeneric[T Float](ws *Workspace[T], d *Gather, c, a, b []T) {
	zeros := ws.zeroRow(min(d.Width, blockK))
	for q := d.next(part{}); q.t0 < q.t1; q = d.next(q) {
		w := q.c1 - q.c0
		size := (d.N + tileN - 1) / tileN * tileN * w
		panels := grow(&ws.bufA, (q.t1-q.t0)*size)
		for t := q.t0; t < q.t1; t++ {
			copy(panels[(t-q.t0)*size:], packGeneric(ws, w, d.N, d.RowB, 1, b[t*d.TapB+q.c0*d.RowB:]))
		}
		for i := 0; i < d.Rows; i += tileM {
			m := min(tileM, d.Rows-i)
			for j := 0; j < d.N; j += tileN {
				var acc block[T]
				for t := q.t0; t < q.t1; t++ {
					var ar [tileM][]T
					for r := range tileM {
						ar[r] = zeros[:w]
						if o := int(d.Off[(i+min(r, m-1))*d.Taps+t]); o >= 0 {
							ar[r] = a[o+q.c0 : o+q.c1]
						}
					}
					at := (t-q.t0)*size + j*w
					dot(&acc, ar[0], ar[1], ar[2], ar[3], panels[at:at+tileN*w])
				}
				putTile(&acc, c[i*d.RowC+j:], m, min(tileN, d.N-j), d.RowC, d.Add || q.t0 > 0 || q.c0 > 0)
			}
		}
	}
}

func mulGatherTGeneric[T Float](ws *Workspace[T], d *GatherT, c, a, b []T) {
	rc := cut(d.Rows, blockRows)
	for r := 0; r < d.Rows; r += rc {
		ends := d.list(&ws.steps, &ws.ends, r, min(r+rc, d.Rows), d.RowB, 1)
		from := 0
		for t := d.T0; t < d.T1; t++ {
			to := ends[t-d.T0]
			steps := ws.steps[from:to]
			from = to
			if len(steps) == 0 {
				continue
			}
			for x := range max(d.Directions, 1) {
				sumSteps(d, steps, c[x*d.StepC+t*d.TapC:], a[x*d.StepA:], b[r*d.RowB:])
			}
		}
	}
}

// sumSteps adds what steps name to one tap's block.
func sumSteps[T Float](d *GatherT, steps []step, c, a, b []T) {
	for i := 0; i < d.Width; i += tileM {
		m := min(tileM, d.Width-i)
		for j := 0; j < d.N; j += tileN {
			n := min(tileN, d.N-j)
			var acc block[T]
			if m == tileM && n == tileN {
				outer(&acc, steps, a[i:], b[j:])
			} else {
				outerTail(&acc, m, n, steps, a[i:], b[j:])
			}
			putTile(&acc, c[i*d.RowC+j:], m, n, d.RowC, true)
		}
	}
}

// list writes down, tap by tap, the rows r0 ≤ r < r1 that enter its sum: offsets
// into a and into rows of B that lie rowB apart, in units of one size-th of an element. ends[i] is
// where the steps of tap T0+i end.
func (d *GatherT) list(steps *[]step, ends *[]int, r0, r1, rowB, size int) []int {
	s := grow(steps, (r1-r0)*(d.T1-d.T0)+stepsAhead)
	e := grow(ends, d.T1-d.T0)
	n := 0
	for t := d.T0; t < d.T1; t++ {
		at, bt := r0*d.Taps+t, 0
		for range r1 - r0 {
			o := int(d.Off[at])
			s[n] = step{o * size, bt}
			if o >= 0 {
				n++
			}
			at += d.Taps
			bt += rowB * size
		}
		e[t-d.T0] = n
	}
	return e
}

// outer adds to acc the outer products of four elements of a and two of b.
func outer[T Float](acc *block[T], steps []step, a, b []T) {
	var c00, c01, c10, c11, c20, c21, c30, c31 T
	for _, s := range steps {
		x, y := (*[tileM]T)(a[s.a:]), (*[tileN]T)(b[s.b:])
		b0, b1 := y[0], y[1]
		c00 += T(x[0] * b0)
		c01 += T(x[0] * b1)
		c10 += T(x[1] * b0)
		c11 += T(x[1] * b1)
		c20 += T(x[2] * b0)
		c21 += T(x[2] * b1)
		c30 += T(x[3] * b0)
		c31 += T(x[3] * b1)
	}
	*acc = block[T]{{c00, c01}, {c10, c11}, {c20, c21}, {c30, c31}}
}

// outerTail is outer where fewer rows or columns are left.
func outerTail[T Float](acc *block[T], m, n int, steps []step, a, b []T) {
	for _, s := range steps {
		x, y := a[s.a:s.a+m], b[s.b:s.b+n]
		for i, xi := range x {
			for j, yj := range y {
				acc[i][j] += T(xi * yj)
			}
		}
	}
}

func maxOffsetGeneric(off []int32) int32 {
	m := int32(-1)
	for _, o := range off {
		m = max(m, o)
	}
	return m
}
