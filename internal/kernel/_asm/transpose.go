package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of transposeArgs (see transpose_amd64.go).
const tDst, tSrc, tStep, tBlocks = 0, 8, 16, 24

// transpose generates the copy of as many rows as a vector of 32 bytes has elements into that many columns of a panel of 64
// bytes, a square block at a time.
func (f isa) transpose() {
	name := "transposeF32"
	if f.double {
		name = "transposeF64"
	}
	TEXT(name, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(name + " copies rows into columns of a panel; p points to a transposeArgs.")
	p := Load(Param("p"), GP64())
	dst, src, step, blocks := GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: p, Disp: tDst}, dst)
	MOVQ(Mem{Base: p, Disp: tSrc}, src)
	MOVQ(Mem{Base: p, Disp: tStep}, step)
	MOVQ(Mem{Base: p, Disp: tBlocks}, blocks)
	Label("block")
	n := 32 / f.size()
	x := make([]VecVirtual, n)
	at := GP64()
	MOVQ(src, at)
	for i := range x {
		x[i] = YMM()
		f.load(Mem{Base: at}, x[i])
		if i+1 < n {
			ADDQ(step, at)
		}
	}
	ADDQ(Imm(32), src)
	pair := func(op func(...Op), a, b VecVirtual) VecVirtual {
		y := YMM()
		op(b, a, y)
		return y
	}
	op := func(g func(Op, Op, Op)) func(...Op) { return func(o ...Op) { g(o[0], o[1], o[2]) } }
	lane := func(sel uint64, a, b VecVirtual) VecVirtual {
		y := YMM()
		VPERM2F128(U8(uint8(sel)), b, a, y)
		return y
	}
	var y []VecVirtual
	if f.double {
		lo, hi := op(func(a, b, c Op) { VUNPCKLPD(a, b, c) }), op(func(a, b, c Op) { VUNPCKHPD(a, b, c) })
		a0, a1, a2, a3 := pair(lo, x[0], x[1]), pair(hi, x[0], x[1]), pair(lo, x[2], x[3]), pair(hi, x[2], x[3])
		y = []VecVirtual{lane(0x20, a0, a2), lane(0x20, a1, a3), lane(0x31, a0, a2), lane(0x31, a1, a3)}
	} else {
		lo, hi := op(func(a, b, c Op) { VUNPCKLPS(a, b, c) }), op(func(a, b, c Op) { VUNPCKHPS(a, b, c) })
		dlo, dhi := op(func(a, b, c Op) { VUNPCKLPD(a, b, c) }), op(func(a, b, c Op) { VUNPCKHPD(a, b, c) })
		var quads [2][4]VecVirtual // columns 0 to 3 and, in the upper lanes, 4 to 7, of four rows
		for h := range 2 {
			r := x[4*h : 4*h+4]
			a, b, c, d := pair(lo, r[0], r[1]), pair(hi, r[0], r[1]), pair(lo, r[2], r[3]), pair(hi, r[2], r[3])
			quads[h] = [4]VecVirtual{pair(dlo, a, c), pair(dhi, a, c), pair(dlo, b, d), pair(dhi, b, d)}
		}
		for _, sel := range []uint64{0x20, 0x31} {
			for c := range 4 {
				y = append(y, lane(sel, quads[0][c], quads[1][c]))
			}
		}
	}
	for i, v := range y {
		f.store(v, Mem{Base: dst, Disp: 64 * i})
	}
	ADDQ(U32(uint32(64*n)), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// copyRows generates the copy of rows of 64 bytes, or of 48, which lie a step apart, to rows that lie one after the other.
func copyRows(bytes int) {
	name := fmt.Sprintf("copyRows%d", bytes)
	TEXT(name, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s copies rows of %d bytes; p points to a transposeArgs.", name, bytes))
	p := Load(Param("p"), GP64())
	dst, src, step, rows := GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: p, Disp: tDst}, dst)
	MOVQ(Mem{Base: p, Disp: tSrc}, src)
	MOVQ(Mem{Base: p, Disp: tStep}, step)
	MOVQ(Mem{Base: p, Disp: tBlocks}, rows)
	Label("row")
	PREFETCHT0(Mem{Base: src, Disp: 64}) // where the next columns are
	a := YMM()
	VMOVUPS(Mem{Base: src}, a)
	VMOVUPS(a, Mem{Base: dst})
	var b VecVirtual = YMM()
	if bytes == 48 {
		b = XMM()
	}
	VMOVUPS(Mem{Base: src, Disp: 32}, b)
	VMOVUPS(b, Mem{Base: dst, Disp: 32})
	ADDQ(step, src)
	ADDQ(Imm(uint64(bytes)), dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
