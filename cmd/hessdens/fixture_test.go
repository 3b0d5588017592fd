package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"hessdens/internal/npy/npytest"
)

// The fixtures are a network of 43 parameters, mlp:4-5-3 by the names that PyTorch gives to
// nn.Sequential(Linear, ReLU, Linear), data of 50 examples for it, and what is wrong with either.
const (
	fixtureExamples = 50
	fixtureInputs   = 4
	fixtureClasses  = 3
)

// named is a tensor of a checkpoint.
type named struct {
	name   string
	shape  []int
	values []float32
}

func random(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// weights are the tensors of the network; other seeds are other checkpoints.
func weights(seed uint64) []named {
	return []named{
		{"0.weight", []int{5, 4}, random(seed, 20)}, {"0.bias", []int{5}, random(seed+100, 5)},
		{"2.weight", []int{3, 5}, random(seed+200, 15)}, {"2.bias", []int{3}, random(seed+300, 3)},
	}
}

// seeded are tensors of random values, from their names and shapes in turn.
func seeded(namesAndShapes ...any) []named {
	var out []named
	for i := 0; i < len(namesAndShapes); i += 2 {
		shape := namesAndShapes[i+1].([]int)
		size := 1
		for _, d := range shape {
			size *= d
		}
		out = append(out, named{namesAndShapes[i].(string), shape, random(uint64(1000+i), size)})
	}
	return out
}

// safetensors is a file of float32 tensors; edit changes its header before it is written.
func safetensors(tensors []named, edit func(header map[string]any)) []byte {
	header := map[string]any{}
	var values []byte
	for _, t := range tensors {
		begin := len(values)
		values = append(values, npytest.Bytes(t.values, false)...)
		header[t.name] = map[string]any{"dtype": "F32", "shape": t.shape, "data_offsets": []int{begin, len(values)}}
	}
	if edit != nil {
		edit(header)
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, values)
}

func npz(tensors []named) []byte {
	var entries []npytest.Entry
	for _, t := range tensors {
		entries = append(entries, npytest.Entry{Name: t.name + ".npy", Data: npytest.File("<f4", false, t.shape, t.values)})
	}
	return npytest.Archive(false, entries...)
}

// with is the weights with one tensor changed.
func with(i int, change func(t *named)) []named {
	w := weights(1)
	change(&w[i])
	return w
}

func floats(shape []int, values []float32) []byte { return npytest.File("<f4", false, shape, values) }

func labels(n int, change func(y []int64)) []byte {
	y := make([]int64, n)
	for i := range y {
		y[i] = int64(i % fixtureClasses)
	}
	if change != nil {
		change(y)
	}
	return npytest.File("<i8", false, []int{n}, y)
}

// fixtures are the files that every script finds in its directory.
func fixtures() map[string][]byte {
	good := safetensors(weights(1), nil)
	x := random(5, fixtureExamples*fixtureInputs)
	infinite := slices.Clone(x)
	infinite[7*fixtureInputs+2] = float32(math.Inf(1))
	nan, huge := slices.Clone(x), slices.Clone(x)
	nan[31*fixtureInputs+2], huge[31*fixtureInputs+2] = float32(math.NaN()), 3e38
	huge[31*fixtureInputs], huge[31*fixtureInputs+1], huge[31*fixtureInputs+3] = -3e38, 3e38, -3e38
	shape := []int{fixtureExamples, fixtureInputs}
	long := slices.Clone(good)
	binary.LittleEndian.PutUint64(long, 1<<40)
	images := make([]byte, 10*784)
	for i := range images {
		images[i] = byte(i * 31)
	}
	return map[string][]byte{
		// Checkpoints: the same one twice, and a later one.
		"net.safetensors":   good,
		"net.npz":           npz(weights(1)),
		"later.safetensors": safetensors(weights(2), nil),

		// Data: 50 examples of 4 numbers, with labels 0 to 2, or 3 numbers each.
		"x.npy":        floats(shape, x),
		"x-nan.npy":    floats(shape, nan),  // example 31
		"x-huge.npy":   floats(shape, huge), // for float32
		"y.npy":        labels(fixtureExamples, nil),
		"y-some.npy":   labels(fixtureExamples, func(y []int64) { y[3], y[30] = -100, -100 }),
		"quantity.npy": floats([]int{fixtureExamples, fixtureClasses}, random(6, fixtureExamples*fixtureClasses)),
		"xy.npz":       npytest.Archive(true, npytest.Entry{Name: "x.npy", Data: floats(shape, x)}, npytest.Entry{Name: "y.npy", Data: labels(fixtureExamples, nil)}),

		// Images as bytes, for the embedded network.
		"images.npy": npytest.File("|u1", false, []int{10, 28, 28}, images),
		"digits.npy": labels(10, nil),

		// Networks on images of one channel: vgg:2-M-3-M of any size, and a vision transformer on 28×28.
		"vgg.safetensors": safetensors(seeded("features.0.weight", []int{2, 1, 3, 3}, "features.0.bias", []int{2}, "features.3.weight", []int{3, 2, 3, 3}, "features.3.bias", []int{3},
			"classifier.0.weight", []int{2, 147}, "classifier.0.bias", []int{2}, "classifier.3.weight", []int{2, 2}, "classifier.3.bias", []int{2}, "classifier.6.weight", []int{3, 2}, "classifier.6.bias", []int{3}), nil),
		"vit.safetensors": safetensors(seeded("cls_token", []int{1, 1, 4}, "pos_embed", []int{1, 5, 4}, "patch_embed.proj.weight", []int{4, 1, 14, 14}, "patch_embed.proj.bias", []int{4},
			"blocks.0.norm1.weight", []int{4}, "blocks.0.norm1.bias", []int{4}, "blocks.0.attn.qkv.weight", []int{12, 4}, "blocks.0.attn.qkv.bias", []int{12}, "blocks.0.attn.proj.weight", []int{4, 4}, "blocks.0.attn.proj.bias", []int{4},
			"blocks.0.norm2.weight", []int{4}, "blocks.0.norm2.bias", []int{4}, "blocks.0.mlp.fc1.weight", []int{6, 4}, "blocks.0.mlp.fc1.bias", []int{6}, "blocks.0.mlp.fc2.weight", []int{4, 6}, "blocks.0.mlp.fc2.bias", []int{4},
			"norm.weight", []int{4}, "norm.bias", []int{4}, "head.weight", []int{3, 4}, "head.bias", []int{3}), nil),

		// Checkpoints that cannot be read.
		"empty.safetensors":       {},
		"cut-header.safetensors":  good[:40],
		"cut-values.safetensors":  good[:len(good)-10],
		"long-header.safetensors": long,
		"lies.safetensors": safetensors(weights(1), func(h map[string]any) {
			h["2.bias"].(map[string]any)["shape"] = []int64{1 << 40}
		}),
		"beyond.safetensors": safetensors(weights(1), func(h map[string]any) {
			h["2.bias"].(map[string]any)["data_offsets"] = []int64{160, 1 << 50}
		}),
		"zip.pt":   npytest.Archive(false, npytest.Entry{Name: "archive/data.pkl", Data: []byte{0x80, 2}}, npytest.Entry{Name: "archive/data/0", Data: []byte{0, 0, 0, 0}}),
		"old.pth":  {0x80, 2, 0x8a, 0x0a, 'l', 0xfc, 0x9c, 0x46, 0xf9},
		"net.onnx": []byte("\x08\x07\x12\x07pytorch\x1a\x052.0.0:\x10\x0a\x0e"),

		// Checkpoints that can, and do not fit.
		"shape.safetensors":  safetensors(with(2, func(t *named) { t.shape, t.values = []int{3, 6}, random(1, 18) }), nil),
		"extra.safetensors":  safetensors(append(weights(1), named{"head.weight", []int{2}, []float32{1, 2}}), nil),
		"escape.safetensors": safetensors(append(weights(1), named{"\x1b[2Jhead", []int{2}, []float32{1, 2}}), nil),
		"less.safetensors":   safetensors(weights(1)[:3], nil),
		"other.safetensors":  safetensors([]named{{"encoder.proj", []int{2, 2, 2}, random(1, 8)}}, nil),
		"nan.safetensors":    safetensors(with(3, func(t *named) { t.values[1] = float32(math.NaN()) }), nil),
		"huge.safetensors": safetensors(with(2, func(t *named) {
			for i := range t.values {
				t.values[i] = 1e30
			}
		}), nil),

		// Data that do not fit.
		"x-inf.npy":      floats(shape, infinite),
		"x-five.npy":     floats([]int{10, 5}, random(1, 50)),
		"x-none.npy":     floats([]int{0, 4}, nil),
		"y-none.npy":     labels(0, nil),
		"y-seven.npy":    labels(fixtureExamples, func(y []int64) { y[9] = 7 }),
		"y-negative.npy": labels(fixtureExamples, func(y []int64) { y[9] = -1 }),
		"y-long.npy":     labels(fixtureExamples+1, nil),
	}
}

// writeFixtures puts all of them into a directory.
func writeFixtures(dir string) error {
	for name, b := range fixtures() {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
			return fmt.Errorf("fixture: %w", err)
		}
	}
	return nil
}
