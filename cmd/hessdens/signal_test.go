package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// A signal ends a run at once: the exit status tells which, one line says so, and no file is left.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	// A network large enough for seconds in the dense matrix and its eigenvalues.
	const inputs, width = 40, 60
	files := map[string][]byte{
		"net.safetensors": safetensors([]named{
			{"0.weight", []int{width, inputs}, random(1, width*inputs)}, {"0.bias", []int{width}, random(2, width)},
			{"2.weight", []int{fixtureClasses, width}, random(3, fixtureClasses*width)}, {"2.bias", []int{fixtureClasses}, random(4, fixtureClasses)},
		}, nil),
		"x.npy": floats([]int{fixtureExamples, inputs}, random(5, fixtureExamples*inputs)),
		"y.npy": labels(fixtureExamples, nil),
	}
	for _, tt := range []struct {
		name    string
		signal  os.Signal
		args    []string
		want    int
		message string
	}{
		{"estimate", os.Interrupt, []string{"estimate", "--probes", "100000"}, exitInterrupted, "hessdens: interrupted\n"},
		{"terminate", syscall.SIGTERM, []string{"estimate", "--probes", "100000"}, exitTerminated, "hessdens: terminated\n"},
		{"exact", os.Interrupt, []string{"exact", "--weights", "net.safetensors", "--data", "x.npy,y.npy", "--precision", "float64", "-o", "out.csv"}, exitInterrupted, "hessdens: interrupted\n"},
		{"stdin", os.Interrupt, []string{"plot", "-"}, exitInterrupted, "hessdens: interrupted\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for wait := 200 * time.Millisecond; ; wait *= 3 {
				dir := t.TempDir()
				cmd := exec.Command("hessdens", tt.args...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GOMEMLIMIT=500MiB")
				for name, b := range files {
					if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				var stdout, stderr bytes.Buffer
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if tt.name == "stdin" {
					r, w, err := os.Pipe() // nothing ever comes
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					defer w.Close()
					cmd.Stdin = r
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(wait)
				sent := time.Now()
				if err := cmd.Process.Signal(tt.signal); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				took := time.Since(sent)
				got := cmd.ProcessState.ExitCode()
				if got == -1 && wait < 10*time.Second {
					continue // it came before the program was ready for it
				}
				var exit *exec.ExitError
				if !errors.As(err, &exit) || got != tt.want {
					t.Fatalf("%v, want exit status %d; stderr %q", err, tt.want, stderr.String())
				}
				if stderr.String() != tt.message || stdout.Len() > 0 {
					t.Errorf("stderr %q, want %q; stdout %q", stderr.String(), tt.message, stdout.String())
				}
				if took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				left, err := filepath.Glob(filepath.Join(dir, "*"))
				hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
				if err != nil || len(left)+len(hidden) != len(files) {
					t.Errorf("left behind: %v %v", left, hidden)
				}
				return
			}
		})
	}
}
