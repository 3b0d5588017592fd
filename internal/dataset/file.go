package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// path is what messages call a source.
func (s Source) path() string {
	if s.Path != "" {
		return s.Path
	}
	return s.Name
}

// errorf is an error about a source.
func (s Source) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", s.path(), fmt.Errorf(format, args...))
}

// in is a file of a directory.
func (s Source) in(name string) Source {
	return Source{FS: s.FS, Name: path.Join(s.Name, name), Path: path.Join(s.path(), name)}
}

// beside is a file in the same directory.
func (s Source) beside(name string) Source {
	return Source{FS: s.FS, Name: path.Join(path.Dir(s.Name), name), Path: path.Join(path.Dir(s.path()), name)}
}

// cause is an error without the path that fs puts before it: messages have it already, as the
// user spells it.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// file is an open file of known size.
type file struct {
	io.ReaderAt
	size int64
}

// file opens a source. Where the file system gives no io.ReaderAt, the file is read into memory.
func (o *opener) file(s Source) (file, error) {
	f, err := s.FS.Open(s.Name)
	if err != nil {
		return file{}, s.errorf("%w", cause(err))
	}
	info, err := f.Stat()
	if err != nil {
		return file{}, s.errorf("%w", errors.Join(cause(err), f.Close()))
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return file{}, s.errorf("not a regular file (give a file that can be read at any place)")
	}
	o.files = append(o.files, s.path())
	if r, ok := f.(io.ReaderAt); ok {
		o.closers = append(o.closers, f)
		return file{r, info.Size()}, nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, info.Size()+1))
	if err != nil {
		return file{}, s.errorf("%w", cause(err))
	}
	if int64(len(b)) != info.Size() {
		return file{}, s.errorf("read %d bytes of a file of %d (it changed while it was read)", len(b), info.Size())
	}
	return file{bytes.NewReader(b), info.Size()}, nil
}
