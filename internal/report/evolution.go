package report

import (
	"image"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// mostRidges is the number of spectra up to which each is drawn as a curve, and beyond which as a strip of colour.
const mostRidges = 12

// ridgeHeight is the height of a curve as a share of the distance of two rows.
const ridgeHeight = 0.86

// PlotEvolution draws a series of spectra, such as the checkpoints of a training, and writes the picture in a
// format: SVG, PNG or PDF.
//
// A spectrum is a row, the first at the top, on one axis of λ. Up to 12 of them are curves of log φ,
// more are strips whose colour is log φ; all have the same floor and top. Lines from row to row
// follow λmax and λmin. Options.X left at Auto means SymLog here, since outliers move far outside the bulk.
func PlotEvolution(w io.Writer, format string, curves []Curve, o Options) error {
	if err := checkAll(curves); err != nil {
		return err
	}
	width, height, err := o.size()
	if err != nil {
		return err
	}
	if o.X == Auto {
		o.X = SymLog
	}
	s, err := newScale(curves, &o)
	if err != nil {
		return err
	}
	lo, hi := logRange(curves)
	rows := len(curves)
	ridges := rows <= mostRidges

	p := newPlot()
	p.X.Label.Text = "eigenvalue λ"
	p.X.Min, p.X.Max, p.X.Scale = s.lo, s.hi, s
	p.X.Tick.Marker = staticTicks(s.ticks(float64(pixels(62)/width), mathNumber))
	p.Y.Min, p.Y.Max = float64(-rows)+0.9, 1
	if !ridges {
		p.Y.Min, p.Y.Max = float64(-rows)+0.5, 0.5
	}
	names := p.Y.Tick.Label
	names.Handler = plot.DefaultTextHandler
	p.Y.Tick.Label = names
	p.Y.Tick.Marker = staticTicks(rowTicks(curves, names, width/4, int(height/pixels(20))))
	if ridges {
		p.Y.Tick.LineStyle.Width, p.Y.Tick.Length = 0, vg.Points(2)
	}

	bins := int(2 * width.Dots(dpi))
	if ridges {
		g := grid()
		g.Horizontal.Width = 0
		p.Add(g)
		for i := range curves {
			col := viridis(0.08 + 0.72*float64(i)/math.Max(1, float64(rows-1)))
			p.Add(ridge{points: visible(&curves[i], s, bins), row: i, lo: lo, hi: hi, color: col})
		}
	} else {
		p.Add(strips{curves: curves, s: s, lo: lo, hi: hi})
	}

	largest, smallest := palette[1], palette[3]
	if !ridges {
		smallest = palette[5]
	}
	highs, lows := extremes(curves)
	var keys []key
	for _, l := range []struct {
		points plotter.XYs
		color  color.Color
		name   string
	}{{highs, largest, "λ max"}, {lows, smallest, "λ min"}} {
		if len(l.points) == 0 {
			continue
		}
		p.Add(track{l.points, l.color})
		keys = append(keys, key{l.name, func(c draw.Canvas) {
			c.StrokeLine2(trackStyle(l.color), c.Min.X, c.Center().Y, c.Max.X, c.Center().Y)
			c.DrawGlyph(trackDot(l.color), c.Center())
		}})
	}
	if ridges && !o.NoMarks {
		marks := false
		for i := range curves {
			if v := descending(curves[i].Eigenvalues); len(v) > 0 {
				marks = true
				p.Add(rowMarks{v, i})
			}
		}
		if marks {
			keys = append(keys, key{"converged eigenvalues", func(c draw.Canvas) {
				for _, share := range []vg.Length{0.3, 0.5, 0.9} {
					x := c.Min.X + share*(c.Max.X-c.Min.X)
					c.StrokeLine2(markStyle, x, c.Center().Y-rowMarkLength/2, x, c.Center().Y+rowMarkLength/2)
				}
			}})
		}
	}
	if peak(curves) == 0 {
		p.Add(remark("no smooth density: all of each spectrum is at a few points"))
	}
	return render(w, format, width, height, func(c draw.Canvas) {
		c = header(c, &o, keys)
		side := vg.Points(58)
		p.Draw(draw.Crop(c, 0, -side, 0, 0))
		if peak(curves) == 0 {
			return
		}
		data := p.DataCanvas(draw.Crop(c, 0, -side, 0, 0))
		if ridges {
			_, y := p.Transforms(&data)
			heightAxis(data, y(0), y(ridgeHeight), lo, hi)
		} else {
			colorBar(data, lo, hi)
		}
	})
}

// rowTicks names the rows, as many of them as find room.
func rowTicks(curves []Curve, style text.Style, room vg.Length, most int) []plot.Tick {
	step := 1 + (len(curves)-1)/max(1, most)
	var out []plot.Tick
	for i := 0; i < len(curves); i += step {
		name := curves[i].Name
		if name == "" {
			name = mathNumber(float64(i + 1))
		}
		out = append(out, plot.Tick{Value: float64(-i), Label: shorten(name, style, room)})
	}
	return out
}

// extremes are λmax and λmin of each row where they are known.
func extremes(curves []Curve) (highs, lows plotter.XYs) {
	for i := range curves {
		if c := &curves[i]; c.hasExtremes() {
			highs = append(highs, plotter.XY{X: c.Max, Y: float64(-i)})
			lows = append(lows, plotter.XY{X: c.Min, Y: float64(-i)})
		}
	}
	return highs, lows
}

// ridge is log φ above a row's base line.
type ridge struct {
	points []point
	row    int
	lo, hi float64
	color  color.Color
}

// Plot implements plot.Plotter.
func (r ridge) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	base := y(float64(-r.row))
	c.StrokeLine2(draw.LineStyle{Color: rule, Width: vg.Points(0.75)}, c.Min.X, base, c.Max.X, base)
	at := func(q point) vg.Point {
		share := (floored(q.y, r.lo) - r.lo) / (r.hi - r.lo)
		return vg.Point{X: x(q.x), Y: y(float64(-r.row) + ridgeHeight*share)}
	}
	var run []vg.Point
	flush := func() {
		if len(run) > 0 && run[0].X == run[len(run)-1].X {
			run = append([]vg.Point{{X: run[0].X, Y: base}}, run...)
		}
		if len(run) > 1 {
			first, last := run[0], run[len(run)-1]
			area := append([]vg.Point{{X: first.X, Y: base}}, run...)
			c.FillPolygon(translucent(r.color, 0x60), append(area, vg.Point{X: last.X, Y: base}))
			c.StrokeLines(draw.LineStyle{Color: r.color, Width: vg.Points(1)}, run)
		}
		run = nil
	}
	for i, q := range r.points {
		at := at(q)
		run = append(run, at)
		if at.Y <= base && (i+1 == len(r.points) || floored(r.points[i+1].y, r.lo) == r.lo) {
			flush()
		}
	}
	flush()
}

