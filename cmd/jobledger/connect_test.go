package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

// parsed is a program whose command line has been read.
func parsed(t *testing.T, env map[string]string, args ...string) *program {
	t.Helper()
	m, _, _ := testMain(t, env, "", append(args, "version")...)
	p := newProgram(m)
	if _, err := p.parse(); err != nil {
		t.Fatal(err)
	}
	return p
}

// writeConfig writes files below a new config folder.
func writeConfig(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// anywhere is a target that no context named.
func anywhere() *target { return &target{natsContext: natsContext{URL: serverDefault}} }

// INTERFACE 2.1: flag > NATS_URL/NATS_CONTEXT > our context.txt > the context
// selected in nats > this machine.
func TestWhereToConnect(t *testing.T) {
	files := map[string]string{
		"nats/context/a.json": `{"url":"nats://a:1","user":"ada","password":"pw"}`,
		"nats/context/b.json": `{"url":"nats://b:1"}`,
	}
	ours := map[string]string{"jobledger/context.txt": "a\n"}
	selected := map[string]string{"nats/context.txt": "b"}
	for _, c := range []struct {
		name  string
		args  string
		env   map[string]string
		files []map[string]string
		want  string // url, or the error
		user  string
	}{
		{name: "nothing", want: "nats://127.0.0.1:4222"},
		{name: "selected in nats", files: []map[string]string{selected}, want: "nats://b:1"},
		{name: "ours before theirs", files: []map[string]string{selected, ours}, want: "nats://a:1", user: "ada"},
		{name: "environment before files", files: []map[string]string{ours}, env: map[string]string{"NATS_CONTEXT": "b"}, want: "nats://b:1"},
		{name: "url of the environment", files: []map[string]string{ours}, env: map[string]string{"NATS_URL": "nats://e:1"}, want: "nats://e:1"},
		{name: "flag before environment", env: map[string]string{"NATS_URL": "nats://e:1"}, args: "--server nats://f:1", want: "nats://f:1"},
		{name: "context flag before url of the environment", env: map[string]string{"NATS_URL": "nats://e:1"}, args: "--context b", want: "nats://b:1"},
		{name: "server flag before context of the environment", env: map[string]string{"NATS_CONTEXT": "a"}, args: "-s nats://f:1", want: "nats://f:1"},
		{name: "server replaces the context's url", args: "-s nats://f:1 --context a", want: "nats://f:1", user: "ada"},
		{name: "flags replace credentials", args: "--context a --user bob --password x", want: "nats://a:1", user: "bob"},
		{name: "unknown context", args: "--context nope", want: `context "nope" does not exist`},
		{name: "context outside the folder", args: "--context ../a", want: "is not the name of a context"},
		{name: "stale default", files: []map[string]string{{"jobledger/context.txt": "gone"}}, want: `the default context: context "gone" does not exist`},
		{name: "damaged context", files: []map[string]string{{"nats/context/d.json": "{"}}, args: "--context d", want: `context "d": `},
		{name: "context we cannot honour", files: []map[string]string{{"nats/context/n.json": `{"nsc":"nsc://x"}`}}, args: "--context n", want: "uses nsc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := map[string]string{}
			for _, set := range append(c.files, files) {
				for name, text := range set {
					all[name] = text
				}
			}
			env := map[string]string{"XDG_CONFIG_HOME": writeConfig(t, all)}
			for k, v := range c.env {
				env[k] = v
			}
			target, err := parsed(t, env, strings.Fields(c.args)...).resolveTarget()
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || asCLIError(err).exit != exitUsage {
					t.Errorf("error %q, want %q and exit 2", err, c.want)
				}
				return
			}
			if target.URL != c.want || target.User != c.user {
				t.Errorf("%s as %q (from %s), want %s as %q", target.URL, target.User, target.Source, c.want, c.user)
			}
		})
	}
}

// What `dev` saves is found by the next command, with its org; paths of a
// context are expanded as nats does.
func TestSavedContextIsTheDefault(t *testing.T) {
	env := map[string]string{"XDG_CONFIG_HOME": t.TempDir(), "HOME": "/home/ada"}
	p := parsed(t, env)
	if err := newContexts(p.Getenv).save("jobledger-dev", natsContext{URL: "nats://x:1", Creds: "~/a.creds"}, "demo"); err != nil {
		t.Fatal(err)
	}
	target, err := p.resolveTarget()
	if err != nil {
		t.Fatal(err)
	}
	if target.URL != "nats://x:1" || target.Creds != filepath.Join("/home/ada", "a.creds") {
		t.Errorf("target %+v", target)
	}
	if org, err := p.org(target); org != "demo" || err != nil {
		t.Errorf("org %q, %v; want demo", org, err)
	}
	env["JOBLEDGER_ORG"] = "acme"
	if org, err := parsed(t, env).org(target); org != "acme" || err != nil {
		t.Errorf("org %q, %v; want acme from the environment", org, err)
	}
	if org, err := parsed(t, env, "-O", "flag").org(target); org != "flag" || err != nil {
		t.Errorf("org %q, %v; want the flag's", org, err)
	}
	_, err = parsed(t, nil).org(anywhere())
	if err == nil || asCLIError(err).exit != exitUsage {
		t.Errorf("no org at all: %v, want a usage mistake", err)
	}
}

func TestConnect(t *testing.T) {
	s, err := natsd.Start(natsd.Config{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)

	p := parsed(t, map[string]string{"NATS_URL": s.URL()})
	target, err := p.resolveTarget()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := p.connect(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}

	// Nobody listens there: says where it looked and why there.
	p = parsed(t, nil, "--server", "nats://127.0.0.1:1", "--timeout", "1s")
	target, err = p.resolveTarget()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.connect(target, "test")
	if err == nil {
		t.Fatal("connected to nobody")
	}
	e := asCLIError(err)
	if e.Code != ledger.CodeUnavailable || !strings.Contains(e.Message, "127.0.0.1:1") || !strings.Contains(e.Message, "--server") {
		t.Errorf("%s [%s]", e.Message, e.Code)
	}

	// A credentials file that is not there is an error, not an anonymous login.
	p = parsed(t, map[string]string{"NATS_URL": s.URL()}, "--creds", "/nonexistent.creds")
	if target, err = p.resolveTarget(); err != nil {
		t.Fatal(err)
	}
	if _, err = p.connect(target, "test"); err == nil || !strings.Contains(err.Error(), "/nonexistent.creds") {
		t.Errorf("missing credentials: %v", err)
	}
}
