package checkpoint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// allowance is the memory in bytes that reading a file of size bytes may take: a value of a pickle takes
// up to a hundred times its opcode, and buffers are a few hundred kilobytes.
func allowance(size int) uint64 { return 100*uint64(size) + 1<<20 }

// allocated is how much f allocates in all, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// readTorch opens a file, and its optimisers, and loads all tensors; it is the first error.
func readTorch(file []byte, key string) error {
	f, err := OpenAt(bytes.NewReader(file), int64(len(file)), key)
	if err != nil {
		return err
	}
	all := []*File{f}
	for _, o := range f.Optimizers {
		s, oerr := o.Open()
		if oerr != nil {
			err = oerr
			continue
		}
		all = append(all, s)
	}
	for _, f := range all {
		for _, e := range f.Entries {
			x, terr := f.Tensor(e.Name)
			if terr != nil {
				err = terr
				continue
			}
			if n := len(x.F64) + len(x.F32) + len(x.I64) + len(x.U8); n != x.Len() || !slices.Equal(x.Shape, e.Shape) {
				return fmt.Errorf("DEFECT: tensor %q: %d values of shape %v, entry %v", e.Name, n, x.Shape, e)
			}
			if n := x.Len(); n > 1100*len(file)+maxExpanded {
				return fmt.Errorf("DEFECT: %d values out of %d bytes", n, len(file))
			}
		}
	}
	return err
}

// Files that are made to do harm are refused with a reason, without running anything and without
// more memory than they justify.
func TestHostile(t *testing.T) {
	// A part of the reason, where another could hide a hole.
	want := map[string]string{
		"system.pt": "os.system", "system-in-dict.pt": "os.system", "system-from-type.pt": "os.system", "getattr.pkl": "os.system", "inst.pkl": "os.system", "storage.pkl": "is not in the file", "storage.tar.pt": "is not in the file",
		"storage-class.pt": "unknown type", "long-string.pkl": "a length of 4294967295", "long-bytes8.pkl": "a length of 9223372036854775813",
		"long-frame.pkl": "FRAME", "long-integer.pkl": "LONG4", "far-memo.pkl": "place 4294967294", "no-memo.pkl": "place 5", "below-mark.pkl": "empty",
		"opcode.pkl": "not an opcode", "shape-beyond.pt": "goes beyond", "shape-huge.pt": "more values than an int", "shape-negative.pt": "negative",
		"stride-beyond.pt": "goes beyond", "stride-overflow.pt": "goes beyond", "stride-negative.pt": "negative", "stride-missing.pt": "not one stride",
		"offset-beyond.pt": "goes beyond", "offset-negative.pt": "storage offset -1", "offset-huge.pt": "goes beyond", "expanded.pt": ".contiguous()", "axes.pt": "2000 axes",
		"bigger-integer.pt": "no integer", "storage-beyond.pt": "larger than zip record", "storage-huge.pt": "a size that is none", "storage-negative.pt": "a size that is none",
		"storage-missing.pt": "missing", "storage-path.pt": "missing", "view-beyond.legacy.pt": "which has 4", "cut.legacy.pt": "beyond the end",
		"size-huge.legacy.pt": "beyond the end", "size-negative.legacy.pt": "beyond the end", "size-other.legacy.pt": "told 4", "key-unknown.legacy.pt": "belongs to no tensor",
		"key-twice.legacy.pt": "twice", "key-missing.legacy.pt": "not in the file", "cyclic-module.pt": "contains itself", "cyclic-script.pt": "contains itself",
		"bomb-module.pt": "no end", "bomb-optimizer.pt": "no end", "bomb-tensors.pt": "#model.0", "cyclic-tuple.pkl": "no tensors", "bomb-inflate.pt": "more than the whole file", "inflate-lie.pt": "can give", "size-lie.pt": "beyond the end",
		"overlap.pt": "overlap", "twice.pt": "twice", "two-pickles.pt": "several", "encrypted.pt": "encrypted", "byteorder.pt": "neither little nor big",
		"checksum.pt": "checksum", "cut.pt": "zip", "storages.tar.pt": "beyond the end", "rank.tar.pt": "axes", "beyond.tar.pt": "goes beyond",
		"views.tar.pt": "which has 4", "id.tar.pt": "persistent id",
	}
	names := must(filepath.Glob("testdata/hostile/*.p[tk]*"))
	names = slices.DeleteFunc(names, func(s string) bool { return strings.HasSuffix(s, ".py") })
	if len(names) < 70 {
		t.Fatalf("%d files, want 79", len(names))
	}
	for _, name := range names {
		file := must(os.ReadFile(name))
		var err error
		n := allocated(func() { err = readTorch(file, "") })
		base := filepath.Base(name)
		if err == nil || strings.HasPrefix(err.Error(), "DEFECT") || !strings.Contains(err.Error(), want[base]) {
			t.Errorf("%s: got %v, want an error with %q", base, err, want[base])
		} else if len(err.Error()) > 700 || !strings.Contains(err.Error(), "(") {
			t.Errorf("%s: a message of %d characters, or one that does not say what to do: %.300v", base, len(err.Error()), err)
		}
		if n > allowance(len(file)) {
			t.Errorf("%s: %d bytes allocated for a file of %d", base, n, len(file))
		}
		delete(want, base)
		for _, key := range []string{".", "o", "model.model", "0.0", "m"} {
			if err := readTorch(file, key); err != nil && strings.HasPrefix(err.Error(), "DEFECT") {
				t.Errorf("%s#%s: %v", base, key, err)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
	if _, err := os.Stat("/tmp/hessdens-executed"); err == nil {
		t.Error("a pickle was executed")
	}
}

func FuzzPyTorch(f *testing.F) {
	for _, pattern := range []string{"testdata/hostile/*.p[tk]*", "testdata/pytorch/*.p[tk]*"} {
		for _, name := range must(filepath.Glob(pattern)) {
			if file := must(os.ReadFile(name)); len(file) < 16<<10 && !strings.HasSuffix(name, ".py") {
				f.Add(file, "")
				if strings.Contains(name, "training") {
					f.Add(file, "optimizer")
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, file []byte, key string) {
		err := readTorch(file, key)
		if err != nil && (strings.HasPrefix(err.Error(), "DEFECT") || strings.HasPrefix(err.Error(), "EOF")) {
			t.Fatal(err)
		}
	})
}