const rowMarkLength = vg.Length(5)

var markStyle = draw.LineStyle{Color: ink, Width: vg.Points(0.75)}

// rowMarks are the converged eigenvalues of a row, ticks below its base line.
type rowMarks struct {
	values []float64
	row    int
}

// Plot implements plot.Plotter.
func (r rowMarks) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	strokeMarks(c, r.values, p, x, y(float64(-r.row)), -rowMarkLength, markStyle)
}

// track is a line through the rows.
type track struct {
	points plotter.XYs
	color  color.Color
}

func trackStyle(c color.Color) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: vg.Points(1.25)}
}

func trackDot(c color.Color) draw.GlyphStyle {
	return draw.GlyphStyle{Color: c, Radius: vg.Points(2.25), Shape: draw.CircleGlyph{}}
}

// Plot implements plot.Plotter.
func (t track) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	points := make([]vg.Point, len(t.points))
	for i, q := range t.points {
		points[i] = vg.Point{X: x(q.X), Y: y(q.Y)}
	}
	c.StrokeLines(trackStyle(t.color), c.ClipLinesXY(points)...)
	if len(points) > 60 {
		return
	}
	for _, q := range points {
		if c.Contains(q) {
			c.DrawGlyph(trackDot(t.color), q)
		}
	}
}

// strips are rows whose colour is log φ.
type strips struct {
	curves []Curve
	s      scale
	lo, hi float64
}

// Plot implements plot.Plotter.
func (h strips) Plot(c draw.Canvas, _ *plot.Plot) {
	size := c.Size()
	columns := int(size.X.Dots(2 * dpi))
	repeat := max(1, int(size.Y.Dots(2*dpi))/len(h.curves)) // rows of equal pixels: viewers smooth between them
	img := image.NewNRGBA(image.Rect(0, 0, columns, repeat*len(h.curves)))
	for i := range h.curves {
		row := columnPeaks(&h.curves[i], h.s, columns)
		for x, v := range row {
			col := color.NRGBA{0xff, 0xff, 0xff, 0xff}
			if l := floored(v, h.lo); l > h.lo {
				col = viridis((l - h.lo) / (h.hi - h.lo))
			}
			for y := i * repeat; y < (i+1)*repeat; y++ {
				img.SetNRGBA(x, y, col)
			}
		}
	}
	c.DrawImage(c.Rectangle, img)
}

