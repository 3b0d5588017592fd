package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// winogradCase is a random sum of convolutions with its operands between guards.
type winogradCase[T Float] struct {
	d     Winograd
	x, dx *buffer[T] // without directions, with
	w, dw *buffer[T] // [9, Cin, 1 or K, Cout]
	y, dy *buffer[T] // cotangents of outputs
}

func newWinograd[T Float](rng *rand.Rand, d Winograd, draw func() float64) *winogradCase[T] {
	make := func(n int) *buffer[T] {
		b := newBuffer[T](rng, n)
		for i := range b.v {
			b.v[i] = T(draw())
		}
		return b
	}
	pixels := d.Images * d.Height * d.Width
	return &winogradCase[T]{d, make(pixels * d.Cin), make(pixels * d.K * d.Cin), make(9 * d.Cin * d.Cout), make(9 * d.Cin * d.K * d.Cout),
		make(pixels * d.Cout), make(pixels * d.K * d.Cout)}
}

// The sums of terms: both of a product rule, or one alone.
const (
	bothTerms = iota
	inputTerm
	weightTerm
	termSets
)

func (q *winogradCase[T]) terms(ws *Workspace[T], rng *rand.Rand, set int, reversed bool) (terms []WinogradTerm[T]) {
	d := &q.d
	weights := func(w []T, k int) []T {
		u := newBuffer[T](rng, d.Weights(k))
		o := min(d.Cout, rng.IntN(d.Cout/lane+2)*lane)
		at := Weights{d.Cin * k * d.Cout, k * d.Cout, 1, d.Cout, k}
		TransformWeights(ws, d, u.v, w, at, reversed, 0, o)
		if o%lane == 0 {
			TransformWeights(ws, d, u.v, w, at, reversed, o, d.Cout)
		}
		checkGuards(u)
		return u.v
	}
	if set != inputTerm {
		terms = append(terms, WinogradTerm[T]{q.x.v, 1, weights(q.dw.v, d.K), d.K})
	}
	if set != weightTerm {
		terms = append(terms, WinogradTerm[T]{q.dx.v, d.K, weights(q.w.v, 1), 1})
	}
	return terms
}

func checkGuards[T Float](b *buffer[T]) {
	n := 0
	for _, x := range b.all {
		if x != x {
			n++
		}
	}
	if n < len(b.all)-len(b.v) {
		panic("wrote outside of a buffer")
	}
}

func (q *winogradCase[T]) pairs(set int) (pairs []WinogradPair[T]) {
	if set != inputTerm {
		pairs = append(pairs, WinogradPair[T]{q.x.v, 1, q.dy.v, q.d.K})
	}
	if set != weightTerm {
		pairs = append(pairs, WinogradPair[T]{q.dx.v, q.d.K, q.y.v, 1})
	}
	return pairs
}

// direct calls f for every product of the direct sum: places in an input, a weight and an output with one direction each.
func (d *Winograd) direct(reversed bool, f func(x, w, y int)) {
	for n := range d.Images {
		for y := range d.Height {
			for x := range d.Width {
				for t := range 9 {
					yy, xx := y+t/3-1, x+t%3-1
					if yy < 0 || yy >= d.Height || xx < 0 || xx >= d.Width {
						continue
					}
					tap := t
					if reversed {
						tap = 8 - t
					}
					f((n*d.Height+yy)*d.Width+xx, tap, (n*d.Height+y)*d.Width+x)
				}
			}
		}
	}
}

// outputs is the sum of a set of terms in float64.
func (q *winogradCase[T]) outputs(set int, reversed bool) []float64 {
	d := &q.d
	want := make([]float64, len(q.dy.v))
	d.direct(reversed, func(x, t, y int) {
		for j := range d.K {
			for c := range d.Cin {
				xv, dxv := float64(q.x.v[x*d.Cin+c]), float64(q.dx.v[(x*d.K+j)*d.Cin+c])
				if set == weightTerm {
					dxv = 0
				}
				if set == inputTerm {
					xv = 0
				}
				for o := range d.Cout {
					want[(y*d.K+j)*d.Cout+o] += xv*float64(q.dw.v[((t*d.Cin+c)*d.K+j)*d.Cout+o]) + dxv*float64(q.w.v[(t*d.Cin+c)*d.Cout+o])
				}
			}
		}
	})
	return want
}

// gradients is the sum of a set of weight gradients in float64.
func (q *winogradCase[T]) gradients(set int) []float64 {
	d := &q.d
	want := make([]float64, len(q.dw.v))
	d.direct(false, func(x, t, y int) {
		for j := range d.K {
			for c := range d.Cin {
				xv, dxv := float64(q.x.v[x*d.Cin+c]), float64(q.dx.v[(x*d.K+j)*d.Cin+c])
				if set == weightTerm {
					dxv = 0
				}
				if set == inputTerm {
					xv = 0
				}
				for o := range d.Cout {
					want[((t*d.Cin+c)*d.K+j)*d.Cout+o] += xv*float64(q.dy.v[(y*d.K+j)*d.Cout+o]) + dxv*float64(q.y.v[y*d.Cout+o])
				}
			}
		}
	})
	return want
}

