package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// synthetic is the smoothed density of a spectrum such as trained networks have: a spike at zero,
// a heavy two-sided bulk of the width given, and outliers. Its grid is fine near eigenvalues alone.
func synthetic(name string, seed uint64, n int, bulk float64, outliers []float64) Curve {
	rng := rand.New(rand.NewPCG(seed, 1))
	values := slices.Clone(outliers)
	for len(values) < n {
		switch u := rng.Float64(); {
		case u < 0.4:
			values = append(values, 0)
		case u < 0.55:
			values = append(values, -bulk*0.3*rng.ExpFloat64()*rng.Float64())
		default:
			values = append(values, bulk*rng.ExpFloat64()*rng.Float64())
		}
	}
	slices.Sort(values)
	sigma := bulk / 10
	c := Curve{Name: name, Sigma2: sigma * sigma, Eigenvalues: outliers, Parameters: n, Min: values[0], Max: values[n-1]}
	x := values[0] - 6*sigma
	for i := 0; x <= values[n-1]+6*sigma; {
		c.Grid = append(c.Grid, x)
		for i < n && values[i] < x-6*sigma {
			i++
		}
		x += sigma / 3
		if i < n && values[i] > x+6*sigma {
			x = values[i] - 6*sigma
		}
	}
	c.Density, c.Lower, c.Upper = make([]float64, len(c.Grid)), make([]float64, len(c.Grid)), make([]float64, len(c.Grid))
	first := 0
	for g, x := range c.Grid {
		for values[first] < x-8*sigma {
			first++
		}
		exact := 0.0
		for _, v := range values[first:] {
			if v > x+8*sigma {
				break
			}
			w := math.Exp(-(x-v)*(x-v)/(2*c.Sigma2)) / math.Sqrt(2*math.Pi*c.Sigma2) / float64(n)
			c.Density[g] += w
			if v > 8*bulk {
				exact += w
			}
		}
		rest := c.Density[g] - exact
		c.Lower[g], c.Upper[g] = exact+0.5*rest, exact+1.7*rest
	}
	return c
}

var tenOutliers = []float64{0.318, 0.269, 0.212, 0.192, 0.166, 0.149, 0.135, 0.0901, 0.0638, 0.0364}

func paperLike() Curve { return synthetic("main.json", 1, 4000, 0.004, tenOutliers) }

func training(rows int) []Curve {
	var out []Curve
	for i := range rows {
		t := float64(i) / float64(max(1, rows-1))
		var outliers []float64
		for j, v := range tenOutliers {
			outliers = append(outliers, v*(1+6*t*math.Exp(-3*t)*float64(10-j)/3))
		}
		c := synthetic(fmt.Sprintf("epoch%03d.safetensors", 3*i*i), 7, 1500, 0.03*(1-0.85*t)+0.001, outliers)
		out = append(out, c)
	}
	return out
}

// degenerate spectra, each of which has to give a picture.
var degenerate = map[string][]Curve{
	"null":      {{Name: "null"}},
	"zeros":     {{Eigenvalues: make([]float64, 5), Parameters: 5}},
	"atom":      {{Grid: []float64{1, 1, 1}, Density: []float64{3, 3, 3}, Eigenvalues: []float64{1}, Min: 1, Max: 1}},
	"point":     {{Grid: []float64{2}, Density: []float64{1}}},
	"flat":      {{Grid: []float64{-1, 0, 1}, Density: []float64{0, 0, 0}}},
	"nan":       {{Grid: []float64{-1, 0, 1, 2}, Density: []float64{math.NaN(), 1, math.Inf(1), 1}, Eigenvalues: []float64{math.NaN(), math.Inf(-1)}}},
	"tiny":      {{Grid: []float64{-1e-300, 0, 1e-300}, Density: []float64{1e290, 1e299, 1e290}, Sigma2: 0}},
	"far":       {synthetic("one outlier 1e6 times the bulk", 3, 1000, 1e-3, []float64{1e3})},
	"two nulls": {{Name: "a"}, {Name: "b"}},
}

