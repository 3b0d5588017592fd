// Command asm generates the amd64 kernels; `go generate` in the parent directory
// runs it.
//
// Two families carry everything. A rows kernel computes a block of C = A·B: the
// rows of A are found through offsets, their elements are broadcast from where
// they lie, and one panel of B, 64 bytes wide, is walked through. A pairs kernel
// computes a block of C += Aᵀ·B: every step names a row of A, whose adjacent
// elements are broadcast, and a row of B. Both exist for AVX-512 and AVX2 and for
// both precisions.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of rowArgs (see blocks_amd64.go).
const (
	rA, rZero, rOff, rOffRow, rTaps, rK, rStepK, rB, rLdb, rC, rLdc = 0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80
	rM, rAdd, rMask, rLanes, rBlocks, rStepA, rStepOff, rTapB       = 88, 96, 104, 112, 120, 128, 136, 144
	rCurA, rCurC, rCurOff, rTapOff, rLeft                           = 152, 160, 168, 176, 184
)

// Offsets of the fields of pairArgs.
const (
	pA, pB, pSteps, pN, pC, pLdc, pM, pMask, pLanes, pRows = 0, 8, 16, 24, 32, 40, 48, 56, 64, 72
)

// ahead is how many steps before its use a row of A is prefetched by the pairs
// kernels; lists of steps carry as many spare entries (stepsAhead).
const ahead = 24

// isa is an instruction set and a precision.
type isa struct {
	wide   bool // AVX-512
	double bool
	half   bool // of AVX-512 with vectors of 32 bytes: for what is left of N, at half the price
}

func main() {
	ConstraintExpr("!purego")
	for _, f := range []isa{{wide: true}, {wide: true, double: true}, {wide: true, half: true}, {wide: true, double: true, half: true}, {}, {double: true}} {
		if f.wide {
			for _, mr := range []int{12, 8, 4} {
				f.rows(mr, 1)
			}
			if !f.half {
				for _, mr := range []int{12, 8, 4} {
					f.sums(mr)
				}
			}
			f.pairs(16, 1, false)
			f.pairs(8, 1, false)
			f.pairs(4, 1, true)
		} else {
			for _, mr := range []int{6, 4, 2} {
				f.rows(mr, 2)
			}
			f.pairs(6, 2, false)
			f.pairs(4, 2, true)
		}
		if f.half {
			continue
		}
		f.peak()
		f.script()
		f.repeat()
		f.spread()
		f.addRows()
		if !f.double {
			f.winograd()
		}
		f.columns(false)
		f.columns(true)
		most := 6
		if f.wide {
			most = 12
		}
		for _, nv := range []int{most, 4, 2, 1} {
			f.sparse(nv, false)
			if f.wide {
				f.sparse(nv, true)
			}
		}
	}
	isa{}.transpose()
	isa{double: true}.transpose()
	fetch()
	copyRows(64)
	copyRows(48)
	maxInt32()
	Generate()
}

func (f isa) name() string {
	s := "F32"
	if f.double {
		s = "F64"
	}
	switch {
	case f.half:
		return s + "AVX512Half"
	case f.wide:
		return s + "AVX512"
	}
	return s + "AVX2"
}

// width is the size of a vector and size that of an element, in bytes.
func (f isa) width() int {
	if f.wide && !f.half {
		return 64
	}
	return 32
}

func (f isa) size() int {
	if f.double {
		return 8
	}
	return 4
}

func (f isa) shift() uint64 {
	if f.double {
		return 3
	}
	return 2
}

func (f isa) vec() VecVirtual {
	if f.wide && !f.half {
		return ZMM()
	}
	return YMM()
}

