package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hessdens/internal/lanczos"
)

// disk is a file in memory that remembers what was done to it.
type disk struct {
	b   []byte
	ops []op
	cap int // bytes that there is room for; 0: any
}

// op is a write, a truncation (b nil) or a sync (at < 0).
type op struct {
	at int64
	b  []byte
}

var errFull = errors.New("no space left on device")

func (d *disk) ReadAt(b []byte, at int64) (int, error) {
	if at >= int64(len(d.b)) {
		return 0, io.EOF
	}
	n := copy(b, d.b[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) apply(o op) {
	switch {
	case o.at < 0:
	case o.b == nil:
		d.b = append(slices.Clone(d.b[:min(int(o.at), len(d.b))]), make([]byte, max(0, int(o.at)-len(d.b)))...)
	default:
		if grow := int(o.at) + len(o.b) - len(d.b); grow > 0 {
			d.b = append(d.b, make([]byte, grow)...)
		}
		copy(d.b[o.at:], o.b)
	}
}

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	o := op{at, append([]byte{}, b...)}
	if d.cap > 0 && int(at)+len(b) > d.cap {
		o.b = o.b[:max(0, d.cap-int(at))]
		d.apply(o)
		return len(o.b), errFull
	}
	d.ops = append(d.ops, o)
	d.apply(o)
	return len(b), nil
}

func (d *disk) Truncate(size int64) error {
	d.ops = append(d.ops, op{at: size})
	d.apply(op{at: size})
	return nil
}

func (d *disk) Sync() error {
	d.ops = append(d.ops, op{at: -1})
	return nil
}

// A small run: five probes in two groups, one of which ends early.
const order, steps, probes = 12, 5, 5

var spectrum = func() lanczos.Diagonal {
	d := make(lanczos.Diagonal, order)
	for i := range d {
		d[i] = float64(i*i) - 3
	}
	return d
}()

func start(dst []float64, p int) {
	lanczos.Gaussian(dst, 1, p)
	if p == 1 {
		clear(dst)
		dst[3], dst[7] = 1, 2
	}
}

func plan(storage lanczos.Storage) Run {
	return Run{Identity: []Field{{"seed", "1"}, {"loss", "0.25"}}, N: order, Probes: probes, Steps: steps, Storage: storage, Groups: []int{3, 2}}
}

// end is where the results of a run end in its file.
func (r Run) end(t *testing.T) int64 {
	j, err := Create(&disk{}, r)
	if err != nil {
		t.Fatal(err)
	}
	return j.steps
}

func run(storage lanczos.Storage, j lanczos.Journal) ([]lanczos.Probe, error) {
	return lanczos.Run(context.Background(), spectrum, lanczos.Options{Steps: steps, Probes: probes, Groups: []int{3, 2}, Storage: storage, Start: start, Journal: j})
}

// whole is the result of the run, and the file that keeps all of it.
func whole(t testing.TB, storage lanczos.Storage) ([]lanczos.Probe, *disk) {
	t.Helper()
	want, err := run(storage, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{}
	j, err := Create(d, plan(storage))
	if err != nil {
		t.Fatal(err)
	}
	got, err := run(storage, j)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("with a journal: %v, %v", got, err)
	}
	return want, d
}

// resume goes on from a file, in which it leaves the results as a whole run does; steps may still be behind them.
func resume(t *testing.T, what string, storage lanczos.Storage, d *disk, want []lanczos.Probe, end []byte) {
	t.Helper()
	r := plan(storage)
	j, err := Open(d, int64(len(d.b)), &r)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got, err := run(storage, j)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: %v, want %v; %v", what, got, want, err)
	}
	if first := plan(storage).end(t); !bytes.Equal(d.b[:first], end[:first]) {
		t.Fatalf("%s: the file has other results", what)
	}
}

// Killed after any byte that was written, a run goes on with the same bits.
func TestKill(t *testing.T) {
	for _, storage := range []lanczos.Storage{lanczos.Double, lanczos.Single} {
		want, d := whole(t, storage)
		now := &disk{}
		for i, o := range d.ops {
			for n := range o.b {
				torn := &disk{b: slices.Clone(now.b)}
				torn.apply(op{o.at, o.b[:n]})
				if i == 0 { // the head, after which alone there is a journal
					r := plan(storage)
					var f *FormatError
					if _, err := Open(torn, int64(len(torn.b)), &r); !errors.As(err, &f) {
						t.Fatalf("%d bytes of the head: %v", n, err)
					}
					continue
				}
				resume(t, fmt.Sprintf("storage %d, operation %d after %d bytes", storage, i, n), storage, torn, want, d.b)
			}
			now.apply(o)
			resume(t, fmt.Sprintf("storage %d, operation %d", storage, i), storage, &disk{b: slices.Clone(now.b)}, want, d.b)
		}
	}
}

