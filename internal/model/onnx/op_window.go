package onnx

import (
	"fmt"
	"math"
	"slices"

	"hessdens/internal/graph"
)

func windowOperators() map[string]operator {
	return map[string]operator{
		"Conv":          one(2, conv),
		"ConvTranspose": one(2, convTranspose),
		"MaxPool":       {least: 1, build: maxPool},
		"AveragePool":   one(1, averagePool),
		"LpPool":        one(1, lpPool),
		"MaxUnpool":     one(2, maxUnpool),
		"GlobalAveragePool": one(1, func(b *builder, _ *node, in []*value) *value {
			return b.global(in[0], func(x *graph.Node) *graph.Node { return b.g.Mean(x, 1) })
		}),
		"GlobalMaxPool": one(1, func(b *builder, _ *node, in []*value) *value {
			return b.global(in[0], func(x *graph.Node) *graph.Node { return b.g.ReduceMax(x, 1) })
		}),
		"GlobalLpPool": one(1, globalLpPool),
		"LRN":          one(1, lrn),
		"Resize":       one(1, resize),
		"Upsample":     one(1, upsample),
	}
}

// sizes are integers of an attribute, def each where it is left out and at least that where not.
func (b *builder) sizes(n *node, name string, def, rank int) []int {
	v := n.ints(name)
	if v == nil {
		v = slices.Repeat([]int{def}, rank)
	}
	if len(v) != rank {
		b.fail("%s is %v for %d axes", name, v, rank)
	}
	for _, s := range v {
		if s < def || s > math.MaxInt32 {
			b.fail("%s is %v", name, v)
		}
	}
	return v
}

// window reads how an operator moves over the axes of a size. Windows of a pooling that begin in the padding after the
// end are left out.
func (b *builder) window(n *node, size, kernel []int, pool bool) graph.Window {
	d := len(size)
	w := graph.Window{Size: size, Kernel: kernel, Stride: b.sizes(n, "strides", 1, d), Dilation: b.sizes(n, "dilations", 1, d), Low: make([]int, d), High: make([]int, d)}
	if len(kernel) != d {
		b.fail("a kernel of %v for %v", kernel, size)
	}
	auto := n.str("auto_pad", "NOTSET")
	pads := n.ints("pads")
	if auto == "NOTSET" && pads != nil && len(pads) != 2*d {
		b.fail("pads are %v for %d axes", pads, d)
	}
	for i := range d {
		if kernel[i] < 1 || kernel[i] > math.MaxInt32 || size[i] < 1 {
			b.fail("a kernel of %v for %v", kernel, size)
		}
		span := w.Dilation[i]*(kernel[i]-1) + 1
		switch auto {
		case "NOTSET", "":
			if pads != nil {
				w.Low[i], w.High[i] = pads[i], pads[i+d]
			}
		case "VALID":
		case "SAME_UPPER", "SAME_LOWER":
			out := (size[i] + w.Stride[i] - 1) / w.Stride[i]
			total := max((out-1)*w.Stride[i]+span-size[i], 0)
			w.Low[i], w.High[i] = total/2, total-total/2
			if auto == "SAME_LOWER" {
				w.Low[i], w.High[i] = w.High[i], w.Low[i]
			}
		default:
			b.fail("auto_pad is %q", auto)
		}
		if w.Low[i] < 0 || w.High[i] < 0 || w.Low[i] > math.MaxInt32 || w.High[i] > math.MaxInt32 {
			b.fail("pads are %v", pads)
		}
		if pool && n.int("ceil_mode", 0) != 0 {
			room := size[i] + w.Low[i] + w.High[i] - span
			out := (room+w.Stride[i]-1)/w.Stride[i] + 1
			if (out-1)*w.Stride[i] >= size[i]+w.Low[i] {
				out--
			}
			w.High[i] += max((out-1)*w.Stride[i]-room, 0)
		}
	}
	b.checkWindow(w)
	return w
}

// checkWindow bounds the table of a window.
func (b *builder) checkWindow(w graph.Window) {
	n := 1.0
	for i, o := range w.Out() {
		n *= float64(o) * float64(w.Kernel[i])
	}
	if n > maxWindow {
		b.fail("a kernel of %v moved over %v with padding %v and %v", w.Kernel, w.Size, w.Low, w.High)
	}
	b.spend(int(n))
}

