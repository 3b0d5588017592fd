package lanczos

import "math"

// Gaussian sets dst to probe p of a seed: a standard normal vector scaled to length 1, which is
// uniform on the sphere.
//
// Entry i comes from word i mod 2 of Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011) with key seed
// and counter (⌊i/2⌋, p): its upper 52 bits b give u = (b + ½)/2⁵², and the entry is the normal quantile of u
// (Wichura's AS 241). Every operation is an IEEE addition, product, quotient or square root, rounded by
// itself, so dst has the same bits on every machine. It depends on len(dst), seed and p alone, in every
// version of this program.
func Gaussian(dst []float64, seed uint64, p int) {
	normal(dst, seed, uint64(p))
	sum := 0.0
	for b := 0; b < len(dst); b += 1024 {
		part := 0.0
		for _, x := range dst[b:min(b+1024, len(dst))] {
			part += float64(x * x)
		}
		sum += part
	}
	norm := math.Sqrt(sum)
	for i := range dst {
		dst[i] /= norm
	}
}

// normal sets dst to independent standard normal numbers, the first len(dst) of a stream.
func normal(dst []float64, seed, stream uint64) {
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for i := 0; i < len(dst); i += 2 {
		pair := uint64(i) / 2
		x := philox([4]uint32{uint32(pair), uint32(pair >> 32), uint32(stream), uint32(stream >> 32)}, key)
		dst[i] = quantile(uint64(x[1])<<32 | uint64(x[0]))
		if i+1 < len(dst) {
			dst[i+1] = quantile(uint64(x[3])<<32 | uint64(x[2]))
		}
	}
}

func philox(c [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		p, q := uint64(c[0])*0xD2511F53, uint64(c[2])*0xCD9E8D57
		c = [4]uint32{uint32(q>>32) ^ c[1] ^ k[0], uint32(q), uint32(p>>32) ^ c[3] ^ k[1], uint32(p)}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}

// AS 241, PPND16: numerators and denominators, highest power last.
var (
	centre = [2][8]float64{
		{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
			4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3},
		{1, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
			2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4, 5.2264952788528545610e+3},
	}
	middle = [2][8]float64{
		{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
			1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
		{1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
			1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9},
	}
	tail = [2][8]float64{
		{6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
			2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
		{1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
			7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15},
	}
)

// The conversions float64(x*y) here and below forbid the fusing of a product into a sum, which some
// machines do and others do not.

func ratio(f *[2][8]float64, r float64) float64 {
	p, q := f[0][7], f[1][7]
	for i := 6; i >= 0; i-- {
		p = float64(p*r) + f[0][i]
		q = float64(q*r) + f[1][i]
	}
	return p / q
}

// quantile returns Φ⁻¹((⌊x/2¹²⌋ + ½) / 2⁵²).
func quantile(x uint64) float64 {
	u := (float64(x>>12) + 0.5) * 0x1p-52
	q := u - 0.5
	if math.Abs(q) <= 0.425 {
		return q * ratio(&centre, 0.180625-float64(q*q))
	}
	r := math.Sqrt(-logarithm(min(u, 1-u)))
	if r <= 5 {
		r = ratio(&middle, r-1.6)
	} else {
		r = ratio(&tail, r-5)
	}
	return math.Copysign(r, q)
}

// logarithm returns ln x of a normal positive number, to two units in the last place:
// x = 2ᵏ f with f in [√½, √2), ln f = 2 artanh((f − 1)/(f + 1)).
func logarithm(x float64) float64 {
	f, k := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f *= 2
		k--
	}
	s := (f - 1) / (f + 1)
	z := float64(s * s)
	sum := 0.0
	for i := 21; i >= 3; i -= 2 {
		sum = float64((sum + 1/float64(i)) * z)
	}
	return float64(float64(k)*math.Ln2) + (2*s + float64(2*s*sum))
}
