package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of sumArgs: of each of its two terms, of what follows these, and of each of the regions that it fetches ahead.
const (
	qA, qRow, qK, qStepK, qStepA, qB, qLdb, qStepB, qCurA, qCurB, qTerm = 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80

	qC, qLdc, qAdd, qMask, qBlocks, qPanels, qPanelC, qCurC, qLeft = 160, 168, 176, 184, 192, 200, 208, 216, 224

	qAhead, qAt, qLines, qStep, qBurst, qRows, qRegion, qRegions = 232, 0, 8, 16, 24, 32, 40, 6
)

// sums generates the kernel for panels of blocks of mr rows of C = A·B + A'·B', or C += …: both sums are made in registers, so that C is
// written once. Their order is that of two calls of a rows kernel, and so are the bits.
func (f isa) sums(mr int) {
	TEXT(fmt.Sprintf("sums%d%s", mr, f.name()), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("sums%d%s computes blocks of %d rows and %d columns of a sum of two products; p points to a sumArgs.", mr, f.name(), mr, f.width()/f.size()))
	p := Load(Param("p"), GP64())
	at := func(off int) Mem { return Mem{Base: p, Disp: off} }
	ks := f.opmasks(at(qMask), 1)
	b, x := GP64(), GP64()
	move := func(from, to int) {
		MOVQ(at(from), x)
		MOVQ(x, at(to))
	}
	for i := range 2 {
		move(i*qTerm+qB, i*qTerm+qCurB)
	}
	move(qC, qPanelC)
	Label("panel")
	for i := range 2 {
		move(i*qTerm+qA, i*qTerm+qCurA)
	}
	move(qPanelC, qCurC)
	move(qBlocks, qLeft)
	Label("block")
	for i := range qRegions {
		f.ahead(func(off int) Mem { return Mem{Base: p, Disp: qAhead + i*qRegion + off} }, i)
	}
	acc := [2][][]VecVirtual{f.accumulators(mr, 1), f.accumulators(mr, 1)}
	f.prefetch(mr, 1, at(qCurC), at(qLdc))
	ptr := make([]GPVirtual, mr)
	for r := range ptr {
		ptr[r] = GP64()
	}
	for i := range 2 {
		at := func(off int) Mem { return Mem{Base: p, Disp: i*qTerm + off} }
		MOVQ(at(qCurA), ptr[0])
		for r := 1; r < mr; r++ {
			MOVQ(ptr[r-1], ptr[r])
			ADDQ(at(qRow), ptr[r])
		}
		MOVQ(at(qCurB), b)
		XORQ(x, x)
		loop := fmt.Sprintf("k%d", i)
		Label(loop)
		v := f.vec()
		f.loadMasked(Mem{Base: b}, ks[0], v)
		for r := range ptr {
			f.fmaScalars(Mem{Base: ptr[r], Index: x, Scale: 1}, []VecVirtual{v}, acc[i][r])
		}
		ADDQ(at(qLdb), b)
		ADDQ(at(qStepK), x)
		CMPQ(x, at(qK))
		JLT(LabelRef(loop))
	}
	c, ldc := GP64(), GP64()
	MOVQ(at(qCurC), c)
	MOVQ(at(qLdc), ldc)
	CMPQ(at(qAdd), Imm(0))
	JEQ(LabelRef("write"))
	from := GP64()
	MOVQ(c, from)
	for r := range mr {
		t := f.vec()
		f.loadMasked(Mem{Base: from}, ks[0], t)
		f.add(t, acc[0][r][0], acc[0][r][0])
		ADDQ(ldc, from)
	}
	Label("write")
	for r := range mr {
		f.add(acc[1][r][0], acc[0][r][0], acc[0][r][0])
		f.storeMasked(acc[0][r][0], ks[0], Mem{Base: c})
		ADDQ(ldc, c)
	}
	s := GP64()
	DECQ(at(qLeft))
	JZ(LabelRef("next"))
	for i := range 2 {
		MOVQ(at(i*qTerm+qStepA), s)
		ADDQ(s, at(i*qTerm+qCurA))
	}
	MOVQ(c, at(qCurC))
	JMP(LabelRef("block"))
	Label("next")
	for i := range 2 {
		MOVQ(at(i*qTerm+qStepB), s)
		ADDQ(s, at(i*qTerm+qCurB))
	}
	ADDQ(Imm(uint64(f.width())), at(qPanelC))
	DECQ(at(qPanels))
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// ahead fetches the next rows of a region into the second cache, where it has any left.
func (f isa) ahead(at func(off int) Mem, i int) {
	row, line, end, none := fmt.Sprintf("row%d", i), fmt.Sprintf("line%d", i), fmt.Sprintf("rows%d", i), fmt.Sprintf("ahead%d", i)
	left, burst, from, x, lines := GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(at(qRows), left)
	TESTQ(left, left)
	JZ(LabelRef(none))
	MOVQ(at(qBurst), burst)
	MOVQ(at(qAt), from)
	Label(row)
	MOVQ(from, x)
	MOVQ(at(qLines), lines)
	Label(line)
	PREFETCHT1(Mem{Base: x})
	ADDQ(Imm(64), x)
	DECQ(lines)
	JNZ(LabelRef(line))
	ADDQ(at(qStep), from)
	DECQ(left)
	JZ(LabelRef(end))
	DECQ(burst)
	JNZ(LabelRef(row))
	Label(end)
	MOVQ(from, at(qAt))
	MOVQ(left, at(qRows))
	Label(none)
}