// picture renders and, with HESSDENS_PICTURES=DIR, keeps what it rendered to be looked at.
func picture(t *testing.T, name, format string, paint func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := paint(&b); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if dir := os.Getenv("HESSDENS_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+"."+format), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// svgText is all text of an SVG file; it fails where the file is not well-formed.
func svgText(t *testing.T, b []byte) string {
	t.Helper()
	var text strings.Builder
	inText := false
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			inText = tok.Name.Local == "text"
			for _, a := range tok.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Fatalf("<%s %s=%q>", tok.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			if inText {
				text.Write(tok)
				text.WriteByte('\n')
			}
		case xml.EndElement:
			inText = false
		}
	}
}

// inked is the share of pixels of a PNG file that are not white.
func inked(t *testing.T, b []byte) (share float64, size image.Point) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r := img.Bounds()
	dark := 0
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if red, green, blue, _ := img.At(x, y).RGBA(); min(red, green, blue) < 0xf000 {
				dark++
			}
		}
	}
	return float64(dark) / float64(r.Dx()*r.Dy()), r.Size()
}

func TestPlot(t *testing.T) {
	one := []Curve{paperLike()}
	two := []Curve{paperLike(), synthetic("epoch 90", 2, 4000, 0.008, []float64{0.42, 0.3, 0.2, 0.11})}
	titled := Options{Title: "mlp:784-20-10", Subtitle: "n = 15,910 · N = 1,000 · loss 0.029"}
	cases := []struct {
		name   string
		curves []Curve
		o      Options
		want   []string
	}{
		{"one", one, titled, []string{"eigenvalue λ", "density φ(λ)", "mlp:784-20-10", "n = 15,910", "main.json", "95 % band", "converged eigenvalues", "0.1", "0.2"}},
		{"one symlog", one, Options{X: SymLog, Title: titled.Title}, []string{"0.1", "0.01", "0"}},
		{"two", two, Options{Title: "before and after"}, []string{"main.json", "epoch 90"}},
		{"two symlog", two, Options{X: SymLog}, []string{"0.1", "−"}},
		{"zoom", one, Options{From: -0.01, To: 0.05}, []string{"0.01", "0.05"}},
		{"bare", one, Options{NoBand: true, NoMarks: true}, []string{"0.3"}},
		{"far", degenerate["far"], Options{}, []string{"1000", "0", "10"}},
		{"small", two, Options{Width: 420, Height: 300}, []string{"main.json"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			svg := picture(t, c.name, SVG, func(w io.Writer) error { return Plot(w, SVG, c.curves, c.o) })
			text := svgText(t, svg)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("no text %q in the SVG, which has %q", want, text)
				}
			}
			if c.o.NoBand && strings.Contains(text, "band") || c.o.NoMarks && strings.Contains(text, "converged") {
				t.Errorf("the legend names what was left out: %q", text)
			}
			raster := picture(t, c.name, PNG, func(w io.Writer) error { return Plot(w, PNG, c.curves, c.o) })
			share, size := inked(t, raster)
			width, height := c.o.Width, c.o.Height
			if width == 0 {
				width, height = DefaultWidth, DefaultHeight
			}
			if size != image.Pt(width, height) {
				t.Errorf("a picture of %v, want %d x %d", size, width, height)
			}
			if !(share > 0.02) {
				t.Errorf("%.3f of the picture has colour", share)
			}
			for format, before := range map[string][]byte{SVG: svg, PNG: raster} {
				if again := picture(t, c.name, format, func(w io.Writer) error { return Plot(w, format, c.curves, c.o) }); !bytes.Equal(again, before) {
					t.Errorf("two %s pictures of the same spectrum differ", format)
				}
			}
		})
	}
}

