package zoo

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/graph"
	"hessdens/internal/model"
)

// activations by name; gelu is the exact form, as nn.GELU's default is.
var activations = map[string]func(g *graph.Graph, x *graph.Node) *graph.Node{
	"relu":    (*graph.Graph).Relu,
	"tanh":    (*graph.Graph).Tanh,
	"gelu":    (*graph.Graph).GELU,
	"sigmoid": (*graph.Graph).Sigmoid,
	"silu":    (*graph.Graph).SiLU,
}

type mlpConfig struct {
	sizes      []int
	activation string
	bias       bool
}

func parseMLP(o *options) (*model.Network, error) {
	c := mlpConfig{sizes: o.sizes(), activation: o.word("relu", slices.Sorted(maps.Keys(activations))...), bias: o.yes("bias", true)}
	if err := o.done(); err != nil {
		return nil, err
	}
	return mlp(c), nil
}

// mlp is nn.Sequential(Flatten, Linear, activation, Linear, …, Linear): layers 1, 3, 5, ….
func mlp(c mlpConfig) *model.Network {
	var t tensors
	layers := len(c.sizes) - 1
	var dims []string
	for i := range layers {
		bias := 0
		if c.bias {
			bias = c.sizes[i+1]
		}
		t.layer(strconv.Itoa(2*i+1), bias, c.sizes[i+1], c.sizes[i])
	}
	for _, s := range c.sizes {
		dims = append(dims, strconv.Itoa(s))
	}
	act := c.activation
	if act == "relu" || layers == 1 {
		act = ""
	}
	return &model.Network{
		Name:    name("mlp", strings.Join(dims, "-"), act, unless(true, "bias", c.bias)),
		Params:  t.params,
		Input:   c.sizes[:1],
		Outputs: c.sizes[layers],
		Match:   matchMLP,
		Forward: func(b *model.Builder, x *graph.Node) *graph.Node {
			for i := range layers {
				if i > 0 {
					x = activations[c.activation](b.G, x)
				}
				x = b.Linear(x, strconv.Itoa(2*i+1))
			}
			return x
		},
	}
}

// matchMLP takes the layers in the order of their numbers, whatever these are.
func matchMLP(names []string) map[string]string {
	to := map[string]string{}
	for i, prefix := range layerOrder(names) {
		for _, kind := range []string{"weight", "bias"} {
			to[join(prefix, kind)] = fmt.Sprintf("%d.%s", 2*i+1, kind)
		}
	}
	return to
}

func join(prefix, kind string) string {
	if prefix == "" {
		return kind
	}
	return prefix + "." + kind
}

// cutKind splits a name at its last dot: 0.weight is layer 0, weight.
func cutKind(name string) (prefix, kind string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

var digits = regexp.MustCompile(`[0-9]+`)

// layerOrder sorts the prefixes of the weights by the numbers in them (0, 2; net.0, net.10; fc1,
// fc2), which differ in nothing else. One without a number (net.0, net.2, head) is the last.
// It is nil when there is no such order.
func layerOrder(names []string) []string {
	type layer struct {
		prefix  string
		numbers []int
	}
	var layers []layer
	pattern, last, hasLast := "", "", false
	for _, name := range names {
		prefix, kind := cutKind(name)
		if kind != "weight" {
			continue
		}
		l := layer{prefix: prefix}
		for _, d := range digits.FindAllString(prefix, -1) {
			v, err := strconv.Atoi(d)
			if err != nil {
				return nil
			}
			l.numbers = append(l.numbers, v)
		}
		p := digits.ReplaceAllString(prefix, "#")
		switch {
		case l.numbers == nil && hasLast, l.numbers != nil && pattern != "" && p != pattern:
			return nil
		case l.numbers == nil:
			last, hasLast = prefix, true
			continue
		}
		pattern = p
		layers = append(layers, l)
	}
	slices.SortFunc(layers, func(a, b layer) int { return slices.Compare(a.numbers, b.numbers) })
	var out []string
	for _, l := range layers {
		out = append(out, l.prefix)
	}
	if hasLast {
		out = append(out, last)
	}
	return out
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
