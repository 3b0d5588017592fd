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

// TestONNX holds that an ONNX file is a network with its weights, that a checkpoint's weights replace
// them by name, and that they are refused where batch normalisation was folded away.
func TestONNX(t *testing.T) {
	const (
		files   = "../../internal/model/onnx/testdata/onnx/"
		weights = "../../testdata/reference/checkpoints/"
	)
	inspect := func(args ...string) (inspection, int, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), append([]string{"inspect"}, args...), strings.NewReader(""), &stdout, &stderr)
		var in inspection
		if status == exitDone {
			if err := json.Unmarshal(stdout.Bytes(), &in); err != nil {
				t.Fatal(err)
			}
		}
		return in, status, stderr.String()
	}
	plain, status, message := inspect("--weights", weights+"smallcnn-nobn-final.safetensors")
	if status != exitDone {
		t.Fatal(message)
	}
	for _, args := range [][]string{
		{"--model", files + "smallcnn-nobn.torchscript.onnx"},
		{"--model", files + "smallcnn-nobn.torchscript.onnx", "--weights", weights + "smallcnn-nobn-sgd.pt#model"},
	} {
		in, status, message := inspect(args...)
		if status != exitDone || in.Model.Parameters != plain.Model.Parameters || *in.Model.SHA256 != *plain.Model.SHA256 {
			t.Errorf("%v: exit status %d, not the network of the checkpoint: %s", args, status, message)
		}
	}
	if _, status, message := inspect("--model", files+"smallcnn-bn.torchscript.onnx", "--weights", weights+"smallcnn-bn-final.safetensors"); status != exitInput {
		t.Errorf("folded batch normalisation: exit status %d: %s", status, message)
	}
	if _, status, message := inspect("--model", files+"smallcnn-bn.torchscript.train.onnx"); status != exitUsage || !strings.Contains(message, "--batch-size") {
		t.Errorf("training_mode without a batch size: exit status %d: %s", status, message)
	}
}
