// Package checkpoint reads the named tensors of a trained network from a safetensors or an .npz
// file.
//
// A file is hostile until parsed: every length is held against the size of the file before
// memory is asked for, and nothing in a file is executed. Errors say what is wrong, at which offset
// or tensor, and what to do; they do not name the file, which only the caller knows.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// Formats, as File.Format has them.
const (
	Safetensors = "safetensors"
	NPZ         = "npz"
)

// File is an open checkpoint: its directory, and tensors on demand.
type File struct {
	Format   string
	Entries  []Entry           // in the order of the file; safetensors: by offset of the values
	Metadata map[string]string // what safetensors keeps under __metadata__; nil when there is none

	load map[string]func() (*tensor.Tensor, error)
}

// Entry is a tensor of the directory. A type that is not read keeps the name that the file
// gives it (Size 0), and Tensor fails for that entry alone.
type Entry struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// errPyTorch is the answer to torch.save in any of its formats.
var errPyTorch = errors.New("a PyTorch file (pickle): this version does not read it (save the state_dict as .safetensors with safetensors.torch.save_file, or as .npz with numpy.savez)")

// Open recognises the format of a checkpoint of size bytes by its content and reads its
// directory, not its values. r stays in use until the last call of Tensor. It fails on an unknown
// format, on PyTorch's, and on a directory that is malformed or does not fit the file.
func Open(r io.ReaderAt, size int64) (*File, error) {
	head := make([]byte, min(size, 512))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("reading the first %d bytes: %w", len(head), err)
	}
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case size == 0:
		return nil, errors.New("the file is empty (save the weights as .safetensors or .npz)")
	case len(head) > 8 && head[8] == '{': // before all magics: these bytes are a length
		return openSafetensors(r, size)
	case has("PK\x03\x04"), has("PK\x05\x06"):
		return openNPZ(r, size)
	case len(head) > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5, // a pickle
		len(head) > 262 && string(head[257:262]) == "ustar": // PyTorch before 0.1.10
		return nil, errPyTorch
	case has(npy.Magic):
		return nil, errors.New("a single .npy array has no parameter names (save the weights as .npz, a key a parameter, with numpy.savez)")
	case has("version https://git-lfs"):
		return nil, errors.New("a Git LFS pointer, not the file it stands for (fetch it with git lfs pull)")
	}
	return nil, errors.New("the format is not recognised: neither safetensors nor .npz, or truncated (save the weights as .safetensors or .npz)")
}

// Tensor loads the values of one entry: float16, bfloat16 and 8-bit floats as float32, exactly;
// integers as int64, uint8 and bool as uint8. It fails when there is no such entry, its type is
// not read, or the file is damaged (an .npz member is held against its checksum).
func (f *File) Tensor(name string) (*tensor.Tensor, error) {
	load := f.load[name]
	if load == nil {
		return nil, fmt.Errorf("no tensor %q (the file holds %s)", name, f.names())
	}
	t, err := load()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	return t, nil
}

// names lists the first few entries for a message.
func (f *File) names() string {
	const most = 8
	var s []string
	for i, e := range f.Entries {
		if i == most {
			s = append(s, fmt.Sprintf("and %d more", len(f.Entries)-most))
			break
		}
		s = append(s, fmt.Sprintf("%q", e.Name))
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, ", ")
}