func (b *builder) bias(y *graph.Node, in []*value, i int) *graph.Node {
	v := opt(in, i)
	if v == nil {
		return y
	}
	if v.size() != y.Dim(-1) {
		b.fail("a bias of shape %v for %d channels", v.shape, y.Dim(-1))
	}
	return b.g.Add(y, b.g.Reshape(b.real(v), v.size()))
}

// kernel is the kernel's size by the weight, which an attribute may repeat.
func (b *builder) kernel(n *node, w *value) []int {
	k := w.shape[2:]
	if a := n.ints("kernel_shape"); a != nil && !slices.Equal(a, k) {
		b.fail("kernel_shape is %v, and the weight is %v", a, w.shape)
	}
	return k
}

func conv(b *builder, n *node, in []*value) *value {
	x, w, g := in[0], in[1], b.g
	if x.rank() < 3 || w.rank() != x.rank() {
		b.fail("an input of %v and a weight of %v", x.shape, w.shape)
	}
	win := b.window(n, x.shape[2:], b.kernel(n, w), false)
	win.Groups = n.int("group", 1)
	o, c := w.shape[0], w.shape[1]
	if win.Groups < 1 || c*win.Groups != x.shape[1] || o%win.Groups != 0 {
		b.fail("an input of %v, a weight of %v, %d groups", x.shape, w.shape, win.Groups)
	}
	perm := []int{}
	for i := 2; i < w.rank(); i++ {
		perm = append(perm, i)
	}
	wn := g.Reshape(g.Transpose(b.real(w), append(perm, 1, 0)...), count(w.shape[2:]), c, o)
	y := g.Conv(b.image(x), wn, g.Geometry(win))
	return imaged(x.dt, b.bias(y, in, 2), win.Out())
}

func convTranspose(b *builder, n *node, in []*value) *value {
	x, w, g := in[0], in[1], b.g
	if x.rank() < 3 || w.rank() != x.rank() {
		b.fail("an input of %v and a weight of %v", x.shape, w.shape)
	}
	d := x.rank() - 2
	k := b.kernel(n, w)
	groups := n.int("group", 1)
	if groups < 1 || w.shape[0] != x.shape[1] || x.shape[1]%groups != 0 {
		b.fail("an input of %v, a weight of %v, %d groups", x.shape, w.shape, groups)
	}
	win := graph.Window{Kernel: k, Stride: b.sizes(n, "strides", 1, d), Dilation: b.sizes(n, "dilations", 1, d), Size: make([]int, d), Low: make([]int, d), High: make([]int, d), Groups: groups}
	extra := b.sizes(n, "output_padding", 0, d)
	pads, to := n.ints("pads"), n.ints("output_shape")
	if pads == nil {
		pads = make([]int, 2*d)
	}
	if len(to) == x.rank() {
		to = to[2:]
	}
	if len(pads) != 2*d || to != nil && len(to) != d {
		b.fail("pads are %v, output_shape is %v", pads, to)
	}
	auto := n.str("auto_pad", "NOTSET")
	cut := make([]int, d) // zeros at the end of the result
	for i := range d {
		s := win.Stride[i]
		full := s*(x.shape[2+i]-1) + win.Dilation[i]*(k[i]-1) + 1
		low, high := pads[i], pads[i+d]
		switch {
		case to != nil:
			total := max(full+extra[i]-to[i], 0)
			low, high = total-total/2, total/2
			if auto == "SAME_UPPER" {
				low, high = high, low
			}
		case auto == "SAME_UPPER" || auto == "SAME_LOWER":
			total := max(full+extra[i]-x.shape[2+i]*s, 0)
			low, high = total/2, total-total/2
			if auto == "SAME_LOWER" {
				low, high = high, low
			}
		case auto == "VALID":
			low, high = 0, 0
		}
		size := full + extra[i] - low - high
		if to != nil {
			size = to[i]
		}
		if size < 1 || size > math.MaxInt32 || low < -math.MaxInt32 || high < -math.MaxInt32 {
			b.fail("pads are %v, output_shape is %v for an input of %v", pads, to, x.shape)
		}
		// The convolution that this one is the transpose of reads low before and high after; what it cannot
		// reach stays zero.
		if low < 0 {
			b.fail("pads are %v, output_shape is %v: the result would be larger than what is there", pads, to)
		}
		win.Size[i], win.Low[i], win.High[i] = size, low, high
		if h := full - low - size; h >= 0 {
			win.High[i] = h
		} else { // zeros after the last that is reached
			win.High[i] = 0
			win.Size[i], cut[i] = full-low, -h
		}
	}
	b.checkWindow(win)
	if !slices.Equal(win.Out(), x.shape[2:]) {
		b.fail("pads are %v, output_padding %v for an input of %v", pads, extra, x.shape)
	}
	ci, co, taps := x.shape[1]/groups, w.shape[1], count(k)
	wn := g.Reshape(b.real(w), groups, ci, co, taps)
	wn = g.Reshape(g.Transpose(wn, 3, 1, 0, 2), taps, ci, groups*co)
	y := imaged(x.dt, g.Conv(b.image(x), wn, g.Geometry(win).Transposed()), win.Size)
	if slices.ContainsFunc(cut, func(c int) bool { return c > 0 }) {
		y = b.padded(y, make([]int, x.rank()), append([]int{0, 0}, cut...), "constant", 0)
	}
	return imaged(x.dt, b.bias(b.image(y), in, 2), y.shape[2:])
}

