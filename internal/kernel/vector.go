package kernel

import "math"

// VectorOp is an operation on each element of a block.
type VectorOp uint8

// The operations: k is the constant of the call.
const (
	VectorAdd     VectorOp = iota // a + b
	VectorSub                     // a − b
	VectorMul                     // a·b
	VectorDiv                     // a/b
	VectorScale                   // k·a
	VectorAddC                    // a + k
	VectorRelu                    // a where a > 0 or a is not a number, else 0
	VectorStep                    // 1 where a > 0, else 0
	VectorRecip                   // 1/a
	VectorSqrt                    // √a
	VectorRsqrt                   // 1/√a
	VectorWhere                   // b where a ≠ 0, else c
	VectorFill                    // k
	VectorMulAdd                  // a·b + c, the product rounded
	VectorExp                     // eᵃ
	VectorTanh                    // tanh a
	VectorSigmoid                 // 1/(1 + e⁻ᵃ)
	VectorErf                     // erf a
	numVectorOps

	// Of scripts only, on elements of positions: a for each channel, and the sum of a over channels.
	VectorSpread = numVectorOps
	VectorSum    = numVectorOps + 1
)

// operands is how many blocks an operation reads.
var operands = [numVectorOps]int{VectorAdd: 2, VectorSub: 2, VectorMul: 2, VectorDiv: 2, VectorScale: 1, VectorAddC: 1, VectorRelu: 1,
	VectorStep: 1, VectorRecip: 1, VectorSqrt: 1, VectorRsqrt: 1, VectorWhere: 3, VectorMulAdd: 3, VectorExp: 1, VectorTanh: 1, VectorSigmoid: 1, VectorErf: 1}

const badVector = "kernel: blocks of a vector operation differ in length"

// Vector computes op on each element of blocks of dst's length; operands that op does not read may be nil, and dst
// may be one of them. The bits of an element depend on its operands and on the path, and not on its place in the
// block. Errors are below 0.5 units in the last place for arithmetic, below 2.5 for the functions, 1.5 for 1/√a; in float64 functions
// are those of package math.
func Vector[T Float](op VectorOp, dst, a, b, c []T, k T) {
	n := len(dst)
	if n == 0 {
		return
	}
	for i, x := range [...][]T{a, b, c} {
		if i < operands[op] && len(x) != n {
			panic(badVector)
		}
	}
	if path == pathGeneric || !vectorised[T](op) {
		vectorGeneric(op, dst, a, b, c, k)
		return
	}
	step := Step[T]{Op: op, A: 1, B: 2, C: 3, K: k}
	code := step.instruction()
	passes := [1]pass{{code: &code, count: 1}}
	lists := [2]strips{plain[T](alone[widest()])}
	most := aloneBytes / sizeOf[T]()
	for at := 0; at < n; at += most {
		slots := [4][]T{dst, a, b, c}
		m := min(n-at, most)
		for i := range slots[:1+operands[op]] {
			slots[i] = slots[i][at : at+m]
		}
		kernels(passes[:], &lists, slots[:], m, 0)
	}
}

// vectorised says whether there are kernels for op: functions of float64 are those of package math.
func vectorised[T Float](op VectorOp) bool {
	return sizeOf[T]() == 4 || op < VectorExp || op > VectorErf
}

const aloneBytes = 16 << 10 // of a block of a step by itself

// alone are the strips of such a block, by how many vectors they have.
var alone = [...][]strip{4: stripsOf(aloneBytes, 4, 32), 8: stripsOf(aloneBytes, 8, 64)}

// AddTo adds src, at least as long as dst, to dst in float64.
func AddTo[T Float](dst []float64, src []T) {
	less, one := [...]float64{-1}, [...][]T{src}
	Minus(dst, less[:], one[:], 0)
}

func vectorGeneric[T Float](op VectorOp, dst, a, b, c []T, k T) {
	switch op {
	case VectorAdd:
		b = b[:len(a)]
		for i, x := range a {
			dst[i] = x + b[i]
		}
	case VectorSub:
		b = b[:len(a)]
		for i, x := range a {
			dst[i] = x - b[i]
		}
	case VectorMul:
		b = b[:len(a)]
		for i, x := range a {
			dst[i] = x * b[i]
		}
	case VectorDiv:
		b = b[:len(a)]
		for i, x := range a {
			dst[i] = x / b[i]
		}
	case VectorScale:
		for i, x := range a {
			dst[i] = k * x
		}
	case VectorAddC:
		for i, x := range a {
			dst[i] = x + k
		}
	case VectorRelu:
		for i, x := range a {
			if x <= 0 {
				x = 0
			}
			dst[i] = x
		}
	case VectorStep:
		for i, x := range a {
			var y T
			if x > 0 {
				y = 1
			}
			dst[i] = y
		}
	case VectorRecip:
		for i, x := range a {
			dst[i] = 1 / x
		}
	case VectorSqrt:
		for i, x := range a {
			dst[i] = T(math.Sqrt(float64(x)))
		}
	case VectorRsqrt:
		for i, x := range a {
			dst[i] = T(1 / math.Sqrt(float64(x)))
		}
	case VectorWhere:
		b, c = b[:len(a)], c[:len(a)]
		for i, x := range a {
			y := c[i]
			if x != 0 {
				y = b[i]
			}
			dst[i] = y
		}
	case VectorFill:
		for i := range dst {
			dst[i] = k
		}
	case VectorMulAdd:
		b, c = b[:len(a)], c[:len(a)]
		for i, x := range a {
			dst[i] = T(x*b[i]) + c[i]
		}
	case VectorExp:
		for i, x := range a {
			dst[i] = T(math.Exp(float64(x)))
		}
	case VectorTanh:
		for i, x := range a {
			dst[i] = T(math.Tanh(float64(x)))
		}
	case VectorSigmoid:
		for i, x := range a {
			dst[i] = T(sigmoid(float64(x)))
		}
	case VectorErf:
		for i, x := range a {
			dst[i] = T(math.Erf(float64(x)))
		}
	}
}

// sigmoid does not overflow.
func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}
