package spectrum

import (
	"bufio"
	"io"
	"strconv"
)

// EncodeCSV writes the density, one grid point a line: eigenvalue,density and, when there is a band,
// lower,upper, and of a run that was repeated data_stderr. The zero operator has no density: its table is the header. Nothing is written when r is not
// valid.
func EncodeCSV(w io.Writer, r *Result) error {
	if err := r.Validate(); err != nil {
		return err
	}
	t := table{w: bufio.NewWriter(w)}
	d := r.Density
	if d == nil {
		_, _ = t.w.WriteString("eigenvalue,density\n")
		return t.w.Flush()
	}
	head, columns := "eigenvalue,density", [][]float64{d.Grid, d.Density}
	if d.Lower != nil {
		head, columns = head+",lower,upper", append(columns, d.Lower, d.Upper)
	}
	if d.DataStderr != nil {
		head, columns = head+",data_stderr", append(columns, d.DataStderr)
	}
	_, _ = t.w.WriteString(head + "\n")
	row := make([]float64, len(columns))
	for i := range d.Grid {
		for j, c := range columns {
			row[j] = c[i]
		}
		t.row(row...)
	}
	return t.w.Flush()
}

// EncodeDistributionCSV writes the smoothed distribution function with its band, one grid point a line:
// eigenvalue,distribution,lower,upper. Where there is none, the table is the header.
func EncodeDistributionCSV(w io.Writer, r *Result) error {
	if err := r.Validate(); err != nil {
		return err
	}
	t := table{w: bufio.NewWriter(w)}
	_, _ = t.w.WriteString("eigenvalue,distribution,lower,upper\n")
	if d := r.Density; d != nil {
		for i, y := range d.Distribution {
			t.row(d.Grid[i], y, d.DistributionLower[i], d.DistributionUpper[i])
		}
	}
	return t.w.Flush()
}

// EncodeNodesCSV writes the quadratures, one node a line: probe,node,weight. The nodes of an exact spectrum
// are its eigenvalues, of probe 0.
func EncodeNodesCSV(w io.Writer, r *Result) error {
	if err := r.Validate(); err != nil {
		return err
	}
	t := table{w: bufio.NewWriter(w)}
	_, _ = t.w.WriteString("probe,node,weight\n")
	for p, m := range r.Measures() {
		for i, x := range m.Nodes {
			_, _ = t.w.WriteString(strconv.Itoa(p))
			_ = t.w.WriteByte(',')
			t.row(x, m.Weights[i])
		}
	}
	return t.w.Flush()
}

// table writes lines of numbers; the buffered writer keeps the first error for Flush.
type table struct {
	w *bufio.Writer
	b []byte
}

func (t *table) row(values ...float64) {
	t.b = t.b[:0]
	for i, x := range values {
		if i > 0 {
			t.b = append(t.b, ',')
		}
		t.b = appendNumber(t.b, x)
	}
	t.b = append(t.b, '\n')
	_, _ = t.w.Write(t.b)
}
