package spectrum

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hessdens/internal/density"
	"hessdens/internal/lanczos"
)

const schemaFile = "../../docs/spectrum.schema.json"

func spectrumOf(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, 1))
	e := make([]float64, n)
	for i := n / 3; i < n; i++ {
		e[i] = 0.05 * rng.NormFloat64()
	}
	copy(e, []float64{20, 12, 5, -3})
	return e
}

func probesOf(t testing.TB, e []float64, k, m int) []lanczos.Probe {
	t.Helper()
	p, err := lanczos.Run(context.Background(), lanczos.Diagonal(e), lanczos.Options{Probes: k, Steps: m})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// filled is r with what the command adds.
func filled(r *Result) *Result {
	n := r.Model.Parameters
	r.Model = Model{Name: "mlp:784-20-10 <&>", Parameters: n, SHA256: new(strings.Repeat("0f", 32)), Groups: []Group{{"w", n - 1}, {"b", 1}}}
	r.Data = Data{Name: "train.npz", Examples: 64, Tokens: new(4096)}
	r.Risk = Risk{Loss: new(0.25), GradientNorm: new(1e-9), LossKind: "cross-entropy", WeightDecay: 5e-4, BatchNorm: new(BatchNormEval)}
	r.Operator = "hessian"
	r.Provenance = Provenance{Version: "v0", Go: "go1.26", Threads: 2, Seconds: 1.5, Products: 90, Command: "hessdens estimate"}
	return r
}

func estimate(t testing.TB, e []float64, s Settings) *Result {
	t.Helper()
	s.Steps, s.Precision, s.Basis = 40, Float64, Float64
	r, err := FromProbes(probesOf(t, e, 3, 40), len(e), s)
	if err != nil {
		t.Fatal(err)
	}
	return filled(r)
}

func exact(t testing.TB, e []float64) *Result {
	t.Helper()
	r, err := FromExact(context.Background(), e, Settings{Precision: Float64})
	if err != nil {
		t.Fatal(err)
	}
	return filled(r)
}

// cases are results of every kind.
func cases(t testing.TB) map[string]*Result {
	e := spectrumOf(300)
	grown := density.Goal{Tolerance: 0.05, MaxProducts: 1000, Top: 300}
	bare := estimate(t, e, Settings{Seed: math.MaxUint64})
	bare.Model.SHA256, bare.Model.Groups, bare.Data, bare.Risk = nil, nil, Data{}, Risk{}
	return map[string]*Result{
		"sampled":  sampled(t),
		"slq":      estimate(t, e, Settings{}),
		"bare":     bare,
		"grown":    estimate(t, e, Settings{Goal: &grown, Stopped: density.OutOf, Confidence: 0.5}),
		"exact":    exact(t, e),
		"zero":     estimate(t, make([]float64, 20), Settings{}),
		"identity": estimate(t, slices.Repeat([]float64{1}, 20), Settings{}),
		"one":      exact(t, []float64{-2}),
		"ghorbani": estimate(t, e, Settings{Smoothing: Ghorbani}),
		"narrow":   estimate(t, e, Settings{Sigma2: 1e-8, Points: 10}),
	}
}

func encoded(t testing.TB, r *Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compile(t testing.TB) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(s *jsonschema.Schema, b []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestResultsMatchSchema(t *testing.T) {
	s := compile(t)
	for name, r := range cases(t) {
		if err := valid(s, encoded(t, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for name, r := range cases(t) {
		b := encoded(t, r)
		got, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := encoded(t, got); !bytes.Equal(again, b) {
			t.Errorf("%s: reading and writing changes it", name)
		}
		var std Result
		if err := json.Unmarshal(b, &std); err != nil || !reflect.DeepEqual(&std, got) {
			t.Errorf("%s: encoding/json reads something else (%v)", name, err)
		}
		var z bytes.Buffer
		if err := EncodeGzip(&z, r); err != nil {
			t.Fatal(err)
		}
		if h := z.Bytes(); h[3] != 0 || !bytes.Equal(h[4:8], make([]byte, 4)) {
			t.Errorf("%s: gzip header % x", name, h[:10])
		}
		if got, err := Read(&z); err != nil || !bytes.Equal(encoded(t, got), b) {
			t.Errorf("%s: gzip: %v", name, err)
		}
	}
}

func TestNumbersRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range 20_000 {
		x := math.Float64frombits(rng.Uint64())
		if i < 8 {
			x = []float64{0, math.Copysign(0, -1), 5e-324, math.MaxFloat64, 1e-6, 9.99e-7, 1e21, 123456789}[i]
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		b := appendNumber(nil, x)
		var y float64
		if err := json.Unmarshal(b, &y); err != nil || math.Float64bits(x) != math.Float64bits(y) {
			t.Fatalf("%v is written %s: %v", x, b, err)
		}
		if want, _ := json.Marshal(x); !bytes.Equal(b, want) {
			t.Fatalf("%s, encoding/json writes %s", b, want)
		}
	}
}

func TestLayout(t *testing.T) {
	b := encoded(t, cases(t)["slq"])
	for _, want := range []string{
		"{\n  \"schema\": \"hessdens.spectrum/v1\",\n  \"model\": {\n    \"name\": \"mlp:784-20-10 <&>\",\n",
		"    \"groups\": [\n      {\"name\": \"w\", \"size\": 299},\n      {\"name\": \"b\", \"size\": 1}\n    ]\n  },\n",
		"  \"eigenvalues\": [\n    {\"value\": ", "    \"trace_interval\": [", "    \"tolerance\": null,\n",
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	for line := range bytes.Lines(b) {
		if len(line) > 500 {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
	if b[len(b)-1] != '\n' {
		t.Error("no newline at the end")
	}
}

func TestDeterministic(t *testing.T) {
	a, b := estimate(t, spectrumOf(200), Settings{}), estimate(t, spectrumOf(200), Settings{})
	b.Provenance = Provenance{Threads: 64}
	b.Provenance, a.Provenance = a.Provenance, b.Provenance
	a.Provenance = b.Provenance
	if !bytes.Equal(encoded(t, a), encoded(t, b)) {
		t.Error("equal runs differ outside provenance")
	}
}

func TestSeries(t *testing.T) {
	all := cases(t)
	var b, z bytes.Buffer
	names := []string{"slq", "zero", "exact"}
	for _, name := range names {
		if err := EncodeLine(&b, all[name]); err != nil {
			t.Fatal(err)
		}
	}
	if got := bytes.Count(b.Bytes(), []byte{'\n'}); got != 3 {
		t.Errorf("%d lines", got)
	}
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b.Bytes())
	_ = w.Close()
	for _, in := range []io.Reader{bytes.NewReader(b.Bytes()), &z} {
		got, err := ReadSeries(in)
		if err != nil || len(got) != 3 {
			t.Fatalf("%d results: %v", len(got), err)
		}
		for i, name := range names {
			if !bytes.Equal(encoded(t, got[i]), encoded(t, all[name])) {
				t.Errorf("%s differs", name)
			}
		}
	}
	if _, err := Read(bytes.NewReader(b.Bytes())); err == nil || !strings.Contains(err.Error(), "behind the result") {
		t.Errorf("a series read as one result: %v", err)
	}
}

// Both the schema and the reader refuse each of these.
func TestWrongResults(t *testing.T) {
	s := compile(t)
	good := encoded(t, cases(t)["slq"])
	edit := func(f func(m map[string]any)) []byte {
		var m map[string]any
		d := json.NewDecoder(bytes.NewReader(good))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		f(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		// The schema comes first in a file.
		return append([]byte(`{"schema":"hessdens.spectrum/v1",`), bytes.Replace(b, []byte(`"schema":"hessdens.spectrum/v1",`), nil, 1)[1:]...)
	}
	at := func(m map[string]any, path ...string) map[string]any {
		for _, p := range path {
			m = m[p].(map[string]any)
		}
		return m
	}
	if b := edit(func(map[string]any) {}); valid(s, b) != nil {
		t.Fatal("the edits break a result")
	} else if _, err := Read(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string // in the reader's message
		f    func(m map[string]any)
	}{
		{`"extra": is no field`, func(m map[string]any) { m["extra"] = 1 }},
		{`summary."lambda": is no field`, func(m map[string]any) { at(m, "summary")["lambda"] = 1 }},
		{"model.name: is missing", func(m map[string]any) { delete(at(m, "model"), "name") }},
		{"density: is missing", func(m map[string]any) { delete(m, "density") }},
		{"risk: is null", func(m map[string]any) { m["risk"] = nil }},
		{"model.parameters: is 0", func(m map[string]any) { at(m, "model")["parameters"] = 0 }},
		{"model.parameters: \"1.5\" is not an integer", func(m map[string]any) { at(m, "model")["parameters"] = 1.5 }},
		{"model.parameters: is a string", func(m map[string]any) { at(m, "model")["parameters"] = "3" }},
		{"model.name: is a number", func(m map[string]any) { at(m, "model")["name"] = 3 }},
		{"model.sha256: is not 64", func(m map[string]any) { at(m, "model")["sha256"] = "0F" }},
		{"operator: is \"gauss\", not one of hessian", func(m map[string]any) { m["operator"] = "gauss" }},
		{"estimator.method", func(m map[string]any) { at(m, "estimator")["method"] = "guess" }},
		{"estimator.precision", func(m map[string]any) { at(m, "estimator")["precision"] = "float16" }},
		{"estimator.basis", func(m map[string]any) { at(m, "estimator")["basis"] = "float16" }},
		{"data.total: is missing", func(m map[string]any) { delete(at(m, "data"), "total") }},
		{"data.blocks: is below 2", func(m map[string]any) { at(m, "data")["blocks"] = 1 }},
		{"data.subsets: has fewer than 2", func(m map[string]any) {
			at(m, "data")["subsets"] = []any{map[string]any{"lambda_max": 1, "lambda_min": 0, "trace": 1, "frobenius_sq": 1}}
		}},
		{"summary.trace_data_stderr: is negative", func(m map[string]any) { at(m, "summary")["trace_data_stderr"] = -1 }},
		{"eigenvalues[0]: data_stderr is negative", func(m map[string]any) { m["eigenvalues"].([]any)[0].(map[string]any)["data_stderr"] = -0.5 }},
		{"density.data_stderr: ", func(m map[string]any) { at(m, "density")["data_stderr"] = []any{-1, 1} }},
		{"estimator.basis: is missing", func(m map[string]any) { delete(at(m, "estimator"), "basis") }},
		{"estimator.orthogonality: is negative", func(m map[string]any) { at(m, "estimator")["orthogonality"] = -1e-9 }},
		{"estimator.seed", func(m map[string]any) { at(m, "estimator")["seed"] = -1 }},
		{"risk.batchnorm", func(m map[string]any) { at(m, "risk")["batchnorm"] = "train" }},
		{"summary.trace_stderr: is negative", func(m map[string]any) { at(m, "summary")["trace_stderr"] = -1 }},
		{"summary.variance_interval: has fewer than 2", func(m map[string]any) { at(m, "summary")["variance_interval"] = []int{1} }},
		{"summary.variance_interval: has more than 2", func(m map[string]any) { at(m, "summary")["variance_interval"] = []int{1, 2, 3} }},
		{"density.sigma2: is not positive", func(m map[string]any) { at(m, "density")["sigma2"] = 0 }},
		{"density.density", func(m map[string]any) { at(m, "density")["density"].([]any)[3] = -1 }},
		{"density: is an array", func(m map[string]any) { m["density"] = []int{} }},
		{"probes[1].nodes[2]: is null, not a number", func(m map[string]any) { m["probes"].([]any)[1].(map[string]any)["nodes"].([]any)[2] = nil }},
		{"probes[0].weights", func(m map[string]any) { m["probes"].([]any)[0].(map[string]any)["weights"].([]any)[0] = -0.5 }},
		{"probes[0].beta_last: is negative", func(m map[string]any) { m["probes"].([]any)[0].(map[string]any)["beta_last"] = -0.5 }},
		{"eigenvalues[0]: residual", func(m map[string]any) { m["eigenvalues"].([]any)[0].(map[string]any)["residual"] = -0.5 }},
		{"warnings[0]: has no code", func(m map[string]any) {
			m["warnings"] = []any{map[string]any{"code": "", "message": ""}}
		}},
		{"provenance.threads: is negative", func(m map[string]any) { at(m, "provenance")["threads"] = -1 }},
	} {
		b := edit(c.f)
		if valid(s, b) == nil {
			t.Errorf("%s: the schema takes it", c.path)
		}
		_, err := Read(bytes.NewReader(b))
		var f *FormatError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("want %q, got %v", c.path, err)
		}
	}

	// What a schema cannot say, the reader does.
	for _, c := range []struct {
		path string
		f    func(m map[string]any)
	}{
		{"probes[0]: has 39 nodes and 40 weights", func(m map[string]any) {
			p := m["probes"].([]any)[0].(map[string]any)
			p["nodes"] = p["nodes"].([]any)[1:]
		}},
		{"probes[2].weights: sum to", func(m map[string]any) { m["probes"].([]any)[2].(map[string]any)["weights"].([]any)[39] = 0.5 }},
		{"probes[1].nodes: is not ascending", func(m map[string]any) { m["probes"].([]any)[1].(map[string]any)["nodes"].([]any)[0] = 1e9 }},
		{"data.total: is below data.examples", func(m map[string]any) { at(m, "data")["total"] = 63 }},
		{"data.drawn_from: is below data.examples", func(m map[string]any) { at(m, "data")["drawn_from"] = 63 }},
		{"data.subsets[1]: lambda_min is above lambda_max", func(m map[string]any) {
			s := map[string]any{"lambda_max": 1, "lambda_min": 0, "trace": 1, "frobenius_sq": 1}
			at(m, "data")["subsets"] = []any{s, map[string]any{"lambda_max": 1, "lambda_min": 2, "trace": 1, "frobenius_sq": 1}}
		}},
		{"density.data_stderr: has 1 values", func(m map[string]any) { at(m, "density")["data_stderr"] = []any{1} }},
		{"estimator.probes: is 3, but probes has 1", func(m map[string]any) { m["probes"] = m["probes"].([]any)[:1] }},
		{"probes: is empty", func(m map[string]any) { m["probes"], at(m, "estimator")["probes"] = []any{}, 0 }},
		{"has 40 nodes after 39 steps", func(m map[string]any) { at(m, "estimator")["steps"] = 39 }},
		{"eigenvalues[1]: is larger", func(m map[string]any) { m["eigenvalues"].([]any)[1].(map[string]any)["value"] = 1e9 }},
		{"density.density: has", func(m map[string]any) { at(m, "density")["density"] = []int{1, 2, 3} }},
		{"density.grid: is not ascending at point 1", func(m map[string]any) { at(m, "density")["grid"].([]any)[0] = 1e9 }},
		{"density: has one edge", func(m map[string]any) { at(m, "density")["lower"] = nil }},
		{"density.upper: has 1 values", func(m map[string]any) { at(m, "density")["upper"] = []int{7} }},
		{"density: has a distribution function without a band", func(m map[string]any) { at(m, "density")["distribution_upper"] = nil }},
		{"density.distribution: is outside its band", func(m map[string]any) { at(m, "density")["distribution"].([]any)[5] = 0.9 }},
		{"density.distribution_upper: has 1 values", func(m map[string]any) { at(m, "density")["distribution_upper"] = []any{1.0} }},
		{"density.lower: is negative or above upper", func(m map[string]any) { at(m, "density")["lower"].([]any)[5] = 1e9 }},
		{"summary: masses sum", func(m map[string]any) { at(m, "summary")["mass_zero"] = 2 }},
		{"summary.lambda_min: is above", func(m map[string]any) { at(m, "summary")["lambda_min"] = 1e9 }},
		{"summary.moment3_interval: is upside down", func(m map[string]any) { at(m, "summary")["moment3_interval"] = []int{2, 1} }},
		{"eigenvalues: has", func(m map[string]any) {
			e := at(m, "estimator")
			e["method"], e["steps"], e["probes"], m["probes"] = "exact", 0, 0, []any{}
		}},
	} {
		if _, err := Read(bytes.NewReader(edit(c.f))); err == nil || !strings.Contains(err.Error(), c.path) {
			t.Errorf("want %q, got %v", c.path, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	good := encoded(t, cases(t)["slq"])
	var z bytes.Buffer
	if err := EncodeGzip(&z, cases(t)["slq"]); err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(z.Bytes())
	broken[len(broken)/2] ^= 0x55
	// A file that is not compressed within its gzip, with a bit of a number flipped: it reads as JSON.
	var stored bytes.Buffer
	w, err := gzip.NewWriterLevel(&stored, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(good); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	number := bytes.Replace(stored.Bytes(), []byte(`"confidence": 0.95`), []byte(`"confidence": 9.95`), 1)
	checksum := bytes.Clone(z.Bytes())
	checksum[len(checksum)-6] ^= 1
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "the file is empty"},
		{"text", "hello", "not a hessdens result file"},
		{"html", "<html>", "not a hessdens result file"},
		{"array", "[1]", "not a hessdens result file: no JSON object"},
		{"object", "{}", "it has no schema"},
		{"other object", `{"a": 1}`, `it has a field "a" before any schema`},
		{"other schema", `{"schema": "v7"}`, `is "v7": not a hessdens result file`},
		{"schema no string", `{"schema": 1}`, "schema: is a number, not a string"},
		{"newer", `{"schema": "hessdens.spectrum/v2", "new": 1}`, `is "hessdens.spectrum/v2", and this version of hessdens reads "hessdens.spectrum/v1" (take a newer hessdens)`},
		{"truncated", string(good[:len(good)/2]), "the file ends too early (at byte"},
		{"nearly whole", string(good[:len(good)-3]), "the file ends too early"},
		{"trailing", string(good) + "x", "not JSON"},
		{"trailing value", string(good) + "1", "behind the result"},
		{"twice", `{"schema": "hessdens.spectrum/v1", "schema": "hessdens.spectrum/v1"}`, "schema: is given twice"},
		{"case", strings.Replace(string(good), `"model"`, `"Model"`, 1), `"Model": is no field`},
		{"control", "{\"schema\": \"\x1b[31m\"}", "invalid character"},
		{"escape", `{"schema": "\u001b[31m` + strings.Repeat("x", 1000) + `"}`, `\x1b[31m`},
		{"huge number", strings.Replace(string(good), `"lambda_max": `, `"lambda_max": 1e999, "x": `, 1), "beyond the range of float64"},
		{"NaN", strings.Replace(string(good), `"lambda_max": `, `"lambda_max": NaN, "x": `, 1), "not JSON"},
		{"deep", `{"schema": ` + strings.Repeat("[", 100_000), "is an array, not a string"},
		{"gzip header", "\x1f\x8b\x00", "damaged gzip file"},
		{"gzip body", string(broken), "at byte"},
		{"gzip of another number", string(number), "damaged gzip file"},
		{"gzip checksum", string(checksum), "damaged gzip file"},
		{"gzip cut", string(z.Bytes()[:z.Len()/2]), "ends too early"},
	} {
		_, err := Read(strings.NewReader(c.in))
		var f *FormatError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		} else if len(err.Error()) > 300 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%s: message %q", c.name, err)
		}
	}
	boom := errors.New("disk on fire")
	if _, err := Read(io.MultiReader(bytes.NewReader(good[:100]), &failing{boom})); !errors.Is(err, boom) {
		t.Errorf("reader's error: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestReadIsBounded(t *testing.T) {
	head := `{"schema": "hessdens.spectrum/v1", "probes": [{"nodes": [`
	for want, in := range map[string]io.Reader{
		"too many values": io.MultiReader(strings.NewReader(head), &repeated{[]byte("0,")}),
		"too long a file": io.MultiReader(strings.NewReader(head), &repeated{[]byte(" ")}),
	} {
		if _, err := read(in, true, 1<<20, 1000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	// Digits, each of which would take four times its text.
	if _, err := Read(io.MultiReader(strings.NewReader(head), &repeated{[]byte("0,")})); err == nil || !strings.Contains(err.Error(), "too many values for a file of this size") {
		t.Errorf("got %v", err)
	}
	// A small file that is large when decompressed.
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := io.CopyN(w, &repeated{[]byte(" ")}, 1<<22); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if _, err := read(&z, true, 1<<20, 1000); err == nil || !strings.Contains(err.Error(), "too long a file") {
		t.Errorf("bomb: %v", err)
	}
}

// repeated is a stream without an end.
type repeated struct{ what []byte }

func (r *repeated) Read(p []byte) (int, error) {
	n := len(p) / len(r.what) * len(r.what)
	for i := 0; i < n; i += len(r.what) {
		copy(p[i:], r.what)
	}
	return n, nil
}

func TestNonFiniteIsNotWritten(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for path, f := range map[string]func(r *Result){
			"summary.trace":       func(r *Result) { r.Summary.Trace = x },
			"summary.mean_stderr": func(r *Result) { r.Summary.MeanStderr = &x },
			"risk.loss":           func(r *Result) { r.Risk.Loss = &x },
			"probes[1].nodes[3]":  func(r *Result) { r.Probes[1].Nodes[3] = x },
			"density.density[0]":  func(r *Result) { r.Density.Density[0] = x },
			"eigenvalues[0].value": func(r *Result) {
				r.Eigenvalues[0].Value = x
			},
			"provenance.seconds": func(r *Result) { r.Provenance.Seconds = x },
		} {
			r := estimate(t, spectrumOf(60), Settings{})
			f(r)
			for _, format := range []Format{JSON, GzipJSON, CSV, NodesCSV, DistributionCSV} {
				var b bytes.Buffer
				err := format.Write(&b, r)
				if err == nil || b.Len() > 0 || !strings.HasPrefix(err.Error(), path+": is ") {
					t.Errorf("%s = %v: %v, %d bytes", path, x, err, b.Len())
				}
			}
		}
	}
}

// The types and the schema name the same fields, of the same types, all of them required.
func TestSchemaMatchesTypes(t *testing.T) {
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	compareType(t, s, s, reflect.TypeFor[Result](), "", false)
}

func compareType(t *testing.T, root, s map[string]any, typ reflect.Type, path string, nullable bool) {
	if typ.Kind() == reflect.Pointer {
		compareType(t, root, s, typ.Elem(), path, true)
		return
	}
	if either, ok := s["anyOf"].([]any); ok {
		if len(either) != 2 || either[1].(map[string]any)["type"] != "null" || !nullable {
			t.Errorf("%s: anyOf is not for null", path)
		}
		s, nullable = either[0].(map[string]any), false
	}
	if ref, ok := s["$ref"].(string); ok {
		s = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Slice: "array", reflect.Array: "array", reflect.String: "string",
		reflect.Float64: "number", reflect.Int: "integer", reflect.Uint64: "integer",
	}[typ.Kind()]
	got := fmt.Sprint(s["type"])
	if nullable {
		want = "[" + want + " null]"
	}
	if got != want {
		t.Errorf("%s: type %s in the schema, %s in Go", path, got, want)
	}
	switch typ.Kind() {
	case reflect.Slice, reflect.Array:
		compareType(t, root, s["items"].(map[string]any), typ.Elem(), path+"[]", false)
	case reflect.Struct:
		if s["additionalProperties"] != false {
			t.Errorf("%s: additional properties are allowed", path)
		}
		properties := s["properties"].(map[string]any)
		var names, required []string
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := f.Tag.Get("json")
			names = append(names, name)
			p, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s: not in the schema", path, name)
				continue
			}
			compareType(t, root, p, f.Type, path+"."+name, f.Tag.Get("nullable") != "")
		}
		for _, x := range s["required"].([]any) {
			required = append(required, x.(string))
		}
		if !slices.Equal(names, required) {
			t.Errorf("%s: fields %v, required %v", path, names, required)
		}
		if len(properties) != len(names) {
			t.Errorf("%s: %d properties, %d fields", path, len(properties), len(names))
		}
	}
}

func TestAssemble(t *testing.T) {
	e := spectrumOf(300)
	r, x := estimate(t, e, Settings{}), exact(t, e)
	if len(r.Eigenvalues) < 4 || len(r.Probes) != 3 || r.Density == nil || r.Density.Lower == nil || r.Estimator.Seed == nil || *r.Estimator.Stopped != "steps" {
		t.Errorf("%+v", r.Summary)
	}
	for i, want := range []float64{20, 12, 5} {
		if got := r.Eigenvalues[i]; !(math.Abs(got.Value-want) <= got.Residual) || got.Weight != 1./300 || x.Eigenvalues[i].Value != want {
			t.Errorf("eigenvalue %d: %+v, want %v", i, got, want)
		}
	}
	if len(x.Eigenvalues) != 300 || len(x.Probes) != 0 || *x.Summary.TraceStderr != 0 || x.Summary.VarianceInterval[0] != x.Summary.Variance || x.Estimator.Seed != nil {
		t.Errorf("%+v", x.Summary)
	}
	if z := (r.Summary.Trace - x.Summary.Trace) / *r.Summary.TraceStderr; !(math.Abs(z) <= 5) {
		t.Errorf("trace %v ± %v, is %v", r.Summary.Trace, *r.Summary.TraceStderr, x.Summary.Trace)
	}
	if got := r.Summary.LambdaMax; !(math.Abs(got-20) <= 1e-12) || !(math.Abs(r.Summary.LambdaMin+3) <= 1e-10) {
		t.Errorf("extremes %v, %v", got, r.Summary.LambdaMin)
	}
	if d := density.W1(r.Measure(), x.Measure()); !(d < 0.2) {
		t.Errorf("W1 %v", d)
	}
	zero := estimate(t, make([]float64, 20), Settings{})
	if zero.Density != nil || len(zero.Warnings) != 1 || zero.Warnings[0].Code != density.ZeroOperator || zero.Summary.NegativeEnergyL1 != nil || zero.Summary.MassZero != 1 {
		t.Errorf("zero operator: %+v %+v", zero.Summary, zero.Warnings)
	}
	if _, err := FromProbes(probesOf(t, e, 1, 10), 300, Settings{Steps: 10, Precision: Float64, Basis: Float64, Sigma2: 1e-200}); !errors.Is(err, density.ErrTooFine) {
		t.Errorf("tiny sigma2: %v", err)
	}
	codes := func(r *Result) []string {
		var c []string
		for _, w := range r.Warnings {
			c = append(c, w.Code)
		}
		return c
	}
	if got := codes(estimate(t, e, Settings{Sigma2: 1e-8, Points: 10})); !slices.Contains(got, density.Sigma2Narrow) || !slices.Contains(got, density.PointsTooFew) {
		t.Errorf("warnings %v", got)
	}
	// λ⁴ beyond float64 is not known; everything else is.
	big := slices.Clone(e)
	for i := range big {
		big[i] *= 1e90
	}
	if r := estimate(t, big, Settings{}); r.Summary.Moment4 != nil || r.Summary.FrobeniusSqStderr != nil || r.Validate() != nil {
		t.Errorf("large: %+v, %v", r.Summary, r.Validate())
	}
	// A spectrum too small to square has no density, but is a valid result.
	tiny := slices.Clone(e)
	for i := range tiny {
		tiny[i] *= 1e-200
	}
	if r := estimate(t, tiny, Settings{}); r.Density != nil || r.Validate() != nil {
		t.Errorf("tiny: %v", r.Validate())
	}
}

// The loss of orthogonality is that of the worst probe, and a basis in float32 makes residuals those of float32 products.
func TestBasis(t *testing.T) {
	probes := probesOf(t, spectrumOf(300), 3, 40)
	probes[1].Orthogonality = 3e-8
	for basis, floor := range map[string]float64{Float32: lanczos.ProductError32, Float64: lanczos.ProductError64} {
		r, err := FromProbes(probes, 300, Settings{Steps: 40, Precision: Float64, Basis: basis})
		if err != nil {
			t.Fatal(err)
		}
		if *r.Estimator.Basis != basis || *r.Estimator.Orthogonality != 3e-8 || !(r.Eigenvalues[0].Residual >= floor*r.Eigenvalues[0].Value) || !(r.Eigenvalues[0].Residual <= 3*floor*r.Eigenvalues[0].Value) {
			t.Errorf("%s: %+v, the first eigenvalue %+v", basis, r.Estimator, r.Eigenvalues[0])
		}
	}
}

// A file holds what its measure needs: the one that the summary and the density describe.
func TestRecompute(t *testing.T) {
	for name, r := range cases(t) {
		back, err := Read(bytes.NewReader(encoded(t, r)))
		if err != nil {
			t.Fatal(err)
		}
		m, s := back.Measure(), r.Summary
		mass, mean, absolute := 0.0, 0.0, 0.0
		for i, x := range m.Nodes {
			mass += m.Weights[i]
			mean += m.Weights[i] * x
			absolute += m.Weights[i] * math.Abs(x)
		}
		if !(math.Abs(mass-1) <= 1e-12) || !(math.Abs(mean-s.Mean) <= 1e-10*s.MeanAbs) || !(math.Abs(absolute-s.MeanAbs) <= 1e-8*s.MeanAbs) {
			t.Errorf("%s: mass %v, mean %v, was %v; mean |λ| %v, was %v", name, mass, mean, s.Mean, absolute, s.MeanAbs)
		}
		if d := r.Density; d != nil && name != "ghorbani" {
			for i := 0; i < len(d.Grid); i += 50 {
				if y := m.At(d.Grid[i], d.Sigma2); name != "narrow" && !(math.Abs(y-d.Density[i]) <= 1e-6*y+1e-9*slices.Max(d.Density)) {
					t.Errorf("%s: density at %v is %v, was %v", name, d.Grid[i], y, d.Density[i])
				}
			}
		}
	}
}

func TestCSV(t *testing.T) {
	all := cases(t)
	for _, c := range []struct {
		r      *Result
		header string
		format Format
		lines  int
	}{
		{all["ghorbani"], "eigenvalue,density\n", CSV, len(all["ghorbani"].Density.Grid)},
		{all["slq"], "eigenvalue,density,lower,upper\n", CSV, len(all["slq"].Density.Grid)},
		{all["zero"], "eigenvalue,density\n", CSV, 0},
		{all["slq"], "eigenvalue,distribution,lower,upper\n", DistributionCSV, len(all["slq"].Density.Grid)},
		{all["ghorbani"], "eigenvalue,distribution,lower,upper\n", DistributionCSV, 0},
		{all["slq"], "probe,node,weight\n", NodesCSV, 120},
		{all["exact"], "probe,node,weight\n", NodesCSV, 300},
	} {
		var b bytes.Buffer
		if err := c.format.Write(&b, c.r); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(b.String(), c.header) || bytes.Count(b.Bytes(), []byte{'\n'}) != c.lines+1 {
			t.Errorf("%.60q, %d lines, want %d", b.String(), bytes.Count(b.Bytes(), []byte{'\n'}), c.lines+1)
		}
		columns := strings.Count(c.header, ",")
		for line := range strings.Lines(b.String()) {
			if strings.Count(line, ",") != columns {
				t.Fatalf("line %q", line)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	// Small, so that an input that is worth keeping is soon minimised.
	small, err := FromProbes(probesOf(f, []float64{1, 1, 1, 2}, 1, 1), 4, Settings{Steps: 1, Precision: Float32, Basis: Float32})
	if err != nil {
		f.Fatal(err)
	}
	small.Operator, small.Risk.Loss, small.Model.Groups = "ggn", new(1.5), []Group{{"w", 2}}
	small.Density.Lower, small.Density.Upper = []float64{0, 1}, []float64{0, 2}
	small.Density.Distribution, small.Density.DistributionLower, small.Density.DistributionUpper = []float64{0, 1}, []float64{0, 0.5}, []float64{0, 1}
	small.Density.Grid, small.Density.Density, small.Warnings = []float64{1, 2}, []float64{0, 1}, small.Warnings[:1]
	small.Warnings[0].Message = ""
	var line, z bytes.Buffer
	if err := EncodeLine(&line, small); err != nil {
		f.Fatal(err)
	}
	if err := EncodeGzip(&z, small); err != nil {
		f.Fatal(err)
	}
	f.Add(line.Bytes())
	f.Add(z.Bytes())
	f.Add(line.Bytes()[:line.Len()/2])
	f.Add([]byte(`{"schema": "hessdens.spectrum/v2"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Read(bytes.NewReader(in))
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		b := encoded(t, r)
		again, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(encoded(t, again), b) {
			t.Error("writing is not stable")
		}
	})
}

func BenchmarkRead(b *testing.B) {
	e := spectrumOf(3000)
	r, err := FromExact(context.Background(), e, Settings{Precision: Float64})
	if err != nil {
		b.Fatal(err)
	}
	in := encoded(b, filled(r))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := Read(bytes.NewReader(in)); err != nil {
			b.Fatal(err)
		}
	}
}
