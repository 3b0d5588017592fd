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

// AddRows adds the rows of src, each as long as dst, to dst, one after the other.
func AddRows[T Float](dst, src []T) {
	n := len(dst)
	if n == 0 || len(src)%n != 0 {
		panic(badRepeat)
	}
	if len(src) == 0 || addRows(dst, src) {
		return
	}
	for ; len(src) > 0; src = src[n:] {
		for i, x := range src[:n] {
			dst[i] += x
		}
	}
}
