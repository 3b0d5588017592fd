package main

import (
	"fmt"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of scriptArgs, stripList, strip (see script_amd64.go),
const (
	scPasses, scCount, scSlots, scLanes, scLists, scPositions, scMore, scMoreStrips, scCode, scInstructions = 0, 8, 16, 24, 32, 224, 232, 240, 248, 256

	lStrips, lCount, lStep, lMoreCount, lMore, lSize = 0, 8, 16, 24, 32, 96

	stOff, stRow, stWidth, stSize = 0, 8, 24, 32
)

// pass and instruction (see script.go).
const (
	paCode, paCount, paKind, paSize = 0, 8, 16, 24

	iForm, iOp, iFrom, iSlots, iFields, iK, iStore, iSize = 0, 8, 16, 40, 72, 96, 104, 112
)

// kindSums is passSums.
const kindSums = 2

// widths is how many vectors a strip has at most.
func (f isa) widths() int {
	if f.wide {
		return 8
	}
	return 4
}

// A stripOp is an operation on the vectors of a strip: what it makes of a, b and c takes the place of a. The order is that of kernelOps in
// script.go.
type stripOp struct {
	name string
	do   func(w writer, a, b, c VecVirtual)

	// Functions of one vector, float32 only, which are done in a loop.
	eval func(w writer, x VecVirtual) VecVirtual
	held []uint32 // constants that are worth a register
}

var stripOps = []stripOp{
	{name: "muladd", do: func(w writer, a, b, c VecVirtual) { w.isa.mul(b, a, a); w.isa.add(c, a, a) }},
	{name: "mul", do: func(w writer, a, b, _ VecVirtual) { w.isa.mul(b, a, a) }},
	{name: "add", do: func(w writer, a, b, _ VecVirtual) { w.isa.add(b, a, a) }},
	{name: "copy", do: func(writer, VecVirtual, VecVirtual, VecVirtual) {}},
	{name: "sub", do: func(w writer, a, b, _ VecVirtual) { w.move(w.sub(a, b), a) }},
	{name: "div", do: func(w writer, a, b, _ VecVirtual) { w.move(w.div(a, b), a) }},
	{name: "where", do: func(w writer, a, b, c VecVirtual) { w.move(w.pick(w.compare(notEqual, a, w.none), b, c), a) }},
	{name: "relu", do: func(w writer, a, _, _ VecVirtual) { w.move(w.relu(a), a) }},
	{name: "step", do: func(w writer, a, _, _ VecVirtual) {
		w.move(w.pick(w.compare(greaterThan, a, w.none), w.one(), w.none), a)
	}},
	{name: "sqrt", do: func(w writer, a, _, _ VecVirtual) { w.move(w.sqrt(a), a) }},
	{name: "rsqrt", do: func(w writer, a, _, _ VecVirtual) { w.move(w.div(w.one(), w.sqrt(a)), a) }},
	{name: "exp", held: bitsOf(reduction, expC, []float64{89, -104}), eval: writer.exp},
	{name: "tanh", held: append(bitsOf(reduction, expC, []float64{9.5, 2}), 1<<31, 1<<31-1, 127), eval: writer.tanh},
	{name: "sigmoid", held: append(bitsOf(reduction, expC, []float64{89, -104}), 1<<31), eval: writer.sigmoid},
	{name: "erf", held: append(bitsOf(reduction, expC, []float64{4, .92}, erfC[:4]), 1<<31, 1<<31-1), eval: writer.erf},
}

// A form is an operation together with where its operands come from, for those that most instructions are: vectors that are read once need no
// registers of their own. a is the strip, which is the result of the instruction before until something else is loaded; b and one are there for
// use. The order is that of forms in script.go.
type form struct {
	name string
	do   func(s *scriptWriter, a, b []VecVirtual, one VecVirtual)
}

var forms = []form{
	{"muladd_vectors_vectors_result", func(s *scriptWriter, a, b []VecVirtual, _ VecVirtual) {
		s.loadVectors(0, b)
		s.withVectors(1, s.mul, b, b)
		s.add(b, a)
	}},
	{"muladd_vector_vectors_result", func(s *scriptWriter, a, b []VecVirtual, one VecVirtual) {
		s.load(s.operand(0), one)
		s.withVectors(1, s.mul, slices.Repeat([]VecVirtual{one}, len(b)), b)
		s.add(b, a)
	}},
	{"mul_vectors_vectors", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) {
		s.loadVectors(0, a)
		s.withVectors(1, s.mul, a, a)
	}},
	{"mul_vector_vectors", func(s *scriptWriter, a, _ []VecVirtual, one VecVirtual) {
		s.load(s.operand(0), one)
		s.withVectors(1, s.mul, slices.Repeat([]VecVirtual{one}, len(a)), a)
	}},
	{"mul_result_vectors", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) { s.withVectors(1, s.mul, a, a) }},
	{"add_vectors_vectors", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) {
		s.loadVectors(0, a)
		s.withVectors(1, s.isa.add, a, a)
	}},
	{"add_result_vectors", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) { s.withVectors(1, s.isa.add, a, a) }},
	{"mul_result_vector", func(s *scriptWriter, a, _ []VecVirtual, one VecVirtual) {
		s.load(s.operand(1), one)
		s.scale(one, a)
	}},
	{"muladd_result_vectors_vectors", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) {
		s.withVectors(1, s.mul, a, a)
		s.withVectors(2, s.isa.add, a, a)
	}},
	{"copy_element", func(s *scriptWriter, a, _ []VecVirtual, _ VecVirtual) { s.w.repeatTo(s.operand(0), a) }},
	{"mul_vectors_constant", func(s *scriptWriter, a, _ []VecVirtual, one VecVirtual) {
		s.w.repeatTo(s.of(iK), []VecVirtual{one})
		s.withVectors(0, s.mul, slices.Repeat([]VecVirtual{one}, len(a)), a)
	}},
	{"mul_result_constant", func(s *scriptWriter, a, _ []VecVirtual, one VecVirtual) {
		s.w.repeatTo(s.of(iK), []VecVirtual{one})
		s.scale(one, a)
	}},
}

