package main

import "github.com/choria-io/fisk"

func (p *program) addLog(app *fisk.Application) {
	log := group(app, "log", "The ledger itself: read it, prove it, rebuild its views")
	p.addLogTail(log)
	p.addLogReplay(log)
	p.addLogVerify(log)
	p.addLogRebuild(log)
	p.addLogBackup(log)
	p.addLogRestore(log)
	p.addLogExport(log)
	p.addLogArchive(log)
	p.addLogRetain(log)
	p.addLogHold(log)
}
