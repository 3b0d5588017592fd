package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model"
	"hessdens/internal/report"
)

// Exit codes: a promise to scripts.
const (
	exitDone        = 0
	exitCheck       = 1
	exitUsage       = 2
	exitInput       = 3
	exitNumerics    = 4
	exitOutput      = 5
	exitDefect      = 70
	exitInterrupted = 130
	exitTerminated  = 143
)

const exitCodes = `Exit status:
  0    done
  1    a check did not hold (verify, compare)
  2    usage: a flag or argument is wrong
  3    input: a file is missing, malformed, unsupported, or does not fit the others
  4    numerics: NaN or infinity in the weights, loss, gradient or a product
  5    output: a result could not be written
  70   a defect in hessdens itself
  130  interrupted (143: terminated)`

// coded is an error with its exit code.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

func code(c int, err error) error {
	if err == nil {
		return nil
	}
	return &coded{c, err}
}

func usagef(format string, args ...any) error { return code(exitUsage, fmt.Errorf(format, args...)) }
func inputf(format string, args ...any) error { return code(exitInput, fmt.Errorf(format, args...)) }

// errCheck ends a command whose checks did not hold; it has said so already.
var errCheck = errors.New("a check did not hold")

// exitCode finds the code of an error: the one table.
func exitCode(err error) int {
	var (
		c         *coded
		option    *dataset.OptionError
		weight    *model.NonFiniteError
		product   *hvp.NonFiniteError
		data      *hvp.DataError
		sig       *signalError
		noMemory  *lanczos.MemoryError
		noBatch   *hvp.BatchError
		nonFinite *lanczos.NonFiniteError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &sig):
		if sig.signal == syscall.SIGTERM {
			return exitTerminated
		}
		return exitInterrupted
	case errors.Is(err, errCheck):
		return exitCheck
	case errors.As(err, &weight), errors.As(err, &product), errors.As(err, &data), errors.As(err, &nonFinite):
		return exitNumerics
	case errors.As(err, &option), errors.As(err, &noMemory), errors.As(err, &noBatch):
		return exitUsage
	case errors.As(err, &c):
		return c.code
	}
	return exitInput
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string {
	if e.signal == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// app is what commands share: the outside world.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	outTerminal    bool
	errTerminal    bool
	width          int
	args           []string
	line           *progress
	said           map[string]bool // warnings, so that each is given once
}

// run is the whole program.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	out := &watched{w: stdout}
	a := &app{stdout: out, stderr: stderr, args: args, width: 80, said: map[string]bool{}}
	a.outTerminal, a.errTerminal = isTerminal(stdout), isTerminal(stderr)
	for _, w := range []io.Writer{stderr, stdout} {
		if f, ok := w.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
				a.width = width
			}
		}
	}
	a.line = &progress{w: stderr, on: a.errTerminal}
	ctx, stop := untilSignal(ctx)
	defer stop()
	a.stdin = &interruptible{ctx, stdin}
	defer func() {
		if r := recover(); r != nil {
			a.line.clear()
			fmt.Fprintf(stderr, "hessdens: a defect in hessdens: %v\n\n%s\nPlease report this with the command and, if you can, the files: hessdens %s\n", r, debug.Stack(), strings.Join(args, " "))
			status = exitDefect
		}
	}()
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.line.clear()
	switch {
	case err != nil && errors.Is(err, context.Canceled) && context.Cause(ctx) != nil:
		err = context.Cause(ctx)
	case out.err != nil: // whatever a command made of it
		err = toStdout(out.err)
	}
	// Who reads no further, as head does, need not be told.
	if err != nil && !errors.Is(err, errCheck) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(stderr, "hessdens: %s\n", report.PrintableLines(err.Error()))
	}
	return exitCode(err)
}

// untilSignal is a context that ends with an interruption or a termination, its cause a
// *signalError; a second one ends the program at once. Until stop is called a closed pipe is an
// error of the write and not a signal.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, pipe := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case <-done:
				return
			case s := <-signals:
				if !first {
					os.Exit(exitCode(&signalError{s}))
				}
				cancel(&signalError{s})
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipe)
		close(done)
		cancel(nil)
	}
}

// interruptible is a reader that a context ends, also while it waits.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (r *interruptible) Read(b []byte) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	own := make([]byte, len(b)) // left to the read when the context ends first
	done := make(chan outcome, 1)
	go func() {
		n, err := r.r.Read(own)
		done <- outcome{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case o := <-done:
		copy(b, own[:o.n])
		return o.n, o.err
	}
}

// watched remembers the first error of a writer, so that a full disk or a closed pipe behind
// standard output is not taken for success.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(b)
	w.err = err
	return n, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// warn says something on a terminal, once; in a pipeline the result says it.
func (a *app) warn(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if a.errTerminal && !a.said[message] {
		a.said[message] = true
		a.line.clear()
		fmt.Fprintf(a.stderr, "hessdens: warning: %s\n", report.PrintableLines(message))
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "hessdens",
		Short: "The eigenvalue density of a trained network's Hessian",
		Long: `hessdens estimates the whole eigenvalue density of the Hessian of a trained
network's loss: exact Hessian-vector products over a data set, stochastic Lanczos
quadrature, Gaussian-smoothed densities (Ghorbani, Krishnan and Xiao, ICML 2019).

` + exitCodes,
		Example: `  hessdens estimate                                   the embedded example
  hessdens estimate --weights net.safetensors --data ./mnist -o net.json
  hessdens plot net.json -o net.svg
  hessdens compare main.json net.json --max-w1 0.05`,
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(usage)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(commands(a)...)
	for _, c := range root.Commands() {
		c.Long += "\n\n" + exitCodes
		work := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if err := notEmpty(cmd.Flags()); err != nil {
				return err
			}
			return work(cmd, args)
		}
	}
	root.SetHelpCommand(newHelp(root))
	root.Args = noCommand
	return root
}

// notEmpty refuses flags with an empty value, as an unset variable of a script gives them: they would
// be taken as left out, and something else be measured.
func notEmpty(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		if err == nil && f.Name != "title" && (f.Value.Type() == "string" && f.Value.String() == "" || isList && slices.Contains(list.GetSlice(), "")) {
			err = usagef("--%s: the value is empty (give one, or leave the flag out)", f.Name)
		}
	})
	return err
}
