package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"

	"hessdens/internal/spectrum"
)

// readResults reads all results of a file, "-" being standard input.
func readResults(a *app, name string) ([]*spectrum.Result, error) {
	in := a.stdin
	if name != "-" {
		f, _, err := openFile(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	rs, err := spectrum.ReadSeries(in)
	if err != nil {
		return nil, inputf("%s: %w", label(name), err)
	}
	return rs, nil
}

func label(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// readResult reads the one result of a file.
func readResult(a *app, name string) (*spectrum.Result, error) {
	rs, err := readResults(a, name)
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 {
		return nil, inputf("%s: holds %d results where one is needed (pick one of its lines: sed -n 1p)", label(name), len(rs))
	}
	return rs[0], nil
}

// legend is a short name for a result file.
func legend(name string) string {
	base := filepath.Base(name)
	for _, suffix := range []string{".gz", ".json", ".jsonl", ".safetensors", ".npz"} {
		base = strings.TrimSuffix(base, suffix)
	}
	if name == "-" {
		base = "stdin"
	}
	return base
}

// pictureFormat is the form of a picture that a file's name asks for.
func pictureFormat(flag, name string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".svg", ".png", ".pdf":
		return ext[1:], nil
	}
	return "", usagef("%s %s: the suffix says no picture (use .svg, .png or .pdf)", flag, name)
}

// writePicture draws to a file, whole or not at all.
func writePicture(flag, name string, draw func(w io.Writer) error) error {
	var b bytes.Buffer
	if err := draw(&b); err != nil {
		return inputf("%s %s: %w", flag, name, err)
	}
	return writeFile(flag, name, func(w io.Writer) error {
		_, err := w.Write(b.Bytes())
		return err
	})
}
