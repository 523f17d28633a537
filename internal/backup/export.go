package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// An export is one org's whole history as text, for whoever is to read it without jobledger: events as CloudEvents, one
// a line, and the payloads that they name as files.
//
//	export.json                          what it is, and up to which sequence it goes; written first
//	events-00000.ndjson                  events, ascending, 64 MiB or so; and so on
//	payloads-00000.sha256                the payloads that these events name, in the form of sha256sum
//	payloads/ARGS/<job>/<event id>       their bytes
//	part-00000.json                      what the three are; written when they are on disk
//	manifest.json, manifest.json.sha256  all of it; written last
//
// A run that is interrupted leaves parts; the next goes on behind the last of them, up to the same sequence.
const (
	fileExport = "export.json"

	// exportPart is how many bytes of events a part holds, but for the last event.
	exportPart = 64 << 20
	// exportEvents bounds the events of a part, and so what one that is interrupted does again.
	exportEvents = 100_000
)

// ExportConfig says whose history goes where.
type ExportConfig struct {
	// Ledger to read. Required.
	Ledger *ledger.Ledger
	// Logger is required.
	Logger *zap.Logger
	// Org whose history it is. Required.
	Org schemas.OrgID
	// Dir is the folder: missing, empty, or left by an interrupted run. Required.
	Dir string
	// Version of the program.
	Version string
	// Progress, if set, hears how far it is, and where it ends.
	Progress func(done, last schemas.Seq)

	// PartBytes is after how many bytes of events a part ends; 0: 64 MiB. Smaller ones are for tests.
	PartBytes int64
}

func (c *ExportConfig) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("backup: ExportConfig.Ledger is required")
	case c.Logger == nil:
		return errors.New("backup: ExportConfig.Logger is required")
	case c.Dir == "":
		return errors.New("backup: ExportConfig.Dir is required")
	}
	if c.PartBytes == 0 {
		c.PartBytes = exportPart
	}
	return schemas.CheckToken("org", string(c.Org))
}

// exportMark says that a folder is an export.
type exportMark struct {
	mark
	Org schemas.OrgID `json:"org"`
	// Until is the last sequence of the ledger when the first run began.
	Until schemas.Seq `json:"until"`
}

// exported is one part.
type exported struct {
	part
	Events   int         `json:"events"`
	FirstSeq schemas.Seq `json:"first_seq"`
	LastSeq  schemas.Seq `json:"last_seq"`
	Payloads part        `json:"payloads"` // the list
	Count    int         `json:"payload_count"`
	Held     int64       `json:"payload_bytes"`
	// Missing are payloads that events name and the object store does not hold.
	Missing []string `json:"missing,omitempty"`
}

// exportManifest is a whole export.
type exportManifest struct {
	exportMark
	Ended time.Time   `json:"ended"`
	Parts []*exported `json:"parts"`
}

// ExportSummary is what an export tells of itself.
type ExportSummary struct {
	Org      schemas.OrgID `json:"org"`
	Events   int           `json:"events"`
	Payloads int           `json:"payloads"`
	Missing  int           `json:"missing_payloads"`
	Bytes    int64         `json:"bytes"` // of events and payloads
	FirstSeq schemas.Seq   `json:"first_seq"`
	LastSeq  schemas.Seq   `json:"last_seq"`
	SHA256   string        `json:"sha256"` // of the manifest
}

// export is one run.
type export struct {
	ExportConfig
	exportManifest
	cur *exportWriter // nil: no part is begun
}

