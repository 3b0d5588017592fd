package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model"
	"hessdens/internal/spectrum"
)

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errCheck, 1},
		{fmt.Errorf("verify: %w", errCheck), 1},
		{usagef("--probes 0: no"), 2},
		{fmt.Errorf("more: %w", usagef("--probes 0: no")), 2},
		{&dataset.OptionError{Flag: "--mean", Err: errors.New("no")}, 2},
		{inputf("data: %w", &dataset.OptionError{Flag: "--mean", Err: errors.New("no")}), 2},
		{&lanczos.MemoryError{}, 2},
		{inputf("x.npy: no"), 3},
		{errors.New("whatever a package returns about a file"), 3},
		{&model.MismatchError{}, 3},
		{&model.NonFiniteError{}, 4},
		{inputf("net: %w", &model.NonFiniteError{}), 4},
		{&hvp.NonFiniteError{}, 4},
		{&lanczos.NonFiniteError{}, 4},
		{code(exitOutput, io.ErrShortWrite), 5},
		{toStdout(syscall.EPIPE), 5},
		{&signalError{os.Interrupt}, 130},
		{&signalError{syscall.SIGTERM}, 143},
		{fmt.Errorf("at work: %w", &signalError{os.Interrupt}), 130},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
	if code(exitInput, nil) != nil || toStdout(nil) != nil {
		t.Error("no error became one")
	}
}

// call runs a command in this process.
func call(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	return status, out.String(), err.String()
}

type failing struct{ err error }

func (w failing) Write([]byte) (int, error) {
	if w.err == nil {
		panic("the writer is broken")
	}
	return 0, w.err
}

// A defect is reported as one, with what to do.
func TestPanic(t *testing.T) {
	var stderr bytes.Buffer
	got := run(t.Context(), []string{"version"}, strings.NewReader(""), failing{}, &stderr)
	if got != exitDefect {
		t.Errorf("exit status %d, want %d", got, exitDefect)
	}
	for _, want := range []string{"hessdens: a defect in hessdens: the writer is broken", "goroutine", "Please report this", "hessdens version"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in %q", want, stderr.String())
		}
	}
}

// A standard output that cannot be written to is no success of any command, and a closed pipe
// is not spoken of.
func TestBrokenOutput(t *testing.T) {
	dir := t.TempDir()
	if err := writeFixtures(dir); err != nil {
		t.Fatal(err)
	}
	measure := []string{"--weights", filepath.Join(dir, "net.safetensors"), "--data", filepath.Join(dir, "xy.npz")}
	result := filepath.Join(dir, "net.json")
	if status, _, stderr := call(t, "", append([]string{"estimate", "--steps", "5", "-o", result}, measure...)...); status != 0 {
		t.Fatal(stderr)
	}
	for _, args := range [][]string{
		append([]string{"estimate", "--steps", "5"}, measure...), append([]string{"estimate", "--steps", "5", "--format", "text"}, measure...),
		append([]string{"exact", "--format", "csv"}, measure...), append([]string{"verify", "--format", "text"}, measure...), append([]string{"inspect"}, measure...),
		{"inspect", result}, {"inspect", measure[1], "--format", "text"}, {"plot", result}, {"compare", result, result}, {"compare", result, result, "--format", "text"},
		append([]string{"track", measure[1], "--steps", "5"}, measure[2:]...), append([]string{"track", measure[1], "--steps", "5", "--format", "text"}, measure[2:]...),
		{"version"}, {"--version"}, {"help"}, {"help", "plot"}, {"completion", "zsh"}, {},
	} {
		for _, err := range []error{io.ErrShortWrite, syscall.EPIPE} {
			var stderr bytes.Buffer
			if got := run(t.Context(), args, strings.NewReader(""), failing{err}, &stderr); got != exitOutput {
				t.Errorf("%v, %v: exit status %d, want %d", args, err, got, exitOutput)
			}
			want := "hessdens: standard output: short write (what was written is not complete)\n"
			if errors.Is(err, syscall.EPIPE) {
				want = ""
			}
			if stderr.String() != want {
				t.Errorf("%v: %q, want %q", args, stderr.String(), want)
			}
		}
	}
}

