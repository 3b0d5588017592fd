package report

import (
	"bytes"
	"strings"
	"testing"

	"hessdens/internal/spectrum"
)

// What other data would change is said for what was measured, and in units of a difference: √2·1.96 times.
func TestSummaryOfSample(t *testing.T) {
	r := result()
	r.Data.Total, r.Estimator.Confidence = new(60000), 0.95
	r.Summary.LambdaMaxDataStderr, r.Summary.TraceDataStderr = new(0.0123), new(0.1)
	r.Data.Subsets = []spectrum.Subset{{LambdaMax: 0.31755365}, {LambdaMax: 0.25}, {LambdaMax: 0.35}}
	var b bytes.Buffer
	if err := Summary(&b, r); err != nil {
		t.Fatal(err)
	}
	want := `  other data        1,000 of 60,000 examples: λ max ± 0.012, trace ± 0.1
                    by chance, two such samples differ by up to 0.034 in λ max, 0.28 in trace
                    λ max of 3 parts: 0.25 to 0.35
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
	r.Data.DrawnFrom = new(5000)
	b.Reset()
	if err := Summary(&b, r); err != nil || !strings.Contains(b.String(), "1,000 of 5,000 examples: λ max") {
		t.Errorf("%v: got\n%s", err, &b)
	}
}
