package pickle

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// read is the one pickle of a text, with persistent ids as they are and one known name.
func read(s string) (any, error) {
	m := NewReader(strings.NewReader(s), 0, int64(len(s)), int64(len(s)), Hooks{
		Call: func(fn Global, args Tuple) (any, bool, error) {
			if fn.Name == "bad" {
				return nil, true, errCallee
			}
			return args, fn == Global{"m", "known"}, nil
		},
		Persistent: func(id any) (any, error) { return Tuple{"id", id}, nil },
	})
	return m.Next()
}

// Each opcode gives what CPython's pickle gives.
func TestOpcodes(t *testing.T) {
	list := func(x ...any) *List { return &List{x} }
	for _, tt := range []struct {
		pickle string
		want   any
	}{
		{"N.", nil}, {"\x88.", true}, {"\x89.", false}, {"I01\n.", true}, {"I00\n.", false}, {"I-7\n.", int64(-7)}, {"L12L\n.", int64(12)},
		{"K\xff.", int64(255)}, {"M\x01\x02.", int64(513)}, {"J\xff\xff\xff\xff.", int64(-1)}, {"F1.5\n.", 1.5}, {"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"Finf\n.", math.Inf(1)},
		{"\x8a\x00.", int64(0)}, {"\x8a\x01\xff.", int64(-1)}, {"\x8a\x02\xff\x00.", int64(255)}, {"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", int64(math.MinInt64)},
		{"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", Big("\x00\x00\x00\x00\x00\x00\x00\x80\x00")}, {"\x8b\x01\x00\x00\x00\x05.", int64(5)},
		{"\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff.", int64(-1)},
		{"L9223372036854775808L\n.", Big("\x00\x00\x00\x00\x00\x00\x00\x80\x00")}, {"L-9223372036854775809\n.", Big("\xff\xff\xff\xff\xff\xff\xff\x7f\xff")},
		{"S'a\\n\\x41\\''\n.", "a\nA'"}, {"Va\\u00e9\\n\n.", `aé\n`}, {"X\x02\x00\x00\x00\xc3\xa9.", "é"}, {"\x8c\x01a.", "a"}, {"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "a"},
		{"X\x03\x00\x00\x00\xed\xa0\x80.", "\uFFFD"},
		{"U\x01a.", "a"}, {"U\x01\xff.", Bytes("\xff")}, {"T\x01\x00\x00\x00a.", "a"}, {"C\x01a.", Bytes("a")}, {"B\x01\x00\x00\x00a.", Bytes("a")},
		{"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", Bytes("a")}, {"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", Bytes("a")},
		{").", Tuple{}}, {"(K\x01K\x02t.", Tuple{int64(1), int64(2)}}, {"N\x85.", Tuple{nil}}, {"NN\x86.", Tuple{nil, nil}}, {"NNN\x87.", Tuple{nil, nil, nil}},
		{"(Nl.", list(nil)}, {"]Na.", list(nil)}, {"](NNe.", list(nil, nil)}, {"(NNd.", &Dict{[]Pair{{nil, nil}}}}, {"}K\x01Ns.", &Dict{[]Pair{{int64(1), nil}}}},
		{"}(K\x01NK\x02Nu.", &Dict{[]Pair{{int64(1), nil}, {int64(2), nil}}}}, {"\x8f(N\x90.", &Set{[]any{nil}}}, {"(N\x91.", &Set{[]any{nil}}},
		{"NK\x010.", nil}, {"N(K\x01K\x021.", nil}, {"N(0.", nil}, {"N2\x86.", Tuple{nil, nil}},
		{"K\x01p5\n0g5\n.", int64(1)}, {"K\x01q\x000h\x00.", int64(1)}, {"K\x01r\x09\x00\x00\x000j\x09\x00\x00\x00.", int64(1)}, {"K\x01\x94K\x02\x94h\x00.", int64(1)},
		{"cm\nf\n.", Global{"m", "f"}}, {"\x8c\x01m\x8c\x01f\x93.", Global{"m", "f"}}, {"cm\nknown\nN\x85R.", Tuple{nil}}, {"cm\nknown\nN\x85\x81.", Tuple{nil}},
		{"cm\nf\nN\x85R.", &Object{Class: Global{"m", "f"}, Args: Tuple{nil}}}, {"cm\nf\n)}\x92.", &Object{Class: Global{"m", "f"}, Args: Tuple{}}},
		{"(Nim\nknown\n.", Tuple{nil}}, {"(cm\nknown\nNo.", Tuple{nil}}, {"cm\nf\n)RK\x05b.", &Object{Class: Global{"m", "f"}, Args: Tuple{}, State: int64(5)}},
		{"cm\nf\n)RK\x01Ns.", &Object{Class: Global{"m", "f"}, Args: Tuple{}, Items: &Dict{[]Pair{{int64(1), nil}}}}},
		{"cm\nf\n)RNa.", &Object{Class: Global{"m", "f"}, Args: Tuple{}, List: list(nil)}},
		{"Pabc\n.", Tuple{"id", "abc"}}, {"K\x01Q.", Tuple{"id", int64(1)}}, {"\x80\x05\x95\x02\x00\x00\x00\x00\x00\x00\x00N\x98.", nil},
		{"]q\x00h\x00K\x01a0h\x00.", list(int64(1))},
		{"X\x01\x10\x00\x00" + strings.Repeat("a", 4097) + ".", Blob{Offset: 5, Len: 4097, Text: true}},
	} {
		got, err := read(tt.pickle)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%.40q: got %#v, %v, want %#v", tt.pickle, got, err, tt.want)
		}
	}
}

func TestBad(t *testing.T) {
	for _, tt := range []struct{ pickle, want string }{
		{"", "without a STOP"}, {"N", "without a STOP"}, {".", "empty"}, {"(0.", "empty"}, {"N(.", "empty"}, {"(N0\x85.", "empty"}, {"1.", "no MARK"}, {"2.", "empty"},
		{"\x80\x06.", "protocol 6"}, {"Fx\n.", "no number"}, {"Ix\n.", "no integer"}, {"L" + strings.Repeat("1", 5000) + "\n.", "5000 digits"},
		{"S'a\n.", "no string"}, {"S'\\x4'\n.", "no string"}, {"V\\u12\n.", "no string"}, {"gx\n.", "no place"}, {"g-1\n.", "no place"}, {"h\x00.", "nothing is kept"},
		{"NNa.", "takes none"}, {"N(NNu.", "takes none"}, {"}(Nu.", "without a value"}, {"NN\x93.", "no string"}, {"cm\nf\nNR.", "no tuple"}, {"N)R.", "no name"}, {"(o.", "no name"},
		{"cm\nbad\n)R.", "m.bad: "}, {"c" + strings.Repeat("m", 70000) + "\n.", "longer than"}, {"cm", "no end"}, {"\x97.", "buffer"}, {"\x83\x00\x00.", "extension"}, {"\x00", "0x00: not an opcode"},
		{"J\x01", "1 follow"}, {"X\x02\x00\x00\x00a", "length of 2"}, {"\x8a\x02\x00", "length of 2"},
	} {
		_, err := read(tt.pickle)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "offset ") {
			t.Errorf("%.40q: got %v, want an error with %q", tt.pickle, err, tt.want)
		}
	}
	if _, err := NewReader(strings.NewReader("\x80\x02K\x00Q."), 0, 6, 6, Hooks{}).Next(); err == nil || !strings.Contains(err.Error(), "persistent id") {
		t.Errorf("a persistent id without a hook: %v", err)
	}
}

