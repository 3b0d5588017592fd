package onnx

// operator is how an operator is built. least operands have to be there.
type operator struct {
	least  int
	build  func(b *builder, n *node, in []*value) []*value
	scoped func(b *builder, n *node, in []*value, s *scope) []*value // for nodes with graphs in them
}

// operators by name; those of other domains than the default as domain::name. It is filled by a function
// because graphs in nodes lead back to it.
var operators map[string]operator

func init() {
	operators = map[string]operator{}
	for _, t := range []map[string]operator{pointwiseOperators(), arithmeticOperators(), shapeOperators(), moveOperators(), reduceOperators(), productOperators(),
		windowOperators(), normOperators(), recurrentOperators(), lossOperators(), attentionOperators(), controlOperators()} {
		for name, op := range t {
			operators[name] = op
		}
	}
}

// one lifts an operator of one result.
func one(least int, f func(b *builder, n *node, in []*value) *value) operator {
	return operator{least: least, build: func(b *builder, n *node, in []*value) []*value { return []*value{f(b, n, in)} }}
}
