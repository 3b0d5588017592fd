package secondopinion

import (
	"fmt"
	"hash"
	"hash/fnv"
	"math"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Operations of our own among Gorgonia's: what it lacks, or has wrong. They hold only what is
// linear, has no derivative, or is erf; the chain rule stays Gorgonia's. Row-major.

// common is what Gorgonia asks of every operation.
type common struct{}

func (common) ReturnsPtr() bool     { return true }
func (common) CallsExtern() bool    { return false }
func (common) OverwritesInput() int { return -1 }

func hashed(s string) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, s)
	return h.Sum32()
}

func tensorOf(shape tensor.Shape) hm.Type {
	return gorgonia.TensorType{Dims: shape.Dims(), Of: hm.TypeVariable('a')}
}

// floats are the values of an operand of an operation of ours.
func floats(v gorgonia.Value) []float64 {
	if t, ok := v.(*tensor.Dense); ok && (t.RequiresIterator() || !t.DataOrder().IsRowMajor()) {
		v = t.Materialize().(*tensor.Dense)
	}
	if d, ok := v.Data().(float64); ok {
		return []float64{d}
	}
	return v.Data().([]float64)
}

func zeros(shape tensor.Shape) (*tensor.Dense, []float64) {
	v := make([]float64, shape.TotalSize())
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v)), v
}

// linear is a linear map with its adjoint; both add to zeros.
type linear struct {
	common
	name        string
	from, to    tensor.Shape
	apply, back func(dst, src []float64)
}

func (op *linear) Arity() int     { return 1 }
func (op *linear) String() string { return op.name }
func (op *linear) Type() hm.Type  { return hm.NewFnType(tensorOf(op.from), tensorOf(op.to)) }
func (op *linear) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return op.to.Clone(), nil
}
func (op *linear) WriteHash(h hash.Hash) { fmt.Fprint(h, op.name) }
func (op *linear) Hashcode() uint32      { return hashed(op.name) }
func (op *linear) DiffWRT(int) []bool    { return []bool{true} }

func (op *linear) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	y, dst := zeros(op.to)
	op.apply(dst, floats(in[0]))
	return y, nil
}

func (op *linear) SymDiff(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	n, err := gorgonia.ApplyOp(&linear{name: op.name + "ᵀ", from: op.to, to: op.from, apply: op.back, back: op.apply}, grad)
	return gorgonia.Nodes{n}, err
}

// still is a function whose derivative is zero.
type still struct {
	common
	name     string
	from, to tensor.Shape
	eval     func(dst, x []float64) error
}

func (op *still) Arity() int     { return 1 }
func (op *still) String() string { return op.name }
func (op *still) Type() hm.Type  { return hm.NewFnType(tensorOf(op.from), tensorOf(op.to)) }
func (op *still) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return op.to.Clone(), nil
}
func (op *still) WriteHash(h hash.Hash) { fmt.Fprint(h, op.name) }
func (op *still) Hashcode() uint32      { return hashed(op.name) }
func (op *still) DiffWRT(int) []bool    { return []bool{false} }

func (op *still) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	y, dst := zeros(op.to)
	return y, op.eval(dst, floats(in[0]))
}

func (op *still) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, fmt.Errorf("%s has no derivative", op.name)
}

// pick takes element i of the result from x at at(i, id), id the integer of i, each integer
// serving width elements.
type pick struct {
	common
	name         string
	x, ids, to   tensor.Shape
	limit, width int
	at           func(i, id int) int
}

func (op *pick) Arity() int     { return 2 }
func (op *pick) String() string { return op.name }
func (op *pick) Type() hm.Type {
	return hm.NewFnType(tensorOf(op.x), tensorOf(op.ids), tensorOf(op.to))
}
func (op *pick) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return op.to.Clone(), nil }
func (op *pick) WriteHash(h hash.Hash)                                 { fmt.Fprint(h, op.name) }
func (op *pick) Hashcode() uint32                                      { return hashed(op.name) }
func (op *pick) DiffWRT(int) []bool                                    { return []bool{true, false} }

// each calls f with each element of the result and its place in x.
func (op *pick) each(ids []float64, f func(i, at int)) error {
	for i := range op.to.TotalSize() {
		id := ids[i/op.width]
		if !(id >= 0 && id < float64(op.limit)) {
			return fmt.Errorf("position %v of %d", id, op.limit)
		}
		f(i, op.at(i, int(id)))
	}
	return nil
}

func (op *pick) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	y, dst := zeros(op.to)
	x := floats(in[0])
	return y, op.each(floats(in[1]), func(i, at int) { dst[i] = x[at] })
}

func (op *pick) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	n, err := gorgonia.ApplyOp(&place{pick: op}, grad, in[1])
	return gorgonia.Nodes{n, nil}, err
}

// place is the adjoint of pick.
type place struct{ *pick }

func (op *place) String() string { return op.name + "ᵀ" }
func (op *place) Type() hm.Type {
	return hm.NewFnType(tensorOf(op.to), tensorOf(op.ids), tensorOf(op.x))
}
func (op *place) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return op.x.Clone(), nil }
func (op *place) WriteHash(h hash.Hash)                                 { fmt.Fprint(h, op.String()) }
func (op *place) Hashcode() uint32                                      { return hashed(op.String()) }
func (op *place) DiffWRT(int) []bool                                    { return []bool{false, false} }

func (op *place) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	y, dst := zeros(op.x)
	g := floats(in[0])
	return y, op.each(floats(in[1]), func(i, at int) { dst[at] += g[i] })
}

// erf is the error function, with derivative 2/√π·e^(-x²).
type erf struct{ t *translation }

func (erf) Arity() int     { return 1 }
func (erf) String() string { return "erf" }
func (erf) Type() hm.Type {
	return hm.NewFnType(hm.TypeVariable('a'), hm.TypeVariable('a'))
}
func (erf) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return in[0].(tensor.Shape).Clone(), nil
}
func (erf) ReturnsPtr() bool      { return true }
func (erf) CallsExtern() bool     { return false }
func (erf) OverwritesInput() int  { return -1 }
func (erf) WriteHash(h hash.Hash) { fmt.Fprint(h, "erf") }
func (erf) Hashcode() uint32      { return hashed("erf") }
func (erf) DiffWRT(int) []bool    { return []bool{true} }

func (erf) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x := floats(in[0])
	y, dst := zeros(in[0].Shape())
	for i, v := range x {
		dst[i] = math.Erf(v)
	}
	return y, nil
}

func (op erf) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	t := op.t
	bell := t.do(gorgonia.Exp(t.do(gorgonia.Neg(t.mul(in[0], in[0])))))
	return gorgonia.Nodes{t.mul(grad, t.mul(bell, t.fill(in[0].Shape(), 2/math.SqrtPi)))}, nil
}
