package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hessdens/internal/model/checkpoint/pickle"
	"hessdens/internal/tensor"
)

// wellKnown are the keys under which training checkpoints keep the network's state_dict. Averaged
// weights (ema, swa) are other weights: they are taken only when they are asked for.
var wellKnown = []string{"state_dict", "model_state_dict", "model_state", "model", "net", "net_state_dict", "network", "module", "params"}

// entryCost is what an entry takes of the budget beside its name, in bytes.
const entryCost = 64

// maxDepth bounds how deep modules, or the values of a checkpoint, may lie in each other.
const maxDepth = 100

// picker finds the tensors in what a pickle holds. Its values may be shared and may contain
// themselves, so that a walk can be far longer than the file: each walk has a depth and all
// together a budget, in bytes of the names and of what is kept with them.
type picker struct {
	format string
	u      *unpickler
	budget int64
	left   int64
	holds  map[any]bool // whether there are tensors in a collection; false while that is being found out
}

// newPicker takes the size of the pickle, in bytes: what it may give grows with that.
func newPicker(format string, u *unpickler, size int64) *picker {
	budget := 1<<16 + 16*size
	return &picker{format: format, u: u, budget: budget, left: budget, holds: map[any]bool{}}
}

var errBudget = errors.New("the values of the pickle contain each other so often that walking them has no end (the file is damaged, or made to do harm; save the state_dict alone)")

// spend takes from the budget.
func (p *picker) spend(n int) error {
	if p.left -= int64(n) + 8; p.left < 0 {
		return errBudget
	}
	return nil
}

// found is a tensor and the name it has; or a number of an optimiser's state.
type found struct {
	name  string
	view  *view
	value *tensor.Tensor
}

// file is the checkpoint in v, below key where that is not empty.
func (p *picker) file(v any, key string) (*File, error) {
	f := &File{Format: p.format, load: map[string]func() (*tensor.Tensor, error){}}
	for name := range p.u.unknown {
		f.Unknown = append(f.Unknown, name)
	}
	slices.Sort(f.Unknown)
	top := v
	var err error
	var list []found
	if key != "" && key != "." {
		if v, err = p.at(v, key); err != nil {
			return nil, err
		}
	}
	switch {
	case key == "." && isOptimizer(v):
		list, err = p.state(v, key)
	case key == ".":
		list, err = p.direct(v)
	default:
		list, key, err = p.choose(v, key, 0)
	}
	if err != nil {
		return nil, p.explain(err)
	}
	f.Key = key
	for _, x := range list {
		if err := f.add(x); err != nil {
			return nil, p.explain(err)
		}
	}
	if f.Optimizers, err = p.optimizers(top, key); err != nil {
		return nil, err
	}
	return f, nil
}

// explain adds the classes that the reader does not know to an error that they may be the cause of.
func (p *picker) explain(err error) error {
	if errors.Is(err, errNoTensors) && len(p.u.unknown) > 0 {
		names := slices.Sorted(maps.Keys(p.u.unknown))
		more := ""
		if len(names) > 4 {
			names, more = names[:4], ", …"
		}
		return fmt.Errorf("%w; it holds objects of unknown classes, which are not executed: %s%s", err, strings.Join(names, ", "), more)
	}
	return err
}

// add makes an entry of a tensor.
func (f *File) add(x found) error {
	if f.load[x.name] != nil {
		return fmt.Errorf("two tensors are called %.200q (save the state_dict alone with torch.save)", x.name)
	}
	if x.value != nil {
		f.Entries = append(f.Entries, Entry{Name: x.name, DType: x.value.DType, Shape: x.value.Shape})
		f.load[x.name] = func() (*tensor.Tensor, error) { return x.value, nil }
		return nil
	}
	if err := x.view.check(); err != nil {
		return fmt.Errorf("tensor %.200q: %w", x.name, err)
	}
	f.Entries = append(f.Entries, Entry{Name: x.name, DType: x.view.dtype, Shape: x.view.shape})
	f.load[x.name] = x.view.tensor
	return nil
}

// asDict is a value as a mapping: a dict, the items of an unknown one, or an object's attributes.
func asDict(v any) *pickle.Dict {
	switch v := v.(type) {
	case *pickle.Dict:
		return v
	case *pickle.Object:
		if v.Items != nil {
			return v.Items
		}
		return attributes(v)
	}
	return nil
}

// attributes are what BUILD gave an object: a dict, or that and one of slots.
func attributes(v *pickle.Object) *pickle.Dict {
	switch s := v.State.(type) {
	case *pickle.Dict:
		return s
	case pickle.Tuple:
		for _, x := range s {
			if d, ok := x.(*pickle.Dict); ok {
				return d
			}
		}
	}
	return nil
}

