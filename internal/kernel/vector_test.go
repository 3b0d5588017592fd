package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// exactly are the operations in float64, for comparison.
var exactly = [numVectorOps]func(a, b, c, k float64) float64{
	VectorAdd: func(a, b, _, _ float64) float64 { return a + b }, VectorSub: func(a, b, _, _ float64) float64 { return a - b },
	VectorMul: func(a, b, _, _ float64) float64 { return a * b }, VectorDiv: func(a, b, _, _ float64) float64 { return a / b },
	VectorScale: func(a, _, _, k float64) float64 { return k * a }, VectorAddC: func(a, _, _, k float64) float64 { return a + k },
	VectorRelu: func(a, _, _, _ float64) float64 { return math.Max(a, 0) },
	VectorStep: func(a, _, _, _ float64) float64 {
		if a > 0 {
			return 1
		}
		return 0
	},
	VectorRecip: func(a, _, _, _ float64) float64 { return 1 / a }, VectorSqrt: func(a, _, _, _ float64) float64 { return math.Sqrt(a) },
	VectorRsqrt: func(a, _, _, _ float64) float64 { return 1 / math.Sqrt(a) },
	VectorWhere: func(a, b, c, _ float64) float64 {
		if a != 0 {
			return b
		}
		return c
	},
	VectorFill:   func(_, _, _, k float64) float64 { return k },
	VectorMulAdd: func(a, b, c, _ float64) float64 { return a + c }, // a is the rounded product
	VectorExp:    func(a, _, _, _ float64) float64 { return math.Exp(a) }, VectorTanh: func(a, _, _, _ float64) float64 { return math.Tanh(a) },
	VectorSigmoid: func(a, _, _, _ float64) float64 { return sigmoid(a) }, VectorErf: func(a, _, _, _ float64) float64 { return math.Erf(a) },
}

// ulps is how many units in the last place got is off want.
func ulps[T Float](got T, want float64) float64 {
	if math.IsNaN(want) {
		if got != got {
			return 0
		}
		return math.Inf(1)
	}
	if float64(got) == want || float64(got) == float64(T(want)) {
		return 0
	}
	least, digits := -149, 24
	if sizeOf[T]() == 8 {
		least, digits = -1074, 53
	}
	_, exp := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(exp-digits, least))
}

func limit[T Float](op VectorOp) float64 {
	switch {
	case op == VectorRsqrt:
		return 1.6
	case op >= VectorExp && sizeOf[T]() == 4:
		return 2.5
	}
	return 0.5 + 1e-6
}

// special are values at which operations branch.
var special = []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 0.92, -0.92, 4, -4, 9.5, -9.5, 20, -20, 88.7, 89, -87.4, -88, -103, -104, -110, 1e30, -1e30, 1e-30, -1e-30, 1e-42, math.Inf(1), math.Inf(-1), math.NaN()}

func TestVector(t *testing.T) { onPaths(t, testVector[float32], testVector[float64]) }

func testVector[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	block := func(n int) []T {
		x := make([]T, n)
		for i := range x {
			switch {
			case r.IntN(4) == 0:
				x[i] = T(special[r.IntN(len(special))])
			default:
				x[i] = T(r.NormFloat64() * math.Exp(3*r.NormFloat64()))
			}
		}
		return x
	}
	for op := range numVectorOps {
		worst := 0.0
		for n := 1; n <= 70; n++ {
			for offset := range 3 {
				a, b, c, k := block(n + offset)[offset:], block(n + offset)[offset:], block(n), T(r.NormFloat64())
				const guard = 1234
				whole := make([]T, n+32)
				for i := range whole {
					whole[i] = guard
				}
				dst := whole[16 : 16+n]
				Vector(op, dst, a, b, c, k)
				for i, got := range dst {
					x := a[i]
					if op == VectorMulAdd {
						x *= b[i]
					}
					want := exactly[op](float64(x), float64(b[i]), float64(c[i]), float64(k))
					u := ulps(got, want)
					worst = max(worst, u)
					if !(u <= limit[T](op)) {
						t.Fatalf("op %d of (%v, %v, %v; %v): %v, want %v", op, a[i], b[i], c[i], k, got, want)
					}
					// The same bits wherever the element stands.
					one := make([]T, 1)
					Vector(op, one, a[i:i+1], b[i:i+1], c[i:i+1], k)
					if one[0] != got && (one[0] == one[0] || got == got) {
						t.Fatalf("op %d of %v: %v in a block, %v alone", op, a[i], got, one[0])
					}
				}
				for i, v := range whole {
					if (i < 16 || i >= 16+n) && v != guard {
						t.Fatalf("op %d with %d elements writes outside", op, n)
					}
				}
				in := append([]T{}, a...)
				Vector(op, in, in, b, c, k)
				for i := range in {
					if in[i] != dst[i] && (in[i] == in[i] || dst[i] == dst[i]) {
						t.Fatalf("op %d in place: %v, want %v", op, in[i], dst[i])
					}
				}
			}
		}
		t.Logf("op %d: %.3f units in the last place", op, worst)
	}
}

// TestVectorFunctions holds the functions against math over their whole range.
func TestVectorFunctions(t *testing.T) {
	for _, p := range paths() {
		force(t, p)
		for op := VectorExp; op < numVectorOps; op++ {
			const n = 1 << 12
			x, y := make([]float32, n), make([]float32, n)
			worst, at := 0.0, float32(0)
			for part := range 64 {
				for i := range x {
					u := (float64(part*n+i) + 0.5) / (64 * n) // in (0, 1)
					x[i] = float32(220*u - 110)
					if part%2 == 1 {
						x[i] = float32(10*u - 5)
					}
				}
				Vector(op, y, x, nil, nil, 0)
				for i, v := range x {
					if u := ulps(y[i], exactly[op](float64(v), 0, 0, 0)); u > worst {
						worst, at = u, v
					}
				}
			}
			if !(worst <= limit[float32](op)) {
				t.Errorf("%s: op %d at %v is off by %.2f units in the last place", p, op, at, worst)
			}
			t.Logf("%s: op %d: %.2f units in the last place", p, op, worst)
		}
	}
}

func TestVectorLengths(t *testing.T) {
	x := make([]float32, 3)
	defer func() {
		if recover() != badVector {
			t.Error("blocks of different lengths are taken")
		}
	}()
	Vector(VectorAdd, x, x, x[:2], nil, 0)
}

func BenchmarkVector(b *testing.B) {
	for _, p := range paths() {
		force(b, p)
		for _, op := range []VectorOp{VectorAdd, VectorMul, VectorScale, VectorWhere, VectorExp, VectorTanh, VectorErf} {
			x, y, z, d := make([]float32, 512), make([]float32, 512), make([]float32, 512), make([]float32, 512)
			for i := range x {
				x[i], y[i], z[i] = float32(i)/100-2, 1, 2
			}
			b.Run(p+"/"+[...]string{"add", "sub", "mul", "div", "scale", "addc", "relu", "step", "recip", "sqrt", "rsqrt", "where", "fill", "exp", "tanh", "sigmoid", "erf"}[op], func(b *testing.B) {
				for b.Loop() {
					Vector(op, d, x, y, z, 3)
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/512, "ns/element")
			})
		}
	}
}
