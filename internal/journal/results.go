package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"hessdens/internal/lanczos"
)

// slotSize is the size of a probe's results.
func (j *Journal) slotSize() int64 { return 32 + 8*int64(j.run.Steps)*int64(2+j.run.Probes) + 4 }

// Finished implements lanczos.Journal.
func (j *Journal) Finished(group []lanczos.Probe) (bool, error) {
	b := make([]byte, j.slotSize())
	for i := range group {
		if n, err := j.f.ReadAt(b, j.slots+int64(group[i].Index)*j.slotSize()); n < len(b) {
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			return false, err
		}
		found, ok := j.result(b)
		if !ok {
			return false, nil
		}
		p := &group[i]
		p.Alpha, p.Beta = append(p.Alpha[:0], found.Alpha...), append(p.Beta[:0], found.Beta...)
		p.BetaLast, p.Exhausted, p.Orthogonality = found.BetaLast, found.Exhausted, found.Orthogonality
		p.Asymmetry, p.Overlaps = found.Asymmetry, found.Overlaps
		if p.Index > 0 {
			continue
		}
		p.Outermost = make([]float64, j.run.N)
		r := &reader{j: j, at: j.outermost, end: j.steps}
		err := r.vector(p.Outermost, nil)
		if err == nil {
			err = r.checksum()
		}
		switch {
		case errors.Is(err, errDamaged) || errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// result decodes the results of a probe, if they are there.
func (j *Journal) result(b []byte) (p lanczos.Probe, ok bool) {
	count, exhausted := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if !checkCRC(b) || count < 1 || count > uint32(j.run.Steps) || exhausted > 1 {
		return p, false
	}
	next := func() float64 {
		x := math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))
		b = b[8:]
		ok = ok && !math.IsNaN(x) && !math.IsInf(x, 0)
		return x
	}
	ok = true
	p.BetaLast, p.Orthogonality, p.Asymmetry, p.Exhausted = next(), next(), next(), exhausted == 1
	for range count {
		p.Alpha = append(p.Alpha, next())
	}
	for range count - 1 {
		p.Beta = append(p.Beta, next())
		ok = ok && p.Beta[len(p.Beta)-1] > 0
	}
	p.Overlaps = make([][]float64, j.run.Probes)
	for l := range p.Overlaps {
		for range count {
			x := next()
			p.Overlaps[l] = append(p.Overlaps[l], x)
			ok = ok && math.Abs(x) <= 1+lengthError
		}
	}
	return p, ok && p.BetaLast >= 0 && p.Orthogonality >= 0 && p.Asymmetry >= 0 && (p.BetaLast == 0 || !p.Exhausted)
}

// Finish implements lanczos.Journal. The steps of the last group stay, and need not be on the disk: all that is left to do is to write a
// result.
func (j *Journal) Finish(group []lanczos.Probe) error {
	b := make([]byte, 0, j.slotSize())
	for _, p := range group {
		exhausted := uint32(0)
		if p.Exhausted {
			exhausted = 1
		}
		b = binary.LittleEndian.AppendUint32(b[:0], uint32(len(p.Alpha)))
		b = binary.LittleEndian.AppendUint32(b, exhausted)
		for _, list := range append([][]float64{{p.BetaLast, p.Orthogonality, p.Asymmetry}, p.Alpha, p.Beta}, p.Overlaps...) {
			for _, x := range list {
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
			}
		}
		b = append(b, make([]byte, cap(b)-4-len(b))...)
		if _, err := j.f.WriteAt(appendCRC(b, b), j.slots+int64(p.Index)*j.slotSize()); err != nil {
			return err
		}
		if p.Index == 0 {
			w := &writer{j: j, at: j.outermost, b: j.buffer()[:0]}
			if err := w.vector(p.Outermost, nil); err != nil {
				return err
			}
			if err := w.checksum(); err != nil {
				return err
			}
		}
	}
	if group[len(group)-1].Index == j.run.Probes-1 {
		return nil
	}
	if err := j.Sync(); err != nil { // before the steps are cut off
		return err
	}
	return j.cut(j.steps)
}
