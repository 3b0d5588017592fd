package zoo

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// listing is the entries of a text: a name and the sizes of its axes a line.
func listing(text string) []Entry {
	var entries []Entry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || len(entries) > 400 {
			continue
		}
		e := Entry{Name: f[0]}
		for _, s := range f[1:min(len(f), 8)] {
			if n, err := strconv.Atoi(s); err == nil && n >= 0 {
				e.Shape = append(e.Shape, n)
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// FuzzRecognise looks for panics, and for networks that a few names make larger than any shape: names and shapes come from a checkpoint.
func FuzzRecognise(f *testing.F) {
	for _, spec := range []string{"mlp:4-5-3", "lenet5", "resnet20", "resnet18", "vgg11", "vgg11:bn=true", "vit:patch=16,width=192,layers=1,heads=3,size=32", "smallcnn"} {
		net, err := Parse(spec)
		if err != nil {
			f.Fatal(err)
		}
		var b strings.Builder
		for _, p := range append(net.Params, net.Buffers...) {
			fmt.Fprintln(&b, p.Name, strings.Trim(fmt.Sprint(p.Shape), "[]"))
		}
		if _, err := Recognise(listing(b.String())); err != nil {
			f.Fatalf("%s: %v", spec, err)
		}
		f.Add(b.String())
	}
	f.Add("0.weight 9223372036854775807 9223372036854775807\n0.bias 9223372036854775807\n")
	f.Add("conv1.weight 0 0 0 0\nlayer1.0.conv1.weight 1 1\nfc.weight 0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		net, err := Recognise(listing(text))
		if err == nil && (net.Size() < 0 || float64(net.Size()) > maxSize) {
			t.Fatalf("%s has %d parameters", net.Name, net.Size())
		}
	})
}
