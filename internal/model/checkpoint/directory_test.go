package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// folder is a directory of files.
func folder(files map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, b := range files {
		fsys[name] = &fstest.MapFile{Data: b}
	}
	return fsys
}

func vector(name string, values ...float32) item {
	return item{name, "F32", []int{len(values)}, values}
}

func TestOpenDirectory(t *testing.T) {
	one, two := write(vector("a", 1), vector("b", 2)), write(vector("c", 3), vector("spare", 4))
	index := []byte(`{"metadata": {"total_size": 12}, "weight_map": {"a": "one.safetensors", "c": "two.safetensors", "b": "one.safetensors"}}`)
	torch := must(os.ReadFile("testdata/pytorch/strided.pt"))
	for _, tt := range []struct {
		files map[string][]byte
		name  string
		want  []string
	}{
		{map[string][]byte{"model.safetensors": one, "model.safetensors.index.json": index, "pytorch_model.bin": torch}, "model.safetensors", []string{"a", "b"}},
		{map[string][]byte{"model.safetensors.index.json": index, "one.safetensors": one, "two.safetensors": two}, "model.safetensors.index.json", []string{"a", "b", "c"}},
		{map[string][]byte{"config.json": nil, "net.safetensors": two}, "net.safetensors", []string{"c", "spare"}},
		{map[string][]byte{"pytorch_model.bin": torch, "net.safetensors": two}, "pytorch_model.bin", nil},
	} {
		f, name, c, err := OpenDirectory(folder(tt.files))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for i, e := range f.Entries {
			got = append(got, e.Name)
			x, err := f.Tensor(e.Name)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if tt.want != nil && (len(x.F32) != 1 || tt.want[0] == "a" && x.F32[0] != float32(i+1)) {
				t.Errorf("%s: %s is %v", tt.name, e.Name, x)
			}
		}
		if name != tt.name || tt.want != nil && !slices.Equal(got, tt.want) || len(got) == 0 {
			t.Errorf("took %s with %v, want %s with %v", name, got, tt.name, tt.want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, files := range []map[string][]byte{{}, {"config.json": nil}, {"one.safetensors": one, "two.safetensors": two}} {
		if _, _, _, err := OpenDirectory(folder(files)); !errors.Is(err, ErrNoWeights) {
			t.Errorf("%d files: %v", len(files), err)
		}
	}
}

// What an index may not say. Every message names a file of the directory.
func TestHostileIndex(t *testing.T) {
	good := write(vector("a", 1))
	entry := func(file string) string { return fmt.Sprintf(`{"weight_map": {"a": %q}}`, file) }
	for _, tt := range []struct{ index, want string }{
		{``, "model.safetensors.index.json: is no index of weights"},
		{`[]`, "is no index of weights"},
		{`{"weight_map": {"a": "one.safetensors"}} {}`, "is no index of weights"},
		{`{"weight_map": {"a": 3}}`, "is no index of weights"},
		{`{"weight_map": ["one.safetensors"]}`, "is no index of weights"},
		{strings.Repeat(`{"weight_map":`, 20000), "is no index of weights"},
		{`{}`, "has no weight_map"},
		{`{"weight_map": null}`, "has no weight_map"},
		{`{"weight_map": {}}`, "has no weight_map"},
		{entry(""), "no name of a file in the directory"},
		{entry("."), "no name of a file in the directory"},
		{entry(".."), "no name of a file in the directory"},
		{entry("../one.safetensors"), "no name of a file in the directory"},
		{entry("/etc/passwd"), "no name of a file in the directory"},
		{entry("sub/one.safetensors"), "no name of a file in the directory"},
		{entry("sub/../one.safetensors"), "no name of a file in the directory"},
		{entry(`..\one.safetensors`), "no name of a file in the directory"},
		{entry("C:one.safetensors"), "no name of a file in the directory"},
		{entry("none.safetensors"), "none.safetensors: file does not exist"},
		{entry("sub"), "sub: is not a regular file"},
		{entry("model.safetensors.index.json"), "model.safetensors.index.json: "},
		{entry("damaged.safetensors"), "damaged.safetensors: "},
		{`{"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}`, `one.safetensors: has no tensor "b", which model.safetensors.index.json says that it holds`},
	} {
		files := folder(map[string][]byte{"model.safetensors.index.json": []byte(tt.index), "one.safetensors": good, "sub/one.safetensors": good, "damaged.safetensors": good[:20]})
		_, _, _, err := OpenDirectory(files)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60s: got %v, want %q", tt.index, err, tt.want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 4}, "weight_map": {"a": "one.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../one.safetensors", "b": ""}}`))
	one := write(vector("a", 1))
	f.Fuzz(func(t *testing.T, index []byte) {
		file, _, c, err := OpenDirectory(folder(map[string][]byte{"model.safetensors.index.json": index, "one.safetensors": one}))
		if err != nil {
			return
		}
		defer c.Close()
		for _, e := range file.Entries {
			if _, err := file.Tensor(e.Name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