// scriptWriter writes one function that does passes one after the other. A pass goes over strips of a few vectors and does all its
// instructions on one before it goes to the next: operands come from memory, or are the result of the instruction before, which stays in
// registers. There is code for each width of a strip, and for what is left at the end, which is less than a vector and goes under a mask.
type scriptWriter struct {
	isa
	w       writer
	p       Register
	code    Register
	strip   Register
	slots   Register
	left    Register    // instructions
	steps   [4]Register // 1, 3, 5 and 7 steps from a vector to the next
	r, x    Register
	buffer  Mem             // where functions of one vector find a strip
	vectors [3][]VecVirtual // a, b and c
}

func (f isa) script() {
	TEXT("script"+f.name(), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("script" + f.name() + " does the passes of a script over a block; p points to a scriptArgs.")
	s := &scriptWriter{isa: f, buffer: AllocLocal(f.widths() * f.width())}
	s.p = Load(Param("p"), GP64())
	s.code, s.strip, s.slots, s.left, s.r, s.x = GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	for i := range s.steps {
		s.steps[i] = GP64()
	}
	zero := f.vec()
	for o := range s.vectors {
		for range f.widths() {
			s.vectors[o] = append(s.vectors[o], f.vec())
		}
	}
	s.w = writer{f, map[uint32]VecVirtual{}, zero}
	MOVQ(s.at(scSlots), s.slots)
	f.zero(zero)

	Label("pass")
	list, strips := s.left, GP64()
	MOVQ(s.at(scPasses), s.x)
	MOVQ(Mem{Base: s.x, Disp: paKind}, list)
	CMPQ(list, Imm(kindSums))
	JEQ(LabelRef("sums"))
	for _, c := range [][2]int{{paCode, scCode}, {paCount, scInstructions}} {
		MOVQ(Mem{Base: s.x, Disp: c[0]}, s.r)
		MOVQ(s.r, s.at(c[1]))
	}
	IMUL3Q(U32(lSize), list, list)
	LEAQ(Mem{Base: list, Index: s.p, Scale: 1, Disp: scLists}, list)
	MOVQ(Mem{Base: list, Disp: lStep}, s.steps[0])
	LEAQ(Mem{Base: s.steps[0], Index: s.steps[0], Scale: 2}, s.steps[1])
	LEAQ(Mem{Base: s.steps[0], Index: s.steps[0], Scale: 4}, s.steps[2])
	LEAQ(Mem{Base: s.steps[1], Index: s.steps[0], Scale: 4}, s.steps[3])
	s.forget(s.vectors[:]...)
	MOVQ(Mem{Base: list, Disp: lMoreCount}, s.x)
	MOVQ(s.x, s.at(scMore))
	LEAQ(Mem{Base: list, Disp: lMore}, s.x)
	MOVQ(s.x, s.at(scMoreStrips))
	MOVQ(Mem{Base: list, Disp: lStrips}, s.strip)
	MOVQ(Mem{Base: list, Disp: lCount}, strips)
	TESTQ(strips, strips)
	JZ(LabelRef("more"))
	Label("strip")
	MOVQ(s.at(scCode), s.code)
	MOVQ(s.at(scInstructions), s.left)
	s.byWidth("instruction")
	Label("next")
	ADDQ(Imm(stSize), s.strip)
	DECQ(strips)
	JNZ(LabelRef("strip"))
	Label("more")
	MOVQ(s.at(scMore), strips)
	TESTQ(strips, strips)
	JZ(LabelRef("done"))
	XORQ(s.x, s.x)
	MOVQ(s.x, s.at(scMore))
	MOVQ(s.at(scMoreStrips), s.strip)
	JMP(LabelRef("strip"))
	Label("done")
	ADDQ(Imm(paSize), s.at(scPasses))
	DECQ(s.at(scCount))
	JNZ(LabelRef("pass"))
	VZEROUPPER()
	RET()

	for width := range f.widths() + 1 {
		s.instructions(width)
	}
	for _, o := range stripOps {
		if o.eval != nil && !f.double {
			s.function(o)
		}
	}
	s.sums()
}

// forget ends the lives of registers that an instruction need not read what it left there in.
func (s *scriptWriter) forget(vectors ...[]VecVirtual) {
	for _, v := range vectors {
		for _, r := range v {
			s.w.move(s.w.none, r)
		}
	}
}

func (s *scriptWriter) at(off int) Mem { return Mem{Base: s.p, Disp: off} }
func (s *scriptWriter) of(off int) Mem { return Mem{Base: s.code, Disp: off} }

// byWidth goes to the code for the strip's width.
func (s *scriptWriter) byWidth(name string) {
	MOVQ(Mem{Base: s.strip, Disp: stWidth}, s.x)
	for width := s.widths(); width > 0; width-- {
		CMPQ(s.x, Imm(uint64(width)))
		JEQ(LabelRef(widthLabel(width, name)))
	}
	JMP(LabelRef(widthLabel(0, name)))
}

func widthLabel(width int, name string) string { return fmt.Sprintf("w%d_%s", width, name) }

// choose jumps to one of the labels by the number in x.
func (s *scriptWriter) choose(labels []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		CMPQ(s.x, Imm(uint64(i+1)))
		JLT(LabelRef(labels[i]))
		JEQ(LabelRef(labels[i+1]))
	}
	if len(labels)%2 > 0 {
		JMP(LabelRef(labels[len(labels)-1]))
	}
}

