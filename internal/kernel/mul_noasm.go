//go:build !amd64 || purego

package kernel

func bestPath() string { return pathGeneric }

func mul[T Float](ws *Workspace[T], d *MatMul, c, a, b []T) { mulGeneric(ws, d, c, a, b) }

func mulGather[T Float](ws *Workspace[T], d *Gather, c, a, b []T) { mulGatherGeneric(ws, d, c, a, b) }

func mulGatherT[T Float](ws *Workspace[T], d *GatherT, c, a, b []T) {
	mulGatherTGeneric(ws, d, c, a, b)
}

func maxOffset(off []int32) int32 { return maxOffsetGeneric(off) }

func peakRounds[T Float](n int) (flops float64) {
	flops, _ = peakGeneric[T](n)
	return flops
}

func vector[T Float](op VectorOp, dst, a, b, c []T, k T) { vectorGeneric(op, dst, a, b, c, k) }

func mulSparse[T Float](d *Sparse, c, a, b []T) { mulSparseGeneric(d, c, a, b) }

func dots[T Float]([]float64, [][]T, int, []float64) int { return 0 }

func minus[T Float](_, _ []float64, _ [][]T, _ int) int { return 0 }
