package graph

import "math"

// Linear is x·Wᵀ + b: x [P, in], w [out, in] as PyTorch stores it, b [out] or nil.
func (g *Graph) Linear(x, w, b *Node) *Node {
	// Transposed first: the directions of W, several at once, then lie side by side in the columns
	// of one matrix product.
	return g.Affine(x, g.Transpose(w, 1, 0), b)
}

// Affine is x·W + b: x [P, in], w [in, out], b [out] or nil.
func (g *Graph) Affine(x, w, b *Node) *Node {
	y := g.MatMul(x, w, false, false)
	if b != nil {
		y = g.Add(y, b)
	}
	return y
}

// BatchNorm is γ·(x − mean)/√(var + eps) + β over the last axis; γ, β, mean and variance have
// shape [C]; γ and β may be nil.
func (g *Graph) BatchNorm(x, gamma, beta, mean, variance *Node, eps float64) *Node {
	scale := g.Rsqrt(g.AddC(variance, eps))
	if gamma != nil {
		scale = g.Mul(gamma, scale)
	}
	y := g.Mul(g.Sub(x, mean), scale)
	if beta != nil {
		y = g.Add(y, beta)
	}
	return y
}

// Moments are the mean and the biased variance over axes, which stay with size 1.
func (g *Graph) Moments(x *Node, axes ...int) (mean, variance *Node) {
	mean = g.Mean(x, axes...)
	d := g.Sub(x, mean)
	return mean, g.Mean(g.Mul(d, d), axes...)
}

// BatchNormBatch is BatchNorm with the statistics of the batch itself, over all axes but the
// last, differentiated through.
func (g *Graph) BatchNormBatch(x, gamma, beta *Node, eps float64) *Node {
	axes := make([]int, x.Rank()-1)
	for i := range axes {
		axes[i] = i
	}
	mean, variance := g.Moments(x, axes...)
	return g.BatchNorm(x, gamma, beta, mean, variance, eps)
}

// LayerNorm normalises over the last axis; γ and β have shape [C] and may be nil.
func (g *Graph) LayerNorm(x, gamma, beta *Node, eps float64) *Node {
	mean, variance := g.Moments(x, -1)
	return g.BatchNorm(x, gamma, beta, mean, variance, eps)
}

// RMSNorm is γ·x/√(mean of x² + eps) over the last axis; γ has shape [C].
func (g *Graph) RMSNorm(x, gamma *Node, eps float64) *Node {
	return g.Mul(g.Mul(x, g.Rsqrt(g.AddC(g.Mean(g.Mul(x, x), -1), eps))), gamma)
}

// Softmax is eˣ/Σeˣ along the last axis.
func (g *Graph) Softmax(x *Node) *Node {
	e := g.Exp(g.Sub(x, g.Detach(g.ReduceMax(x, -1))))
	return g.Mul(e, g.Recip(g.Sum(e, -1)))
}

// LogSoftmax is x − ln Σeˣ along the last axis.
func (g *Graph) LogSoftmax(x *Node) *Node {
	z := g.Sub(x, g.Detach(g.ReduceMax(x, -1)))
	return g.Sub(z, g.Log(g.Sum(g.Exp(z), -1)))
}

// GELU is x·Φ(x), Φ the distribution function of the normal law.
func (g *Graph) GELU(x *Node) *Node {
	return g.Mul(g.Scale(x, 0.5), g.AddC(g.Erf(g.Scale(x, 1/math.Sqrt2)), 1))
}

// GELUTanh is the approximation of GELU by tanh: x/2·(1 + tanh(√(2/π)·(x + 0.044715 x³))).
func (g *Graph) GELUTanh(x *Node) *Node {
	u := g.Scale(g.Add(x, g.Scale(g.Mul(x, g.Mul(x, x)), 0.044715)), math.Sqrt(2/math.Pi))
	return g.Mul(g.Scale(x, 0.5), g.AddC(g.Tanh(u), 1))
}

// SiLU is x·sigmoid(x).
func (g *Graph) SiLU(x *Node) *Node { return g.Mul(x, g.Sigmoid(x)) }

// LeakyRelu is x where x > 0, else slope·x.
func (g *Graph) LeakyRelu(x *Node, slope float64) *Node {
	return g.Where(g.Step(x), x, g.Scale(x, slope))
}

// Elu is x where x > 0, else alpha·(eˣ − 1).
func (g *Graph) Elu(x *Node, alpha float64) *Node {
	neg := g.Min(x, g.Scalar(0)) // keeps the branch not taken finite
	return g.Where(g.Step(x), x, g.Scale(g.AddC(g.Exp(neg), -1), alpha))
}

// CrossEntropy is −ln softmax(f)[target] of each row, 0 for a negative target: f [P, C], targets integers [P], to [P].
func (g *Graph) CrossEntropy(f, targets *Node) *Node {
	return g.CrossEntropySoft(f, g.OneHot(targets, f.Dim(-1)))
}

// CrossEntropySoft is −Σ_c target_c·ln softmax(f)_c of each row: f and targets [P, C], to [P].
func (g *Graph) CrossEntropySoft(f, targets *Node) *Node {
	return g.Neg(g.Drop(g.Sum(g.Mul(g.LogSoftmax(f), targets), -1), -1))
}

// MSE is the mean over outputs of (f − y)² of each row, without a factor ½: f and y [P, C], to [P].
func (g *Graph) MSE(f, y *Node) *Node {
	d := g.Sub(f, y)
	return g.Drop(g.Mean(g.Mul(d, d), -1), -1)
}

// BCEWithLogits is the mean over outputs of softplus(f) − y·f of each row: f and y [P, C], to [P].
func (g *Graph) BCEWithLogits(f, y *Node) *Node {
	return g.Drop(g.Mean(g.Sub(g.Softplus(f), g.Mul(y, f)), -1), -1)
}
