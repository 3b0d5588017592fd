package dataset

import (
	"path"
	"regexp"
	"strings"
)

// heldOut are the words for the split that is not trained on, by preference.
var heldOut = []string{"test", "val", "valid", "validation", "dev"}

// splitWords are the words for a split, "train" or "test", by preference.
func splitWords(split string) []string {
	if split == "test" {
		return heldOut
	}
	return []string{"train"}
}

// splitFiles are the names of the one file of a split, by preference.
func splitFiles(split, suffix string) []string {
	var names []string
	for _, word := range splitWords(split) {
		names = append(names, word+suffix)
	}
	return names
}

// splitWord finds the word in the name of a file: val.txt, train-00000-of-00002.parquet.
var splitWord = regexp.MustCompile(`(?:^|[-_.])(train|` + strings.Join(heldOut, "|") + `)(?:[-_.0-9]|$)`)

// splitOf is the split that the name of a file says, "train" or "test", and the word for it; "" where it says none.
func splitOf(name string) (split, word string) {
	m := splitWord.FindStringSubmatch(path.Base(name))
	switch {
	case m == nil:
		return "", ""
	case m[1] == "train":
		return "train", m[1]
	}
	return "test", m[1]
}

// fileSplit holds Options.Split against the split that a single file is of, "" for none.
func (o *opener) fileSplit(s Source, is string) error {
	switch want := o.opts.Split; {
	case is == "" && want == "test":
		return badOption("--split", "%s has no splits (leave it out, or give the file of the split)", s.path())
	case is != "" && want != "" && want != is:
		return badOption("--split", "%s is of the %s split (give the file of the other, or the directory)", s.path(), is)
	}
	return nil
}
