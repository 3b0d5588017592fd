package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestScript(t *testing.T) { onPaths(t, testScript[float32], testScript[float64]) }

// Random scripts, whose slots lie between guards, against one operation and one element at a time.
func testScript[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for trial := range 400 {
		shape := Shape{Channels: 1 + rng.IntN(40)}
		if rng.IntN(3) > 0 {
			shape.Channels = line / sizeOf[T]() * (1 + rng.IntN(19))
		}
		shape.Inner, shape.Times = shape.Channels, 1+rng.IntN(12)
		switch rng.IntN(4) {
		case 0:
			shape.Inner *= 1 + rng.IntN(3)
		case 1:
			shape.Channels *= 1 + rng.IntN(3)
		}
		n := max(shape.Inner, shape.Channels) * shape.Times * (1 + rng.IntN(4))
		what := fmt.Sprintf("trial %d, %d channels, %d times, %d elements", trial, shape.Channels, shape.Times, n)

		length := [...]int{Whole: n, Positions: n / shape.Channels, Rows: n / shape.Times}
		by := [3][]int{} // slots by extent
		var slots [][]T
		var guarded []*buffer[T]
		slot := func(e Extent) int {
			b := newBuffer[T](rng, length[e])
			copy(b.v, values[T](rng, length[e]))
			slots, guarded = append(slots, b.v), append(guarded, b)
			shape.Extents = append(shape.Extents, e)
			by[e] = append(by[e], len(slots)-1)
			return len(slots) - 1
		}
		for _, e := range []Extent{Whole, Positions, Rows, Rows, Whole} {
			slot(e)
		}
		one := func(e ...Extent) int {
			of := by[e[rng.IntN(len(e))]]
			if rng.IntN(2) == 0 {
				return of[len(of)-1]
			}
			return of[rng.IntN(len(of))]
		}
		var steps []Step[T]
		for range 1 + rng.IntN(12) {
			s := Step[T]{Op: VectorOp(rng.IntN(int(numVectorOps))), K: T(rng.NormFloat64()), Local: rng.IntN(2) == 0}
			if rng.IntN(2) == 0 { // most of a network
				s.Op = []VectorOp{VectorMul, VectorMulAdd, VectorAdd, VectorScale}[rng.IntN(4)]
			}
			switch rng.IntN(6) {
			case 0:
				s.Op, s.A, s.Dst = VectorSpread, one(Positions), slot(Whole)
			case 1:
				s.Op, s.A, s.Dst = VectorSum, one(Whole), slot(Positions)
			case 2:
				s.A, s.B, s.C, s.Dst = one(Positions), one(Positions), one(Positions), slot(Positions)
			case 3:
				s.A, s.B, s.C, s.Dst = one(Whole), one(Whole), one(Whole), slot(Whole)
			default:
				s.A, s.B, s.C, s.Dst = one(Whole, Rows), one(Whole, Rows), one(Whole, Rows), slot(Whole)
			}
			steps = append(steps, s)
		}
		want := make([][]T, len(slots))
		for i := range slots {
			want[i] = append([]T(nil), slots[i]...)
		}
		for _, s := range steps {
			dst := want[s.Dst]
			switch s.Op {
			case VectorSpread:
				for i := range dst {
					dst[i] = want[s.A][i/shape.Channels]
				}
				continue
			case VectorSum:
				for i := range dst {
					dst[i] = T(Sum(want[s.A][i*shape.Channels:(i+1)*shape.Channels], 1))
				}
				continue
			}
			read := func(slot, i int) []T {
				if shape.Extents[slot] == Rows {
					i = i/(shape.Inner*shape.Times)*shape.Inner + i%shape.Inner
				}
				return want[slot][i : i+1]
			}
			for i := range dst {
				Vector(s.Op, dst[i:i+1], read(s.A, i), read(s.B, i), read(s.C, i), s.K)
			}
		}
		var before []*buffer[T]
		for _, b := range guarded {
			before = append(before, b.clone())
		}
		NewScript(steps, shape, n*(1+rng.IntN(2))).Run(slots, n)
		local := map[int]bool{}
		for _, s := range steps {
			local[s.Dst] = s.Local
		}
		for i, b := range guarded {
			if !local[i] && !same(b.v, want[i]) {
				t.Fatalf("%s: slot %d is %v, want %v", what, i, b.v, want[i])
			}
			copy(before[i].v, b.v)
			if !same(b.all, before[i].all) {
				t.Fatalf("%s: writes outside of slot %d", what, i)
			}
		}
	}
}

// Slots that do not fit each other are refused, and so are blocks that have no whole positions or rows.
func TestScriptShapes(t *testing.T) {
	refused := func(what string, f func()) {
		defer func() {
			if recover() != badScript {
				t.Errorf("%s is taken", what)
			}
		}()
		f()
	}
	shape := Shape{Channels: 4, Inner: 4, Times: 2, Extents: []Extent{Whole, Positions, Rows}}
	for what, s := range map[string]Step[float64]{
		"a result that is rows":         {Op: VectorScale, Dst: 2, A: 0},
		"a position's value among all":  {Op: VectorAdd, Dst: 0, A: 0, B: 1},
		"rows among those of positions": {Op: VectorAdd, Dst: 1, A: 1, B: 2},
		"a sum of rows":                 {Op: VectorSum, Dst: 1, A: 2},
		"a spread of all":               {Op: VectorSpread, Dst: 0, A: 0},
	} {
		refused(what, func() { NewScript([]Step[float64]{s}, shape, 16) })
	}
	s := NewScript([]Step[float64]{{Op: VectorAdd, B: 2}}, shape, 16)
	of := func(lengths ...int) (slots [][]float64) {
		for _, n := range lengths {
			slots = append(slots, make([]float64, n))
		}
		return slots
	}
	s.Run(of(16, 4, 8), 16)
	refused("a part of a row", func() { s.Run(of(16, 4, 8), 12) })
	refused("a larger block", func() { s.Run(of(32, 8, 16), 32) })
	refused("a short slot", func() { s.Run(of(16, 4, 7), 16) })
}
