package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of repeatArgs (see repeat_amd64.go).
const eDst, eSrc, eRows, eTimes, eVectors, eRest, eStep, eLanes = 0, 8, 16, 24, 32, 40, 48, 56

// repeat generates the copy of rows of whole vectors, each several times.
func (f isa) repeat() {
	TEXT("repeat"+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("repeat" + f.name() + " copies rows of whole vectors a number of times each; p points to a repeatArgs.")
	p := Load(Param("p"), GP64())
	dst, src, rows, times, vectors, step := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: p, Disp: eDst}, dst)
	MOVQ(Mem{Base: p, Disp: eSrc}, src)
	MOVQ(Mem{Base: p, Disp: eRows}, rows)
	MOVQ(Mem{Base: p, Disp: eTimes}, times)
	MOVQ(Mem{Base: p, Disp: eVectors}, vectors)
	MOVQ(vectors, step)
	IMUL3Q(U32(uint32(f.width())), step, step) // bytes of a row
	at, left, out, column := GP64(), GP64(), GP64(), GP64()
	Label("row")
	MOVQ(vectors, left)
	MOVQ(dst, column)
	Label("vector")
	v := f.vec()
	f.load(Mem{Base: src}, v)
	ADDQ(Imm(uint64(f.width())), src)
	MOVQ(column, out)
	MOVQ(times, at)
	Label("time")
	f.store(v, Mem{Base: out})
	ADDQ(step, out)
	DECQ(at)
	JNZ(LabelRef("time"))
	ADDQ(Imm(uint64(f.width())), column)
	DECQ(left)
	JNZ(LabelRef("vector"))
	// The last vector's place in the row after the last, and back to the end of that.
	LEAQ(Mem{Base: out, Disp: f.width()}, dst)
	SUBQ(step, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// addRows generates the sum of rows, up to four vectors at a time, and what is left under a mask.
func (f isa) addRows() {
	TEXT("addRows"+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("addRows" + f.name() + " adds rows to one, which is dst; p points to a repeatArgs.")
	p := Load(Param("p"), GP64())
	dst, src, times, vectors, step := GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: p, Disp: eDst}, dst)
	MOVQ(Mem{Base: p, Disp: eSrc}, src)
	MOVQ(Mem{Base: p, Disp: eVectors}, vectors)
	MOVQ(Mem{Base: p, Disp: eStep}, step)
	for _, k := range []int{4, 2, 1} {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, k) }
		Label(label("vectors"))
		CMPQ(vectors, Imm(uint64(k)))
		JLT(LabelRef(label("fewer")))
		acc := make([]VecVirtual, k)
		for i := range acc {
			acc[i] = f.vec()
			f.load(Mem{Base: dst, Disp: i * f.width()}, acc[i])
		}
		at := GP64()
		MOVQ(src, at)
		MOVQ(Mem{Base: p, Disp: eTimes}, times)
		Label(label("row"))
		for i := range acc {
			f.add(Mem{Base: at, Disp: i * f.width()}, acc[i], acc[i])
		}
		ADDQ(step, at)
		DECQ(times)
		JNZ(LabelRef(label("row")))
		for i := range acc {
			f.store(acc[i], Mem{Base: dst, Disp: i * f.width()})
		}
		ADDQ(U32(uint32(k*f.width())), dst)
		ADDQ(U32(uint32(k*f.width())), src)
		SUBQ(Imm(uint64(k)), vectors)
		JMP(LabelRef(label("vectors")))
		Label(label("fewer"))
	}
	MOVQ(Mem{Base: p, Disp: eRest}, vectors)
	TESTQ(vectors, vectors)
	JZ(LabelRef("done"))
	mask := f.tailMask(vectors, Mem{Base: p, Disp: eLanes})
	acc, v := f.vec(), f.vec()
	f.loadMasked(Mem{Base: dst}, mask, acc)
	MOVQ(Mem{Base: p, Disp: eTimes}, times)
	Label("rest")
	f.loadMasked(Mem{Base: src}, mask, v)
	f.add(v, acc, acc)
	ADDQ(step, src)
	DECQ(times)
	JNZ(LabelRef("rest"))
	f.storeMasked(acc, mask, Mem{Base: dst})
	Label("done")
	VZEROUPPER()
	RET()
}

// spread generates the copy of single elements to whole vectors.
func (f isa) spread() {
	TEXT("spread"+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("spread" + f.name() + " fills whole vectors with one element each time; p points to a repeatArgs.")
	p := Load(Param("p"), GP64())
	dst, src, rows, vectors, left := GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: p, Disp: eDst}, dst)
	MOVQ(Mem{Base: p, Disp: eSrc}, src)
	MOVQ(Mem{Base: p, Disp: eRows}, rows)
	MOVQ(Mem{Base: p, Disp: eVectors}, vectors)
	Label("row")
	v := f.vec()
	if f.double {
		VBROADCASTSD(Mem{Base: src}, v)
	} else {
		VBROADCASTSS(Mem{Base: src}, v)
	}
	ADDQ(Imm(uint64(f.size())), src)
	MOVQ(vectors, left)
	Label("vector")
	f.store(v, Mem{Base: dst})
	ADDQ(Imm(uint64(f.width())), dst)
	DECQ(left)
	JNZ(LabelRef("vector"))
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
