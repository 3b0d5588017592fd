package zoo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"hessdens/internal/model"
)

// families are the values of model_type in a config.json of Hugging Face's transformers that FromConfig takes.
func families() map[string]func(c *config, ck *checkpoint) (*model.Network, error) {
	return map[string]func(c *config, ck *checkpoint) (*model.Network, error){
		"resnet": configResNet,
		"vit":    configViT,
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
	kind := c.text("model_type", "")
	build, ok := families()[kind]
	if !ok {
		return nil, fmt.Errorf("model_type %q is not known (known are %s)", kind, strings.Join(slices.Sorted(maps.Keys(families())), ", "))
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
	return n, nil
}

// config takes settings by name; the first error stays. A setting that is null counts as not given.
type config struct {
	values map[string]any
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
		c.fail("%s is %v, not a number from 1 to %d", key, v, most)
	}
	return 1
}

// real is a finite number.
func (c *config) real(key string, def float64) float64 {
	v := c.values[key]
	if v == nil {
		return def
	}
	if n, ok := v.(json.Number); ok {
		if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
			return f
		}
	}
	c.fail("%s is %v, not a number", key, v)
	return def
}

func (c *config) yes(key string, def bool) bool {
	switch v := c.values[key].(type) {
	case nil:
		return def
	case bool:
		return v
	default:
		c.fail("%s is %v, neither true nor false", key, v)
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
		c.fail("%s is %v, not a text", key, v)
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
		c.fail("%s is %v, which is not built in", key, v)
	}
}
