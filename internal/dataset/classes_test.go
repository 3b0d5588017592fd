package dataset

import (
	"slices"
	"testing"
)

func TestClassNumbers(t *testing.T) {
	for _, tt := range []struct {
		sorted, known []string
		numbers       []int
		names         []string
	}{
		{[]string{"neg", "pos"}, nil, []int{0, 1}, []string{"neg", "pos"}},
		{[]string{"neg", "pos"}, []string{"POS", "neutral", "NEG"}, []int{2, 0}, []string{"POS", "neutral", "NEG"}},
		{[]string{"neg", "other"}, []string{"pos", "neg"}, []int{0, 1}, []string{"neg", "other"}},
		{[]string{"Neg", "neg"}, []string{"pos", "neg"}, []int{0, 1}, []string{"Neg", "neg"}},
		{[]string{"a", "b"}, []string{"a", "b"}, []int{0, 1}, []string{"a", "b"}},
	} {
		numbers, names := classNumbers(tt.sorted, tt.known)
		if !slices.Equal(numbers, tt.numbers) || !slices.Equal(names, tt.names) {
			t.Errorf("%q of %q: got %v, %q", tt.sorted, tt.known, numbers, names)
		}
	}
}