// operand is where the first vector of one is, or its element.
func (s *scriptWriter) operand(o int) Mem {
	MOVQ(s.of(iFields+8*o), s.x)
	MOVQ(s.of(iSlots+8*(o+1)), s.r)
	MOVQ(Mem{Base: s.slots, Index: s.r, Scale: 1}, s.r)
	ADDQ(Mem{Base: s.strip, Index: s.x, Scale: 1}, s.r)
	return Mem{Base: s.r}
}

// vector is the i-th of an operand or of the result.
func (s *scriptWriter) vector(i int) Mem {
	m := Mem{Base: s.r}
	if i > 0 {
		by := [][2]int{{}, {0, 1}, {0, 2}, {1, 1}, {0, 4}, {2, 1}, {1, 2}, {3, 1}}[i]
		m.Index, m.Scale = s.steps[by[0]], uint8(by[1])
	}
	return m
}

func (s *scriptWriter) loadVectors(o int, to []VecVirtual) {
	s.operand(o)
	for i, v := range to {
		s.load(s.vector(i), v)
	}
}

// withVectors does op on the vectors of an operand and on others.
func (s *scriptWriter) withVectors(o int, op func(x, y, to Op), with, to []VecVirtual) {
	s.operand(o)
	for i, v := range to {
		op(s.vector(i), with[i], v)
	}
}

