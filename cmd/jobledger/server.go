package main

import "github.com/choria-io/fisk"

func (p *program) addServer(app *fisk.Application) {
	server := group(app, "server", "Run a server and look at it")
	p.addServerRun(server)
	p.addServerInfo(server)
	p.addServerConfig(server)
}