func TestPlotEvolution(t *testing.T) {
	for _, rows := range []int{1, 2, 6, 12, 40} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			curves, o := training(rows), Options{Title: "smallcnn in training"}
			name := fmt.Sprintf("evolution %d", rows)
			svg := picture(t, name, SVG, func(w io.Writer) error { return PlotEvolution(w, SVG, curves, o) })
			text := svgText(t, svg)
			for _, want := range []string{"eigenvalue λ", "smallcnn in training", "epoch000.safetensors", "λ max", "λ min", "φ(λ)"} {
				if !strings.Contains(text, want) {
					t.Errorf("no text %q in the SVG, which has %q", want, text)
				}
			}
			raster := picture(t, name, PNG, func(w io.Writer) error { return PlotEvolution(w, PNG, curves, o) })
			if share, _ := inked(t, raster); !(share > 0.02) {
				t.Errorf("%.3f of the picture has colour", share)
			}
			for format, before := range map[string][]byte{SVG: svg, PNG: raster} {
				if again := picture(t, name, format, func(w io.Writer) error { return PlotEvolution(w, format, curves, o) }); !bytes.Equal(again, before) {
					t.Errorf("two %s pictures of the same spectra differ", format)
				}
			}
		})
	}
}

func TestDegenerate(t *testing.T) {
	for name, curves := range degenerate {
		for _, x := range []XScale{Auto, Linear, SymLog} {
			for plotName, plot := range map[string]func(io.Writer, string, []Curve, Options) error{"plot": Plot, "evolution": PlotEvolution} {
				id := fmt.Sprintf("%s %s %s", plotName, name, x)
				svgText(t, picture(t, id, SVG, func(w io.Writer) error { return plot(w, SVG, curves, Options{X: x}) }))
				if x == Auto {
					if share, _ := inked(t, picture(t, id, PNG, func(w io.Writer) error { return plot(w, PNG, curves, Options{X: x}) })); !(share > 0.003) {
						t.Errorf("%s: %.4f of the picture has colour", id, share)
					}
				}
			}
		}
	}
}

func TestPDF(t *testing.T) {
	for name, plot := range map[string]func(io.Writer, string, []Curve, Options) error{"one": Plot, "evolution": PlotEvolution} {
		b := picture(t, name, PDF, func(w io.Writer) error { return plot(w, PDF, []Curve{paperLike()}, Options{Title: "a title"}) })
		if !bytes.HasPrefix(b, []byte("%PDF-")) || !bytes.Contains(b, []byte("%%EOF")) {
			t.Errorf("%s: not a PDF file: it begins with %q", name, b[:8])
		}
	}
}

func TestPlotErrors(t *testing.T) {
	good := []Curve{{Grid: []float64{0, 1}, Density: []float64{1, 1}}}
	for name, c := range map[string]struct {
		format string
		curves []Curve
		o      Options
	}{
		"nothing":      {SVG, nil, Options{}},
		"format":       {"bmp", good, Options{}},
		"lengths":      {SVG, []Curve{{Grid: []float64{0, 1}, Density: []float64{1}}}, Options{}},
		"half a band":  {SVG, []Curve{{Grid: []float64{0}, Density: []float64{1}, Lower: []float64{1}}}, Options{}},
		"order":        {SVG, []Curve{{Grid: []float64{1, 0}, Density: []float64{1, 1}}}, Options{}},
		"NaN in grid":  {SVG, []Curve{{Grid: []float64{math.NaN()}, Density: []float64{1}}}, Options{}},
		"axis":         {SVG, good, Options{X: "log"}},
		"empty range":  {SVG, good, Options{From: 2, To: 1}},
		"small":        {SVG, good, Options{Width: 10}},
		"large":        {SVG, good, Options{Height: 1 << 20}},
		"NaN in range": {SVG, good, Options{From: math.NaN(), To: 1}},
	} {
		for plotName, plot := range map[string]func(io.Writer, string, []Curve, Options) error{"plot": Plot, "evolution": PlotEvolution} {
			var b bytes.Buffer
			if err := plot(&b, c.format, c.curves, c.o); err == nil || b.Len() != 0 {
				t.Errorf("%s, %s: error %v and %d bytes, want an error and none", plotName, name, err, b.Len())
			}
		}
	}
}
