package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of scriptArgs (see script_amd64.go),
const (
	scCode, scCount, scSlots, scLanes, scFull, scRest, scRows, scPositions = 0, 8, 16, 24, 32, 48, 64, 72
	scTimes, scRow, scRowsLeft, scTail, scRowLeft                          = 80, 88, 96, 104, 112
)

// and of instruction (see script.go).
const iOp, iSlots, iK, iExtent, iRow, iTimes, iNext, iBack, iToRow, iSize = 0, 8, 40, 48, 56, 64, 72, 104, 136, 176

// extentRows is Rows.
const extentRows = 2

// A vectorOp is an operation on blocks; the order is that of VectorOp in vector.go, where spread and sum follow.
type vectorOp struct {
	name     string
	operands int
	constant bool // reads the constant of the call
	single   bool // float32 only
	eval     func(w writer, x []VecVirtual, k VecVirtual) VecVirtual
	held     []uint32 // constants that are worth a register
}

var vectorOps = []vectorOp{
	{name: "add", operands: 2, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.add(x[0], x[1]) }},
	{name: "sub", operands: 2, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.sub(x[0], x[1]) }},
	{name: "mul", operands: 2, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.mul(x[0], x[1]) }},
	{name: "div", operands: 2, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.div(x[0], x[1]) }},
	{name: "scale", operands: 1, constant: true, eval: func(w writer, x []VecVirtual, k VecVirtual) VecVirtual { return w.mul(x[0], k) }},
	{name: "addc", operands: 1, constant: true, eval: func(w writer, x []VecVirtual, k VecVirtual) VecVirtual { return w.add(x[0], k) }},
	{name: "relu", operands: 1, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.relu(x[0]) }},
	{name: "step", operands: 1, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.step(x[0]) }},
	{name: "recip", operands: 1, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.div(w.one(), x[0]) }},
	{name: "sqrt", operands: 1, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.sqrt(x[0]) }},
	{name: "rsqrt", operands: 1, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.div(w.one(), w.sqrt(x[0])) }},
	{name: "where", operands: 3, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.where(x[0], x[1], x[2]) }},
	{name: "fill", constant: true, eval: func(_ writer, _ []VecVirtual, k VecVirtual) VecVirtual { return k }},
	{name: "muladd", operands: 3, eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.add(w.mul(x[0], x[1]), x[2]) }},
	{name: "exp", operands: 1, single: true, held: bitsOf(reduction, expC, []float64{89, -104}),
		eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.exp(x[0]) }},
	{name: "tanh", operands: 1, single: true, held: append(bitsOf(reduction, expC, []float64{9.5, 2}), 1<<31, 1<<31-1, 127),
		eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.tanh(x[0]) }},
	{name: "sigmoid", operands: 1, single: true, held: append(bitsOf(reduction, expC, []float64{89, -104}), 1<<31),
		eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.sigmoid(x[0]) }},
	{name: "erf", operands: 1, single: true, held: append(bitsOf(reduction, expC, []float64{4, .92}, erfC[:4]), 1<<31, 1<<31-1),
		eval: func(w writer, x []VecVirtual, _ VecVirtual) VecVirtual { return w.erf(x[0]) }},
}

