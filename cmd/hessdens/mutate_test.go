package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hessdens/internal/npy/npytest"
)

// A kind is a format of files from outside: valid ones to begin with, and the commands that read one. They are run in turn, in a
// directory with the fixtures of scripts.
type kind struct {
	name     string
	file     string // where a mutated file is put
	beside   map[string][]byte
	valid    [][]byte
	commands []string // {}: the file
	parts    func(b []byte) [][2]int
	numerals bool
	behind   func(m *mutator, b []byte) []byte // changes what lies behind a checksum or a compression
}

const (
	// inspectFactor and inspectBytes bound the memory of inspect, in files and in bytes: a promise of docs/security.md.
	inspectFactor = 4
	inspectBytes  = 64 << 20
)

// allowed is the memory that a command may take over a file of size bytes.
func allowed(size int) uint64 { return inspectFactor*uint64(size) + inspectBytes }

// mutations are how many files are made of each kind, and how many of them are given to a process of its own.
func mutations() (files, processes int) {
	switch {
	case os.Getenv("HESSDENS_LONG") != "":
		return 10_000, 200
	case testing.Short():
		return 30, 0
	}
	return 120, 2
}

// No file ends the program by a panic, takes more memory than its size justifies, or ends with another status than 0, 3 or 4: a
// hundred of each kind, or ten thousand (make mutate). What is written to disk is removed unless -artifacts keeps it.
func TestMutated(t *testing.T) {
	kinds := mutatedKinds(t)
	files, processes := mutations()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			k.enter(t)
			for i, b := range k.valid {
				put(t, k.file, b)
				for _, args := range k.commands {
					if status, _, stderr := call(t, "", k.args(args)...); status != 0 {
						t.Fatalf("valid file %d: %s: exit status %d: %s", i, args, status, stderr)
					}
					put(t, k.file, b) // a finished run removes its checkpoint
				}
			}
			statuses := map[int]int{}
			var most uint64
			var slowest time.Duration
			slow := 0
			for i := range files {
				r := rand.New(rand.NewPCG(uint64(i), 7))
				m := &mutator{Rand: r, others: k.valid, parts: k.parts, numerals: k.numerals}
				change := (*mutator).mutate
				if k.behind != nil && i%2 == 1 {
					change = k.behind
				}
				b := change(m, k.valid[r.IntN(len(k.valid))])
				put(t, k.file, b)
				args := k.args(k.commands[i%len(k.commands)])
				begin := time.Now()
				status, stderr, taken := observed(t, args)
				took := time.Since(begin)
				if taken > allowed(len(b)) || i < processes { // what is allocated in all is more than what is held at once
					put(t, k.file, b)
					status, stderr, taken = inProcess(t, args)
					most = max(most, taken)
				}
				statuses[status]++
				if took > slowest {
					slowest, slow = took, i
				}
				fault := ""
				switch {
				case status != exitDone && status != exitInput && status != exitNumerics:
					fault = fmt.Sprintf("exit status %d", status)
				case taken > allowed(len(b)):
					fault = fmt.Sprintf("%d bytes of memory", taken)
				case status != exitDone && messageFault(stderr) != "":
					fault = "the message " + messageFault(stderr)
				case len(stderr) > 4000:
					fault = fmt.Sprintf("a message of %d bytes", len(stderr))
				}
				if fault != "" {
					kept := fmt.Sprintf("mutated-%d-%s", i, filepath.Base(k.file))
					put(t, kept, b)
					t.Errorf("file %d of %d bytes (kept as %s): %s: %s: %.1500s", i, len(b), kept, strings.Join(args, " "), fault, stderr)
				}
			}
			t.Logf("%d files: exit status %v; slowest %v (file %d); most memory of a process %.1f MiB", files, statuses, slowest, slow, float64(most)/(1<<20))
		})
	}
}

// enter goes to a directory that holds what the commands need.
func (k *kind) enter(t *testing.T) {
	t.Helper()
	dir := t.ArtifactDir()
	t.Chdir(dir)
	if err := writeFixtures(dir); err != nil {
		t.Fatal(err)
	}
	for name, b := range k.beside {
		put(t, name, b)
	}
}

func (k *kind) args(command string) []string {
	args := strings.Fields(strings.ReplaceAll(command, "{}", k.file))
	if args[0] == "estimate" || strings.Contains(command, "--data") {
		args = append(args, "--threads", "1")
	}
	return args
}

