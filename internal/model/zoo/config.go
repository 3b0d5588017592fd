package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/model"
)

// families are the values of model_type in a config.json of Hugging Face's transformers that FromConfig takes.
func families() map[string]func(c *config, ck *checkpoint) (*model.Network, error) {
	return map[string]func(c *config, ck *checkpoint) (*model.Network, error){
		"gpt2":       configGPT,
		"llama":      configLlama("llama", "LlamaForCausalLM"),
		"mistral":    configLlama("mistral", "MistralForCausalLM"),
		"qwen2":      configLlama("qwen2", "Qwen2ForCausalLM"),
		"qwen3":      configLlama("qwen3", "Qwen3ForCausalLM"),
		"bert":       configEncoder(bertNames),
		"roberta":    configEncoder(robertaNames),
		"distilbert": configEncoder(distilbertNames),
		"resnet":     configResNet,
		"vit":        configViT,
	}
}

// FromConfig makes the network that a config.json describes, as Hugging Face's transformers keeps one beside the
// tensors whose names and shapes are the entries. It fails on anything that is not JSON, on a model_type that is not known,
// and on settings that ask for what is not built here; never is one passed over that changes the outputs.
func FromConfig(text []byte, entries []Entry) (*model.Network, error) {
	c := &config{values: map[string]any{}}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&c.values); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("no JSON object: it goes on after its end")
	}
	kind := c.text("model_type", "")
	build, ok := families()[kind]
	if c.err != nil {
		return nil, c.err
	}
	if !ok {
		return nil, fmt.Errorf("model_type %q is not known (known are %s)", kind, strings.Join(slices.Sorted(maps.Keys(families())), ", "))
	}
	c.only("is_encoder_decoder", false)
	for _, key := range []string{"quantization_config", "per_layer_config"} {
		c.only(key)
	}
	if pruned, ok := c.values["pruned_heads"].(map[string]any); c.values["pruned_heads"] != nil && (!ok || len(pruned) > 0) {
		c.only("pruned_heads")
	}
	n, err := build(c, newCheckpoint(entries))
	if c.err != nil {
		err = c.err // the first one: what came after may follow from it
	}
	if err != nil {
		return nil, err
	}
	if err := checkSize(n); err != nil {
		return nil, err
	}
	if c.given("auto_map") {
		n.Notes = append(n.Notes, "config.json names code of its own (auto_map), which is not run: the network is the one that transformers has by that name")
	}
	n.Notes = append(n.Notes, c.notes...)
	n.Labels = c.labels()
	return n, nil
}

// config takes settings by name; the first error stays. A setting that is null counts as not given.
type config struct {
	values map[string]any
	notes  []string // what is assumed
	err    error
}

func (c *config) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// number is a positive integer; def where it is not given, and a def of 0 demands it.
func (c *config) number(key string, def, most int) int {
	v := c.values[key]
	if v == nil && def != 0 {
		return def
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil && i >= 1 && i <= int64(most) {
			return int(i)
		}
	}
	if v == nil {
		c.fail("%s is missing", key)
	} else {
		c.fail("%s is %s, not a number from 1 to %d", key, show(v), most)
	}
	return 1
}

// natural is an integer of at least 0.
func (c *config) natural(key string, def int) int {
	v := c.values[key]
	if v == nil {
		return def
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil && i >= 0 && i <= math.MaxInt32 {
			return int(i)
		}
	}
	c.fail("%s is %s, not a number from 0 on", key, show(v))
	return def
}

// positive is a finite number above 0; def where it is not given, and a def of 0 demands it.
func (c *config) positive(key string, def float64) float64 {
	v := c.values[key]
	switch n, ok := v.(json.Number); {
	case v == nil && def != 0:
		return def
	case v == nil:
		c.fail("%s is missing", key)
		return 1
	case ok:
		if f, err := n.Float64(); err == nil && f > 0 {
			return f
		}
	}
	c.fail("%s is %s, not a number above 0", key, show(v))
	return 1
}

// numbers is a list of from one to most positive integers, def where it is not given.
func (c *config) numbers(key string, def []int, most, largest int) []int {
	switch v := c.values[key].(type) {
	case nil:
		return def
	case []any:
		var out []int
		for _, x := range v {
			n, _ := x.(json.Number)
			i, err := n.Int64()
			if err != nil || i < 1 || i > int64(largest) || len(out) == most {
				c.fail("%s is no list of up to %d numbers from 1 to %d", key, most, largest)
				return def
			}
			out = append(out, int(i))
		}
		if out != nil {
			return out
		}
	}
	c.fail("%s is no list of up to %d numbers from 1 to %d", key, most, largest)
	return def
}

// heightAndWidth is one number for both, or a list of the two.
func (c *config) heightAndWidth(key string, def int) [2]int {
	if _, ok := c.values[key].([]any); !ok {
		n := c.number(key, def, maxWidth)
		return [2]int{n, n}
	}
	both := c.numbers(key, nil, 2, maxWidth)
	if len(both) != 2 {
		c.fail("%s is neither a number nor a list of height and width", key)
		return [2]int{1, 1}
	}
	return [2]int{both[0], both[1]}
}

// classes is the number of labels.
func (c *config) classes() int {
	switch labels, ok := c.values["id2label"].(map[string]any); {
	case c.values["id2label"] == nil:
		return c.number("num_labels", 2, maxWidth)
	case !ok || len(labels) == 0:
		c.fail("id2label is %s, not an object with the names of the labels", show(c.values["id2label"]))
		return 1
	default:
		return len(labels)
	}
}

// labels are the names of the classes in id2label, nil where it does not have one for each.
func (c *config) labels() []string {
	given, _ := c.values["id2label"].(map[string]any)
	var names []string
	for i := range len(given) {
		name, ok := given[strconv.Itoa(i)].(string)
		if !ok {
			return nil
		}
		names = append(names, name)
	}
	return names
}

// activation is the name of one of transformerActivations.
func (c *config) activation(key, def string) string {
	s := c.text(key, def)
	name, err := activationName(s)
	if err != nil {
		c.fail("%s is %q, which %w", key, s, err)
		return def
	}
	return name
}

// given says whether a setting is there, null or not.
func (c *config) given(key string) bool {
	_, ok := c.values[key]
	return ok
}

// architecture demands the class of the network that is built.
func (c *config) architecture(class string) {
	switch list, ok := c.values["architectures"].([]any); {
	case c.values["architectures"] == nil:
		c.notes = append(c.notes, "config.json names no architecture: taken to be "+class)
	case !ok || len(list) != 1 || list[0] != class:
		c.fail("architectures is %s, and of this model_type %s is built in", show(c.values["architectures"]), class)
	}
}

func (c *config) yes(key string, def bool) bool {
	switch v := c.values[key].(type) {
	case nil:
		return def
	case bool:
		return v
	default:
		c.fail("%s is %s, neither true nor false", key, show(v))
		return def
	}
}

func (c *config) text(key, def string) string {
	switch v := c.values[key].(type) {
	case nil:
		return def
	case string:
		return v
	default:
		c.fail("%s is %s, not a text", key, show(v))
		return def
	}
}

// only demands one of some values of a setting, of which others are not built here.
func (c *config) only(key string, values ...any) {
	v := c.values[key]
	if n, ok := v.(json.Number); ok {
		if f, err := n.Float64(); err == nil {
			v = f
		}
	}
	if v != nil && !slices.Contains(values, v) {
		c.fail("%s is %s, which is not built in", key, show(c.values[key]))
	}
}

// show is a value in a message.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%.60v", v)
	}
	const most = 60
	if r := []rune(string(text)); len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(text)
}