// relative is ‖got − want‖/‖want‖.
func relative[T Float](got []T, want []float64) float64 {
	var e, z float64
	for i, w := range want {
		e += (float64(got[i]) - w) * (float64(got[i]) - w)
		z += w * w
	}
	return math.Sqrt(e / z)
}

// tolWinograd bounds the relative error of results of random data in units of the unit roundoff; 20 to 40 are seen with
// hundreds of channels.
const tolWinograd = 60

var winogradSizes = []Winograd{
	{1, 1, 1, 1, 1, 1},
	{2, 2, 3, 3, 5, 2},
	{1, 4, 4, 16, 16, 3},
	{3, 5, 7, 17, 20, 2},
	{2, 6, 6, 33, 8, 3},
	{5, 7, 7, 20, 33, 1},
	{2, 13, 4, 16, 24, 4},
	{1, 8, 9, 5, 64, 2},
	{7, 8, 8, 9, 31, 2},
}

func TestWinograd(t *testing.T) {
	onPaths(t, testWinograd[float32], testWinograd[float64])
}

func testWinograd[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	var ws Workspace[T]
	for i, d := range winogradSizes {
		if stride > 1 && i%4 > 0 {
			continue
		}
		q := newWinograd[T](rng, d, rng.NormFloat64)
		for set := range termSets {
			reversed := (i+set)%2 == 1
			terms := q.terms(&ws, rng, set, reversed)
			want := q.outputs(set, reversed)
			got := newBuffer[T](rng, len(want))
			// In two parts: what the first leaves alone stays NaN.
			all := d.Images * d.Tiles()
			half := rng.IntN(all + 1)
			MulWinograd(&ws, &d, got.v, terms, 0, half, 0, d.K)
			for at, v := range got.v {
				image, y, x := at/(d.Height*d.Width*d.K*d.Cout), at/(d.Width*d.K*d.Cout)%d.Height, at/(d.K*d.Cout)%d.Width
				tile := image*d.Tiles() + y/4*((d.Width+3)/4) + x/4
				if (v == v) != (tile < half) {
					t.Fatalf("%+v: tile %d of %d is %v", d, tile, half, v)
				}
			}
			MulWinograd(&ws, &d, got.v, terms, half, all, 0, d.K)
			if e := relative(got.v, want); !(e <= tolWinograd*eps[T]()) {
				t.Fatalf("%+v, terms %d: relative error %g", d, set, e)
			}
			checkGuards(got)

			pairs := q.pairs(set)
			grad := newBuffer[T](rng, len(q.dw.v))
			j, c := rng.IntN(d.K+1), rng.IntN(d.Cin+1)
			MulWinogradT(&ws, &d, grad.v, pairs, 0, d.Cin, 0, j)
			for at, v := range grad.v {
				if (v == v) != (at/d.Cout%d.K < j) {
					t.Fatalf("%+v: direction %d of %d is %v", d, at/d.Cout%d.K, j, v)
				}
			}
			MulWinogradT(&ws, &d, grad.v, pairs, 0, c, j, d.K)
			MulWinogradT(&ws, &d, grad.v, pairs, c, d.Cin, j, d.K)
			if e := relative(grad.v, q.gradients(set)); !(e <= tolWinograd*eps[T]()) {
				t.Fatalf("%+v, terms %d: relative error of the gradient %g", d, set, e)
			}
			checkGuards(grad)
		}
	}
}