// Nothing stays behind when a command is done.
func TestNoLeak(t *testing.T) {
	args := []string{"estimate", "--probes", "2", "--steps", "2", "--examples", "10", "--threads", "3"}
	call(t, "", args...)
	before := runtime.NumGoroutine()
	for range 5 {
		if status, _, stderr := call(t, "", args...); status != 0 {
			t.Fatal(stderr)
		}
		call(t, "", "estimate", "--weights", "none")
	}
	for range 100 { // they end a little after
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// A wait for standard input ends with the context.
func TestInterruptible(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	in := &interruptible{ctx, r}
	go func() { _, _ = w.Write([]byte("ab")) }()
	b := make([]byte, 8)
	if n, err := in.Read(b); n != 2 || err != nil || string(b[:n]) != "ab" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	cancel()
	if _, err := in.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []float64
		ok   bool
	}{
		{"", nil, true},
		{"0.5", []float64{0.5}, true},
		{"0.485, 0.456,0.406", []float64{0.485, 0.456, 0.406}, true},
		{"-1e-3,+2", []float64{-1e-3, 2}, true},
		{"1,,2", nil, false},
		{",", nil, false},
		{"1;2", nil, false},
		{"one", nil, false},
		{"1e999", nil, false},
	} {
		got, err := numbers("--mean", tt.in, "channel")
		if (err == nil) != tt.ok || !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %v, %v", tt.in, got, err)
		}
		if err != nil && (exitCode(err) != exitUsage || !strings.HasPrefix(err.Error(), "--mean "+tt.in+": ")) {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		in   string
		name string
		want float64
	}{
		{"lambda_max=20%", "lambda_max", 0.2},
		{"trace=0.5", "trace", 0.5},
		{"mean=0%", "mean", 0},
		{"variance=1e-3", "variance", 1e-3},
		{"lambda_max", "", 0},
		{"lambda_max=", "", 0},
		{"lambda_max=-1%", "", 0},
		{"lambda_max=NaN", "", 0},
		{"lambda_max=inf", "", 0},
		{"lambda_max=1%%", "", 0},
		{"=1%", "", 0},
		{"lambda=1%", "", 0},
	} {
		got, err := (&compareOptions{maxRel: []string{tt.in}}).limits()
		if tt.name == "" {
			if exitCode(err) != exitUsage || !strings.HasPrefix(err.Error(), "--max-rel "+tt.in+": ") {
				t.Errorf("%s: %v, %v", tt.in, got, err)
			}
			continue
		}
		if v, ok := got[tt.name]; err != nil || !ok || !(math.Abs(v-tt.want) <= 1e-15) {
			t.Errorf("%s: got %v, %v", tt.in, got, err)
		}
	}
}

// Every number of a summary that can be limited is one of the result file's.
func TestFields(t *testing.T) {
	r := &spectrum.Summary{}
	if got := len(fields(r)); got != 12 {
		t.Errorf("%d fields", got)
	}
	for _, name := range shown {
		if _, ok := fields(r)[name]; !ok {
			t.Errorf("%s is shown and no field", name)
		}
	}
}

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) wait(d time.Duration) { c.at = c.at.Add(d) }
func line(on bool) (*progress, *bytes.Buffer, *clock) {
	var b bytes.Buffer
	c := &clock{time.Unix(1000, 0)}
	return &progress{w: &b, on: on, now: c.now}, &b, c
}

func TestProgress(t *testing.T) {
	p, b, c := line(true)
	p.begin("10 probes x 4 steps", 4)
	p.pass(500, 1000)
	if b.Len() > 0 {
		t.Errorf("shown within half a second: %q", b)
	}
	// Half of the first of four passes is an eighth.
	c.wait(time.Second)
	p.pass(500, 1000)
	if got, want := b.String(), "\r\x1b[K10 probes x 4 steps [###.....................]  12 %, 7s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// Not more than ten times a second.
	b.Reset()
	c.wait(50 * time.Millisecond)
	p.pass(600, 1000)
	if b.Len() > 0 {
		t.Errorf("shown again at once: %q", b)
	}
	// A step of Lanczos counts what it multiplied, and so does the pass after it.
	c.wait(time.Second)
	p.lanczos(lanczos.Progress{Step: 1, Steps: 4, Probes: 10, Products: 10, Total: 40})
	if !strings.HasSuffix(b.String(), "  25 %, 6s left") {
		t.Errorf("%q", b)
	}
	c.wait(time.Second)
	p.pass(500, 1000)
	if !strings.Contains(b.String(), "  38 %") {
		t.Errorf("%q", b)
	}
	b.Reset()
	p.clear()
	p.clear()
	if got := b.String(); got != "\r\x1b[K" {
		t.Errorf("cleared by %q", got)
	}
}

// Passes that nobody counts add up by themselves, and the end is not overrun.
func TestProgressPasses(t *testing.T) {
	p, b, c := line(true)
	p.begin("symmetry", 2)
	for range 3 {
		c.wait(time.Second)
		b.Reset()
		p.pass(10, 10)
	}
	if !strings.Contains(b.String(), " 100 %") {
		t.Errorf("%q", b)
	}
	// Work of unknown length is named, and no more.
	b.Reset()
	p.begin("eigenvalues", 0)
	c.wait(time.Second)
	p.pass(1, 2)
	if got, want := b.String(), "\r\x1b[K\r\x1b[Keigenvalues"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.steps(0, 0)
}

func TestProgressOff(t *testing.T) {
	p, b, c := line(false)
	for _, passes := range []int{0, 3} {
		p.begin("work", passes)
		c.wait(time.Minute)
		p.pass(1, 2)
		p.steps(1, 2)
		p.lanczos(lanczos.Progress{Step: 1, Steps: 2, Probes: 1, Products: 1, Total: 2})
	}
	p.clear()
	if b.Len() > 0 {
		t.Errorf("%q where there is no terminal", b)
	}
}

func TestAvailableMemory(t *testing.T) {
	all := availableMemory()
	if all <= 0 {
		t.Errorf("%d bytes", all)
	}
	const limit = 1 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	if got := availableMemory(); got != min(all, limit) && got > limit {
		t.Errorf("%d bytes with GOMEMLIMIT %d", got, limit)
	}
}

// A basis that does not fit is a matter of --steps, and said so.
func TestTooLittleMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 20))
	status, stdout, stderr := call(t, "", "estimate")
	if status != exitUsage || stdout != "" || messageFault(stderr) != "" || !strings.Contains(stderr, "--steps") {
		t.Errorf("exit status %d: %q", status, stderr)
	}
	text := filepath.Join(t.TempDir(), "long.txt")
	if err := os.WriteFile(text, make([]byte, 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = call(t, "", "inspect", "--model", "gpt2:layers=1,heads=1,width=4,context=1000,vocab=256", "--data", text, "--data-format", "text", "--vocab", "bytes")
	if status != exitUsage || stdout != "" || messageFault(stderr) != "" || !strings.Contains(stderr, "--context: a number for each pair of 1000 tokens") {
		t.Errorf("exit status %d: %q", status, stderr)
	}
}
