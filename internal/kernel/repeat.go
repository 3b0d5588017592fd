package kernel

const badRepeat = "kernel: lengths of a repetition do not fit"

// Repeat copies rows of n elements, each several times: dst[(i·times + t)·n + x] = src[i·n + x] for 0 ≤ t < times. dst
// says how many rows.
func Repeat[T Float](dst, src []T, n, times int) {
	if n < 1 || times < 1 || len(dst)%(n*times) != 0 || len(src) < len(dst)/times {
		panic(badRepeat)
	}
	if len(dst) > 0 && !repeat(dst, src, n, times) {
		repeatGeneric(dst, src, n, times)
	}
}

func repeatGeneric[T Float](dst, src []T, n, times int) {
	if n == 1 {
		for i, x := range src[:len(dst)/times] {
			row := dst[i*times : (i+1)*times]
			for j := range row {
				row[j] = x
			}
		}
		return
	}
	for len(dst) > 0 {
		row := dst[:n*times]
		for done := copy(row, src[:n]); done < len(row); {
			done += copy(row[done:], row[:done])
		}
		dst, src = dst[n*times:], src[n:]
	}
}

// AddRows adds rows of src, each as long as dst and step elements after the one before, to dst, one after the other.
func AddRows[T Float](dst, src []T, rows, step int) {
	n := len(dst)
	if n == 0 || rows < 0 || step < n || rows > 0 && len(src) < (rows-1)*step+n {
		panic(badRepeat)
	}
	if rows == 0 || addRows(dst, src, rows, step) {
		return
	}
	for r := range rows {
		for i, x := range src[r*step:][:n] {
			dst[i] += x
		}
	}
}
