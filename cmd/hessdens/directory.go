package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"hessdens/internal/dataset"
	"hessdens/internal/model"
	"hessdens/internal/model/checkpoint"
	"hessdens/internal/model/zoo"
)

// maxConfig bounds a config.json, in bytes: the names of 20,000 labels take one million.
const maxConfig = 1 << 24

// isDirectory says whether a name is that of a directory.
func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// directory makes the network that the config.json of a directory describes, with the weights beside it, or with
// those of --weights.
func (o *subjectOptions) directory() (*model.Network, error) {
	name := filepath.Join(o.model, "config.json")
	config, err := readConfig(o.model)
	if err != nil {
		return nil, err
	}
	ck, weights, f, err := o.beside()
	if errors.Is(err, checkpoint.ErrNoWeights) {
		ck = &checkpoint.File{} // inspect does without
	} else if err != nil {
		return nil, err
	} else {
		defer f.Close()
	}
	net, err := zoo.FromConfig(config, entries(ck))
	if err != nil {
		return nil, inputf("%s: %w", name, err)
	}
	if len(ck.Entries) == 0 {
		return net, nil
	}
	return net, setWeights(net, weights, ck)
}

// beside opens the weights that belong to a directory: those of --weights, or its own.
func (o *subjectOptions) beside() (ck *checkpoint.File, name string, f io.Closer, err error) {
	if o.weights != "" {
		ck, f, err = openCheckpoint(o.weights)
		return ck, o.weights, f, err
	}
	return openDirectory(o.model)
}

// openDirectory opens the weights of a directory; name is their file, or its index.
func openDirectory(dir string) (ck *checkpoint.File, name string, f io.Closer, err error) {
	ck, name, f, err = checkpoint.OpenDirectory(dirFS(dir))
	if errors.Is(err, checkpoint.ErrNoWeights) {
		return nil, "", nil, inputf("%s: %w", dir, err)
	}
	if err != nil {
		return nil, "", nil, inputf("%s%c%w", filepath.Clean(dir), filepath.Separator, err)
	}
	return ck, filepath.Join(dir, name), f, nil
}

// readConfig reads the config.json of a directory.
func readConfig(dir string) ([]byte, error) {
	name := filepath.Join(dir, "config.json")
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		return nil, inputf("%s: has no config.json (give a directory as transformers writes it, or the file with the weights as --weights)", dir)
	}
	f, size, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxConfig {
		return nil, inputf("%s: %d bytes, more than the settings of a network have (is it the right file?)", name, size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, inputf("%s: %w", name, cause(err))
	}
	return text, nil
}

// entries are the names and shapes of a checkpoint.
func entries(ck *checkpoint.File) []zoo.Entry {
	var out []zoo.Entry
	for _, e := range ck.Entries {
		out = append(out, zoo.Entry{Name: e.Name, Shape: e.Shape})
	}
	return out
}

// recognise makes the network that a checkpoint is of, by what the file says, or by names and shapes.
func recognise(ck *checkpoint.File) (*model.Network, error) {
	if ck.Model != "" {
		return zoo.Parse(ck.Model)
	}
	return zoo.Recognise(entries(ck))
}

// modelFile is the network of a file that says itself what it is of, with its weights; nil for others.
func modelFile(name string) (*model.Network, error) {
	ck, f, err := openCheckpoint(name)
	if err != nil {
		return nil, nil // it is no such file: the caller says what a file given so is taken for
	}
	defer f.Close()
	if ck.Model == "" {
		return nil, nil
	}
	net, err := recognise(ck)
	if err != nil {
		return nil, inputf("%s: %w", name, err)
	}
	return net, setWeights(net, name, ck)
}

// directory shows what a directory with a network holds.
func (o *inspectOptions) directory(a *app, dir string) error {
	ck, _, f, err := openDirectory(dir)
	if errors.Is(err, checkpoint.ErrNoWeights) {
		o.subject.data = dir
		if as := o.data(a); !errors.Is(as, dataset.ErrFormat) {
			return as
		}
		return usagef("%s: is a directory without weights (for a network: --model %s; for a data set: --data %s)", dir, dir, dir)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	config, err := readConfig(dir)
	if err != nil {
		return o.tensors(a, ck, recognised(ck))
	}
	net, err := zoo.FromConfig(config, entries(ck))
	if err != nil {
		return inputf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	return o.tensors(a, ck, net.Name)
}

// recognised is the name of the network that a checkpoint is of.
func recognised(ck *checkpoint.File) string {
	net, err := recognise(ck)
	if err != nil {
		return "not recognised"
	}
	return net.Name
}
