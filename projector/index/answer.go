package index

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// listen answers who asks servers about their indexes, until stop is called.
func (x *Index) listen() (stop func(), err error) {
	sub, err := x.cfg.Ledger.Conn().Subscribe(ledger.SubjectIndex, x.answer)
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only when the connection is closed, which ends it too
}

func (x *Index) answer(m *nats.Msg) {
	var ask ledger.IndexAsk
	if err := json.Unmarshal(m.Data, &ask); err != nil {
		x.cfg.Logger.Debug("a question about the index cannot be read", zap.Error(err))
		return
	}
	if ask.Server != "" && ask.Server != x.cfg.Server {
		return
	}
	if ask.Rows != nil {
		x.take(m, ask.Rows)
		return
	}
	if ask.Rebuild {
		x.Rebuild()
	}
	x.respond(m, x.state())
}

func (x *Index) respond(m *nats.Msg, answer any) {
	body, err := json.Marshal(answer)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		x.cfg.Logger.Debug("who asked about the index was not answered", zap.Error(err))
	}
}

func (x *Index) state() ledger.IndexState {
	s := ledger.IndexState{Server: x.cfg.Server}
	s.Position, s.Serves = x.Position()
	for _, end := range fileEnds {
		if info, err := os.Stat(filepath.Join(x.cfg.Dir, fileName) + end); err == nil {
			s.Bytes += info.Size()
		}
	}
	return s
}
