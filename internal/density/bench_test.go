package density

import (
	"testing"

	"hessdens/internal/lanczos"
)

// What a result costs beside its products: agreement, eight quadratures of each probe, numbers, band.
func BenchmarkEstimate(b *testing.B) {
	c := spectra(b, "smallcnn-nobn")[0]
	probes := c.run(b, 10, 90, 0)
	for b.Loop() {
		e := NewEstimate(probes, lanczos.Agree(probes, c.n(), lanczos.ProductError64))
		e.Numbers(0.01, 0.95)
		if _, err := e.Curve(e.Width().Sigma2, 0, 0.95); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGammaTable(b *testing.B) {
	for b.Loop() {
		gammaLaws.Clear()
		lawOf(0.95)
	}
}
