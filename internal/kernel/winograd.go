package kernel

// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, Fast Algorithms for Convolutional Neural
// Networks, 2016): a tile of 4 x 4 outputs of a convolution with 3 x 3 taps takes 36 products for each pair of
// channels where the direct sum takes 144,
//
//	Y = Aᵀ (Σ_c (G g_c Gᵀ) ⊙ (Bᵀ d_c B)) A,
//
// with d the 6 x 6 inputs under the tile and ⊙ elementwise. The sum over channels is a matrix product for each
// of the 36 places (planes). A result differs from the direct sum's by about 1e-6 of the size of what is summed,
// in float32.

const (
	tileSide  = 4
	tileUnder = 6
	planes    = tileUnder * tileUnder

	// lane is what rows of the transformed sides are a multiple of, in elements, and the width of a panel of weights.
	lane = 16

	// MaxWinogradTerms is the most terms of a sum.
	MaxWinogradTerms = 2
)

const (
	badWinograd      = "kernel: sizes, directions, tiles or number of terms of a Winograd convolution out of range"
	shortWinogradX   = "kernel: an input of a Winograd convolution is too short"
	shortWinogradU   = "kernel: transformed weights of a Winograd convolution are too short"
	shortWinogradY   = "kernel: the output of a Winograd convolution is too short"
	shortWinogradDir = "kernel: directions of a term are neither 1 nor the output's"
)

// Winograd describes convolutions of 3 x 3 taps, stride 1, with one zero around the image, by Winograd's
// F(4x4, 3x3): images lie as [Images, Height, Width, k, channels] with k = K, or 1 for what depends on no direction.
type Winograd struct {
	Images, Height, Width int
	Cin, Cout, K          int
}

// Tiles is the number of tiles of an image.
func (d *Winograd) Tiles() int { return up(d.Height, tileSide) * up(d.Width, tileSide) }

func up(n, by int) int { return (n + by - 1) / by }

// pad is the next multiple of lane, and odd the next odd one: rows and planes that lie an odd number of lines
// apart do not displace each other in a cache.
func pad(n int) int { return up(n, lane) * lane }
func odd(n int) int { return pad(n) | lane }

// Weights is the length of transformed weights with k directions.
func (d *Winograd) Weights(k int) int { return planes * k * pad(d.Cout) * d.Cin }

// WinogradTerm is a term of a sum of convolutions: an input and transformed weights, either with K directions or 1.
type WinogradTerm[T Float] struct {
	X  []T // [Images, Height, Width, KX, Cin]
	KX int
	U  []T // by TransformWeights
	KW int
}

// row is where the weights of a place and direction from channel c to the panel of output o begin.
func (x *WinogradTerm[T]) row(d *Winograd, place, j, o, c int) int {
	return ((place*x.KW+min(j, x.KW-1))*pad(d.Cout)+o/lane*lane)*d.Cin + c*lane
}

// WinogradPair is a term of a sum of weight gradients: an input and a cotangent of the output, either with K directions or 1.
type WinogradPair[T Float] struct {
	X  []T // [Images, Height, Width, KX, Cin]
	KX int
	D  []T // [Images, Height, Width, KD, Cout]
	KD int
}

// The transforms of a tile, along each of its two axes.
type transform uint8

const (
	tileInput     transform = iota // Bᵀ: 6 to 6
	tileWeights                    // G: 3 to 6
	tileCotangent                  // A: 4 to 6
	tileOutput                     // Aᵀ: 6 to 4
	tileGradient                   // Gᵀ: 6 to 3
)

// side is the length of an axis before a transform to planes or after one from planes.
func (f transform) side() int { return [...]int{6, 3, 4, 4, 3}[f] }

// winogradBuffers are a worker's, for a group of tiles.
type winogradBuffers[T Float] struct {
	v, m, acc []T // transformed inputs, transformed outputs, sums of weight gradients
	scratch   [planes * lane]T
	turned    [9 * lane * lane]T // weights whose outputs do not lie together
	off       [planes]int
}

