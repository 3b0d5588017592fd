package spectrum

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func contents(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// onlyFile says that dir holds one file, name, with what want says.
func onlyFile(t *testing.T, dir, name, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s is left behind", e.Name())
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v, want %q", name, got, err, want)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	if err := WriteFile(path, contents("one")); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, dir, "x.json", "one")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, contents("two")); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, dir, "x.json", "two")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o640 {
		t.Errorf("permissions %v, %v", info.Mode(), err)
	}

	// A new file has the permissions that any new file has.
	plain, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	fresh := filepath.Join(t.TempDir(), strings.Repeat("n", 250)+".csv")
	if err := WriteFile(fresh, contents("")); err != nil {
		t.Fatal(err)
	}
	a, _ := plain.Stat()
	if b, err := os.Stat(fresh); err != nil || a.Mode() != b.Mode() {
		t.Errorf("permissions %v, want %v", b.Mode(), a.Mode())
	}
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	half := func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return boom
	}
	if err := WriteFile(path, half); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	onlyFile(t, dir, "x.json", "before")
	func() {
		defer func() { _ = recover() }()
		_ = WriteFile(path, func(io.Writer) error { panic("boom") })
	}()
	onlyFile(t, dir, "x.json", "before")

	empty := t.TempDir()
	if err := WriteFile(filepath.Join(empty, "new.json"), half); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(empty); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}

	if err := WriteFile(filepath.Join(dir, "no", "x.json"), contents("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if err := WriteFile(dir, contents("")); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
	// A result that is not valid leaves the file as it was.
	r := estimate(t, spectrumOf(50), Settings{})
	r.Probes[0].Weights[0] = -1
	if err := WriteFile(path, func(w io.Writer) error { return Encode(w, r) }); err == nil {
		t.Error("an invalid result is written")
	}
	onlyFile(t, dir, "x.json", "before")

	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		return
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, contents("after")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read-only file: %v", err)
	}
	onlyFile(t, dir, "x.json", "before")
}

func TestWriteFileThroughLink(t *testing.T) {
	dir, links := t.TempDir(), t.TempDir()
	target := filepath.Join(dir, "real.json")
	link := filepath.Join(links, "link.json")
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	for _, want := range []string{"new", "replaced"} { // a link to nothing yet, then to a file
		if err := WriteFile(link, contents(want)); err != nil {
			t.Fatal(err)
		}
		onlyFile(t, dir, "real.json", want)
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link is gone: %v", err)
		}
	}
	relative := filepath.Join(dir, "relative.json")
	if err := os.Symlink("real.json", relative); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(relative, contents("relative")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "relative" {
		t.Errorf("%q, %v", got, err)
	}
	loop := filepath.Join(links, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(loop, contents("")); err == nil {
		t.Error("a loop is written to")
	}
}

func TestWriteFileToDevices(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("devices of Linux")
	}
	if err := WriteFile("/dev/null", contents("x")); err != nil {
		t.Error(err)
	}
	if err := WriteFile("/dev/full", contents("x")); err == nil {
		t.Error("/dev/full takes it")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	err = errors.Join(WriteFile("/dev/stdout", contents("through")), w.Close())
	os.Stdout = stdout
	if got, _ := io.ReadAll(r); err != nil || string(got) != "through" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFormatOf(t *testing.T) {
	for path, want := range map[string]Format{"a.json": JSON, "b/A.JSON": JSON, "a.json.gz": GzipJSON, "x.y.csv": CSV} {
		if got, err := FormatOf(path); err != nil || got != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	for _, path := range []string{"a", "a.gz", "a.csv.gz", "json", "a.txt"} {
		if _, err := FormatOf(path); err == nil {
			t.Errorf("%s is taken", path)
		}
	}
	r := estimate(t, spectrumOf(50), Settings{})
	for _, f := range []Format{JSON, GzipJSON, CSV, NodesCSV, DistributionCSV} {
		var b bytes.Buffer
		if err := f.Write(&b, r); err != nil || b.Len() == 0 {
			t.Errorf("format %d: %v", f, err)
		}
	}
}
