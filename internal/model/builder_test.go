package model_test

import (
	"math"
	"slices"
	"testing"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// pooled is the result of a pooling of x [1, 1, h, w], row-major, and its size.
func pooled(t *testing.T, x []float64, h, w int, pool func(b *model.Builder, im model.Image) model.Image) ([]float64, int, int) {
	t.Helper()
	g := graph.New()
	in := g.Input("x", graph.Float, 1, 1, h, w)
	b := &model.Builder{G: g, Batch: 1}
	im := pool(b, b.Image(in))
	threads := exec.NewPool(1)
	defer threads.Close()
	p, err := exec.Compile[float64]([]*graph.Node{im.X}, exec.Options{Pool: threads})
	if err != nil {
		t.Fatal(err)
	}
	p.SetFloats(in, x)
	p.Prepare()
	p.RunPrimal()
	return slices.Clone(p.Output(0)), im.H, im.W
}

// The padding of a max-pool is never the largest, though all values are below 0.
func TestMaxPoolPadding(t *testing.T) {
	x := []float64{
		-1, -2, -3, -4, -5,
		-6, -7, -8, -9, -3,
		-2, -9, -9, -7, -9,
		-8, -9, -5, -9, -6,
	}
	got, h, w := pooled(t, x, 4, 5, func(b *model.Builder, im model.Image) model.Image { return b.MaxPool2d(im, 3, 2, 1) })
	want := []float64{-1, -2, -3, -2, -5, -3}
	if h != 2 || w != 3 || !slices.Equal(got, want) {
		t.Errorf("got %v of %dx%d, want %v", got, h, w, want)
	}
}

func TestAdaptiveAvgPool(t *testing.T) {
	for _, c := range []struct {
		h, w, toH, toW int
		x, want        []float64
	}{
		{1, 5, 1, 3, []float64{1, 2, 4, 8, 16}, []float64{1.5, 14. / 3, 12}}, // 0–1, 1–3, 3–4
		{1, 2, 1, 3, []float64{1, 5}, []float64{1, 3, 5}},                    // 0, 0–1, 1
		{1, 1, 2, 2, []float64{7}, []float64{7, 7, 7, 7}},
		{2, 2, 2, 2, []float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}},
		{2, 4, 1, 2, []float64{1, 2, 3, 4, 5, 6, 7, 8}, []float64{3.5, 5.5}},
	} {
		got, h, w := pooled(t, c.x, c.h, c.w, func(b *model.Builder, im model.Image) model.Image { return b.AdaptiveAvgPool2d(im, c.toH, c.toW) })
		ok := h == c.toH && w == c.toW && len(got) == len(c.want)
		for i := range got {
			ok = ok && math.Abs(got[i]-c.want[i]) <= 1e-15*8
		}
		if !ok {
			t.Errorf("%dx%d to %dx%d: got %v of %dx%d, want %v", c.h, c.w, c.toH, c.toW, got, h, w, c.want)
		}
	}
}
