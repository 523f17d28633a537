package console_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway/console"
)

// sizeMax bounds what a browser loads, in bytes as they are sent.
const sizeMax = 150 << 10

// TestDist shows that dist was made of the sources that are here.
func TestDist(t *testing.T) {
	listed, err := os.ReadFile("dist/SOURCES")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(listed)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = sum
	}
	for _, root := range []string{"src", "vendor"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			body, err := os.ReadFile(path)
			sum := sha256.Sum256(body)
			if got := hex.EncodeToString(sum[:]); want[path] != got {
				t.Errorf("%s is not what dist was made of: run make console and commit dist", path)
			}
			delete(want, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range want {
		t.Errorf("dist was made of %s, which is gone: run make console and commit dist", name)
	}
}

func serve(t *testing.T, cfg console.Config, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	console.Handler(cfg).ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPages shows that every path of a page leads to the page with the way back to the root, and other paths lead nowhere.
func TestPages(t *testing.T) {
	for path, base := range map[string]string{"/": "./", "/login": "./", "/o/acme": "../", "/o/acme/jobs": "../../", "/o/acme/jobs/0193": "../../../"} {
		r := serve(t, console.Config{}, path)
		if body := text(t, r.Body); r.StatusCode != http.StatusOK || !strings.Contains(body, `<base href="`+base+`">`) {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		}
		if got := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || !strings.Contains(got, "frame-ancestors 'none'") ||
			strings.Contains(got, "unsafe") || r.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: policy %s", path, got)
		}
	}
	for _, path := range []string{"/admin", "/assets/none.js", "/assets/", "/o/a/b/c/d/e/f/g"} {
		if r := serve(t, console.Config{}, path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	for path, base := range map[string]string{"/jobs": "./", "/jobs/0193": "../"} { // a person who types it is led home
		r := serve(t, console.Config{}, path, "Accept", "text/html,*/*;q=0.8", "If-None-Match", serve(t, console.Config{}, "/").Header.Get("ETag"))
		if body := text(t, r.Body); r.StatusCode != http.StatusNotFound || !strings.Contains(body, `<base href="`+base+`">`) || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		}
	}
	for _, path := range []string{"/v1", "/v1/jobs", "/assets/none.js", "/metrics", "/a/b/c/d/e/f/g"} {
		if r := serve(t, console.Config{}, path, "Accept", "text/html"); r.StatusCode != http.StatusNotFound || strings.Contains(text(t, r.Body), "<base") {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if r := serve(t, console.Config{FrameAncestors: "https://intranet.example"}, "/"); r.Header.Get("X-Frame-Options") != "" ||
		!strings.HasSuffix(r.Header.Get("Content-Security-Policy"), "frame-ancestors https://intranet.example") {
		t.Errorf("%v", r.Header)
	}
}

// TestAssets shows that what the page loads is there, is kept for ever, is small, and that nothing stands in the page itself.
func TestAssets(t *testing.T) {
	page := text(t, serve(t, console.Config{}, "/").Body)
	if strings.Contains(page, "<style") || regexp.MustCompile(`<script[^>]*>[^<]|\son[a-z]+=|\sstyle=|https?://`).MatchString(page) {
		t.Errorf("the page holds a script, a style or an address of its own: %s", page)
	}
	sent := 0
	found := regexp.MustCompile(`(?:src|href)="(assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(found) != 3 {
		t.Errorf("the page loads %v", found)
	}
	for _, m := range found {
		r := serve(t, console.Config{}, "/"+m[1], "Accept-Encoding", "gzip")
		packed := text(t, r.Body)
		sent += len(packed)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", m[1], r.StatusCode, r.Header)
		}
		z, err := gzip.NewReader(strings.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if plain := text(t, serve(t, console.Config{}, "/"+m[1]).Body); plain != text(t, z) || plain == "" {
			t.Errorf("%s is not the same packed", m[1])
		}
		if again := serve(t, console.Config{}, "/"+m[1], "If-None-Match", r.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %d", m[1], again.StatusCode)
		}
	}
	files, err := os.ReadDir("dist")
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, f := range files {
		if ext := filepath.Ext(f.Name()); ext == ".js" || ext == ".css" || ext == ".svg" {
			whole += len(text(t, serve(t, console.Config{}, "/assets/"+f.Name(), "Accept-Encoding", "gzip").Body))
		}
	}
	if whole > sizeMax || sent > whole {
		t.Errorf("a browser loads %d bytes at first and %d in all, more than %d", sent, whole, sizeMax)
	}
	t.Logf("a browser loads %d bytes at first, %d in all", sent, whole)
}

// TestSources shows that no module makes markup of text, and none reaches elsewhere.
func TestSources(t *testing.T) {
	bad := regexp.MustCompile(`dangerouslySetInnerHTML|innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://[a-z]`)
	n := 0
	err := filepath.WalkDir("src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".svg" {
			return err
		}
		body, err := os.ReadFile(path)
		lines := bufio.NewScanner(bytes.NewReader(body))
		for at := 1; lines.Scan(); at++ {
			if m := bad.FindString(lines.Text()); m != "" {
				t.Errorf("%s:%d: %s", path, at, m)
			}
		}
		n++
		return err
	})
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
}
