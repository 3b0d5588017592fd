package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// commandsOf are the commands of hessdens in the blocks of a Markdown text that are marked sh, each
// with the lines that it goes on for, by \ or | at the end. Blocks with another mark, such as console, are not to be executed.
func commandsOf(text string) []string {
	var out []string
	inside, going := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, "```"):
			inside, going = !inside && trimmed == "```sh", false
		case !inside:
		case going:
			out[len(out)-1] += "\n" + line
			going = goesOn(line)
		case ours.MatchString(trimmed):
			out = append(out, trimmed)
			going = goesOn(line)
		}
	}
	return out
}

func goesOn(line string) bool {
	return strings.HasSuffix(line, `\`) || strings.HasSuffix(line, "|")
}

var ours = regexp.MustCompile(`^(go run \./cmd/hessdens|(\./)?(bin/)?hessdens)( |$)`)

func TestCommandsOf(t *testing.T) {
	got := commandsOf("hessdens no\n```console\nhessdens neither\n```\n```sh\nmake test\nhessdens a \\\n  b | cat\n# hessdens c\n  go run ./cmd/hessdens d |\n  e   # f\nhessdensity\n```\n\n```sh\nbin/hessdens\n```\nhessdens f\n")
	want := []string{"hessdens a \\\n  b | cat", "go run ./cmd/hessdens d |\n  e   # f", "bin/hessdens"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestReadme executes every command of hessdens that README.md shows in a block marked sh, in
// their order and in one directory, in which the files of the repository are.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no README.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "make test") {
		t.Error("README.md does not say make test")
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil || !regexp.MustCompile(`(?m)^test:`).Match(makefile) {
		t.Errorf("Makefile has no target test (%v)", err)
	}
	commands := commandsOf(string(text))
	if len(commands) == 0 {
		t.Fatal("README.md has no command to execute")
	}
	dir := t.TempDir()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" && e.Name() != "bin" {
			if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range commands {
		start := time.Now()
		shell := exec.Command("bash", "-eo", "pipefail", "-c", ours.ReplaceAllString(c, "hessdens$4")+"\n")
		shell.Dir = dir
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
		t.Logf("%v: %s", time.Since(start).Round(time.Millisecond), c)
	}
}
