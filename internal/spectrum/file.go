package spectrum

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Format is a form of the result file.
type Format int

// The forms, by their suffixes.
const (
	JSON            Format = iota // .json
	GzipJSON                      // .json.gz
	CSV                           // .csv: the density
	NodesCSV                      // the quadratures; this and the next are asked for by name, not by suffix
	DistributionCSV               // the distribution function
)

// FormatOf returns the form that a file's name asks for.
func FormatOf(path string) (Format, error) {
	switch name := strings.ToLower(filepath.Base(path)); {
	case strings.HasSuffix(name, ".json"):
		return JSON, nil
	case strings.HasSuffix(name, ".json.gz"):
		return GzipJSON, nil
	case strings.HasSuffix(name, ".csv"):
		return CSV, nil
	}
	return 0, fmt.Errorf("%s: the suffix says no format (use .json, .json.gz or .csv)", path)
}

// Write writes r in a form. Nothing is written when r is not valid.
func (f Format) Write(w io.Writer, r *Result) error {
	switch f {
	case JSON:
		return Encode(w, r)
	case GzipJSON:
		return EncodeGzip(w, r)
	case CSV:
		return EncodeCSV(w, r)
	case NodesCSV:
		return EncodeNodesCSV(w, r)
	case DistributionCSV:
		return EncodeDistributionCSV(w, r)
	}
	panic("spectrum: no such format")
}

// WriteFile writes what write writes to path, whole or not at all: to a new file in the same directory,
// synced, then renamed to path. When anything fails, write included, path is as it was before and the new file
// is gone. An existing file gives its permissions to the new one, a symbolic link stays and its target is
// replaced, and a file that may not be written is refused.
//
// What is no regular file (a pipe, a terminal, /dev/stdout) cannot be replaced: it is written to directly, but
// only after write has succeeded.
func WriteFile(path string, write func(io.Writer) error) error {
	switch filepath.Clean(path) { // opened anew, a redirected standard output would be overwritten from its beginning
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return buffered(os.Stdout, write)
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return buffered(os.Stderr, write)
	}
	target, err := resolve(path)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0)
	switch info, err := os.Stat(target); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "write", Path: path, Err: errors.New("is a directory")}
	case !info.Mode().IsRegular():
		return writeThrough(target, write)
	default:
		f, err := os.OpenFile(target, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		mode = info.Mode().Perm()
	}

	dir := filepath.Dir(target)
	temporary := filepath.Join(dir, ".hessdens-"+rand.Text()+".tmp")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed { // also when write panics
			_ = f.Close()
			_ = os.Remove(temporary)
		}
	}()
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary, target); err != nil {
		return err
	}
	renamed = true
	return syncDir(dir)
}

// resolve follows symbolic links, the last of which may lead to a file that is not there yet.
func resolve(path string) (string, error) {
	at := path
	for range 40 {
		to, err := os.Readlink(at)
		if err != nil {
			return at, nil // no link; whatever else is wrong with it shows when it is opened
		}
		if info, err := os.Stat(at); err == nil && !info.Mode().IsRegular() {
			return at, nil // names like pipe:[123] are for the kernel alone
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(at), to)
		}
		at = to
	}
	return "", &fs.PathError{Op: "write", Path: path, Err: errors.New("too many symbolic links")}
}

func writeThrough(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return buffered(f, write)
}

// buffered hands w everything at once, when write has succeeded.
func buffered(w io.Writer, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// syncDir makes a rename last. Some file systems and Windows cannot, which is not an error.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	_ = d.Sync()
	return d.Close()
}
