package main

import "github.com/choria-io/fisk"

func (p *program) addWorker(app *fisk.Application) {
	worker := group(app, "worker", "Serve jobs")
	p.addWorkerRun(worker)
}
