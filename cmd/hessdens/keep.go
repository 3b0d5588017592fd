package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hessdens/internal/density"
	"hessdens/internal/hvp"
	"hessdens/internal/journal"
	"hessdens/internal/kernel"
	"hessdens/internal/lanczos"
	"hessdens/internal/spectrum"
)

// keepAfter is how long a run must be expected to take to be kept without being asked to.
const keepAfter = time.Minute

// keepOptions are the flags of what a run keeps, so that another goes on from there.
type keepOptions struct {
	file   string
	resume bool
}

func (o *keepOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.file, "checkpoint", "", "keep the state of the run in `FILE` until it is done (default: the output's name with .checkpoint, for a run of more than a minute)")
	f.BoolVar(&o.resume, "resume", false, "go on from the checkpoint; from the beginning where there is none")
	heading(f, "Interruption")
}

// keeper is the journal of a run in a file. Without a name it keeps nothing.
type keeper struct {
	keepOptions
	a       *app
	name    string
	asked   bool // by --checkpoint, or by what is there already
	decided bool // whether to keep a run that nobody asked to keep
	began   time.Time
	run     journal.Run
	most    int // products
	file    *os.File
	journal *journal.Journal
	parts   []*keeper // of the run's repetitions
}

// check finds the file, before any work.
func (o *keepOptions) check(a *app, output string) (*keeper, error) {
	k := &keeper{keepOptions: *o, a: a, name: o.file, asked: o.file != ""}
	if system := strings.HasPrefix(output, "/dev/") || strings.HasPrefix(output, "/proc/"); k.name == "" && output != "" && !system {
		if info, err := os.Stat(output); errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() {
			k.name = output + ".checkpoint"
		}
	}
	if k.name == "" {
		if o.resume {
			return nil, usagef("--resume: there is no checkpoint to go on from (name it by --checkpoint, or the output by -o)")
		}
		return k, nil
	}
	if same, err := sameName(k.name, output); err != nil || same {
		return nil, usagef("--checkpoint %s: is the output too (name another file)", k.name)
	}
	return k, k.look()
}

// look says whether the file can be what the flags ask for.
func (k *keeper) look() error {
	switch info, err := os.Stat(k.name); {
	case errors.Is(err, fs.ErrNotExist):
		if k.asked {
			return writable("--checkpoint", k.name)
		}
		return nil
	case err != nil:
		return k.failed(err)
	case !info.Mode().IsRegular():
		return usagef("%s: is no regular file (name another)", k.label())
	case !k.resume:
		return usagef("%s: is there already (add --resume to go on from it, or remove it to begin anew)", k.label())
	}
	k.asked = true
	return nil
}

// part is the keeper of a repetition of the run on another part of the data, in a file beside the run's.
func (k *keeper) part(number int) (*keeper, error) {
	p := &keeper{keepOptions: k.keepOptions, a: k.a, asked: k.keepOptions.file != ""}
	k.parts = append(k.parts, p)
	if k.name == "" {
		return p, nil
	}
	p.name = fmt.Sprintf("%s.%d", k.name, number+1)
	if p.asked {
		p.keepOptions.file = p.name
	}
	return p, p.look()
}

// sameName says whether two names are of one file, which need not be there.
func sameName(a, b string) (bool, error) {
	x, err := filepath.Abs(a)
	if err != nil {
		return false, err
	}
	y, err := filepath.Abs(b)
	return b != "" && x == y, err
}

// label is what messages call the file.
func (k *keeper) label() string {
	if k.keepOptions.file != "" {
		return "--checkpoint " + k.name
	}
	return k.name
}

func (k *keeper) failed(err error) error {
	if err == nil {
		return nil
	}
	return code(exitOutput, fmt.Errorf("%s: %w (what it holds can be gone on from by --resume)", k.label(), cause(err)))
}

func (k *keeper) unread(err error) error {
	if err == nil {
		return nil
	}
	return inputf("%s: %w (remove it to begin anew)", k.label(), cause(err))
}

