package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Parse reads a tokenizer.json. It fails on what is malformed, on what the library would refuse, and, with its name, on all that
// this package does not do.
//
// Source: https://github.com/huggingface/tokenizers, the serialisation of Tokenizer and its parts.
func Parse(data []byte) (*Tokenizer, error) {
	var f struct {
		Version       string          `json:"version"`
		Truncation    *truncation     `json:"truncation"`
		Padding       *padding        `json:"padding"`
		AddedTokens   []addedToken    `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"` // has no say in what the tokens are
		Model         json.RawMessage `json:"model"`
	}
	if err := strict(data, &f); err != nil {
		return nil, err
	}
	if f.Version != "1.0" {
		return nil, fmt.Errorf("version %.20q is not known (1.0 is)", f.Version)
	}
	t := &Tokenizer{pad: -1, text: map[int32]string{}}
	vocab, err := t.parseModel(f.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if !null(f.Normalizer) {
		if err := t.parseNormalizer(f.Normalizer, 0); err != nil {
			return nil, fmt.Errorf("normalizer: %w", err)
		}
	}
	bytes := false
	if !null(f.PreTokenizer) {
		if bytes, err = t.parsePreTokenizer(f.PreTokenizer, 0); err != nil {
			return nil, fmt.Errorf("pre_tokenizer: %w", err)
		}
	}
	if _, ok := t.model.(*bpe); ok != bytes {
		return nil, errors.New("pre_tokenizer: a BPE model is read with ByteLevel, and no other model is (make the tokens beforehand and save them as .bin or .npz)")
	}
	for token, id := range vocab {
		t.text[id] = token
	}
	if len(t.text) < len(vocab) {
		return nil, errors.New("model: vocab gives one number to several tokens (the file is damaged)")
	}
	if err := t.parseAdded(f.AddedTokens, vocab); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if !null(f.PostProcessor) {
		if err := t.parsePostProcessor(f.PostProcessor, 0); err != nil {
			return nil, fmt.Errorf("post_processor: %w", err)
		}
	}
	if f.Truncation != nil {
		t.truncateLeft = f.Truncation.Direction == "Left"
	}
	if f.Padding != nil {
		t.pad, t.padLeft = f.Padding.ID, f.Padding.Direction == "Left"
		if _, ok := t.text[t.pad]; !ok {
			return nil, fmt.Errorf("padding: token %d is not in the vocabulary (the file is damaged)", t.pad)
		}
	}
	t.size = largest(t.text)
	return t, nil
}

type truncation struct {
	Direction string `json:"direction"`
	MaxLength int    `json:"max_length"`
	Strategy  string `json:"strategy"`
	Stride    int    `json:"stride"`
}

type padding struct {
	Strategy  json.RawMessage `json:"strategy"`
	Direction string          `json:"direction"`
	Multiple  *int            `json:"pad_to_multiple_of"`
	ID        int32           `json:"pad_id"`
	Type      int             `json:"pad_type_id"`
	Token     string          `json:"pad_token"`
}

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// maxNesting bounds sequences in sequences; the library's own are one deep.
const maxNesting = 8

var errNesting = errors.New("a Sequence in a Sequence, and so on, deeper than any tokenizer has (the file is damaged)")

// strict parses JSON that holds no key that v does not have, and nothing after it.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the JSON ends too early (the file is truncated)")
		}
		return fmt.Errorf("%s (not a tokenizer.json that is known)", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the JSON goes on after its end (the file is damaged)")
	}
	return nil
}

func null(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// kind is the type of a part.
func kind(raw json.RawMessage) (string, error) {
	var k struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &k); err != nil {
		return "", fmt.Errorf("%s (not a tokenizer.json that is known)", strings.TrimPrefix(err.Error(), "json: "))
	}
	return k.Type, nil
}

// unknown is the answer to a part or a setting that is not read.
func unknown(what string, args ...any) error {
	return fmt.Errorf("%s is not read (make the tokens beforehand and save them as .bin or .npz)", fmt.Sprintf(what, args...))
}

