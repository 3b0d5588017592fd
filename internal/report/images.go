package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// Picture is an image of 1 or 3 channels, its values [Channels, Height, Width], with a line of text.
type Picture struct {
	Label                   string
	Channels, Height, Width int
	Values                  []float64
}

// Colors are what a terminal can show.
type Colors int

const (
	NoColors  Colors = iota // characters for shades of grey
	Colors256               // half blocks in the 256 colours of xterm
	TrueColor               // half blocks in 24 bits
)

// The columns that a picture needs to be recognised, those that are enough, and the most pictures beside
// each other.
const (
	leastPicture = 18
	mostPicture  = 32
	mostPictures = 8
)

// PicturesFit is how many pictures of some columns of pixels fit beside each other, from 1 to 8.
func PicturesFit(columns, width int) int {
	return min(max((width+1)/(min(columns, leastPicture)+1), 1), mostPictures)
}

// shades are the characters from dark to light, on a dark ground.
const shades = " .:-=+*#%@"

// Pictures draws pictures of one size beside each other in at most width columns, made smaller where they do
// not fit, with their labels below and a line that says what black and white are: the least and the
// largest value of all of them. Values that are no numbers are black.
func Pictures(w io.Writer, ps []Picture, width int, colors Colors) error {
	if len(ps) == 0 {
		return nil
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range ps {
		if len(p.Values) != p.Channels*p.Height*p.Width || p.Height != ps[0].Height || p.Width != ps[0].Width {
			return fmt.Errorf("a picture of %d values, not %d x %d x %d as the first", len(p.Values), p.Channels, ps[0].Height, ps[0].Width)
		}
		for _, v := range p.Values {
			if finite(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	columns := max(1, min(ps[0].Width, mostPicture, (width+1)/len(ps)-1))
	rows := max(1, int(math.Round(float64(ps[0].Height)*float64(columns)/float64(ps[0].Width)))) // of square pixels, two to a line
	rows = min(rows, 4*columns)
	lines := (rows + 1) / 2

	cells := make([][]rgb, len(ps))
	for i := range ps {
		down := rows
		if colors == NoColors {
			down = lines
		}
		cells[i] = ps[i].scaled(columns, down, lo, hi)
	}
	out := bufio.NewWriter(w)
	for line := range lines {
		for i, c := range cells {
			if i > 0 {
				out.WriteByte(' ')
			}
			if colors == NoColors {
				for _, v := range c[line*columns : (line+1)*columns] {
					out.WriteByte(shades[min(int(v.luma()*float64(len(shades))), len(shades)-1)])
				}
				continue
			}
			colors.halfBlocks(out, c, columns, line)
		}
		out.WriteByte('\n')
	}
	var labels strings.Builder
	for _, p := range ps {
		l := []rune(p.Label)
		if len(l) > columns {
			l = append(l[:columns-1], '…')
		}
		fmt.Fprintf(&labels, "%s%s ", string(l), strings.Repeat(" ", columns-len(l)))
	}
	if l := strings.TrimRight(labels.String(), " "); l != "" {
		fmt.Fprintln(out, l)
	}
	what := "the first example"
	if len(ps) > 1 {
		what = fmt.Sprintf("the first %d examples", len(ps))
	}
	if lo <= hi {
		what += fmt.Sprintf(", black is %.4g and white %.4g", lo, hi)
	}
	if utf8.RuneCountInString(what) > width {
		what = fit(what, width)
	}
	fmt.Fprintln(out, what)
	return out.Flush()
}

// rgb are shares of red, green and blue, 0 to 1.
type rgb [3]float64

// luma is that of ITU-R 601.
func (c rgb) luma() float64 { return (299*c[0] + 587*c[1] + 114*c[2]) / 1000 }

// scaled is the picture in columns × rows cells, each the mean over the area that it covers, from lo to
// hi.
func (p *Picture) scaled(columns, rows int, lo, hi float64) []rgb {
	out := make([]rgb, columns*rows)
	if !(hi > lo) {
		return out
	}
	across, down := float64(p.Width)/float64(columns), float64(p.Height)/float64(rows)
	for i := range out {
		left, top := float64(i%columns)*across, float64(i/columns)*down
		for c := range 3 {
			plane := p.Values[c%p.Channels*p.Height*p.Width:]
			sum, area := 0.0, 0.0
			for y := int(top); y < p.Height && float64(y) < top+down; y++ {
				for x := int(left); x < p.Width && float64(x) < left+across; x++ {
					a := overlap(float64(y), top, top+down) * overlap(float64(x), left, left+across)
					v := (plane[y*p.Width+x] - lo) / (hi - lo)
					if finite(v) {
						sum += a * v
					}
					area += a
				}
			}
			if area > 0 {
				out[i][c] = min(max(sum/area, 0), 1)
			}
		}
	}
	return out
}

// overlap is how much of [x, x+1] lies in [lo, hi].
func overlap(x, lo, hi float64) float64 { return max(min(x+1, hi)-max(x, lo), 0) }

// halfBlocks writes two rows of cells as a line: the upper as the colour of ▀, the lower as its ground.
func (k Colors) halfBlocks(out *bufio.Writer, cells []rgb, columns, line int) {
	last := ""
	for x := range columns {
		upper, lower := cells[2*line*columns+x], "49" // the ground of the terminal, below the last row
		if i := (2*line+1)*columns + x; i < len(cells) {
			lower = "48;" + k.code(cells[i])
		}
		if s := "38;" + k.code(upper) + ";" + lower; s != last {
			fmt.Fprintf(out, "\x1b[%sm", s)
			last = s
		}
		out.WriteRune('▀')
	}
	out.WriteString("\x1b[0m")
}

// code is a colour in an escape sequence.
func (k Colors) code(c rgb) string {
	if k == TrueColor {
		return fmt.Sprintf("2;%d;%d;%d", byteOf(c[0]), byteOf(c[1]), byteOf(c[2]))
	}
	return fmt.Sprintf("5;%d", xterm(c))
}

func byteOf(v float64) int { return int(math.Round(255 * v)) }

// xterm is the nearest of the 216 colours of the cube, whose levels are 0, 95, 135, …, 255, and the 24 greys
// 8, 18, …, 238.
func xterm(c rgb) int {
	best, at := math.Inf(1), 0
	try := func(code int, levels [3]int) {
		d := 0.0
		for i, l := range levels {
			d += (255*c[i] - float64(l)) * (255*c[i] - float64(l))
		}
		if d < best {
			best, at = d, code
		}
	}
	cube := [6]int{0, 95, 135, 175, 215, 255}
	var nearest [3]int
	for i := range c {
		for j, l := range cube {
			if math.Abs(255*c[i]-float64(l)) < math.Abs(255*c[i]-float64(cube[nearest[i]])) {
				nearest[i] = j
			}
		}
	}
	try(16+36*nearest[0]+6*nearest[1]+nearest[2], [3]int{cube[nearest[0]], cube[nearest[1]], cube[nearest[2]]})
	for i := range 24 {
		l := 8 + 10*i
		try(232+i, [3]int{l, l, l})
	}
	return at
}
