package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of sparseArgs (see sparse_amd64.go).
const sA, sB, sC, sIndex, sN, sStepB, sAdd, sMask, sLanes = 0, 8, 16, 24, 32, 40, 48, 56, 64

// sparse generates the sum of nv vectors of rows of B that a list names, each times an element of a; the last vector
// has a mask, and half the width where half says so. Two sums run side by side, of every other entry of the list, so that one need not wait for the other.
func (f isa) sparse(nv int, half bool) {
	w := f.width()
	last, name, columns := f, fmt.Sprintf("sparse%d%s", nv, f.name()), nv*w/f.size()
	if half {
		last.half = true
		name, columns = name+"Half", columns-w/2/f.size()
	}
	TEXT(name, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds up multiples of up to %d columns of the rows that a list names; p points to a sparseArgs.", name, columns))
	p := Load(Param("p"), GP64())
	at := func(off int) Mem { return Mem{Base: p, Disp: off} }
	var mask Op
	if f.wide {
		mask = f.opmasks(at(sMask), 1)[0]
	} else {
		mask = f.lanes(at(sLanes), 1)[0]
	}
	a, b, index, n, stepB := GP64(), GP64(), GP64(), GP64(), GP64()
	for _, x := range []struct {
		off int
		r   GPVirtual
	}{{sA, a}, {sB, b}, {sIndex, index}, {sN, n}, {sStepB, stepB}} {
		MOVQ(at(x.off), x.r)
	}
	acc := f.accumulators(2, nv-1)
	for i, z := range last.accumulators(2, 1) {
		acc[i] = append(acc[i], z...)
	}
	rb := GP64()
	// The next list lies behind this one as a rule, and is about as long: it comes from memory meanwhile.
	for _, list := range []struct {
		label string
		from  GPVirtual
		size  int
	}{{"indices", index, 4}, {"values", a, f.size()}} {
		ahead, left := GP64(), GP64()
		LEAQ(Mem{Base: list.from, Index: n, Scale: uint8(list.size)}, ahead)
		MOVQ(n, left)
		Label(list.label)
		PREFETCHT0(Mem{Base: ahead})
		ADDQ(Imm(64), ahead)
		SUBQ(Imm(uint64(64/list.size)), left)
		JGT(LabelRef(list.label))
	}
	entry := func(i int, acc []VecVirtual) {
		MOVLQSX(Mem{Base: index, Disp: 4 * i}, rb)
		IMULQ(stepB, rb)
		x := f.vec()
		if f.double {
			VBROADCASTSD(Mem{Base: a, Disp: f.size() * i}, x)
		} else {
			VBROADCASTSS(Mem{Base: a, Disp: f.size() * i}, x)
		}
		for v := range acc {
			m := Mem{Base: b, Index: rb, Scale: 1, Disp: v * w}
			if v+1 < nv {
				f.fma(m, x, acc[v])
				continue
			}
			y := last.vec()
			last.loadMasked(m, mask, y)
			if half {
				f.fma(x.AsY(), y, acc[v])
			} else {
				f.fma(x, y, acc[v])
			}
		}
	}
	SUBQ(Imm(2), n)
	JLT(LabelRef("odd"))
	Label("pair")
	entry(0, acc[0])
	entry(1, acc[1])
	ADDQ(Imm(8), index)
	ADDQ(Imm(uint64(2*f.size())), a)
	SUBQ(Imm(2), n)
	JGE(LabelRef("pair"))
	Label("odd")
	ADDQ(Imm(2), n)
	JZ(LabelRef("sum"))
	entry(0, acc[0])
	Label("sum")
	for v, z := range acc[0] {
		f.add(acc[1][v], z, z)
	}
	c := GP64()
	MOVQ(at(sC), c)
	CMPQ(at(sAdd), Imm(0))
	JEQ(LabelRef("write"))
	for v, z := range acc[0] {
		d := Mem{Base: c, Disp: v * w}
		if v+1 < nv {
			f.add(d, z, z)
			continue
		}
		y := last.vec()
		last.loadMasked(d, mask, y)
		f.add(y, z, z)
	}
	Label("write")
	for v, z := range acc[0] {
		if d := (Mem{Base: c, Disp: v * w}); v+1 < nv {
			f.store(z, d)
		} else {
			last.storeMasked(z, mask, d)
		}
	}
	VZEROUPPER()
	RET()
}
