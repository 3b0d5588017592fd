package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func pictures(t *testing.T, ps []Picture, width int, c Colors) string {
	t.Helper()
	var b bytes.Buffer
	if err := Pictures(&b, ps, width, c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPictures(t *testing.T) {
	// Black, grey, white; and a colour.
	grey := Picture{Label: "7", Channels: 1, Height: 2, Width: 2, Values: []float64{-1, 0, 1, -1}}
	red := Picture{Label: "red hat", Channels: 3, Height: 2, Width: 2, Values: []float64{1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1}}
	for _, tt := range []struct {
		ps   []Picture
		c    Colors
		want string
	}{
		{[]Picture{grey}, NoColors, "+:\n7\nthe first example, black is -1 and white 1\n"}, // means of the two rows
		{[]Picture{grey, red}, NoColors, "+: ::\n7  r…\nthe first 2 examples, black is -1 and white 1\n"},
		{[]Picture{grey}, TrueColor, "\x1b[38;2;0;0;0;48;2;255;255;255m▀\x1b[38;2;128;128;128;48;2;0;0;0m▀\x1b[0m\n7\nthe first example, black is -1 and white 1\n"},
		{[]Picture{grey}, Colors256, "\x1b[38;5;16;48;5;231m▀\x1b[38;5;244;48;5;16m▀\x1b[0m\n7\nthe first example, black is -1 and white 1\n"},
		{[]Picture{red}, Colors256, "\x1b[38;5;196;48;5;196m▀▀\x1b[0m\nr…\nthe first example, black is -1 and white 1\n"},
		{[]Picture{{Channels: 1, Height: 1, Width: 2, Values: []float64{math.NaN(), math.Inf(1)}}}, NoColors, "  \nthe first example\n"},
		{[]Picture{{Channels: 1, Height: 1, Width: 2, Values: []float64{3, 3}}}, NoColors, "  \nthe first example, black is 3 and white 3\n"},
		{[]Picture{{Channels: 1, Height: 1, Width: 2, Values: []float64{0, 1}}}, TrueColor, "\x1b[38;2;0;0;0;49m▀\x1b[38;2;255;255;255;49m▀\x1b[0m\nthe first example, black is 0 and white 1\n"},
		{nil, NoColors, ""},
	} {
		if got := pictures(t, tt.ps, 80, tt.c); got != tt.want {
			t.Errorf("colours %d: got %q, want %q", tt.c, got, tt.want)
		}
	}
	if err := Pictures(&bytes.Buffer{}, []Picture{{Channels: 1, Height: 2, Width: 2}}, 80, NoColors); err == nil {
		t.Error("no error without values")
	}
}

// Pictures of any size keep to the width, and to a few lines.
func TestPicturesFit(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {28, 28}, {32, 32}, {224, 224}, {1, 500}, {500, 1}} {
		for _, width := range []int{20, 80, 133, 300} {
			n := PicturesFit(size[1], width)
			if n < 1 || n > 8 {
				t.Fatalf("%d pictures", n)
			}
			var ps []Picture
			for range n {
				ps = append(ps, Picture{Label: strings.Repeat("é", 40), Channels: 3, Height: size[0], Width: size[1], Values: make([]float64, 3*size[0]*size[1])})
			}
			lines := strings.Split(strings.TrimSuffix(pictures(t, ps, width, NoColors), "\n"), "\n")
			if len(lines) > 70 {
				t.Errorf("%v in %d columns: %d lines", size, width, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > width {
					t.Errorf("%v in %d columns: a line of %d", size, width, utf8.RuneCountInString(l))
				}
			}
		}
	}
	if n := PicturesFit(32, 80); n != 4 {
		t.Errorf("%d pictures of 32 columns in 80, want 4", n)
	}
}

// Scaling to fewer cells takes means over areas, also of parts of pixels.
func TestScaled(t *testing.T) {
	p := Picture{Channels: 1, Height: 1, Width: 3, Values: []float64{0, 1, 0.5}}
	got := p.scaled(2, 1, 0, 1)
	if want := []float64{1. / 3, 2. / 3}; math.Abs(got[0][0]-want[0]) > 1e-15 || math.Abs(got[1][2]-want[1]) > 1e-15 {
		t.Errorf("got %v, want %v", got, want)
	}
}
