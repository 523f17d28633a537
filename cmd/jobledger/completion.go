package main

import (
	"context"

	"github.com/choria-io/fisk"
)

func (p *program) addCompletion(app *fisk.Application) {
	var shell string
	cmd := p.command(app, "completion", "Print a completion script for your shell", func(context.Context) error {
		template := fisk.BashCompletionTemplate
		if shell == "zsh" {
			template = fisk.ZshCompletionTemplate
		}
		at, err := app.ParseContext(nil)
		if err != nil {
			return err
		}
		return app.UsageForContextWithTemplate(at, 2, template)
	})
	cmd.HelpLong(`Examples:

	source <(jobledger completion bash)
	jobledger completion zsh > ~/.zsh/functions/_jobledger`)
	cmd.Arg("shell", "bash or zsh").Required().EnumVar(&shell, "bash", "zsh")
}