// What was written since the last sync may be on the disk or not, in any order.
func TestPowerLoss(t *testing.T) {
	want, d := whole(t, lanczos.Double)
	rng := rand.New(rand.NewPCG(2, 7))
	for range 2000 {
		end := 2 + rng.IntN(len(d.ops)-1) // the head is synced
		synced := 0
		for i, o := range d.ops[:end] {
			if o.at < 0 {
				synced = i + 1
			}
		}
		now := &disk{}
		what := ""
		for i, o := range d.ops[:end] {
			if i < synced || rng.IntN(2) == 0 {
				now.apply(o)
				what += fmt.Sprint(" ", i)
			}
		}
		resume(t, "operations"+what, lanczos.Double, now, want, d.b)
	}
}

// A full disk is an error; what was kept before is still there.
func TestFullDisk(t *testing.T) {
	want, full := whole(t, lanczos.Double)
	most := 0
	for _, o := range full.ops {
		most = max(most, int(o.at)+len(o.b))
	}
	for size := 1; size <= most; size += 13 {
		d := &disk{cap: size}
		j, err := Create(d, plan(lanczos.Double))
		if err == nil {
			_, err = run(lanczos.Double, j)
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("room for %d bytes: %v", size, err)
		}
		if j != nil {
			resume(t, fmt.Sprintf("after room for %d bytes", size), lanczos.Double, &disk{b: d.b}, want, full.b)
		}
	}
}

func TestMismatch(t *testing.T) {
	_, d := whole(t, lanczos.Double)
	for what, change := range map[string]func(r *Run){
		"is of another run: seed was 1, and is 2 now":              func(r *Run) { r.Identity[0].Value = "2" },
		"is of another run: loss was 0.25, and is not given now":   func(r *Run) { r.Identity = r.Identity[:1] },
		"is of another run: params was not given, and is 3.* now":  func(r *Run) { r.Identity = append(r.Identity, Field{"params", "3.*"}) },
		"is of another run: parameters was 12, and is 13 now":      func(r *Run) { r.N++ },
		"is of another run: probes was 5, and is 6 now":            func(r *Run) { r.Probes++ },
		"is of another run: steps was 5, and is 4 now":             func(r *Run) { r.Steps-- },
		"is of another run: basis was float64, and is float32 now": func(r *Run) { r.Storage = lanczos.Single },
	} {
		r := plan(lanczos.Double)
		change(&r)
		_, err := Open(d, int64(len(d.b)), &r)
		var m *MismatchError
		if !errors.As(err, &m) || err.Error() != what {
			t.Errorf("got %v, want %s", err, what)
		}
	}
	// The groups are those of the file.
	r := plan(lanczos.Double)
	r.Groups = []int{5}
	if _, err := Open(d, int64(len(d.b)), &r); err != nil || !slices.Equal(r.Groups, []int{3, 2}) {
		t.Errorf("groups %v, %v", r.Groups, err)
	}
}

// withHead is a file with a head of our own, its checksum right.
func withHead(text string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	b = append(b, text...)
	return appendCRC(b, b)
}

func headText(groups string) string {
	r := plan(lanczos.Double)
	b, _ := json.Marshal(r.identity())
	return fmt.Sprintf(`{"identity":%s,"groups":%s}`, b, groups)
}

