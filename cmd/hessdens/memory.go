package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// availableMemory is how many bytes a run may take: what the system says is free, a container's
// limit, GOMEMLIMIT, whichever is least; 4 GiB where nothing is known.
func availableMemory() int64 {
	least := int64(math.MaxInt64)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					least = min(least, kb<<10)
				}
			}
		}
	}
	number := func(name string) (int64, bool) {
		b, err := os.ReadFile(name)
		if err != nil {
			return 0, false
		}
		v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return v, err == nil
	}
	for _, group := range [][2]string{{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
		{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}} {
		if limit, ok := number(group[0]); ok && limit < 1<<60 {
			used, _ := number(group[1])
			least = min(least, max(limit-used, 0))
		}
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		least = min(least, limit)
	}
	if least == math.MaxInt64 {
		return 4 << 30
	}
	return least
}

// processMemory is how many bytes the process has by a field of its status: VmRSS now, VmHWM at most until now; 0
// where the system does not say.
func processMemory(field string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field+":" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// pairBytes are the bytes that attention takes for each pair of positions, at least: a mask and scores.
const pairBytes = 24

// Shares of the available memory: for the bases of Lanczos, for primal parts that are kept
// between products, and for decoded pictures; the rest is for programs and data.
const (
	basisShare    = 0.6
	keepShare     = 0.2
	picturesShare = 0.1
	programShare  = 0.7 // of what is there for one program's buffers
)