func (f isa) zero(v Op) {
	if f.wide {
		VPXORD(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

func (f isa) load(m Mem, v Op) {
	if f.double {
		VMOVUPD(m, v)
	} else {
		VMOVUPS(m, v)
	}
}

func (f isa) store(v Op, m Mem) {
	if f.double {
		VMOVUPD(v, m)
	} else {
		VMOVUPS(v, m)
	}
}

// loadMasked and storeMasked leave memory alone where the mask is zero.
func (f isa) loadMasked(m Mem, mask, v Op) {
	switch {
	case f.wide && f.double:
		VMOVUPD_Z(m, mask, v)
	case f.wide:
		VMOVUPS_Z(m, mask, v)
	case f.double:
		VMASKMOVPD(m, mask, v)
	default:
		VMASKMOVPS(m, mask, v)
	}
}

func (f isa) storeMasked(v, mask Op, m Mem) {
	switch {
	case f.wide && f.double:
		VMOVUPD(v, mask, m)
	case f.wide:
		VMOVUPS(v, mask, m)
	case f.double:
		VMASKMOVPD(v, mask, m)
	default:
		VMASKMOVPS(v, mask, m)
	}
}

func (f isa) add(x, y, dst Op) {
	if f.double {
		VADDPD(x, y, dst)
	} else {
		VADDPS(x, y, dst)
	}
}

func (f isa) mul(x, y, dst Op) {
	if f.double {
		VMULPD(x, y, dst)
	} else {
		VMULPS(x, y, dst)
	}
}

func (f isa) fma(x, y, acc Op) {
	if f.double {
		VFMADD231PD(x, y, acc)
	} else {
		VFMADD231PS(x, y, acc)
	}
}

// fmaScalars adds to acc the products of the scalar at m with the vectors b.
func (f isa) fmaScalars(m Mem, b, acc []VecVirtual) {
	if f.wide && len(b) == 1 {
		if f.double {
			VFMADD231PD_BCST(m, b[0], acc[0])
		} else {
			VFMADD231PS_BCST(m, b[0], acc[0])
		}
		return
	}
	t := f.vec()
	if f.double {
		VBROADCASTSD(m, t)
	} else {
		VBROADCASTSS(m, t)
	}
	for v := range b {
		f.fma(t, b[v], acc[v])
	}
}

// opmasks splits the mask of columns into one for each vector.
func (f isa) opmasks(m Mem, nv int) (ks []OpmaskVirtual) {
	bits := GP64()
	MOVQ(m, bits)
	for v := range nv {
		k := K()
		KMOVW(bits.As32(), k)
		ks = append(ks, k)
		if v+1 < nv {
			SHRQ(Imm(uint64(f.width()/f.size())), bits)
		}
	}
	return ks
}

func (f isa) accumulators(mr, nv int) [][]VecVirtual {
	acc := make([][]VecVirtual, mr)
	for r := range acc {
		for range nv {
			z := f.vec()
			f.zero(z)
			acc[r] = append(acc[r], z)
		}
	}
	return acc
}

// rows generates the kernel for blocks of mr rows of A and nv vectors of B.
func (f isa) rows(mr, nv int) {
	w := f.width()
	TEXT(fmt.Sprintf("rows%d%s", mr, f.name()), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("rows%d%s computes blocks of %d rows and %d columns; p points to a rowArgs.", mr, f.name(), mr, nv*w/f.size()))
	p := Load(Param("p"), GP64())
	at := func(off int) Mem { return Mem{Base: p, Disp: off} }
	var ks []OpmaskVirtual
	if f.wide {
		ks = f.opmasks(at(rMask), nv)
	}
	b, x := GP64(), GP64()
	for _, c := range [][2]int{{rA, rCurA}, {rC, rCurC}, {rOff, rCurOff}} {
		MOVQ(at(c[0]), x)
		MOVQ(x, at(c[1]))
	}
	Label("block")
	acc := f.accumulators(mr, nv)
	f.prefetch(mr, nv, at(rCurC), at(rLdc))
	MOVQ(at(rCurOff), x)
	MOVQ(x, at(rTapOff))
	MOVQ(at(rB), b)
	MOVQ(at(rTaps), x)
	MOVQ(x, at(rLeft))
	ptr := make([]GPVirtual, mr)
	for r := range ptr {
		ptr[r] = GP64()
	}
	Label("tap")
	MOVQ(at(rTapOff), x)
	for r := range ptr {
		MOVLQSX(Mem{Base: x}, ptr[r])
		SHLQ(Imm(f.shift()), ptr[r])
		ADDQ(at(rCurA), ptr[r])
		CMOVQCS(at(rZero), ptr[r]) // a negative offset carries: the row of zeros
		if r+1 < mr {
			ADDQ(at(rOffRow), x)
		}
	}
	ADDQ(Imm(4), at(rTapOff))
	XORQ(x, x)
	Label("k")
	bv := make([]VecVirtual, nv)
	for v := range bv {
		bv[v] = f.vec()
		m := Mem{Base: b, Disp: w * v}
		if f.wide {
			f.loadMasked(m, ks[v], bv[v])
		} else {
			f.load(m, bv[v])
		}
	}
	for r := range acc {
		f.fmaScalars(Mem{Base: ptr[r], Index: x, Scale: 1}, bv, acc[r])
	}
	ADDQ(at(rLdb), b)
	ADDQ(at(rStepK), x)
	CMPQ(x, at(rK))
	JLT(LabelRef("k"))
	ADDQ(at(rTapB), b)
	DECQ(at(rLeft))
	JNZ(LabelRef("tap"))

	c, ldc, m := GP64(), GP64(), GP64()
	MOVQ(at(rCurC), c)
	MOVQ(at(rLdc), ldc)
	MOVQ(at(rM), m)
	CMPQ(at(rAdd), Imm(0))
	if f.wide {
		JEQ(LabelRef("write"))
		f.put(acc, ks, c, ldc, m, true, "done")
		Label("write")
		f.put(acc, ks, c, ldc, m, false, "done")
	} else {
		// masked stores are slow: only where columns are left over
		JEQ(LabelRef("write"))
		CMPQ(at(rLanes), Imm(0))
		JNE(LabelRef("addpart"))
		f.put(acc, nil, c, ldc, m, true, "done")
		Label("addpart")
		f.put(acc, f.lanes(at(rLanes), nv), c, ldc, m, true, "done")
		Label("write")
		CMPQ(at(rLanes), Imm(0))
		JNE(LabelRef("writepart"))
		f.put(acc, nil, c, ldc, m, false, "done")
		Label("writepart")
		f.put(acc, f.lanes(at(rLanes), nv), c, ldc, m, false, "done")
	}
	Label("done")
	DECQ(at(rBlocks))
	JZ(LabelRef("end"))
	s := GP64()
	MOVQ(at(rStepA), s)
	ADDQ(s, at(rCurA))
	MOVQ(at(rStepOff), s)
	ADDQ(s, at(rCurOff))
	MOVQ(at(rLdc), s)
	IMUL3Q(Imm(uint64(mr)), s, s)
	ADDQ(s, at(rCurC))
	JMP(LabelRef("block"))
	Label("end")
	VZEROUPPER()
	RET()
}

// lanes loads the masks of the vectors, for AVX2.
func (f isa) lanes(m Mem, nv int) (masks []VecVirtual) {
	t := GP64()
	MOVQ(m, t)
	for v := range nv {
		z := f.vec()
		VMOVDQU(Mem{Base: t, Disp: v * f.width()}, z)
		masks = append(masks, z)
	}
	return masks
}

// put writes or adds the accumulators to the first m rows at c, with masks or
// without, and goes to done.
func (f isa) put(acc [][]VecVirtual, masks any, c, ldc, m Register, add bool, done string) {
	mask := func(v int) Op { return nil }
	switch ms := masks.(type) {
	case []OpmaskVirtual:
		mask = func(v int) Op { return ms[v] }
	case []VecVirtual:
		mask = func(v int) Op { return ms[v] }
	}
	for r := range acc {
		for v, z := range acc[r] {
			d, k := Mem{Base: c, Disp: f.width() * v}, mask(v)
			switch {
			case add && k != nil:
				t := f.vec()
				f.loadMasked(d, k, t)
				f.add(t, z, z)
			case add:
				f.add(d, z, z)
			}
			if k != nil {
				f.storeMasked(z, k, d)
			} else {
				f.store(z, d)
			}
		}
		if r+1 < len(acc) {
			CMPQ(m, Imm(uint64(r+1)))
			JEQ(LabelRef(done))
			ADDQ(ldc, c)
		}
	}
	JMP(LabelRef(done))
}

// prefetch asks for the lines of C while the sums are made: without it the burst
// of stores at the end of a block waits for memory.
func (f isa) prefetch(mr, nv int, mc, mldc Mem) {
	c, ldc := GP64(), GP64()
	MOVQ(mc, c)
	MOVQ(mldc, ldc)
	for r := range mr {
		for d := 0; d < nv*f.width(); d += 64 {
			PREFETCHT0(Mem{Base: c, Disp: d})
		}
		if r+1 < mr {
			ADDQ(ldc, c)
		}
	}
}

// pairs generates the kernel for blocks of mr columns of A and nv vectors of B.
// With partial it takes any number of rows up to mr.
func (f isa) pairs(mr, nv int, partial bool) {
	w := f.width()
	TEXT(fmt.Sprintf("pairs%d%s", mr, f.name()), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("pairs%d%s computes a block of %d rows and %d columns; p points to a pairArgs.", mr, f.name(), mr, nv*w/f.size()))
	p := Load(Param("p"), GP64())
	at := func(off int) Mem { return Mem{Base: p, Disp: off} }
	var ks []OpmaskVirtual
	if f.wide {
		ks = f.opmasks(at(pMask), nv)
	}
	acc := f.accumulators(mr, nv)
	f.prefetch(mr, nv, at(pC), at(pLdc))
	b, s, n, ra, rb := GP64(), GP64(), GP64(), GP64(), GP64()
	var base []GPVirtual // of one row for each, or of all of them
	for r := range mr {
		base = append(base, GP64())
		MOVQ(at(pA), base[r])
		if !partial {
			break
		}
		ADDQ(at(pRows+8*r), base[r])
	}
	MOVQ(at(pB), b)
	MOVQ(at(pSteps), s)
	MOVQ(at(pN), n)
	Label("k")
	// B lies packed as a rule and stays in the first cache; A changes with every block
	MOVQ(Mem{Base: s, Disp: 16 * ahead}, ra)
	for d := 0; d < mr*f.size(); d += 64 {
		PREFETCHT0(Mem{Base: base[0], Index: ra, Scale: 1, Disp: d})
	}
	MOVQ(Mem{Base: s}, ra)
	MOVQ(Mem{Base: s, Disp: 8}, rb)
	bv := make([]VecVirtual, nv)
	for v := range bv {
		bv[v] = f.vec()
		m := Mem{Base: b, Index: rb, Scale: 1, Disp: w * v}
		if f.wide {
			f.loadMasked(m, ks[v], bv[v])
		} else {
			f.load(m, bv[v])
		}
	}
	for r := range acc {
		m := Mem{Base: base[0], Index: ra, Scale: 1, Disp: f.size() * r}
		if partial {
			m = Mem{Base: base[r], Index: ra, Scale: 1}
		}
		f.fmaScalars(m, bv, acc[r])
	}
	ADDQ(Imm(16), s)
	DECQ(n)
	JNZ(LabelRef("k"))
	c, ldc, m := GP64(), GP64(), GP64()
	MOVQ(at(pC), c)
	MOVQ(at(pLdc), ldc)
	MOVQ(at(pM), m)
	if f.wide {
		f.put(acc, ks, c, ldc, m, true, "done")
	} else {
		CMPQ(at(pLanes), Imm(0))
		JNE(LabelRef("part"))
		f.put(acc, nil, c, ldc, m, true, "done")
		Label("part")
		f.put(acc, f.lanes(at(pLanes), nv), c, ldc, m, true, "done")
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// peak generates a loop of multiply-adds in registers: 12 independent chains.
func (f isa) peak() {
	TEXT("peak"+f.name(), NOSPLIT, "func(n int)")
	Doc("peak" + f.name() + " runs n rounds of 12 vector multiply-adds.")
	n := Load(Param("n"), GP64())
	acc := f.accumulators(12, 1)
	a, b := f.vec(), f.vec()
	f.zero(a)
	f.zero(b)
	Label("loop")
	for i := range acc {
		f.fma(a, b, acc[i][0])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// maxInt32 generates the largest of n values, n a positive multiple of 32 (AVX2).
func maxInt32() {
	TEXT("maxInt32", NOSPLIT, "func(v *int32, n int) int32")
	Pragma("noescape")
	Doc("maxInt32 is the largest of n values; n is a positive multiple of 32.")
	v, n := Load(Param("v"), GP64()), Load(Param("n"), GP64())
	var m []VecVirtual
	for i := range 4 {
		m = append(m, YMM())
		VMOVDQU(Mem{Base: v, Disp: 32 * i}, m[i])
	}
	Label("loop")
	for i := range 4 {
		VPMAXSD(Mem{Base: v, Disp: 32 * i}, m[i], m[i])
	}
	ADDQ(Imm(128), v)
	SUBQ(Imm(32), n)
	JNZ(LabelRef("loop"))
	VPMAXSD(m[1], m[0], m[0])
	VPMAXSD(m[3], m[2], m[2])
	VPMAXSD(m[2], m[0], m[0])
	h := XMM()
	VEXTRACTI128(Imm(1), m[0], h)
	lo := XMM()
	VEXTRACTI128(Imm(0), m[0], lo)
	VPMAXSD(h, lo, lo)
	VPSHUFD(Imm(0x4e), lo, h)
	VPMAXSD(h, lo, lo)
	VPSHUFD(Imm(0xb1), lo, h)
	VPMAXSD(h, lo, lo)
	r := GP32()
	VMOVD(lo, r)
	Store(r, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
