package checkpoint

import (
	"io"

	"hessdens/internal/safetensors"
	"hessdens/internal/tensor"
)

// openSafetensors reads the directory of a .safetensors file.
func openSafetensors(r io.ReaderAt, size int64) (*File, error) {
	s, err := safetensors.Open(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{Format: Safetensors, Metadata: s.Metadata, load: make(map[string]func() (*tensor.Tensor, error), len(s.Entries))}
	for _, e := range s.Entries {
		f.Entries = append(f.Entries, Entry{Name: e.Name, DType: e.DType, Shape: e.Shape})
		f.load[e.Name] = func() (*tensor.Tensor, error) {
			a, err := e.Array()
			if err != nil {
				return nil, err
			}
			return a.Tensor()
		}
	}
	return f, nil
}