// begin is told what is run, and goes on from what is there. It returns the groups of probes: those of the run that is gone on with.
func (k *keeper) begin(run journal.Run, goal *density.Goal) ([]int, error) {
	k.run, k.began, k.most = run, time.Now(), run.Probes*run.Steps
	if goal != nil {
		k.most = goal.MaxProducts
	}
	if !k.asked {
		return run.Groups, nil
	}
	if !k.resume {
		return run.Groups, k.uncreated(k.create())
	}
	file, err := os.OpenFile(k.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return run.Groups, k.uncreated(k.create())
	}
	if err != nil {
		return nil, inputf("%s: %w", k.label(), cause(err))
	}
	k.file = file
	if err := lock(file); err != nil {
		return nil, inputf("%s: another run is using it (wait for that, or name another file)", k.label())
	}
	info, err := file.Stat()
	if err != nil {
		return nil, k.failed(err)
	}
	if info.Size() == 0 { // killed before anything was written
		k.journal, err = journal.Create(file, run)
		return run.Groups, k.failed(err)
	}
	k.journal, err = journal.Open(file, info.Size(), &k.run)
	var mismatch *journal.MismatchError
	switch {
	case errors.As(err, &mismatch):
		return nil, inputf("%s: %w (give the same flags and files, or name another checkpoint)", k.label(), err)
	case err != nil:
		return nil, inputf("%s: %w (name another file, or remove it to begin anew)", k.label(), err)
	}
	need, have := lanczos.BasisBytes(run.N, run.Steps, slices.Max(k.run.Groups), run.Storage), availableMemory()
	if need > have {
		return nil, usagef("%s: %d probes at once, as it has them, need %.1f GiB, and %.1f GiB are available (free memory, or begin anew)",
			k.label(), slices.Max(k.run.Groups), float64(need)/(1<<30), float64(have)/(1<<30))
	}
	return k.run.Groups, nil
}