// script generates one function that does instructions one after the other. Three loops go over rows, the vectors of a row, and the times
// that it is there; what has no rows is one vector that is there many times, each next to the last, and what is left under a mask,
// so that an element's bits do not depend on where in a block it stands.
func (f isa) script() {
	TEXT("script"+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("script" + f.name() + " does the instructions of a script on a block; p points to a scriptArgs.")
	p := Load(Param("p"), GP64())
	at := func(off int) Mem { return Mem{Base: p, Disp: off} }
	code, x, t := GP64(), GP64(), GP64()
	of := func(off int) Mem { return Mem{Base: code, Disp: off} }
	ptr := [4]GPVirtual{GP64(), GP64(), GP64(), GP64()} // dst, a, b and c
	next := [4]GPVirtual{GP64(), GP64(), GP64(), GP64()}
	width := Imm(uint64(f.width()))
	zero := f.vec()
	f.zero(zero)
	MOVQ(at(scCode), code)

	Label("instruction")
	for o, r := range ptr {
		MOVQ(of(iSlots+8*o), r)
		ADDQ(at(scSlots), r)
		MOVQ(Mem{Base: r}, r)
	}
	MOVQ(of(iExtent), x)
	CMPQ(x, Imm(extentRows))
	JEQ(LabelRef("rows"))
	MOVQ(Mem{Base: p, Index: x, Scale: 8, Disp: scFull}, t)
	MOVQ(t, at(scTimes))
	MOVQ(Mem{Base: p, Index: x, Scale: 8, Disp: scRest}, t)
	MOVQ(t, at(scTail))
	MOVQ(U32(uint32(f.width())), t)
	MOVQ(t, at(scRow))
	for _, r := range next {
		MOVQ(t, r)
	}
	MOVQ(U32(1), t)
	MOVQ(t, at(scRowsLeft))
	JMP(LabelRef("choose"))
	Label("rows")
	for _, c := range [][2]int{{iTimes, scTimes}, {iRow, scRow}} {
		MOVQ(of(c[0]), t)
		MOVQ(t, at(c[1]))
	}
	MOVQ(at(scRows), t)
	MOVQ(t, at(scRowsLeft))
	XORQ(t, t)
	MOVQ(t, at(scTail))
	for o, r := range next {
		MOVQ(of(iNext+8*o), r)
	}

	Label("choose")
	MOVQ(of(iOp), x)
	for i, o := range vectorOps {
		if o.single && f.double {
			continue
		}
		CMPQ(x, Imm(uint64(i)))
		JEQ(LabelRef(o.name))
	}
	CMPQ(x, Imm(uint64(len(vectorOps))))
	JEQ(LabelRef("spread"))
	CMPQ(x, Imm(uint64(len(vectorOps)+1)))
	JEQ(LabelRef("sum"))
	Label("done")
	ADDQ(Imm(iSize), code)
	DECQ(at(scCount))
	JNZ(LabelRef("instruction"))
	VZEROUPPER()
	RET()

	for _, o := range vectorOps {
		if o.single && f.double {
			continue
		}
		label := func(s string) string { return o.name + "_" + s }
		used := []int{0}
		for i := range o.operands {
			used = append(used, i+1)
		}
		advance := func(by func(operand int) Op) {
			for _, i := range used {
				ADDQ(by(i), ptr[i])
			}
		}
		Label(o.name)
		w := writer{f, map[uint32]VecVirtual{}, zero}
		w.hold(o.held)
		var k VecVirtual
		if o.constant {
			k = f.vec()
			if f.double {
				VBROADCASTSD(of(iK), k)
			} else {
				VBROADCASTSS(of(iK), k)
			}
		}
		operands := func(load func(m Mem, v Op)) (x []VecVirtual) {
			for _, i := range used[1:] {
				v := f.vec()
				load(Mem{Base: ptr[i]}, v)
				x = append(x, v)
			}
			return x
		}
		Label(label("row"))
		MOVQ(at(scRow), x)
		MOVQ(x, at(scRowLeft))
		Label(label("vector"))
		MOVQ(at(scTimes), t)
		TESTQ(t, t)
		JZ(LabelRef(label("end")))
		Label(label("time"))
		f.store(o.eval(w, operands(f.load), k), Mem{Base: ptr[0]})
		advance(func(i int) Op { return next[i] })
		DECQ(t)
		JNZ(LabelRef(label("time")))
		Label(label("end"))
		CMPQ(at(scTail), Imm(0))
		JNE(LabelRef(label("tail")))
		advance(func(i int) Op { return of(iBack + 8*i) })
		advance(func(int) Op { return width })
		SUBQ(width, at(scRowLeft))
		JNZ(LabelRef(label("vector")))
		advance(func(i int) Op { return of(iToRow + 8*i) })
		DECQ(at(scRowsLeft))
		JNZ(LabelRef(label("row")))
		JMP(LabelRef("done"))
		Label(label("tail"))
		MOVQ(at(scTail), t)
		mask := f.tailMask(t, at(scLanes))
		f.storeMasked(o.eval(w, operands(func(m Mem, v Op) { f.loadMasked(m, mask, v) }), k), mask, Mem{Base: ptr[0]})
		JMP(LabelRef("done"))
	}

	Label("spread")
	MOVQ(at(scPositions), x)
	Label("spread_position")
	v := f.vec()
	if f.double {
		VBROADCASTSD(Mem{Base: ptr[1]}, v)
	} else {
		VBROADCASTSS(Mem{Base: ptr[1]}, v)
	}
	ADDQ(Imm(uint64(f.size())), ptr[1])
	MOVQ(of(iRow), t)
	Label("spread_vector")
	f.store(v, Mem{Base: ptr[0]})
	ADDQ(width, ptr[0])
	SUBQ(width, t)
	JNZ(LabelRef("spread_vector"))
	DECQ(x)
	JNZ(LabelRef("spread_position"))
	JMP(LabelRef("done"))

	// As many sums in float64 as a line of a cache has elements, and then their halves, as in Sum.
	Label("sum")
	MOVQ(at(scPositions), x)
	Label("sum_position")
	acc := f.accumulators(64/f.size()*8/f.width(), 1)
	MOVQ(of(iRow), t)
	Label("sum_vector")
	for i, a := range acc {
		m := Mem{Base: ptr[1], Disp: i * f.width() / 8 * f.size()}
		if f.double {
			VADDPD(m, a[0], a[0])
		} else {
			y := f.vec()
			VCVTPS2PD(m, y)
			VADDPD(y, a[0], a[0])
		}
	}
	ADDQ(Imm(64), ptr[1])
	SUBQ(Imm(64), t)
	JNZ(LabelRef("sum_vector"))
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			VADDPD(acc[i+n/2][0], acc[i][0], acc[i][0])
		}
	}
	sum := f.sumLanes(acc[0][0])
	if f.double {
		VMOVSD(sum, Mem{Base: ptr[0]})
	} else {
		VCVTSD2SS(sum, sum, sum)
		VMOVSS(sum, Mem{Base: ptr[0]})
	}
	ADDQ(Imm(uint64(f.size())), ptr[0])
	DECQ(x)
	JNZ(LabelRef("sum_position"))
	JMP(LabelRef("done"))
}

