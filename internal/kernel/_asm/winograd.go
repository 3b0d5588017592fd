package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of tileArgs (see winograd_amd64.go).
const wPlanes, wPlane, wN, wScratch, wLanes, wDst, wRow, wPixel, wRows, wColumns, wAhead, wNext, wPixels = 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96

// under is the side of a transformed tile.
const under = 6

// pass computes some of the values of a transform along an axis from some of the values there are.
type pass struct {
	reads, gives []int
	eval         func(w writer, d []VecVirtual) []VecVirtual
}

func upTo(n int) (s []int) {
	for i := range n {
		s = append(s, i)
	}
	return s
}

// winograd generates the transforms of tiles of Winograd's F(4x4, 3x3), whose matrices winograd.go has.
func (f isa) winograd() {
	inner := pass{[]int{1, 2, 3, 4}, []int{1, 2, 3, 4}, writer.inputInner}
	outer := pass{upTo(6), []int{0, 5}, writer.inputOuter}
	f.toPlanes("tileInput", 6, inner, outer)
	f.toPlanes("tileWeights", 3, pass{upTo(3), upTo(6), writer.weights})
	f.toPlanes("tileCotangent", 4, pass{upTo(4), upTo(6), writer.cotangent})
	f.fromPlanes("tileOutput", 4, writer.output)
	f.fromPlanes("tileGradient", 3, writer.gradient)
}

// plus is c + k·a, minus is c − k·a.
func (w writer) plus(c, a VecVirtual, k float64) VecVirtual {
	r := w.copied(c)
	VFMADD231PS(w.f(k), a, r)
	return r
}

func (w writer) minus(c, a VecVirtual, k float64) VecVirtual {
	r := w.copied(c)
	VFNMADD231PS(w.f(k), a, r)
	return r
}

// root is √2: the transforms are polynomials' values at 0, ±√½, ±√2 and their leading coefficients.
const root = math.Sqrt2

// inputInner is rows 1 to 4 of Bᵀ, of values 1 to 4.
func (w writer) inputInner(d []VecVirtual) []VecVirtual {
	a, b := w.minus(d[3], d[1], 2), w.minus(d[2], d[0], 2)
	c, e := w.minus(d[3], d[1], 0.5), w.minus(d[2], d[0], 0.5)
	return []VecVirtual{w.plus(a, b, root/2), w.minus(a, b, root/2), w.plus(c, e, root), w.minus(c, e, root)}
}

// inputOuter is rows 0 and 5 of Bᵀ.
func (w writer) inputOuter(d []VecVirtual) []VecVirtual {
	return []VecVirtual{w.add(w.minus(d[0], d[2], 2.5), d[4]), w.add(w.minus(d[1], d[3], 2.5), d[5])}
}

func (w writer) weights(d []VecVirtual) []VecVirtual {
	a, c := w.minus(w.mul(w.f(-2./3), d[0]), d[2], 1./3), w.plus(w.mul(w.f(1./6), d[0]), d[2], 1./3)
	return []VecVirtual{w.copied(d[0]), w.minus(a, d[1], root/3), w.plus(a, d[1], root/3), w.plus(c, d[1], root/6), w.minus(c, d[1], root/6), w.copied(d[2])}
}

func (w writer) cotangent(d []VecVirtual) []VecVirtual {
	a, b := w.plus(d[0], d[2], 0.5), w.plus(d[1], d[3], 0.5)
	c, e := w.plus(d[0], d[2], 2), w.plus(d[1], d[3], 2)
	return []VecVirtual{w.copied(d[0]), w.plus(a, b, root/2), w.minus(a, b, root/2), w.plus(c, e, root), w.minus(c, e, root), w.copied(d[3])}
}

func (w writer) output(d []VecVirtual) []VecVirtual {
	s, m := w.add(d[1], d[2]), w.sub(d[1], d[2])
	t, e := w.add(d[3], d[4]), w.sub(d[3], d[4])
	return []VecVirtual{w.add(w.add(d[0], s), t), w.plus(w.mul(w.f(root/2), m), e, root),
		w.plus(w.mul(w.f(0.5), s), t, 2), w.plus(w.plus(d[5], m, root/4), e, 2*root)}
}

