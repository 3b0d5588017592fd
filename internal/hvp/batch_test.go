package hvp

import (
	"testing"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// TestChooseBatch: a batch is as large as the primal part or the parameters say, and few batches are alike and even in number.
func TestChooseBatch(t *testing.T) {
	const outputs = 16
	example := batchElements / 16 // elements of an example: 16 of them are a batch
	g := graph.New()
	g.MatMul(g.Input("x", graph.Float, 1, example-outputs), g.Param("w", example-outputs, outputs), false, false)
	one := &model.Graph{G: g}
	for _, c := range []struct{ parameters, examples, want int }{
		{0, 1 << 20, 16},
		{batchElements, 1 << 20, 16},
		{3 * batchElements, 1 << 20, 48},     // as many elements as parameters
		{100 * batchElements, 1 << 20, 1024}, // never more
		{0, 16 * fewBatches, 16},             // few, and alike as they are
		{0, 16*fewBatches + 1, 16},           // many: the last one does not matter
		{0, 17, 9},                           // not 16 and 1
		{0, 33, 9},                           // four, not three
		{3 * batchElements, 100, 25},         // four, not 48, 48 and 4
		{3 * batchElements, 10, 48},          // one
	} {
		if got := chooseBatch(one, c.parameters, c.examples); got != c.want {
			t.Errorf("%d parameters, %d examples: batches of %d, want %d", c.parameters, c.examples, got, c.want)
		}
	}
}
