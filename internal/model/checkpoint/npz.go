package checkpoint

import (
	"errors"
	"io"

	"hessdens/internal/npy"
	"hessdens/internal/tensor"
)

// openNPZ reads an .npz of weights: a key a parameter.
func openNPZ(r io.ReaderAt, size int64) (*File, error) {
	z, err := npy.OpenArchive(r, size)
	if err != nil {
		return nil, err
	}
	if len(z.Members) == 0 {
		return nil, errors.New("a zip with neither .npy arrays nor PyTorch's data.pkl (save the weights as .npz with numpy.savez, or as .safetensors)")
	}
	f := &File{Format: NPZ, load: map[string]func() (*tensor.Tensor, error){}}
	for i := range z.Members {
		m := &z.Members[i]
		dtype := m.DType
		if dtype == "" {
			dtype = tensor.DType(m.Descr)
		}
		f.Entries = append(f.Entries, Entry{Name: m.Name, DType: dtype, Shape: m.Shape})
		f.load[m.Name] = func() (*tensor.Tensor, error) {
			a, err := m.Array()
			if err != nil {
				return nil, err
			}
			return a.Tensor()
		}
	}
	return f, nil
}
