package main

import (
	"context"

	"github.com/choria-io/fisk"
)

// configReport is what `server config check --json` prints.
type configReport struct {
	Valid    bool        `json:"valid"`
	Problems []problem   `json:"problems"`
	Settings []effective `json:"settings"`
}

func (p *program) addServerConfig(server *fisk.CmdClause) {
	var file string
	var cfg serverConfig
	check := p.command(group(server, "config", "Look at the server's configuration"), "check",
		"Check a configuration and show each value with its source",
		func(context.Context) error { return p.checkServerConfig(&cfg, file) })
	check.HelpLong(`A value comes from the flag, else the environment, else the file, else the
default. The file is written as nats-server's is:

	store: /var/lib/jobledger
	durability: strict
	dedup_window: "10m"

Exit code 1 if the server would refuse it. Examples:

	jobledger server config check /etc/jobledger/jobledger.conf
	jobledger server config check --json`)
	check.Arg("file", "The file, none to see environment and defaults").StringVar(&file)
	cfg.declare(check)
}

func (p *program) checkServerConfig(cfg *serverConfig, file string) error {
	values, problems := cfg.load(p, file)
	if p.flags.JSON {
		report := configReport{Valid: len(problems) == 0, Problems: problems, Settings: values}
		if report.Problems == nil {
			report.Problems = []problem{}
		}
		if err := p.document(report); err != nil {
			return err
		}
	} else {
		g := &grid{Title: "Configuration", Columns: []string{"setting", "value", "source"}}
		for _, v := range values {
			g.add(v.Name, v.Value, v.Source)
		}
		if err := p.list(g); err != nil {
			return err
		}
		for _, problem := range problems {
			if problem.Line != nil {
				p.talkf("%s:%d: %s", file, *problem.Line, problem.Message)
			} else {
				p.talkf("%s", problem.Message)
			}
		}
	}
	if len(problems) > 0 {
		return exitRequest{exitError}
	}
	return nil
}