// asModule are the attributes of a torch.nn.Module that was pickled whole.
func asModule(v any) *pickle.Dict {
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil
	}
	d := attributes(o)
	_, hasParameters := d.Get("_parameters")
	_, hasModules := d.Get("_modules")
	if hasParameters && hasModules {
		return d
	}
	return nil
}

// asScript are the attributes of a module of TorchScript: tensors and modules among others.
func asScript(v any) *pickle.Dict {
	if o, ok := v.(*pickle.Object); ok && (o.Class.Module == "__torch__" || strings.HasPrefix(o.Class.Module, "__torch__.")) {
		return attributes(o)
	}
	return nil
}

// isOptimizer recognises the state_dict of an optimiser, whatever its key.
func isOptimizer(v any) bool {
	d, ok := v.(*pickle.Dict)
	if !ok {
		return false
	}
	_, hasState := d.Get("state")
	groups, _ := d.Get("param_groups")
	_, isList := groups.(*pickle.List)
	return hasState && isList
}

// children are the values in a collection with their keys, in order.
func (p *picker) children(v any) ([]pickle.Pair, error) {
	items, ok := sequence(v)
	if !ok {
		return p.pairs(asDict(v))
	}
	if err := p.spend(4 * len(items)); err != nil {
		return nil, err
	}
	out := make([]pickle.Pair, len(items))
	for i, x := range items {
		out[i] = pickle.Pair{Key: int64(i), Value: x}
	}
	return out, nil
}

// pairs are the items of a dict; none of nil.
func (p *picker) pairs(d *pickle.Dict) ([]pickle.Pair, error) {
	if d == nil {
		return nil, nil
	}
	if err := p.spend(4 * len(d.Items)); err != nil {
		return nil, err
	}
	return d.Pairs(), nil
}

// holdsTensors says whether there is a tensor anywhere in v.
func (p *picker) holdsTensors(v any, depth int) (bool, error) {
	if asView(v) != nil {
		return true, nil
	}
	if _, ok := v.(*storage); ok {
		return true, nil
	}
	id := v
	switch x := v.(type) {
	case *pickle.Dict, *pickle.List, *pickle.Object:
		if known, ok := p.holds[id]; ok {
			return known, nil
		}
		p.holds[id] = false
	case pickle.Tuple:
		if len(x) == 0 {
			return false, nil
		}
		id = &x[0] // tuples are shared too
		if known, ok := p.holds[id]; ok {
			return known, nil
		}
		p.holds[id] = false
	default:
		return false, nil
	}
	if depth > maxDepth {
		return false, nil
	}
	inner, err := p.children(v)
	if err != nil {
		return false, err
	}
	if o, ok := v.(*pickle.Object); ok {
		inner = append(inner, pickle.Pair{Value: o.Args})
		if o.List != nil {
			inner = append(inner, pickle.Pair{Value: o.List})
		}
	}
	for _, c := range inner {
		yes, err := p.holdsTensors(c.Value, depth+1)
		if err != nil {
			return false, err
		}
		if yes {
			p.holds[id] = true
			return true, nil
		}
	}
	return false, nil
}

var errNoTensors = errors.New("no tensors under names (save the network's state_dict() with torch.save)")

