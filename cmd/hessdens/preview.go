package main

import (
	"fmt"
	"os"

	"hessdens/internal/report"
	"hessdens/internal/tensor"
)

// className is a class as it is shown: its number, and its name where the files have one.
func (s *subject) className(class int64) string {
	if class < 0 || class >= int64(len(s.set.Names)) {
		return fmt.Sprint(class)
	}
	return fmt.Sprintf("%d %s", class, report.Printable(s.set.Names[class]))
}

// preview draws the first examples where they are images.
func (s *subject) preview(a *app) error {
	shape := s.set.X.Shape()
	if s.set.X.Integer() || len(shape) != 3 || shape[0] != 1 && shape[0] != 3 {
		return nil
	}
	width := min(a.width, 160)
	n := min(s.set.N, report.PicturesFit(shape[2], width))
	row := tensor.Count(shape)
	values := make([]float64, n*row)
	if err := s.set.X.Floats(values, 0, n); err != nil {
		return err
	}
	labels := make([]int64, n)
	named := s.set.Y.Integer() && len(s.set.Y.Shape()) == 0
	if named {
		if err := s.set.Y.Ints(labels, 0, n); err != nil {
			return err
		}
	}
	var pictures []report.Picture
	for i := range n {
		p := report.Picture{Channels: shape[0], Height: shape[1], Width: shape[2], Values: values[i*row : (i+1)*row]}
		if named {
			p.Label = s.className(labels[i])
		}
		pictures = append(pictures, p)
	}
	fmt.Fprintln(a.stdout)
	return toStdout(report.Pictures(a.stdout, pictures, width, a.colors()))
}

// colors are those of standard output.
func (a *app) colors() report.Colors {
	term := os.Getenv("COLORTERM")
	switch {
	case !a.color(a.stdout):
		return report.NoColors
	case term == "truecolor" || term == "24bit":
		return report.TrueColor
	}
	return report.Colors256
}