// TransformWeights writes G·w·Gᵀ to u for 9 taps, Cin channels and the outputs o0 ≤ o < o1, the first of them a multiple of lane; d's K counts for
// nothing. With reversed the taps of w are in the opposite order, as in the convolution that takes cotangents back to inputs.
func TransformWeights[T Float](ws *Workspace[T], d *Winograd, u, w []T, at Weights, reversed bool, o0, o1 int) {
	if min(d.Cin, d.Cout, at.K) < 1 || o0 < 0 || o0%lane > 0 || o1 < o0 || o1 > d.Cout {
		panic(badWinograd)
	}
	if !at.fit(len(w), 9, d.Cin, d.Cout) {
		panic(shortB)
	}
	if len(u) < d.Weights(at.K) {
		panic(shortWinogradU)
	}
	b := &ws.winograd
	each := d.Cin * pad(d.Cout) // elements of a plane and direction
	for o := o0; o < o1; o += lane {
		n := min(lane, d.Cout-o)
		for j := range at.K {
			from, to := w[j*at.Dir+o*at.Out:], u[j*each+o*d.Cin:]
			for c := 0; c < d.Cin; c += lane {
				some := min(lane, d.Cin-c)
				x, in, tap := from, at.In, at.Tap
				if at.Out != 1 {
					x, in, tap = b.turned[:], lane, lane*lane
					for t := range 9 {
						turn(b.turned[t*tap:], from[t*at.Tap+c*at.In:], n, at.Out, some, at.In)
					}
				} else {
					x = x[c*in:]
				}
				for i := range some {
					for t := range 9 {
						b.off[t] = t*tap + i*in
						if reversed {
							b.off[t] = (8-t)*tap + i*in
						}
					}
					toPlanes(ws, tileWeights, to[(c+i)*lane:], at.K*each, x, n, 0)
				}
			}
		}
	}
}

// turn copies n columns of rows elements, whose steps are given, into rows of lane elements.
func turn[T Float](dst, src []T, n, column, rows, row int) {
	for i := range n {
		from := src[i*column:]
		for r := range rows {
			dst[r*lane+i] = from[r*row]
		}
	}
}

// tileAt is where tile t of a batch begins: its image, row and column.
func (d *Winograd) tileAt(t int) (image, y, x int) {
	across, all := up(d.Width, tileSide), d.Tiles()
	return t / all, t % all / across * tileSide, t % across * tileSide
}

// under writes down the pixels of tile t, or those with the border that an input has; each takes size elements.
func (d *Winograd) under(off *[planes]int, t, size int, border bool) {
	side := tileSide
	image, y0, x0 := d.tileAt(t)
	if border {
		side, y0, x0 = tileUnder, y0-1, x0-1
	}
	i := 0
	for y := y0; y < y0+side; y++ {
		at := (image*d.Height + y) * d.Width
		for x := x0; x < x0+side; x++ {
			off[i] = -1
			if uint(y) < uint(d.Height) && uint(x) < uint(d.Width) {
				off[i] = (at + x) * size
			}
			i++
		}
	}
}

// group is the sizes of what is computed at once: directions j0 to j1 of n tiles.
type group struct {
	tiles, probes int
	at, atM       [MaxWinogradTerms]int // where a term's values begin in a row, of inputs and of cotangents
	row, plane    int                   // of transformed inputs
	rowM, planeM  int                   // of transformed outputs
}

// A group has at least groupTiles tiles, if there are as many, so that weights are read seldom; its transformed sides take about
// groupBytes, if that is possible.
const (
	groupBytes = 2 << 20
	groupTiles = 64
)

// blockWinograd is the most terms of a sum in one chain: shorter than blockK, for the error of a plane's sum is amplified. Changing it
// changes bits.
const blockWinograd = 256

