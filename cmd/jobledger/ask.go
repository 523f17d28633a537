package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/dartwing/jobledger/ledger"
)

// confirm asks before something that cannot be taken back. --force answers yes;
// without a terminal there is nobody to ask, so the flag is required
// (INTERFACE 1.9).
func (p *program) confirm(question string) error {
	if p.flags.Force {
		return nil
	}
	if !p.IsTerminal(p.Stdin) {
		return usagef("%s Give --force to do it without asking", question)
	}
	fmt.Fprintf(p.Stderr, "%s [y/N] ", question)
	answer, err := p.readLine()
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	default:
		return failf(ledger.CodeInvalidArgument, "not done")
	}
}

// reason is why a change is made: the flag, or what a person answers.
func (p *program) reason() (string, error) {
	return p.answer("reason", p.flags.Reason.Value)
}

// answer is the value of a flag, or what a person answers when asked for it.
func (p *program) answer(flag, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if !p.IsTerminal(p.Stdin) {
		return "", usagef("a %s is needed: give --%s", flag, flag)
	}
	fmt.Fprintf(p.Stderr, "%s%s: ", strings.ToUpper(flag[:1]), flag[1:])
	answer, err := p.readLine()
	if err != nil {
		return "", err
	}
	if answer == "" {
		return "", usagef("a %s is needed", flag)
	}
	return answer, nil
}

// readLine reads one answer. One reader serves all questions of a run: it may
// have taken more than one line.
func (p *program) readLine() (string, error) {
	if p.answers == nil {
		p.answers = bufio.NewReader(p.Stdin)
	}
	line, err := p.answers.ReadString('\n')
	if err != nil && line == "" {
		return "", failf(ledger.CodeInvalidArgument, "no answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}
