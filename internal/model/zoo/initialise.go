package zoo

import (
	"math"
	"slices"
	"strings"

	"hessdens/internal/model"
	"hessdens/internal/tensor"
)

// Initialise gives the network seeded initial values, of the scale that PyTorch's have and rounded to
// float32. Weights of linear and convolution layers and their biases are uniform within ±1/√fan_in
// (PyTorch's default); for networks on tokens weights and embeddings are approximately normal with
// standard deviation 0.02 and biases 0 (GPT-2's); normalisation has γ = 1, β = 0, mean 0, variance 1;
// scales of layers are 1.
//
// The values are a function of the seed and the shapes alone, the same on every machine and in
// every version: they come from SplitMix64 (Steele, Lea and Flood 2014), and by operations
// whose result IEEE 754 fixes.
func Initialise(n *model.Network, seed uint64) {
	r := splitMix(seed)
	bounds := map[string]float64{} // of the bias that belongs to a weight
	for i, p := range n.Params {
		prefix, kind := cutKind(p.Name)
		v := make([]float64, tensor.Count(p.Shape))
		switch {
		case len(p.Shape) > 1:
			bound := 1 / math.Sqrt(float64(tensor.Count(p.Shape[1:])))
			if n.Tokens {
				bound = 0
			}
			bounds[prefix] = bound
			for j := range v {
				if n.Tokens {
					v[j] = 0.02 * r.normal()
				} else {
					v[j] = bound * r.symmetric()
				}
			}
		case kind == "weight", kind == "gamma":
			v = slices.Repeat([]float64{1}, len(v))
		case bounds[prefix] > 0:
			for j := range v {
				v[j] = bounds[prefix] * r.symmetric()
			}
		}
		for j := range v {
			v[j] = float64(float32(v[j]))
		}
		n.Params[i].Values = v
	}
	for i, b := range n.Buffers {
		fill := 0.0
		if strings.HasSuffix(b.Name, "running_var") {
			fill = 1
		}
		n.Buffers[i].Values = slices.Repeat([]float64{fill}, tensor.Count(b.Shape))
	}
}

type splitMix uint64

func (r *splitMix) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform is in [0, 1), a multiple of 2⁻⁵³.
func (r *splitMix) uniform() float64 { return float64(r.next()>>11) * 0x1p-53 }

// symmetric is uniform in [-1, 1).
func (r *splitMix) symmetric() float64 { return float64(2*r.uniform()) - 1 }

// normal is the sum of twelve uniform numbers less 6: mean 0, variance 1, nearly normal, and free of
// library functions whose last bit differs between machines.
func (r *splitMix) normal() float64 {
	s := -6.0
	for range 12 {
		s += r.uniform()
	}
	return s
}