// MulWinograd writes the sum of the convolutions of terms for the tiles t0 ≤ t < t1 of the batch, counted image by image, and the
// directions j0 ≤ j < j1: the pixels under them in y [Images, Height, Width, K, Cout]. The bits of an output depend on the values
// that enter its tile, on the number of terms, on Cin and on the path.
func MulWinograd[T Float](ws *Workspace[T], d *Winograd, y []T, terms []WinogradTerm[T], t0, t1, j0, j1 int) {
	if min(d.Images, d.Height, d.Width, d.Cin, d.Cout, d.K) < 1 || t0 < 0 || t1 < t0 || t1 > d.Images*d.Tiles() ||
		j0 < 0 || j1 < j0 || j1 > d.K || len(terms) < 1 || len(terms) > MaxWinogradTerms {
		panic(badWinograd)
	}
	pixels := d.Images * d.Height * d.Width
	if len(y) < pixels*d.K*d.Cout {
		panic(shortWinogradY)
	}
	for i := range terms {
		x := &terms[i]
		switch {
		case x.KX != 1 && x.KX != d.K || x.KW != 1 && x.KW != d.K:
			panic(shortWinogradDir)
		case len(x.X) < pixels*x.KX*d.Cin:
			panic(shortWinogradX)
		case len(x.U) < d.Weights(x.KW):
			panic(shortWinogradU)
		}
	}
	if t0 == t1 || j0 == j1 {
		return
	}
	g := newGroup(d, terms, t1-t0, j1-j0)
	b := &ws.winograd
	v, m := grow(&b.v, planes*g.plane), grow(&b.m, planes*g.planeM)
	for t := t0; t < t1; t += g.tiles {
		n := min(g.tiles, t1-t)
		for j := j0; j < j1; j += g.probes {
			p := min(g.probes, j1-j)
			for i := range terms {
				x := &terms[i]
				if x.KX == 1 && j > j0 {
					continue // transformed already
				}
				at, wide := directions(x.KX, j, j+p, d.Cin)
				for q := range n {
					d.under(&b.off, t+q, x.KX*d.Cin, true)
					toPlanes(ws, tileInput, v[q*g.row+g.at[i]:], g.plane, x.X[at:], wide, d.ahead(t+q)*x.KX*d.Cin)
				}
			}
			planeProducts(ws, d, &g, m, v, terms, n, j, j+p)
			for q := range n {
				_, y0, x0 := d.tileAt(t + q)
				pixel := d.K * d.Cout
				fromPlanes(ws, tileOutput, y[d.first(t+q)*pixel+j*d.Cout:], d.Width*pixel, pixel,
					min(tileSide, d.Height-y0), min(tileSide, d.Width-x0), m[q*g.rowM:], g.planeM, p*d.Cout, g.rowM, d.ahead(t+q)*pixel)
			}
		}
	}
}

// newGroup chooses the sizes of a group; no bit depends on them.
func newGroup[T Float](d *Winograd, terms []WinogradTerm[T], tiles, probes int) (g group) {
	each, shared := d.Cout, 0 // elements of a place and tile, for each direction and for all
	for i := range terms {
		if terms[i].KX > 1 {
			each += d.Cin
		} else {
			shared += d.Cin
		}
	}
	fit := groupBytes / (planes * sizeOf[T]())
	g.probes = up(probes, up(probes, max(1, (fit/min(tiles, groupTiles)-shared)/each)))
	g.tiles = min(tiles, max(groupTiles, fit/(g.probes*each+shared)))
	for i := range terms {
		g.at[i] = g.row
		g.row += pad(min(terms[i].KX, g.probes) * d.Cin)
	}
	g.rowM = g.probes * d.Cout
	g.spaced()
	return g
}

// spaced keeps rows and planes from displacing each other.
func (g *group) spaced() {
	g.row, g.rowM = odd(g.row), odd(g.rowM)
	g.plane, g.planeM = odd(g.tiles*g.row), odd(g.tiles*g.rowM)
}

// WinogradSpace is how many elements of its workspace MulWinograd uses for so many tiles and directions; of terms KX counts.
func WinogradSpace[T Float](d *Winograd, terms []WinogradTerm[T], tiles, probes int) int {
	g := newGroup(d, terms, tiles, probes)
	return planes * (g.plane + g.planeM)
}

// ahead is how many pixels from tile t the one lies that is fetched in the meantime: two tiles on, the next one being there already.
func (d *Winograd) ahead(t int) int {
	if t+2 >= d.Images*d.Tiles() {
		return 0
	}
	return d.first(t+2) - d.first(t)
}

// first is the first pixel of tile t.
func (d *Winograd) first(t int) int {
	image, y, x := d.tileAt(t)
	return (image*d.Height+y)*d.Width + x
}

// gradientTiles is how many tiles of each term a weight gradient adds up before they go to memory: changing it changes bits.
const gradientTiles = 32