// tailMask is the mask of the first rest elements of a vector; lanes is where the address of laneMasks lies.
func (f isa) tailMask(rest Register, lanes Mem) Op {
	if f.wide {
		bits, k := GP64(), K()
		MOVQ(rest, RCX)
		MOVQ(U32(1), bits)
		SHLQ(CL, bits)
		DECQ(bits)
		KMOVW(bits.As32(), k)
		return k
	}
	m, base, back := YMM(), GP64(), GP64()
	MOVQ(lanes, base)
	MOVQ(rest, back)
	SHLQ(Imm(f.shift()), back)
	SUBQ(back, base)
	VMOVUPS(Mem{Base: base, Disp: 64}, m)
	return m
}

// pool holds the constants that lie in memory, by name.
var pool = map[string]Mem{}

// constant is a number repeated over 64 bytes.
func constant(bits uint64, size int) Mem {
	name := fmt.Sprintf("c%d_%x", 8*size, bits)
	if m, ok := pool[name]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 64 / size {
		if size == 8 {
			DATA(8*i, U64(bits))
		} else {
			DATA(4*i, U32(bits))
		}
	}
	pool[name] = m
	return m
}

// writer writes straight-line code over vectors.
type writer struct {
	isa
	held map[uint32]VecVirtual // constants in registers (AVX-512)
	none VecVirtual            // zeros
}

