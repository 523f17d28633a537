package main

import (
	"bufio"
	"context"
	"errors"
	"slices"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"
)

// program is one command line being parsed and then carried out.
type program struct {
	*Main
	flags  commonFlags
	chosen func(context.Context) error // set by the selected command
	// answers reads what a person says; nil until the first question.
	answers *bufio.Reader
	// level is that of all loggers in a command that changes it while it runs; nil: each has its own for good.
	level *zap.AtomicLevel
}

// commander is what commands can be added to: the program or another command.
type commander interface {
	Command(name, help string) *fisk.CmdClause
}

// aliases are the other names of a verb, those that nats gives it.
var aliases = map[string][]string{
	"ls":      {"list"},
	"info":    {"show", "view"},
	"add":     {"create", "new"},
	"edit":    {"update"},
	"rm":      {"delete"},
	"submit":  {"add"},
	"history": {"events"},
	"result":  {"output"},
}

// stdinArg stands for a lone "-" in the arguments while they are parsed: fisk
// would hand it over as an empty string, which is something else.
const stdinArg = "\x00stdin"

func newProgram(m *Main) *program { return &program{Main: m} }

// application declares the whole command line.
func (p *program) application() *fisk.Application {
	app := fisk.New("jobledger", "Distributed background jobs as a ledger on NATS JetStream.")
	app.UsageTemplate(fisk.CompactMainUsageTemplate)
	app.LLMExtraInformation("")
	app.UsageWriter(p.Stdout) // help that was asked for is data
	app.ErrorWriter(p.Stderr)
	app.Terminate(func(status int) { panic(exitRequest{exitCode(status)}) })
	app.Version(versionText())
	app.HelpFlag.Short('h')

	p.flags.declare(app)
	p.addDev(app)
	p.addServer(app)
	p.addJob(app)
	p.addDLQ(app)
	p.addNotice(app)
	p.addQueue(app)
	p.addSchedule(app)
	p.addType(app)
	p.addResource(app)
	p.addOrg(app)
	p.addWorker(app)
	p.addLog(app)
	p.addCheck(app)
	p.addBench(app)
	p.addSchema(app)
	p.addVersion(app)
	p.addCompletion(app)
	return app
}

// command adds a command that carries out run when it is selected.
func (p *program) command(parent commander, name, help string, run func(context.Context) error) *fisk.CmdClause {
	cmd := group(parent, name, help)
	cmd.Action(func(*fisk.ParseContext) error {
		p.chosen = run
		return nil
	})
	return cmd
}

// group adds a command that only has subcommands.
func group(parent commander, name, help string) *fisk.CmdClause {
	cmd := parent.Command(name, help)
	for _, alias := range aliases[name] {
		cmd.Alias(alias)
	}
	return cmd
}

// parse reads the whole command line and returns what it asks for. Every error
// is a usage mistake, except exitRequest: help was printed, there is nothing to
// do.
func (p *program) parse() (run func(context.Context) error, err error) {
	defer func() {
		if exit, ok := recover().(exitRequest); ok {
			err = exit
		}
	}()
	app := p.application()
	args := stdinMarked(p.Args)
	if _, err := app.Parse(args); err != nil {
		p.flags.JSON = p.flags.JSON || wantsJSON(p.Args)
		return nil, usageMistake(app, args, err)
	}
	if err := p.flags.resolve(p.Getenv); err != nil {
		return nil, err
	}
	return p.chosen, nil
}

// stdinMarked replaces every lone "-".
func stdinMarked(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == "-" {
			args[i] = stdinArg
		}
	}
	return args
}

// wantsJSON looks for -j in a command line that could not be parsed, since its
// error must come in the form the caller reads.
func wantsJSON(args []string) bool {
	return slices.Contains(args, "-j") || slices.Contains(args, "--json")
}

// usageMistake turns fisk's error into ours, with what may have been meant.
func usageMistake(app *fisk.Application, args []string, err error) error {
	e := usagef("%w", err)
	at, _ := app.ParseContext(args)
	switch {
	case at == nil:
		return e
	case errors.Is(err, fisk.ErrExpectedKnownCommand):
		word := at.Peek().Value
		names := commandNames(app, at.SelectedCommand)
		e = usagef("unknown command %q%s", word, didYouMean("", word, names))
	case errors.Is(err, fisk.ErrSubCommandRequired):
		e = usagef("%s needs one of: %s", at.SelectedCommand.FullCommand(), joined(commandNames(app, at.SelectedCommand)))
	case errors.Is(err, fisk.ErrUnknownLongFlag):
		word := at.Peek().Value
		e = usagef("unknown flag --%s%s", word, didYouMean("--", word, flagNames(app, at.SelectedCommand)))
	}
	return e
}

func commandNames(app *fisk.Application, in *fisk.CmdClause) []string {
	commands := app.Model().Commands
	if in != nil {
		commands = in.Model().Commands
	}
	var names []string
	for _, c := range commands {
		if !c.Hidden && c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return names
}

func flagNames(app *fisk.Application, in *fisk.CmdClause) []string {
	flags := app.Model().Flags
	if in != nil {
		flags = append(flags, in.Model().Flags...)
	}
	var names []string
	for _, f := range flags {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	return names
}

func init() {
	// Arguments that begin with @ are reasons, notes and JSON, not files to
	// read more arguments from. fisk has no setting of one application for it.
	fisk.EnableFileExpansion = false
}
