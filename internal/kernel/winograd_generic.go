package kernel

import "math"

// The products are rounded before they are added, as in mul_generic.go.

// root is √2: the transforms are polynomials' values at 0, ±√½, ±√2 and their leading coefficients.
const root = math.Sqrt2

// along transforms the first values of x in place.
func along[T Float](f transform, x *[tileUnder]T) {
	switch f {
	case tileInput:
		a, b := x[4]-T(2*x[2]), T(root/2*(x[3]-T(2*x[1])))
		c, e := x[4]-x[2]/2, T(root*(x[3]-x[1]/2))
		*x = [tileUnder]T{x[0] - T(2.5*x[2]) + x[4], a + b, a - b, c + e, c - e, x[1] - T(2.5*x[3]) + x[5]}
	case tileWeights:
		a, b := T(x[0]*(-2./3))+T(x[2]*(-1./3)), T(x[1]*(-root/3))
		c, e := T(x[0]*(1./6))+T(x[2]*(1./3)), T(x[1]*(root/6))
		*x = [tileUnder]T{x[0], a + b, a - b, c + e, c - e, x[2]}
	case tileCotangent:
		a, b := x[0]+x[2]/2, T(root/2*(x[1]+x[3]/2))
		c, e := x[0]+T(2*x[2]), T(root*(x[1]+T(2*x[3])))
		*x = [tileUnder]T{x[0], a + b, a - b, c + e, c - e, x[3]}
	case tileOutput:
		s, m := x[1]+x[2], x[1]-x[2]
		t, e := x[3]+x[4], x[3]-x[4]
		*x = [tileUnder]T{x[0] + s + t, T(root/2*m) + T(root*e), s/2 + T(2*t), T(root/4*m) + T(2*root*e) + x[5]}
	case tileGradient:
		s, m := x[1]+x[2], x[1]-x[2]
		t, e := x[3]+x[4], x[3]-x[4]
		*x = [tileUnder]T{x[0] - T(s*(2./3)) + T(t*(1./6)), T(e*(root/6)) - T(m*(root/3)), T((t-s)*(1./3)) + x[5]}
	}
}

func toPlanesGeneric[T Float](f transform, dst []T, plane int, src []T, off []int, n int) {
	side := f.side()
	var col [tileUnder][tileUnder]T // of transformed columns
	for c := range n {
		for j := range side {
			var x [tileUnder]T
			for i := range side {
				if o := off[i*side+j]; o >= 0 {
					x[i] = src[o+c]
				}
			}
			along(f, &x)
			for i := range x {
				col[i][j] = x[i]
			}
		}
		for i := range col {
			along(f, &col[i])
			for j, v := range col[i] {
				dst[(i*tileUnder+j)*plane+c] = v
			}
		}
	}
}

func fromPlanesGeneric[T Float](f transform, dst []T, row, pixel, rows, cols int, src []T, plane, n int) {
	side := f.side()
	var col [tileUnder][tileUnder]T
	for c := range n {
		for i := range tileUnder {
			var x [tileUnder]T
			for j := range x {
				x[j] = src[(i*tileUnder+j)*plane+c]
			}
			along(f, &x)
			for j := range side {
				col[j][i] = x[j]
			}
		}
		for j := range cols {
			along(f, &col[j])
			for i := range rows {
				dst[i*row+j*pixel+c] = col[j][i]
			}
		}
	}
}

// planeProductsGeneric is the products of the inputs with the weights, all terms in one chain, place by place.
func planeProductsGeneric[T Float](d *Winograd, g *group, m, v []T, terms []WinogradTerm[T], n, j0, j1 int) {
	kc := cut(d.Cin, blockWinograd/len(terms))
	for s := range planes {
		for j := j0; j < j1; j++ {
			for c0 := 0; c0 < d.Cin; c0 += kc {
				c1 := min(c0+kc, d.Cin)
				for q := 0; q < n; q += tileM {
					rows := min(tileM, n-q)
					for o := 0; o < d.Cout; o += tileN {
						var acc block[T]
						for i := range terms {
							var a [tileM][]T
							for r := range a {
								at := s*g.plane + (q+min(r, rows-1))*g.row + g.at[i] + min(j-j0, terms[i].KX-1)*d.Cin
								a[r] = v[at+c0 : at+c1]
							}
							dotPanel(&acc, a[0], a[1], a[2], a[3], terms[i].U[terms[i].row(d, s, j, o, c0)+o%lane:])
						}
						putTile(&acc, m[s*g.planeM+q*g.rowM+(j-j0)*d.Cout+o:], rows, min(tileN, d.Cout-o), g.rowM, c0 > 0)
					}
				}
			}
		}
	}
}

// dotPanel adds to acc the products of four rows with two columns of a panel of weights.
func dotPanel[T Float](acc *block[T], a0, a1, a2, a3, b []T) {
	c00, c01 := acc[0][0], acc[0][1]
	c10, c11 := acc[1][0], acc[1][1]
	c20, c21 := acc[2][0], acc[2][1]
	c30, c31 := acc[3][0], acc[3][1]
	a1, a2, a3 = a1[:len(a0)], a2[:len(a0)], a3[:len(a0)]
	for p, x := range a0 {
		y := (*[tileN]T)(b[p*lane:])
		b0, b1 := y[0], y[1]
		c00 += T(x * b0)
		c01 += T(x * b1)
		x = a1[p]
		c10 += T(x * b0)
		c11 += T(x * b1)
		x = a2[p]
		c20 += T(x * b0)
		c21 += T(x * b1)
		x = a3[p]
		c30 += T(x * b0)
		c31 += T(x * b1)
	}
	*acc = block[T]{{c00, c01}, {c10, c11}, {c20, c21}, {c30, c31}}
}

func planeSumsGeneric[T Float](g *group, acc []T, planeU int, v, m []T, cin, cout int, steps []step) {
	each := len(steps) / g.probes
	for s := range planes {
		for j := range g.probes {
			for c := 0; c < cin; c += tileM {
				rows := min(tileM, cin-c)
				for o := 0; o < cout; o += tileN {
					cols := min(tileN, cout-o)
					var sums block[T]
					at := steps[j*each : (j+1)*each]
					if rows == tileM && cols == tileN {
						outer(&sums, at, v[s*g.plane+c:], m[s*g.planeM+o:])
					} else {
						outerTail(&sums, rows, cols, at, v[s*g.plane+c:], m[s*g.planeM+o:])
					}
					putTile(&sums, acc[s*planeU+(j*cin+c)*pad(cout)+o:], rows, cols, pad(cout), true)
				}
			}
		}
	}
}
