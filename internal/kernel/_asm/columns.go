package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of columnsArgs (see columns_amd64.go).
const cQ, cAt, cCount, cW, cN, cX = 0, 8, 16, 24, 32, 40

// sliceHeader is the size of a slice's header, whose first word points to its elements.
const sliceHeader = 24

// columnsAhead is how many bytes before its use a column is prefetched.
const columnsAhead = 2048

// columns generates what is done with several columns of type f at a time and a vector of float64: dots, or with
// update the sum of multiples. A column's elements are made float64 first. Each round of the loop takes a cache line of every
// column.
func (f isa) columns(update bool) {
	name, what := "dots", "adds the products of columns with a vector to sums"
	if update {
		name, what = "minus", "takes multiples of columns from a vector"
	}
	TEXT(name+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s %s; p points to a columnsArgs.", name, f.name(), what))
	p := Load(Param("p"), GP64())
	q, count, w, n, x := GP64(), GP64(), GP64(), GP64(), GP64()
	for _, a := range []struct {
		off int
		r   GPVirtual
	}{{cQ, q}, {cCount, count}, {cW, w}, {cN, n}, {cX, x}} {
		MOVQ(Mem{Base: p, Disp: a.off}, a.r)
	}
	for _, k := range []int{8, 4, 2, 1} {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, k) }
		Label(label("columns"))
		CMPQ(count, Imm(uint64(k)))
		JLT(LabelRef(label("fewer")))
		ptr := make([]GPVirtual, k)
		for i := range ptr {
			ptr[i] = GP64()
			MOVQ(Mem{Base: q, Disp: i * sliceHeader}, ptr[i])
			ADDQ(Mem{Base: p, Disp: cAt}, ptr[i])
		}
		if update {
			f.minus(ptr, w, n, x)
		} else {
			f.dots(ptr, w, n, x)
		}
		ADDQ(Imm(uint64(k*sliceHeader)), q)
		ADDQ(Imm(uint64(k*8)), x)
		SUBQ(Imm(uint64(k)), count)
		JMP(LabelRef(label("columns")))
		Label(label("fewer"))
	}
	VZEROUPPER()
	RET()
}

// eachRow generates the loop over n rows of w and of the columns at ptr; body is given the offset of a vector of rows in w, and
// how to get a column's elements in them.
func (f isa) eachRow(ptr []GPVirtual, w, n GPVirtual, body func(m Mem, column func(i int) Op)) {
	row := GP64()
	XORQ(row, row)
	again := fmt.Sprintf("rows%d", len(ptr))
	Label(again)
	lanes := f.width() / 8
	for v := 0; v < 64/f.size(); v += lanes {
		body(Mem{Base: w, Index: row, Scale: 8, Disp: 8 * v}, func(i int) Op {
			m := Mem{Base: ptr[i], Index: row, Scale: uint8(f.size()), Disp: f.size() * v}
			if v == 0 {
				PREFETCHT0(Mem{Base: ptr[i], Index: row, Scale: uint8(f.size()), Disp: columnsAhead})
			}
			if f.double {
				return m
			}
			t := f.vec()
			VCVTPS2PD(m, t)
			return t
		})
	}
	ADDQ(Imm(uint64(64/f.size())), row)
	CMPQ(row, n)
	JLT(LabelRef(again))
}

// dots generates sums[i] += Σ_r ptr[i][r] w[r], the lanes of a vector added in halves.
func (f isa) dots(ptr []GPVirtual, w, n, sums GPVirtual) {
	acc := f.accumulators(len(ptr), 1)
	f.eachRow(ptr, w, n, func(m Mem, column func(int) Op) {
		y := f.vec()
		VMOVUPD(m, y)
		for i := range acc {
			VFMADD231PD(column(i), y, acc[i][0])
		}
	})
	for i := range acc {
		x, d := f.sumLanes(acc[i][0]), Mem{Base: sums, Disp: 8 * i}
		VADDSD(d, x, x)
		VMOVSD(x, d)
	}
}

// sumLanes adds up the lanes of float64, in halves.
func (f isa) sumLanes(z VecVirtual) VecVirtual {
	y, x, h := z.AsY(), z.AsX(), XMM()
	if f.wide {
		upper := YMM()
		VEXTRACTF64X4(Imm(1), z, upper)
		VADDPD(upper, y, y)
		VEXTRACTF32X4(Imm(1), y, h)
	} else {
		VEXTRACTF128(Imm(1), y, h)
	}
	VADDPD(h, x, x)
	VUNPCKHPD(x, x, h)
	VADDSD(h, x, x)
	return x.(VecVirtual)
}

// minus generates w[r] -= Σ_i c[i] ptr[i][r], one after the other.
func (f isa) minus(ptr []GPVirtual, w, n, c GPVirtual) {
	coef := make([]VecVirtual, len(ptr))
	for i := range coef {
		coef[i] = f.vec()
		VBROADCASTSD(Mem{Base: c, Disp: 8 * i}, coef[i])
	}
	f.eachRow(ptr, w, n, func(m Mem, column func(int) Op) {
		y := f.vec()
		VMOVUPD(m, y)
		for i := range coef {
			VFNMADD231PD(column(i), coef[i], y)
		}
		VMOVUPD(y, m)
	})
}
