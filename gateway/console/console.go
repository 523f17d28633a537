package console

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed dist
var dist embed.FS

//go:embed src/index.html
var page string

// depthMax is how deep below its root the console has pages: o/ORG/PAGE/NAME.
const depthMax = 6

// Config says how the console appears. The zero value is ready to use.
type Config struct {
	// FrameAncestors is who may show the console in a frame, in the words of a content security policy; empty: nobody.
	FrameAncestors string
}

// file is one embedded file, ready to be sent.
type file struct {
	kind       string // its Content-Type
	body, gzip []byte
	etag       string
}

type console struct {
	policy string
	assets map[string]*file
	pages  []*file // index.html by how deep it is asked for
}

// Handler serves the pages at / and below /o/, and their files below /assets/. Who looks with a browser for what is not
// there is given the page, which says so and leads home. Handler panics if what is embedded is not complete, which no build
// that passes its tests is.
func Handler(cfg Config) http.Handler {
	c := &console{assets: map[string]*file{}, policy: "default-src 'self'; base-uri 'self'; form-action 'self'; object-src 'none'; frame-ancestors " +
		cmp.Or(cfg.FrameAncestors, "'none'")}
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		panic("console: " + err.Error())
	}
	named := map[string]string{}
	for _, e := range entries {
		body, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			panic("console: " + err.Error())
		}
		f := newFile(body, kinds[path.Ext(e.Name())])
		c.assets[e.Name()] = f
		if what, ok := strings.CutPrefix(path.Ext(e.Name()), "."); ok && (strings.HasPrefix(e.Name(), "app-") || strings.HasPrefix(e.Name(), "icon-")) {
			named[strings.ToUpper(what)] = e.Name()
		}
	}
	for depth := range depthMax + 1 {
		named["BASE"] = cmp.Or(strings.Repeat("../", max(0, depth-1)), "./")
		text := page
		for name, value := range named {
			text = strings.ReplaceAll(text, "{{"+name+"}}", value)
		}
		if strings.Contains(text, "{{") {
			panic("console: dist is not complete: run make console")
		}
		c.pages = append(c.pages, newFile([]byte(text), "text/html; charset=utf-8"))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	mux.HandleFunc("GET /login", c.page)
	mux.HandleFunc("GET /o/", c.page)
	mux.HandleFunc("GET /assets/{name}", c.asset)
	mux.HandleFunc("/", c.unknown)
	return mux
}

// kinds are the Content-Types of what dist may hold.
var kinds = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

func newFile(body []byte, kind string) *file {
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is one
	_, _ = w.Write(body)
	_ = w.Close() // a buffer takes everything
	sum := sha256.Sum256(body)
	return &file{kind: cmp.Or(kind, "text/plain; charset=utf-8"), body: body, gzip: packed.Bytes(), etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// page answers every path of a page with index.html: the browser finds out which page it is.
func (c *console) page(w http.ResponseWriter, r *http.Request) {
	depth := strings.Count(r.URL.Path, "/")
	if depth >= len(c.pages) {
		c.guard(w)
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	c.send(w, r, c.pages[depth], http.StatusOK)
}

// unknown answers what is no path of a page. A person is shown the page, with 404; a program, and whoever asks for what
// belongs to the API or to operations, reads a line.
func (c *console) unknown(w http.ResponseWriter, r *http.Request) {
	depth := strings.Count(r.URL.Path, "/")
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	w.Header().Set("Vary", "Accept")
	if !reads || depth >= len(c.pages) || slices.Contains(notPages, first) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		c.guard(w)
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	c.send(w, r, c.pages[depth], http.StatusNotFound)
}

// notPages are the first parts of paths beside the pages, which other handlers answer.
var notPages = []string{"v1", "assets", "metrics"}

func (c *console) asset(w http.ResponseWriter, r *http.Request) {
	f := c.assets[r.PathValue("name")]
	if f == nil {
		c.guard(w)
		http.Error(w, "there is no such file: reload the page, the server may be another version", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	c.send(w, r, f, http.StatusOK)
}

// guard sets what keeps others out of the page, on every answer.
func (c *console) guard(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", c.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if strings.HasSuffix(c.policy, "'none'") {
		h.Set("X-Frame-Options", "DENY")
	}
}

func (c *console) send(w http.ResponseWriter, r *http.Request, f *file, status int) {
	c.guard(w)
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Add("Vary", "Accept-Encoding")
	if status == http.StatusOK && strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.body
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who does not read on has gone
	}
}
