package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxOps bounds the opcodes of one pickle, and so its values, which take up to a hundred bytes each. A tensor of a state_dict takes
	// about 30. freeOps are those that any file may have, then there is one for each opBytes bytes of it.
	maxOps  = 1 << 24
	freeOps = 1 << 17
	opBytes = 32
	// maxDigits bounds an integer written in decimal, where parsing is not linear: Python's own limit.
	maxDigits = 4300
	// highest is the last protocol there is.
	highest = 5
)

// Reader reads the pickles of a range of a file, one after the other.
type Reader struct {
	src   source
	hooks Hooks

	op    byte
	stack []any
	marks []int
	memo  []any         // the memo where its indices have no gaps,
	far   map[int64]any // and where they do
	ops   int
	most  int // of them
}

// NewReader reads from byte off of r on, size bytes at most, out of a file of whole bytes. Offsets in errors and Blobs are those
// of r.
func NewReader(r io.ReaderAt, off, size, whole int64, hooks Hooks) *Reader {
	return &Reader{most: int(min(maxOps, freeOps+whole/opBytes)), src: source{r: r, pos: off, end: off + size}, hooks: hooks}
}

// Offset is that of the next byte.
func (m *Reader) Offset() int64 { return m.src.pos }

// SkipTo goes to another offset in the range.
func (m *Reader) SkipTo(off int64) { m.src.pos = off }

// Raw is the n bytes that follow, valid until the next call of a method. It fails when they are not
// there.
func (m *Reader) Raw(n int64) ([]byte, error) { return m.src.next(n) }

// Next reads one pickle. It fails on bytes that are none, with the offset and the opcode; on more
// opcodes than the size of the file justifies; on out-of-band buffers and extension codes, which a file cannot resolve; and
// when a hook does.
func (m *Reader) Next() (any, error) {
	m.stack, m.marks, m.memo, m.far, m.ops = nil, nil, nil, nil, 0
	defer func() { m.stack, m.marks, m.memo, m.far = nil, nil, nil, nil }()
	for {
		start := m.src.pos
		b, err := m.src.next(1)
		if err != nil {
			return nil, fmt.Errorf("offset %d: the pickle ends without a STOP (the file is truncated or damaged; copy or save it again)", start)
		}
		m.op = b[0]
		if m.ops++; m.ops > m.most {
			return nil, fmt.Errorf("offset %d: the pickle has more than %d opcodes, too many for a file of this size (save the state_dict alone with torch.save)", start, m.most)
		}
		if m.op == '.' {
			v, err := m.pop()
			if err != nil {
				return nil, m.wrap(start, err)
			}
			return v, nil
		}
		if err := m.step(); err != nil {
			return nil, m.wrap(start, err)
		}
	}
}

// wrap says where in a pickle an error is.
func (m *Reader) wrap(start int64, err error) error {
	name := names[m.op]
	if name == "" {
		name = fmt.Sprintf("0x%02x", m.op)
	}
	return fmt.Errorf("offset %d, pickle opcode %s: %w", start, name, err)
}

// names are the opcodes that step knows.
var names = map[byte]string{
	'(': "MARK", '.': "STOP", '0': "POP", '1': "POP_MARK", '2': "DUP", 'F': "FLOAT", 'I': "INT", 'J': "BININT", 'K': "BININT1", 'L': "LONG",
	'M': "BININT2", 'N': "NONE", 'P': "PERSID", 'Q': "BINPERSID", 'R': "REDUCE", 'S': "STRING", 'T': "BINSTRING", 'U': "SHORT_BINSTRING",
	'V': "UNICODE", 'X': "BINUNICODE", 'a': "APPEND", 'b': "BUILD", 'c': "GLOBAL", 'd': "DICT", '}': "EMPTY_DICT", 'e': "APPENDS", 'g': "GET",
	'h': "BINGET", 'i': "INST", 'j': "LONG_BINGET", 'l': "LIST", ']': "EMPTY_LIST", 'o': "OBJ", 'p': "PUT", 'q': "BINPUT", 'r': "LONG_BINPUT",
	's': "SETITEM", 't': "TUPLE", ')': "EMPTY_TUPLE", 'u': "SETITEMS", 'G': "BINFLOAT", 'B': "BINBYTES", 'C': "SHORT_BINBYTES",
	0x80: "PROTO", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x85: "TUPLE1", 0x86: "TUPLE2", 0x87: "TUPLE3", 0x88: "NEWTRUE",
	0x89: "NEWFALSE", 0x8a: "LONG1", 0x8b: "LONG4", 0x8c: "SHORT_BINUNICODE", 0x8d: "BINUNICODE8", 0x8e: "BINBYTES8", 0x8f: "EMPTY_SET",
	0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE", 0x95: "FRAME", 0x96: "BYTEARRAY8",
	0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}