// Data of every kind, many channels: the error stays near that of the direct sum.
func TestWinogradErrors(t *testing.T) {
	for _, p := range paths() {
		force(t, p)
		t.Run(p, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(12, 12))
			var ws Workspace[float32]
			walk := 0.
			kinds := []struct {
				name string
				draw func() float64
			}{
				{"normal", rng.NormFloat64},
				{"positive", func() float64 { return math.Abs(rng.NormFloat64()) }},
				{"offset", func() float64 { return 1 + 0.1*rng.NormFloat64() }},
				{"correlated", func() float64 { walk = 0.98*walk + 0.2*rng.NormFloat64(); return walk }},
				{"sparse", func() float64 { return max(0, rng.NormFloat64()-1) }},
			}
			for _, c := range []int{16, 64, 512} {
				d := Winograd{2, 8, 8, c, 16, 1}
				if c == 512 && p == pathGeneric || c > 16 && stride > 1 {
					continue
				}
				for _, kind := range kinds {
					q := newWinograd[float32](rng, d, kind.draw)
					got, near := make([]float32, len(q.y.v)), make([]float32, len(q.y.v))
					want := q.outputs(bothTerms, false)
					MulWinograd(&ws, &d, got, q.terms(&ws, rng, bothTerms, false), 0, d.Images*d.Tiles(), 0, d.K)
					g := image{d.Images, d.Height, d.Width, 3, 1, 1, 1, 1}
					off, rows, taps, _ := g.table(c)
					h := Gather{Rows: rows, Taps: taps, Width: c, N: d.Cout, Off: off, TapB: c * d.Cout, RowB: d.Cout, RowC: d.Cout}
					MulGather(&ws, &h, near, q.x.v, q.dw.v)
					h.Add = true
					MulGather(&ws, &h, near, q.dx.v, q.w.v)
					e, direct := relative(got, want), relative(near, want)

					grad := make([]float32, len(q.dw.v))
					MulWinogradT(&ws, &d, grad, q.pairs(bothTerms), 0, d.Cin, 0, 1)
					eg := relative(grad, q.gradients(bothTerms))
					t.Logf("%d channels, %s: %.2g, direct %.2g, gradient %.2g", c, kind.name, e, direct, eg)
					if !(max(e, eg) <= tolWinograd*eps[float32]()) {
						t.Errorf("%d channels, %s: relative error %.2g, of the gradient %.2g", c, kind.name, e, eg)
					}
				}
			}
		})
	}
}

// ⟨y, x∗w⟩ = ⟨x, y∗wᵀ⟩ = ⟨w, x⋆y⟩.
func TestWinogradAdjoint(t *testing.T) {
	onPaths(t, testWinogradAdjoint[float32], testWinogradAdjoint[float64])
}

func testWinogradAdjoint[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 13))
	var ws Workspace[T]
	for _, d := range winogradSizes {
		d.K = 1
		q := newWinograd[T](rng, d, rng.NormFloat64)
		all := d.Images * d.Tiles()
		out := make([]T, len(q.y.v))
		MulWinograd(&ws, &d, out, q.terms(&ws, rng, inputTerm, false), 0, all, 0, d.K)

		back := Winograd{d.Images, d.Height, d.Width, d.Cout, d.Cin, 1}
		turned := make([]T, len(q.w.v)) // [9, Cout, Cin]
		for tap := range 9 {
			for c := range d.Cin {
				for o := range d.Cout {
					turned[(tap*d.Cout+o)*d.Cin+c] = q.w.v[(tap*d.Cin+c)*d.Cout+o]
				}
			}
		}
		u := make([]T, back.Weights(1))
		TransformWeights(&ws, &back, u, turned, Weights{d.Cin * d.Cout, d.Cin, 1, 0, 1}, true, 0, back.Cout)
		again := make([]T, len(u))
		TransformWeights(&ws, &back, again, q.w.v, Weights{d.Cin * d.Cout, 1, d.Cout, 0, 1}, true, 0, back.Cout)
		if !same(u, again) {
			t.Fatal("other bits from weights that lie the other way")
		}
		in := make([]T, len(q.x.v))
		MulWinograd(&ws, &back, in, []WinogradTerm[T]{{q.y.v, 1, u, 1}}, 0, all, 0, 1)

		grad := make([]T, len(q.w.v))
		MulWinogradT(&ws, &d, grad, []WinogradPair[T]{{q.dx.v, 1, q.y.v, 1}}, 0, d.Cin, 0, 1)

		dot := func(a, b []T) (v, size float64) {
			for i := range a {
				v += float64(a[i]) * float64(b[i])
				size += float64(a[i]) * float64(a[i])
			}
			return v, size
		}
		a, _ := dot(out, q.y.v)
		b, _ := dot(in, q.dx.v)
		c, size := dot(grad, q.w.v)
		_, w := dot(q.w.v, q.w.v)
		if tol := tolWinograd * eps[T]() * math.Sqrt(size*w); !(math.Abs(a-b) <= tol && math.Abs(a-c) <= tol) {
			t.Errorf("%+v: %v, %v, %v: more than %g apart", d, a, b, c, tol)
		}
	}
}

// A direction has the bits that it has alone, and a tile those that it has in any part.
func TestWinogradBits(t *testing.T) {
	onPaths(t, testWinogradBits[float32], testWinogradBits[float64])
}

