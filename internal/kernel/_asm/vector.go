package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

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

func (w writer) move(from, to VecVirtual) {
	if w.double {
		VMOVAPD(from, to)
	} else {
		VMOVAPS(from, to)
	}
}

// repeatTo makes all elements of the vectors the one in memory.
func (w writer) repeatTo(m Mem, vs []VecVirtual) {
	if w.double {
		VBROADCASTSD(m, vs[0])
	} else {
		VBROADCASTSS(m, vs[0])
	}
	for _, v := range vs[1:] {
		w.move(vs[0], v)
	}
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
	w.isa.mul(b, w.reg(a), r)
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
