package main

import (
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"

	"hessdens/internal/hvp"
)

// TestSystemMemory: the least of free memory and the limits of the groups on the way up, of both versions, less what is used and cannot be
// given back.
func TestSystemMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  memory
	}{
		{"nothing known", nil, memory{}},
		{"free memory", map[string]string{"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    3000 kB\n"}, memory{3000 << 10, "free memory"}},
		{"version 2, of a group around", map[string]string{"proc/meminfo": "MemAvailable: 3000 kB\n", "proc/self/cgroup": "0::/job/step\n",
			"sys/fs/cgroup/job/memory.max": "1000000\n", "sys/fs/cgroup/job/memory.current": "700000\n", "sys/fs/cgroup/job/memory.stat": "anon 5\ninactive_file 100000\n",
			"sys/fs/cgroup/job/step/memory.max": "max\n", "sys/fs/cgroup/job/step/memory.current": "600000\n"}, memory{400000, "the limit of the container"}},
		{"version 2, of a container", map[string]string{"proc/meminfo": "MemAvailable: 3000 kB\n", "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "7000\n"}, memory{0, "the limit of the container"}},
		{"version 1", map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n0::/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "5000\n",
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes": "2000\n", "sys/fs/cgroup/memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "2000\n"}, memory{3500, "the limit of the container"}},
		{"damaged", map[string]string{"proc/meminfo": "MemAvailable:\n", "proc/self/cgroup": "no\n\n", "sys/fs/cgroup/memory.max": ""}, memory{}},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := systemMemory(root); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestFit: a run is refused where it would not fit, what is offered is not refused, and what fits in smaller groups or without what is kept
// runs.
func TestFit(t *testing.T) {
	a := &app{line: &progress{}, said: map[string]bool{}}
	options := subjectOptions{precision: hvp.Float64}
	s, err := options.open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	const big = 1 << 40
	e := &estimatorOptions{probes: 8, steps: 90, basis: "float64"}
	run := func(o subjectOptions, e estimatorOptions, left memory) ([]int, error) {
		part := *s
		part.o = &o
		op, err := part.operator(a, big)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		return part.fit(a, op, &e, left)
	}
	if groups, err := run(options, *e, memory{big, "a test"}); err != nil || len(groups) != 1 {
		t.Fatalf("groups %v, error %v, want one group", groups, err)
	}
	op, err := s.operator(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	need, err := e.bytes(op, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, bytes := range []int64{need, need - need/20} { // within the slack
		if groups, err := run(options, *e, memory{bytes, "a test"}); err != nil || len(groups) != e.probes {
			t.Errorf("%d of %d bytes: groups %v, error %v, want one probe at a time", bytes, need, groups, err)
		}
	}
	if groups, err := run(options, *e, memory{}); err != nil || len(groups) != 1 {
		t.Errorf("nothing known: groups %v, error %v", groups, err)
	}

	left := memory{need * 85 / 100, "a test"}
	_, err = run(options, *e, left)
	if exitCode(err) != exitUsage {
		t.Fatalf("error %v, want a refusal", err)
	}
	for _, want := range []string{mebibytes(need), mebibytes(left.bytes), left.what} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	offers := regexp.MustCompile(`--(basis|batch-size|steps|precision) (\w+)`).FindAllStringSubmatch(err.Error(), -1)
	if len(offers) < 3 {
		t.Errorf("%q offers %v", err, offers)
	}
	for _, m := range offers {
		o, other := options, *e
		switch m[1] {
		case "basis":
			other.basis = m[2]
		case "batch-size":
			o.batchSize = m[2]
		case "precision":
			o.precision = m[2]
		case "steps":
			fmt.Sscan(m[2], &other.steps)
		}
		if groups, err := run(o, other, left); err != nil {
			t.Errorf("%s, as offered: groups %v, error %v", m[0], groups, err)
		}
	}
}

// TestDenseTooLarge: a dense matrix that does not fit is refused with how much of the network would.
func TestDenseTooLarge(t *testing.T) {
	debug.FreeOSMemory() // what tests before this one have left must not become free while it runs
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(goMemory() + 200<<20))
	status, stdout, stderr := call(t, "", "exact")
	if status != exitUsage || stdout != "" || messageFault(stderr) != "" || !strings.Contains(stderr, "--params to measure a part of at most 3") {
		t.Errorf("exit status %d: %q", status, stderr)
	}
}