// hold loads constants ahead of a loop where there are registers for them.
func (w writer) hold(bits []uint32) {
	if !w.wide {
		return
	}
	for _, b := range bits {
		if _, ok := w.held[b]; ok {
			continue
		}
		r := w.vec()
		VMOVUPS(constant(uint64(b), 4), r)
		w.held[b] = r
	}
}

// bits is a constant of 32 bits, in a register or in memory.
func (w writer) bits(b uint32) Op {
	if r, ok := w.held[b]; ok {
		return r
	}
	return constant(uint64(b), 4)
}

func single(x float64) uint32 { return math.Float32bits(float32(x)) }

// f is a constant in single precision.
func (w writer) f(x float64) Op { return w.bits(single(x)) }

func (w writer) one() VecVirtual {
	r := w.vec()
	if w.double {
		VMOVUPD(constant(math.Float64bits(1), 8), r)
	} else {
		VMOVUPS(constant(uint64(single(1)), 4), r)
	}
	return r
}

// reg loads a constant that lies in memory: only one source of an instruction may.
func (w writer) reg(o Op) Op {
	if m, ok := o.(Mem); ok {
		r := w.vec()
		VMOVUPS(m, r)
		return r
	}
	return o
}

// copied is a register of its own with the operand's value.
func (w writer) copied(o Op) VecVirtual {
	r := w.vec()
	VMOVUPS(o, r)
	return r
}

func (w writer) add(a, b Op) VecVirtual {
	r := w.vec()
	w.isa.add(b, w.reg(a), r)
	return r
}

func (w writer) sub(a, b Op) VecVirtual {
	r := w.vec()
	if w.double {
		VSUBPD(b, w.reg(a), r)
	} else {
		VSUBPS(b, w.reg(a), r)
	}
	return r
}

func (w writer) mul(a, b Op) VecVirtual {
	r := w.vec()
	if w.double {
		VMULPD(b, w.reg(a), r)
	} else {
		VMULPS(b, w.reg(a), r)
	}
	return r
}

func (w writer) div(a, b Op) VecVirtual {
	r := w.vec()
	if w.double {
		VDIVPD(b, w.reg(a), r)
	} else {
		VDIVPS(b, w.reg(a), r)
	}
	return r
}

func (w writer) sqrt(a Op) VecVirtual {
	r := w.vec()
	if w.double {
		VSQRTPD(a, r)
	} else {
		VSQRTPS(a, r)
	}
	return r
}

// relu is max(x, 0); a NaN stays one, for the second operand is given where either is not a number.
func (w writer) relu(x VecVirtual) VecVirtual {
	r := w.vec()
	if w.double {
		VMAXPD(x, w.none, r)
	} else {
		VMAXPS(x, w.none, r)
	}
	return r
}

// Predicates of comparisons.
const (
	lessThan    = 1
	notEqual    = 4 // true for NaN
	greaterThan = 30
)

// compare gives a mask of a ? b: an opmask, or all bits of the lanes.
func (w writer) compare(predicate uint8, a VecVirtual, b Op) Op {
	var m Op = w.vec()
	if w.wide {
		m = K()
	}
	if w.double {
		VCMPPD(U8(predicate), b, a, m)
	} else {
		VCMPPS(U8(predicate), b, a, m)
	}
	return m
}

// pick is x where the mask is set, else y.
func (w writer) pick(mask, x Op, y VecVirtual) VecVirtual {
	if w.wide { // a blend under a mask is taken to read what it writes
		r := w.copied(y)
		if w.double {
			VMOVUPD(x, mask, r)
		} else {
			VMOVUPS(x, mask, r)
		}
		return r
	}
	r := w.vec()
	switch {
	case w.double:
		VBLENDVPD(mask, x, y, r)
	default:
		VBLENDVPS(mask, x, y, r)
	}
	return r
}

