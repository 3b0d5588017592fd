package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Extensions of pictures, in lower case: those that are read, and others that torchvision reads.
var (
	pictureNames = []string{".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}
	unreadNames  = []string{".tif", ".tiff", ".ppm", ".pgm"}
)

// Bounds of a folder: links can make a small one look endless.
const (
	maxDepth   = 64
	maxFolders = 1 << 20
	maxPicture = 1 << 29 // bytes of a picture
)

// hidden are names that a person does not see: .DS_Store, ._cat.png, .ipynb_checkpoints.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// folders are the names of the folders in a directory, sorted, also those that are links.
func (s Source) folders(entries []fs.DirEntry) []string {
	var names []string
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := fs.Stat(s.FS, path.Join(s.Name, e.Name()))
			isDir = err == nil && info.IsDir()
		}
		if isDir {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// hasPictures says whether a directory holds pictures, at any depth.
func (s Source) hasPictures(entries []fs.DirEntry) bool {
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return slices.Contains(pictureNames, strings.ToLower(path.Ext(e.Name()))) }) {
		return true
	}
	for _, name := range s.folders(entries) {
		w := &walker{enough: true, most: 1000}
		if err := w.walk(s.in(name), nil); err == nil && w.files > 0 {
			return true
		}
	}
	return false
}

// imageFolder opens a folder of pictures as torchvision's ImageFolder does: a folder for each class, the
// classes numbered in the order of their names, the pictures of a class in the order of their paths.
// Where there are train and one or more for what is held out, and no other folder, these are splits.
func (o *opener) imageFolder(s Source, entries []fs.DirEntry) (pair, error) {
	p := pair{format: ImageFolder}
	classes := s.folders(entries)
	if slices.Contains(classes, "train") && len(classes) > 1 && !slices.ContainsFunc(classes, func(n string) bool { return n != "train" && !slices.Contains(heldOut, n) }) {
		p.split = cmp.Or(o.opts.Split, "train")
		words := splitWords(p.split)
		name := words[slices.IndexFunc(words, func(w string) bool { return slices.Contains(classes, w) })]
		var all [2][]string
		for i, split := range []string{"train", name} {
			in := s.in(split)
			entries, err := fs.ReadDir(in.FS, in.Name)
			if err != nil {
				return p, in.errorf("%w", cause(err))
			}
			all[i] = in.folders(entries)
		}
		if !slices.Equal(all[0], all[1]) {
			p.note(s.path(), "the folders of train and %s are not the same: the classes are numbered by those of %s alone", name, name)
		}
		s, classes = s.in(name), all[1]
	} else if o.opts.Split == "test" {
		return p, badOption("--split", "%s has no folders train and test (leave it out)", s.path())
	}
	if len(classes) == 0 {
		return p, s.errorf("holds no folders, one for each class (put the pictures of a class into a folder with its name)")
	}
	o.files = append(o.files, s.path())
	numbers, names := classNumbers(classes, o.opts.Classes)
	p.names = names
	if !slices.Equal(names, classes) {
		p.notes = append(p.notes, numberedNote(s.path(), "the folders are numbered "+numberedBy(classes, names), classes, numbers))
	}
	var (
		files []string
		y     = &ids{row: 1}
	)
	w := &walker{most: maxFolders}
	for label, class := range classes {
		in := s.in(class)
		w.found = nil
		if err := w.walk(in, nil); err != nil {
			return p, err
		}
		// As sorted(os.walk(…)): by the path of the folder, then by the name.
		slices.SortFunc(w.found, func(a, b listing) int { return strings.Compare(a.dir, b.dir) })
		before := len(files)
		for _, l := range w.found {
			for _, name := range l.names {
				files = append(files, path.Join(l.dir, name))
				y.values = append(y.values, int32(numbers[label]))
			}
		}
		if len(files) == before {
			return p, in.errorf("the folder of the class holds no picture, %s (put some there, or take it away)", strings.Join(pictureNames, " "))
		}
	}
	at := func(i int) Source {
		return Source{FS: s.FS, Name: files[i], Path: path.Join(s.path(), strings.TrimPrefix(files[i], s.Name+"/"))}
	}
	x, notes, err := newPictures(o.opts, len(files),
		func(i int) ([]byte, error) { return at(i).bytes(maxPicture) },
		func(i int) (w, h int, err error) { return at(i).pictureSize() },
		func(i int) string { return at(i).path() })
	p.notes = append(p.notes, notes...)
	p.x = series{name: s.path(), parts: []block{x}, shape: []int{x.form.channels, x.form.h, x.form.w}}
	p.y = series{name: s.path(), parts: []block{y}, shape: []int{}}
	return p, err
}

// listing is a folder with the names of its pictures, sorted.
type listing struct {
	dir   string
	names []string
}

// walker collects the pictures under a folder.
type walker struct {
	enough  bool // one picture is
	most    int  // folders
	found   []listing
	files   int
	folders int
}

// walk goes through a folder whose ancestors are these.
func (w *walker) walk(s Source, above []fs.FileInfo) error {
	info, err := fs.Stat(s.FS, s.Name)
	if err != nil {
		return s.errorf("%w", cause(err))
	}
	for _, a := range above {
		if os.SameFile(a, info) {
			return s.errorf("is a link to a folder that it is in (take it away)")
		}
	}
	w.folders++
	if len(above) >= maxDepth || w.folders > w.most {
		return s.errorf("the folders are more than %d, or %d in each other (do links lead in circles?)", w.most, maxDepth)
	}
	entries, err := fs.ReadDir(s.FS, s.Name)
	if err != nil {
		return s.errorf("%w", cause(err))
	}
	l := listing{dir: s.Name}
	folders := s.folders(entries)
	for _, e := range entries {
		if hidden(e.Name()) || slices.Contains(folders, e.Name()) || !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 { // to a pipe, say, which would wait for ever
			if info, err := fs.Stat(s.FS, path.Join(s.Name, e.Name())); err == nil && !info.Mode().IsRegular() {
				continue
			}
		}
		suffix := strings.ToLower(path.Ext(e.Name()))
		switch {
		case slices.Contains(pictureNames, suffix):
			l.names = append(l.names, e.Name())
		case slices.Contains(unreadNames, suffix) && w.enough:
			w.files++
		case slices.Contains(unreadNames, suffix):
			return s.in(e.Name()).errorf("pictures of the form %s are not read (convert them to PNG, or take them away)", suffix)
		}
	}
	slices.Sort(l.names)
	if len(l.names) > 0 {
		w.files += len(l.names)
		w.found = append(w.found, l)
	}
	for _, name := range folders {
		if w.enough && w.files > 0 {
			return nil
		}
		if err := w.walk(s.in(name), append(above, info)); err != nil {
			return err
		}
	}
	return nil
}

// opened opens a regular file.
func (s Source) opened() (fs.File, int64, error) {
	f, err := s.FS.Open(s.Name)
	if err != nil {
		return nil, 0, cause(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file (take it away)")
	}
	if err != nil {
		f.Close()
		return nil, 0, cause(err)
	}
	return f, info.Size(), nil
}

// bytes are those of a small file, at most so many.
func (s Source) bytes(most int64) ([]byte, error) {
	f, size, err := s.opened()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > most {
		return nil, fmt.Errorf("the file has %d bytes, more than the %d that are read (make it smaller)", size, most)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("reading %d bytes: %w", size, cause(err))
	}
	return b, nil
}

func (s Source) pictureSize() (w, h int, err error) {
	f, size, err := s.opened()
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	return pictureSize(f, size)
}
