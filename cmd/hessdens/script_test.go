package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary, under the name of hessdens, the program (as hessdens-peak, one that also tells its memory).
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hessdens": main, "hessdens-peak": mainPeak})
}

// TestScript runs testdata/script: the program as its users run it. Every script begins in a
// directory with the fixtures; $HUGGINGFACE has directories of networks, $DATASETS pictures and tables. Beside the usual commands there are
//
//	status CODE ARGS…           hessdens ARGS… exits with CODE; on CODE 0 stderr is empty, on
//	                            others (but 1) it is one message, and no temporary file is left
//	json FILE PATH [WANT [TOL]] prints the value at a path such as .warnings.0.code, or holds it
//	                            against WANT, within TOL; ! json FILE PATH: it is not there
//	same FILE FILE              two result files have the same bytes but for their provenance
//	alter FILE OLD NEW          puts a text in the place of another, once
//	cut FILE BYTES NEW          copies the first bytes of a file
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			models, err := filepath.Abs("../../internal/model/zoo/testdata/huggingface")
			datasets, err2 := filepath.Abs("../../internal/dataset/testdata")
			e.Setenv("HUGGINGFACE", models)
			e.Setenv("DATASETS", datasets)
			err = errors.Join(err, err2)
			return errors.Join(err, writeFixtures(e.WorkDir), writeONNXFixtures(e.WorkDir))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status, "json": jsonValue, "same": same, "alter": alter, "cut": cut,
		},
	})
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: status CODE ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("hessdens", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("hessdens %s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
	stderr := ts.ReadFile("stderr")
	switch want {
	case exitDone, exitCheck:
		if stderr != "" {
			ts.Fatalf("stderr is not empty")
		}
	default:
		if fault := messageFault(stderr); fault != "" {
			ts.Fatalf("the message %s: %q", fault, stderr)
		}
		if out := ts.ReadFile("stdout"); out != "" {
			ts.Fatalf("a failure wrote to standard output")
		}
	}
	left, err := filepath.Glob(filepath.Join(ts.MkAbs("."), ".hessdens-*"))
	ts.Check(err)
	if len(left) > 0 {
		ts.Fatalf("left behind: %v", left)
	}
}

// messageFault says what is wrong with the form of a message; "" when nothing is.
func messageFault(s string) string {
	first, rest, ok := strings.Cut(s, "\n")
	body, prefixed := strings.CutPrefix(first, "hessdens: ")
	switch {
	case !ok:
		return "does not end with a newline"
	case !prefixed:
		return "does not begin with hessdens:"
	case strings.Contains(body, "hessdens: "), strings.Contains(rest, "\nhessdens: "), strings.HasPrefix(rest, "hessdens: "):
		return "is given twice"
	case strings.Contains(s, "goroutine "), strings.Contains(s, "strconv."), strings.Contains(s, "%!"):
		return "shows the program's insides"
	case strings.Contains(s, "Usage:"):
		return "has the help with it"
	}
	return ""
}

// at follows a path such as .probes.0.nodes; .length is the number of elements of a list.
func at(v any, path string) (any, error) {
	for _, key := range strings.Split(strings.TrimPrefix(path, "."), ".") {
		if key == "" {
			continue
		}
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[key]
			if !ok {
				return nil, fmt.Errorf("%s: there is no %q", path, key)
			}
			v = next
		case []any:
			if key == "length" {
				v = json.Number(strconv.Itoa(len(x)))
				continue
			}
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("%s: no element %s of %d", path, key, len(x))
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("%s: %q of a value that has no parts", path, key)
		}
	}
	return v, nil
}

// decode reads the JSON values of a file: the one, or a list of several.
func decode(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var all []any
	for {
		var v any
		err := d.Decode(&v)
		if err == io.EOF && len(all) == 1 {
			return all[0], nil
		}
		if err == io.EOF && len(all) > 1 {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
}

func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 4 {
		ts.Fatalf("usage: json FILE PATH [WANT [TOL]]")
	}
	v, err := decode(ts.ReadFile(args[0]))
	ts.Check(err)
	got, err := at(v, args[1])
	if neg && len(args) == 2 {
		if err == nil {
			ts.Fatalf("%s is %v", args[1], got)
		}
		return
	}
	ts.Check(err)
	text := fmt.Sprint(got)
	if got == nil {
		text = "null"
	}
	if len(args) == 2 {
		fmt.Fprintln(ts.Stdout(), text)
		return
	}
	ok := text == args[2]
	if len(args) == 4 {
		var x [3]float64
		for i, s := range []string{text, args[2], args[3]} {
			x[i], err = strconv.ParseFloat(s, 64)
			ts.Check(err)
		}
		ok = math.Abs(x[0]-x[1]) <= x[2]
	}
	if ok == neg {
		ts.Fatalf("%s is %s, want %s", args[1], text, strings.Join(args[2:], " ± "))
	}
}

// withoutProvenance is a result file, byte for byte, without the value of its provenance.
func withoutProvenance(file []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(file))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		begin := d.InputOffset()
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if key == "provenance" {
			return append(bytes.Clone(file[:begin]), file[d.InputOffset():]...), nil
		}
	}
	return nil, errors.New("there is no provenance")
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same FILE FILE")
	}
	var files [2][]byte
	for i, name := range args {
		var err error
		files[i], err = withoutProvenance([]byte(ts.ReadFile(name)))
		ts.Check(err)
	}
	if equal := bytes.Equal(files[0], files[1]); equal == neg {
		ts.Fatalf("%s and %s: the same bytes but for provenance is %v", args[0], args[1], equal)
	}
}

// alter replaces a text of a file by another.
func alter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: alter FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o666))
}

// cut copies the first bytes of a file.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FILE BYTES NEW")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if n > len(b) {
		ts.Fatalf("%s has %d bytes", args[0], len(b))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b[:n], 0o666))
}

// Test the test helpers.
func TestWithoutProvenance(t *testing.T) {
	got, err := withoutProvenance([]byte(`{"a": [1.0, {"provenance": 2}], "provenance": {"x": 1}, "b": 2}`))
	if want := `{"a": [1.0, {"provenance": 2}], "provenance", "b": 2}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := withoutProvenance([]byte(`{"a": 1}`)); err == nil {
		t.Error("no error without provenance")
	}
}

func TestMessageFault(t *testing.T) {
	for _, tt := range []struct {
		message string
		ok      bool
	}{
		{"hessdens: x.npy: is empty (give another)\n", true},
		{"hessdens: w: 2 tensors do not fit:\n  a: missing\n  b: missing\n(is --model right?)\n", true},
		{"hessdens: no newline", false},
		{"x.npy: is empty\n", false},
		{"hessdens: a\nhessdens: b\n", false},
		{"hessdens: hessdens: a\n", false},
		{"hessdens: strconv.ParseInt: no\n", false},
		{"hessdens: a\nUsage:\n", false},
	} {
		if got := messageFault(tt.message); (got == "") != tt.ok {
			t.Errorf("%q: %q", tt.message, got)
		}
	}
}