func (s *scriptWriter) add(x, to []VecVirtual) {
	for i, v := range to {
		s.isa.add(x[i], v, v)
	}
}

func (s *scriptWriter) scale(one VecVirtual, a []VecVirtual) {
	for _, v := range a {
		s.mul(one, v, v)
	}
}

// instructions is the code for strips of some width, 0 for what is less than a vector.
func (s *scriptWriter) instructions(width int) {
	label := func(name string) string { return widthLabel(width, name) }
	n := max(width, 1)
	a, b, c := s.vectors[0][:n], s.vectors[1][:n], s.vectors[2][:n]
	load, store := s.load, s.store
	Label(label("instruction"))
	if width == 0 {
		MOVQ(Mem{Base: s.strip, Disp: stRow}, s.r)
		mask := s.tailMask(s.r, s.at(scLanes))
		load = func(m Mem, v Op) { s.loadMasked(m, mask, v) }
		store = func(v Op, m Mem) { s.storeMasked(v, mask, m) }
	}
	Label(label("next"))
	if width > 0 {
		var labels []string
		for _, f := range forms {
			labels = append(labels, label(f.name))
		}
		MOVQ(s.of(iForm), s.x)
		s.choose(append(labels, label("general")))
		for _, f := range forms {
			Label(label(f.name))
			f.do(s, a, b, c[0])
			JMP(LabelRef(label("made")))
		}
		Label(label("general"))
	}
	for o := 2; o >= 0; o-- { // a last, for it is the result of the instruction before until then
		s.general(width, o, s.vectors[o][:n], load)
	}
	MOVQ(s.of(iOp), s.x)
	var labels []string
	for _, o := range stripOps {
		if o.eval == nil || !s.double {
			labels = append(labels, label(o.name))
		}
	}
	s.choose(labels)
	for _, o := range stripOps {
		switch {
		case o.eval == nil:
			Label(label(o.name))
			for i := range a {
				o.do(s.w, a[i], b[i], c[i])
			}
			JMP(LabelRef(label("made")))
		case !s.double:
			Label(label(o.name))
			for i, v := range a {
				s.store(v, s.buffer.Offset(i*s.width()))
			}
			MOVQ(U32(uint32(n)), s.x)
			JMP(LabelRef(o.name))
		}
	}
	if !s.double {
		Label(label("function"))
		for i, v := range a {
			s.load(s.buffer.Offset(i*s.width()), v)
		}
		s.forget(s.vectors[0][n:], s.vectors[1], s.vectors[2])
	}
	Label(label("made"))
	CMPQ(s.of(iStore), Imm(0))
	JEQ(LabelRef(label("stored")))
	MOVQ(s.of(iSlots), s.r)
	MOVQ(Mem{Base: s.slots, Index: s.r, Scale: 1}, s.r)
	ADDQ(Mem{Base: s.strip, Disp: stOff}, s.r)
	for i, v := range a {
		store(v, s.vector(i))
	}
	Label(label("stored"))
	ADDQ(Imm(iSize), s.code)
	DECQ(s.left)
	JNZ(LabelRef(label("next")))
	if width == 0 {
		JMP(LabelRef("done"))
	} else {
		JMP(LabelRef("next"))
	}
}

