package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// fetch generates a loop that asks for lines of a cache.
func fetch() {
	TEXT("fetchLines", NOSPLIT, "func(p *byte, lines int)")
	Pragma("noescape")
	Doc("fetchLines asks for lines from p on, at least one, to be brought into the second cache.")
	p, lines := Load(Param("p"), GP64()), Load(Param("lines"), GP64())
	Label("line")
	PREFETCHT1(Mem{Base: p})
	ADDQ(Imm(64), p)
	DECQ(lines)
	JNZ(LabelRef("line"))
	RET()
}
