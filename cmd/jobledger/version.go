package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/schemas"
)

// version is the release this source becomes; `go install` of a tag overrides
// it with the tag.
const version = "0.1.0"

// versionInfo is what `version --json` prints.
type versionInfo struct {
	Version     string  `json:"version"`
	Revision    *string `json:"revision"` // null when built outside a checkout
	GoVersion   string  `json:"go_version"`
	NATSVersion string  `json:"nats_version"`
	EventSchema string  `json:"event_schema"`
}

func (p *program) addVersion(app *fisk.Application) {
	p.command(app, "version", "Show what this binary is", p.showVersion)
}

func (p *program) showVersion(context.Context) error {
	if p.flags.JSON {
		return p.document(buildVersion())
	}
	return p.printf("%s\n", versionText())
}

func versionText() string {
	v := buildVersion()
	revision := "unknown revision"
	if v.Revision != nil {
		revision = "revision " + *v.Revision
	}
	return "jobledger " + v.Version + " (" + revision + ", " + v.GoVersion + ", NATS " + v.NATSVersion + ", event schema " + v.EventSchema + ")"
}

func buildVersion() versionInfo {
	v := versionInfo{
		Version:     version,
		GoVersion:   runtime.Version(),
		NATSVersion: natsd.Version,
		EventSchema: schemas.Version,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = &s.Value
		}
	}
	return v
}
