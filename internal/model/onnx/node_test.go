package onnx

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"hessdens/internal/exec"
	"hessdens/internal/graph"
	"hessdens/internal/model/onnx/onnxpb"
)

// evaluate computes all outputs of a file from its inputs, in float64: real numbers as a batch's input, so that they go
// through the graph unless they are fixed, integers and bools as constants. An output that is not computed is nil.
// The outputs' derivatives are held against differences too.
func evaluate(f *File, inputs []*array, fixed func(input string) bool, derived *derivatives) (out []*array, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	g := graph.New()
	var vs []*value
	leaves := map[*graph.Node][]float64{}
	err = catch(func() {
		nodes, err := f.main.sorted(f.main.outputs, func(string) bool { return false })
		if err != nil {
			graph.Failf("%v", err)
		}
		if err := check(nodes); err != nil {
			graph.Failf("%v", err)
		}
		b := &builder{g: g, most: maxSpent}
		s := b.inner(f.main, nil)
		for i, in := range f.main.inputs {
			if i >= len(inputs) {
				graph.Failf("input %q has no values", in.name)
			}
			a := inputs[i]
			if a == nil {
				continue
			}
			if in.dt == onnxpb.TensorProto_BFLOAT16 && a.dt == onnxpb.TensorProto_UINT16 { // as numpy stores it
				for _, v := range a.i {
					a.f = append(a.f, small(in.dt, uint32(v)))
				}
				a.dt = in.dt
			}
			s.values[in.name] = known(a)
			if len(a.f) > 0 && !fixed(in.name) {
				x := g.Input(fmt.Sprint(i), graph.Float, a.shape...)
				leaves[x] = a.f
				s.values[in.name] = made(a.dt, x)
			}
		}
		b.run(nodes, s)
		for _, o := range f.main.outputs {
			vs = append(vs, s.get(o))
		}
		for _, v := range vs {
			if v != nil && v.n != nil && v.n.Kind() == graph.Float {
				v.view = b.plain(v)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var nodes []*graph.Node
	var at []int
	out = make([]*array, len(vs))
	for i, v := range vs {
		switch {
		case v == nil:
		case v.c != nil:
			out[i] = v.c
		case v.view != nil:
			nodes, at = append(nodes, v.view), append(at, i)
		case v.n == nil:
			if strings.Contains(v.why, "not computed") {
				continue
			}
		}
	}
	if len(nodes) == 0 {
		return out, nil
	}
	if err := derived.hold(nodes, leaves); err != nil {
		return nil, err
	}
	pool := exec.NewPool(1)
	defer pool.Close()
	p, err := exec.Compile[float64](nodes, exec.Options{Pool: pool})
	if err != nil {
		return nil, err
	}
	for x, f := range leaves {
		p.SetFloats(x, f)
	}
	p.Prepare()
	p.RunPrimal()
	for j, i := range at {
		out[i] = &array{dt: vs[i].dt, shape: vs[i].shape, f: slices.Clone(p.Output(j))}
	}
	return out, nil
}

// derivatives counts outputs whose derivatives in all real inputs were held against central differences, and those that
// lie on a kink or a jump, or are not finite beside it, so that there is nothing to hold.
type derivatives struct{ held, skipped int }

// hold compares, along one random direction of all inputs, J v with a central difference, and ⟨u, J v⟩ with ⟨Jᵀu, v⟩.
func (d *derivatives) hold(outs []*graph.Node, at map[*graph.Node][]float64) error {
	const (
		h   = 1e-6
		tol = 1e-6
	)
	leaves := slices.SortedFunc(maps.Keys(at), func(a, b *graph.Node) int { return a.ID() - b.ID() })
	if len(leaves) == 0 {
		return nil
	}
	g := outs[0].Graph()
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64()
		}
		return v
	}
	seeds, v := map[*graph.Node]*graph.Node{}, map[*graph.Node][]float64{}
	for _, x := range leaves {
		seeds[x] = g.Direction(x)
		v[x] = random(x.Size())
	}
	var us []*graph.Node
	for _, o := range outs {
		us = append(us, g.Const(random(o.Size()), o.Shape()...))
	}
	orZero := func(ns, like []*graph.Node) []*graph.Node {
		for i, n := range ns {
			if n == nil {
				ns[i] = g.Const(make([]float64, like[i].Size()), like[i].Shape()...)
			}
		}
		return ns
	}
	dots := orZero(graph.JVP(outs, seeds), outs)
	bars := orZero(graph.VJP(outs, us, leaves), leaves)
	branches := graph.Kinks(slices.Concat(outs, dots)...)
	for _, n := range g.Nodes() {
		if n.Op() == graph.OpFloor || n.Op() == graph.OpRound {
			branches = append(branches, n)
		}
	}
	all := slices.Concat(outs, dots, bars, branches)
	pool := exec.NewPool(1)
	defer pool.Close()
	p, err := exec.Compile[float64](all, exec.Options{Pool: pool})
	if err != nil {
		return err
	}
	point := func(h float64) ([][]float64, [][]int32) {
		for _, x := range leaves {
			values := slices.Clone(at[x])
			for i, d := range v[x] {
				values[i] += h * d
			}
			p.SetFloats(x, values)
			p.SetDirection(seeds[x], 0, v[x], 0, 1)
		}
		p.Prepare()
		p.RunDirections()
		p.RunPrimal()
		p.RunTangent()
		floats, ints := make([][]float64, len(all)), make([][]int32, len(all))
		for i, n := range all {
			if n.Kind() == graph.Int {
				ints[i] = slices.Clone(p.IntOutput(i))
			} else {
				floats[i] = make([]float64, n.Size())
				p.MoveOutput(floats[i], i, 0, true, 0, 1)
			}
		}
		return floats, ints
	}
	here, hereInts := point(0)
	plus, plusInts := point(h)
	minus, minusInts := point(-h)
	for i := len(all) - len(branches); i < len(all); i++ {
		same := func(a, b []float64) bool {
			return slices.EqualFunc(a, b, func(x, y float64) bool { return x == y || x != x && y != y })
		}
		if !same(here[i], plus[i]) || !same(here[i], minus[i]) || !slices.Equal(hereInts[i], plusInts[i]) || !slices.Equal(hereInts[i], minusInts[i]) {
			d.skipped++
			return nil
		}
	}
	finite := func(x float64) bool { return x-x == 0 }
	n := len(outs)
	var inner, adjoint, size float64
	for i := range outs {
		scale := 1.0
		for _, x := range slices.Concat(here[i], here[n+i]) {
			if !finite(x) {
				d.skipped++
				return nil
			}
			scale = max(scale, math.Abs(x))
		}
		u := us[i].Attr().(*graph.Values).F
		for e, x := range here[n+i] {
			if want := (plus[i][e] - minus[i][e]) / (2 * h); !(math.Abs(x-want) <= tol*scale) {
				return fmt.Errorf("output %d, value %d: derivative %v, difference %v", i, e, x, want)
			}
			inner += u[e] * x
			size += math.Abs(u[e] * x)
		}
	}
	for j, x := range leaves {
		for e, b := range here[2*n+j] {
			adjoint += b * v[x][e]
			size += math.Abs(b * v[x][e])
		}
	}
	if !(math.Abs(inner-adjoint) <= 1e-10*(1+size)) {
		return fmt.Errorf("⟨u, J v⟩ = %v, ⟨Jᵀu, v⟩ = %v", inner, adjoint)
	}
	d.held++
	return nil
}

func readTensor(fsys fs.FS, name string) (*array, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	t := &onnxpb.TensorProto{}
	if err := proto.Unmarshal(b, t); err != nil {
		return nil, err
	}
	return (&loader{}).tensor(t)
}

// settings are operands that say what an operator does: layers have them as constants.
var settings = map[string][]int{"Resize": {1, 2, 3}, "Upsample": {1}, "Pad": {2}, "OneHot": {0, 1}, "Range": {0, 1, 2}}

// setting says whether an input goes into nodes as a setting alone.
func setting(nodes []*node, input string) bool {
	found := false
	for _, n := range nodes {
		for i, in := range n.in {
			if in == input {
				if !slices.Contains(settings[n.op], i) {
					return false
				}
				found = true
			}
		}
	}
	return found
}

// isTensors says whether all inputs and outputs of a file are tensors, and one output at least is of real numbers.
func isTensors(fsys fs.FS, name string) (tensors, real bool) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return false, false
	}
	m := &onnxpb.ModelProto{}
	if proto.Unmarshal(b, m) != nil {
		return false, false
	}
	for _, v := range m.GetGraph().GetInput() {
		if t := v.GetType().GetTensorType(); t == nil || width(dtype(t.GetElemType())) == 0 {
			return false, false
		}
	}
	for _, v := range m.GetGraph().GetOutput() {
		t := v.GetType().GetTensorType()
		if t == nil {
			return false, false
		}
		real = real || isFloat(dtype(t.GetElemType())) && !strings.HasPrefix(dtype(t.GetElemType()).String(), "FLOAT8")
	}
	return true, real
}

