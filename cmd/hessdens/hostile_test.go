package main

import (
	"slices"
	"strings"
	"testing"
)

// A network without parameters is refused: there is nothing to measure. (It ended the program once.)
func TestNoParameters(t *testing.T) {
	t.Chdir(t.TempDir())
	part := func(tag byte, b ...[]byte) []byte { // of a protobuf
		all := slices.Concat(b...)
		return append([]byte{tag, byte(len(all))}, all...)
	}
	text := func(tag byte, s string) []byte { return part(tag, []byte(s)) }
	info := func(tag byte, name string) []byte { // of float32 [N, 4]
		shape := part(0x12, part(0x0a, text(0x12, "N")), part(0x0a, []byte{0x08, 4}))
		return part(tag, text(0x0a, name), part(0x12, part(0x0a, []byte{0x08, 1}, shape)))
	}
	graph := part(0x3a, part(0x0a, text(0x0a, "x"), text(0x12, "y"), text(0x22, "Relu")), text(0x12, "g"), info(0x5a, "x"), info(0x62, "y"))
	put(t, "relu.onnx", slices.Concat([]byte{0x08, 8}, graph, part(0x42, []byte{0x10, 17})))
	put(t, "x.npy", floats([]int{2, 4}, random(1, 8)))
	put(t, "y.npy", floats([]int{2, 4}, random(2, 8)))
	for _, args := range []string{"inspect relu.onnx", "inspect --model relu.onnx", "inspect --model relu.onnx --data x.npy,y.npy --evaluate", "estimate --model relu.onnx --data x.npy,y.npy"} {
		status, _, stderr := call(t, "", strings.Fields(args)...)
		if status != exitInput || !strings.Contains(stderr, "relu.onnx: the network has no parameters") {
			t.Errorf("%s: exit status %d, %s", args, status, stderr)
		}
	}
}
