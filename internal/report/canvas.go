package report

import (
	"fmt"
	"image/color"
	"io"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgpdf"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Formats of pictures.
const (
	SVG = "svg"
	PNG = "png"
	PDF = "pdf"
)

// Default size of a picture in pixels.
const (
	DefaultWidth  = 900
	DefaultHeight = 540
)

// The smallest size in which axes and labels find room, and the largest that is sane.
const (
	smallestSide = 160
	largestSide  = 10000
)

const dpi = 96

// pixels is a length on the canvas: a pixel is 1/96 inch, as in CSS.
func pixels(n int) vg.Length { return vg.Length(n) * vg.Inch / dpi }

// size is the canvas's size with defaults filled in.
func (o *Options) size() (w, h vg.Length, err error) {
	width, height := o.Width, o.Height
	if width == 0 {
		width = DefaultWidth
	}
	if height == 0 {
		height = DefaultHeight
	}
	for _, side := range []int{width, height} {
		if side < smallestSide || side > largestSide {
			return 0, 0, fmt.Errorf("a picture of %d x %d pixels (each side from %d to %d)", width, height, smallestSide, largestSide)
		}
	}
	return pixels(width), pixels(height), nil
}

// render lets paint draw on a white canvas and writes the picture.
func render(w io.Writer, format string, width, height vg.Length, paint func(draw.Canvas)) error {
	var canvas vg.CanvasWriterTo
	switch format {
	case SVG:
		canvas = &svgCanvas{Canvas: vgsvg.New(width, height)}
	case PNG:
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))}
	case PDF:
		canvas = pdfCanvas{vgpdf.New(width, height)}
	default:
		return fmt.Errorf("picture format %q is not known (one of svg, png, pdf)", format)
	}
	c := draw.NewCanvas(canvas, width, height)
	c.FillPolygon(color.White, []vg.Point{{}, {X: width}, {X: width, Y: height}, {Y: height}})
	paint(c)
	_, err := canvas.WriteTo(w)
	return err
}

// Colours of Okabe and Ito, which people with any colour vision can tell apart.
var palette = []color.NRGBA{
	{0x00, 0x72, 0xb2, 0xff}, // blue
	{0xd5, 0x5e, 0x00, 0xff}, // vermillion
	{0x00, 0x9e, 0x73, 0xff}, // bluish green
	{0xcc, 0x79, 0xa7, 0xff}, // reddish purple
	{0xe6, 0x9f, 0x00, 0xff}, // orange
	{0x56, 0xb4, 0xe9, 0xff}, // sky blue
	{0x00, 0x00, 0x00, 0xff}, // black
}

var (
	ink   = color.NRGBA{0x22, 0x22, 0x22, 0xff}
	faint = color.NRGBA{0x66, 0x66, 0x66, 0xff}
	rule  = color.NRGBA{0xe4, 0xe4, 0xe4, 0xff}
)

// curveStyle is the line of the i-th curve: colours first, then dashes.
func curveStyle(i int) draw.LineStyle {
	s := draw.LineStyle{Color: palette[i%len(palette)], Width: vg.Points(1.25)}
	switch i / len(palette) % 3 {
	case 1:
		s.Dashes = []vg.Length{vg.Points(5), vg.Points(2)}
	case 2:
		s.Dashes = []vg.Length{vg.Points(1.5), vg.Points(1.5)}
	}
	return s
}

func translucent(c color.Color, alpha uint8) color.NRGBA {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	n.A = alpha
	return n
}

// textStyle is our sans serif in a size in points.
func textStyle(size float64, c color.Color) text.Style {
	f := font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(size))
	return text.Style{Color: c, Font: f, Handler: plot.DefaultTextHandler}
}

// newPlot is an empty plot in our style.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color = faint
		a.LineStyle.Width = vg.Points(0.75)
		a.Padding = 0
		label := textStyle(10.5, ink)
		label.XAlign, label.YAlign = a.Label.TextStyle.XAlign, a.Label.TextStyle.YAlign
		a.Label.TextStyle = label
		a.Label.Padding = vg.Points(4)
		tick := textStyle(9.5, ink)
		tick.XAlign, tick.YAlign = a.Tick.Label.XAlign, a.Tick.Label.YAlign
		tick.Handler = raised{text.Plain{Fonts: font.DefaultCache}}
		a.Tick.Label = tick
		a.Tick.LineStyle = draw.LineStyle{Color: faint, Width: vg.Points(0.75)}
		a.Tick.Length = vg.Points(5)
	}
	return p
}

