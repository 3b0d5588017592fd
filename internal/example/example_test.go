package example

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"math"
	"slices"
	"testing"
)

// What train.py printed when the files were made, in float64.
const (
	wantLoss     = 0.02898381181387
	wantCorrect  = 996
	wantGradient = 0.03891227218665
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChecksums(t *testing.T) {
	total := 0
	for name, want := range map[string]string{
		Weights: "3bf51ceafc7e9fd9631873a269739ba7572eb50cfdd5ca4f2b55ed23568020ab",
		Images:  "857b8f8a243554eadbdf40cc5374e4242449e104d0aabfc90c84500ac1fd36d0",
		Labels:  "bfc85198780dd5fa3738b261f2281ae0577e81f8c8d43c33737bdd9d75ce85a2",
	} {
		b := read(t, name)
		total += len(b)
		sum := sha256.Sum256(b)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: sha256 %s, want %s", name, got, want)
		}
	}
	if total >= 1<<20 {
		t.Errorf("the files have %d bytes, want less than 1 MiB", total)
	}
	if !bytes.Contains(read(t, License), []byte("Copyright (c) 2017 Zalando SE")) {
		t.Errorf("%s does not hold the copyright notice", License)
	}
}

// readIDX returns the sizes and the body of a gzipped IDX file of bytes.
func readIDX(t *testing.T, name string) ([]int, []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 4 || b[0] != 0 || b[1] != 0 || b[2] != 8 {
		t.Fatalf("%s: not an IDX file of bytes", name)
	}
	dims, body := make([]int, b[3]), b[4:]
	size := 1
	for i := range dims {
		dims[i] = int(binary.BigEndian.Uint32(body))
		body = body[4:]
		size *= dims[i]
	}
	if len(body) != size {
		t.Fatalf("%s: %d bytes for sizes %v", name, len(body), dims)
	}
	return dims, body
}

// readWeights returns the tensors of Weights as float64, each of the shape wanted.
func readWeights(t *testing.T, shapes map[string][]int) map[string][]float64 {
	t.Helper()
	b := read(t, Weights)
	size := binary.LittleEndian.Uint64(b)
	if size > uint64(len(b)-8) {
		t.Fatalf("a header of %d bytes in a file of %d", size, len(b))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+size], &header); err != nil {
		t.Fatal(err)
	}
	data := b[8+size:]
	delete(header, "__metadata__")
	if len(header) != len(shapes) {
		t.Errorf("%d tensors, want %d", len(header), len(shapes))
	}
	out, count := make(map[string][]float64), 0
	for name, shape := range shapes {
		var h struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(header[name], &h); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.DType != "F32" || !slices.Equal(h.Shape, shape) {
			t.Fatalf("%s: %s %v, want F32 %v", name, h.DType, h.Shape, shape)
		}
		raw := data[h.Offsets[0]:h.Offsets[1]]
		a := make([]float64, len(raw)/4)
		for i := range a {
			a[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		}
		out[name] = a
		count += len(a)
	}
	if count != Parameters {
		t.Errorf("%d parameters, want %d", count, Parameters)
	}
	return out
}

// TestLossAndAccuracy holds a forward and a backward pass in plain Go against what train.py saw.
func TestLossAndAccuracy(t *testing.T) {
	const inputs, hidden, outputs = 28 * 28, 20, 10
	p := readWeights(t, map[string][]int{
		"1.weight": {hidden, inputs}, "1.bias": {hidden},
		"3.weight": {outputs, hidden}, "3.bias": {outputs},
	})
	dims, images := readIDX(t, Images)
	if !slices.Equal(dims, []int{Examples, 28, 28}) {
		t.Fatalf("images have sizes %v", dims)
	}
	dims, labels := readIDX(t, Labels)
	if !slices.Equal(dims, []int{Examples}) {
		t.Fatalf("labels have sizes %v", dims)
	}

	gradient := map[string][]float64{}
	for name, a := range p {
		gradient[name] = make([]float64, len(a))
	}
	var loss float64
	correct := 0
	x, h, z := make([]float64, inputs), make([]float64, hidden), make([]float64, outputs)
	for e := range Examples {
		for i := range x {
			x[i] = float64(images[e*inputs+i]) / 255
		}
		for j := range h {
			h[j] = math.Max(0, p["1.bias"][j]+dot(p["1.weight"][j*inputs:(j+1)*inputs], x))
		}
		for c := range z {
			z[c] = p["3.bias"][c] + dot(p["3.weight"][c*hidden:(c+1)*hidden], h)
		}
		y, top := int(labels[e]), slices.Max(z)
		if z[y] == top {
			correct++
		}
		sum := 0.0
		for _, v := range z {
			sum += math.Exp(v - top)
		}
		loss += (top + math.Log(sum) - z[y]) / Examples

		dh := make([]float64, hidden)
		for c := range z {
			d := math.Exp(z[c]-top) / sum
			if c == y {
				d--
			}
			d /= Examples
			gradient["3.bias"][c] += d
			for j := range h {
				gradient["3.weight"][c*hidden+j] += d * h[j]
				dh[j] += d * p["3.weight"][c*hidden+j]
			}
		}
		for j, d := range dh {
			if h[j] == 0 {
				continue
			}
			gradient["1.bias"][j] += d
			row := gradient["1.weight"][j*inputs : (j+1)*inputs]
			for i := range x {
				row[i] += d * x[i]
			}
		}
	}
	norm := 0.0
	for _, g := range gradient {
		norm += dot(g, g)
	}
	norm = math.Sqrt(norm)

	const tol = 1e-11
	if diff := math.Abs(loss - wantLoss); !(diff <= tol) {
		t.Errorf("loss %.13g, want %.13g", loss, wantLoss)
	}
	if diff := math.Abs(norm - wantGradient); !(diff <= tol) {
		t.Errorf("gradient's norm %.13g, want %.13g", norm, wantGradient)
	}
	if correct != wantCorrect {
		t.Errorf("%d classified rightly, want %d", correct, wantCorrect)
	}
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += v * b[i]
	}
	return s
}
