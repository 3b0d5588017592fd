package dataset

import "math"

// raster is a picture of bytes, row-major, the channels of a pixel beside each other.
type raster struct {
	w, h, channels int
	pix            []uint8
}

func newRaster(w, h, channels int) raster {
	return raster{w, h, channels, make([]uint8, w*h*channels)}
}

// resize gives the shorter side n pixels and the longer one ⌊n·long/short⌋, as torchvision's Resize(n).
func (r raster) resize(n int) raster {
	w, h := resized(r.w, r.h, n)
	return r.resample(w, h)
}

// resized is the size that resize gives a picture of w × h.
func resized(w, h, n int) (int, int) {
	short, long := min(w, h), max(w, h)
	other := int(float64(n) * float64(long) / float64(short))
	if w <= h {
		return n, other
	}
	return other, n
}

// resample scales to w × h by a triangle that is as wide as a pixel of the coarser grid, bit for bit
// as Pillow's Image.resize(BILINEAR): along rows, rounded to bytes, then along columns.
//
// Source: Pillow, src/libImaging/Resample.c.
func (r raster) resample(w, h int) raster {
	if w != r.w {
		out := newRaster(w, r.h, r.channels)
		taps := triangles(r.w, w)
		for y := range r.h {
			in := r.pix[y*r.w*r.channels:][:r.w*r.channels]
			for x := range taps {
				for c := range r.channels {
					out.pix[(y*w+x)*r.channels+c] = taps[x].sum(in[taps[x].first*r.channels+c:], r.channels)
				}
			}
		}
		r = out
	}
	if h != r.h {
		out := newRaster(r.w, h, r.channels)
		row := r.w * r.channels
		for y, t := range triangles(r.h, h) {
			for i := range row {
				out.pix[y*row+i] = t.sum(r.pix[t.first*row+i:], row)
			}
		}
		r = out
	}
	return r
}

// tap is how a pixel of the result is made of pixels of a line, from first on.
type tap struct {
	first   int
	weights []int32 // in units of 2^−weightBits
}

// weightBits leave room for a byte and two bits of overshoot in 32.
const weightBits = 32 - 8 - 2

// sum is the pixel, its parts stride bytes from each other.
func (t tap) sum(in []uint8, stride int) uint8 {
	s := int32(1) << (weightBits - 1)
	for i, w := range t.weights {
		s += w * int32(in[i*stride])
	}
	return clamp(s >> weightBits)
}

// triangles are the taps of a line of n pixels that becomes one of m.
func triangles(n, m int) []tap {
	scale := float64(n) / float64(m)
	support := max(scale, 1)
	taps := make([]tap, m)
	var k []float64
	for x := range taps {
		center := float64((float64(x) + 0.5) * scale) // rounded: no fused multiply-add
		first := max(int(center-support+0.5), 0)
		last := min(int(center+support+0.5), n)
		k = k[:0]
		sum := 0.0
		for i := first; i < last; i++ {
			v := max(1-math.Abs((float64(i)-center+0.5)*(1/support)), 0)
			k = append(k, v)
			sum += v
		}
		weights := make([]int32, len(k))
		for i, v := range k {
			if sum != 0 {
				v /= sum
			}
			weights[i] = int32(0.5 + v*(1<<weightBits))
		}
		taps[x] = tap{first, weights}
	}
	return taps
}

// crop takes the middle w × h pixels, with zeros around a picture that is smaller, as torchvision's
// CenterCrop.
func (r raster) crop(w, h int) raster {
	left, padLeft := middle(r.w, w)
	top, padTop := middle(r.h, h)
	out := newRaster(w, h, r.channels)
	n := min(w-padLeft, r.w-left) * r.channels
	for y := padTop; y < h && top+y-padTop < r.h; y++ {
		copy(out.pix[(y*w+padLeft)*r.channels:][:n], r.pix[((top+y-padTop)*r.w+left)*r.channels:][:n])
	}
	return out
}

// middle is where the middle m of n pixels begin, or how many zeros come before them.
func middle(n, m int) (first, pad int) {
	if m > n {
		return 0, (m - n) / 2
	}
	return int(math.RoundToEven(float64(n-m) / 2)), 0
}

// planes writes the picture as [channels, h, w].
func (r raster) planes(dst []uint8) {
	n := r.w * r.h
	for c := range r.channels {
		plane := dst[c*n : (c+1)*n]
		for i := range plane {
			plane[i] = r.pix[i*r.channels+c]
		}
	}
}

func clamp(v int32) uint8 { return uint8(min(max(v, 0), 255)) }
