//go:build !purego

package kernel

import "unsafe"

// tileArgs is read by the transforms of tiles; _asm/winograd.go repeats the offsets.
type tileArgs struct {
	planes        unsafe.Pointer // the first value of the first plane
	plane         int            // bytes from plane to plane
	n             int            // values of a pixel
	scratch       unsafe.Pointer
	lanes         unsafe.Pointer // the masks of vectors, see laneMasks
	dst           unsafe.Pointer // of a transform from planes: the first pixel
	row, pixel    int            // bytes
	rows, columns int            // of pixels to write
	ahead         int            // bytes to the same of a later tile, which is fetched
	next          int            // of a transform from planes: bytes to the pixels of a later tile, which are
	pixels        [planes]unsafe.Pointer
}

var _ = [1]struct{}{}[unsafe.Offsetof(tileArgs{}.pixels)-96]

// toPlanes transforms a tile whose pixels, n values from src on, ws.winograd.off names, to planes from dst on, which
// rows of whole lanes have room for; a negative offset stands for zeros. What is so many elements ahead is fetched.
func toPlanes[T Float](ws *Workspace[T], f transform, dst []T, plane int, src []T, n, ahead int) {
	size := sizeOf[T]()
	if path == pathGeneric || size == 8 {
		toPlanesGeneric(f, dst, plane, src, ws.winograd.off[:], n)
		return
	}
	_ = dst[(planes-1)*plane+pad(n)-1]
	b := &ws.winograd
	zeros := unsafe.Pointer(&ws.zeroRow(n)[0])
	p := tileArgs{planes: unsafe.Pointer(&dst[0]), plane: plane * size, n: n, scratch: unsafe.Pointer(&b.scratch), lanes: unsafe.Pointer(&laneMasks), ahead: ahead * size}
	last := len(src) - n
	for i, o := range b.off[:f.side()*f.side()] {
		p.pixels[i] = zeros
		if o >= 0 {
			if o > last {
				panic(shortWinogradX)
			}
			p.pixels[i] = unsafe.Pointer(&src[o])
		}
	}
	callTile(f, &p)
}

// fromPlanes transforms n values of each plane from src on to the pixels of a tile, those of the first rows and columns. What is so
// many elements ahead is fetched, and pixels next elements on.
func fromPlanes[T Float](ws *Workspace[T], f transform, dst []T, row, pixel, rows, columns int, src []T, plane, n, ahead, next int) {
	size := sizeOf[T]()
	if path == pathGeneric || size == 8 {
		fromPlanesGeneric(f, dst, row, pixel, rows, columns, src, plane, n)
		return
	}
	_, _ = dst[(rows-1)*row+(columns-1)*pixel+n-1], src[(planes-1)*plane+n-1]
	p := tileArgs{planes: unsafe.Pointer(&src[0]), plane: plane * size, n: n, scratch: unsafe.Pointer(&ws.winograd.scratch), lanes: unsafe.Pointer(&laneMasks),
		dst: unsafe.Pointer(&dst[0]), row: row * size, pixel: pixel * size, rows: rows, columns: columns, ahead: ahead * size, next: next * size}
	callTile(f, &p)
}

func callTile(f transform, args *tileArgs) {
	p := (*byte)(unsafe.Pointer(args))
	if path == pathAVX2 {
		f += tileGradient + 1
	}
	switch f {
	case tileInput:
		tileInputAVX512(p)
	case tileWeights:
		tileWeightsAVX512(p)
	case tileCotangent:
		tileCotangentAVX512(p)
	case tileOutput:
		tileOutputAVX512(p)
	case tileGradient:
		tileGradientAVX512(p)
	case tileGradient + 1 + tileInput:
		tileInputAVX2(p)
	case tileGradient + 1 + tileWeights:
		tileWeightsAVX2(p)
	case tileGradient + 1 + tileCotangent:
		tileCotangentAVX2(p)
	case tileGradient + 1 + tileOutput:
		tileOutputAVX2(p)
	case tileGradient + 1 + tileGradient:
		tileGradientAVX2(p)
	}
}

