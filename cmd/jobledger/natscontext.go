package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dartwing/jobledger/schemas"
)

// natsContext is a connection saved by the nats CLI: the fields of its file that
// we can honour, and those that we cannot and must not overlook.
type natsContext struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Token       string `json:"token"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	JWT         string `json:"user_jwt"`
	Seed        string `json:"user_seed"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	CA          string `json:"ca"`
	TLSFirst    bool   `json:"tls_first"`
	JSDomain    string `json:"jetstream_domain"`
	InboxPrefix string `json:"inbox_prefix"`

	NSC         string `json:"nsc"`
	SocksProxy  string `json:"socks_proxy"`
	JSAPIPrefix string `json:"jetstream_api_prefix"`
}

// unsupported names the first setting of the context that we would ignore.
func (c *natsContext) unsupported() string {
	switch {
	case c.NSC != "":
		return "nsc"
	case c.SocksProxy != "":
		return "socks_proxy"
	case c.JSAPIPrefix != "":
		return "jetstream_api_prefix"
	default:
		return ""
	}
}

// contexts reads and writes the context files of nats and our own.
//
//	<config>/nats/context.txt                selected by `nats context select`
//	<config>/nats/context/<name>.json        the connections
//	<config>/jobledger/context.txt           set by `jobledger dev`
//	<config>/jobledger/<name>.json           the org that goes with a context
type contexts struct {
	config string // $XDG_CONFIG_HOME or ~/.config; empty when there is neither
	home   string
}

func newContexts(getenv func(string) string) contexts {
	c := contexts{config: getenv("XDG_CONFIG_HOME"), home: getenv("HOME")}
	if c.home == "" {
		c.home = getenv("USERPROFILE")
	}
	if c.config == "" && c.home != "" {
		c.config = filepath.Join(c.home, ".config")
	}
	return c
}

// ourDefault is the context of our own context.txt, empty when none is set.
func (c contexts) ourDefault() (string, error) { return c.selected("jobledger") }

// natsDefault is the context the user selected in nats, empty when none is.
func (c contexts) natsDefault() (string, error) { return c.selected("nats") }

func (c contexts) selected(program string) (string, error) {
	text, err := c.read(program, "context.txt")
	return strings.TrimSpace(string(text)), err
}

// load reads a context of nats. That it does not exist is an error here: its
// name came from somewhere.
func (c contexts) load(name string) (*natsContext, error) {
	path := filepath.Join("nats", "context", name+".json")
	if err := checkContextName(name); err != nil {
		return nil, err
	}
	text, err := c.read(path)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, fmt.Errorf("context %q does not exist: no file %s", name, filepath.Join(c.config, path))
	}
	var nc natsContext
	if err := json.Unmarshal(text, &nc); err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	}
	if field := nc.unsupported(); field != "" {
		return nil, fmt.Errorf("context %q uses %s, which jobledger cannot: use another context or --server", name, field)
	}
	for _, path := range []*string{&nc.Creds, &nc.NKey, &nc.Cert, &nc.Key, &nc.CA} {
		*path = c.expand(*path)
	}
	return &nc, nil
}

// ourContext is what we keep beside a nats context.
type ourContext struct {
	Org schemas.OrgID `json:"org"`
}

// org is the org that goes with a context, empty when none was saved.
func (c contexts) org(name string) (schemas.OrgID, error) {
	text, err := c.read("jobledger", name+".json")
	if text == nil || err != nil {
		return "", err
	}
	var ours ourContext
	if err := json.Unmarshal(text, &ours); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(c.config, "jobledger", name+".json"), err)
	}
	return ours.Org, nil
}

// save writes a context that `dev` made: where it is for every NATS client, and
// for us also which org, and that it is our default. The user's own selection
// in nats is left alone.
func (c contexts) save(name string, nc natsContext, org schemas.OrgID) error {
	if c.config == "" {
		return errors.New("no place for contexts: neither XDG_CONFIG_HOME nor HOME is set")
	}
	connection, err := json.MarshalIndent(nc, "", "  ")
	if err != nil {
		return err
	}
	ours, err := json.Marshal(ourContext{Org: org})
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		text []byte
	}{
		{filepath.Join("nats", "context", name+".json"), connection},
		{filepath.Join("jobledger", name+".json"), ours},
		{filepath.Join("jobledger", "context.txt"), []byte(name + "\n")},
	} {
		path := filepath.Join(c.config, file.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := writeFile(path, file.text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file as a whole: a reader, or a start after a crash here,
// finds the old content or the new one.
func writeFile(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return os.Rename(tmp.Name(), path)
}

// read returns the text of a file below the config folder, nil when there is
// none.
func (c contexts) read(path ...string) ([]byte, error) {
	if c.config == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(append([]string{c.config}, path...)...))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// expand replaces a leading ~ as nats does.
func (c contexts) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && c.home != "" {
		return filepath.Join(c.home, rest)
	}
	return path
}

// checkContextName keeps a name from leaving the context folder.
func checkContextName(name string) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("%q is not the name of a context", name)
	}
	return nil
}
