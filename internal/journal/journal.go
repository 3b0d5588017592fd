// Package journal is the file in which a run of Lanczos keeps what it has done, so that another goes on from there: the
// --checkpoint of the commands. It satisfies lanczos.Journal.
//
// All numbers are little-endian. A file is
//
//	"hessdens checkpoint 2\n"
//	head       length (uint32), JSON: what the run is, and its groups of probes; CRC
//	results    for each of k probes, 32 + 16·m + 8·k·m bytes and a CRC: what it found, zeros until it has
//	outermost  n float64 and a CRC: a Ritz vector of the first probe, zeros until it is there
//	steps      of the group in progress, one after another: "step", number of the step, number of probes (uint32); for
//	           each probe its index, whether it goes on (uint32), α, β and the asymmetry so far (float64); the next basis
//	           vector of each that goes on (n float64 or float32); CRC
//
// for k probes of m steps and n parameters, of a run that grows those that it begins with; a CRC is CRC-32C of the part that it ends. Steps are appended and never changed, so that the file
// grows to the size of the basis in memory; when a group has ended and another follows, its results are written, then its steps are cut off. What is
// incomplete or damaged is not there: a run that is killed at any moment leaves a file to go on from. Every step is handed to the system at
// once, and to the disk every ten seconds, which is what a loss of power may cost.
package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"hessdens/internal/lanczos"
)

const (
	family = "hessdens checkpoint "
	magic  = family + "2\n"

	// maxHead bounds the head: class weights and patterns of parameters are the longest that it holds.
	maxHead = 1 << 20

	// syncEvery is the least time between two demands that the disk has everything.
	syncEvery = 10 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is what a journal is kept in.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// Field is one of the things that make a run what it is, with a name for people.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Run is what a journal is of.
type Run struct {
	Identity []Field // all that the bits of the result depend on, but for what follows
	N        int     // order of the operator
	Probes   int     // numbered from 0
	Steps    int     // the most of a probe; at most N
	Storage  lanczos.Storage
	Groups   []int // of probes, in their order
}

// identity is all that two runs must have in common.
func (r *Run) identity() []Field {
	basis := "float64"
	if r.Storage == lanczos.Single {
		basis = "float32"
	}
	return append([]Field{
		{"parameters", strconv.Itoa(r.N)}, {"probes", strconv.Itoa(r.Probes)}, {"steps", strconv.Itoa(r.Steps)}, {"basis", basis},
	}, r.Identity...)
}

// FormatError says that a file is no journal.
type FormatError struct{ msg string }

func (e *FormatError) Error() string { return e.msg }

// MismatchError says in what the run of a journal is another; a value that is empty is not there.
type MismatchError struct{ Name, Kept, Given string }

func (e *MismatchError) Error() string {
	value := func(s string) string {
		if s == "" {
			return "not given"
		}
		return s
	}
	return fmt.Sprintf("is of another run: %s was %s, and is %s now", e.Name, value(e.Kept), value(e.Given))
}

type head struct {
	Identity []Field `json:"identity"`
	Groups   []int   `json:"groups"`
}

// Journal keeps a run in a file.
type Journal struct {
	f         File
	run       Run
	slots     int64 // where the results begin,
	outermost int64 // the vector behind them,
	steps     int64 // and the steps;
	at        int64 // where the next one does,
	size      int64 // and where what is there ends
	live      bool  // no step is read any more
	taken     int   // steps that were read
	synced    time.Time
	buf       []byte
}

// Create makes an empty file the journal of a run.
func Create(f File, run Run) (*Journal, error) {
	text, err := json.Marshal(head{run.identity(), run.Groups})
	if err != nil {
		return nil, err
	}
	if len(text) > maxHead {
		return nil, errors.New("class weights and patterns of parameters are too long to be kept")
	}
	b := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	b = append(b, text...)
	b = appendCRC(b, b)
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	j := newJournal(f, run, int64(len(b)))
	j.live = true
	return j, nil
}

// Open reads the journal of a run in a file of size bytes, and sets the run's groups to those that are kept. It fails with a
// *FormatError or, when the journal is of another run, with a *MismatchError.
func Open(f File, size int64, run *Run) (*Journal, error) {
	b := make([]byte, len(magic)+4)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case !bytes.HasPrefix(b, []byte(family)):
		return nil, &FormatError{"is no checkpoint of hessdens"}
	case !bytes.HasPrefix(b, []byte(magic)):
		return nil, &FormatError{"is a checkpoint of another version of hessdens"}
	}
	length := int64(binary.LittleEndian.Uint32(b[len(magic):]))
	if length > min(maxHead, size) {
		return nil, &FormatError{"is damaged: its head is too long"}
	}
	b = make([]byte, int64(len(b))+length+4)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, &FormatError{"is damaged: it ends in its head"}
	}
	if !checkCRC(b) {
		return nil, &FormatError{"is damaged: its head does not have its checksum"}
	}
	var h head
	d := json.NewDecoder(bytes.NewReader(b[len(magic)+4 : len(b)-4]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return nil, &FormatError{"is damaged: its head is not as it should be"}
	}
	if err := compare(h.Identity, run.identity()); err != nil {
		return nil, err
	}
	probes := 0
	for _, g := range h.Groups {
		if g <= 0 || g > run.Probes-probes {
			return nil, &FormatError{"is damaged: its groups of probes are not those of a run"}
		}
		probes += g
	}
	if probes != run.Probes {
		return nil, &FormatError{"is damaged: its groups of probes are not those of a run"}
	}
	run.Groups = h.Groups
	j := newJournal(f, *run, int64(len(b)))
	j.size = max(size, j.steps)
	return j, nil
}

// compare finds the first difference between the identity that was kept and the one that is given.
func compare(kept, given []Field) error {
	was := map[string]string{}
	for _, f := range kept {
		was[f.Name] = f.Value
	}
	for _, f := range given {
		if was[f.Name] != f.Value {
			return &MismatchError{f.Name, was[f.Name], f.Value}
		}
		delete(was, f.Name)
	}
	for _, f := range kept {
		if value, left := was[f.Name]; left && value != "" {
			return &MismatchError{f.Name, value, ""}
		}
	}
	return nil
}

func newJournal(f File, run Run, slots int64) *Journal {
	j := &Journal{f: f, run: run, slots: slots, synced: time.Now()}
	j.outermost = slots + int64(run.Probes)*j.slotSize()
	j.steps = j.outermost + 8*int64(run.N) + 4
	j.at, j.size = j.steps, j.steps
	return j
}

// Taken is the number of steps that were read.
func (j *Journal) Taken() int { return j.taken }

// Sync waits until the disk has everything.
func (j *Journal) Sync() error {
	j.synced = time.Now()
	return j.f.Sync()
}

// cut ends the file, after which nothing is read any more.
func (j *Journal) cut(at int64) error {
	j.live, j.at, j.size = true, at, at
	return j.f.Truncate(at)
}

func appendCRC(b, of []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(of, castagnoli))
}

// checkCRC says whether the last four bytes are the CRC of those before.
func checkCRC(b []byte) bool {
	n := len(b) - 4
	return crc32.Checksum(b[:n], castagnoli) == binary.LittleEndian.Uint32(b[n:])
}
