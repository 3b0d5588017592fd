// Package pickle reads Python's pickles, protocols 0 to 5, and executes nothing: it is a machine
// with a stack and a memo whose values are the types of this file. A class or function is a name
// (Global); the caller says by name what the harmless ones give, and all others become inert
// objects that keep what they were given.
//
// A pickle is hostile until parsed. Every length is held against the bytes that are there; memory
// grows with the bytes read, never with a length or an index that they declare; long strings are
// not read at all but stand for their place in the file. Values may be shared, and may contain
// themselves: who walks them has to expect both.
//
// Source: the opcodes as documented in CPython's Lib/pickletools.py.
package pickle

// The values of a pickle are nil (None), bool, int64, float64, string and the following types.
type (
	// Bytes is a short bytes object; comparable, unlike a slice.
	Bytes string
	// Tuple is an immutable sequence.
	Tuple []any
	// Big is an integer that does not fit an int64: its two's complement, little-endian.
	Big string

	// Blob is a string or bytes object too long to be kept: its place in the file.
	Blob struct {
		Offset, Len int64
		Text        bool // UTF-8, not bytes
	}

	// List is a list.
	List struct{ Items []any }

	// Set is a set or frozenset.
	Set struct{ Items []any }

	// Dict is a dict, or an OrderedDict: its items as they were set. A key that was set twice is
	// there twice; the last one counts (see Pairs).
	Dict struct{ Items []Pair }

	// Pair is an item of a Dict.
	Pair struct{ Key, Value any }

	// Global is the name of a class or function.
	Global struct{ Module, Name string }

	// Object is an inert instance: the class or function that would have made it, and what it
	// would have been given.
	Object struct {
		Class Global
		Args  Tuple
		State any // what BUILD gave
		Items *Dict
		List  *List
	}
)

// String is the name with its module.
func (g Global) String() string { return g.Module + "." + g.Name }

// Get is the value that a string key was set to last.
func (d *Dict) Get(key string) (any, bool) {
	if d == nil {
		return nil, false
	}
	for i := len(d.Items) - 1; i >= 0; i-- {
		if k, ok := d.Items[i].Key.(string); ok && k == key {
			return d.Items[i].Value, true
		}
	}
	return nil, false
}

// Pairs are the items whose keys are strings or int64, each once: at its first place, with its last
// value, as Python's dict has them.
func (d *Dict) Pairs() []Pair {
	if d == nil {
		return nil
	}
	at := make(map[any]int, len(d.Items))
	out := make([]Pair, 0, len(d.Items))
	for _, p := range d.Items {
		switch p.Key.(type) {
		case string, int64:
			if i, ok := at[p.Key]; ok {
				out[i].Value = p.Value
				continue
			}
			at[p.Key] = len(out)
			out = append(out, p)
		}
	}
	return out
}

// Builder is a value of the caller's own that takes what BUILD gives it.
type Builder interface{ Build(state any) error }

// Hooks are how the caller takes part. A nil function knows nothing.
type Hooks struct {
	// Call is what a known name gives for arguments; known is false for any other, which then
	// becomes an Object.
	Call func(fn Global, args Tuple) (v any, known bool, err error)
	// Persistent is the value of a persistent id.
	Persistent func(id any) (any, error)
}
