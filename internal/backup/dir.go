package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
)

// partMax is how many bytes one part holds: each is read whole into memory once, when it is put back.
const partMax = 16 << 20

const (
	dirMode  = 0o700 // what jobs were given may be secret
	fileMode = 0o600
)

// writeFile puts a file in place whole or not at all, on disk when it returns.
func writeFile(dir, name string, body []byte) error {
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// readFile reads a document of ours.
func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, manifestMax+1))
	if err == nil && len(body) > manifestMax {
		err = fmt.Errorf("%s is larger than %d bytes", name, manifestMax)
	}
	return body, err
}

// syncDir has a folder's entries on disk. Windows neither offers that nor needs it: NTFS keeps a journal of them.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openDir takes a folder for a backup: an empty one, which it marks, or one that an earlier run has left. ours is what
// this run would write into an empty one; it returns what stands there.
func openDir(dir string, ours mark) (mark, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return mark{}, err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return mark{}, err
	}
	if len(there) == 0 || len(there) == 1 && there[0].Name() == fileMark+".tmp" {
		ours.ID = uuid.NewString()
		body, err := json.Marshal(ours)
		if err != nil {
			return mark{}, err
		}
		return ours, writeFile(dir, fileMark, body)
	}
	body, err := readFile(dir, fileMark)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, ledger.Errorf(ledger.CodeInUse, "%s is not empty and holds no backup of jobledger (%s is there): give an empty folder", dir, there[0].Name())
	}
	var m mark
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	switch {
	case err != nil:
		return mark{}, fmt.Errorf("%s: %w", filepath.Join(dir, fileMark), err)
	case m.V != formatVersion:
		return mark{}, badBackup("the folder has form %d, this program writes form %d", m.V, formatVersion)
	}
	if _, err := os.Lstat(filepath.Join(dir, fileManifest)); err == nil {
		return mark{}, ledger.Errorf(ledger.CodeInUse, "%s holds a complete backup, begun at %s: give an empty folder", dir, m.Began.Format("2006-01-02 15:04:05 MST"))
	}
	if !m.Ledger.Equal(ours.Ledger) {
		return mark{}, ledger.Errorf(ledger.CodeInUse, "%s holds the beginning of a backup of another ledger (created %s, this one %s): give an empty folder",
			dir, m.Ledger.Format("2006-01-02 15:04:05 MST"), ours.Ledger.Format("2006-01-02 15:04:05 MST"))
	}
	return m, nil
}

// partWriter writes a snapshot into parts. They are not part of a backup before finish has returned.
type partWriter struct {
	dir    string // of the backup
	folder string // of this attempt, relative
	parts  []part
	bytes  int64

	f   *os.File // nil: none is open
	sum hash.Hash
	n   int64
}

// newPartWriter begins an attempt at a stream in a folder of its own: what an earlier one has left is not written to.
func newPartWriter(dir, stream string) (*partWriter, error) {
	w := &partWriter{dir: dir, folder: stream + "-" + uuid.NewString()[:8]}
	return w, os.Mkdir(filepath.Join(dir, w.folder), dirMode)
}

func (w *partWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if w.f == nil {
			name := fmt.Sprintf("%s/%05d", w.folder, len(w.parts))
			w.f, err = os.OpenFile(filepath.Join(w.dir, filepath.FromSlash(name)), os.O_CREATE|os.O_WRONLY|os.O_EXCL, fileMode)
			if err != nil {
				w.f = nil
				return n, err
			}
			w.sum, w.n = sha256.New(), 0
			w.parts = append(w.parts, part{Name: name})
		}
		k, err := w.f.Write(b[:min(int64(len(b)), partMax-w.n)])
		w.sum.Write(b[:k])
		w.n, w.bytes, n, b = w.n+int64(k), w.bytes+int64(k), n+k, b[k:]
		if err == nil && w.n == partMax {
			err = w.close()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// close ends the open part, on disk.
func (w *partWriter) close() error {
	if w.f == nil {
		return nil
	}
	p := &w.parts[len(w.parts)-1]
	p.Bytes, p.SHA256 = w.n, hex.EncodeToString(w.sum.Sum(nil))
	err := errors.Join(w.f.Sync(), w.f.Close())
	w.f = nil
	return err
}

// finish makes the attempt the copy of its stream: parts and folder are on disk, then the record that names them.
func (w *partWriter) finish(r *streamRecord) error {
	err := errors.Join(w.close(), syncDir(filepath.Join(w.dir, w.folder)), syncDir(w.dir))
	if err != nil {
		return err
	}
	r.Parts, r.Bytes = w.parts, w.bytes
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(w.dir, r.Name+suffixRecord, body)
}

// abandon removes what the attempt has written; what it cannot remove the next run does.
func (w *partWriter) abandon() {
	if w.f != nil {
		_ = w.f.Close()
	}
	_ = os.RemoveAll(filepath.Join(w.dir, w.folder))
}

// readPart reads one part and holds it to its digest.
func readPart(dir string, p part) ([]byte, error) {
	if p.Bytes < 0 || p.Bytes > partMax {
		return nil, badBackup("%s is said to have %d bytes, at most %d are possible", p.Name, p.Bytes, partMax)
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(p.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, badBackup("%s is missing", p.Name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, p.Bytes+1))
	if err != nil {
		return nil, badBackup("%s cannot be read: %w", p.Name, err)
	}
	digest := sha256.Sum256(body)
	if sum := hex.EncodeToString(digest[:]); int64(len(body)) != p.Bytes || sum != p.SHA256 {
		return nil, badBackup("%s is damaged: it has %d bytes and SHA-256 %s, %d and %.64s were written", p.Name, len(body), sum, p.Bytes, p.SHA256)
	}
	return body, nil
}

// parts reads the parts of a stream one after the other, each held to its digest before any of it is handed out.
type parts struct {
	dir  string
	rest []part
	buf  []byte
}

func (r *parts) Read(b []byte) (int, error) {
	for len(r.buf) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		body, err := readPart(r.dir, r.rest[0])
		if err != nil {
			return 0, err
		}
		r.buf, r.rest = body, r.rest[1:]
	}
	n := copy(b, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}
