// Package example holds a trained network and its data inside the program, so that every
// command has something to work on before a person has pointed it at a file.
//
// The network is of the form that the paper checks its estimator on (Ghorbani, Krishnan and
// Xiao, ICML 2019, arXiv:1901.10159): 784-20-10, ReLU, 15,910 parameters, trained on 1,000
// images, here the first 1,000 training images of Fashion-MNIST, pixels scaled to 0..1. Over
// these images the mean cross-entropy is 0.0289838 and 996 are classified rightly; there is no
// weight decay. train.py made all three files and says how. The images are Zalando's, under the
// MIT licence in LICENSE.fashion-mnist.
package example

import (
	"embed"
	"io/fs"
)

// The files of FS.
const (
	// Weights is a safetensors file of float32 parameters, named as PyTorch names those of
	// nn.Sequential(Flatten, Linear, ReLU, Linear): 1.weight [20, 784], 1.bias [20],
	// 3.weight [10, 20], 3.bias [10].
	Weights = "mlp-784-20-10.safetensors"

	// Images is a gzipped IDX file of Examples images, 28 x 28 bytes each.
	Images = "train-images-idx3-ubyte.gz"

	// Labels is a gzipped IDX file of Examples labels, a byte each, 0 to 9.
	Labels = "train-labels-idx1-ubyte.gz"

	// License is the notice under which Images and Labels are passed on.
	License = "LICENSE.fashion-mnist"
)

// What the files hold.
const (
	// Architecture is the network in the notation of --model.
	Architecture = "mlp:784-20-10"

	// Parameters is the number of values in Weights.
	Parameters = 15910

	// Examples is the number of images and labels.
	Examples = 1000
)

//go:embed mlp-784-20-10.safetensors train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz LICENSE.fashion-mnist
var files embed.FS

// FS is a read-only file system with the files Weights, Images, Labels and License at its root.
func FS() fs.FS { return files }