func testWinogradBits[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 14))
	var ws Workspace[T]
	for i, d := range []Winograd{{3, 5, 7, 17, 20, 5}, {2, 13, 12, 33, 40, 7}, {40, 4, 4, 8, 16, 3}, {1, 4, 8, 400, 16, 2}} {
		if stride > 1 && i > 0 {
			break
		}
		q := newWinograd[T](rng, d, rng.NormFloat64)
		all := d.Images * d.Tiles()
		whole, grads := make([]T, len(q.dy.v)), make([]T, len(q.dw.v))
		MulWinograd(&ws, &d, whole, q.terms(&ws, rng, bothTerms, false), 0, all, 0, d.K)
		MulWinogradT(&ws, &d, grads, q.pairs(bothTerms), 0, d.Cin, 0, d.K)

		parts, terms := make([]T, len(whole)), q.terms(&ws, rng, bothTerms, false)
		for t0 := 0; t0 < all; {
			t1 := min(all, t0+1+rng.IntN(5))
			j := rng.IntN(d.K + 1)
			MulWinograd(&ws, &d, parts, terms, t0, t1, 0, j)
			MulWinograd(&ws, &d, parts, terms, t0, t1, j, d.K)
			t0 = t1
		}
		if !same(parts, whole) {
			t.Fatalf("%+v: bits depend on the parts", d)
		}
		for j := range d.K {
			one := d
			one.K = 1
			alone := newWinograd[T](rng, one, rng.NormFloat64)
			copy(alone.x.v, q.x.v)
			copy(alone.w.v, q.w.v)
			copy(alone.y.v, q.y.v)
			pick(alone.dx.v, q.dx.v, d.Cin, d.K, j)
			pick(alone.dw.v, q.dw.v, d.Cout, d.K, j)
			pick(alone.dy.v, q.dy.v, d.Cout, d.K, j)
			got, want := make([]T, len(whole)/d.K), make([]T, len(whole)/d.K)
			MulWinograd(&ws, &one, got, alone.terms(&ws, rng, bothTerms, false), 0, all, 0, 1)
			pick(want, whole, d.Cout, d.K, j)
			if !same(got, want) {
				t.Fatalf("%+v: bits of direction %d depend on the others", d, j)
			}
			got, want = make([]T, len(grads)/d.K), make([]T, len(grads)/d.K)
			MulWinogradT(&ws, &one, got, alone.pairs(bothTerms), 0, d.Cin, 0, 1)
			pick(want, grads, d.Cout, d.K, j)
			if !same(got, want) {
				t.Fatalf("%+v: bits of direction %d's gradient depend on the others", d, j)
			}
		}
	}
}

// pick copies direction j of k, n values a place.
func pick[T Float](dst, src []T, n, k, j int) {
	for i := 0; i < len(dst); i += n {
		copy(dst[i:i+n], src[i*k+j*n:])
	}
}

func TestWinogradPanics(t *testing.T) {
	var ws Workspace[float32]
	d := Winograd{1, 4, 4, 2, 3, 2}
	x, y, u := make([]float32, 64), make([]float32, 96), make([]float32, d.Weights(2))
	for _, c := range []struct {
		want string
		f    func()
	}{
		{badWinograd, func() {
			MulWinograd(&ws, &Winograd{1, 4, 0, 2, 3, 2}, y, []WinogradTerm[float32]{{x, 1, u, 2}}, 0, 1, 0, 2)
		}},
		{badWinograd, func() { MulWinograd(&ws, &d, y, nil, 0, 1, 0, 2) }},
		{badWinograd, func() { MulWinograd(&ws, &d, y, []WinogradTerm[float32]{{x, 1, u, 2}}, 0, 2, 0, 2) }},
		{badWinograd, func() { MulWinograd(&ws, &d, y, []WinogradTerm[float32]{{x, 1, u, 2}}, 0, 1, 0, 3) }},
		{shortWinogradDir, func() { MulWinograd(&ws, &d, y, []WinogradTerm[float32]{{x, 3, u, 2}}, 0, 1, 0, 2) }},
		{shortWinogradX, func() { MulWinograd(&ws, &d, y, []WinogradTerm[float32]{{x[:63], 2, u, 2}}, 0, 1, 0, 2) }},
		{shortWinogradU, func() { MulWinograd(&ws, &d, y, []WinogradTerm[float32]{{x, 1, u[1:], 2}}, 0, 1, 0, 2) }},
		{shortWinogradY, func() { MulWinograd(&ws, &d, y[1:], []WinogradTerm[float32]{{x, 1, u, 2}}, 0, 1, 0, 2) }},
		{shortWinogradY, func() { MulWinogradT(&ws, &d, y, []WinogradPair[float32]{{x, 1, y, 2}}, 0, 2, 0, 1) }},
		{shortB, func() { TransformWeights(&ws, &d, u, x[:10], Weights{12, 6, 1, 3, 2}, false, 0, 3) }},
	} {
		t.Run(c.want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); got != c.want {
					t.Errorf("got %q", got)
				}
			}()
			c.f()
		})
	}
}