func (w writer) step(x VecVirtual) VecVirtual {
	return w.pick(w.compare(greaterThan, x, w.none), w.one(), w.none)
}

func (w writer) where(mask, x, y VecVirtual) VecVirtual {
	return w.pick(w.compare(notEqual, mask, w.none), x, y)
}

// The rest is single precision.

func (w writer) and(a, b Op) VecVirtual {
	r := w.vec()
	w.logic(VPANDD, VANDPS, b, w.reg(a), r)
	return r
}
func (w writer) or(a, b Op) VecVirtual { r := w.vec(); w.logic(VPORD, VORPS, b, w.reg(a), r); return r }
func (w writer) xor(a, b Op) VecVirtual {
	r := w.vec()
	w.logic(VPXORD, VXORPS, b, w.reg(a), r)
	return r
}

// logic chooses the form that needs no more than AVX-512F.
func (w writer) logic(wide, narrow func(ops ...Op), a, b, dst Op) {
	if w.wide {
		wide(a, b, dst)
	} else {
		narrow(a, b, dst)
	}
}

// min and max give b where either is not a number.
func (w writer) min(a, b Op) VecVirtual { r := w.vec(); VMINPS(b, w.reg(a), r); return r }
func (w writer) max(a, b Op) VecVirtual { r := w.vec(); VMAXPS(b, w.reg(a), r); return r }

func (w writer) iadd(a, b Op) VecVirtual      { r := w.vec(); VPADDD(b, w.reg(a), r); return r }
func (w writer) isub(a, b Op) VecVirtual      { r := w.vec(); VPSUBD(b, w.reg(a), r); return r }
func (w writer) shl(n uint8, a Op) VecVirtual { r := w.vec(); VPSLLD(U8(n), a, r); return r }
func (w writer) sar(n uint8, a Op) VecVirtual { r := w.vec(); VPSRAD(U8(n), a, r); return r }

// horner is ((c[n]·x + c[n-1])·x + …).
func (w writer) horner(x VecVirtual, c []float64) VecVirtual {
	p := w.copied(w.f(c[len(c)-1]))
	for i := len(c) - 2; i >= 0; i-- {
		VFMADD213PS(w.f(c[i]), x, p)
	}
	return p
}

const (
	magic = 1.5 * (1 << 23) // added and subtracted, it rounds to an integer
	ln2hi = 0.693145751953125
	ln2lo = math.Ln2 - ln2hi
)

// Coefficients, by interpolation at Chebyshev nodes.
var (
	reduction = []float64{math.Log2E, magic, ln2hi, ln2lo, 1}

	expC = interpolate(func(r float64) float64 { return near0(r, (math.Exp(r)-1-r)/(r*r), 0.5+r/6) }, -0.347, 0.347, 4)
	erfC = interpolate(func(s float64) float64 {
		x := math.Sqrt(s)
		return near0(x, math.Erf(x)/x-1, 2/math.SqrtPi-1)
	}, 0, 0.85, 6)
	erfcC = interpolate(func(t float64) float64 { return -math.Log(math.Erfc(t)) }, 0.9, 4, 8)
)

func near0(x, v, limit float64) float64 {
	if math.Abs(x) < 1e-4 {
		return limit
	}
	return v
}

// interpolate gives the coefficients, lowest power first, of the polynomial that meets f at the Chebyshev nodes of
// [a, b], by Newton's divided differences.
func interpolate(f func(float64) float64, a, b float64, degree int) []float64 {
	n := degree + 1
	x, d := make([]float64, n), make([]float64, n)
	for i := range n {
		x[i] = (a+b)/2 + (b-a)/2*math.Cos(math.Pi*(float64(i)+0.5)/float64(n))
		d[i] = f(x[i])
	}
	for j := 1; j < n; j++ {
		for i := n - 1; i >= j; i-- {
			d[i] = (d[i] - d[i-1]) / (x[i] - x[i-j])
		}
	}
	c := []float64{d[n-1]}
	for i := n - 2; i >= 0; i-- { // c·(t − x[i]) + d[i]
		next := make([]float64, len(c)+1)
		for k, v := range c {
			next[k+1] += v
			next[k] -= v * x[i]
		}
		next[0] += d[i]
		c = next
	}
	return c
}

