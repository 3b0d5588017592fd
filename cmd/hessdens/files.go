package main

import (
	"errors"
	"io/fs"
	"os"
)

// errIrregular is the answer to pipes and devices.
var errIrregular = errors.New("is not a regular file (copy it to one first)")

// regular is a directory of which regular files and directories are opened: to open a pipe waits for another
// program to write to it, which no signal ends.
type regular struct{ fs.FS }

// dirFS is the files in a directory.
func dirFS(dir string) fs.FS { return regular{os.DirFS(dir)} }

func (r regular) Open(name string) (fs.File, error) {
	info, err := fs.Stat(r.FS, name)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errIrregular}
	}
	if err != nil {
		return nil, err
	}
	return r.FS.Open(name)
}

func (r regular) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(r.FS, name) }
func (r regular) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.FS, name) }

// openFile opens a regular file, with its size.
func openFile(name string) (*os.File, int64, error) {
	f, size, err := openRegular(name)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if err != nil {
		return nil, 0, inputf("%s: %w", name, err)
	}
	return f, size, nil
}

func openRegular(name string) (*os.File, int64, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, 0, err
	case info.IsDir():
		return nil, 0, errors.New("is a directory, not a file")
	case !info.Mode().IsRegular():
		return nil, 0, errIrregular
	}
	f, err := os.Open(name)
	return f, info.Size(), err
}
