package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"hessdens/internal/npy/npytest"
)

// writeONNXFixtures puts ONNX files with losses of their own into a directory (those of internal/model/onnx, which says how they were made),
// and data for them: 50 examples of 6 numbers with labels 0 to 2, or 3 numbers each; 20 sequences of 7 tokens below 20.
func writeONNXFixtures(dir string) error {
	var errs []error
	put := func(name string, b []byte) { errs = append(errs, os.WriteFile(filepath.Join(dir, name), b, 0o666)) }
	for _, name := range []string{"ce.dynamo.onnx", "sum.torchscript.onnx", "weights.dynamo.onnx", "mse.dynamo.onnx", "fixed.torchscript.onnx", "lm.dynamo.onnx", "bert.dynamo.onnx"} {
		b, err := os.ReadFile(filepath.Join("../../internal/model/onnx/testdata/loss", name))
		errs = append(errs, err)
		put(name, b)
	}
	r := rand.New(rand.NewPCG(1, 2))
	tokens := func(below int64) []byte {
		v := make([]int64, 20*7)
		for i := range v {
			v[i] = r.Int64N(below)
		}
		return npytest.File("<i8", false, []int{20, 7}, v)
	}
	put("x6.npy", floats([]int{fixtureExamples, 6}, random(7, fixtureExamples*6)))
	put("ids.npy", tokens(20))
	put("ids11.npy", tokens(11))
	put("next11.npy", tokens(11))
	put("y20.npy", labels(20, nil))
	return errors.Join(errs...)
}