// columnPeaks is the largest density in each of so many equal columns of an axis.
func columnPeaks(c *Curve, s scale, columns int) []float64 {
	out := make([]float64, columns)
	column := func(x float64) int { return int(math.Floor(s.at(x) * float64(columns))) }
	set := func(i int, v float64) {
		if i >= 0 && i < columns {
			out[i] = math.Max(out[i], v)
		}
	}
	for i, x := range c.Grid {
		k := column(x)
		set(k, positive(c.Density[i]))
		if i == 0 {
			continue
		}
		a := point{x: c.Grid[i-1], y: positive(c.Density[i-1])}
		b := point{x: x, y: positive(c.Density[i])}
		for j := max(0, column(a.x)+1); j < min(k, columns); j++ {
			mid := s.inverse((float64(j) + 0.5) / float64(columns))
			set(j, between(a, b, mid).y)
		}
	}
	return out
}

// colorBar says beside the picture what density a colour is.
func colorBar(c draw.Canvas, lo, hi float64) {
	const steps = 128
	img := image.NewNRGBA(image.Rect(0, 0, 1, steps))
	for i := range steps {
		img.SetNRGBA(0, steps-1-i, viridis(float64(i)/(steps-1)))
	}
	x := c.Max.X + vg.Points(12)
	r := vg.Rectangle{Min: vg.Point{X: x, Y: c.Min.Y}, Max: vg.Point{X: x + vg.Points(9), Y: c.Max.Y}}
	c.DrawImage(r, img)
	sideAxis(c, r.Max.X, r.Min.Y, r.Max.Y, lo, hi)
}

// heightAxis says beside the first row what density a height is.
func heightAxis(c draw.Canvas, bottom, top vg.Length, lo, hi float64) {
	sideAxis(c, c.Max.X+vg.Points(4), bottom, top, lo, hi)
}

// sideAxis is an axis of φ, labelled at powers of ten.
func sideAxis(c draw.Canvas, x, bottom, top vg.Length, lo, hi float64) {
	line := draw.LineStyle{Color: faint, Width: vg.Points(0.75)}
	c.StrokeLine2(line, x, bottom, x, top)
	style := textStyle(8.5, faint)
	style.YAlign = text.YCenter
	style.Handler = raised{text.Plain{Fonts: plot.DefaultTextHandler.Cache()}}
	marks := decadeTicks(lo, hi, int((top-bottom)/vg.Points(22)), powerOfTen)
	if top-bottom < vg.Points(44) { // room for two labels
		marks = []plot.Tick{{Value: lo, Label: powerOfTen(int(lo))}, {Value: math.Floor(hi), Label: powerOfTen(int(math.Floor(hi)))}}
	}
	for _, m := range marks {
		y := bottom + vg.Length((m.Value-lo)/(hi-lo))*(top-bottom)
		c.StrokeLine2(line, x, y, x+vg.Points(3), y)
		if m.Label != "" {
			c.FillText(style, vg.Point{X: x + vg.Points(5), Y: y}, m.Label)
		}
	}
	title := textStyle(9, faint)
	title.YAlign = text.YBottom
	title.XAlign = text.XLeft
	c.FillText(title, vg.Point{X: x - vg.Points(2), Y: top + vg.Points(5)}, "φ(λ)")
}

// viridis is the colour map of that name at t in 0 … 1: its lightness grows evenly, also for the colour-blind.
func viridis(t float64) color.NRGBA {
	anchors := [...][3]float64{
		{68, 1, 84}, {72, 40, 120}, {62, 74, 137}, {49, 104, 142}, {38, 130, 142},
		{31, 158, 137}, {53, 183, 121}, {109, 205, 89}, {180, 222, 44}, {253, 231, 37},
	}
	p := math.Min(math.Max(t, 0), 1) * float64(len(anchors)-1)
	i := min(int(p), len(anchors)-2)
	f := p - float64(i)
	mix := func(k int) uint8 { return uint8(math.Round(anchors[i][k] + f*(anchors[i+1][k]-anchors[i][k]))) }
	return color.NRGBA{mix(0), mix(1), mix(2), 0xff}
}