// raised is a text handler for one line with superscripts: 10^{−3}. The fonts have no superscript minus.
type raised struct{ text.Plain }

const (
	raisedSize  = 0.72 // of the font's size
	raisedShift = 0.36
)

// part is a run of text of one size and height.
type part struct {
	text string
	up   bool
}

func parts(txt string) []part {
	before, rest, found := strings.Cut(txt, "^{")
	if !found {
		return []part{{text: txt}}
	}
	up, after, _ := strings.Cut(rest, "}")
	return append([]part{{text: before}, {text: up, up: true}}, parts(after)...)
}

func (h raised) face(f font.Font, up bool) font.Face {
	size := f.Size
	if up {
		size *= raisedSize
	}
	return h.Fonts.Lookup(f, size)
}

// Box implements text.Handler.
func (h raised) Box(txt string, f font.Font) (width, height, depth vg.Length) {
	for _, p := range parts(txt) {
		face := h.face(f, p.up)
		width += face.Width(p.text)
	}
	e := h.Extents(f)
	return width, e.Ascent, e.Descent
}

// Draw implements text.Handler for text that is not turned.
func (h raised) Draw(c vg.Canvas, txt string, sty text.Style, pt vg.Point) {
	width, height, depth := h.Box(txt, sty.Font)
	c.SetColor(sty.Color)
	pt.X += vg.Length(sty.XAlign) * width
	pt.Y += vg.Length(sty.YAlign)*(height+depth) - h.Extents(sty.Font).Ascent + sty.Font.Size
	for _, p := range parts(txt) {
		if p.text == "" {
			continue
		}
		at := pt
		if p.up {
			at.Y += raisedShift * sty.Font.Size
		}
		face := h.face(sty.Font, p.up)
		c.FillString(face, at, p.text)
		pt.X += face.Width(p.text)
	}
}

// key is an entry of a legend: a swatch and a name.
type key struct {
	name   string
	swatch func(c draw.Canvas)
}

// header draws title, subtitle and legend at the top, and returns the canvas that remains.
func header(c draw.Canvas, o *Options, keys []key) draw.Canvas {
	c = draw.Crop(c, pixels(14), -pixels(18), pixels(10), -pixels(12))
	line := func(s string, size float64, col color.Color, after vg.Length) {
		if s == "" {
			return
		}
		style := textStyle(size, col)
		style.YAlign = text.YTop
		c.FillText(style, vg.Point{X: c.Min.X, Y: c.Max.Y}, shorten(s, style, c.Max.X-c.Min.X))
		c.Max.Y -= style.Height(s) + after
	}
	line(o.Title, 13, ink, vg.Points(2))
	line(o.Subtitle, 9.5, faint, vg.Points(2))

	if len(keys) > 0 {
		c.Max.Y -= vg.Points(3)
		style := textStyle(9.5, ink)
		style.YAlign = text.YCenter
		const swatch, space, gap = 22, 5, 18
		high := vg.Points(14)
		x := c.Min.X
		for _, k := range keys {
			name := shorten(k.name, style, (c.Max.X-c.Min.X)/2)
			need := vg.Points(swatch+space) + style.Width(name)
			if x > c.Min.X && x+need > c.Max.X {
				x = c.Min.X
				c.Max.Y -= high
			}
			box := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: x, Y: c.Max.Y - high}, Max: vg.Point{X: x + vg.Points(swatch), Y: c.Max.Y}}}
			k.swatch(box)
			c.FillText(style, vg.Point{X: x + vg.Points(swatch+space), Y: c.Max.Y - high/2}, name)
			x += need + vg.Points(gap)
		}
		c.Max.Y -= high
	}
	if o.Title != "" || o.Subtitle != "" || len(keys) > 0 {
		c.Max.Y -= vg.Points(6)
	}
	return c
}

// shorten cuts a text in its middle until it fits, so that a long path keeps its end.
func shorten(s string, style text.Style, room vg.Length) string {
	return fitMiddle(s, func(t string) bool { return style.Width(t) <= room })
}

// fitMiddle replaces as little as possible of the middle of a text by … for it to fit.
func fitMiddle(s string, fits func(string) bool) string {
	if fits(s) {
		return s
	}
	r := []rune(s)
	for keep := len(r) - 1; keep > 0; keep-- {
		front := keep / 3
		t := string(r[:front]) + "…" + string(r[len(r)-(keep-front):])
		if fits(t) {
			return t
		}
	}
	return "…"
}
