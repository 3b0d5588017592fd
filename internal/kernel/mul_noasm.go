//go:build !amd64 || purego

package kernel

func bestPath() string { return pathGeneric }

func mul[T Float](ws *Workspace[T], d *MatMul, c, a, b []T, _ arranged[T]) {
	mulGeneric(ws, d, c, a, b)
}

func arrangeRows[T Float](_ *[]T, _ *MatMul, _ []T) []T { return nil }

func mulSums[T Float](_ *Workspace[T], _ *Terms, _ []T, _ []Term[T], _ int, _ []Area[T]) bool {
	return false
}

func mulGather[T Float](ws *Workspace[T], d *Gather, c, a, b []T, _ *Panels[T], _ int) {
	mulGatherGeneric(ws, d, c, a, b)
}

func panelsLen[T Float](k, n int) int { return k * n }

func (p *Panels[T]) pack(d *MatMul, b []T, step int) { p.packGeneric(d, b, step) }

func (p *Panels[T]) packGather(d *Gather, b []T, at Weights, taps []int) {
	p.packGatherGeneric(d, b, at, taps)
}

func mulGatherT[T Float](ws *Workspace[T], d *GatherT, c, a, b []T) {
	mulGatherTGeneric(ws, d, c, a, b)
}

func maxOffset(off []int32) int32 { return maxOffsetGeneric(off) }

func peakRounds[T Float](n int) (flops float64) {
	flops, _ = peakGeneric[T](n)
	return flops
}

func kernels[T Float]([]pass, *[2]strips, [][]T, int, int) {}

func vectorWidth() int { return line }

func mulSparse[T Float](d *Sparse, c, a, b []T) { mulSparseGeneric(d, c, a, b) }

func repeat[T Float](_, _ []T, _, _ int) bool { return false }

// Fetch asks for x to be brought nearer; no kernels are there for it.
func Fetch[T Float](_ []T) {}

func addRows[T Float](_, _ []T, _, _ int) bool { return false }

func toPlanes[T Float](ws *Workspace[T], f transform, dst []T, plane int, src []T, n, _ int) {
	toPlanesGeneric(f, dst, plane, src, ws.winograd.off[:], n)
}

func fromPlanes[T Float](_ *Workspace[T], f transform, dst []T, row, pixel, rows, cols int, src []T, plane, n, _, _ int) {
	fromPlanesGeneric(f, dst, row, pixel, rows, cols, src, plane, n)
}

func planeProducts[T Float](_ *Workspace[T], d *Winograd, g *group, m, v []T, terms []WinogradTerm[T], n, j0, j1 int) {
	planeProductsGeneric(d, g, m, v, terms, n, j0, j1)
}

func planeSums[T Float](_ *Workspace[T], g *group, acc []T, planeU int, v, m []T, cin, cout int, steps []step) {
	planeSumsGeneric(g, acc, planeU, v, m, cin, cout, steps)
}

func dots[T Float]([]float64, [][]T, int, []float64) int { return 0 }

func minus[T Float](_, _ []float64, _ [][]T, _ int) int { return 0 }