// Pickles follow each other, and what follows them is theirs no more.
func TestSequence(t *testing.T) {
	m := NewReader(strings.NewReader("xx\x80\x02K\x01.N.data"), 2, 11, 13, Hooks{})
	for _, want := range []any{int64(1), nil} {
		if got, err := m.Next(); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if b, err := m.Raw(4); string(b) != "data" || err != nil || m.Offset() != 13 {
		t.Errorf("%q, %v, offset %d", b, err, m.Offset())
	}
	if _, err := m.Raw(1); err == nil {
		t.Error("a byte after the end")
	}
}

// A key that was set again keeps its place and has its last value, as in Python.
func TestPairs(t *testing.T) {
	d := &Dict{[]Pair{{"a", 1}, {"b", 2}, {Tuple{}, 9}, {"a", 3}}}
	if got := fmt.Sprint(d.Pairs()); got != "[{a 3} {b 2}]" {
		t.Errorf("pairs %s", got)
	}
	if v, ok := d.Get("a"); v != 3 || !ok {
		t.Errorf("a is %v", v)
	}
	if _, ok := (*Dict)(nil).Get("a"); ok {
		t.Error("a key of no dict")
	}
}

// A file has opcodes by its size: a million lists are no state_dict of a megabyte, and may be one of a gigabyte.
func TestManyOpcodes(t *testing.T) {
	s := "\x80\x02](" + strings.Repeat("]", 1<<20) + "e."
	for whole, want := range map[int64]string{int64(len(s)): "too many for a file of this size", 1 << 30: ""} {
		_, err := NewReader(strings.NewReader(s), 0, int64(len(s)), whole, Hooks{}).Next()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("a file of %d bytes: %v", whole, err)
		}
	}
}