func (w writer) gradient(d []VecVirtual) []VecVirtual {
	s, m := w.add(d[1], d[2]), w.sub(d[1], d[2])
	t, e := w.add(d[3], d[4]), w.sub(d[3], d[4])
	return []VecVirtual{w.plus(w.minus(d[0], s, 2./3), t, 1./6), w.minus(w.mul(w.f(root/6), e), m, root/3), w.plus(d[5], w.sub(t, s), 1./3)}
}

// tile is what the transforms have in common.
type tile struct {
	isa
	w                writer
	p                Register
	x, plane, planes GPVirtual // x: bytes done
}

func (t *tile) at(off int) Mem { return Mem{Base: t.p, Disp: off} }

// tile generates a transform: body for the whole vectors of a pixel's values, then for what is left.
func (f isa) tile(name, what string, body func(t *tile, mask Op, label string)) {
	TEXT(name+f.name()[len("F32"):], NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(name + f.name()[len("F32"):] + " transforms a tile " + what + "; p points to a tileArgs.")
	t := &tile{isa: f, w: writer{isa: f}, p: Load(Param("p"), GP64()), x: GP64(), plane: GP64(), planes: GP64()}
	full, rest := GP64(), GP64()
	MOVQ(t.at(wN), full)
	MOVQ(full, rest)
	ANDQ(Imm(uint64(f.width()/f.size()-1)), rest)
	SUBQ(rest, full)
	SHLQ(Imm(f.shift()), full)
	mask := f.tailMask(rest, t.at(wLanes))
	MOVQ(t.at(wPlanes), t.planes)
	MOVQ(t.at(wPlane), t.plane)
	XORQ(t.x, t.x)
	CMPQ(full, Imm(0))
	JEQ(LabelRef("tail"))
	Label("loop")
	body(t, nil, "loop")
	ADDQ(Imm(uint64(f.width())), t.planes)
	ADDQ(Imm(uint64(f.width())), t.x)
	CMPQ(t.x, full)
	JLT(LabelRef("loop"))
	Label("tail")
	CMPQ(rest, Imm(0))
	JEQ(LabelRef("done"))
	body(t, mask, "tail")
	Label("done")
	VZEROUPPER()
	RET()
}

// row is the six planes of a row of the transformed tile, or of another whose planes begin elsewhere.
func (t *tile) row(i int, planes GPVirtual) (m [under]Mem) {
	a, b := GP64(), GP64()
	if i == 0 {
		MOVQ(planes, a)
	} else {
		IMUL3Q(Imm(uint64(under*i)), t.plane, a)
		ADDQ(planes, a)
	}
	LEAQ(Mem{Base: a, Index: t.plane, Scale: 2}, b)
	ADDQ(t.plane, b)
	for j, base := range []GPVirtual{a, b} {
		m[3*j] = Mem{Base: base}
		m[3*j+1] = Mem{Base: base, Index: t.plane, Scale: 1}
		m[3*j+2] = Mem{Base: base, Index: t.plane, Scale: 2}
	}
	return m
}

// between holds what lies between the transforms of columns and of rows: in registers where there are enough of them.
type between struct {
	t       *tile
	scratch GPVirtual
	v       map[[2]int]VecVirtual
}

func (t *tile) between() *between {
	b := &between{t: t, v: map[[2]int]VecVirtual{}}
	if !t.wide {
		b.scratch = GP64()
		MOVQ(t.at(wScratch), b.scratch)
	}
	return b
}

func (b *between) mem(i, j int) Mem { return Mem{Base: b.scratch, Disp: b.t.width() * (i*under + j)} }

func (b *between) put(i, j int, v VecVirtual) {
	if b.t.wide {
		b.v[[2]int{i, j}] = v
		return
	}
	b.t.store(v, b.mem(i, j))
}

func (b *between) get(i, j int) VecVirtual {
	if b.t.wide {
		return b.v[[2]int{i, j}]
	}
	v := b.t.vec()
	b.t.load(b.mem(i, j), v)
	return v
}

// toPlanes generates a transform of from x from pixels to planes. All but the last pass give what the passes of the other axis read.
func (f isa) toPlanes(name string, from int, passes ...pass) {
	f.tile(name, fmt.Sprintf("of %d x %d pixels to planes", from, from), func(t *tile, mask Op, _ string) {
		b := t.between()
		ahead, seen := GP64(), map[int]bool{}
		MOVQ(t.at(wAhead), ahead)
		ADDQ(t.x, ahead)
		for _, p := range passes {
			for j := range from {
				var d []VecVirtual
				for _, i := range p.reads {
					q, v := GP64(), f.vec()
					MOVQ(t.at(wPixels+8*(i*from+j)), q)
					if pixel := i*from + j; !seen[pixel] { // a later tile's will be near then; the first cache has no room for it
						seen[pixel] = true
						PREFETCHT1(Mem{Base: q, Index: ahead, Scale: 1})
					}
					if m := (Mem{Base: q, Index: t.x, Scale: 1}); mask != nil {
						f.loadMasked(m, mask, v)
					} else {
						f.load(m, v)
					}
					d = append(d, v)
				}
				for k, v := range p.eval(t.w, d) {
					b.put(p.gives[k], j, v)
				}
			}
			for _, i := range p.gives {
				var d []VecVirtual
				for j := range from {
					d = append(d, b.get(i, j))
				}
				row := t.row(i, t.planes)
				for _, q := range passes {
					var read []VecVirtual
					for _, k := range q.reads {
						read = append(read, d[k])
					}
					for k, v := range q.eval(t.w, read) {
						f.store(v, row[q.gives[k]])
					}
				}
			}
		}
	})
}

// fromPlanes generates a transform of planes to to x to pixels.
func (f isa) fromPlanes(name string, to int, eval func(w writer, d []VecVirtual) []VecVirtual) {
	f.tile(name, fmt.Sprintf("of planes to %d x %d pixels", to, to), func(t *tile, mask Op, label string) {
		b := t.between()
		ahead := GP64()
		MOVQ(t.at(wAhead), ahead)
		ADDQ(t.planes, ahead)
		for i := range under {
			var d []VecVirtual
			next := t.row(i, ahead)
			for j, m := range t.row(i, t.planes) {
				v := f.vec()
				PREFETCHT0(next[j])
				f.load(m, v)
				d = append(d, v)
			}
			for j, v := range eval(t.w, d) {
				b.put(i, j, v)
			}
		}
		column, row, following := GP64(), GP64(), GP64()
		MOVQ(t.at(wDst), column)
		ADDQ(t.x, column)
		MOVQ(t.at(wRow), row)
		MOVQ(t.at(wNext), following)
		for j := range to {
			if j > 0 {
				CMPQ(t.at(wColumns), Imm(uint64(j)))
				JEQ(LabelRef(label + "_end"))
			}
			var d []VecVirtual
			for i := range under {
				d = append(d, b.get(i, j))
			}
			q := GP64()
			MOVQ(column, q)
			next := fmt.Sprintf("%s_%d", label, j)
			for i, v := range eval(t.w, d) {
				if i > 0 {
					CMPQ(t.at(wRows), Imm(uint64(i)))
					JEQ(LabelRef(next))
					ADDQ(row, q)
				}
				PREFETCHT1(Mem{Base: q, Index: following, Scale: 1})
				if m := (Mem{Base: q}); mask != nil {
					f.storeMasked(v, mask, m)
				} else {
					f.store(v, m)
				}
			}
			Label(next)
			if j+1 < to {
				ADDQ(t.at(wPixel), column)
			}
		}
		Label(label + "_end")
	})
}
