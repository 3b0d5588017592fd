package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how many columns the help takes, as far as words allow.
const helpWidth = 100

// headingOf is the annotation of a flag with the heading under which help has it.
const headingOf = "hessdens_heading"

// heading puts the flags that have none yet under a heading of the help.
func heading(f *pflag.FlagSet, name string) {
	f.VisitAll(func(x *pflag.Flag) {
		if x.Annotations[headingOf] == nil {
			x.Annotations = map[string][]string{headingOf: {name}}
		}
	})
}

// usage prints how a command is called: its flags under their headings, after those of its own.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nAvailable Commands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	headings := []string{"Flags"}
	under := map[string]*pflag.FlagSet{}
	cmd.Flags().VisitAll(func(x *pflag.Flag) {
		h := headings[0]
		if of := x.Annotations[headingOf]; of != nil {
			h = of[0]
		}
		if x.Name == "help" { // the last one, wherever that is
			h = headings[len(headings)-1]
		}
		if !slices.Contains(headings, h) {
			headings = append(headings, h)
		}
		if under[h] == nil {
			under[h] = pflag.NewFlagSet(h, pflag.ContinueOnError)
			under[h].SortFlags = false
		}
		under[h].AddFlag(x)
	})
	for _, h := range headings {
		if under[h] != nil {
			fmt.Fprintf(&b, "\n%s:\n%s", h, under[h].FlagUsagesWrapped(helpWidth))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s [command] --help\" for more information about a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}

// flagError says in our words what the parser of flags objects to.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	flag, what := "", err.Error()
	switch {
	case errors.As(err, &unknown):
		flag, what = spelled(unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()), "there is no such flag"
	case errors.As(err, &missing):
		flag, what = spelled(missing.GetSpecifiedName(), missing.GetSpecifiedShortnames()), "a value is needed"
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		flag = "--" + f.Name + " " + invalid.GetValue()
		switch why := errors.Unwrap(invalid); {
		case errors.Is(why, strconv.ErrRange):
			what = "out of range"
		case f.Value.Type() == "int":
			what = "a whole number is needed"
		case f.Value.Type() == "steps":
			what = "a whole number, or auto, is needed"
		case f.Value.Type() == "uint64":
			what = "a whole number of at least 0 is needed"
		case f.Value.Type() == "float64":
			what = "a number is needed"
		case f.Value.Type() == "bool":
			what = "true or false is needed"
		}
	}
	if flag != "" {
		what = flag + ": " + what
	}
	return usagef("%s (see %s --help)", what, cmd.CommandPath())
}

// spelled is a flag as it was given: --name, or the first of several letters behind one dash.
func spelled(name, letters string) string {
	if letters != "" {
		return "-" + name
	}
	return "--" + name
}

// arguments takes from least to most arguments, most < 0 being any number; what names them.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s: %s needed, %d given (see %s --help)", cmd.Name(), what, len(args), cmd.CommandPath())
		case most == 0 && len(args) > 0:
			return usagef("%s: %s takes no arguments (see %s --help)", args[0], cmd.Name(), cmd.CommandPath())
		case most > 0 && len(args) > most:
			return usagef("%s: one argument too many, %s needed (see %s --help)", args[most], what, cmd.CommandPath())
		}
		return nil
	}
}

// noCommand refuses the name of a command that is not there.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see hessdens --help"
	if like := cmd.Root().SuggestionsFor(args[0]); len(like) > 0 {
		hint = "is " + strings.Join(like, " or ") + " meant?"
	}
	return usagef("%s: there is no such command (%s)", args[0], hint)
}

func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "What a command does, its flags, examples, and exit codes",
		Example: "  hessdens help estimate",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(root, args)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "A script by which a shell completes commands and flags",
		Long: `completion writes a script for bash (which needs the package bash-completion), zsh, fish
or powershell, by which the shell completes commands, flags and file names.`,
		Example: `  source <(hessdens completion bash)
  hessdens completion zsh > "${fpath[1]}/_hessdens"
  hessdens completion fish > ~/.config/fish/completions/hessdens.fish`,
		Args:      arguments(1, 1, "SHELL: bash, zsh, fish or powershell is"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return toStdout(root.GenBashCompletionV2(a.stdout, true))
			case "zsh":
				return toStdout(root.GenZshCompletion(a.stdout))
			case "fish":
				return toStdout(root.GenFishCompletion(a.stdout, true))
			case "powershell":
				return toStdout(root.GenPowerShellCompletionWithDesc(a.stdout))
			}
			return usagef("%s: no script for this shell (give one of %s)", args[0], strings.Join(shells, ", "))
		},
	}
}