// near compares an output with what is wanted: to 1e-3 of each value and 1e-6, as the tests of ONNX ask; half precision to 1e-2.
func near(got, want *array) error {
	if got == nil {
		return fmt.Errorf("is not computed")
	}
	if !slices.Equal(got.shape, want.shape) {
		return fmt.Errorf("shape %v, want %v", got.shape, want.shape)
	}
	rel := 1e-3
	if width(want.dt) < 32 {
		rel = 1e-2
	}
	for i := range want.size() {
		g, w := got.at(i), want.at(i)
		if math.IsNaN(g) && math.IsNaN(w) || g == w {
			continue
		}
		if !(math.Abs(g-w) <= 1e-6+rel*math.Abs(w)) {
			return fmt.Errorf("value %d is %v, want %v", i, g, w)
		}
	}
	return nil
}

// TestNodes runs ONNX's own tests of single operators. HESSDENS_ONNX_TESTS names a folder with one for each release: 1.17.0, whose
// wheel holds them as files (onnx/backend/test/data/node), and 1.23.2, made by testdata/node_tests.py. A test counts where all inputs and
// outputs are tensors, one output at least is of real numbers (of 16 bits or more), and all its operators are in this package's table; a
// Dropout that draws random numbers does not. Outputs of real numbers are compared, and derivatives held against differences. It fails where
// fewer than 95 % pass. HESSDENS_ONNX_TABLE names a Markdown file that the outcome replaces a part of: docs/onnx.md.
func TestNodes(t *testing.T) {
	const least = 0.95
	dir := os.Getenv("HESSDENS_ONNX_TESTS")
	if dir == "" {
		t.Skip("HESSDENS_ONNX_TESTS names no folder")
	}
	fsys := os.DirFS(dir)
	releases, err := fs.ReadDir(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	all := newTally("all")
	var parts []*tally
	for _, r := range releases {
		part := newTally(r.Name())
		sub, err := fs.Sub(fsys, r.Name())
		if err != nil {
			t.Fatal(err)
		}
		entries, err := fs.ReadDir(sub, ".")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				part.run(sub, e.Name())
			}
		}
		all.add(part)
		parts = append(parts, part)
	}
	for _, k := range slices.Sorted(maps.Keys(all.by)) {
		t.Logf("| %-28s | %3d of %3d |", k, all.by[k].pass, all.by[k].of)
	}
	for _, p := range parts {
		for _, k := range slices.Sorted(maps.Keys(p.outside)) {
			t.Logf("%s: outside: %3d %s", p.release, p.outside[k], k)
		}
		for _, f := range p.failures {
			t.Logf("%s: failed: %s", p.release, f)
		}
		t.Logf("%s: derivatives of %d tests held against differences, %d on a kink, a jump, or not finite", p.release, p.derived.held, p.derived.skipped)
		t.Logf("%s: %d of %d tests passed", p.release, p.total.pass, p.total.of)
		if !(float64(p.total.pass) >= least*float64(p.total.of)) || p.total.of == 0 {
			t.Errorf("%s: %d of %d tests passed, and %v of them have to", p.release, p.total.pass, p.total.of, least)
		}
	}
	t.Logf("%d of %d node tests passed", all.total.pass, all.total.of)
	if name := os.Getenv("HESSDENS_ONNX_TABLE"); name != "" {
		if err := replaceTable(name, all, parts); err != nil {
			t.Error(err)
		}
	}
}

