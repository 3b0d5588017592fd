package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"hessdens/internal/tensor"
)

// maxIndex bounds the index of a directory's shards, in bytes.
const maxIndex = 100_000_000

// The files that Hugging Face's transformers keeps weights in, in the order in which it looks for them; after a suffix
// .index.json, that names the files of the tensors.
var weightFiles = []string{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}

const indexSuffix = ".index.json"

// ErrNoWeights is the answer to a directory with none of them and not one .safetensors file.
var ErrNoWeights = errors.New("no weights: neither model.safetensors, pytorch_model.bin, an index of either, nor one other .safetensors file (give the file as --weights)")

// OpenDirectory opens the tensors of a directory as Hugging Face's libraries write it: those of model.safetensors, of the
// files that model.safetensors.index.json names, of pytorch_model.bin, or of those that its index names, the first of
// these that is there; else those of the only .safetensors file. name is the file that was found. What is returned to close
// holds all files. It fails when an index names a file outside of the directory, one that is not
// there, or a tensor that is not in its file; with ErrNoWeights when there is none of these. Errors name the file in the directory.
func OpenDirectory(fsys fs.FS) (f *File, name string, c io.Closer, err error) {
	if name, err = weightFile(fsys); err != nil {
		return nil, "", nil, err
	}
	open := &openFiles{fsys: fsys}
	if strings.HasSuffix(name, indexSuffix) {
		f, err = open.sharded(name)
	} else {
		f, err = open.checkpoint(name)
	}
	if err != nil {
		_ = open.Close() // nothing was written
		return nil, "", nil, err
	}
	return f, name, open, nil
}

// weightFile is the name of the file with the weights, or with their index.
func weightFile(fsys fs.FS) (string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", err
	}
	var names, other []string
	for _, e := range entries {
		names = append(names, e.Name())
		if strings.HasSuffix(e.Name(), ".safetensors") {
			other = append(other, e.Name())
		}
	}
	for _, name := range weightFiles {
		if slices.Contains(names, name) {
			return name, nil
		}
	}
	if len(other) == 1 {
		return other[0], nil
	}
	return "", ErrNoWeights
}

// openFiles are the files of a directory that are in use.
type openFiles struct {
	fsys  fs.FS
	files []fs.File
}

func (o *openFiles) Close() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// open opens a regular file for reading at random. Others are not opened: a pipe would wait for its writer.
func (o *openFiles) open(name string) (io.ReaderAt, int64, error) {
	info, err := fs.Stat(o.fsys, name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	var f fs.File
	if err == nil {
		f, err = o.fsys.Open(name)
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	o.files = append(o.files, f)
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, 0, fmt.Errorf("%s: cannot be read at random", name)
	}
	return r, info.Size(), nil
}

func (o *openFiles) checkpoint(name string) (*File, error) {
	r, size, err := o.open(name)
	if err != nil {
		return nil, err
	}
	f, err := Open(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// sharded opens all files that an index names, as one.
func (o *openFiles) sharded(name string) (*File, error) {
	r, size, err := o.open(name)
	if err != nil {
		return nil, err
	}
	if size > maxIndex {
		return nil, fmt.Errorf("%s: %d bytes, more than an index of weights has (%d)", name, size, maxIndex)
	}
	text := make([]byte, size)
	if n, err := r.ReadAt(text, 0); n < len(text) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	shards, err := readIndex(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := &File{load: map[string]func() (*tensor.Tensor, error){}}
	for _, s := range shards {
		f, err := o.checkpoint(s.name)
		if err != nil {
			return nil, err
		}
		out.Format = f.Format
		for _, e := range f.Entries {
			if s.tensors[e.Name] {
				delete(s.tensors, e.Name)
				out.Entries, out.load[e.Name] = append(out.Entries, e), f.load[e.Name]
			}
		}
		for missing := range s.tensors {
			return nil, fmt.Errorf("%s: has no tensor %.200q, which %s says that it holds (the directory is incomplete; copy or save it again)", s.name, missing, name)
		}
	}
	return out, nil
}

// shard is a file of an index and the tensors that are to be taken from it.
type shard struct {
	name    string
	tensors map[string]bool
}

// readIndex parses {"metadata": {…}, "weight_map": {TENSOR: FILE, …}} to the files, by name. A file is a plain name.
func readIndex(text []byte) ([]shard, error) {
	var index struct {
		Files map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("is no index of weights: %w (copy or save it again)", err)
	}
	if len(index.Files) == 0 {
		return nil, errors.New("has no weight_map (copy or save it again)")
	}
	byName := map[string]map[string]bool{}
	for tensor, file := range index.Files {
		if !fs.ValidPath(file) || file == "." || strings.ContainsAny(file, `/\:`) {
			return nil, fmt.Errorf("puts tensor %.200q into %.200q, which is no name of a file in the directory", tensor, file)
		}
		if byName[file] == nil {
			byName[file] = map[string]bool{}
		}
		byName[file][tensor] = true
	}
	var out []shard
	for name, tensors := range byName {
		out = append(out, shard{name, tensors})
	}
	slices.SortFunc(out, func(a, b shard) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
