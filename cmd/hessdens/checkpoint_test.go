package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// TestSameWeights holds that a network is the same whatever file its weights come in: the hash is
// over names, shapes and values.
func TestSameWeights(t *testing.T) {
	const dir = "../../testdata/reference/checkpoints/"
	hash := func(file string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), []string{"inspect", "--weights", dir + file}, strings.NewReader(""), &stdout, &stderr); status != exitDone {
			t.Fatalf("%s: exit status %d: %s", file, status, stderr.String())
		}
		var in inspection
		if err := json.Unmarshal(stdout.Bytes(), &in); err != nil {
			t.Fatal(err)
		}
		if in.Model == nil || in.Model.SHA256 == nil {
			t.Fatalf("%s: no hash", file)
		}
		return *in.Model.SHA256
	}
	for _, pair := range [][2]string{
		{"smallcnn-nobn-final.safetensors", "smallcnn-nobn-sgd.pt#model"},
		{"smallcnn-nobn-final.safetensors", "smallcnn-nobn-sgd.pt"},
		{"smallcnn-bn-final.safetensors", "smallcnn-bn-final.legacy.pt"},
	} {
		if a, b := hash(pair[0]), hash(pair[1]); a != b {
			t.Errorf("%s and %s differ", pair[0], pair[1])
		}
	}
	var stdout, stderr bytes.Buffer
	status := run(context.Background(), []string{"inspect", "--weights", dir + "smallcnn-nobn-sgd.pt#nothing"}, strings.NewReader(""), &stdout, &stderr)
	if status != exitInput || !strings.Contains(stderr.String(), "smallcnn-nobn-sgd.pt#nothing: ") || !strings.Contains(stderr.String(), "model") {
		t.Errorf("a key that is not there: exit status %d: %s", status, stderr.String())
	}
}
