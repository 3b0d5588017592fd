package report

import (
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Options of a picture. The zero value is a good picture.
type Options struct {
	// Title and Subtitle stand above the picture; empty ones take no room.
	Title, Subtitle string

	// Width and Height in pixels of 1/96 inch; 0 means 900 and 540.
	Width, Height int

	// X is the axis of λ. LinearWidth is the c of SymLog in units of λ; 0 means the smallest σ of
	// the spectra.
	X           XScale
	LinearWidth float64

	// From and To bound the λ shown; both 0: all.
	From, To float64

	// NoBand leaves the bands out, NoMarks the marks at converged eigenvalues.
	NoBand, NoMarks bool
}

// Plot draws densities over λ, the density on a logarithmic axis, as the paper's figures do, and writes the picture
// in a format: SVG, PNG or PDF.
//
// The band of a curve is shaded, its converged eigenvalues are ticks along the upper edge. The
// lower edge is about two decades below the height of one eigenvalue, 1/(n √(2π σ²)), and not more than ten
// below the peak. The error says what is wrong with the input, or is w's.
func Plot(w io.Writer, format string, curves []Curve, o Options) error {
	if err := checkAll(curves); err != nil {
		return err
	}
	width, height, err := o.size()
	if err != nil {
		return err
	}
	s, err := newScale(curves, &o)
	if err != nil {
		return err
	}
	lo, hi := logRange(curves)

	p := newPlot()
	p.X.Label.Text, p.Y.Label.Text = "eigenvalue λ", "density φ(λ)"
	p.X.Min, p.X.Max, p.X.Scale = s.lo, s.hi, s
	rugs := 0
	for i := range curves {
		if len(curves[i].Eigenvalues) > 0 && !o.NoMarks && rugs < mostRugs {
			rugs++
		}
	}
	p.Y.Min, p.Y.Max = lo, hi+(0.04+float64(vg.Length(rugs)*rugStep/(0.75*height)))*(hi-lo)
	p.X.Tick.Marker = staticTicks(s.ticks(float64(pixels(62)/width), mathNumber))
	p.Y.Tick.Marker = staticTicks(decadeTicks(lo, p.Y.Max, int(height/pixels(48)), powerOfTen))
	p.Add(grid())

	var keys []key
	bands, marked := false, 0
	shown := make([][]point, len(curves))
	for i := range curves {
		shown[i] = visible(&curves[i], s, int(2*width.Dots(dpi)))
		if curves[i].Lower != nil && !o.NoBand {
			bands = true
			addBand(p, shown[i], lo, curveStyle(i).Color)
		}
	}
	for i := range curves {
		style := curveStyle(i)
		var fill color.Color
		if len(curves) == 1 {
			fill = translucent(style.Color, 0x24)
		}
		addLine(p, shown[i], lo, style, fill)
		if len(curves[i].Eigenvalues) > 0 && marked < rugs {
			p.Add(rug{values: descending(curves[i].Eigenvalues), color: style.Color, row: marked})
			marked++
		}
		if curves[i].Name != "" {
			keys = append(keys, key{curves[i].Name, func(c draw.Canvas) {
				style := style
				style.Width = vg.Points(2)
				c.StrokeLine2(style, c.Min.X, c.Center().Y, c.Max.X, c.Center().Y)
			}})
		}
	}
	first := curveStyle(0).Color
	if len(curves) > 1 {
		first = faint
	}
	if bands {
		keys = append(keys, key{"95 % band", func(c draw.Canvas) {
			c.FillPolygon(translucent(first, 0x50), corners(draw.Crop(c, 0, 0, vg.Points(3), -vg.Points(3))))
		}})
	}
	if marked > 0 {
		keys = append(keys, key{"converged eigenvalues", func(c draw.Canvas) {
			for _, share := range []vg.Length{0.3, 0.5, 0.9} {
				x := c.Min.X + share*(c.Max.X-c.Min.X)
				c.StrokeLine2(draw.LineStyle{Color: first, Width: vg.Points(1)}, x, c.Center().Y-rugLength/2, x, c.Center().Y+rugLength/2)
			}
		}})
	}
	if peak(curves) == 0 {
		p.Add(remark("no smooth density: all of the spectrum is at a few points"))
		p.Y.Tick.Marker = staticTicks{}
	}
	return render(w, format, width, height, func(c draw.Canvas) { p.Draw(header(c, &o, keys)) })
}

// grid draws thin lines at the labelled ticks.
func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Horizontal = draw.LineStyle{Color: rule, Width: vg.Points(0.5)}
	g.Vertical = g.Horizontal
	return g
}

func corners(c draw.Canvas) []vg.Point {
	return []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}}
}

// point is a grid point as drawn.
type point struct{ x, y, lower, upper float64 }