func (t *Tokenizer) parseModel(raw json.RawMessage) (vocab map[string]int32, err error) {
	if null(raw) {
		return nil, errors.New("is missing")
	}
	// Older files do not say the type.
	var k struct {
		Type   string          `json:"type"`
		Merges json.RawMessage `json:"merges"`
		Max    json.RawMessage `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, fmt.Errorf("%s (not a tokenizer.json that is known)", strings.TrimPrefix(err.Error(), "json: "))
	}
	switch {
	case k.Type == "BPE" || k.Type == "" && k.Merges != nil:
		return t.parseBPE(raw)
	case k.Type == "WordPiece" || k.Type == "" && k.Max != nil:
		return t.parseWordPiece(raw)
	}
	return nil, unknown("%.40q", k.Type)
}

func (t *Tokenizer) parseBPE(raw json.RawMessage) (map[string]int32, error) {
	var m struct {
		Type         string           `json:"type"`
		Dropout      *float64         `json:"dropout"`
		Unknown      *string          `json:"unk_token"` // never needed: there is a token for each byte
		Prefix       *string          `json:"continuing_subword_prefix"`
		Suffix       *string          `json:"end_of_word_suffix"`
		FuseUnknown  bool             `json:"fuse_unk"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Vocab        map[string]int32 `json:"vocab"`
		Merges       []mergePair      `json:"merges"`
	}
	if err := strict(raw, &m); err != nil {
		return nil, err
	}
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, unknown("dropout %v, which makes tokens at random,", *m.Dropout)
	case m.Prefix != nil && *m.Prefix != "":
		return nil, unknown("continuing_subword_prefix %.20q", *m.Prefix)
	case m.Suffix != nil && *m.Suffix != "":
		return nil, unknown("end_of_word_suffix %.20q", *m.Suffix)
	case m.ByteFallback:
		return nil, unknown("byte_fallback")
	}
	if err := checkVocab(m.Vocab); err != nil {
		return nil, err
	}
	merges := make([][2]string, len(m.Merges))
	for i, p := range m.Merges {
		merges[i] = p
	}
	b, err := newBPE(m.Vocab, merges, m.IgnoreMerges)
	t.model = b
	return m.Vocab, err
}

// mergePair is ["a", "b"] or, in older files, "a b".
type mergePair [2]string

func (p *mergePair) UnmarshalJSON(b []byte) error {
	var parts []string
	if b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		parts = strings.Split(s, " ")
	} else if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("a merge of %d tokens, %.60s", len(parts), b)
	}
	*p = mergePair{parts[0], parts[1]}
	return nil
}

func (t *Tokenizer) parseWordPiece(raw json.RawMessage) (map[string]int32, error) {
	var m struct {
		Type    string           `json:"type"`
		Unknown string           `json:"unk_token"`
		Prefix  string           `json:"continuing_subword_prefix"`
		Max     int              `json:"max_input_chars_per_word"`
		Vocab   map[string]int32 `json:"vocab"`
	}
	if err := strict(raw, &m); err != nil {
		return nil, err
	}
	if err := checkVocab(m.Vocab); err != nil {
		return nil, err
	}
	w, err := newWordPiece(m.Vocab, m.Prefix, m.Unknown, m.Max)
	t.model = w
	return m.Vocab, err
}

func checkVocab(vocab map[string]int32) error {
	if len(vocab) == 0 {
		return errors.New("vocab is empty or missing (the file is damaged)")
	}
	for token, id := range vocab {
		if id < 0 || id == math.MaxInt32 {
			return fmt.Errorf("vocab gives %.60q the number %d (the file is damaged)", token, id)
		}
	}
	return nil
}

