package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"hessdens/internal/lanczos"
)

// progress is one line on a terminal, rewritten as work goes on; elsewhere nothing.
type progress struct {
	w        io.Writer
	on       bool
	now      func() time.Time // nil: the clock
	what     string
	prefix   string
	start    time.Time
	last     time.Time
	shown    bool
	fraction float64 // of the whole that is done, the current pass left out
	step     float64 // of the whole that the current pass is; 0: not known
	from     float64 // of the whole that was done at the start
}

// begin names a piece of work of so many passes over the data, 0 when that is not known.
func (p *progress) begin(what string, passes int) {
	p.clear()
	p.what, p.start, p.fraction, p.step, p.from = p.prefix+what, p.clock(), 0, 0, 0
	if passes > 0 {
		p.step = 1 / float64(passes)
	} else if p.on {
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.what)
		p.shown = true
	}
}

func (p *progress) clock() time.Time {
	if p.now != nil {
		return p.now()
	}
	return time.Now()
}

// pass is told how far a pass over the data has come.
func (p *progress) pass(done, of int) {
	if p.step == 0 || of == 0 {
		return
	}
	p.show(p.fraction + p.step*float64(done)/float64(of))
	if done == of {
		p.fraction += p.step
	}
}

// lanczos is told of each step, which was one pass for all probes of a group.
func (p *progress) lanczos(l lanczos.Progress) {
	p.pieces(l.Products, l.Probes, l.Total)
	if l.Kept { // by an earlier run: it says nothing of how long the rest takes
		p.start, p.from = p.clock(), p.fraction
	}
}

// steps is told of equal pieces, each of one pass.
func (p *progress) steps(done, of int) {
	p.pieces(done, min(dense, of-done), of)
}

// dense is how many columns of a dense matrix take one pass.
const dense = 32

// pieces is told how many pieces are done and how many the next pass makes.
func (p *progress) pieces(done, next, of int) {
	if of > 0 {
		p.fraction, p.step = float64(done)/float64(of), float64(next)/float64(of)
		p.show(p.fraction)
	}
}

func (p *progress) show(f float64) {
	now := p.clock()
	if !p.on || now.Sub(p.last) < 100*time.Millisecond || now.Sub(p.start) < 500*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	left := ""
	if f = min(f, 1); f-p.from > 0.005 {
		d := time.Duration(float64(now.Sub(p.start)) * (1 - f) / (f - p.from)).Round(time.Second)
		left = fmt.Sprintf(", %v left", d)
	}
	const width = 24
	full := int(f * width)
	fmt.Fprintf(p.w, "\r\x1b[K%s [%s%s] %3.0f %%%s", p.what, strings.Repeat("#", full), strings.Repeat(".", width-full), 100*f, left)
}

// clear takes the line away.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