// Export writes one org's whole history, those events that have left for the archive first, or goes on with what an
// earlier run has begun. Errors: an *ledger.Error with code in_use for a folder that is not its to write to; others leave
// what the same call goes on with.
func Export(ctx context.Context, cfg ExportConfig) (*ExportSummary, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	x := &export{ExportConfig: cfg}
	if err := x.open(ctx); err != nil {
		return nil, err
	}
	from := schemas.Seq(1)
	if n := len(x.Parts); n > 0 {
		from = x.Parts[n-1].LastSeq + 1
	}
	if from <= x.Until {
		q := ledger.ReplayQuery{Org: x.ExportConfig.Org, From: ledger.ReplayBound{Seq: from}, To: ledger.ReplayBound{Seq: x.Until}}
		err := x.Ledger.Replay(ctx, q, func(e *ledger.Entry) error { return x.add(ctx, e) })
		if err == nil && x.cur != nil {
			err = x.end()
		}
		if err != nil {
			return nil, err
		}
	}
	x.Ended = time.Now().UTC()
	sum, err := saveManifest(x.Dir, &x.exportManifest)
	if err != nil {
		return nil, err
	}
	return x.summary(sum), nil
}

// open takes the folder, and reads the parts that are there.
func (x *export) open(ctx context.Context) error {
	end, err := x.Ledger.End(ctx)
	if err != nil {
		return err
	}
	source, err := x.Ledger.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		return err
	}
	ours := exportMark{Org: x.ExportConfig.Org, Until: end.Seq, mark: mark{V: formatVersion, ID: uuid.NewString(), Ledger: source.CachedInfo().Created.UTC(),
		Began: time.Now().UTC(), Version: x.ExportConfig.Version, Server: x.Ledger.Conn().ConnectedServerVersion()}}
	if err := os.MkdirAll(x.Dir, dirMode); err != nil {
		return err
	}
	there, err := os.ReadDir(x.Dir)
	if err != nil {
		return err
	}
	if len(there) == 0 || len(there) == 1 && there[0].Name() == fileExport+".tmp" {
		x.exportMark = ours
		body, err := json.Marshal(ours)
		if err != nil {
			return err
		}
		return writeFile(x.Dir, fileExport, body)
	}
	body, err := readFile(x.Dir, fileExport)
	if err != nil || json.Unmarshal(body, &x.exportMark) != nil || x.V != formatVersion {
		return ledger.Errorf(ledger.CodeInUse, "%s is not empty and holds no export that this version can go on with: give an empty folder", x.Dir)
	}
	if _, err := os.Lstat(filepath.Join(x.Dir, fileManifest)); err == nil {
		return ledger.Errorf(ledger.CodeInUse, "%s holds a complete export of org %s: give an empty folder", x.Dir, x.exportMark.Org)
	}
	if x.exportMark.Org != ours.Org || !x.mark.Ledger.Equal(ours.mark.Ledger) {
		return ledger.Errorf(ledger.CodeInUse, "%s holds the beginning of an export of org %s of a ledger created %s: give an empty folder", x.Dir, x.exportMark.Org, x.mark.Ledger)
	}
	return x.readParts()
}