func TestHostileHeads(t *testing.T) {
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"empty":             {nil, "is no checkpoint of hessdens"},
		"another file":      {[]byte(strings.Repeat("PK\x03\x04", 100)), "is no checkpoint of hessdens"},
		"another version":   {[]byte("hessdens checkpoint 9\n\x00\x00\x00\x00\x00\x00"), "is a checkpoint of another version"},
		"cut in the magic":  {[]byte(family), "is a checkpoint of another version"},
		"a head of 4 GiB":   {append([]byte(magic), 0xff, 0xff, 0xff, 0xff, 1, 2, 3), "its head is too long"},
		"a head of 1 MiB":   {append([]byte(magic), 0, 0, 0x10, 0, 1, 2, 3), "its head is too long"},
		"a head cut":        {withHead(headText("[3,2]"))[:len(magic)+4+len(headText("[3,2]"))+2], "ends in its head"},
		"a checksum wrong":  {bytes.Replace(withHead(headText("[3,2]")), []byte("0.25"), []byte("0.26"), 1), "checksum"},
		"no JSON":           {withHead("{{{{"), "not as it should be"},
		"nested JSON":       {withHead(strings.Repeat("[", 100_000)), "not as it should be"},
		"an unknown field":  {withHead(`{"identity":[],"groups":[5],"more":1}`), "not as it should be"},
		"a number too long": {withHead(headText("[1e99]")), "not as it should be"},
		"no groups":         {withHead(headText("[]")), "groups of probes"},
		"a group of none":   {withHead(headText("[0,5]")), "groups of probes"},
		"a negative group":  {withHead(headText("[-1,6]")), "groups of probes"},
		"too few":           {withHead(headText("[3,1]")), "groups of probes"},
		"too many":          {withHead(headText("[3,3]")), "groups of probes"},
		"an overflow":       {withHead(headText("[9223372036854775807,9223372036854775807,7]")), "groups of probes"},
	} {
		r := plan(lanczos.Double)
		var f *FormatError
		if _, err := Open(&disk{b: test.file}, int64(len(test.file)), &r); !errors.As(err, &f) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

// A step that a hostile hand has written, its checksum right, is taken for damage where it cannot be one.
func TestHostileSteps(t *testing.T) {
	const one = prefix + 3*perProbe + 3*order*8 + 4
	for name, spoil := range map[string]func(b []byte){
		"another tag":           func(b []byte) { b[0] = 'x' },
		"another step":          func(b []byte) { b[4] = 2 },
		"more probes":           func(b []byte) { b[8] = 200 },
		"another probe":         func(b []byte) { b[prefix] = 2 },
		"neither goes on":       func(b []byte) { b[prefix+4] = 7 },
		"α is not a number":     func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+8:], math.Float64bits(math.NaN())) },
		"β is infinite":         func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+16:], math.Float64bits(math.Inf(1))) },
		"asymmetry is negative": func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+24:], math.Float64bits(-1)) },
		"β is negative":         func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+16:], math.Float64bits(-1)) },
		"a vector of NaN":       func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+3*perProbe+8:], math.Float64bits(math.NaN())) },
		"a vector that is long": func(b []byte) { binary.LittleEndian.PutUint64(b[prefix+3*perProbe+8:], math.Float64bits(3)) },
	} {
		d := &disk{}
		j, err := Create(d, plan(lanczos.Double))
		if err != nil {
			t.Fatal(err)
		}
		end := errors.New("enough")
		_, err = run(lanczos.Double, &limit{Journal: j, left: 1, err: end})
		if !errors.Is(err, end) || int64(len(d.b)) != j.steps+int64(one) {
			t.Fatalf("%v, %d bytes", err, len(d.b))
		}
		want, full := whole(t, lanczos.Double)
		b := d.b[j.steps:]
		spoil(b)
		copy(b[one-4:], appendCRC(nil, b[:one-4]))
		r := plan(lanczos.Double)
		j, err = Open(d, int64(len(d.b)), &r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := run(lanczos.Double, j)
		if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(d.b, full.b) || j.Taken() != 0 {
			t.Errorf("%s: %d steps taken, %v", name, j.Taken(), err)
		}
	}
}

// limit lets so many steps be kept.
type limit struct {
	*Journal
	left int
	err  error
}

func (l *limit) Step(steps []lanczos.Step) error {
	if l.left == 0 {
		return l.err
	}
	l.left--
	return l.Journal.Step(steps)
}

