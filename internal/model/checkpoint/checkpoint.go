// Package checkpoint reads the named tensors of a trained network from a safetensors, a PyTorch, an .npz or
// a llama2.c file, or from a directory of such files.
//
// A file is hostile until parsed: every length is held against the size of the file before
// memory is asked for, and nothing in a file is executed: the pickle of a PyTorch file is read by a
// machine that knows a fixed list of names, and makes inert objects of all others. Errors say what is wrong, at which offset
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

	PyTorch       = "pytorch"        // a zip, since PyTorch 1.6; TorchScript's too
	PyTorchLegacy = "pytorch-legacy" // a sequence of pickles, since PyTorch 0.1.10
	PyTorchTar    = "pytorch-tar"    // before that
	Pickle        = "pickle"         // a plain pickle of NumPy arrays

	Llama2C = "llama2.c" // the .bin files of llama2.c, versions 0 and 1
)

// ErrFormat says that a file is none of the formats of checkpoints.
var ErrFormat = errors.New("the format is not recognised")

// others are what files hold that are given for weights and are none, by their first bytes.
var others = map[string]string{
	"\x89HDF\r\n\x1a\n":       "HDF5, as Keras writes it, is not read (export the network as ONNX and give that as --model)",
	"GGUF":                    "GGUF is not read (give the weights that it was made from)",
	"version https://git-lfs": "a Git LFS pointer, not the file it stands for (fetch it with git lfs pull)",
	"<!DOCTYPE":               page,
	"<!doctype":               page,
	"<html":                   page,
}

const page = "an HTML page, not the file that it was to be (download it again)"

// File is an open checkpoint: its directory, and tensors on demand.
type File struct {
	Format   string
	Entries  []Entry           // in the order of the file; safetensors: by offset of the values
	Metadata map[string]string // what safetensors keeps under __metadata__; nil when there is none
	Model    string            // the --model string of the network, where the file tells it: llama2.c's does; "" for others

	// PyTorch's formats alone have these.
	Key        string      // where the tensors were in a training checkpoint; "" at the top
	Optimizers []Optimizer // the states of optimisers beside them
	Unknown    []string    // classes and functions that the file calls and that are not known: none was called

	load map[string]func() (*tensor.Tensor, error)
}

// Entry is a tensor of the directory. A type that is not read keeps the name that the file
// gives it (Size 0), and Tensor fails for that entry alone.
type Entry struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// errKey is the answer to a key where there are none.
var errKey = errors.New("only PyTorch files have keys (leave out # and what follows it)")

// Open recognises the format of a checkpoint of size bytes by its content and reads its
// directory, not its values. r stays in use until the last call of Tensor. It fails on an unknown
// format, on a directory that is malformed or does not fit the file, and, for a PyTorch file, on
// what holds several networks or none.
func Open(r io.ReaderAt, size int64) (*File, error) { return OpenAt(r, size, "") }

// OpenAt is Open for the tensors at a key of a PyTorch training checkpoint: keys joined by dots,
// indices for lists, for instance "model", "nets.0" or, for the state of an optimiser, "optimizer";
// "." is the top level alone. An empty key takes the top level where it has tensors and nothing
// else does, or else the one of the usual keys that is there (state_dict, model_state_dict,
// model, net, network, module, params); averaged weights are never taken for others. It fails
// when there is no such key, or, without one, when several are possible, and lists them.
func OpenAt(r io.ReaderAt, size int64, key string) (*File, error) {
	head := make([]byte, min(size, 512))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("reading the first %d bytes: %w", len(head), err)
	}
	sizes, version, start, llama := readLlama(head, size)
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case size == 0:
		return nil, errors.New("the file is empty (save the weights as .safetensors, .pt or .npz)")
	case len(head) > 8 && head[8] == '{': // before all magics: these bytes are a length
		if key != "" {
			return nil, errKey
		}
		return openSafetensors(r, size)
	case llama: // before a pickle's two bytes, which are a common size too
		if key != "" {
			return nil, errKey
		}
		return openLlama(r, size, sizes, version, start)
	case has("PK\x03\x04"), has("PK\x05\x06"):
		return openZip(r, size, key)
	case len(head) > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5:
		return openPickle(r, size, key)
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return openTar(r, size, key)
	case has(npy.Magic):
		return nil, errors.New("a single .npy array has no parameter names (save the weights as .npz, a key a parameter, with numpy.savez)")
	}
	for magic, what := range others {
		if has(magic) {
			return nil, errors.New(what)
		}
	}
	return nil, fmt.Errorf("%w: neither safetensors, PyTorch nor .npz, or truncated (save the weights as .safetensors, .pt or .npz)", ErrFormat)
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