// readParts takes over the parts that an earlier run has ended, as long as their files are what they say.
func (x *export) readParts() error {
	for {
		body, err := readFile(x.Dir, partName(len(x.Parts)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var e exported
		if err != nil || json.Unmarshal(body, &e) != nil || e.check(x.Dir) != nil {
			x.Logger.Warn("a part of the export that an earlier run has written is written again", zap.String("part", partName(len(x.Parts))), zap.Error(err))
			return nil
		}
		x.Parts = append(x.Parts, &e)
	}
}

func (e *exported) check(dir string) error {
	for _, p := range []part{e.part, e.Payloads} {
		body, err := os.ReadFile(filepath.Join(dir, filepath.Base(p.Name)))
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != p.SHA256 {
			return badBackup("%s is damaged", p.Name)
		}
	}
	return nil
}

func partName(n int) string { return fmt.Sprintf("part-%05d%s", n, suffixRecord) }

// exportWriter writes one part. It does not count before its record is written.
type exportWriter struct {
	exported
	events *os.File
	out    *bufio.Writer
	list   bytes.Buffer // of payloads
	listed map[string]bool
}

func (x *export) begin() error {
	name := fmt.Sprintf("events-%05d.ndjson", len(x.Parts))
	f, err := os.OpenFile(filepath.Join(x.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	x.cur = &exportWriter{exported: exported{part: part{Name: name}}, events: f, out: bufio.NewWriterSize(f, 1<<20), listed: make(map[string]bool)}
	return nil
}

// add writes one event and the payloads that it names.
func (x *export) add(ctx context.Context, e *ledger.Entry) error {
	if x.cur == nil {
		if err := x.begin(); err != nil {
			return err
		}
		x.cur.FirstSeq = e.Seq
	}
	w := x.cur
	for _, ref := range ledger.PayloadsOf(e.Data) {
		if err := x.payload(ctx, e, ref); err != nil {
			return err
		}
	}
	line, err := ledger.CloudEvent(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err := w.out.Write(line); err != nil {
		return err
	}
	w.Bytes += int64(len(line))
	w.Events++
	w.LastSeq = e.Seq
	if x.Progress != nil {
		x.Progress(e.Seq, x.Until)
	}
	if w.Bytes >= x.PartBytes || w.Events >= exportEvents {
		return x.end()
	}
	return nil
}

// payload writes the bytes of a payload under its name, on disk. What is gone is noted, and no reason to stop.
func (x *export) payload(ctx context.Context, e *ledger.Entry, ref *schemas.ObjectRef) error {
	w := x.cur
	name := path.Join("payloads", ref.Bucket, ref.Name)
	if w.listed[name] {
		return nil
	}
	w.listed[name] = true
	data, err := x.Ledger.Referred(ctx, e.Org, e.Job, ref)
	if errors.Is(err, ledger.ErrPayloadMissing) || errors.Is(err, ledger.ErrPayloadCorrupt) || errors.Is(err, ledger.ErrPayloadForeign) {
		x.Logger.Warn("a payload cannot be exported", zap.String("job", string(e.Job)), zap.Error(err))
		w.Missing = append(w.Missing, name)
		return nil
	}
	if err != nil {
		return err
	}
	// Referred has held bucket and name to tokens of this very job, so the path stays inside.
	at := filepath.Join(x.Dir, filepath.FromSlash(path.Dir(name)))
	if err := os.MkdirAll(at, dirMode); err != nil {
		return err
	}
	if err := writeFile(at, path.Base(name), data); err != nil {
		return err
	}
	fmt.Fprintf(&w.list, "%s  %s\n", ref.SHA256, name)
	w.Count, w.Held = w.Count+1, w.Held+int64(len(data))
	return nil
}

// end makes the part count: its files are on disk, then the record that names them.
func (x *export) end() error {
	w := x.cur
	x.cur = nil
	if err := errors.Join(w.out.Flush(), w.events.Sync(), w.events.Close()); err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(x.Dir, w.Name))
	if err != nil {
		return err
	}
	w.SHA256 = sumText(body)
	w.Payloads = part{Name: fmt.Sprintf("payloads-%05d%s", len(x.Parts), suffixSum), Bytes: int64(w.list.Len()), SHA256: sumText(w.list.Bytes())}
	if err := writeFile(x.Dir, w.Payloads.Name, w.list.Bytes()); err != nil {
		return err
	}
	record, err := json.Marshal(&w.exported)
	if err != nil {
		return err
	}
	if err := writeFile(x.Dir, partName(len(x.Parts)), record); err != nil {
		return err
	}
	x.Parts = append(x.Parts, &w.exported)
	return nil
}

func sumText(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (x *export) summary(sum string) *ExportSummary {
	s := &ExportSummary{Org: x.ExportConfig.Org, SHA256: sum}
	for _, p := range x.Parts {
		if s.FirstSeq == 0 {
			s.FirstSeq = p.FirstSeq
		}
		s.Events, s.Payloads, s.Missing = s.Events+p.Events, s.Payloads+p.Count, s.Missing+len(p.Missing)
		s.Bytes, s.LastSeq = s.Bytes+p.Bytes+p.Held, p.LastSeq
	}
	return s
}
