package zoo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// options are taken one by one; done finds what nobody took. The first error stays.
type options struct {
	args []string
	err  error
}

func (o *options) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// value takes KEY=VALUE out.
func (o *options) value(key string) (string, bool) {
	i := slices.IndexFunc(o.args, func(a string) bool { return strings.HasPrefix(a, key+"=") })
	if i < 0 {
		return "", false
	}
	v := o.args[i][len(key)+1:]
	o.args = slices.Delete(o.args, i, i+1)
	return v, true
}

// number is a positive integer, def when it is not given; a def of 0 demands it.
func (o *options) number(key string, def, most int) int {
	s, ok := o.value(key)
	switch v, err := strconv.Atoi(s); {
	case !ok && def == 0:
		o.fail("%s=… is missing", key)
	case !ok:
		return def
	case err != nil || v < 1 || v > most:
		o.fail("%s=%s is not a number from 1 to %d", key, s, most)
	default:
		return v
	}
	return 1
}

// optional is a positive integer, 0 where it is not given.
func (o *options) optional(key string, most int) int { return max(o.number(key, -1, most), 0) }

// real is a number above 0.
func (o *options) real(key string, def float64) float64 {
	s, ok := o.value(key)
	if !ok {
		return def
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0 && v <= math.MaxFloat64) {
		o.fail("%s=%s is not a number above 0", key, s)
		return def
	}
	return v
}

// activation is the name of one of transformerActivations.
func (o *options) activation(def string) string {
	s, ok := o.value("act")
	if !ok {
		return def
	}
	name, err := activationName(s)
	if err != nil {
		o.fail("act=%s %w", s, err)
		return def
	}
	return name
}

// rope takes theta=… and rope=linear:FACTOR or rope=llama3:FACTOR:LOW:HIGH:CONTEXT.
func (o *options) rope() rope {
	r := rope{theta: o.real("theta", ropeTheta)}
	s, ok := o.value("rope")
	if !ok {
		return r
	}
	kind, rest, _ := strings.Cut(s, ":")
	var v []float64
	for f := range strings.SplitSeq(rest, ":") {
		x, err := strconv.ParseFloat(f, 64)
		if err != nil || !(x > 0 && x <= math.MaxFloat64) {
			o.fail("rope=%s: %q is not a number above 0", s, f)
			return r
		}
		v = append(v, x)
	}
	switch {
	case kind == "linear" && len(v) == 1:
		r.scaling, r.factor = kind, v[0]
	case kind == "llama3" && len(v) == 4 && v[1] < v[2]:
		r.scaling, r.factor, r.low, r.high, r.context = kind, v[0], v[1], v[2], v[3]
	default:
		o.fail("rope=%s is neither linear:FACTOR nor llama3:FACTOR:LOW:HIGH:CONTEXT", s)
	}
	return r
}

// pad is the token that is padding; −1 for pad=none, where that may be.
func (o *options) pad(def int, optional bool) int {
	s, ok := o.value("pad")
	if !ok {
		return def
	}
	if s == "none" && optional {
		return -1
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 0 || v >= maxWidth {
		o.fail("pad=%s is no token", s)
		return def
	}
	return v
}

func (o *options) yes(key string, def bool) bool {
	s, ok := o.value(key)
	if ok && s != "true" && s != "false" {
		o.fail("%s=%s is neither true nor false", key, s)
	}
	if !ok {
		return def
	}
	return s == "true"
}

// choice is one of some values, in either case; the first is the default.
func (o *options) choice(key string, values ...string) string {
	s, ok := o.value(key)
	if !ok {
		return values[0]
	}
	for _, v := range values {
		if strings.EqualFold(s, v) {
			return v
		}
	}
	o.fail("%s=%s is none of %s", key, s, strings.Join(values, ", "))
	return ""
}

// word takes an option without a key.
func (o *options) word(def string, values ...string) string {
	for i, a := range o.args {
		if slices.Contains(values, a) {
			o.args = slices.Delete(o.args, i, i+1)
			return a
		}
	}
	return def
}

// sizes takes the first option: 784-20-10.
func (o *options) sizes() []int {
	if len(o.args) == 0 {
		o.fail("the sizes are missing, e.g. 784-20-10")
		return nil
	}
	var sizes []int
	for s := range strings.SplitSeq(o.args[0], "-") {
		v, err := strconv.Atoi(s)
		if err != nil || v < 1 || v > maxWidth {
			o.fail("%s is no list of sizes like 784-20-10", o.args[0])
			return nil
		}
		sizes = append(sizes, v)
	}
	if len(sizes) < 2 || len(sizes) > maxLayers {
		o.fail("%s: from two sizes to %d are taken, from inputs to outputs", o.args[0], maxLayers)
	}
	o.args = o.args[1:]
	return sizes
}

func (o *options) done() error {
	if len(o.args) > 0 {
		o.fail("unknown option %q", o.args[0])
	}
	return o.err
}