// choose finds the one network in v, which lies at path, and says where it was.
func (p *picker) choose(v any, path string, depth int) ([]found, string, error) {
	if depth > maxDepth {
		return nil, "", errBudget
	}
	if t := asView(v); t != nil {
		if path == "" {
			return nil, "", errors.New("a single tensor without a name (save the network's state_dict() with torch.save)")
		}
		return []found{{name: path, view: t}}, path, nil
	}
	if m := asModule(v); m != nil {
		list, err := p.module(m)
		return list, path, err
	}
	if m := asScript(v); m != nil {
		list, err := p.script(m, "", nil, nil)
		return list, path, err
	}
	if isOptimizer(v) && path != "" {
		list, err := p.state(v, path)
		return list, path, err
	}
	if depth == 0 && isOptimizer(v) {
		return nil, "", errors.New("the state of an optimiser, without the weights of its network (give the file that has the state_dict, or #. for the state itself)")
	}
	var candidates []pickle.Pair // that are well known
	var nested []string          // where tensors are
	tensors := 0
	inner, err := p.children(v)
	if err != nil {
		return nil, "", err
	}
	for _, c := range inner {
		name, isString := c.Key.(string)
		if isString && (asView(c.Value) != nil || tensorLike(c.Value)) {
			tensors++
			continue
		}
		if isOptimizer(c.Value) || strings.HasSuffix(name, "_extra_state") || isString && strings.HasPrefix(name, "optimizer") {
			continue
		}
		if asDict(c.Value) == nil {
			if _, ok := sequence(c.Value); !ok {
				continue
			}
		}
		yes, err := p.holdsTensors(c.Value, 0)
		if err != nil {
			return nil, "", err
		}
		if !yes {
			continue
		}
		if isString && slices.Contains(wellKnown, name) && asDict(c.Value) != nil {
			candidates = append(candidates, c)
		}
		nested = append(nested, join(path, keyText(c.Key)))
	}
	switch {
	case len(candidates) == 1:
		return p.choose(candidates[0].Value, join(path, candidates[0].Key.(string)), depth+1)
	case len(candidates) > 1:
		nested = nested[:0]
		for _, c := range candidates {
			nested = append(nested, join(path, c.Key.(string)))
		}
		return nil, "", ambiguous(nested, 0)
	case len(nested) > 0:
		return nil, "", ambiguous(nested, tensors)
	case tensors == 0:
		where := ""
		if path != "" {
			where = fmt.Sprintf(" under #%.100s", path)
		}
		return nil, "", fmt.Errorf("the file holds%s %w", where, errNoTensors)
	}
	list, err := p.direct(v)
	return list, path, err
}

// ambiguous lists what may be meant.
func ambiguous(paths []string, direct int) error {
	const most = 12
	shown := make([]string, 0, most)
	for _, s := range paths[:min(len(paths), most)] {
		shown = append(shown, fmt.Sprintf("#%.100s", s))
	}
	if len(paths) > most {
		shown = append(shown, fmt.Sprintf("and %d more", len(paths)-most))
	}
	if direct > 0 {
		shown = append(shown, fmt.Sprintf("or #. for the %d tensors of the top level", direct))
	}
	return fmt.Errorf("it is not clear which tensors of the checkpoint are the network's (give one after the file's name: %s)", strings.Join(shown, ", "))
}

// tensorLike says whether a value stands for one tensor of an unknown kind.
func tensorLike(v any) bool {
	o, ok := v.(*pickle.Object)
	if !ok || o.Items != nil {
		return false
	}
	if strings.HasPrefix(o.Class.Name, "_rebuild") {
		return true
	}
	of := func(x any) bool { _, ok := x.(*storage); return ok || asView(x) != nil }
	return strings.Contains(strings.ToLower(o.Class.Name), "tensor") && slices.ContainsFunc(o.Args, of)
}

// unreadable is the entry for a tensor of an unknown kind.
func unreadable(v any) *view {
	g := v.(*pickle.Object).Class
	return &view{dtype: unread(g.Name), fault: fmt.Errorf("a tensor made by %.100s, which is not known (convert it to a plain tensor and save it again)", g)}
}

// direct are the tensors in a mapping under their keys.
func (p *picker) direct(v any) ([]found, error) {
	var out []found
	inner, err := p.children(v)
	if err != nil {
		return nil, err
	}
	for _, c := range inner {
		name, ok := c.Key.(string)
		if !ok {
			continue
		}
		if err := p.spend(len(name) + entryCost); err != nil {
			return nil, err
		}
		if t := asView(c.Value); t != nil {
			out = append(out, found{name: name, view: t})
			continue
		}
		if tensorLike(c.Value) {
			out = append(out, found{name: name, view: unreadable(c.Value)})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the file holds at its top level %w", errNoTensors)
	}
	return out, nil
}

// module walks a torch.nn.Module as its state_dict() does: parameters, persistent buffers, then
// modules, each in the order in which they were set. A module that lies in several places has its
// tensors under each of the names.
func (p *picker) module(top *pickle.Dict) ([]found, error) {
	var out []found
	var walk func(m *pickle.Dict, prefix string, above []*pickle.Dict) error
	walk = func(m *pickle.Dict, prefix string, above []*pickle.Dict) error {
		if slices.Contains(above, m) || len(above) > maxDepth {
			return fmt.Errorf("module %.100q contains itself, or lies deeper than %d modules (the file is damaged; save the state_dict alone)", prefix, maxDepth)
		}
		above = append(above, m)
		hidden := map[any]bool{}
		if s, _ := m.Get("_non_persistent_buffers_set"); s != nil {
			if set, ok := s.(*pickle.Set); ok {
				for _, x := range set.Items {
					if name, ok := x.(string); ok {
						hidden[name] = true
					}
				}
			}
		}
		for _, kind := range []string{"_parameters", "_buffers", "_modules"} {
			v, _ := m.Get(kind)
			pairs, err := p.pairs(asDict(v))
			if err != nil {
				return err
			}
			for _, c := range pairs {
				name := prefix + keyText(c.Key)
				if err := p.spend(len(name) + entryCost); err != nil {
					return err
				}
				switch {
				case kind == "_modules":
					inner := asModule(c.Value)
					if inner == nil {
						inner = asScript(c.Value)
					}
					if inner == nil {
						continue // None
					}
					if err := walk(inner, name+".", above); err != nil {
						return err
					}
				case kind == "_buffers" && hidden[c.Key]:
				case asView(c.Value) != nil:
					out = append(out, found{name: name, view: asView(c.Value)})
				case tensorLike(c.Value):
					out = append(out, found{name: name, view: unreadable(c.Value)})
				}
			}
		}
		return nil
	}
	if err := walk(top, "", nil); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the pickled module holds %w", errNoTensors)
	}
	return out, nil
}

