package onnx

import (
	"math"
	"strconv"
)

// meant is the float64 that a float32 stands for: a known irrational number that rounds to it, else
// the shortest decimal that does. Exporters write 1e-5, √(2/π) and 1/√d in float32, and the network was
// trained with what they mean.
func meant(v float64) float64 {
	f := float32(v)
	if float64(f) != v || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	a := math.Abs(v)
	if c := math.Sqrt(2 / math.Pi); float32(c) == float32(a) {
		return math.Copysign(c, v)
	}
	const most = 1 << 16 // of the integers under a root
	for _, q := range []float64{a * a, 1 / (a * a)} {
		k := math.Round(q)
		if k < 2 || k > most || math.Abs(q-k) > k*1e-6 {
			continue
		}
		for _, c := range []float64{math.Sqrt(k), 1 / math.Sqrt(k)} {
			if float32(c) == float32(a) {
				return math.Copysign(c, v)
			}
		}
	}
	d, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', -1, 32), 64)
	if err != nil {
		return v
	}
	return d
}