func (b *builder) pool(n *node, x *value) graph.Window {
	if x.rank() < 3 {
		b.fail("an input of %v", x.shape)
	}
	k := n.ints("kernel_shape")
	if k == nil {
		b.fail("kernel_shape is missing")
	}
	return b.window(n, x.shape[2:], k, true)
}

func maxPool(b *builder, n *node, in []*value) []*value {
	x, g := in[0], b.g
	w := b.pool(n, x)
	geo := g.Geometry(w)
	xi := b.image(x)
	ids := g.ArgMax(xi, geo)
	y := imaged(x.dt, g.Take(xi, ids), w.Out())
	return []*value{y, {dt: dtInt64, shape: y.shape, n: ids, form: image}}
}

// maxUnpool puts values back where MaxPool took them from.
func maxUnpool(b *builder, n *node, in []*value) *value {
	x, ids := in[0], in[1]
	if x.rank() < 3 || !slices.Equal(x.shape, ids.shape) {
		b.fail("an input of %v and indices of %v", x.shape, ids.shape)
	}
	d := x.rank() - 2
	k, s := n.ints("kernel_shape"), b.sizes(n, "strides", 1, d)
	pads := n.ints("pads")
	if pads == nil {
		pads = make([]int, 2*d)
	}
	if len(k) != d || len(pads) != 2*d {
		b.fail("kernel_shape is %v, pads are %v", k, pads)
	}
	size := make([]int, d)
	for i := range size {
		size[i] = (x.shape[2+i]-1)*s[i] + k[i] - pads[i] - pads[i+d]
	}
	small := size
	if v := opt(in, 2); v != nil {
		to := b.list(v, "the shape")
		if len(to) != x.rank() {
			b.fail("the shape %v", to)
		}
		size = to[2:]
	}
	for _, s := range size {
		if s < 1 {
			b.fail("a result of %v", size)
		}
	}
	b.checkShape(append([]int{x.shape[0], x.shape[1]}, size...))
	if ids.c == nil {
		if ids.form != image || ids.n.Kind() != graph.Int {
			b.fail("indices that are not those of a MaxPool")
		}
		return imaged(x.dt, b.g.Put(b.image(x), ids.n, count(size)), size)
	}
	// Positions count all of a tensor of the small size, which the shape may enlarge.
	out := b.array(dtBool, append([]int{x.shape[0], x.shape[1]}, size...)...)
	at := slices.Repeat([]int{-1}, out.size())
	from := small
	if len(ids.c.i) > 0 && slices.Max(ids.c.i) >= int64(x.shape[0]*x.shape[1]*count(small)) {
		from = size
	}
	for i, p := range b.positions(ids, x.shape[0]*x.shape[1]*count(from)) {
		q, scale := 0, 1
		for a := d - 1; a >= 0; a-- {
			q += p % from[a] * scale
			p /= from[a]
			scale *= size[a]
		}
		if to := q + p*scale; to >= 0 && to < len(at) {
			at[to] = i
		}
	}
	return b.pick([]*value{x}, index{out.shape, at})
}