// tally is the outcome of the tests of a release, or of several.
type tally struct {
	release  string
	total    score
	by       map[string]*score // operator
	outside  map[string]int    // why: tests that do not count
	failures []string
	derived  derivatives
}

type score struct{ pass, of, derived int }

func newTally(release string) *tally {
	return &tally{release: release, by: map[string]*score{}, outside: map[string]int{}}
}

func (a *tally) of(operator string) *score {
	if a.by[operator] == nil {
		a.by[operator] = &score{}
	}
	return a.by[operator]
}

func (a *tally) add(b *tally) {
	for k, s := range b.by {
		sum := a.of(k)
		sum.pass, sum.of, sum.derived = sum.pass+s.pass, sum.of+s.of, sum.derived+s.derived
	}
	for k, n := range b.outside {
		a.outside[k] += n
	}
	a.failures = append(a.failures, b.failures...)
	a.total.pass, a.total.of = a.total.pass+b.total.pass, a.total.of+b.total.of
	a.derived.held, a.derived.skipped = a.derived.held+b.derived.held, a.derived.skipped+b.derived.skipped
}

// run counts one test.
func (a *tally) run(fsys fs.FS, name string) {
	tensors, real := isTensors(fsys, path.Join(name, "model.onnx"))
	if !tensors {
		a.outside["inputs or outputs that are no tensors, or of a type that is not read"]++
		return
	}
	if !real {
		a.outside["no output of real numbers"]++
		return
	}
	f, err := Open(fsys, path.Join(name, "model.onnx"))
	if err != nil {
		a.outside["not read: "+err.Error()]++
		return
	}
	nodes, err := f.main.sorted(f.main.outputs, func(string) bool { return false })
	if err == nil {
		err = check(nodes)
	}
	if err != nil {
		why := err.Error()
		for _, n := range strings.Split(why, "\n") {
			if _, op, ok := strings.Cut(n, " ("); ok && strings.HasPrefix(n, "  node") {
				op, _, _ = strings.Cut(op, ",")
				why = "operator " + op
				break
			}
		}
		a.outside[why]++
		return
	}
	if strings.HasPrefix(name, "test_training_dropout") && !strings.Contains(name, "zero_ratio") {
		a.outside["Dropout that draws random numbers"]++
		return
	}
	s, held := a.of(operatorOf(name, nodes)), a.derived.held
	s.of++
	a.total.of++
	if err := runNode(fsys, name, f, nodes, &a.derived); err != nil {
		a.failures = append(a.failures, fmt.Sprintf("%s: %v", name, err))
		return
	}
	s.pass++
	a.total.pass++
	if a.derived.held > held {
		s.derived++
	}
}

