package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// resubmitFlags say what differs from the old job.
type resubmitFlags struct {
	id, args string
	set      []string
	edit     bool
}

func (p *program) addJobResubmit(job *fisk.CmdClause) {
	var f resubmitFlags
	cmd := p.command(job, "resubmit", "Submit a new job like an old one", func(ctx context.Context) error { return p.resubmit(ctx, &f) })
	cmd.HelpLong(`Prints the new job's id. It has the type, queue, priority, tags and arguments of the
old one, which stays as it is, and is linked to it in its history. It runs however
often the same work was submitted.

Examples:

	jobledger job resubmit 0193f0c2-... --reason "once more"
	jobledger job resubmit 0193f0c2-... --set to=ada@example.net --set options.retries=3 --reason "wrong address"`)
	cmd.Arg("id", "The old job").Required().StringVar(&f.id)
	cmd.Flag("args", "Other arguments as JSON, - for stdin").PlaceHolder("JSON").StringVar(&f.args)
	cmd.Flag("set", "Change one argument; the value is JSON, or text where it is none; repeatable").PlaceHolder("PATH=VALUE").StringsVar(&f.set)
	cmd.Flag("edit", "Change the arguments in $EDITOR").UnNegatableBoolVar(&f.edit)
}

func (p *program) resubmit(ctx context.Context, f *resubmitFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	args, err := f.given(p)
	if err != nil {
		return err
	}
	reason := p.flags.Reason.Value
	if !p.flags.DryRun {
		if reason, err = p.reason(); err != nil {
			return err
		}
	}
	c, err := p.openClient("job resubmit")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	id := schemas.JobID(f.id)
	if len(f.set) > 0 || f.edit || p.flags.DryRun {
		old, err := c.Get(ctx, id)
		if err != nil {
			return err
		}
		if args, err = f.changed(ctx, p, c, old, args); err != nil {
			return err
		}
		if p.flags.DryRun {
			p.talkf("would submit %s with %d bytes of arguments", old.Type, len(args))
			return nil
		}
	}
	reply, err := c.Resubmit(ctx, id, gateway.ResubmitRequest{Reason: reason, Args: args})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(reply)
	}
	return p.printf("%s\n", reply.ID)
}

func (f *resubmitFlags) check() error {
	if err := checkJobID(f.id); err != nil {
		return err
	}
	if f.args != "" && (len(f.set) > 0 || f.edit) {
		return usagef("--args replaces what --set and --edit change: give one of them")
	}
	for _, s := range f.set {
		if path, _, ok := strings.Cut(s, "="); !ok || path == "" {
			return usagef("--set: %q is not path=value", s)
		}
	}
	return nil
}

// given are the arguments of --args, nil without it.
func (f *resubmitFlags) given(p *program) (json.RawMessage, error) {
	text := []byte(f.args)
	if f.args == stdinArg {
		var err error
		if text, err = readAtMost(p.Stdin, schemas.PayloadMax); err != nil {
			return nil, usagef("read the arguments: %w", err)
		}
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, nil
	}
	if err := schemas.CheckJSON("the arguments", text); err != nil {
		return nil, usagef("%w", err)
	}
	return text, nil
}

// changed are the old job's arguments after --set and --edit; those of --args as
// they are.
func (f *resubmitFlags) changed(ctx context.Context, p *program, c *gateway.Client, old *ledger.Record, args json.RawMessage) (json.RawMessage, error) {
	if args != nil {
		return args, nil
	}
	args = old.Args
	if old.ArgsRef != nil {
		var err error
		if args, err = c.Payload(ctx, old.ID, gateway.PayloadArgs); err != nil {
			return nil, err
		}
	}
	for _, s := range f.set {
		path, value, _ := strings.Cut(s, "=")
		var err error
		if args, err = setArg(args, strings.Split(path, "."), value); err != nil {
			return nil, usagef("--set %s: %w", path, err)
		}
	}
	if f.edit {
		return p.edited(ctx, args)
	}
	return args, nil
}

// setArg changes one member of an object, at a path. The other values keep their
// bytes, so that no number is rounded.
func setArg(object json.RawMessage, path []string, value string) (json.RawMessage, error) {
	if len(path) == 0 {
		if raw := json.RawMessage(value); json.Valid(raw) {
			return raw, nil
		}
		return json.Marshal(value)
	}
	members := map[string]json.RawMessage{}
	if trimmed := bytes.TrimSpace(object); len(trimmed) > 0 && string(trimmed) != "null" {
		if err := json.Unmarshal(object, &members); err != nil {
			return nil, usagef("%s is no object that has %q", clip(string(object), errorCellMax), path[0])
		}
	}
	changed, err := setArg(members[path[0]], path[1:], value)
	if err != nil {
		return nil, err
	}
	members[path[0]] = changed
	body, err := marshalRaw(members)
	return bytes.TrimSpace(body), err
}

// edited lets a person change the arguments in an editor.
func (p *program) edited(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if !p.IsTerminal(p.Stdin) {
		return nil, usagef("--edit needs a terminal: give --args or --set")
	}
	editor := p.Getenv("VISUAL")
	if editor == "" {
		editor = p.Getenv("EDITOR")
	}
	if editor == "" {
		return nil, usagef("--edit: set $EDITOR, or give --args or --set")
	}
	file, err := os.CreateTemp("", "jobledger-*.json")
	if err != nil {
		return nil, failf(ledger.CodeInternal, "--edit: %w", err)
	}
	defer os.Remove(file.Name())
	var pretty bytes.Buffer
	if json.Indent(&pretty, args, "", "  ") != nil {
		pretty.Write(args)
	}
	_, err = file.Write(append(pretty.Bytes(), '\n'))
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, failf(ledger.CodeInternal, "--edit: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", file.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, p.Stderr, p.Stderr
	if err := cmd.Run(); err != nil {
		return nil, failf(ledger.CodeInvalidArgument, "--edit: %s: %w", editor, err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		return nil, failf(ledger.CodeInternal, "--edit: %w", err)
	}
	text = bytes.TrimSpace(text)
	if err := schemas.CheckJSON("the arguments", text); err != nil {
		return nil, usagef("%w", err)
	}
	return text, nil
}
