package dataset

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/tensor"
)

// A block that is sealed has the same values, bit for bit, in half the memory where that can be.
func TestSeal(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		half   bool
	}{
		{[]float64{0, 1, -2.5, 255, math.Copysign(0, -1), math.Inf(1)}, true},
		{[]float64{0, 0.1, 2, 3, 4, 5}, false},
		{[]float64{0, 1, 2, math.NaN(), 4, 5}, false},
		{[]float64{0, 1, 2, 1e300, 4, 1 << 24}, false},
		{[]float64{0, 1, 2, 1<<24 + 1, 4, 5}, false},
	} {
		b := (&numbers{row: 2, values: slices.Clone(tt.values)}).seal()
		got := make([]float64, 4)
		if err := b.Floats(got, 1, 3); err != nil {
			t.Fatal(err)
		}
		if b.Rows() != 3 || (b.half != nil) != tt.half {
			t.Errorf("%v: %d rows, half %v", tt.values, b.Rows(), b.half)
		}
		for i, v := range got {
			if want := tt.values[2+i]; math.Float64bits(v) != math.Float64bits(want) {
				t.Errorf("%v: value %d is %v", tt.values, 2+i, v)
			}
		}
	}
}

// Characters are kept in as few bytes as the vocabulary needs, and are the same tokens.
func TestCharacterWidths(t *testing.T) {
	for n, want := range map[int]tensor.DType{3: tensor.Uint8, 256: tensor.Uint8, 257: tensor.Uint16, 1 << 16: tensor.Uint16, 1<<16 + 1: tensor.Int32} {
		var chars []rune
		for c := rune('0'); len(chars) < n; c++ {
			if c < 0xd800 || c > 0xdfff { // which are no characters
				chars = append(chars, c)
			}
		}
		v := newCharVocabulary(chars)
		text := string(chars[n-1]) + "1" + string(chars[n/2]) + "0"
		a, err := v.array(text)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := v.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int64, 4)
		if err := a.Ints(got, 0, 4); err != nil {
			t.Fatal(err)
		}
		if a.DType != want || fmt.Sprint(got) != fmt.Sprint(tokens) || got[0] != int64(n-1) {
			t.Errorf("%d characters: %s, %v, want %v", n, a.DType, got, tokens)
		}
		if _, err := v.array("0\n"); err == nil || !strings.Contains(err.Error(), "offset 1: the character '\\n' is not among") {
			t.Errorf("got %v", err)
		}
	}
}
