package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// formatVersion is that of the folder's form.
const formatVersion = 1

// Names of files in a backup.
const (
	fileMark     = "backup.json"
	fileManifest = "manifest.json"
	suffixSum    = ".sha256"
	suffixRecord = ".json"
)

// manifestMax bounds what is read as a document of ours: 64 MiB name 500,000 parts, which hold 8 TiB.
const manifestMax = 64 << 20

// mark says that a folder is a backup of ours.
type mark struct {
	V int `json:"v"`
	// ID is random; streams that are being restored bear it.
	ID string `json:"id"`
	// Ledger is when the source's LEDGER was created: a run that goes on must be of the same one.
	Ledger  time.Time `json:"ledger_created"`
	Began   time.Time `json:"began"`
	Version string    `json:"version"` // of the program
	Server  string    `json:"nats_version"`
}

// part is one file of a snapshot.
type part struct {
	Name   string `json:"name"` // relative to the folder, with "/"
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// streamRecord describes the copy of one stream.
type streamRecord struct {
	Name     string          `json:"name"`
	Config   json.RawMessage `json:"config"` // as the server gave it
	State    json.RawMessage `json:"state"`
	Cut      time.Time       `json:"cut"` // by the clock of this program
	Messages uint64          `json:"messages"`
	FirstSeq uint64          `json:"first_seq"`
	LastSeq  uint64          `json:"last_seq"`
	// LastEvent is the id of LEDGER's last event, if that is one: with LastSeq a position (DESIGN D2).
	LastEvent string `json:"last_event,omitempty"`
	// Through is the sequence up to which, by CATALOG, events have left LEDGER.
	Through uint64 `json:"through,omitempty"`
	Bytes   int64  `json:"bytes"` // of all parts
	Format  string `json:"format"`
	Parts   []part `json:"parts"`
}

// manifest is a whole backup.
type manifest struct {
	mark
	Ended   time.Time       `json:"ended"`
	Streams []*streamRecord `json:"streams"` // in the order in which they were cut
}

func (m *manifest) stream(name string) *streamRecord {
	i := slices.IndexFunc(m.Streams, func(s *streamRecord) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return m.Streams[i]
}

// Summary is what a backup or restore tells of itself.
type Summary struct {
	Events   uint64 `json:"events"` // messages of LEDGER
	Bytes    int64  `json:"bytes"`  // of all parts on disk
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	// SHA256 is the manifest's, which names those of all parts: whoever keeps it apart can prove the whole copy.
	SHA256  string          `json:"sha256"`
	ID      string          `json:"id"`
	Streams []StreamSummary `json:"streams"`
}

// StreamSummary is one stream of a Summary.
type StreamSummary struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	// Kept: it was complete already, of an earlier run that was interrupted.
	Kept bool `json:"kept"`
}

func (m *manifest) summary(sum string, kept map[string]bool) *Summary {
	s := &Summary{ID: m.ID, SHA256: sum}
	for _, r := range m.Streams {
		s.Bytes += r.Bytes
		if r.Name == ledger.StreamLedger {
			s.Events, s.FirstSeq, s.LastSeq = r.Messages, r.FirstSeq, r.LastSeq
		}
		s.Streams = append(s.Streams, StreamSummary{Name: r.Name, Messages: r.Messages, Bytes: r.Bytes,
			FirstSeq: r.FirstSeq, LastSeq: r.LastSeq, Kept: kept[r.Name]})
	}
	return s
}

// saveManifest stores a manifest behind its digest: a kill between the two leaves none, and the next run, which finds
// everything complete, makes both again.
func saveManifest(dir string, m any) (sum string, err error) {
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(body)
	sum = hex.EncodeToString(digest[:])
	if err := writeFile(dir, fileManifest+suffixSum, []byte(sum+"  "+fileManifest+"\n")); err != nil {
		return "", err
	}
	return sum, writeFile(dir, fileManifest, body)
}

// loadManifest reads the manifest of a complete backup, after its digest was compared.
func loadManifest(dir string) (m *manifest, sum string, err error) {
	body, err := readFile(dir, fileManifest)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", badBackup("%s has no %s: it is no backup, or one that was interrupted; run log backup again", dir, fileManifest)
	}
	if err != nil {
		return nil, "", err
	}
	said, err := readFile(dir, fileManifest+suffixSum)
	if err != nil {
		return nil, "", badBackup("the digest of %s cannot be read: %w", fileManifest, err)
	}
	digest := sha256.Sum256(body)
	sum = hex.EncodeToString(digest[:])
	if want, _, _ := strings.Cut(string(said), " "); want != sum {
		return nil, "", badBackup("%s is damaged: its SHA-256 is %s, %s%s says %.64s", fileManifest, sum, fileManifest, suffixSum, want)
	}
	m = new(manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, "", badBackup("%s is damaged: %w", fileManifest, err)
	}
	return m, sum, m.check()
}

// check refuses a manifest that this program cannot carry out.
func (m *manifest) check() error {
	if m.V != formatVersion {
		return badBackup("the backup has form %d, this program reads form %d", m.V, formatVersion)
	}
	if schemas.CheckToken("backup id", m.ID) != nil {
		return badBackup("the backup has no id")
	}
	known := ledger.TruthStreams()
	for _, r := range m.Streams {
		if !slices.Contains(known, r.Name) {
			return badBackup("the backup holds a stream %.100q, which this version of jobledger does not know", r.Name)
		}
		for _, p := range r.Parts {
			if !filepath.IsLocal(filepath.FromSlash(p.Name)) {
				return badBackup("a part of stream %s is said to be at %.100q, outside of the backup", r.Name, p.Name)
			}
		}
	}
	if m.stream(ledger.StreamLedger) == nil {
		return badBackup("the backup holds no stream %s", ledger.StreamLedger)
	}
	return nil
}

// badBackup is the error for a folder that is no usable backup.
func badBackup(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// ErrDamaged: the folder is no backup, an incomplete one, or one whose bytes are not those that were written. Nothing
// was created from it.
var ErrDamaged = errors.New("the backup cannot be used")
