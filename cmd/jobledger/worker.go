package main

import "github.com/choria-io/fisk"

func (p *program) addWorker(app *fisk.Application) {
	worker := group(app, "worker", "Serve jobs, and look after those who do")
	p.addWorkerRun(worker)
	p.addWorkerLs(worker)
	p.addWorkerInfo(worker)
	p.addWorkerDrain(worker)
}