// averages are the means over windows as a matrix on positions.
func (b *builder) averages(x *value, w graph.Window, name string, row func(q int, taps []int32) []float64) *value {
	g := b.g
	geo := g.Geometry(w)
	s := graph.NewSparse(name+fmt.Sprint(w), geo.Out, geo.In, func(q int) (col []int32, val []float64) {
		taps := geo.Index[q*geo.Taps : (q+1)*geo.Taps]
		c := row(q, taps)
		for i, p := range taps {
			if p >= 0 {
				col, val = append(col, p), append(val, c[i])
			}
		}
		return col, val
	})
	return imaged(x.dt, g.Rows(b.image(x), s), w.Out())
}

func averagePool(b *builder, n *node, in []*value) *value {
	x := in[0]
	w := b.pool(n, x)
	countPad := n.int("count_include_pad", 0) != 0
	// What the padding holds counts, what lies beyond it does not.
	high := make([]int, len(w.Size))
	if n.str("auto_pad", "NOTSET") == "NOTSET" {
		if pads := n.ints("pads"); pads != nil {
			copy(high, pads[len(w.Size):])
		}
	} else {
		copy(high, w.High)
	}
	out := w.Out()
	return b.averages(x, w, fmt.Sprint("avg ", countPad, high), func(q int, taps []int32) []float64 {
		n := 0
		for t, p := range taps {
			if p >= 0 {
				n++
				continue
			}
			if !countPad {
				continue
			}
			in, qq, tt := true, q, t
			for a := len(out) - 1; a >= 0; a-- {
				at := qq%out[a]*w.Stride[a] - w.Low[a] + tt%w.Kernel[a]*w.Dilation[a]
				in = in && at < w.Size[a]+high[a]
				qq, tt = qq/out[a], tt/w.Kernel[a]
			}
			n += int(truth(in))
		}
		return slices.Repeat([]float64{1 / float64(n)}, len(taps))
	})
}

// power is |x|ᵖ, and root its inverse for what is not negative.
func (b *builder) power(x *graph.Node, p float64) *graph.Node {
	if p == 2 {
		return b.g.Mul(x, x)
	}
	return b.g.PowC(b.g.Abs(x), p)
}

func lpPool(b *builder, n *node, in []*value) *value {
	x, p := in[0], float64(n.int("p", 2))
	w := b.pool(n, x)
	powers := imaged(x.dt, b.power(b.image(x), p), x.shape[2:])
	y := b.averages(powers, w, "sum ", func(_ int, taps []int32) []float64 { return slices.Repeat([]float64{1}, len(taps)) })
	return y.as(b.g.PowC(y.n, 1/p))
}

func (b *builder) global(x *value, f func(x *graph.Node) *graph.Node) *value {
	y := f(b.image(x))
	return imaged(x.dt, y, slices.Repeat([]int{1}, x.rank()-2))
}

func globalLpPool(b *builder, n *node, in []*value) *value {
	p := float64(n.int("p", 2))
	return b.global(in[0], func(x *graph.Node) *graph.Node { return b.g.PowC(b.g.Sum(b.power(x, p), 1), 1/p) })
}

// lrn divides by (bias + alpha/size · the sum of squares over neighbouring channels) to the power beta.
func lrn(b *builder, n *node, in []*value) *value {
	x, g := in[0], b.g
	size := n.int("size", 0)
	alpha, beta, bias := n.float("alpha", 1e-4), n.float("beta", 0.75), n.float("bias", 1)
	if x.rank() < 3 || size < 1 {
		b.fail("a size of %d for %v", size, x.shape)
	}
	xi := b.image(x)
	c := x.shape[1]
	lo, hi := (size-1)/2, size-1-(size-1)/2
	band := b.knownOf(dtFloat, []int{c, c}, func(i int) float64 {
		from, to := i/c, i%c
		return float64(truth(from >= to-lo && from <= to+hi))
	})
	squares := g.MatMul(g.Reshape(g.Mul(xi, xi), xi.Size()/c, c), b.plain(band), false, false)
	y := g.Mul(xi, g.PowC(g.AddC(g.Scale(g.Reshape(squares, xi.Shape()...), alpha/float64(size)), bias), -beta))
	return imaged(x.dt, y, x.shape[2:])
}