// create makes the file, which must not be there, and leaves none where that fails.
func (k *keeper) create() error {
	file, err := os.OpenFile(k.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	k.file = file
	if err := lock(file); err != nil { // another run was quicker
		return err
	}
	if k.journal, err = journal.Create(file, k.run); err != nil {
		k.remove()
	}
	return err
}

// uncreated is the error of a file that could not be made.
func (k *keeper) uncreated(err error) error {
	if err == nil {
		return nil
	}
	return code(exitOutput, fmt.Errorf("%s: %w (make room, or name a file elsewhere)", k.label(), cause(err)))
}

// unwritten is the error of a result that could not be written, with what is left of the run.
func (k *keeper) unwritten(err error) error {
	if err == nil || k.journal == nil {
		return err
	}
	return fmt.Errorf("%w: the run is kept in %s (the same command with --resume writes its result)", err, k.name)
}

// Finished implements lanczos.Journal.
func (k *keeper) Finished(group []lanczos.Probe) (bool, error) {
	if k.journal == nil {
		return false, nil
	}
	ok, err := k.journal.Finished(group)
	return ok, k.unread(err)
}

// Next implements lanczos.Journal.
func (k *keeper) Next(steps []lanczos.Step) (bool, error) {
	if k.journal == nil {
		return false, nil
	}
	ok, err := k.journal.Next(steps)
	return ok, k.unread(err)
}

// Step implements lanczos.Journal. After the first step of a run that nobody asked to keep, it decides by the time that took.
func (k *keeper) Step(steps []lanczos.Step) error {
	if !k.asked && !k.decided {
		k.decided = true
		seconds := time.Since(k.began).Seconds() / float64(len(steps)) * float64(k.most)
		if k.name != "" && seconds > keepAfter.Seconds() {
			if err := k.create(); err != nil {
				return k.giveUp(err)
			}
		}
	}
	if k.journal == nil {
		return nil
	}
	if err := k.journal.Step(steps); err != nil {
		return k.giveUp(err)
	}
	return nil
}

// Finish implements lanczos.Journal.
func (k *keeper) Finish(group []lanczos.Probe) error {
	if k.journal == nil {
		return nil
	}
	if err := k.journal.Finish(group); err != nil {
		return k.giveUp(err)
	}
	return nil
}

// giveUp returns the error where a checkpoint was asked for. Elsewhere the run goes on without one, and what there is of it makes room.
func (k *keeper) giveUp(err error) error {
	if k.asked {
		return k.failed(err)
	}
	k.a.warn("%s: %v (the run goes on, and keeps nothing)", k.label(), cause(err))
	k.remove()
	return nil
}

// ended is the error that a run ended with: after a signal, with what can be gone on from.
func (k *keeper) ended(ctx context.Context, err error, done lanczos.Progress) error {
	switch {
	case errors.Is(err, lanczos.ErrJournal):
		return inputf("%s: %w (remove it to begin anew)", k.label(), err)
	case k.journal != nil && done.Products > 0 && errors.Is(err, context.Canceled) && context.Cause(ctx) != nil:
		return fmt.Errorf("%w: %d of %d products are kept in %s (add --resume to go on)", context.Cause(ctx), done.Products, done.Total, k.name)
	}
	return err
}

// close leaves the file with all that was kept.
func (k *keeper) close() {
	for _, p := range k.parts {
		p.close()
	}
	if k.file == nil {
		return
	}
	if k.journal != nil {
		_ = k.journal.Sync() // an error has been told by the write, or leaves a file to go on from
	}
	_ = k.file.Close()
	k.file, k.journal = nil, nil
}

// remove takes the file away: all is done.
func (k *keeper) remove() {
	for _, p := range k.parts {
		p.remove()
	}
	if k.file == nil {
		return
	}
	k.journal = nil
	k.close()
	if err := os.Remove(k.name); err != nil {
		k.a.warn("%s: %v (remove it)", k.label(), cause(err))
	}
}

// identity is all that the bits of an estimate depend on.
func (s *subject) identity(e *estimatorOptions, op *hvp.Operator, loss, gradientNorm float64) ([]journal.Field, error) {
	data, err := s.dataSHA256()
	if err != nil {
		return nil, err
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	batchNorm := spectrum.BatchNormEval
	if s.o.batchNorm != "" {
		batchNorm = s.o.batchNorm
	}
	return []journal.Field{
		{Name: "version", Value: version}, {Name: "commit", Value: commit()}, {Name: "kernel path", Value: runtime.GOARCH + " " + kernel.Path()},
		{Name: "model", Value: s.net.Name}, {Name: "sha256 of the model", Value: s.net.SHA256()},
		{Name: "examples", Value: strconv.Itoa(s.set.N)}, {Name: "sha256 of the data", Value: data},
		{Name: "loss", Value: op.Loss()}, {Name: "label smoothing", Value: number(s.o.smoothing)}, {Name: "class weights", Value: s.o.classWeights},
		{Name: "weight decay", Value: number(s.o.weightDecay)}, {Name: "batch normalisation", Value: batchNorm}, {Name: "batch size", Value: strconv.Itoa(op.BatchSize())},
		{Name: "params", Value: strings.Join(s.o.params, " ")}, {Name: "operator", Value: s.o.operator}, {Name: "precision", Value: s.o.precision},
		{Name: "seed", Value: strconv.FormatUint(e.seed, 10)},
		// What else there may be shows in these.
		{Name: "value of the loss", Value: number(loss)}, {Name: "gradient norm", Value: number(gradientNorm)},
	}, nil
}

// commit is that of the program, as far as it is known.
func commit() string {
	revision, modified := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = " with changes"
			}
		}
	}
	return revision + modified
}

// journalOf is what a keeper is told of an estimate.
func (s *subject) journalOf(e *estimatorOptions, op *hvp.Operator, goal *density.Goal, groups []int, loss, gradientNorm float64) (journal.Run, error) {
	identity, err := s.identity(e, op, loss, gradientNorm)
	identity = append(identity, journal.Field{Name: "goal", Value: words(goal)})
	n := op.Dim()
	return journal.Run{Identity: identity, N: n, Probes: e.probes, Steps: min(e.steps, n), Storage: spectrum.Storage(e.basis), Groups: groups}, err
}