func bitsOf(cs ...[]float64) (b []uint32) {
	for _, c := range cs {
		for _, x := range c {
			b = append(b, single(x))
		}
	}
	return b
}

// reduce gives n = round(x/ln 2) as a float, the same in the low bits of t, and r = x − n·ln 2.
func (w writer) reduce(x Op) (n, t, r VecVirtual) {
	t = w.copied(w.f(magic))
	VFMADD231PS(x, w.reg(w.f(math.Log2E)), t)
	n = w.sub(t, w.f(magic))
	r = w.copied(x)
	VFNMADD231PS(w.f(ln2hi), n, r)
	VFNMADD231PS(w.f(ln2lo), n, r)
	return n, t, r
}

// expm1 is eʳ − 1 for a reduced r.
func (w writer) expm1(r VecVirtual) VecVirtual {
	p := w.horner(r, expC)
	r2 := w.mul(r, r)
	VFMADD213PS(r, r2, p) // p·r² + r
	return p
}

// exp overflows to infinity, underflows gradually, and keeps NaN.
func (w writer) exp(x VecVirtual) VecVirtual {
	c := w.max(w.f(-104), w.min(w.f(89), x))
	n, t, r := w.reduce(c)
	p := w.add(w.expm1(r), w.f(1))
	if w.wide {
		VSCALEFPS(n, p, p)
		return p
	}
	// Two factors, for 2ⁿ itself may not be a normal number.
	i := w.isub(t, w.bits(single(magic)))
	h := w.sar(1, i)
	l := w.isub(i, h)
	p = w.mul(p, w.shl(23, w.iadd(h, w.bits(127))))
	return w.mul(p, w.shl(23, w.iadd(l, w.bits(127))))
}

// tanh is e/(e + 2), e = exp(2|x|) − 1.
func (w writer) tanh(x VecVirtual) VecVirtual {
	sign := w.and(x, w.bits(1<<31))
	a := w.min(w.f(9.5), w.and(x, w.bits(1<<31-1)))
	_, t, r := w.reduce(w.add(a, a))
	p := w.expm1(r)
	s := w.shl(23, w.iadd(t, w.bits(127)))
	e := w.sub(s, w.f(1))
	VFMADD231PS(s, p, e)
	return w.or(sign, w.div(e, w.add(e, w.f(2))))
}

// sigmoid is e/(1 + e) for x < 0, else 1/(1 + e), e = exp(−|x|).
func (w writer) sigmoid(x VecVirtual) VecVirtual {
	e := w.exp(w.or(x, w.bits(1<<31)))
	top := w.pick(w.compare(lessThan, x, w.none), e, w.copied(w.f(1)))
	return w.div(top, w.add(e, w.f(1)))
}

// erf is a polynomial below 0.92 and 1 − exp of one above.
func (w writer) erf(x VecVirtual) VecVirtual {
	sign := w.and(x, w.bits(1<<31))
	a := w.min(w.f(4), w.and(x, w.bits(1<<31-1)))
	p := w.horner(w.mul(a, a), erfC)
	VFMADD213PS(a, a, p) // p·a + a
	g := w.sub(w.f(1), w.expNegative(w.horner(a, erfcC)))
	return w.or(sign, w.pick(w.compare(lessThan, a, w.f(0.92)), p, g))
}

// expNegative is e⁻ˣ for 0 ≤ x < 80.
func (w writer) expNegative(x VecVirtual) VecVirtual {
	_, t, r := w.reduce(w.xor(x, w.bits(1<<31)))
	return w.iadd(w.add(w.expm1(r), w.f(1)), w.shl(23, t)) // into the exponent; magic's low bits are zero
}