func upsample(b *builder, n *node, in []*value) *value {
	scales := n.floats("scales")
	if v := opt(in, 1); v != nil {
		for i := range b.list(v, "the scales") {
			scales = append(scales, v.c.at(i))
		}
	}
	r := resizing{mode: n.str("mode", "nearest"), coordinates: "asymmetric", nearest: "floor"}
	x := in[0]
	if len(scales) != x.rank() {
		b.fail("scales are %v for %v", scales, x.shape)
	}
	for a, s := range scales {
		x = b.resizeAxis(x, a, r.sized(b, x.shape[a], s, -1), r)
	}
	return x
}

// resizing is how Resize finds where a pixel of the result lies.
type resizing struct {
	mode, coordinates, nearest string
	cubic                      float64
	exclude, antialias         bool
	extrapolation              float64
	start, end                 float64 // of tf_crop_and_resize
}

// axisScale is the sizes of an axis before and after, and the scale.
type axisScale struct {
	in, out int
	scale   float64
}

// sized is an axis scaled by a factor, or to a size where that is not negative.
func (r resizing) sized(b *builder, in int, scale float64, size int) axisScale {
	if size < 0 {
		v := math.Floor(float64(in) * scale)
		if !(v >= 1 && v <= maxConst) {
			b.fail("a scale of %v for an axis of %d", scale, in)
		}
		size = int(v)
	} else {
		scale = float64(size) / float64(in)
	}
	if size < 1 || size > maxConst {
		b.fail("a size of %d", size)
	}
	return axisScale{in, size, scale}
}

func resize(b *builder, n *node, in []*value) *value {
	x := in[0]
	r := resizing{mode: n.str("mode", "nearest"), coordinates: n.str("coordinate_transformation_mode", "half_pixel"), nearest: n.str("nearest_mode", "round_prefer_floor"),
		cubic: n.float("cubic_coeff_a", -0.75), exclude: n.int("exclude_outside", 0) != 0, antialias: n.int("antialias", 0) != 0, extrapolation: n.float("extrapolation_value", 0)}
	var roi, scales, sizes *value
	if n.opset < 11 {
		r.coordinates, r.nearest = "asymmetric", "floor"
		scales = opt(in, 1)
	} else {
		roi, scales, sizes = opt(in, 1), opt(in, 2), opt(in, 3)
	}
	axes := n.ints("axes")
	if axes == nil {
		for i := range x.rank() {
			axes = append(axes, i)
		}
	}
	axes = b.axes(axes, x.rank())
	plan := make([]axisScale, len(axes))
	switch {
	case sizes != nil && sizes.size() > 0:
		to := b.list(sizes, "the sizes")
		if len(to) != len(axes) {
			b.fail("sizes are %v for %d axes", to, len(axes))
		}
		policy := n.str("keep_aspect_ratio_policy", "stretch")
		if policy != "stretch" {
			s := float64(to[0]) / float64(x.shape[axes[0]])
			for i, a := range axes {
				q := float64(to[i]) / float64(x.shape[a])
				if policy == "not_larger" && q < s || policy == "not_smaller" && q > s {
					s = q
				}
			}
			for i, a := range axes {
				plan[i] = axisScale{x.shape[a], int(math.Floor(s*float64(x.shape[a]) + 0.5)), s}
			}
			break
		}
		for i, a := range axes {
			plan[i] = r.sized(b, x.shape[a], 0, to[i])
		}
	case scales != nil && scales.size() == len(axes):
		b.list(scales, "the scales")
		for i, a := range axes {
			plan[i] = r.sized(b, x.shape[a], scales.c.at(i), -1)
		}
	default:
		b.fail("neither scales nor sizes are given for %d axes", len(axes))
	}
	for i, a := range axes {
		if r.coordinates == "tf_crop_and_resize" {
			if roi == nil || roi.c == nil || roi.size() != 2*len(axes) {
				b.fail("the region is missing")
			}
			r.start, r.end = roi.c.at(i), roi.c.at(i+len(axes))
		}
		x = b.resizeAxis(x, a, plan[i], r)
	}
	return x
}

