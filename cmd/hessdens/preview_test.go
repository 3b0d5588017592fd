package main

import (
	"slices"
	"testing"

	"hessdens/internal/dataset"
)

// Names of classes come from files: what would steer a terminal is not passed on.
func TestClassName(t *testing.T) {
	s := &subject{set: &dataset.Set{Names: []string{"cat", "\x1b[2J\nhund", "été"}}}
	for class, want := range map[int64]string{0: "0 cat", 1: "1 ?[2J?hund", 2: "2 été", 3: "3", -100: "-100"} {
		if got := s.className(class); got != want {
			t.Errorf("class %d: got %q, want %q", class, got, want)
		}
	}
}

func TestImageForm(t *testing.T) {
	for _, tt := range []struct {
		input    []int
		channels int
		size     []int
	}{
		{[]int{3, 224, 200}, 3, []int{224, 200}}, {[]int{784}, 1, []int{28, 28}}, {[]int{3072}, 3, []int{32, 32}}, {[]int{5}, 0, nil}, {nil, 0, nil}, {[]int{4, 4}, 0, nil},
	} {
		if channels, size := imageForm(tt.input); channels != tt.channels || !slices.Equal(size, tt.size) {
			t.Errorf("%v: %d channels of %v", tt.input, channels, size)
		}
	}
}
