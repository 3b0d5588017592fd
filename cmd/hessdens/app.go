package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hessdens/internal/dataset"
	"hessdens/internal/hvp"
	"hessdens/internal/lanczos"
	"hessdens/internal/model"
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
		sig       *signalError
		noMemory  *lanczos.MemoryError
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
	case errors.As(err, &weight), errors.As(err, &product), errors.As(err, &nonFinite):
		return exitNumerics
	case errors.As(err, &option), errors.As(err, &noMemory):
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
}

// run is the whole program.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	a := &app{stdin: stdin, stdout: &watched{w: stdout}, stderr: stderr, args: args, width: 80}
	a.outTerminal, a.errTerminal = isTerminal(stdout), isTerminal(stderr)
	for _, w := range []io.Writer{stderr, stdout} {
		if f, ok := w.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
				a.width = width
			}
		}
	}
	a.line = &progress{w: stderr, on: a.errTerminal}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		for range 2 {
			s, ok := <-signals
			if !ok {
				return
			}
			if ctx.Err() != nil { // the second stops at once
				os.Exit(exitCode(&signalError{s}))
			}
			cancel(&signalError{s})
		}
	}()
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
	if w := a.stdout.(*watched); err == nil && w.err != nil {
		err = code(exitOutput, fmt.Errorf("standard output: %w (the result is not complete)", w.err))
	}
	a.line.clear()
	if err != nil && !errors.Is(err, errCheck) {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			err = cause
		}
		fmt.Fprintf(stderr, "hessdens: %v\n", err)
	}
	return exitCode(err)
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

// warn says something on a terminal; in a pipeline the result says it.
func (a *app) warn(format string, args ...any) {
	if a.errTerminal {
		a.line.clear()
		fmt.Fprintf(a.stderr, "hessdens: warning: "+format+"\n", args...)
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
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v (see %s --help)", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(commands(a)...)
	for _, c := range root.Commands() {
		if c.Args != nil {
			check := c.Args
			c.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usagef("%v (see %s --help)", err, cmd.CommandPath())
				}
				return nil
			}
		}
		if c.Long != "" {
			c.Long += "\n\n" + exitCodes
		}
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s: there is no such command (see hessdens --help)", args[0])
		}
		return nil
	}
	return root
}
