package main

import (
	"os"
	"testing"
)

// A file that is cut at any byte is refused, or read as what is left of it: at every byte, or (make test) at those near both ends.
func TestCut(t *testing.T) {
	const most, near = 20_000, 24
	for _, k := range mutatedKinds(t) {
		t.Run(k.name, func(t *testing.T) {
			k.enter(t)
			b := k.valid[0]
			if len(b) > most {
				b = b[:most]
			}
			args := k.args(k.commands[0])
			for n := range b {
				if os.Getenv("HESSDENS_LONG") == "" && n >= near && n < len(b)-near {
					continue
				}
				put(t, k.file, b[:n])
				status, _, stderr := call(t, "", args...)
				if status != exitDone && status != exitInput && status != exitNumerics || status != exitDone && messageFault(stderr) != "" {
					t.Errorf("%d of %d bytes: exit status %d, %s", n, len(b), status, stderr)
				}
			}
		})
	}
}
