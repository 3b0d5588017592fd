package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// load reads a tokenizer of testdata.
func load(t testing.TB, name string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// cases are the answers of the library, made by testdata/make.py.
type cases struct {
	Texts      []string
	Characters [][2]rune
	Tokenizers map[string]struct {
		Plain, Special, Twelve [][]int32
		Blocks                 map[string]uint32
	}
}

func loadCases(t *testing.T) cases {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var c cases
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Texts) < 200 || len(c.Tokenizers) != 8 {
		t.Fatalf("%d texts for %d tokenizers", len(c.Texts), len(c.Tokenizers))
	}
	return c
}

// Every token is that of the library, with and without special tokens.
func TestEncode(t *testing.T) {
	c := loadCases(t)
	for name, want := range c.Tokenizers {
		tok := load(t, name)
		for i, text := range c.Texts {
			got, err := tok.Encode(text)
			if err != nil || !slices.Equal(got, want.Plain[i]) {
				t.Errorf("%s: %q: got %v, %v, want %v", name, text, got, err, want.Plain[i])
			}
			if i < len(want.Twelve) {
				got, _, err := tok.Example(text, 12)
				pad, padErr := tok.Pad()
				if padErr != nil {
					t.Fatal(padErr)
				}
				for len(got) < 12 {
					got = append(got, pad)
				}
				if err != nil || !slices.Equal(got, want.Twelve[i]) {
					t.Errorf("%s: %q in twelve tokens: got %v, %v, want %v", name, text, got, err, want.Twelve[i])
				}
			}
			if i >= len(want.Special) {
				continue
			}
			all := want.Special[i]
			if got, cut, err := tok.Example(text, len(all)); err != nil || cut != 0 || !slices.Equal(got, all) {
				t.Errorf("%s: example %q: got %v (%d cut), %v, want %v", name, text, got, cut, err, all)
			}
		}
	}
}

// Every character is normalised and split as the library does it.
func TestCharacters(t *testing.T) {
	c := loadCases(t)
	for name, want := range c.Tokenizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := load(t, name)
			got := map[string]uint32{}
			var b []byte
			for _, r := range c.Characters {
				for v := r[0]; v <= r[1]; v++ {
					s := string(v)
					text := "A" + s + "1" + s + "-" + s + " " + s + "\u0308" + s + "'s"
					if err := check(text); err != nil {
						t.Fatal(err)
					}
					for _, f := range tok.normalize {
						text = f(text)
					}
					b = b[:0]
					for _, w := range tok.words(text) {
						b = binary.LittleEndian.AppendUint32(b, uint32(len(w)))
					}
					block := strconv.Itoa(int(v >> 12))
					got[block] = crc32.Update(got[block], crc32.IEEETable, b)
				}
			}
			if len(got) != len(want.Blocks) {
				t.Errorf("%d blocks, want %d", len(got), len(want.Blocks))
			}
			for block, sum := range want.Blocks {
				if got[block] != sum {
					t.Errorf("block %s of 4096 characters: got sum %#x, want %#x", block, got[block], sum)
				}
			}
		})
	}
}

func TestExample(t *testing.T) {
	bert, gpt2 := load(t, "bert"), load(t, "gpt2")
	body, err := bert.Encode("any speak")
	if err != nil {
		t.Fatal(err)
	}
	n := len(body)
	got, cut, err := bert.Example("any speak", n+4)
	if want := slices.Concat([]int32{2}, body, []int32{3}); err != nil || !slices.Equal(got, want) || cut != 0 {
		t.Errorf("short: got %v (%d cut), %v, want %v", got, cut, err, want)
	}
	got, cut, err = bert.Example("any speak", n+1)
	if want := slices.Concat([]int32{2}, body[:n-1], []int32{3}); err != nil || !slices.Equal(got, want) || cut != 1 {
		t.Errorf("cut: got %v (%d cut), %v, want %v", got, cut, err, want)
	}
	if _, _, err := bert.Example("any", 1); err == nil || !strings.Contains(err.Error(), "too few for the special tokens") {
		t.Errorf("no room: %v", err)
	}
	if pad, err := bert.Pad(); pad != 0 || err != nil {
		t.Errorf("padding %d, %v", pad, err)
	}
	if _, err := gpt2.Pad(); err == nil || !strings.Contains(err.Error(), "no padding token") {
		t.Errorf("no padding token: %v", err)
	}
}