// planeProducts is the products of the transformed inputs v of n tiles with the weights, for directions j0 to j1, place by place.
func planeProducts[T Float](ws *Workspace[T], d *Winograd, g *group, m, v []T, terms []WinogradTerm[T], n, j0, j1 int) {
	size := sizeOf[T]()
	if path == pathGeneric || size == 8 {
		planeProductsGeneric(d, g, m, v, terms, n, j0, j1)
		return
	}
	taps, kc := len(terms), cut(d.Cin, blockWinograd/len(terms))
	offsets := grow(&ws.off, 2*maxRows*taps)
	last := lastRows(n, unit())
	x := operandA{m: n, stepK: size, row: g.row * size, off: unsafe.Pointer(&offsets[0]), offRow: 4 * taps}
	if last > 0 {
		x.tail = unsafe.Pointer(&offsets[maxRows*taps])
	}
	p := rowArgs{taps: taps, ldb: panel, ldc: g.rowM * size}
	set := kernelSet[T]()
	for j := j0; j < j1; j++ {
		for i := range terms {
			at := g.at[i] + min(j-j0, terms[i].KX-1)*d.Cin
			for r := range maxRows {
				offsets[r*taps+i] = int32(r*g.row + at)
				offsets[(maxRows+r)*taps+i] = int32(min(r, last-1)*g.row + at)
			}
		}
		for s := range planes {
			for o := 0; o < d.Cout; o += lane {
				w := min(lane, d.Cout-o)
				p.mask, p.lanes = columns(w, size)
				if w == lane {
					p.lanes = nil
				}
				kernel := narrow(set, w, size)
				p.c = unsafe.Pointer(&m[s*g.planeM+(j-j0)*d.Cout+o])
				for c := 0; c < d.Cin; c += kc {
					x.terms, p.add = min(kc, d.Cin-c), min(c, 1)
					x.a = unsafe.Pointer(&v[s*g.plane+c])
					p.b = unsafe.Pointer(&terms[0].U[terms[0].row(d, s, j, o, c)])
					if taps > 1 { // the weights of the second term lie elsewhere
						next := uintptr(unsafe.Pointer(&terms[1].U[terms[1].row(d, s, j, o, c)]))
						p.tapB = int(next-uintptr(p.b)) - x.terms*panel
					}
					x.run(kernel, unit(), size, &p)
				}
			}
		}
	}
}

// planeSums adds the sums over steps of outer products of rows of v and m to acc, place by place; a direction's steps lie together.
func planeSums[T Float](ws *Workspace[T], g *group, acc []T, planeU int, v, m []T, cin, cout int, steps []step) {
	size := sizeOf[T]()
	if path == pathGeneric || size == 8 {
		planeSumsGeneric(g, acc, planeU, v, m, cin, cout, steps)
		return
	}
	for i := range steps {
		steps[i].a *= size
		steps[i].b *= size
	}
	heights, counts := pairBlocks(cin)
	each, row := len(steps)/g.probes, pad(cout)
	p := pairArgs{n: each, ldc: row * size, mask: 1<<lane - 1}
	set := kernelSet[T]()
	for s := range planes {
		for j := range g.probes {
			p.steps = unsafe.Pointer(&steps[j*each])
			for o := 0; o < cout; o += lane {
				p.b = unsafe.Pointer(&m[s*g.planeM+o])
				kernel := narrow(set, min(lane, cout-o), size)
				i := 0
				for kind, blocks := range counts {
					for range blocks {
						p.a = unsafe.Pointer(&v[s*g.plane+i])
						p.c = unsafe.Pointer(&acc[s*planeU+(j*cin+i)*row+o])
						p.m = min(heights[kind], cin-i)
						for r := range p.rows {
							p.rows[r] = min(r, p.m-1) * size
						}
						callPairs(kernel, kind, &p)
						i += p.m
					}
				}
			}
		}
	}
}