func (b *builder) resizeAxis(x *value, axis int, s axisScale, r resizing) *value {
	if s.in == s.out && s.scale == 1 && r.coordinates != "tf_crop_and_resize" {
		return x
	}
	switch r.mode {
	case "nearest", "linear", "cubic", "bilinear":
	default:
		b.fail("the mode %q", r.mode)
	}
	if s.out < 1 || s.in < 1 {
		b.fail("a size of %d", s.out)
	}
	b.bound([]int{s.out})
	outside := false
	where := func(i int) float64 { // of a pixel of the result
		o, length := float64(i), s.scale*float64(s.in)
		switch r.coordinates {
		case "half_pixel":
			return (o+0.5)/s.scale - 0.5
		case "half_pixel_symmetric":
			adjust := float64(s.out) / length
			center := float64(s.in) / 2
			return center*(1-adjust) + (o+0.5)/s.scale - 0.5
		case "pytorch_half_pixel":
			if s.out == 1 {
				return 0
			}
			return (o+0.5)/s.scale - 0.5
		case "align_corners":
			if s.out == 1 {
				return 0
			}
			return o * float64(s.in-1) / (length - 1)
		case "asymmetric":
			return o / s.scale
		case "tf_half_pixel_for_nn":
			return (o + 0.5) / s.scale
		case "tf_crop_and_resize":
			v := 0.5 * (r.start + r.end) * float64(s.in-1)
			if s.out > 1 {
				v = r.start*float64(s.in-1) + o*(r.end-r.start)*float64(s.in-1)/float64(s.out-1)
			}
			if v < 0 || v > float64(s.in-1) {
				outside = true
			}
			return v
		}
		b.fail("the coordinates %q", r.coordinates)
		return 0
	}
	beyond := make([]bool, s.out)
	rows := make([][]float64, s.out)
	cols := make([][]int32, s.out)
	for i := range s.out {
		outside = false
		v := where(i)
		beyond[i] = outside
		cols[i], rows[i] = r.taps(b, v, s)
		if outside && r.extrapolation == 0 {
			cols[i], rows[i] = nil, nil
		}
	}
	y := b.alongAxis(x, axis, fmt.Sprintf("resize %v %v", s, r), s.out, func(q int) ([]int32, []float64) { return cols[q], rows[q] })
	if r.extrapolation != 0 && slices.Contains(beyond, true) {
		shape := slices.Repeat([]int{1}, x.rank())
		shape[axis] = s.out
		mask := b.knownOf(dtBool, shape, func(i int) float64 { return float64(truth(beyond[i])) })
		y = where3(b, mask, known(&array{dt: x.dt, f: []float64{r.extrapolation}}), y)
	}
	return y
}

func where3(b *builder, m, x, y *value) *value { return where(b, nil, []*value{m, x, y}) }

// taps are the pixels, with their weights, that make the value at v.
func (r resizing) taps(b *builder, v float64, s axisScale) ([]int32, []float64) {
	if r.mode == "nearest" {
		var i float64
		switch r.nearest {
		case "round_prefer_floor":
			i = math.Ceil(v - 0.5)
		case "round_prefer_ceil":
			i = math.Floor(v + 0.5)
		case "floor":
			i = math.Floor(v)
		case "ceil":
			i = math.Ceil(v)
		default:
			b.fail("nearest_mode is %q", r.nearest)
		}
		return []int32{int32(min(max(i, 0), float64(s.in-1)))}, []float64{1}
	}
	half := 1.0
	f := func(d float64) float64 { return math.Max(1-math.Abs(d), 0) }
	if r.mode == "cubic" {
		half = 2
		f = func(d float64) float64 {
			d = math.Abs(d)
			a := r.cubic
			switch {
			case d <= 1:
				return ((a+2)*d-(a+3))*d*d + 1
			case d < 2:
				return ((a*d-5*a)*d+8*a)*d - 4*a
			}
			return 0
		}
	}
	scale := 1.0
	if r.antialias && s.scale < 1 {
		scale = s.scale
	}
	half /= scale
	if !(half < maxConst) || math.IsNaN(v) || math.Abs(v) > 1<<40 {
		b.fail("a scale of %v", s.scale)
	}
	var col []int32
	var val []float64
	sum := 0.0
	for i := math.Floor(v-half) + 1; i <= v+half; i++ {
		c := f((i - v) * scale)
		if r.exclude && (i < 0 || i > float64(s.in-1)) {
			continue
		}
		if c == 0 {
			continue
		}
		at := int32(min(max(i, 0), float64(s.in-1)))
		sum += c
		if k := slices.Index(col, at); k >= 0 {
			val[k] += c
			continue
		}
		col, val = append(col, at), append(val, c)
	}
	for i := range val {
		val[i] /= sum
	}
	return col, val
}
