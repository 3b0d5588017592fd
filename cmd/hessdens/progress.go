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
	what     string
	prefix   string
	start    time.Time
	last     time.Time
	shown    bool
	fraction float64 // of the whole that is done, the current pass left out
	step     float64 // of the whole that the current pass is
}

// begin names a piece of work.
func (p *progress) begin(what string) {
	p.clear()
	p.what, p.start, p.fraction, p.step = p.prefix+what, time.Now(), 0, 1
}

// pass is told how far a pass over the data has come.
func (p *progress) pass(done, of int) {
	p.show(p.fraction + p.step*float64(done)/float64(of))
}

// lanczos is told of each step.
func (p *progress) lanczos(l lanczos.Progress) {
	p.steps(l.Products, l.Total)
}

// steps is told of equal pieces.
func (p *progress) steps(done, of int) {
	if of > 0 {
		p.fraction = float64(done) / float64(of)
		if done > 0 {
			p.step = p.fraction / float64(done)
		}
		p.show(p.fraction)
	}
}

func (p *progress) show(f float64) {
	now := time.Now()
	if !p.on || now.Sub(p.last) < 100*time.Millisecond || now.Sub(p.start) < 500*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	left := ""
	if f = min(f, 1); f > 0.005 {
		d := time.Duration(float64(now.Sub(p.start)) * (1 - f) / f).Round(time.Second)
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
