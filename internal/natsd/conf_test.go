package natsd_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/internal/natsd"
)

func TestReadConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobledger.conf")
	text := "# comment\nBASE = /data\nstore: $BASE\n\nreplicas: 3\ndedup_window: \"10m\"\nunsafe_bind = true\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := natsd.ReadConf(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []natsd.ConfEntry{
		{Name: "store", Value: "/data", Line: 3},
		{Name: "replicas", Value: int64(3), Line: 5},
		{Name: "dedup_window", Value: "10m", Line: 6},
		{Name: "unsafe_bind", Value: true, Line: 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	if err := os.WriteFile(path, []byte("store: \"open\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.ReadConf(path); err == nil || !strings.Contains(err.Error(), "line") || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
	if _, err := natsd.ReadConf(path + ".none"); err == nil {
		t.Error("a file that is not there was read")
	}
}
