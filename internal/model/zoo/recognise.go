package zoo

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hessdens/internal/model"
)

// Entry is what a checkpoint's directory says of a tensor.
type Entry struct {
	Name  string
	Shape []int
}

// Recognise finds the architecture that tensors of these names and shapes belong to. Its Notes say
// what names and shapes do not tell and is assumed. It fails when no architecture fits, or when
// what is left open has no usual value (the number of heads of gpt2), and says what to give as --model.
func Recognise(entries []Entry) (*model.Network, error) {
	c := newCheckpoint(entries)
	for _, guess := range []func(*checkpoint) (*model.Network, error){guessGPT, guessLlama, guessEncoder, guessViT, guessImageNetResNet, guessResNet, guessVGG, guessSmallCNN, guessLeNet, guessMLP} {
		n, err := guess(c)
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		if err := c.fits(n); err != nil {
			return nil, err
		}
		return n, nil
	}
	return nil, fmt.Errorf("the network is not recognised from the names and shapes of its tensors (export it as ONNX and give that as --model, or name the architecture); built in are:\n  %s", strings.ReplaceAll(Grammar, "\n", "\n  "))
}

// checkpoint is a directory without wrappers' prefixes and what networks leave out.
type checkpoint struct {
	names  []string
	shapes map[string][]int
}

func newCheckpoint(entries []Entry) *checkpoint {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	c := &checkpoint{shapes: map[string][]int{}}
	for i, name := range model.Unwrap(names) {
		if !model.Ignored(name) {
			c.names = append(c.names, name)
			c.shapes[name] = slices.Clone(entries[i].Shape)
		}
	}
	return c
}

// dim is a size of a tensor, 0 when there is none; maxWidth bounds what is believed.
func (c *checkpoint) dim(name string, axis int) int {
	if s := c.shapes[name]; axis < len(s) && s[axis] > 0 && s[axis] <= maxWidth {
		return s[axis]
	}
	return 0
}

func (c *checkpoint) has(name string) bool {
	_, ok := c.shapes[name]
	return ok
}

// fits holds the tensors against a network that they look like.
func (c *checkpoint) fits(n *model.Network) error {
	shapes := make([][]int, len(c.names))
	for i, name := range c.names {
		shapes[i] = c.shapes[name]
	}
	err := n.Fits(c.names, shapes)
	var m *model.MismatchError
	if !errors.As(err, &m) {
		return err
	}
	const most = 3
	p := m.Problems
	more := ""
	if len(p) > most {
		more = fmt.Sprintf("; and %d more", len(p)-most)
		p = p[:most]
	}
	return fmt.Errorf("the weights look like %s and are not: %s%s (give --model)", n.Name, strings.Join(p, "; "), more)
}

// assumed notes what a definition adds to names and shapes.
func assumed(n *model.Network, what string) *model.Network {
	n.Notes = append(n.Notes, fmt.Sprintf("recognised as %s from names and shapes: %s", n.Name, what))
	return n
}

func guessGPT(c *checkpoint) (*model.Network, error) {
	prefix := "transformer."
	if !c.has(prefix + "wte.weight") {
		prefix = ""
	}
	g := gptConfig{heads: 1, width: c.dim(prefix+"wte.weight", 1), vocab: c.dim(prefix+"wte.weight", 0), context: c.dim(prefix+"wpe.weight", 0)}
	for g.layers < maxLayers && c.has(fmt.Sprintf("%sh.%d.ln_1.weight", prefix, g.layers)) {
		g.layers++
	}
	if g.width == 0 || g.context == 0 || g.vocab == 0 || g.layers == 0 {
		return nil, nil
	}
	g.inner = max(c.dim(prefix+"h.0.mlp.c_fc.weight", 1), 1)
	g.activation, g.eps, g.scaled, g.tied = "gelu_new", model.NormEps, true, true
	n, err := gpt2(g)
	if err != nil {
		return nil, err
	}
	given := strings.Replace(n.Name, "heads=1", "heads=H", 1)
	n.Name = given
	if err := c.fits(n); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the weights are those of a gpt2, and their names and shapes do not tell the number of heads (give --model %s with H the number of heads)", given)
}

func guessResNet(c *checkpoint) (*model.Network, error) {
	blocks := 0
	for blocks < maxLayers/6 && c.has(block(1, blocks)+"conv1.weight") {
		blocks++
	}
	classes := max(c.dim("linear.weight", 0), c.dim("fc.weight", 0))
	if blocks == 0 || classes == 0 || !c.has("conv1.weight") || c.has(block(4, 0)+"conv1.weight") {
		return nil, nil
	}
	shortcut := "A"
	if slices.ContainsFunc(c.names, func(n string) bool {
		return strings.Contains(n, ".shortcut.") || strings.Contains(n, ".downsample.")
	}) {
		shortcut = "B"
	}
	return assumed(resnet(6*blocks+2, shortcut, classes), "activation taken to be ReLU"), nil
}

func guessSmallCNN(c *checkpoint) (*model.Network, error) {
	classes := c.dim("fc.weight", 0)
	if !c.has("features.0.0.weight") || !c.has("features.2.0.weight") || c.has("features.3.0.weight") || classes == 0 {
		return nil, nil
	}
	return assumed(smallCNN(c.has("features.0.1.weight"), classes), "activation taken to be ReLU, strides 2"), nil
}

func guessLeNet(c *checkpoint) (*model.Network, error) {
	classes := c.dim("fc3.weight", 0)
	if !c.has("conv1.weight") || !c.has("conv2.weight") || !c.has("fc1.weight") || !c.has("fc2.weight") || classes == 0 {
		return nil, nil
	}
	return assumed(lenet5(classes), "activation taken to be ReLU, pooling to be by maxima"), nil
}

func guessMLP(c *checkpoint) (*model.Network, error) {
	order := layerOrder(c.names)
	if len(order) == 0 || len(order) > maxLayers {
		return nil, nil
	}
	m := mlpConfig{activation: "relu", bias: c.has(join(order[0], "bias"))}
	for i, prefix := range order {
		name := join(prefix, "weight")
		in, out := c.dim(name, 1), c.dim(name, 0)
		if len(c.shapes[name]) != 2 || in == 0 || out == 0 || i > 0 && in != m.sizes[i] {
			return nil, nil
		}
		if i == 0 {
			m.sizes = append(m.sizes, in)
		}
		m.sizes = append(m.sizes, out)
	}
	n := mlp(m)
	if c.fits(n) != nil {
		return nil, nil
	}
	if len(order) == 1 {
		return n, nil
	}
	return assumed(n, "activation taken to be ReLU (for another give --model "+n.Name+",tanh or the like)"), nil
}
