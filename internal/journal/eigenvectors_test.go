package journal

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"hessdens/internal/lanczos"
)

// Killed after any write, at the end too, a run that wants eigenvectors has the same.
func TestKillWithEigenvectors(t *testing.T) {
	for _, storage := range []lanczos.Storage{lanczos.Double, lanczos.Single} {
		with := func(j lanczos.Journal) ([]lanczos.Probe, error) {
			return lanczos.Run(context.Background(), spectrum, lanczos.Options{Steps: order, Probes: probes, Groups: []int{3, 2}, Storage: storage, Journal: j,
				Eigenvectors: func(int) int { return 3 }})
		}
		r := plan(storage)
		r.Steps = order
		d := &disk{}
		j, err := Create(d, r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := with(j)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(want[probes-1].Eigenvectors); got != 3 {
			t.Fatalf("storage %d: %d eigenvectors, want 3", storage, got)
		}
		now := &disk{}
		for i, o := range d.ops {
			now.apply(o)
			torn := &disk{b: slices.Clone(now.b)}
			j, err := Open(torn, int64(len(torn.b)), &r)
			if err != nil {
				t.Fatalf("operation %d: %v", i, err)
			}
			got, err := with(j)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("storage %d, operation %d: %v, want %v; %v", storage, i, got, want, err)
			}
		}
	}
}