// reasons of failures that were looked into.
var reasons = map[string]string{
	"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": "the file is wrong: release 1.23.2 of this test and ONNX Runtime 1.32.0 have this package's value",
}

// Markers around the part of a page that the tests write.
const (
	tableBegin = "<!-- written by HESSDENS_ONNX_TABLE=docs/onnx.md make test-onnx -->"
	tableEnd   = "<!-- end -->"
)

// replaceTable writes the outcome between the markers of a Markdown file.
func replaceTable(name string, all *tally, parts []*tally) error {
	page, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), tableBegin)
	_, after, end := strings.Cut(rest, tableEnd)
	if !ok || !end {
		return fmt.Errorf("%s: no lines %s and %s", name, tableBegin, tableEnd)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| release | passed | tests | derivatives held | on a kink, a jump, or not finite |\n|---|---|---|---|---|\n", tableBegin)
	for _, p := range append(slices.Clone(parts), all) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", p.release, p.total.pass, p.total.of, p.derived.held, p.derived.skipped)
	}
	b.WriteString("\nThose that fail:\n\n")
	for _, p := range parts {
		for _, f := range p.failures {
			name, _, _ := strings.Cut(f, ":")
			fmt.Fprintf(&b, "- %s: %s (%s)\n", p.release, f, cmp.Or(reasons[name], "not looked into"))
		}
	}
	var outside []string
	for _, k := range slices.Sorted(maps.Keys(all.outside)) {
		outside = append(outside, fmt.Sprintf("%d with %s", all.outside[k], k))
	}
	fmt.Fprintf(&b, "\nNot counted: %s.\n\n| operator | passed | tests | derivatives held |\n|---|---|---|---|\n", strings.Join(outside, "; "))
	for _, k := range slices.Sorted(maps.Keys(all.by)) {
		s := all.by[k]
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", k, s.pass, s.of, s.derived)
	}
	fmt.Fprintf(&b, "\n%s", tableEnd)
	return os.WriteFile(name, []byte(before+b.String()+after), 0o644)
}

// operatorOf is the operator that a test is named for.
func operatorOf(name string, nodes []*node) string {
	switch {
	case strings.Contains(name, "_expanded"):
		return "(expanded functions)"
	case len(nodes) > 1:
		return "(several nodes)"
	case len(nodes) == 0:
		return "Constant"
	}
	return nodes[0].op
}

func runNode(fsys fs.FS, name string, f *File, nodes []*node, derived *derivatives) error {
	fixed := func(input string) bool { return setting(nodes, input) || strings.HasPrefix(name, "test_range_") }
	sets, err := fs.Glob(fsys, path.Join(name, "test_data_set_*"))
	if err != nil || len(sets) == 0 {
		return fmt.Errorf("no data")
	}
	for _, set := range sets {
		var in, want []*array
		for i := 0; ; i++ {
			a, err := readTensor(fsys, path.Join(set, fmt.Sprintf("input_%d.pb", i)))
			if err != nil {
				if _, e := fs.Stat(fsys, path.Join(set, fmt.Sprintf("input_%d.pb", i))); e == nil {
					return err
				}
				break
			}
			in = append(in, a)
		}
		for i := range f.main.outputs {
			a, err := readTensor(fsys, path.Join(set, fmt.Sprintf("output_%d.pb", i)))
			if err != nil {
				return err
			}
			want = append(want, a)
		}
		got, err := evaluate(f, in, fixed, derived)
		if err != nil {
			return err
		}
		for i, w := range want {
			if !isFloat(w.dt) {
				continue
			}
			if err := near(got[i], w); err != nil {
				return fmt.Errorf("output %d: %w", i, err)
			}
		}
	}
	return nil
}

// reference is the folder of reference networks beside the checkout, "" where there is none.
func reference(t testing.TB, elem ...string) string {
	p := filepath.Join(append([]string{"../../../../shared"}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("%s is not there", p)
	}
	return p
}
