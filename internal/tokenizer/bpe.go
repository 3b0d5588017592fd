package tokenizer

import (
	"container/heap"
	"fmt"
	"strings"
)

// bpe is byte-pair encoding of bytes.
//
// Source: Sennrich, Haddow and Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016; over bytes as in
// Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
type bpe struct {
	vocab        map[string]int32 // bytes written as the characters of alphabet
	merges       map[[2]int32]merge
	bytes        [256]int32 // token of a byte, −1: none
	ignoreMerges bool       // a word that is a token is that one

	cache map[string][]int32
}

// merge is what becomes of two tokens that follow each other; lower ranks come first.
type merge struct {
	rank int
	id   int32
}

// alphabet is how a byte is written as a character: printable ones of Latin-1 as themselves, others from U+0100 on.
var alphabet = func() (a [256]rune) {
	next := rune(0x100)
	for b := range a {
		switch c := rune(b); {
		case c >= '!' && c <= '~', c >= '¡' && c <= '¬', c >= '®' && c <= 'ÿ':
			a[b] = c
		default:
			a[b] = next
			next++
		}
	}
	return a
}()

// letter is the byte that a character of alphabet stands for.
var letter = func() map[rune]byte {
	m := map[rune]byte{}
	for b, c := range alphabet {
		m[c] = byte(b)
	}
	return m
}()

func newBPE(vocab map[string]int32, merges [][2]string, ignoreMerges bool) (*bpe, error) {
	m := &bpe{vocab: vocab, merges: make(map[[2]int32]merge, len(merges)), ignoreMerges: ignoreMerges, cache: map[string][]int32{}}
	for b, c := range alphabet {
		m.bytes[b] = -1
		if id, ok := vocab[string(c)]; ok {
			m.bytes[b] = id
		}
	}
	for i, pair := range merges {
		var ids [3]int32
		for j, s := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := vocab[s]
			if !ok {
				return nil, fmt.Errorf("merge %d needs the token %.60q, which is not in the vocabulary (the file is damaged)", i, s)
			}
			ids[j] = id
		}
		m.merges[[2]int32{ids[0], ids[1]}] = merge{i, ids[2]}
	}
	return m, nil
}

// Words of at most cacheWord bytes are kept with their tokens, cacheSize of them.
const (
	cacheWord = 64
	cacheSize = 1 << 16
)

func (m *bpe) encode(dst []int32, word string) ([]int32, error) {
	if tokens, ok := m.cache[word]; ok {
		return append(dst, tokens...), nil
	}
	tokens, err := m.word(word)
	if err != nil {
		return nil, err
	}
	if len(word) <= cacheWord && len(m.cache) < cacheSize {
		m.cache[strings.Clone(word)] = tokens
	}
	return append(dst, tokens...), nil
}

// symbol is a token of a word, with its neighbours as indices, −1 at the ends.
type symbol struct {
	id         int32 // −1: merged into the one before
	prev, next int
}

// candidate is a pair that could be merged: the symbol at a place and the next one.
type candidate struct {
	merge
	at int
}

// candidates is a heap, by rank and then by place.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// word merges the bytes of a word, pairs of the lowest rank first and of those the leftmost.
func (m *bpe) word(word string) ([]int32, error) {
	if m.ignoreMerges {
		if id, ok := m.vocab[spell(word)]; ok {
			return []int32{id}, nil
		}
	}
	symbols := make([]symbol, len(word))
	for i := range symbols {
		symbols[i] = symbol{m.bytes[word[i]], i - 1, i + 1}
		if symbols[i].id < 0 {
			return nil, fmt.Errorf("there is no token for the byte %#02x (the vocabulary of a byte-level tokenizer has one for each)", word[i])
		}
	}
	symbols[len(word)-1].next = -1
	var queue candidates
	pair := func(i int) (merge, bool) {
		if i < 0 || symbols[i].next < 0 {
			return merge{}, false
		}
		p, ok := m.merges[[2]int32{symbols[i].id, symbols[symbols[i].next].id}]
		return p, ok
	}
	push := func(i int) {
		if p, ok := pair(i); ok {
			heap.Push(&queue, candidate{p, i})
		}
	}
	for i := range symbols {
		push(i)
	}
	for len(queue) > 0 {
		top := heap.Pop(&queue).(candidate)
		s := &symbols[top.at]
		// A pair that has changed since it was queued is another one.
		if p, ok := pair(top.at); s.id < 0 || !ok || p.id != top.id {
			continue
		}
		right := &symbols[s.next]
		s.id, s.next = top.id, right.next
		right.id = -1
		if s.next >= 0 {
			symbols[s.next].prev = top.at
		}
		push(s.prev)
		push(top.at)
	}
	var out []int32
	for i := 0; i >= 0; i = symbols[i].next {
		out = append(out, symbols[i].id)
	}
	return out, nil
}

// spell writes bytes in alphabet.
func spell(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(alphabet[s[i]])
	}
	return b.String()
}

func (m *bpe) decode(token string) (string, bool) {
	var b []byte
	for _, c := range token {
		v, ok := letter[c]
		if !ok { // an added token, as it is
			return token, false
		}
		b = append(b, v)
	}
	return string(b), false
}
