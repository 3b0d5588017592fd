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

// count is how many of the tensors name(0), name(1), … there are before the first that is not.
func (c *checkpoint) count(name func(i int) string) int {
	n := 0
	for n < maxLayers && c.has(name(n)) {
		n++
	}
	return n
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

// errHeads says that the weights of a network do not tell the number of its heads, which is H in the specification.
func errHeads(kind, spec string) error {
	return fmt.Errorf("the weights are those of a %s, and their names and shapes do not tell the number of heads (give --model %s with H the number of heads, or a directory with its config.json)", kind, spec)
}

// assumed notes what a definition adds to names and shapes.
func assumed(n *model.Network, what string) *model.Network {
	n.Notes = append(n.Notes, fmt.Sprintf("recognised as %s from names and shapes: %s", n.Name, what))
	return n
}
