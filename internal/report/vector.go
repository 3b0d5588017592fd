package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"strings"

	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgpdf"
	"gonum.org/v1/plot/vg/vgsvg"
)

// svgCanvas is an SVG canvas whose text keeps its place where the reader has none of our fonts: each text carries the
// width that it was laid out with.
type svgCanvas struct {
	*vgsvg.Canvas
	widths []vg.Length
}

// FillString implements vg.Canvas.
func (c *svgCanvas) FillString(f font.Face, pt vg.Point, s string) {
	c.widths = append(c.widths, f.Width(s))
	c.Canvas.FillString(f, pt, s)
}

// svgRepairs names fonts that most readers have, and the true type of embedded pictures.
var svgRepairs = strings.NewReplacer(
	"font-family:Liberation Sans;font-variant:normal;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;",
	"data:image/jpg;base64,", "data:image/png;base64,",
)

// WriteTo implements io.WriterTo.
func (c *svgCanvas) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	if _, err := c.Canvas.WriteTo(&b); err != nil {
		return 0, err
	}
	const element = "<text " // in content < is escaped
	pieces := strings.Split(svgRepairs.Replace(b.String()), element)
	var out strings.Builder
	out.WriteString(pieces[0])
	for i, p := range pieces[1:] {
		fmt.Fprintf(&out, `%stextLength="%.5g" lengthAdjust="spacingAndGlyphs" %s`, element, c.widths[i].Points(), p)
	}
	n, err := io.WriteString(w, out.String())
	return int64(n), err
}

// pdfCanvas is a PDF canvas with two things that vgpdf does not do: text beyond its one-byte encoding, drawn as
// outlines, and translucent colours, which it takes to be those of a black ground.
type pdfCanvas struct{ *vgpdf.Canvas }

// SetColor implements vg.Canvas.
func (c pdfCanvas) SetColor(col color.Color) {
	if col == nil {
		col = color.Black
	}
	c.Canvas.SetColor(straight(color.NRGBAModel.Convert(col).(color.NRGBA)))
}

// straight is a colour whose RGBA are not multiplied by its alpha.
type straight color.NRGBA

// RGBA implements color.Color but for the multiplication.
func (s straight) RGBA() (r, g, b, a uint32) {
	return 0x101 * uint32(s.R), 0x101 * uint32(s.G), 0x101 * uint32(s.B), 0x101 * uint32(s.A)
}

// FillString implements vg.Canvas.
func (c pdfCanvas) FillString(f font.Face, pt vg.Point, s string) {
	for _, r := range s {
		if r > '~' {
			c.fillOutlines(f, pt, s)
			return
		}
	}
	c.Canvas.FillString(f, pt, s)
}

func (c pdfCanvas) fillOutlines(f font.Face, pt vg.Point, s string) {
	var buf sfnt.Buffer
	em := f.Face.UnitsPerEm()
	scale := f.Font.Size / vg.Length(em) / 64
	for _, r := range s {
		glyph, err := f.Face.GlyphIndex(&buf, r)
		if err != nil {
			glyph = 0 // the box that stands for what a font lacks
		}
		outline, err := f.Face.LoadGlyph(&buf, glyph, fixed.I(int(em)), nil)
		if err == nil {
			var path vg.Path
			at := func(p fixed.Point26_6) vg.Point {
				return vg.Point{X: pt.X + vg.Length(p.X)*scale, Y: pt.Y - vg.Length(p.Y)*scale}
			}
			for i, seg := range outline {
				switch seg.Op {
				case sfnt.SegmentOpMoveTo:
					if i > 0 {
						path.Close()
					}
					path.Move(at(seg.Args[0]))
				case sfnt.SegmentOpLineTo:
					path.Line(at(seg.Args[0]))
				case sfnt.SegmentOpQuadTo:
					path.QuadTo(at(seg.Args[0]), at(seg.Args[1]))
				case sfnt.SegmentOpCubeTo:
					path.CubeTo(at(seg.Args[0]), at(seg.Args[1]), at(seg.Args[2]))
				}
			}
			if len(path) > 0 {
				path.Close()
				c.Fill(path)
			}
		}
		pt.X += f.Width(string(r))
	}
}