func put(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// observed runs a command in this process; taken is what it allocates in all.
func observed(t *testing.T, args []string) (status int, stderr string, taken uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, _, stderr = call(t, "", args...)
	runtime.ReadMemStats(&after)
	return status, stderr, after.TotalAlloc - before.TotalAlloc
}

// peakFile is the variable that names the file for the peak of the memory of a process.
const peakFile = "HESSDENS_PEAK"

// mainPeak is the program, which says in a file how much memory it has taken at most: what a parent hears of a child holds the
// parent's own memory until the program is loaded.
func mainPeak() {
	status := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	peak := strconv.FormatInt(processMemory("VmHWM"), 10)
	if err := os.WriteFile(os.Getenv(peakFile), []byte(peak), 0o666); err != nil {
		panic(err)
	}
	os.Exit(status)
}

// inProcess runs a command in a process of its own; taken is the most memory that it had, 0 where the system does not say.
func inProcess(t *testing.T, args []string) (status int, stderr string, taken uint64) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "peak")
	cmd := exec.Command("hessdens-peak", args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.Env = append(os.Environ(), peakFile+"="+name)
	_ = cmd.Run() // the status says how it ended
	if b, err := os.ReadFile(name); err == nil {
		taken, _ = strconv.ParseUint(string(b), 10, 64)
	}
	return cmd.ProcessState.ExitCode(), out.String(), taken
}

// Files that are large, and lie in their headers, take no more memory than small ones: 30 MB of each format whose values stay in the file.
func TestMutatedLarge(t *testing.T) {
	if processMemory("VmHWM") == 0 {
		t.Skip("the system does not say how much memory a process has had")
	}
	files, count := 0, 3
	if os.Getenv("HESSDENS_LONG") != "" {
		count = 100
	}
	values := make([]float32, 30<<18)
	for i := range values {
		values[i] = float32(i%1000) / 1000
	}
	shape := []int{len(values) >> 10, 1 << 10}
	array := npytest.File("<f4", false, shape, values)
	pt := pickled(t, values, shape)
	for _, k := range []kind{
		{name: "safetensors", file: "m.safetensors", valid: [][]byte{safetensors([]named{{"w", shape, values}}, nil)}, parts: safetensorsHeader, numerals: true},
		{name: "npz", file: "m.npz", valid: [][]byte{npytest.Archive(false, npytest.Entry{Name: "w.npy", Data: array})}, parts: zipRecords},
		{name: "npz deflated", file: "m.npz", valid: [][]byte{npytest.Archive(true, npytest.Entry{Name: "w.npy", Data: array})}, parts: zipRecords},
		{name: "pytorch", file: "m.pt", valid: [][]byte{pt}, parts: zipRecords},
	} {
		dir := t.ArtifactDir()
		t.Chdir(dir)
		var most uint64
		for i := range count {
			r := rand.New(rand.NewPCG(uint64(i), 8))
			m := &mutator{Rand: r, others: k.valid, parts: k.parts, numerals: k.numerals}
			b := k.valid[0]
			if i > 0 {
				b = m.mutate(b)
			}
			put(t, k.file, b)
			status, stderr, taken := inProcess(t, []string{"inspect", k.file})
			if i == 0 && status != exitDone {
				t.Errorf("%s: the valid file: exit status %d: %s", k.name, status, stderr)
			}
			if status != exitDone && status != exitInput || taken > allowed(len(b)) {
				t.Errorf("%s: file %d of %d bytes: exit status %d, %d bytes of memory: %s", k.name, i, len(b), status, taken, stderr)
			}
			most = max(most, taken)
			files++
		}
		t.Logf("%s: %d bytes, most memory %.1f MiB", k.name, len(k.valid[0]), float64(most)/(1<<20))
	}
}