func (t *Tokenizer) parseNormalizer(raw json.RawMessage, depth int) error {
	k, err := kind(raw)
	if err != nil {
		return err
	}
	add := func(f ...func(string) string) { t.normalize = append(t.normalize, f...) }
	switch k {
	case "BertNormalizer":
		var n struct {
			Type      string `json:"type"`
			Clean     bool   `json:"clean_text"`
			Han       bool   `json:"handle_chinese_chars"`
			Accents   *bool  `json:"strip_accents"`
			Lowercase bool   `json:"lowercase"`
		}
		if err := strict(raw, &n); err != nil {
			return err
		}
		if n.Clean {
			add(clean)
		}
		if n.Han {
			add(spaceHan)
		}
		if n.Accents == nil && n.Lowercase || n.Accents != nil && *n.Accents {
			add(stripAccents)
		}
		if n.Lowercase {
			add(lower)
		}
		return nil
	case "Sequence":
		var n struct {
			Type        string            `json:"type"`
			Normalizers []json.RawMessage `json:"normalizers"`
		}
		if err := strict(raw, &n); err != nil {
			return err
		}
		if depth == maxNesting {
			return errNesting
		}
		for _, part := range n.Normalizers {
			if err := t.parseNormalizer(part, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	var n struct {
		Type string `json:"type"`
	}
	switch k {
	case "NFC":
		add(normalise(norm.NFC))
	case "NFD":
		add(normalise(norm.NFD))
	case "Lowercase":
		add(lower)
	default:
		return unknown("%.40q", k)
	}
	return strict(raw, &n)
}

// parsePreTokenizer says whether words become bytes, which has to come last.
func (t *Tokenizer) parsePreTokenizer(raw json.RawMessage, depth int) (bytes bool, err error) {
	k, err := kind(raw)
	if err != nil {
		return false, err
	}
	switch k {
	case "ByteLevel":
		n := struct {
			Type  string `json:"type"`
			Space bool   `json:"add_prefix_space"`
			Trim  bool   `json:"trim_offsets"` // of offsets alone
			Regex bool   `json:"use_regex"`
		}{Regex: true}
		if err := strict(raw, &n); err != nil {
			return false, err
		}
		if n.Space {
			t.split = append(t.split, spaced)
		}
		if n.Regex {
			t.split = append(t.split, patterns[gpt2Pattern]().split)
		}
		return true, nil
	case "Split":
		var n struct {
			Type     string            `json:"type"`
			Pattern  map[string]string `json:"pattern"`
			Behavior string            `json:"behavior"`
			Invert   bool              `json:"invert"`
		}
		if err := strict(raw, &n); err != nil {
			return false, err
		}
		p := patterns[n.Pattern["Regex"]]
		if p == nil || len(n.Pattern) != 1 {
			return false, unknown("the pattern %.200q", n.Pattern)
		}
		// The patterns leave nothing between matches: to keep matches is to remove the rest.
		if !(n.Behavior == "Isolated" && !n.Invert || n.Behavior == "Removed" && n.Invert) {
			return false, unknown("Split with behavior %.40q, invert %v", n.Behavior, n.Invert)
		}
		t.split = append(t.split, p().split)
		return false, nil
	case "Digits":
		var n struct {
			Type string `json:"type"`
			Each bool   `json:"individual_digits"`
		}
		if err := strict(raw, &n); err != nil {
			return false, err
		}
		t.split = append(t.split, digits(n.Each))
		return false, nil
	case "BertPreTokenizer":
		var n struct {
			Type string `json:"type"`
		}
		t.split = append(t.split, bertSplit)
		return false, strict(raw, &n)
	case "Sequence":
		var n struct {
			Type string            `json:"type"`
			List []json.RawMessage `json:"pretokenizers"`
		}
		if err := strict(raw, &n); err != nil {
			return false, err
		}
		if depth == maxNesting {
			return false, errNesting
		}
		for _, part := range n.List {
			if bytes {
				return false, unknown("what follows ByteLevel")
			}
			if bytes, err = t.parsePreTokenizer(part, depth+1); err != nil {
				return false, err
			}
		}
		return bytes, nil
	}
	return false, unknown("%.40q", k)
}

// padNames are the usual contents of the padding token.
var padNames = []string{"[PAD]", "<pad>", "<|pad|>", "<|padding|>"}

func (t *Tokenizer) parseAdded(tokens []addedToken, vocab map[string]int32) error {
	seen := map[string]bool{}
	next := int32(len(vocab)) // the number that the library gives to one that is not in the vocabulary
	for _, a := range tokens {
		id, known := vocab[a.Content]
		if !known {
			id = next
		}
		switch {
		case a.Content == "":
			return fmt.Errorf("token %d has no content (the file is damaged)", a.ID)
		case seen[a.Content]:
			return fmt.Errorf("%.60q is there twice (the file is damaged)", a.Content)
		case a.ID != id:
			return fmt.Errorf("%.60q has the number %d, and by the vocabulary it is %d (the file is damaged)", a.Content, a.ID, id)
		case a.SingleWord:
			return unknown("single_word of %.60q", a.Content)
		}
		seen[a.Content] = true
		next = max(next, a.ID+1)
		t.text[a.ID] = a.Content
		entry := added{a.Content, a.ID, a.LStrip, a.RStrip}
		if !a.Normalized {
			t.added.add(entry)
			continue
		}
		for _, f := range t.normalize {
			entry.content = f(entry.content)
		}
		if entry.content != "" {
			t.normalized.add(entry)
		}
	}
	for _, name := range padNames {
		for _, a := range tokens {
			if a.Content == name && t.pad < 0 {
				t.pad = a.ID
			}
		}
	}
	return nil
}

func (t *Tokenizer) parsePostProcessor(raw json.RawMessage, depth int) error {
	k, err := kind(raw)
	if err != nil {
		return err
	}
	around := func(prefix, suffix []int32) error {
		if t.prefix != nil || t.suffix != nil {
			return unknown("more than one part that adds tokens")
		}
		for _, id := range append(prefix, suffix...) {
			if _, ok := t.text[id]; !ok {
				return fmt.Errorf("token %d is not in the vocabulary (the file is damaged)", id)
			}
		}
		t.prefix, t.suffix = prefix, suffix
		return nil
	}
	switch k {
	case "ByteLevel":
		var n struct {
			Type  string `json:"type"`
			Space bool   `json:"add_prefix_space"`
			Trim  bool   `json:"trim_offsets"`
			Regex bool   `json:"use_regex"`
		}
		return strict(raw, &n) // of offsets alone
	case "BertProcessing", "RobertaProcessing":
		var n struct {
			Type  string     `json:"type"`
			Sep   tokenAndID `json:"sep"`
			Cls   tokenAndID `json:"cls"`
			Trim  bool       `json:"trim_offsets"`
			Space bool       `json:"add_prefix_space"`
		}
		if err := strict(raw, &n); err != nil {
			return err
		}
		return around([]int32{n.Cls.id}, []int32{n.Sep.id})
	case "TemplateProcessing":
		return t.parseTemplate(raw, around)
	case "Sequence":
		var n struct {
			Type       string            `json:"type"`
			Processors []json.RawMessage `json:"processors"`
		}
		if err := strict(raw, &n); err != nil {
			return err
		}
		if depth == maxNesting {
			return errNesting
		}
		for _, part := range n.Processors {
			if err := t.parsePostProcessor(part, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return unknown("%.40q", k)
}

// tokenAndID is ["[SEP]", 102].
type tokenAndID struct{ id int32 }

func (t *tokenAndID) UnmarshalJSON(b []byte) error {
	var token string
	parts := []any{&token, &t.id}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("%.60s is no token with its number", b)
	}
	return nil
}

func (t *Tokenizer) parseTemplate(raw json.RawMessage, around func(prefix, suffix []int32) error) error {
	type piece struct {
		ID   string `json:"id"`
		Type int    `json:"type_id"`
	}
	var n struct {
		Type   string `json:"type"`
		Single []struct {
			Special  *piece `json:"SpecialToken"`
			Sequence *piece `json:"Sequence"`
		} `json:"single"`
		Pair    json.RawMessage `json:"pair"` // of two texts
		Special map[string]struct {
			ID     string   `json:"id"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
		} `json:"special_tokens"`
	}
	if err := strict(raw, &n); err != nil {
		return err
	}
	sides := [2][]int32{{}, {}}
	at := 0
	for _, p := range n.Single {
		switch {
		case p.Special != nil && p.Sequence == nil && p.Special.Type == 0:
			special, ok := n.Special[p.Special.ID]
			if !ok {
				return fmt.Errorf("the special token %.60q is not among special_tokens (the file is damaged)", p.Special.ID)
			}
			sides[at] = append(sides[at], special.IDs...)
		case p.Sequence != nil && p.Special == nil && p.Sequence.Type == 0 && p.Sequence.ID == "A" && at == 0:
			at = 1
		default:
			return unknown("a template for single texts with type_id other than 0, or other than tokens around $A,")
		}
	}
	if at == 0 {
		return errors.New("the template for single texts has no $A (the file is damaged)")
	}
	return around(sides[0], sides[1])
}
