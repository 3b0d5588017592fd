package exec

import "hessdens/internal/kernel"

// rowMajor is how a value along directions is moved between its buffer and row-major vectors: in tiles whose rows are next to each
// other in the vector and whose columns are in the buffer, so that whole lines of the cache are read and written on both sides.
type rowMajor struct {
	*value
	near  axis   // that of neighbours in the buffer,
	rows  int    // of which a tile has so many, or what is left
	steps []int  // from the start of a tile to its columns in the buffer
	outer []axis // loops over tiles, from the innermost on, outside of that along near
	tiles int
}

// axis is one of a tensor that is moved: how far its elements lie from each other in the buffer, and how far row-major.
type axis struct{ size, step, row int }

const (
	tileRows    = 16
	tileColumns = 80
)

func newRowMajor(v *value) *rowMajor {
	size, steps := collapse(v.shape, [][]int{v.layout.stride})
	axes, row, near := make([]axis, len(size)), 1, 0 // by row, ascending
	for i := range axes {
		a := len(size) - 1 - i
		axes[i] = axis{size[a], steps[0][a], row}
		row *= size[a]
		if abs(axes[i].step) < abs(axes[near].step) {
			near = i
		}
	}
	m := &rowMajor{value: v, near: axes[near], rows: tileRows, steps: []int{0}, tiles: 1}
	for _, a := range axes[:near] {
		n := 1
		for d := 2; d <= min(a.size, tileColumns/len(m.steps)) && len(m.outer) == 0; d++ {
			if a.size%d == 0 {
				n = d
			}
		}
		first := m.steps
		for i := 1; i < n; i++ {
			for _, s := range first {
				m.steps = append(m.steps, i*a.step+s)
			}
		}
		if n < a.size {
			m.outer = append(m.outer, axis{a.size / n, a.step * n, a.row * n})
		}
	}
	m.outer = append(m.outer, axes[near+1:]...)
	if near == 0 {
		m.rows *= tileColumns
	}
	for _, a := range m.outer {
		m.tiles *= a.size
	}
	m.tiles *= cuts(m.near.size, m.rows)
	return m
}

func abs(n int) int { return max(n, -n) }

// tile is where the i-th tile begins in the buffer and in the vector, and how many rows it has.
func (m *rowMajor) tile(i int) (step, row, rows int) {
	n := cuts(m.near.size, m.rows)
	at := i % n * m.rows
	step, row, rows = at*m.near.step, at*m.near.row, min(m.rows, m.near.size-at)
	i /= n
	for _, a := range m.outer {
		step += i % a.size * a.step
		row += i % a.size * a.row
		i /= a.size
	}
	return step, row, rows
}

// ahead asks for what a tile has in both.
func ahead[B, V kernel.Float](m *rowMajor, i int, buffer []B, off int, vector []V) {
	if i >= m.tiles || m.near.step != 1 {
		return
	}
	step, row, rows := m.tile(i)
	for _, s := range m.steps {
		kernel.Fetch(buffer[off+step+s:][:rows])
	}
	for r := range rows {
		kernel.Fetch(vector[row+r*m.near.row:][:len(m.steps)])
	}
}

// fetchRows puts the sum of a total, where there is one, and of programs' values, each from a direction's first element at off on, into a row-major
// vector, or adds it: one of so many shares of it.
func fetchRows[T kernel.Float](m *rowMajor, dst, total []float64, of []*Program[T], off int, add bool, share, shares int) {
	var tile [tileRows * tileColumns]float64
	buffer := m.root.buffer.ref
	for i := m.tiles * share / shares; i < m.tiles*(share+1)/shares; i++ {
		step, row, rows := m.tile(i)
		t := tile[:rows*len(m.steps)]
		if m.near.row == 1 { // a tile is one row
			t = dst[row : row+rows]
		}
		if m.near.row > 1 || !add {
			clear(t)
		}
		if total != nil {
			addColumns(m, t, rows, total, off+step)
			if m.near.row > 1 {
				ahead(m, i+1, total, off, dst)
			}
		}
		for _, p := range of {
			addColumns(m, t, rows, p.at(buffer), off+step)
			if m.near.row > 1 {
				ahead(m, i+1, p.at(buffer), off, dst)
			}
		}
		if m.near.row == 1 {
			continue
		}
		for r := range rows {
			to, at := dst[row+r*m.near.row:][:len(m.steps)], r
			if add {
				for c := range to {
					to[c] += t[at]
					at += rows
				}
			} else {
				for c := range to {
					to[c] = t[at]
					at += rows
				}
			}
		}
	}
}

// addColumns adds a tile's elements, a column after the other.
func addColumns[T kernel.Float](m *rowMajor, dst []float64, rows int, src []T, at int) {
	for c, s := range m.steps {
		to := dst[c*rows:][:rows]
		switch {
		case m.near.row == 1 && m.near.step == 1:
			kernel.AddTo(to, src[at:])
		case m.near.step == 1:
			for r, x := range src[at+s:][:rows] {
				to[r] += float64(x)
			}
		default:
			for r := range to {
				to[r] += float64(src[at+s+r*m.near.step])
			}
		}
	}
}

// giveRows puts a row-major vector where a direction is in a buffer, from its first element at off on: one of so many shares of it.
func giveRows[T kernel.Float](m *rowMajor, dst []T, off int, src []float64, share, of int) {
	var tile [tileRows * tileColumns]T
	columns := len(m.steps)
	for i := m.tiles * share / of; i < m.tiles*(share+1)/of; i++ {
		step, row, rows := m.tile(i)
		if m.near.row == 1 && m.near.step == 1 {
			convert(dst[off+step:], src[row:row+rows])
			continue
		}
		ahead(m, i+1, dst, off, src)
		for r := range rows {
			for c, x := range src[row+r*m.near.row:][:columns] {
				tile[c*rows+r] = T(x)
			}
		}
		for c, s := range m.steps {
			for r, x := range tile[c*rows : (c+1)*rows] {
				dst[off+step+s+r*m.near.step] = x
			}
		}
	}
}