// pickled is a file as torch.save writes it, with one tensor of float32.
func pickled(t *testing.T, values []float32, shape []int) []byte {
	t.Helper()
	integer := func(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
	pkl := "\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" +
		integer(len(values)) + "tQK\x00" + integer(shape[0]) + integer(shape[1]) + "\x86" + integer(shape[1]) + "K\x01\x86\x89ccollections\nOrderedDict\n)RtRs."
	return npytest.Archive(false, npytest.Entry{Name: "m/data.pkl", Data: []byte(pkl)}, npytest.Entry{Name: "m/byteorder", Data: []byte("little")},
		npytest.Entry{Name: "m/data/0", Data: npytest.Bytes(values, false)}, npytest.Entry{Name: "m/version", Data: []byte("3\n")})
}

// mutatedKinds are all formats that a flag or an argument may name.
func mutatedKinds(t *testing.T) []kind {
	read := func(patterns ...string) [][]byte {
		var all [][]byte
		for _, p := range patterns {
			names, err := filepath.Glob(filepath.FromSlash(p))
			if err != nil || len(names) == 0 {
				t.Fatalf("%s: no files, %v", p, err)
			}
			for _, name := range names {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, b)
			}
		}
		return all
	}
	const (
		huggingface = "../../internal/model/zoo/testdata/huggingface/"
		pytorch     = "../../internal/model/checkpoint/testdata/pytorch/"
		onnxFiles   = "../../internal/model/onnx/testdata/"
		pictures    = "../../internal/dataset/testdata/pictures/"
		tables      = "../../internal/dataset/testdata/parquet/"
		tokenizers  = "../../internal/tokenizer/testdata/"
		evaluate    = "inspect --weights {} --data xy.npz --evaluate"
	)
	f := fixtures()
	one := func(name string) []byte { return read(name)[0] }
	inspect := []string{"inspect {}"}
	const text = "inspect --context 4 --data "
	var results map[string][]byte
	t.Run("results", func(t *testing.T) { results = mutatedResults(t) }) // in a directory of its own
	if results == nil {
		t.FailNow()
	}
	shapeOf := []int{fixtureExamples, fixtureInputs}
	x, y := f["x.npy"], f["y.npy"]
	images := append([]byte{0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 4}, bytes.Repeat([]byte{7, 200}, 40)...)
	digits := []byte{0, 0, 8, 1, 0, 0, 0, 5, 0, 1, 2, 0, 1}
	cifar := slices.Concat([]byte{3}, bytes.Repeat([]byte{1, 2, 3}, 1024), []byte{9}, bytes.Repeat([]byte{200, 100, 0}, 1024))
	iris := []byte("a,b,c,d,species\n5.1,3.5,1.4,0.2,setosa\n7.0,3.2,4.7,1.4,versicolor\n6.3,3.3,6.0,2.5,virginica\n")
	var numbers bytes.Buffer
	numbers.WriteString("label\tp0\tp1\tp2\tp3\n")
	for i := range 40 {
		fmt.Fprintf(&numbers, "%d\t%d\t%g\t%d\t1e-3\n", i%3, i, float64(i)/7, 255-i)
	}
	var tokens []byte
	for i := range 60 {
		tokens = binary.LittleEndian.AppendUint16(tokens, uint16(i%17))
	}
	llmc := make([]byte, 1024)
	binary.LittleEndian.PutUint32(llmc, 20240520)
	binary.LittleEndian.PutUint32(llmc[4:], 1)
	binary.LittleEndian.PutUint32(llmc[8:], 60)
	verse := []byte("to be or not to ruin, é\n")
	gpt2Dir := map[string][]byte{"net/model.safetensors": one(huggingface + "gpt2/model.safetensors"), "data.npz": one(huggingface + "gpt2/data.npz")}
	kinds := []kind{
		{name: "safetensors", file: "m.safetensors", valid: append(read(huggingface+"gpt2/model.safetensors", "../../testdata/reference/checkpoints/smallcnn-nobn-final.safetensors"), f["net.safetensors"]), commands: inspect, parts: safetensorsHeader, numerals: true},
		{name: "safetensors, evaluated", file: "m.safetensors", valid: [][]byte{f["net.safetensors"]}, commands: []string{evaluate}, parts: safetensorsHeader, numerals: true},
		{name: "safetensors data", file: "m.safetensors", valid: [][]byte{safetensors([]named{{"x", shapeOf, random(1, 200)}, {"y", []int{fixtureExamples, 3}, random(2, 150)}}, nil)}, commands: append(inspect, "inspect --data {}"), parts: safetensorsHeader, numerals: true},
		{name: "npz", file: "m.npz", valid: append(read("../../internal/model/checkpoint/testdata/mlp-final.npz"), f["net.npz"]), commands: inspect, parts: zipRecords, behind: (*mutator).inZip},
		{name: "npz, evaluated", file: "m.npz", valid: [][]byte{f["net.npz"]}, commands: []string{evaluate}, parts: zipRecords, behind: (*mutator).inZip},
		{name: "npz data", file: "m.npz", valid: [][]byte{f["xy.npz"], npytest.Archive(false, npytest.Entry{Name: "x.npy", Data: x}, npytest.Entry{Name: "y.npy", Data: y})}, commands: append(inspect, "inspect --weights net.npz --data {} --evaluate"), parts: zipRecords, behind: (*mutator).inZip},
		{name: "npy data", file: "m.npy", valid: [][]byte{x, npytest.File("<f8", true, shapeOf, make([]float64, 200)), npytest.File("|u1", false, shapeOf, make([]byte, 200))}, commands: []string{"inspect --data {},y.npy", "inspect --weights net.npz --data {},y.npy --evaluate"}, numerals: true},
		{name: "npy labels", file: "m.npy", valid: [][]byte{y}, commands: []string{"inspect --data x.npy,{}", "inspect --weights net.npz --data x.npy,{} --evaluate"}, numerals: true},
		{name: "pytorch", file: "m.pt", valid: append(read(pytorch+"[bdfmnp]*.pt", pytorch+"s*.pt", pytorch+"training.pt", "../../testdata/reference/checkpoints/*.pt", pytorch+"*.pkl"), pickled(t, random(3, 20), []int{5, 4})), commands: inspect, parts: zipRecords, behind: (*mutator).inZip},
		{name: "pytorch, values", file: "m.pt", valid: read("../../testdata/reference/checkpoints/*.pt"), commands: []string{"inspect --weights {}"}, parts: zipRecords, behind: (*mutator).inZip},
		{name: "onnx", file: "m.onnx", valid: read(onnxFiles+"onnx/*nobn*.onnx", onnxFiles+"onnx/*fold.onnx", onnxFiles+"loss/*.onnx"), commands: inspect, parts: protobufTags},
		{name: "onnx, evaluated", file: "m.onnx", valid: read(onnxFiles+"loss/ce.*.onnx", onnxFiles+"loss/smooth.*.onnx"), commands: []string{"inspect --model {} --data x6.npy,y.npy --evaluate"}, parts: protobufTags},
		{name: "config.json", file: "net/config.json", valid: read(huggingface + "gpt2/config.json"), beside: gpt2Dir, commands: []string{"inspect net", "inspect --model net --data data.npz --evaluate"}, numerals: true},
		{name: "config.json without weights", file: "net/config.json", valid: read(huggingface + "*/config.json"), commands: []string{"inspect --model net"}, numerals: true},
		{name: "shards", file: "net/model.safetensors.index.json", valid: read(huggingface + "llama/model.safetensors.index.json"), beside: map[string][]byte{
			"net/config.json": one(huggingface + "llama/config.json"), "net/model-00001-of-00003.safetensors": one(huggingface + "llama/model-00001-of-00003.safetensors"),
			"net/model-00002-of-00003.safetensors": one(huggingface + "llama/model-00002-of-00003.safetensors"), "net/model-00003-of-00003.safetensors": one(huggingface + "llama/model-00003-of-00003.safetensors"),
		}, commands: []string{"inspect net", "inspect --model net"}, numerals: true},
		{name: "llama2.c", file: "m.bin", valid: read(huggingface + "llama2c/*.bin"), beside: map[string][]byte{"data.npz": one(huggingface + "llama2c/data.npz")}, commands: []string{"inspect {}", "inspect --weights {} --data data.npz --evaluate"}},
		{name: "idx", file: "set/train-images-idx3-ubyte", valid: [][]byte{images}, beside: map[string][]byte{"set/train-labels-idx1-ubyte": digits}, commands: []string{"inspect --data set"}},
		{name: "idx labels", file: "set/train-labels-idx1-ubyte", valid: [][]byte{digits}, beside: map[string][]byte{"set/train-images-idx3-ubyte": images}, commands: []string{"inspect --data set"}},
		{name: "idx, gzipped", file: "set/train-images-idx3-ubyte.gz", valid: [][]byte{gzipped(images)}, beside: map[string][]byte{"set/train-labels-idx1-ubyte": digits}, commands: []string{"inspect --data set"}, behind: (*mutator).inGzip},
		{name: "cifar", file: "m.bin", valid: [][]byte{cifar}, commands: []string{"inspect {}", "inspect --data {} --data-format cifar10"}},
		{name: "cifar names", file: "set/batches.meta.txt", valid: [][]byte{[]byte("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")}, beside: map[string][]byte{"set/test_batch.bin": cifar}, commands: []string{"inspect --data set --split test", "inspect --data set --split test --format text"}},
		{name: "csv", file: "m.csv", valid: [][]byte{iris, numbers.Bytes()}, commands: []string{"inspect {}", "inspect --weights net.npz --data {} --evaluate"}, numerals: true},
		{name: "csv, gzipped", file: "m.csv.gz", valid: [][]byte{gzipped(iris)}, commands: inspect, behind: (*mutator).inGzip, numerals: true},
		{name: "parquet", file: "m.parquet", valid: read(tables + "pandas.parquet"), commands: inspect, parts: parquetFooter},
		{name: "parquet texts", file: "m.parquet", valid: read(tables + "text.parquet"), commands: []string{"inspect --data {} --context 4 --vocab bytes"}, parts: parquetFooter},
		{name: "parquet images", file: "m.parquet", valid: read(tables + "images/data/*.parquet"), commands: []string{"inspect --data {}"}, parts: parquetFooter},
		{name: "png", file: "set/a/1.png", valid: read(pictures + "*.png"), beside: map[string][]byte{"set/b/1.png": one(pictures + "rgb.png")}, commands: []string{"inspect --data set --resize 8 --crop 8"}, parts: pngChunks, behind: (*mutator).inPNG},
		{name: "jpeg", file: "set/a/1.jpg", valid: read(pictures + "*.jpg"), beside: map[string][]byte{"set/b/1.png": one(pictures + "rgb.png")}, commands: []string{"inspect --data set --resize 8 --crop 8"}},
		{name: "gif", file: "set/a/1.gif", valid: read(pictures + "*.gif"), beside: map[string][]byte{"set/b/1.png": one(pictures + "rgb.png")}, commands: []string{"inspect --data set --resize 8 --crop 8"}},
		{name: "bmp", file: "set/a/1.bmp", valid: read(pictures + "*.bmp"), beside: map[string][]byte{"set/b/1.png": one(pictures + "rgb.png")}, commands: []string{"inspect --data set --resize 8 --crop 8"}},
		{name: "webp", file: "set/a/1.webp", valid: read(pictures + "*.webp"), beside: map[string][]byte{"set/b/1.png": one(pictures + "rgb.png")}, commands: []string{"inspect --data set --resize 8 --crop 8"}},
		{name: "tokenizer.json", file: "tokenizer.json", valid: read(tokenizers+"gpt2.json", tokenizers+"bert.json", tokenizers+"llama3.json"), beside: map[string][]byte{"t.txt": verse}, commands: []string{text + "t.txt --vocab {}"}, numerals: true},
		{name: "characters", file: "chars.txt", valid: [][]byte{[]byte("\n ,abeinortué")}, beside: map[string][]byte{"t.txt": verse}, commands: []string{text + "t.txt --vocab {}"}},
		{name: "text", file: "m.txt", valid: [][]byte{verse}, commands: []string{text + "{} --vocab bytes", text + "{} --vocab chars"}},
		{name: "tokens", file: "m.bin", valid: [][]byte{tokens, append(llmc, tokens[:120]...)}, commands: []string{text + "{} --data-format tokens", "inspect --model gpt2:layers=1,heads=1,width=4,context=4,vocab=17 --data {} --data-format tokens"}},
		{name: "result", file: "m.json", valid: [][]byte{results["net.json"], results["exact.json"]}, beside: results, commands: []string{"inspect {}", "inspect {} --format text", "compare net.json {}", "plot {}"}, numerals: true},
		{name: "result, gzipped", file: "m.json.gz", valid: [][]byte{gzipped(results["net.json"])}, commands: inspect, behind: (*mutator).inGzip, numerals: true},
		{name: "series", file: "m.jsonl", valid: [][]byte{results["run.jsonl"]}, beside: results, commands: []string{"inspect {}", "plot {} --evolution -o out.svg"}, numerals: true},
		{name: "run checkpoint", file: "run.checkpoint", valid: [][]byte{results["run.checkpoint"]}, commands: []string{resumed + " --resume"}},
	}
	for i := range kinds {
		if kinds[i].beside == nil {
			kinds[i].beside = map[string][]byte{}
		}
	}
	for _, k := range kinds {
		if strings.HasPrefix(k.name, "onnx") {
			k.beside["x6.npy"] = floats([]int{fixtureExamples, 6}, random(7, fixtureExamples*6))
		}
	}
	return kinds
}

// resumed is a run whose checkpoint is mutated.
const resumed = "estimate --weights net.safetensors --data xy.npz --probes 2 --steps 6 --checkpoint run.checkpoint"

// mutatedResults are results of each form, and the checkpoint of a run.
func mutatedResults(t *testing.T) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := writeFixtures(dir); err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, c := range []struct {
		args, file string
		status     int
	}{
		{"estimate --weights net.safetensors --data xy.npz --probes 2 --steps 6 -o net.json", "net.json", exitDone},
		{"exact --weights net.safetensors --data xy.npz -o exact.json", "exact.json", exitDone},
		{"track --data xy.npz --probes 2 --steps 6 -o run.jsonl net.safetensors later.safetensors", "run.jsonl", exitDone},
		{resumed + " --sigma2 1e-300", "run.checkpoint", exitUsage}, // it keeps what cannot be drawn
	} {
		if status, _, stderr := call(t, "", append(strings.Fields(c.args), "--threads", "1")...); status != c.status {
			t.Fatalf("%s: exit status %d: %s", c.args, status, stderr)
		}
		b, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		out[c.file] = b
	}
	return out
}
