package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"hessdens/internal/kernel"
)

// commands are all commands, in the order of help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newEstimate(a), newExact(a), newVerify(a), newInspect(a), newPlot(a), newCompare(a), newTrack(a), newBench(a), newCompletion(a), newVersion(a),
	}
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "The version of hessdens, and the kernels that this processor runs",
		Long:    "version says which hessdens this is, how it was built, and which kernels this processor runs.",
		Example: "  hessdens version",
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, versionLine())
			return toStdout(err)
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("hessdens %s %s/%s %s kernels %s", version, runtime.GOOS, runtime.GOARCH, runtime.Version(), kernel.Path())
}

// threads is the number of threads that a flag asks for.
func threads(n int) int {
	if n <= 0 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}
