package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"time"

	"hessdens/internal/lanczos"
)

const (
	tag       = "step"
	prefix    = len(tag) + 8 // and the number of the step, and of probes
	perProbe  = 8 + 24
	chunkSize = 1 << 18 // of what is read or written at once

	// lengthError is how far a basis vector's square may be from 1: more than the rounding of any, less than what another vector has.
	lengthError = 1e-6
)

// errDamaged says that a step is not there.
var errDamaged = errors.New("damaged")

// Next implements lanczos.Journal. A step that is incomplete, damaged or not the one that is asked for ends what is kept.
func (j *Journal) Next(steps []lanczos.Step) (bool, error) {
	if j.live {
		return false, nil
	}
	r := &reader{j: j, at: j.at, end: j.size}
	switch err := r.step(steps); {
	case err == nil:
		j.at = r.at
		j.taken++
		return true, nil
	case errors.Is(err, errDamaged) || errors.Is(err, io.EOF):
		return false, j.cut(j.at)
	default:
		return false, err
	}
}

// reader reads what lies before an end.
type reader struct {
	j       *Journal
	at, end int64
	crc     uint32
}

// take reads so many bytes, at most chunkSize, which are valid until the next call.
func (r *reader) take(n int) ([]byte, error) {
	if int64(n) > r.end-r.at {
		return nil, errDamaged
	}
	b := r.j.buffer()[:n]
	if got, err := r.j.f.ReadAt(b, r.at); got < n {
		return nil, err
	}
	r.at += int64(n)
	r.crc = crc32.Update(r.crc, castagnoli, b)
	return b, nil
}

func (r *reader) step(steps []lanczos.Step) error {
	b, err := r.take(prefix)
	if err != nil {
		return err
	}
	if string(b[:len(tag)]) != tag || binary.LittleEndian.Uint32(b[len(tag):]) != uint32(steps[0].Step) || binary.LittleEndian.Uint32(b[len(tag)+4:]) != uint32(len(steps)) {
		return errDamaged
	}
	for i := range steps {
		s := &steps[i]
		if b, err = r.take(perProbe); err != nil {
			return err
		}
		going := binary.LittleEndian.Uint32(b[4:])
		s.Alpha, s.Beta, s.Asymmetry, s.Going = float(b[8:]), float(b[16:]), float(b[24:]), going == 1
		if binary.LittleEndian.Uint32(b) != uint32(s.Probe) || going > 1 || s.Going && s.Double == nil && s.Single == nil ||
			!(math.Abs(s.Alpha)+s.Beta+s.Asymmetry <= math.MaxFloat64) || s.Beta < 0 || s.Asymmetry < 0 {
			return errDamaged
		}
	}
	for i := range steps {
		if s := &steps[i]; s.Going {
			if err := r.vector(s.Double, s.Single); err != nil {
				return err
			}
		}
	}
	return r.checksum()
}

// checksum reads the CRC of all that was taken.
func (r *reader) checksum() error {
	sum := r.crc
	b, err := r.take(4)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != sum {
		return errDamaged
	}
	return nil
}

// vector reads a vector of length 1, in one of the types.
func (r *reader) vector(double []float64, single []float32) error {
	square := 0.0
	for at := 0; at < len(double); {
		b, err := r.take(8 * min(chunkSize/8, len(double)-at))
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[8:] {
			x := float(b)
			double[at] = x
			square += x * x
			at++
		}
	}
	for at := 0; at < len(single); {
		b, err := r.take(4 * min(chunkSize/4, len(single)-at))
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[4:] {
			x := math.Float32frombits(binary.LittleEndian.Uint32(b))
			single[at] = x
			square += float64(x) * float64(x)
			at++
		}
	}
	if !(math.Abs(square-1) <= lengthError) {
		return errDamaged
	}
	return nil
}

func float(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }

func (j *Journal) buffer() []byte {
	if j.buf == nil {
		j.buf = make([]byte, chunkSize)
	}
	return j.buf
}

// Step implements lanczos.Journal. When it fails, the file is as before as far as the system allows.
func (j *Journal) Step(steps []lanczos.Step) error {
	w := &writer{j: j, at: j.at, b: j.buffer()[:0]}
	if err := w.step(steps); err != nil {
		_ = j.cut(j.at) // what is left of the step is damaged in any case
		return err
	}
	j.at, j.size = w.at, w.at
	if time.Since(j.synced) >= syncEvery {
		return j.Sync()
	}
	return nil
}

// writer writes what belongs together.
type writer struct {
	j   *Journal
	at  int64
	crc uint32
	b   []byte // what is not written yet
}

func (w *writer) step(steps []lanczos.Step) error {
	w.b = append(w.b, tag...)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(steps[0].Step))
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(steps)))
	for _, s := range steps {
		if err := w.room(perProbe); err != nil {
			return err
		}
		going := uint32(0)
		if s.Going {
			going = 1
		}
		w.b = binary.LittleEndian.AppendUint32(w.b, uint32(s.Probe))
		w.b = binary.LittleEndian.AppendUint32(w.b, going)
		for _, x := range []float64{s.Alpha, s.Beta, s.Asymmetry} {
			w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(x))
		}
	}
	for _, s := range steps {
		if !s.Going {
			continue
		}
		if err := w.vector(s.Double, s.Single); err != nil {
			return err
		}
	}
	return w.checksum()
}

func (w *writer) vector(double []float64, single []float32) error {
	for _, x := range double {
		if err := w.room(8); err != nil {
			return err
		}
		w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(x))
	}
	for _, x := range single {
		if err := w.room(4); err != nil {
			return err
		}
		w.b = binary.LittleEndian.AppendUint32(w.b, math.Float32bits(x))
	}
	return nil
}

// checksum ends what was written.
func (w *writer) checksum() error {
	if err := w.flush(); err != nil {
		return err
	}
	w.b = binary.LittleEndian.AppendUint32(w.b, w.crc)
	return w.flush()
}

// room makes room for so many bytes.
func (w *writer) room(n int) error {
	if len(w.b)+n <= cap(w.b) {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if _, err := w.j.f.WriteAt(w.b, w.at); err != nil {
		return err
	}
	w.at += int64(len(w.b))
	w.crc = crc32.Update(w.crc, castagnoli, w.b)
	w.b = w.b[:0]
	return nil
}