// visible are the points of a curve within the picture, at most about four for each of `bins` parts of
// the axis: the first, the last, the lowest and the highest, so that no peak is lost.
func visible(c *Curve, s scale, bins int) []point {
	var in []point
	at := func(i int) point {
		p := point{x: c.Grid[i], y: positive(c.Density[i])}
		p.lower, p.upper = p.y, p.y
		if c.Lower != nil {
			p.lower, p.upper = positive(c.Lower[i]), positive(c.Upper[i])
		}
		return p
	}
	for i := range c.Grid {
		p := at(i)
		if i > 0 && len(in) == 0 && p.x >= s.lo && c.Grid[i-1] < s.lo {
			in = append(in, between(at(i-1), p, s.lo))
		}
		if p.x >= s.lo && p.x <= s.hi {
			in = append(in, p)
		}
		if i > 0 && p.x > s.hi {
			if c.Grid[i-1] <= s.hi {
				if c.Grid[i-1] < s.lo {
					in = append(in, between(at(i-1), p, s.lo))
				}
				in = append(in, between(at(i-1), p, s.hi))
			}
			break
		}
	}
	if len(in) <= 4*bins {
		return in
	}
	out := make([]point, 0, 4*bins)
	for i := 0; i < len(in); {
		bin := math.Floor(s.at(in[i].x) * float64(bins))
		low, high, j := i, i, i
		lower, upper := in[i].lower, in[i].upper
		for ; j < len(in) && math.Floor(s.at(in[j].x)*float64(bins)) == bin; j++ {
			if in[j].y < in[low].y {
				low = j
			}
			if in[j].y > in[high].y {
				high = j
			}
			lower, upper = math.Min(lower, in[j].lower), math.Max(upper, in[j].upper)
		}
		last := -1
		for _, k := range []int{i, min(low, high), max(low, high), j - 1} {
			if k > last {
				p := in[k]
				p.lower, p.upper = lower, upper
				out = append(out, p)
				last = k
			}
		}
		i = j
	}
	return out
}

func between(a, b point, x float64) point {
	if a.x == b.x {
		return b
	}
	t := (x - a.x) / (b.x - a.x)
	mix := func(u, v float64) float64 { return u + t*(v-u) }
	return point{x: x, y: mix(a.y, b.y), lower: mix(a.lower, b.lower), upper: mix(a.upper, b.upper)}
}

// floored is log10 of a density, not below the picture's floor.
func floored(y, lo float64) float64 {
	if y <= 0 {
		return lo
	}
	return math.Max(lo, math.Log10(y))
}

// addLine adds the parts of a curve that rise above the floor.
func addLine(p *plot.Plot, points []point, lo float64, style draw.LineStyle, fill color.Color) {
	var run plotter.XYs
	flush := func() {
		if len(run) > 0 && run[0].X == run[len(run)-1].X { // all at one point: a line from the floor
			run = append(plotter.XYs{{X: run[0].X, Y: lo}}, run...)
		}
		if len(run) > 1 {
			p.Add(&plotter.Line{XYs: run, LineStyle: style, FillColor: fill})
		}
		run = nil
	}
	for i, q := range points {
		y := floored(q.y, lo)
		if y == lo && (i+1 == len(points) || floored(points[i+1].y, lo) == lo) {
			if len(run) > 0 {
				run = append(run, plotter.XY{X: q.x, Y: y})
			}
			flush()
			continue
		}
		run = append(run, plotter.XY{X: q.x, Y: y})
	}
	flush()
}

func addBand(p *plot.Plot, points []point, lo float64, c color.Color) {
	if len(points) < 2 {
		return
	}
	ring := make(plotter.XYs, 0, 2*len(points))
	for _, q := range points {
		ring = append(ring, plotter.XY{X: q.x, Y: floored(q.upper, lo)})
	}
	for i := len(points) - 1; i >= 0; i-- {
		ring = append(ring, plotter.XY{X: points[i].x, Y: floored(points[i].lower, lo)})
	}
	p.Add(&plotter.Polygon{XYs: []plotter.XYs{ring}, Color: translucent(c, 0x48)})
}

// A rug's ticks, the room that a rug takes, and how many rugs a picture has at most.
const (
	rugLength = vg.Length(7)
	rugStep   = rugLength + 2
	mostRugs  = 8
)

// rug marks values by ticks along the upper edge; row says how many other rugs are above.
type rug struct {
	values []float64
	color  color.Color
	row    int
}

// Plot implements plot.Plotter.
func (r rug) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	y := c.Max.Y - vg.Length(r.row+1)*rugStep
	strokeMarks(c, r.values, p, x, y, rugLength, draw.LineStyle{Color: r.color, Width: vg.Points(1)})
}

// strokeMarks draws a tick at each value, descending, that is within the axis and apart from the last.
func strokeMarks(c draw.Canvas, values []float64, p *plot.Plot, x func(float64) vg.Length, y, length vg.Length, style draw.LineStyle) {
	last := vg.Length(math.Inf(1))
	for _, v := range values {
		if v < p.X.Min || v > p.X.Max {
			continue
		}
		at := x(v)
		if last-at < vg.Points(0.8) {
			continue
		}
		last = at
		c.StrokeLine2(style, at, y, at, y+length)
	}
}

// remark is a line of text in the middle of the picture.
type remark string

// Plot implements plot.Plotter.
func (r remark) Plot(c draw.Canvas, p *plot.Plot) {
	style := textStyle(10.5, faint)
	style.XAlign, style.YAlign = text.XCenter, text.YCenter
	c.FillText(style, c.Center(), shorten(string(r), style, c.Max.X-c.Min.X))
}
