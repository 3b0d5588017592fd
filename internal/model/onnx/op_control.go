package onnx

import (
	"math"
	"slices"

	"hessdens/internal/model/onnx/onnxpb"
)

// axisZero are the attributes of a Concat along the first axis.
var axisZero = map[string]*onnxpb.AttributeProto{"axis": {I: new(int64)}}

func controlOperators() map[string]operator {
	return map[string]operator{
		"If":   {scoped: branch},
		"Loop": {scoped: loop},
	}
}

// branch is the graph that a known condition chooses.
func branch(b *builder, n *node, in []*value, s *scope) []*value {
	if len(in) < 1 || in[0] == nil || n.bodies["then_branch"] == nil || n.bodies["else_branch"] == nil {
		b.fail("a condition or a branch is missing")
	}
	if in[0].c == nil {
		b.fail("the condition depends on the input's values")
	}
	body := n.bodies["else_branch"]
	if b.number(in[0], "the condition") != 0 {
		body = n.bodies["then_branch"]
	}
	return b.evaluate(body, body.outputs, b.inner(body, s))
}

// loop is written out, so the number of turns has to be known.
func loop(b *builder, n *node, in []*value, s *scope) []*value {
	body := n.bodies["body"]
	if body == nil || len(in) < 2 || len(body.inputs) != len(in) || len(body.outputs) < len(in)-1 {
		b.fail("a body that does not fit")
	}
	most := 1 << 12
	turns := most + 1
	if in[0] != nil {
		turns = int(math.Min(b.number(in[0], "the number of turns"), float64(turns))) // the largest int64 stands for no limit
	}
	cond := true
	if in[1] != nil {
		cond = b.number(in[1], "the condition") != 0
	}
	carried := slices.Clone(in[2:])
	var scans [][]*value
	for t := 0; t < turns && cond; t++ {
		if t == most {
			b.fail("more than %d turns", most)
		}
		sc := b.inner(body, s)
		sc.values[body.inputs[0].name] = known(&array{dt: dtInt64, i: []int64{int64(t)}})
		sc.values[body.inputs[1].name] = known(&array{dt: dtBool, i: []int64{truth(cond)}})
		for i, v := range carried {
			sc.values[body.inputs[2+i].name] = v
		}
		out := b.evaluate(body, body.outputs, sc)
		if out[0].c == nil {
			b.fail("the condition depends on the input's values")
		}
		cond = b.number(out[0], "the condition") != 0
		carried = out[1 : 1+len(carried)]
		scans = append(scans, out[1+len(carried):])
	}
	res := slices.Clone(carried)
	for i := range len(body.outputs) - 1 - len(carried) {
		var parts []*value
		for _, sc := range scans {
			parts = append(parts, b.reshaped(sc[i], append([]int{1}, sc[i].shape...)))
		}
		if len(parts) == 0 {
			b.fail("no turns to collect from")
		}
		res = append(res, concat(b, &node{op: "Concat", attr: axisZero}, parts))
	}
	return res
}