var (
	errEmpty  = errors.New("the stack is empty (the file is damaged)")
	errMark   = errors.New("no MARK (the file is damaged)")
	errCallee = errors.New("what is called is no name (the file is damaged)")
)

func (m *Reader) push(v any) { m.stack = append(m.stack, v) }

// floor is where the values of the innermost mark begin: nothing below can be popped.
func (m *Reader) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

func (m *Reader) pop() (any, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, errEmpty
	}
	v := m.stack[n]
	m.stack[n] = nil
	m.stack = m.stack[:n]
	return v, nil
}

func (m *Reader) top() (any, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, errEmpty
	}
	return m.stack[n], nil
}

// popMark takes everything after the innermost mark, as a copy.
func (m *Reader) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errMark
	}
	at := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	out := append([]any(nil), m.stack[at:]...)
	clear(m.stack[at:])
	m.stack = m.stack[:at]
	return out, nil
}

// size reads an unsigned little-endian length of n bytes.
func (m *Reader) size(n int64) (int64, error) {
	b, err := m.src.next(n)
	if err != nil {
		return 0, err
	}
	var word [8]byte
	copy(word[:], b)
	v := binary.LittleEndian.Uint64(word[:])
	if left := m.src.end - m.src.pos; v > uint64(left) {
		return 0, fmt.Errorf("a length of %d bytes, but %d follow (the file is truncated or damaged)", v, left)
	}
	return int64(v), nil
}

