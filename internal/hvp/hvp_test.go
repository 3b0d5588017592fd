package hvp_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model/zoo"
	"hessdens/internal/tensor"
)

func find(t *testing.T, name string) *referenceCase {
	t.Helper()
	for _, c := range references(t) {
		if c.name == name {
			return c
		}
	}
	t.Skip("no reference case " + name)
	return nil
}

func randomVectors(seed uint64, k, n int) [][]float64 {
	r := rand.New(rand.NewPCG(seed, 0))
	vs := make([][]float64, k)
	for j := range vs {
		vs[j] = make([]float64, n)
		for i := range vs[j] {
			vs[j][i] = r.NormFloat64()
		}
	}
	return vs
}

func apply(t *testing.T, o *hvp.Operator, src ...[]float64) [][]float64 {
	t.Helper()
	dst := make([][]float64, len(src))
	for j := range dst {
		dst[j] = make([]float64, o.Dim())
	}
	if err := o.Apply(context.Background(), dst, src); err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestSameBits holds that threads, companions in the group, and kept primal parts change no bit.
func TestSameBits(t *testing.T) {
	names, counts := []string{"smallcnn-bn-ghost", "mlp-gelu", "smallcnn-nobn-ragged"}, []int{3, 2, 8}
	if testing.Short() {
		names, counts = names[:2], counts[:1]
	}
	for _, name := range names {
		for _, precision := range []string{hvp.Float32, hvp.Float64} {
			c := find(t, name)
			one := c.operator(t, func(o *hvp.Options) { o.Precision, o.Threads = precision, 1 })
			vs := randomVectors(1, 5, one.Dim())
			want := apply(t, one, vs...)
			wantLoss, wantGrad, err := one.Gradient(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, threads := range counts {
				for _, keep := range []int64{0, 1 << 30} {
					o := c.operator(t, func(o *hvp.Options) { o.Precision, o.Threads, o.KeepBytes = precision, threads, keep })
					for range 2 { // the second time with what is kept
						got := apply(t, o, vs...)
						for j := range got {
							if !slices.Equal(got[j], want[j]) {
								t.Errorf("%s %s: %d threads, %d bytes kept: other bits", name, precision, threads, keep)
							}
						}
					}
					if got := apply(t, o, vs[3]); !slices.Equal(got[0], want[3]) {
						t.Errorf("%s %s: alone a vector gives other bits than among five", name, precision)
					}
					loss, grad, err := o.Gradient(context.Background())
					if err != nil || loss != wantLoss || !slices.Equal(grad, wantGrad) {
						t.Errorf("%s %s: %d threads: loss or gradient has other bits (%v)", name, precision, threads, err)
					}
				}
			}
		}
	}
}

// TestAlone holds that batches are computed one after the other where it is asked for, or where memory for several is not there, with the same
// bits in less memory.
func TestAlone(t *testing.T) {
	c := find(t, "smallcnn-nobn-ragged")
	product := func(change func(*hvp.Options)) ([]float64, int64) {
		o := c.operator(t, func(o *hvp.Options) {
			o.Threads = 3
			change(o)
		})
		y := apply(t, o, randomVectors(1, 1, o.Dim())...)[0]
		return y, o.Cost().Bytes
	}
	want, several := product(func(*hvp.Options) {})
	alone, one := product(func(o *hvp.Options) { o.Alone = true })
	short, less := product(func(o *hvp.Options) { o.MaxBytes = one })
	if !slices.Equal(alone, want) || !slices.Equal(short, want) {
		t.Error("alone batches give other bits")
	}
	if one >= several || less != one {
		t.Errorf("%d bytes side by side, %d alone, %d where memory is short", several, one, less)
	}
}

// TestBatchSize holds that the size of batches is no part of what is computed.
func TestBatchSize(t *testing.T) {
	const tol = 1e-12
	for _, name := range []string{"smallcnn-nobn-ragged", "smallcnn-bn-eval", "mlp-tanh"} {
		c := find(t, name)
		ref := c.operator(t, func(o *hvp.Options) { o.Precision, o.BatchSize = hvp.Float64, c.Inputs })
		v := randomVectors(2, 1, ref.Dim())[0]
		want := apply(t, ref, v)[0]
		wantLoss, wantGrad, _ := ref.Gradient(context.Background())
		// As long as rounding has not set two runs of Lanczos apart, their nodes are the same too.
		nodes := func(o *hvp.Operator) []float64 {
			probes, err := lanczos.Run(context.Background(), o, lanczos.Options{Steps: 12, Probes: 1, Seed: 3})
			if err != nil {
				t.Fatal(err)
			}
			return probes[0].Nodes
		}
		wantNodes := nodes(ref)
		for _, size := range []int{1, 7, 64, 1000, 0} {
			o := c.operator(t, func(o *hvp.Options) { o.Precision, o.BatchSize = hvp.Float64, size })
			got := apply(t, o, v)[0]
			loss, grad, err := o.Gradient(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if d := relative(got, want); !(d <= tol) {
				t.Errorf("%s: batches of %d: product off by %g", name, size, d)
			}
			if d := relative(grad, wantGrad); !(d <= tol) || !(math.Abs(loss-wantLoss) <= tol*wantLoss) {
				t.Errorf("%s: batches of %d: gradient off by %g, loss %v, want %v", name, size, d, loss, wantLoss)
			}
			norm := max(-wantNodes[0], wantNodes[11])
			for i, x := range nodes(o) {
				if !(math.Abs(x-wantNodes[i]) <= tol*norm) {
					t.Errorf("%s: batches of %d: node %d is %v, want %v", name, size, i, x, wantNodes[i])
				}
			}
		}
	}
}

// TestBatchStatisticsCouple holds that with batch statistics the batches are those asked for.
func TestBatchStatisticsCouple(t *testing.T) {
	c := find(t, "smallcnn-bn-ghost")
	a := c.operator(t, func(o *hvp.Options) { o.Precision, o.BatchSize = hvp.Float64, 32 })
	b := c.operator(t, func(o *hvp.Options) { o.Precision, o.BatchSize = hvp.Float64, 64 })
	v := randomVectors(3, 1, a.Dim())[0]
	if d := relative(apply(t, a, v)[0], apply(t, b, v)[0]); d < 1e-3 {
		t.Errorf("batches of 32 and 64 differ by %g only", d)
	}
	if _, err := hvp.New(c.network(t), c.data(t), hvp.Options{BatchStats: true}); err == nil {
		t.Error("batch statistics without a batch size: no error")
	}
}

// TestParams holds that a part of the parameters gives the block of the whole Hessian, and that
// weight decay acts on what varies.
func TestParams(t *testing.T) {
	c := find(t, "mlp-gelu-wd")
	whole := c.operator(t, func(o *hvp.Options) { o.Precision = hvp.Float64 })
	part := c.operator(t, func(o *hvp.Options) { o.Precision, o.Params = hvp.Float64, []string{"3.*", "5.bias"} })
	if part.Dim() != 16*8+8+5 {
		t.Fatalf("n = %d", part.Dim())
	}
	small := randomVectors(4, 1, part.Dim())[0]
	big := make([]float64, whole.Dim())
	at := map[string]hvp.Group{}
	for _, g := range whole.Groups() {
		at[g.Name] = g
	}
	for _, g := range part.Groups() {
		copy(big[at[g.Name].Offset:], small[g.Offset:g.Offset+g.Size])
	}
	got, want := apply(t, part, small)[0], apply(t, whole, big)[0]
	for _, g := range part.Groups() {
		w := want[at[g.Name].Offset:][:g.Size]
		if d := relative(got[g.Offset:g.Offset+g.Size], w); !(d <= 1e-13) {
			t.Errorf("%s: block off by %g", g.Name, d)
		}
	}
	if _, err := hvp.New(c.network(t), c.data(t), hvp.Options{Params: []string{"nothing*"}}); err == nil {
		t.Error("a pattern that matches nothing: no error")
	}
}

// exactOrder is up to which order all eigenvalues are always computed: beyond it a case takes minutes, or an hour.
const exactOrder = 1000

// TestExact holds all eigenvalues of dense Hessians against the references'.
func TestExact(t *testing.T) {
	testExact(t, func(order int) bool { return order <= exactOrder && !(testing.Short() && order > exactOrder/5) })
}

// TestExactLarge is TestExact for the large cases (make exact-large).
func TestExactLarge(t *testing.T) {
	if os.Getenv("HESSDENS_LONG") == "" {
		t.Skip("takes an hour (set HESSDENS_LONG=1)")
	}
	testExact(t, func(order int) bool { return order > exactOrder })
}

func testExact(t *testing.T, among func(order int) bool) {
	const tol = 1e-9 // of ‖H‖
	for _, c := range references(t) {
		if a, ok := c.Arrays["eig_H"]; !ok || !among(a.Shape[0]) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			o := c.operator(t, func(o *hvp.Options) { o.Precision, o.BatchSize = hvp.Float64, batchOf(c) })
			d, err := o.Dense(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Eigenvalues()
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.array(t, "eig_H").Float64s())
			if len(got) != len(want) {
				t.Fatalf("%d eigenvalues, want %d", len(got), len(want))
			}
			slices.Sort(want)
			size := max(-want[0], want[len(want)-1])
			worst := 0.0
			for i := range want {
				worst = max(worst, math.Abs(got[i]-want[i]))
			}
			t.Logf("| %s | %d | %d live | %.1e ‖H‖ | asymmetry %.1e |", c.name, d.N, len(d.Live), worst/size, d.Asymmetry/size)
			if !(worst <= tol*size) {
				t.Errorf("eigenvalues off by up to %g ‖H‖, want at most %g", worst/size, tol)
			}
		})
	}
}

// batchOf is the batch size of a case where it is part of the risk, else 0.
func batchOf(c *referenceCase) int {
	if c.Mode == "train" {
		return c.Batch
	}
	return 0
}

// TestLinearAtZero holds the softmax linear model at zero weights against its closed form: with
// p = 1/C, H = (1/C)(I − 11ᵀ/C) ⊗ (1/N) Σ x̃ᵢx̃ᵢᵀ, x̃ = (x, 1).
func TestLinearAtZero(t *testing.T) {
	const n, features, classes = 40, 6, 4
	net, err := zoo.Parse("mlp:6-4")
	if err != nil {
		t.Fatal(err)
	}
	for i := range net.Params {
		net.Params[i].Values = make([]float64, tensor.Count(net.Params[i].Shape))
	}
	r := rand.New(rand.NewPCG(5, 5))
	x, y := memory{shape: []int{features}}, memory{}
	for range n {
		for range features {
			x.f = append(x.f, r.NormFloat64())
		}
		y.i = append(y.i, int64(r.IntN(classes)))
	}
	o, err := hvp.New(net, hvp.Data{N: n, X: x, Y: y}, hvp.Options{Precision: hvp.Float64})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	d, err := o.Dense(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	index := func(c, f int) int { // of the weight [classes, features], then the bias
		if f == features {
			return classes*features + c
		}
		return c*features + f
	}
	for c := range classes {
		for e := range classes {
			for f := range features + 1 {
				for h := range features + 1 {
					var s float64
					for i := range n {
						a, b := 1.0, 1.0
						if f < features {
							a = x.f[i*features+f]
						}
						if h < features {
							b = x.f[i*features+h]
						}
						s += a * b / n
					}
					want := -s / (classes * classes)
					if c == e {
						want += s / classes
					}
					if got := d.H.At(index(c, f), index(e, h)); !(math.Abs(got-want) <= 1e-15) {
						t.Fatalf("H[%d %d, %d %d] = %v, want %v", c, f, e, h, got, want)
					}
				}
			}
		}
	}
}

// TestCancel holds that a product ends between batches: those begun are finished.
func TestCancel(t *testing.T) {
	c := find(t, "smallcnn-nobn-ragged")
	ctx, cancel := context.WithCancel(context.Background())
	seen := 0
	o := c.operator(t, func(o *hvp.Options) {
		o.Progress = func(done, _ int) {
			seen = done
			cancel()
		}
	})
	v := make([]float64, o.Dim())
	err := o.Apply(ctx, [][]float64{make([]float64, o.Dim())}, [][]float64{v})
	if !errors.Is(err, context.Canceled) || seen%c.Batch != 0 || seen == 0 {
		t.Errorf("error %v after %d examples", err, seen)
	}
}

// TestBadLabels holds that labels beyond the classes are found before anything is read by them.
func TestBadLabels(t *testing.T) {
	c := find(t, "mlp-tanh")
	d := c.data(t)
	y := d.Y.(memory)
	y.i = slices.Clone(y.i)
	y.i[17] = 5
	d.Y = y
	_, err := hvp.New(c.network(t), d, hvp.Options{})
	var label *hvp.LabelError
	if !errors.As(err, &label) || label.Example != 17 || label.Value != 5 || label.Limit != 5 {
		t.Errorf("error %v", err)
	}
}

// TestSameBitsSparse holds on images that are mostly black, which go by lists, that a vector has the same bits alone
// and among others, whatever the threads.
func TestSameBitsSparse(t *testing.T) {
	const n = 130
	for _, spec := range []string{"mlp:784-20-10", "mlp:784-16-9-10,tanh", "mlp:784-10"} {
		net, err := zoo.Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		zoo.Initialise(net, 1)
		data := synthetic(n, net.Input, false, 10)
		x := data.X.(memory)
		for i := range x.f {
			if i*7919%10 < 8 {
				x.f[i] = 0
			}
		}
		for _, precision := range []string{hvp.Float32, hvp.Float64} {
			var want [][]float64
			for _, threads := range []int{1, 3} {
				o, err := hvp.New(net, data, hvp.Options{Precision: precision, Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				vs := randomVectors(4, 10, o.Dim())
				got := apply(t, o, vs...)
				if want == nil {
					want = got
				}
				for j := range vs {
					if one := apply(t, o, vs[j])[0]; !slices.Equal(one, got[j]) || !slices.Equal(got[j], want[j]) {
						t.Fatalf("%s %s: vector %d has other bits alone, or with %d threads", spec, precision, j, threads)
					}
				}
				o.Close()
			}
		}
	}
}

// TestSameBitsSpread holds the same for rows of many channels and eight directions, which would lie a multiple of 4096 bytes apart and are
// moved, in batches that each thread computes and in a single one; and that float32 is near to float64.
func TestSameBitsSpread(t *testing.T) {
	const vectors = 8
	for _, spec := range []string{"mlp:20-128-256-128-3,tanh", "mlp:20-256-64-512-3", "gpt2:layers=1,heads=2,width=64,context=24,vocab=16"} {
		net, err := zoo.Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		zoo.Initialise(net, 1)
		n, classes := 120, 3
		if net.Tokens {
			n, classes = 24, 16
		}
		data := synthetic(n, net.Input, net.Tokens, classes)
		var vs [][]float64
		var wide [][]float64
		for _, precision := range []string{hvp.Float64, hvp.Float32} {
			var want [][]float64
			for _, opt := range []hvp.Options{{Threads: 1}, {Threads: 2, BatchSize: data.N / 4}, {Threads: 3, BatchSize: data.N / 4, Alone: true}} {
				opt.Precision = precision
				o, err := hvp.New(net, data, opt)
				if err != nil {
					t.Fatal(err)
				}
				if vs == nil {
					vs = randomVectors(4, vectors, o.Dim())
				}
				got := apply(t, o, vs...)
				if one := apply(t, o, vs[2])[0]; !slices.Equal(one, got[2]) {
					t.Errorf("%s %s: a vector has other bits alone, %+v", spec, precision, opt)
				}
				o.Close()
				if want == nil || opt.BatchSize != 0 && !opt.Alone {
					want = got
				}
				for j := range vs {
					if !slices.Equal(got[j], want[j]) {
						t.Errorf("%s %s: vector %d has other bits, %+v", spec, precision, j, opt)
					}
				}
			}
			if wide == nil {
				wide = want
			}
			for j := range vs {
				if e := relative(want[j], wide[j]); e > 1e-5 {
					t.Errorf("%s: vector %d in float32 is off by %g", spec, j, e)
				}
			}
		}
	}
}
