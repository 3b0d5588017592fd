package exec

import (
	"errors"
	"testing"

	"hessdens/internal/graph"
)

// TestMaxBytes: the limit is on all that a program takes, with lists of what is not zero and buffers that tasks have for themselves.
func TestMaxBytes(t *testing.T) {
	const rows, cols = 9000, 10
	pool := NewPool(1)
	defer pool.Close()
	compile := func(sparse bool, limit int64) (*Program[float32], error) {
		g := graph.New()
		x, w, d := g.Input("x", graph.Float, rows, cols), g.Param("w", 5, cols), g.Input("d", graph.Float, rows, 5)
		y := g.Linear(x, w, nil)
		// The weight gradient, a small product with a long sum, is added up in pieces.
		dw := graph.VJP([]*graph.Node{y}, []*graph.Node{d}, []*graph.Node{w})
		dy := graph.JVP([]*graph.Node{y}, map[*graph.Node]*graph.Node{w: g.Direction(w)})
		return Compile[float32](append(dw, dy...), Options{Pool: pool, Sparse: sparse, MaxBytes: limit})
	}
	var sizes []int // of the primal part, where lists lie
	for _, sparse := range []bool{false, true} {
		p, err := compile(sparse, 0)
		if err != nil {
			t.Fatal(err)
		}
		need := int64(p.Bytes())
		sizes = append(sizes, p.stageBytes(stagePrimal))
		if p.extra == 0 {
			t.Error("no task has a buffer of its own: the test sees nothing of them")
		}
		if _, err := compile(sparse, need); err != nil {
			t.Errorf("sparse %v, %d bytes allowed: %v", sparse, need, err)
		}
		var over *MemoryError
		if _, err := compile(sparse, need-1); !errors.As(err, &over) || over.Need != need || over.Limit != need-1 {
			t.Errorf("sparse %v, %d bytes allowed: error %v, want one that names %d", sparse, need-1, err, need)
		}
	}
	s := &sparsity[float32]{rows: rows, cols: cols, limit: rows * cols * 3 / 10}
	if got, want := sizes[1]-sizes[0], 4*(s.size()+2*s.limit); got != want {
		t.Errorf("lists take %d bytes, want %d", got, want)
	}
}
