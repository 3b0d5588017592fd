package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// availableMemory is how many bytes a run may take.
func availableMemory() int64 { return memoryLeft().orUsual() }

// memory is how many bytes may be taken beside those that the process has, and by what: "" where nothing is known.
type memory struct {
	bytes int64
	what  string
}

// orUsual is the bytes, 4 GiB where nothing is known.
func (m memory) orUsual() int64 {
	if m.what == "" {
		return 4 << 30
	}
	return m.bytes
}

// most is what a run may need before it is refused, 0 where nothing is known.
func (m memory) most() int64 {
	if m.what == "" {
		return 0
	}
	return max(int64(memorySlack*float64(m.bytes)), 1)
}

// least is m, or so many bytes by what if they are fewer.
func (m memory) least(bytes int64, what string) memory {
	if m.what != "" && m.bytes <= bytes {
		return m
	}
	return memory{max(bytes, 0), what}
}

// memoryLeft is what the system says is free, a container's limit less what it uses, or GOMEMLIMIT less what the process has, whichever is
// least.
func memoryLeft() memory {
	left := systemMemory(os.DirFS("/"))
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		left = left.least(limit-goMemory(), "GOMEMLIMIT")
	}
	return left
}

// goMemory is what counts against GOMEMLIMIT.
func goMemory() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

// systemMemory reads MemAvailable and the limits of the process' control groups and of those around them, of versions 1 and 2, in a
// file system that is that of Linux, or not.
func systemMemory(root fs.FS) memory {
	var left memory
	if kb, ok := numberIn(root, "proc/meminfo", "MemAvailable:"); ok {
		left = left.least(kb<<10, "free memory")
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return left
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:/path
		if len(f) < 3 {
			continue
		}
		mount, limit, used, cache := "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
		switch {
		case f[1] == "memory":
			mount, limit, used, cache = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		case f[1] != "":
			continue
		}
		for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
			at := path.Join(mount, dir)
			most, ok := numberIn(root, path.Join(at, limit), "")
			has, ok2 := numberIn(root, path.Join(at, used), "")
			if ok && ok2 && most < 1<<60 { // version 1 writes "none" as a number
				files, _ := numberIn(root, path.Join(at, "memory.stat"), cache) // given back when others need it
				left = left.least(most-has+files, "the limit of the container")
			}
			if dir == "/" {
				break
			}
		}
	}
	return left
}

// numberIn is the number after a name in a file of lines, or the one number of the file where the name is "".
func numberIn(root fs.FS, file, name string) (int64, bool) {
	b, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if name != "" && len(f) > 0 && f[0] == name {
			f = f[1:]
		} else if name != "" {
			continue
		}
		if len(f) > 0 {
			v, err := strconv.ParseInt(f[0], 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// processMemory is how many bytes the process has by a field of its status: VmRSS now, VmHWM at most until now; 0
// where the system does not say.
func processMemory(name string) int64 {
	kb, _ := numberIn(os.DirFS("/"), "proc/self/status", name+":")
	return kb << 10
}

// pairBytes are the bytes that attention takes for each pair of positions, at least: a mask and scores.
const pairBytes = 24

// Shares of the available memory: for the bases of Lanczos where several probes go in lockstep, for primal parts that are kept
// between products, and for decoded pictures; the rest is for programs and data.
const (
	basisShare    = 0.6
	keepShare     = 0.2
	picturesShare = 0.1
)

// memorySlack is how far a need may lie above what is available before a run is refused: predictions were within 0.96 to 1.17 of what runs took.
const memorySlack = 1.1