// general loads operand o from wherever it comes.
func (s *scriptWriter) general(width, o int, v []VecVirtual, load func(m Mem, v Op)) {
	label := func(name string) string { return widthLabel(width, fmt.Sprintf("%s_%s", name, string("abc"[o]))) }
	loaded := label("loaded")
	MOVQ(s.of(iFrom+8*o), s.x)
	labels := []string{loaded} // in the order of script.go
	for _, from := range []string{"vectors", "result", "vector", "element", "elements", "constant"} {
		labels = append(labels, label(from))
	}
	s.choose(labels)
	for i, from := range labels[1:] {
		Label(from)
		switch i {
		case 0:
			s.operand(o)
			for i := range v {
				load(s.vector(i), v[i])
			}
		case 1:
			for i := range v {
				s.w.move(s.vectors[0][i], v[i])
			}
		case 2:
			load(s.operand(o), v[0])
			for i := range v[1:] {
				s.w.move(v[0], v[i+1])
			}
		case 3:
			s.w.repeatTo(s.operand(o), v)
		case 4:
			s.operand(o)
			for i := range v {
				s.w.repeatTo(Mem{Base: s.r, Disp: i * s.size()}, v[i:i+1])
			}
		case 5:
			s.w.repeatTo(s.of(iK), v)
		}
		JMP(LabelRef(loaded))
	}
	Label(loaded)
}

// function is done on the vectors in the buffer, whose number is in x.
func (s *scriptWriter) function(o stripOp) {
	Label(o.name)
	w := writer{s.isa, map[uint32]VecVirtual{}, s.w.none}
	w.hold(o.held)
	LEAQ(s.buffer, s.r)
	Label(o.name + "_vector")
	v := s.vec()
	s.load(Mem{Base: s.r}, v)
	s.store(o.eval(w, v), Mem{Base: s.r})
	ADDQ(Imm(uint64(s.width())), s.r)
	DECQ(s.x)
	JNZ(LabelRef(o.name + "_vector"))
	s.byWidth("function")
}

// sums adds up channels: as many sums in float64 as a line of a cache has elements, and then their halves, as in Sum.
func (s *scriptWriter) sums() {
	Label("sums")
	MOVQ(Mem{Base: s.x, Disp: paCode}, s.code)
	dst, src, t := GP64(), GP64(), GP64()
	for slot, r := range []Register{dst, src} {
		MOVQ(s.of(iSlots+8*slot), r)
		MOVQ(Mem{Base: s.slots, Index: r, Scale: 1}, r)
	}
	MOVQ(s.at(scPositions), s.x)
	Label("sums_position")
	acc := s.accumulators(64/s.size()*8/s.width(), 1)
	MOVQ(s.of(iK), t)
	Label("sums_vector")
	for i, a := range acc {
		m := Mem{Base: src, Disp: i * s.width() / 8 * s.size()}
		if s.double {
			VADDPD(m, a[0], a[0])
		} else {
			y := s.vec()
			VCVTPS2PD(m, y)
			VADDPD(y, a[0], a[0])
		}
	}
	ADDQ(Imm(64), src)
	SUBQ(Imm(64), t)
	JNZ(LabelRef("sums_vector"))
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			VADDPD(acc[i+n/2][0], acc[i][0], acc[i][0])
		}
	}
	sum := s.sumLanes(acc[0][0])
	if s.double {
		VMOVSD(sum, Mem{Base: dst})
	} else {
		VCVTSD2SS(sum, sum, sum)
		VMOVSS(sum, Mem{Base: dst})
	}
	ADDQ(Imm(uint64(s.size())), dst)
	DECQ(s.x)
	JNZ(LabelRef("sums_position"))
	JMP(LabelRef("done"))
}
