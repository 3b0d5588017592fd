package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"hessdens/internal/journal"
	"hessdens/internal/lanczos"
)

// kept runs a little Lanczos whose journal is k, as if its first step had taken so long.
func kept(t *testing.T, k *keeper, took time.Duration, left int) error {
	t.Helper()
	d := make(lanczos.Diagonal, 50)
	for i := range d {
		d[i] = float64(i)
	}
	groups, err := k.begin(journal.Run{N: 50, Probes: 3, Steps: 6, Groups: []int{2, 1}}, nil)
	if err != nil {
		return err
	}
	k.began = time.Now().Add(-took)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err = lanczos.Run(ctx, d, lanczos.Options{Probes: 3, Steps: 6, Groups: groups, Journal: k, Progress: func(lanczos.Progress) {
		if left--; left == 0 {
			cancel()
		}
	}})
	return err
}

// Nobody asked: a run is kept beside its output when its first step says that it takes more than a minute. It has 9 such steps.
func TestKeepLongRuns(t *testing.T) {
	for _, tt := range []struct {
		took time.Duration
		want bool
	}{{6 * time.Second, false}, {7 * time.Second, true}} {
		output := filepath.Join(t.TempDir(), "run.json")
		var o keepOptions
		k, err := o.check(&app{}, output)
		if err != nil {
			t.Fatal(err)
		}
		if err := kept(t, k, tt.took, 4); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		k.close()
		_, err = os.Stat(output + ".checkpoint")
		if (err == nil) != tt.want {
			t.Errorf("a first step of %v: %v", tt.took, err)
		}
		if !tt.want {
			continue
		}
		var usage *coded
		if _, err := o.check(&app{}, output); !errors.As(err, &usage) || usage.code != exitUsage {
			t.Errorf("begun anew in spite of the checkpoint: %v", err)
		}
		o.resume = true
		if k, err = o.check(&app{}, output); err != nil {
			t.Fatal(err)
		}
		if err := kept(t, k, 0, -1); err != nil || k.journal.Taken() != 4 {
			t.Errorf("%d steps taken, %v", k.journal.Taken(), err)
		}
		k.remove()
		if _, err := os.Stat(output + ".checkpoint"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is left: %v", err)
		}
	}
}

// A checkpoint that nobody asked for and that cannot be kept does not end the run; one that was asked for does.
func TestKeepFails(t *testing.T) {
	for _, asked := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "there")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		a := &app{stderr: &stderr, errTerminal: true, line: &progress{w: &stderr}, said: map[string]bool{}}
		name := filepath.Join(dir, "run.checkpoint")
		k := &keeper{a: a, name: name, asked: asked}
		if asked {
			k.keepOptions.file = name
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		err := kept(t, k, time.Hour, -1)
		switch {
		case !asked && (err != nil || !bytes.Contains(stderr.Bytes(), []byte("run.checkpoint"))):
			t.Errorf("not asked: %v, said %q", err, stderr.String())
		case asked && exitCode(err) != exitOutput:
			t.Errorf("asked: %v", err)
		}
	}
}

// Two runs do not share a checkpoint.
func TestKeepLocked(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks")
	}
	name := filepath.Join(t.TempDir(), "run.checkpoint")
	first := &keeper{a: &app{}, name: name, asked: true}
	if _, err := first.begin(journal.Run{N: 5, Probes: 1, Steps: 2, Groups: []int{1}}, nil); err != nil {
		t.Fatal(err)
	}
	second := &keeper{keepOptions: keepOptions{resume: true}, a: &app{}, name: name, asked: true}
	_, err := second.begin(journal.Run{N: 5, Probes: 1, Steps: 2, Groups: []int{1}}, nil)
	if exitCode(err) != exitInput {
		t.Errorf("got %v", err)
	}
	second.close()
	first.remove()
}