// script walks a module of TorchScript: its tensors, then its modules, in order.
func (p *picker) script(m *pickle.Dict, prefix string, above []*pickle.Dict, out []found) ([]found, error) {
	if slices.Contains(above, m) || len(above) > maxDepth {
		return nil, fmt.Errorf("module %.100q contains itself, or lies deeper than %d modules (the file is damaged; save the state_dict alone)", prefix, maxDepth)
	}
	above = append(above, m)
	pairs, err := p.pairs(m)
	if err != nil {
		return nil, err
	}
	for _, c := range pairs {
		name := prefix + keyText(c.Key)
		if err := p.spend(len(name) + entryCost); err != nil {
			return nil, err
		}
		if t := asView(c.Value); t != nil {
			out = append(out, found{name: name, view: t})
		}
	}
	for _, c := range pairs {
		if inner := asScript(c.Value); inner != nil {
			if out, err = p.script(inner, prefix+keyText(c.Key)+".", above, out); err != nil {
				return nil, err
			}
		}
	}
	if len(above) == 1 && len(out) == 0 {
		return nil, fmt.Errorf("the TorchScript module holds %w", errNoTensors)
	}
	return out, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at follows a path: keys joined by dots, of which a key may itself have some, and indices of lists.
func (p *picker) at(v any, path string) (any, error) {
	rest := path
	for rest != "" {
		if err := p.spend(len(rest)); err != nil {
			return nil, err
		}
		pairs, err := p.children(v)
		if err != nil {
			return nil, err
		}
		if m := asModule(v); m != nil {
			inner, _ := m.Get("_modules")
			modules, err := p.pairs(asDict(inner))
			if err != nil {
				return nil, err
			}
			pairs = slices.Concat(modules, pairs)
		}
		best, next := -1, any(nil)
		for _, c := range pairs {
			k := keyText(c.Key)
			if len(k) > best && (rest == k || strings.HasPrefix(rest, k+".")) {
				best, next = len(k), c.Value
			}
		}
		if best < 0 {
			return nil, fmt.Errorf("no key #%.100s: nothing is called %.60q there (the keys are %s)", path, rest, listKeys(pairs))
		}
		v = next
		rest = strings.TrimPrefix(rest[best:], ".")
	}
	return v, nil
}

// listKeys are the first few keys, for a message.
func listKeys(pairs []pickle.Pair) string {
	const most = 12
	var s []string
	for i, c := range pairs {
		if i == most {
			s = append(s, fmt.Sprintf("and %d more", len(pairs)-most))
			break
		}
		s = append(s, fmt.Sprintf("%.60q", keyText(c.Key)))
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, ", ")
}

// state are the tensors and numbers of an optimiser's state, as "state.INDEX.NAME".
func (p *picker) state(v any, path string) ([]found, error) {
	var out []found
	var walk func(v any, name string, depth int) error
	walk = func(v any, name string, depth int) error {
		if err := p.spend(len(name) + entryCost); err != nil {
			return err
		}
		if depth > maxDepth {
			return errBudget
		}
		if t := asView(v); t != nil {
			out = append(out, found{name: name, view: t})
			return nil
		}
		switch x := v.(type) {
		case int64:
			out = append(out, found{name: name, value: &tensor.Tensor{DType: tensor.Int64, Shape: []int{}, I64: []int64{x}}})
		case float64:
			out = append(out, found{name: name, value: &tensor.Tensor{DType: tensor.Float64, Shape: []int{}, F64: []float64{x}}})
		}
		inner, err := p.children(v)
		if err != nil {
			return err
		}
		for _, c := range inner {
			if err := walk(c.Value, join(name, keyText(c.Key)), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	s, _ := v.(*pickle.Dict).Get("state")
	if err := walk(s, "state", 0); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("optimiser #%.100s has no state yet: it has taken no step (take a checkpoint after the first one)", path)
	}
	return out, nil
}

// Optimizer is the state_dict of an optimiser of torch.optim that lies beside a network's weights.
type Optimizer struct {
	Key    string // where it lies, as OpenAt takes it
	Groups []ParamGroup

	file func() (*File, error)
}

// ParamGroup is an entry of an optimiser's param_groups.
type ParamGroup struct {
	// Params are the indices of the group's parameters in the optimiser's state: for the optimiser of
	// a whole network, in the order of its named_parameters().
	Params []string
	// Names are the parameters' names, where the file has them (param_names).
	Names []string
	// Options are the settings that are numbers, texts or booleans, and tuples of numbers: "lr" is a
	// float64, "betas" a []float64, "amsgrad" a bool.
	Options map[string]any
}

// Open gives the state as tensors called "state.INDEX.NAME", for instance "state.0.exp_avg_sq"; a
// number, such as "state.0.step" of older versions, is a tensor without axes. It fails on an
// optimiser that has taken no step.
func (o *Optimizer) Open() (*File, error) { return o.file() }

// optimizers are those beside the network at path, and beside each value on the way there.
func (p *picker) optimizers(top any, path string) ([]Optimizer, error) {
	var out []Optimizer
	if isOptimizer(top) {
		out = append(out, p.optimizer(top, "."))
	}
	here := ""
	for v := top; ; {
		inner, err := p.children(v)
		if err != nil {
			return nil, err
		}
		for _, c := range inner {
			key := join(here, keyText(c.Key))
			if isOptimizer(c.Value) {
				out = append(out, p.optimizer(c.Value, key))
				continue
			}
			items, _ := sequence(c.Value) // one of several: optimizer_states
			if err := p.spend(4 * len(items)); err != nil {
				return nil, err
			}
			for i, x := range items {
				if isOptimizer(x) {
					out = append(out, p.optimizer(x, join(key, strconv.Itoa(i))))
				}
			}
		}
		// One step down the path, along the longest key as at does.
		rest := strings.TrimPrefix(strings.TrimPrefix(path, here), ".")
		best, next := -1, any(nil)
		for _, c := range inner {
			if k := keyText(c.Key); len(k) > best && strings.HasPrefix(rest, k+".") {
				best, next = len(k), c.Value
			}
		}
		if best < 0 || rest == "" {
			return out, nil
		}
		here, v = join(here, rest[:best]), next
		if err := p.spend(len(here)); err != nil {
			return nil, err
		}
	}
}

func (p *picker) optimizer(v any, key string) Optimizer {
	o := Optimizer{Key: key}
	o.file = func() (*File, error) {
		q := *p
		q.left = p.budget
		list, err := q.state(v, key)
		if err != nil {
			return nil, err
		}
		f := &File{Format: p.format, Key: key, load: map[string]func() (*tensor.Tensor, error){}}
		for _, x := range list {
			if err := f.add(x); err != nil {
				return nil, err
			}
		}
		return f, nil
	}
	groups, _ := v.(*pickle.Dict).Get("param_groups")
	for _, g := range groups.(*pickle.List).Items {
		d, ok := g.(*pickle.Dict)
		if !ok {
			continue
		}
		group := ParamGroup{Options: map[string]any{}}
		for _, c := range d.Pairs() {
			name := keyText(c.Key)
			items, isSequence := sequence(c.Value)
			switch {
			case name == "params" || name == "param_names":
				for _, x := range items {
					if name == "params" {
						group.Params = append(group.Params, keyText(x))
					} else {
						group.Names = append(group.Names, keyText(x))
					}
				}
			case isSequence:
				if numbers := floats(items); numbers != nil {
					group.Options[name] = numbers
				}
			default:
				switch x := c.Value.(type) {
				case int64:
					group.Options[name] = float64(x)
				case float64, bool, string:
					group.Options[name] = x
				}
			}
		}
		o.Groups = append(o.Groups, group)
	}
	return o
}

// floats are numbers of a tuple, nil when there is anything else in it.
func floats(items []any) []float64 {
	out := make([]float64, 0, len(items))
	for _, x := range items {
		switch x := x.(type) {
		case int64:
			out = append(out, float64(x))
		case float64:
			out = append(out, x)
		default:
			return nil
		}
	}
	return out
}