// MulWinogradT writes the sum of the weight gradients of terms over all images to dw [9, Cin, K, Cout], for the channels c0 ≤ c < c1
// of the input and the directions j0 ≤ j < j1. The bits of an output depend on the values that enter it, on Images, Height,
// Width and the path.
func MulWinogradT[T Float](ws *Workspace[T], d *Winograd, dw []T, terms []WinogradPair[T], c0, c1, j0, j1 int) {
	if min(d.Images, d.Height, d.Width, d.Cin, d.Cout, d.K) < 1 || c0 < 0 || c1 < c0 || c1 > d.Cin ||
		j0 < 0 || j1 < j0 || j1 > d.K || len(terms) < 1 || len(terms) > MaxWinogradTerms {
		panic(badWinograd)
	}
	if len(dw) < 9*d.Cin*d.K*d.Cout {
		panic(shortWinogradY)
	}
	pixels := d.Images * d.Height * d.Width
	for i := range terms {
		x := &terms[i]
		switch {
		case x.KX != 1 && x.KX != d.K || x.KD != 1 && x.KD != d.K:
			panic(shortWinogradDir)
		case len(x.X) < pixels*x.KX*d.Cin:
			panic(shortWinogradX)
		case len(x.D) < pixels*x.KD*d.Cout:
			panic(shortWinogradY)
		}
	}
	if c0 == c1 || j0 == j1 {
		return
	}
	p, cin := j1-j0, c1-c0
	tiles := d.Images * d.Tiles()
	g := newGroupT(d, terms, cin, p)
	b := &ws.winograd
	// Whole panels are read: the last one of the last row may end behind it.
	v, m := grow(&b.v, planes*g.plane), grow(&b.m, planes*g.planeM+lane)
	planeU := d.planeU(cin, p)
	acc := grow(&b.acc, planes*planeU)
	clear(acc)
	for t := 0; t < tiles; t += g.tiles {
		n := min(g.tiles, tiles-t)
		for i := range terms {
			x := &terms[i]
			for q := range n {
				ahead := d.ahead(t + q)
				d.under(&b.off, t+q, x.KX*d.Cin, true)
				if at, wide := directions(x.KX, j0, j1, d.Cin); cin == d.Cin {
					toPlanes(ws, tileInput, v[q*g.row+g.at[i]:], g.plane, x.X[at:], wide, ahead*x.KX*d.Cin)
				} else {
					for j := range wide / d.Cin {
						toPlanes(ws, tileInput, v[q*g.row+g.at[i]+j*cin:], g.plane, x.X[at+j*d.Cin+c0:], cin, ahead*x.KX*d.Cin)
					}
				}
				at, wide := directions(x.KD, j0, j1, d.Cout)
				d.under(&b.off, t+q, x.KD*d.Cout, false)
				toPlanes(ws, tileCotangent, m[q*g.rowM+g.atM[i]:], g.planeM, x.D[at:], wide, ahead*x.KD*d.Cout)
			}
		}
		// The steps of a direction: all tiles of a term, then those of the next.
		steps := grow(&ws.steps, p*len(terms)*n+stepsAhead)[:0]
		for j := range p {
			for i := range terms {
				a, c := g.at[i]+min(j, terms[i].KX-1)*cin, g.atM[i]+min(j, terms[i].KD-1)*d.Cout
				for q := range n {
					steps = append(steps, step{q*g.row + a, q*g.rowM + c})
				}
			}
		}
		planeSums(ws, &g, acc, planeU, v, m, cin, d.Cout, steps)
	}
	for j := range p {
		for c := range cin {
			at := ((c0+c)*d.K + j0 + j) * d.Cout
			tap := d.Cin * d.K * d.Cout
			fromPlanes(ws, tileGradient, dw[at:], 3*tap, tap, 3, 3, acc[(j*cin+c)*pad(d.Cout):], planeU, d.Cout, pad(d.Cout), d.K*d.Cout)
		}
	}
}

// newGroupT is the sizes of a group of a weight gradient; rowM and planeM are those of transformed cotangents.
func newGroupT[T Float](d *Winograd, terms []WinogradPair[T], channels, probes int) group {
	g := group{tiles: min(gradientTiles, d.Images*d.Tiles()), probes: probes}
	for i := range terms {
		g.at[i], g.atM[i] = g.row, g.rowM
		g.row += pad((min(terms[i].KX, probes)-1)*channels + pad(channels)) // each direction's whole lanes are written
		g.rowM += pad(min(terms[i].KD, probes) * d.Cout)
	}
	g.spaced()
	return g
}

// planeU is the elements from plane to plane of the sums of a weight gradient.
func (d *Winograd) planeU(channels, probes int) int { return odd(probes * channels * pad(d.Cout)) }

// WinogradSpaceT is how many elements of its workspace MulWinogradT uses for so many channels and directions; of terms KX and KD
// count.
func WinogradSpaceT[T Float](d *Winograd, terms []WinogradPair[T], channels, probes int) int {
	g := newGroupT(d, terms, channels, probes)
	return planes * (g.plane + g.planeM + d.planeU(channels, probes))
}

// directions is where the values of directions j0 to j1 begin in a pixel, and how many they are; a pixel has k of n each.
func directions(k, j0, j1, n int) (at, wide int) {
	if k == 1 {
		return 0, n
	}
	return j0 * n, (j1 - j0) * n
}
