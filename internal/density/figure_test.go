package density

import (
	"image/color"
	"os"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// TestFigure draws docs/accuracy.svg, where HESSDENS_FIGURE names the file: the distance to exact spectra against the
// products, of the quadratures as they are and of the estimate.
func TestFigure(t *testing.T) {
	path := os.Getenv("HESSDENS_FIGURE")
	if path == "" {
		t.Skip("HESSDENS_FIGURE names no file to write")
	}
	const m, most, repeats = 90, 30, 6
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "products (probes of 90 steps)", "W1 to the exact spectrum / mean |λ|"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top = true
	colors := []color.RGBA{{0x1f, 0x77, 0xb4, 0xff}, {0xd6, 0x27, 0x28, 0xff}, {0x2c, 0xa0, 0x2c, 0xff}}
	for i, c := range spectra(t, "smallcnn-nobn", "mlp-mnist-exact", "smallcnn-bn-eval-512") {
		whole, mean := Exact(c.exact), NewExact(c.exact, 0, Width{}).Numbers(0, 0.95).MeanAbs.Value
		var lines [2]plotter.XYs
		for _, k := range []int{1, 2, 5, 10, most} {
			var w1 [2]float64
			for r := range repeats {
				probes := c.run(t, k, m, uint64(500+r))
				w1[0] += W1(FromProbes(probes), whole) / mean / repeats
				w1[1] += W1(estimateOf(probes, c.n()).Measure(), whole) / mean / repeats
			}
			t.Logf("%s, %d x %d: plain %.4f, estimate %.4f", c.name, k, m, w1[0], w1[1])
			for j := range lines {
				lines[j] = append(lines[j], plotter.XY{X: float64(k * m), Y: w1[j]})
			}
		}
		for j, name := range []string{", plain quadrature", ", eigenvalues known, 8 steps averaged"} {
			l, points, err := plotter.NewLinePoints(lines[j])
			if err != nil {
				t.Fatal(err)
			}
			l.Color, points.Color, points.Shape = colors[i], colors[i], draw.CircleGlyph{}
			l.Width = vg.Points(1.5)
			if j == 0 {
				l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
			}
			p.Add(l, points)
			p.Legend.Add(c.name+name, l)
		}
	}
	p.Y.Max *= 20 // room for the legend
	canvas := vgsvg.New(7*vg.Inch, 4.5*vg.Inch)
	p.Draw(draw.New(canvas))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := canvas.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