func (m *Reader) step() error {
	switch m.op {
	case '(':
		m.marks = append(m.marks, len(m.stack))
	case '0':
		if len(m.marks) > 0 && m.floor() == len(m.stack) { // as in CPython: POP also takes a mark
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop()
		return err
	case '1':
		_, err := m.popMark()
		return err
	case '2':
		v, err := m.top()
		if err != nil {
			return err
		}
		m.push(v)
	case 'N':
		m.push(nil)
	case 0x88:
		m.push(true)
	case 0x89:
		m.push(false)
	case ')':
		m.push(Tuple{})
	case ']':
		m.push(&List{})
	case '}':
		m.push(&Dict{})
	case 0x8f:
		m.push(&Set{})
	case 0x80:
		b, err := m.src.next(1)
		if err != nil {
			return err
		}
		if b[0] > highest {
			return fmt.Errorf("protocol %d is not known, 0 to %d are (save the file again with a lower pickle_protocol)", b[0], highest)
		}
	case 0x95:
		_, err := m.size(8)
		return err
	case 0x82, 0x83, 0x84:
		return errors.New("an extension code stands for a name that the file does not hold (save the state_dict alone with torch.save)")
	case 0x97:
		return errors.New("a buffer outside of the pickle (save the file again without buffer_callback)")
	case 0x98:
		_, err := m.top()
		return err
	case 'I', 'L', 'F', 'J', 'K', 'M', 'G', 0x8a, 0x8b:
		return m.number()
	case 'S', 'V', 'T', 'U', 'X', 'B', 'C', 0x8c, 0x8d, 0x8e, 0x96:
		return m.text()
	case 'p', 'q', 'r', 'g', 'h', 'j', 0x94:
		return m.memory()
	case 't', 'l', 'd', 0x91, 0x85, 0x86, 0x87, 'a', 'e', 's', 'u', 0x90:
		return m.collect()
	default:
		return m.object()
	}
	return nil
}

func (m *Reader) number() error {
	fixed := map[byte]int64{'J': 4, 'K': 1, 'M': 2, 'G': 8}[m.op]
	if fixed > 0 {
		b, err := m.src.next(fixed)
		if err != nil {
			return err
		}
		switch m.op {
		case 'J':
			m.push(int64(int32(binary.LittleEndian.Uint32(b))))
		case 'K':
			m.push(int64(b[0]))
		case 'M':
			m.push(int64(binary.LittleEndian.Uint16(b)))
		case 'G':
			m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		return nil
	}
	switch m.op {
	case 0x8a, 0x8b:
		width := int64(1)
		if m.op == 0x8b {
			width = 4
		}
		n, err := m.size(width)
		if err != nil {
			return err
		}
		if n > maxInline {
			return fmt.Errorf("an integer of %d bytes (the file is damaged)", n)
		}
		b, err := m.src.next(n)
		if err != nil {
			return err
		}
		for n > 1 && (b[n-1] == 0 && b[n-2] < 0x80 || b[n-1] == 0xff && b[n-2] >= 0x80) { // only sign
			n--
		}
		b = b[:n]
		if n > 8 {
			m.push(Big(b))
			return nil
		}
		var word [8]byte
		copy(word[:], b)
		v := binary.LittleEndian.Uint64(word[:])
		if n > 0 { // sign
			shift := uint(64 - 8*n)
			m.push(int64(v<<shift) >> shift)
			return nil
		}
		m.push(int64(0))
		return nil
	}
	line, err := m.src.line()
	if err != nil {
		return err
	}
	line = strings.TrimRight(line, "\r")
	if m.op == 'F' {
		v, err := strconv.ParseFloat(line, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%.40q is no number (the file is damaged)", line)
		}
		m.push(v)
		return nil
	}
	if m.op == 'I' && (line == "00" || line == "01") {
		m.push(line == "01")
		return nil
	}
	line = strings.TrimSuffix(line, "L")
	if v, err := strconv.ParseInt(line, 10, 64); err == nil {
		m.push(v)
		return nil
	}
	if len(line) > maxDigits {
		return fmt.Errorf("an integer of %d digits (the file is damaged)", len(line))
	}
	v, ok := new(big.Int).SetString(line, 10)
	if !ok {
		return fmt.Errorf("%.40q is no integer (the file is damaged)", line)
	}
	m.push(fromBig(v))
	return nil
}

// fromBig is the two's complement of v in as few bytes as hold it.
func fromBig(v *big.Int) Big {
	n := v.BitLen()/8 + 1
	u := v
	if v.Sign() < 0 {
		u = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	b := u.FillBytes(make([]byte, n))
	for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return Big(b)
}

func (m *Reader) text() error {
	var n int64
	var err error
	switch m.op {
	case 'S', 'V':
		line, err := m.src.line()
		if err != nil {
			return err
		}
		s, err := unescape(line, m.op == 'S')
		if err != nil {
			return err
		}
		m.push(s)
		return nil
	case 'U', 'C', 0x8c:
		n, err = m.size(1)
	case 'T', 'X', 'B':
		n, err = m.size(4)
	default:
		n, err = m.size(8)
	}
	if err != nil {
		return err
	}
	var text bool
	switch m.op {
	case 'X', 0x8c, 0x8d:
		text = true
	}
	if n > maxInline {
		m.push(Blob{Offset: m.src.pos, Len: n, Text: text})
		return m.src.skip(n)
	}
	b, err := m.src.next(n)
	if err != nil {
		return err
	}
	switch {
	case text && !utf8.Valid(b):
		// Python writes lone surrogates so; as names they are as good as any others.
		m.push(strings.ToValidUTF8(string(b), "\uFFFD"))
	case text:
		m.push(string(b))
	case (m.op == 'T' || m.op == 'U') && utf8.Valid(b): // Python 2's str: a name, mostly
		m.push(string(b))
	default:
		m.push(Bytes(b))
	}
	return nil
}

// unescape is the value of a string as protocol 0 writes it: STRING in quotes as in a program,
// UNICODE without.
func unescape(s string, quoted bool) (string, error) {
	bad := fmt.Errorf("%.40q is no string (the file is damaged)", s)
	if quoted {
		s = strings.TrimRight(s, "\r ")
		if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
			return "", bad
		}
		s = s[1 : len(s)-1]
	}
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		digits := 0
		switch c := s[i]; {
		case c == 'u' && !quoted:
			digits = 4
		case c == 'U' && !quoted:
			digits = 8
		case !quoted:
			out.WriteByte('\\')
			out.WriteByte(c)
		case c == 'x':
			digits = 2
		case c == 'n':
			out.WriteByte('\n')
		case c == 't':
			out.WriteByte('\t')
		case c == 'r':
			out.WriteByte('\r')
		default:
			out.WriteByte(c)
		}
		if digits > 0 {
			if i+digits >= len(s) {
				return "", bad
			}
			v, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
			if err != nil {
				return "", bad
			}
			i += digits
			if quoted {
				out.WriteByte(byte(v))
			} else {
				out.WriteRune(rune(v))
			}
		}
	}
	return out.String(), nil
}

func (m *Reader) memory() error {
	var at int64
	switch m.op {
	case 'p', 'g':
		line, err := m.src.line()
		if err != nil {
			return err
		}
		at, err = strconv.ParseInt(strings.TrimRight(line, "\r"), 10, 64)
		if err != nil || at < 0 {
			return fmt.Errorf("%.40q is no place in the memo (the file is damaged)", line)
		}
	case 'q', 'h':
		b, err := m.src.next(1)
		if err != nil {
			return err
		}
		at = int64(b[0])
	case 'r', 'j':
		b, err := m.src.next(4)
		if err != nil {
			return err
		}
		at = int64(binary.LittleEndian.Uint32(b))
	case 0x94:
		at = int64(len(m.memo) + len(m.far))
	}
	switch m.op {
	case 'g', 'h', 'j':
		if at < int64(len(m.memo)) {
			m.push(m.memo[at])
			return nil
		}
		v, ok := m.far[at]
		if !ok {
			return fmt.Errorf("nothing is kept at place %d of the memo (the file is damaged)", at)
		}
		m.push(v)
		return nil
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch {
	case at < int64(len(m.memo)):
		m.memo[at] = v
	case at == int64(len(m.memo)) && len(m.far) == 0:
		m.memo = append(m.memo, v)
	default:
		if m.far == nil {
			m.far = map[int64]any{}
		}
		m.far[at] = v
	}
	return nil
}

func (m *Reader) collect() error {
	switch m.op {
	case 0x85, 0x86, 0x87:
		n := int(m.op) - 0x84
		if len(m.stack)-n < m.floor() {
			return errEmpty
		}
		at := len(m.stack) - n
		t := append(Tuple(nil), m.stack[at:]...)
		clear(m.stack[at:])
		m.stack = append(m.stack[:at], t)
		return nil
	case 'a', 's':
		n := 1
		if m.op == 's' {
			n = 2
		}
		if len(m.stack)-n < m.floor() {
			return errEmpty
		}
		at := len(m.stack) - n
		items := append([]any(nil), m.stack[at:]...)
		m.stack = m.stack[:at]
		return m.extend(items)
	}
	items, err := m.popMark()
	if err != nil {
		return err
	}
	switch m.op {
	case 't':
		m.push(Tuple(items))
	case 'l':
		m.push(&List{items})
	case 0x91:
		m.push(&Set{items})
	case 'd':
		d := &Dict{}
		m.push(d)
		return d.set(items)
	default:
		return m.extend(items)
	}
	return nil
}

// extend gives items to the collection on top of the stack.
func (m *Reader) extend(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	switch m.op {
	case 'a', 'e':
		switch c := v.(type) {
		case *List:
			c.Items = append(c.Items, items...)
			return nil
		case *Object:
			if c.List == nil {
				c.List = &List{}
			}
			c.List.Items = append(c.List.Items, items...)
			return nil
		}
	case 0x90:
		if c, ok := v.(*Set); ok {
			c.Items = append(c.Items, items...)
			return nil
		}
		if _, ok := v.(*Object); ok {
			return nil
		}
	default:
		switch c := v.(type) {
		case *Dict:
			return c.set(items)
		case *Object:
			if c.Items == nil {
				c.Items = &Dict{}
			}
			return c.Items.set(items)
		}
	}
	return errors.New("items for a value that takes none (the file is damaged)")
}

// set sets keys and values that alternate.
func (d *Dict) set(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value (the file is damaged)")
	}
	for i := 0; i < len(items); i += 2 {
		d.Items = append(d.Items, Pair{items[i], items[i+1]})
	}
	return nil
}

// object does what is left: names, calls, state, persistent ids.
func (m *Reader) object() error {
	switch m.op {
	case 'c', 'i':
		module, err := m.src.line()
		if err != nil {
			return err
		}
		name, err := m.src.line()
		if err != nil {
			return err
		}
		g := Global{module, name}
		if m.op == 'c' {
			m.push(g)
			return nil
		}
		args, err := m.popMark()
		if err != nil {
			return err
		}
		return m.call(g, Tuple(args))
	case 0x93:
		name, err := m.pop()
		if err != nil {
			return err
		}
		module, err := m.pop()
		if err != nil {
			return err
		}
		a, ok1 := module.(string)
		b, ok2 := name.(string)
		if !ok1 || !ok2 {
			return errors.New("a name that is no string (the file is damaged)")
		}
		m.push(Global{a, b})
		return nil
	case 'R', 0x81, 0x92:
		if m.op == 0x92 { // keyword arguments: only an inert class has them
			if _, err := m.pop(); err != nil {
				return err
			}
		}
		args, err := m.pop()
		if err != nil {
			return err
		}
		fn, err := m.pop()
		if err != nil {
			return err
		}
		t, ok := args.(Tuple)
		if !ok {
			return errors.New("arguments that are no tuple (the file is damaged)")
		}
		return m.call(fn, t)
	case 'o':
		items, err := m.popMark()
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return errCallee
		}
		return m.call(items[0], Tuple(items[1:]))
	case 'b':
		state, err := m.pop()
		if err != nil {
			return err
		}
		v, err := m.top()
		if err != nil {
			return err
		}
		switch v := v.(type) {
		case Builder:
			return v.Build(state)
		case *Object:
			v.State = state
		}
		return nil
	case 'P', 'Q':
		var id any
		var err error
		if m.op == 'P' {
			id, err = m.src.line()
		} else {
			id, err = m.pop()
		}
		if err != nil {
			return err
		}
		if m.hooks.Persistent == nil {
			return errors.New("a persistent id, which only a file of torch.save can resolve (save the file again with torch.save)")
		}
		v, err := m.hooks.Persistent(id)
		if err != nil {
			return err
		}
		m.push(v)
		return nil
	}
	return errors.New("not an opcode of a pickle (the file is damaged, or no pickle)")
}

// call pushes what fn gives for args, or an object that stands for it.
func (m *Reader) call(fn any, args Tuple) error {
	g, ok := fn.(Global)
	if !ok {
		if o, inert := fn.(*Object); inert { // a partial, or a method that getattr would give
			m.push(&Object{Class: o.Class, Args: args})
			return nil
		}
		return errCallee
	}
	if m.hooks.Call != nil {
		v, known, err := m.hooks.Call(g, args)
		if err != nil {
			return fmt.Errorf("%.100s: %w", g, err)
		}
		if known {
			m.push(v)
			return nil
		}
	}
	m.push(&Object{Class: g, Args: args})
	return nil
}