// What is decoded is the text, for byte-level tokenizers.
func TestDecode(t *testing.T) {
	c := loadCases(t)
	wide := func(tokens []int32) []int64 {
		var out []int64
		for _, v := range tokens {
			out = append(out, int64(v))
		}
		return out
	}
	gpt2 := load(t, "gpt2")
	for _, text := range c.Texts {
		tokens, err := gpt2.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := gpt2.Decode(wide(tokens)); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	bert := load(t, "bert")
	tokens, _, err := bert.Example("We are accounted poor.", 16)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bert.Decode(append(wide(tokens), 0, -1, 1<<40)), "[CLS] we are accounted poor . [SEP] [PAD] \ufffd \ufffd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A word of a million bytes is merged like any other.
func TestLongWord(t *testing.T) {
	tok := load(t, "gpt2")
	const n = 1 << 18
	got, err := tok.Encode(strings.Repeat("the", n))
	if err != nil {
		t.Fatal(err)
	}
	one, err := tok.Encode("the")
	if err != nil || len(one) > 2 {
		t.Fatalf("%v, %v", one, err)
	}
	if want := slices.Repeat(one, n); !slices.Equal(got, want) {
		t.Errorf("%d tokens, want %d", len(got), len(want))
	}
}

// edit is a tokenizer of testdata with a part replaced, given as a path of keys.
func edit(t testing.TB, name string, value any, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	at := root
	for _, key := range path[:len(path)-1] {
		at = at[key].(map[string]any)
	}
	at[path[len(path)-1]] = value
	if b, err = json.Marshal(root); err != nil {
		t.Fatal(err)
	}
	return b
}

type object = map[string]any

// What is not known is refused by its name, and what is damaged as such.
func TestRefused(t *testing.T) {
	deep := any(object{"type": "NFC"})
	for range 20 {
		deep = object{"type": "Sequence", "normalizers": []any{deep}}
	}
	token := func(content string, id int, more object) object {
		o := object{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	good, err := os.ReadFile("testdata/gpt2.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file []byte
		want string
	}{
		{nil, "ends too early"},
		{good[:1000], "ends too early"},
		{append(slices.Clone(good), "{}"...), "goes on after its end"},
		{[]byte("[]"), "not a tokenizer.json"},
		{[]byte("{}"), "version"},
		{[]byte(strings.Repeat(`{"normalizer":`, 1<<16)), "not a tokenizer.json"},
		{edit(t, "gpt2", "2.0", "version"), `version "2.0"`},
		{edit(t, "gpt2", 1, "novelty"), `unknown field "novelty"`},
		{edit(t, "gpt2", nil, "model"), "model: is missing"},
		{edit(t, "gpt2", object{"type": "Unigram", "vocab": []any{}}, "model"), `model: "Unigram" is not read`},
		{edit(t, "gpt2", object{"type": "WordLevel"}, "model"), `model: "WordLevel" is not read`},
		{edit(t, "gpt2", 0.1, "model", "dropout"), "dropout 0.1"},
		{edit(t, "gpt2", "@@", "model", "continuing_subword_prefix"), "continuing_subword_prefix"},
		{edit(t, "gpt2", "</w>", "model", "end_of_word_suffix"), "end_of_word_suffix"},
		{edit(t, "gpt2", true, "model", "byte_fallback"), "byte_fallback"},
		{edit(t, "gpt2", true, "model", "novelty"), `model: unknown field "novelty"`},
		{edit(t, "gpt2", object{}, "model", "vocab"), "vocab is empty"},
		{edit(t, "gpt2", object{"a": 0, "b": 0}, "model", "vocab"), "is not in the vocabulary"},
		{edit(t, "gpt2", object{"a": -1}, "model", "vocab"), `"a" the number -1`},
		{edit(t, "gpt2", object{"a": int64(1) << 31}, "model", "vocab"), "not a tokenizer.json"},
		{edit(t, "gpt2", object{"a": 1.5}, "model", "vocab"), "not a tokenizer.json"},
		{edit(t, "bert", 7, "model", "vocab", "[UNK]"), "one number to several tokens"},
		{edit(t, "gpt2", []any{[]any{"a"}}, "model", "merges"), "a merge of 1 tokens"},
		{edit(t, "gpt2", []any{"a b c"}, "model", "merges"), "a merge of 3 tokens"},
		{edit(t, "gpt2", []any{"a never"}, "model", "merges"), `needs the token "never"`},
		{edit(t, "gpt2", object{"type": "NFKC"}, "normalizer"), `normalizer: "NFKC" is not read`},
		{edit(t, "gpt2", object{"type": "Precompiled", "precompiled_charsmap": ""}, "normalizer"), `normalizer: "Precompiled" is not read`},
		{edit(t, "gpt2", deep, "normalizer"), "deeper than any tokenizer"},
		{edit(t, "gpt2", object{"type": "NFC", "novelty": 1}, "normalizer"), `unknown field "novelty"`},
		{edit(t, "gpt2", nil, "pre_tokenizer"), "a BPE model is read with ByteLevel"},
		{edit(t, "bert", object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}, "pre_tokenizer"), "no other model is"},
		{edit(t, "gpt2", object{"type": "Metaspace", "replacement": "_"}, "pre_tokenizer"), `pre_tokenizer: "Metaspace" is not read`},
		{edit(t, "llama3", object{"type": "Split", "pattern": object{"Regex": "\\w+"}, "behavior": "Isolated", "invert": false}, "pre_tokenizer"), "pattern"},
		{edit(t, "llama3", object{"type": "Split", "pattern": object{"Regex": gpt2Pattern}, "behavior": "MergedWithNext", "invert": false}, "pre_tokenizer"), "MergedWithNext"},
		{edit(t, "gpt2", object{"type": "Sequence", "pretokenizers": []any{object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}, object{"type": "Digits", "individual_digits": true}}}, "pre_tokenizer"), "what follows ByteLevel"},
		{edit(t, "gpt2", []any{token("", 0, nil)}, "added_tokens"), "no content"},
		{edit(t, "gpt2", []any{token("new", 5, nil)}, "added_tokens"), `"new" has the number 5, and by the vocabulary it is 480`},
		{edit(t, "gpt2", []any{token("new", 1<<30, nil)}, "added_tokens"), "has the number"},
		{edit(t, "gpt2", []any{token("a", 0, nil)}, "added_tokens"), `"a" has the number 0`},
		{edit(t, "gpt2", []any{token("new", 480, nil), token("new", 480, nil)}, "added_tokens"), "twice"},
		{edit(t, "gpt2", []any{token("new", 480, object{"single_word": true})}, "added_tokens"), "single_word"},
		{edit(t, "gpt2", object{"type": "Novel"}, "post_processor"), `post_processor: "Novel" is not read`},
		{edit(t, "bert-cased", []any{"[SEP]", 9999}, "post_processor", "sep"), "token 9999 is not in the vocabulary"},
		{edit(t, "bert-cased", []any{"[SEP]"}, "post_processor", "sep"), "no token with its number"},
		{edit(t, "bert", []any{}, "post_processor", "single"), "has no $A"},
		{edit(t, "bert", object{}, "post_processor", "special_tokens"), "not among special_tokens"},
		{edit(t, "bert", []any{object{"Sequence": object{"id": "B", "type_id": 0}}}, "post_processor", "single"), "a template for single texts"},
		{edit(t, "bert", object{"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": nil, "pad_id": 5000, "pad_type_id": 0, "pad_token": "x"}, "padding"), "padding: token 5000"},
	} {
		if _, err := Parse(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error with %q", err, tt.want)
		}
	}
}

// The settings of a file that concern examples alone.
func TestSides(t *testing.T) {
	parse := func(b []byte) *Tokenizer {
		t.Helper()
		tok, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	left := parse(edit(t, "bert", object{"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}, "truncation"))
	if _, _, err := left.Example("we are accounted poor", 4); err == nil || !strings.Contains(err.Error(), `direction "Left"`) {
		t.Errorf("truncation: %v", err)
	}
	pad := object{"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": nil, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
	if _, err := parse(edit(t, "bert", pad, "padding")).Pad(); err == nil || !strings.Contains(err.Error(), `direction "Left"`) {
		t.Errorf("padding: %v", err)
	}
	pad["direction"], pad["pad_id"], pad["pad_token"] = "Right", 0, "<|endoftext|>"
	other := parse(edit(t, "gpt2", pad, "padding"))
	if pad, err := other.Pad(); err != nil || pad != 0 {
		t.Errorf("padding by a token of the file: %d, %v", pad, err)
	}
}

// A text that cannot be encoded is refused at the byte that is to blame.
func TestRefusedText(t *testing.T) {
	gpt2 := load(t, "gpt2")
	for text, want := range map[string]string{
		"ab\xff":        "offset 2: the byte 0xff is not UTF-8",
		"ab\xe2\x82":    "offset 2: the byte 0xe2 is not UTF-8",
		"a\u0378":       "offset 1: the character U+0378 is not in Unicode",
		"x\U0010ffff\n": "offset 1: the character U+10FFFF is not in Unicode",
	} {
		if _, err := gpt2.Encode(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
	if _, err := gpt2.Encode("\ufffd"); err != nil {
		t.Errorf("U+FFFD is a character: %v", err)
	}
	none, err := Parse(edit(t, "gpt2", object{"a": 0}, "model", "vocab"))
	if err == nil {
		t.Fatal(none)
	}
	b := edit(t, "gpt2", []any{}, "model", "merges")
	var root object
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	root["model"].(object)["vocab"], root["added_tokens"] = object{"a": 0}, []any{}
	if b, err = json.Marshal(root); err != nil {
		t.Fatal(err)
	}
	few, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := few.Encode("ab"); err == nil || !strings.Contains(err.Error(), "no token for the byte 0x62") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if filepath.Base(name) != "cases.json" {
			f.Add(b, "Any text — 東京 [MASK] 12  \n")
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		tok, err := Parse(b)
		if err != nil {
			return
		}
		tokens, err := tok.Encode(text)
		if err != nil {
			return
		}
		for _, v := range tokens {
			if v < 0 || int(v) >= tok.Size() {
				t.Fatalf("token %d of %d", v, tok.Size())
			}
		}
		if all, cut, err := tok.Example(text, 7); err == nil && (len(all) > 7 || cut < 0) {
			t.Fatalf("%v, %d cut", all, cut)
		}
		tok.Decode([]int64{-1, 0, 1 << 33})
	})
}

func FuzzEncode(f *testing.F) {
	gpt2, bert := load(f, "gpt2"), load(f, "bert")
	f.Add("Any text — 東京 [MASK] 12  \n")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := gpt2.Encode(text)
		if err != nil {
			return
		}
		var wide []int64
		for _, v := range tokens {
			wide = append(wide, int64(v))
		}
		if got := gpt2.Decode(wide); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
		if _, err := bert.Encode(text); err != nil {
			t.Fatal(err)
		}
	})
}
