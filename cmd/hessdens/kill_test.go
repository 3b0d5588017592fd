package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is hessdens in a folder, as a process of its own.
func program(dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("hessdens", args...)
	stderr := &bytes.Buffer{}
	cmd.Dir, cmd.Stderr = dir, stderr
	return cmd, stderr
}

// result is a result file without its provenance.
func result(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = withoutProvenance(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// A run that is killed at random moments, and resumed until it ends, gives the bits of one that is not: one run, or fifty (make
// kill-test), with a basis in float64 and in float32, and one that chooses its size.
func TestKill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	rounds := 1
	if os.Getenv("HESSDENS_LONG") != "" {
		rounds = 50
	}
	dir := t.TempDir()
	for _, size := range []string{"--probes 3 --steps 150", "--probes 3 --steps 150 --basis float32", "--tolerance 0.05"} {
		args := append(strings.Fields("estimate --checkpoint run.checkpoint -o run.json --resume"), strings.Fields(size)...)
		begin := time.Now()
		cmd, stderr := program(dir, args...)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		whole := time.Since(begin)
		want := result(t, filepath.Join(dir, "run.json"))
		kills := 0
		for round := range rounds {
			rng := rand.New(rand.NewPCG(uint64(round), 1))
			if err := os.Remove(filepath.Join(dir, "run.json")); err != nil {
				t.Fatal(err)
			}
			small := rng.IntN(2) == 0 && !strings.Contains(size, "tolerance") // memory for fewer probes at once
			for try := 0; ; try++ {
				cmd, stderr := program(dir, args...)
				if small {
					cmd.Env = append(os.Environ(), "GOMEMLIMIT=60MiB")
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				killed := make(chan bool)
				if try < 3 {
					wait := time.Duration(rng.Float64() * float64(whole))
					timer := time.AfterFunc(wait, func() { killed <- cmd.Process.Kill() == nil })
					err := cmd.Wait()
					if timer.Stop() {
						close(killed)
					}
					if <-killed && cmd.ProcessState.ExitCode() == -1 {
						kills++
						continue
					}
					if err != nil {
						t.Fatalf("round %d, try %d: %v: %s", round, try, err, stderr)
					}
				} else if err := cmd.Wait(); err != nil {
					t.Fatalf("round %d, try %d: %v: %s", round, try, err, stderr)
				}
				break
			}
			if !bytes.Equal(result(t, filepath.Join(dir, "run.json")), want) {
				t.Fatalf("round %d: another result", round)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*.checkpoint")); err != nil || left != nil {
				t.Fatalf("round %d: left behind: %v", round, left)
			}
		}
		t.Logf("%s: %d runs killed %d times", size, rounds, kills)
	}
}

// A signal leaves what can be gone on from, says so, and the exit status tells which it was.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	kept := regexp.MustCompile(`^hessdens: (interrupted|terminated): (\d+) of 800 products are kept in run.checkpoint \(add --resume to go on\)\n$`)
	for _, tt := range []struct {
		signal os.Signal
		want   int
	}{
		{os.Interrupt, exitInterrupted},
		{syscall.SIGTERM, exitTerminated},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{"estimate", "--probes", "4", "--steps", "200", "-o", "run.json"}
			cmd, stderr := program(dir, args...)
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			want := result(t, filepath.Join(dir, "run.json"))
			args = append(args, "--checkpoint", "run.checkpoint", "--resume")
			done := 0
			for wait := 30 * time.Millisecond; done == 0; wait += wait / 4 {
				cmd, stderr := program(dir, args...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(wait)
				if err := cmd.Process.Signal(tt.signal); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // the status says how it ended
				early := "hessdens: " + (&signalError{tt.signal}).Error() + "\n"
				switch status := cmd.ProcessState.ExitCode(); {
				case status == -1, status == tt.want && stderr.String() == early: // before the program was ready for it, or anything was kept
				case status == tt.want && kept.MatchString(stderr.String()):
					done, _ = strconv.Atoi(kept.FindStringSubmatch(stderr.String())[2])
				default:
					t.Fatalf("exit status %d, stderr %q", status, stderr)
				}
			}
			if done%4 != 0 || done > 800 {
				t.Errorf("%d products are kept of steps of 4", done)
			}
			cmd, stderr = program(dir, args...)
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			if !bytes.Equal(result(t, filepath.Join(dir, "run.json")), want) {
				t.Error("another result")
			}
		})
	}
}
