package kernel

// lineRows is how many rows the kernels below take at a time: a cache line of float32. The rest is done by the generic code.
const lineRows = 16

// Dots adds to sums[i] the product of a column with w,
//
//	sums[i] += Σ_r q[i][at+r] · w[r],  0 ≤ i < len(q),  0 ≤ r < len(w),
//
// in float64 whatever T is. The bits of a sum depend on the values that enter it, on len(w) and on the path alone.
func Dots[T Float](sums []float64, q [][]T, at int, w []float64) {
	checkColumns(q, at, len(w), len(sums))
	if n := dots(sums, q, at, w); n < len(w) {
		dotsGeneric(sums, q, at+n, w[n:])
	}
}

// Dot returns the product of two vectors of one length, with the bits of Dots.
func Dot(a, b []float64) float64 {
	sum, one := [...]float64{0}, [...][]float64{a}
	Dots(sum[:], one[:], 0, b)
	return sum[0]
}

// Minus takes multiples of columns from w,
//
//	w[r] −= Σ_i c[i] · q[i][at+r],  0 ≤ i < len(q),  0 ≤ r < len(w),
//
// in float64 whatever T is, one column after the other. The bits of an element depend on the values that enter it, on whether r is
// below the last multiple of 16 of len(w), and on the path alone.
func Minus[T Float](w, c []float64, q [][]T, at int) {
	checkColumns(q, at, len(w), len(c))
	if n := minus(w, c, q, at); n < len(w) {
		minusGeneric(w[n:], c, q, at+n)
	}
}

func checkColumns[T Float](q [][]T, at, rows, coefs int) {
	if at < 0 {
		panic(badShape)
	}
	if coefs < len(q) {
		panic(shortC)
	}
	for _, column := range q {
		if len(column)-at < rows {
			panic(shortA)
		}
	}
}

func dotsGeneric[T Float](sums []float64, q [][]T, at int, w []float64) {
	i, n := 0, len(w)
	for ; i+4 <= len(q); i += 4 {
		a, b, c, d := q[i][at:][:n], q[i+1][at:][:n], q[i+2][at:][:n], q[i+3][at:][:n]
		var sa, sb, sc, sd float64
		for r, x := range w {
			sa += float64(a[r]) * x
			sb += float64(b[r]) * x
			sc += float64(c[r]) * x
			sd += float64(d[r]) * x
		}
		sums[i] += sa
		sums[i+1] += sb
		sums[i+2] += sc
		sums[i+3] += sd
	}
	for ; i < len(q); i++ {
		a, s := q[i][at:][:n], 0.0
		for r, x := range w {
			s += float64(a[r]) * x
		}
		sums[i] += s
	}
}

func minusGeneric[T Float](w, c []float64, q [][]T, at int) {
	i, n := 0, len(w)
	for ; i+4 <= len(q); i += 4 {
		a, b, d, e := q[i][at:][:n], q[i+1][at:][:n], q[i+2][at:][:n], q[i+3][at:][:n]
		x, y, z, t := c[i], c[i+1], c[i+2], c[i+3]
		for r, v := range w {
			v -= x * float64(a[r])
			v -= y * float64(b[r])
			v -= z * float64(d[r])
			w[r] = v - t*float64(e[r])
		}
	}
	for ; i < len(q); i++ {
		a, x := q[i][at:][:n], c[i]
		for r := range w {
			w[r] -= x * float64(a[r])
		}
	}
}