// Results that cannot be ones are found again.
func TestHostileResults(t *testing.T) {
	want, full := whole(t, lanczos.Double)
	r := plan(lanczos.Double)
	j, err := Open(full, int64(len(full.b)), &r)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(b []byte){
		"no steps":               func(b []byte) { b[0] = 0 },
		"more steps":             func(b []byte) { b[0] = steps + 1 },
		"four thousand millions": func(b []byte) { copy(b, "\xff\xff\xff\xff") },
		"half exhausted":         func(b []byte) { b[4] = 2 },
		"α is not a number":      func(b []byte) { binary.LittleEndian.PutUint64(b[32:], math.Float64bits(math.NaN())) },
		"β is zero":              func(b []byte) { binary.LittleEndian.PutUint64(b[32+8*steps:], 0) },
		"asymmetry is negative":  func(b []byte) { binary.LittleEndian.PutUint64(b[24:], math.Float64bits(-1)) },
		"an overlap of 2":        func(b []byte) { binary.LittleEndian.PutUint64(b[32+8*(2*steps-1):], math.Float64bits(2)) },
		"the last β is negative": func(b []byte) { binary.LittleEndian.PutUint64(b[8:], math.Float64bits(-1)) },
		"exhausted with a β":     func(b []byte) { b[4] = 1 },
	} {
		d := &disk{b: slices.Clone(full.b)}
		slot := d.b[j.slots+2*j.slotSize():][:j.slotSize()]
		spoil(slot)
		copy(slot[len(slot)-4:], appendCRC(nil, slot[:len(slot)-4]))
		resume(t, name, lanczos.Double, d, want, full.b)
	}
	for name, spoil := range map[string]func(b []byte){
		"not a number": func(b []byte) { binary.LittleEndian.PutUint64(b, math.Float64bits(math.NaN())) },
		"long":         func(b []byte) { binary.LittleEndian.PutUint64(b, math.Float64bits(3)) },
		"zero":         func(b []byte) { clear(b) },
	} {
		d := &disk{b: slices.Clone(full.b)}
		vector := d.b[j.outermost:j.steps]
		spoil(vector[:len(vector)-4])
		copy(vector[len(vector)-4:], appendCRC(nil, vector[:len(vector)-4]))
		resume(t, "outermost: "+name, lanczos.Double, d, want, full.b)
	}
}

// A vector of more than one chunk, in both types.
func TestLongVectors(t *testing.T) {
	const n = chunkSize/4 + 1001
	d := make(lanczos.Diagonal, n)
	for i := range d {
		d[i] = math.Sin(float64(i))
	}
	for _, storage := range []lanczos.Storage{lanczos.Double, lanczos.Single} {
		o := lanczos.Options{Steps: 4, Probes: 2, Storage: storage}
		want, err := lanczos.Run(context.Background(), d, o)
		if err != nil {
			t.Fatal(err)
		}
		r := Run{N: n, Probes: 2, Steps: 4, Storage: storage, Groups: []int{2}}
		file := &disk{}
		j, err := Create(file, r)
		if err != nil {
			t.Fatal(err)
		}
		end := errors.New("enough")
		o.Journal = &limit{j, 2, end}
		if _, err := lanczos.Run(context.Background(), d, o); !errors.Is(err, end) {
			t.Fatal(err)
		}
		if j, err = Open(file, int64(len(file.b)), &r); err != nil {
			t.Fatal(err)
		}
		o.Journal = j
		got, err := lanczos.Run(context.Background(), d, o)
		if err != nil || !reflect.DeepEqual(got, want) || j.Taken() != 2 {
			t.Errorf("storage %d: %d steps taken, %v", storage, j.Taken(), err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	_, full := whole(f, lanczos.Double)
	for _, n := range []int{0, 30, 200, 300, 600} {
		now := &disk{}
		for i, o := range full.ops {
			if i*100 <= n {
				now.apply(o)
			}
		}
		f.Add(now.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		d := &disk{b: b}
		r := plan(lanczos.Double)
		j, err := Open(d, int64(len(b)), &r)
		if err != nil {
			return
		}
		for i := range int64(probes + 1) { // as a hostile hand writes it, with the checksums of results and of the first step
			part := b[min(j.slots+i*j.slotSize(), int64(len(b))):]
			size := int(j.slotSize())
			if i == probes {
				size = prefix + 3*perProbe + 3*order*8 + 4
			}
			if len(part) >= size {
				copy(part[size-4:], appendCRC(nil, part[:size-4]))
			}
		}
		// Whatever is taken from it, the run ends, and its result is one or an error.
		got, err := lanczos.Run(context.Background(), spectrum, lanczos.Options{Steps: steps, Probes: probes, Groups: r.Groups, Start: start, Journal: j})
		if err == nil && len(got) != probes {
			t.Fatalf("%d probes", len(got))
		}
	})
}
