package dataset

import "image"

// jpeg turns luma and chroma into colours as libjpeg-turbo does by default: chroma that is sampled
// half as often is interpolated, three parts of the nearer sample and one of the farther, and the
// sums are those of 16-bit fixed point.
//
// Source: libjpeg-turbo, jdsample.c and jdcolor.c.
func (r raster) jpeg(m *image.YCbCr) {
	across, down := 1, 1
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		across = 2
	case image.YCbCrSubsampleRatio420:
		across, down = 2, 2
	case image.YCbCrSubsampleRatio440:
		down = 2
	case image.YCbCrSubsampleRatio411:
		across = 4
	case image.YCbCrSubsampleRatio410:
		across, down = 4, 2
	}
	cb := jpegChroma{m.Cb, m.CStride, (r.w + across - 1) / across, (r.h + down - 1) / down, across, down}
	cr := cb
	cr.pix = m.Cr
	n := cb.w * across
	b, c, sums := make([]uint8, n), make([]uint8, n), make([]int32, cb.w)
	for y := range r.h {
		cb.row(b, sums, y)
		cr.row(c, sums, y)
		luma, out := m.Y[y*m.YStride:][:r.w], r.pix[y*r.w*3:][:r.w*3]
		for x, l := range luma {
			l, u, v := int32(l), int32(b[x])-128, int32(c[x])-128
			out[3*x] = clamp(l + (91881*v+1<<15)>>16)
			out[3*x+1] = clamp(l + (-22554*u-46802*v+1<<15)>>16)
			out[3*x+2] = clamp(l + (116130*u+1<<15)>>16)
		}
	}
}

// jpegChroma is one of the two chroma planes, of w × h samples, each for across × down pixels.
type jpegChroma struct {
	pix          []uint8
	stride, w, h int
	across, down int
}

// row writes the chroma of a row of pixels; len(sums) is w.
func (c jpegChroma) row(dst []uint8, sums []int32, y int) {
	at := y / c.down
	near := c.pix[at*c.stride:][:c.w]
	smooth := c.across == 1 || c.across == 2 && c.w > 2
	switch {
	case c.down == 2 && smooth:
		other := max(at-1, 0)
		if y%2 == 1 {
			other = min(at+1, c.h-1)
		}
		far := c.pix[other*c.stride:][:c.w]
		for i := range sums {
			sums[i] = 3*int32(near[i]) + int32(far[i])
		}
		if c.across == 1 {
			bias := int32(1 + y%2)
			for i, s := range sums {
				dst[i] = uint8((s + bias) >> 2)
			}
			return
		}
		spread2(dst, sums, 8, 7, 4)
	case c.across == 2 && smooth:
		for i, v := range near {
			sums[i] = int32(v)
		}
		spread2(dst, sums, 1, 2, 2)
	default:
		for i := range dst {
			dst[i] = near[i/c.across]
		}
	}
}

// spread2 makes two values of each sum: three parts of it and one of its left or right neighbour (of
// itself at the ends), rounded by biases of their own and cut by a number of bits.
func spread2(dst []uint8, sums []int32, left, right int32, bits int) {
	last := len(sums) - 1
	for i, s := range sums {
		dst[2*i] = uint8((3*s + sums[max(i-1, 0)] + left) >> bits)
		dst[2*i+1] = uint8((3*s + sums[min(i+1, last)] + right) >> bits)
	}
}

// webp turns luma and chroma into colours as libwebp does by default, with its interpolation of chroma.
//
// Source: libwebp, src/dsp/upsampling.c and src/dsp/yuv.h.
func (r raster) webp(m *webpYUV) {
	u, v := make([]int32, r.w), make([]int32, r.w)
	for y := range r.h {
		// Samples lie between pixels: the nearer row of them, and the one beyond.
		at := y / 2
		other := max(at-1, 0)
		if y%2 == 1 {
			other = min(at+1, (r.h+1)/2-1)
		}
		webpChroma(u, m.Cb[at*m.CStride:], m.Cb[other*m.CStride:])
		webpChroma(v, m.Cr[at*m.CStride:], m.Cr[other*m.CStride:])
		luma, out := m.Y[y*m.YStride:][:r.w], r.pix[y*r.w*3:][:r.w*3]
		for x, l := range luma {
			l := int32(l) * 19077 >> 8
			out[3*x] = clamp((l + v[x]*26149>>8 - 14234) >> 6)
			out[3*x+1] = clamp((l - u[x]*6419>>8 - v[x]*13320>>8 + 8708) >> 6)
			out[3*x+2] = clamp((l + u[x]*33050>>8 - 17685) >> 6)
		}
	}
}

// webpChroma writes the chroma of a row of pixels: of the four samples around a pixel nine parts of the
// nearest, three of each beside it, one of the farthest.
func webpChroma(dst []int32, near, far []uint8) {
	n := len(dst)
	dst[0] = (3*int32(near[0]) + int32(far[0]) + 2) >> 2
	for x := 1; x <= (n-1)/2; x++ {
		a, b := int32(near[x-1]), int32(near[x])
		c, d := int32(far[x-1]), int32(far[x])
		all := a + b + c + d + 8
		dst[2*x-1] = ((all+2*(b+c))>>3 + a) >> 1
		if i := 2 * x; i < n {
			dst[i] = ((all+2*(a+d))>>3 + b) >> 1
		}
	}
	if n%2 == 0 && n > 0 {
		last := n/2 - 1
		dst[n-1] = (3*int32(near[last]) + int32(far[last]) + 2) >> 2
	}
}
