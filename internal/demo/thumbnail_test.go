package demo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/dartwing/jobledger/internal/demo"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

// The pixels and means were computed with Pillow 9.4, Image.convert("RGB").resize((w, h), Image.BOX). JPEG decoders
// differ by a little in each pixel, so those get room.
var photos = []struct {
	path               string
	max, sw, sh, w, h  int
	output, format     string
	pixels             map[image.Point][3]int
	mean               [3]float64
	pixelRoom, avgRoom float64
}{
	{path: "photos/cameraman.png", max: 128, sw: 512, sh: 512, w: 128, h: 128, output: "thumbnails/acme/cameraman-128.png", format: "png",
		pixels: map[image.Point][3]int{{X: 0, Y: 0}: {200, 200, 200}, {X: 64, Y: 64}: {9, 9, 9}, {X: 127, Y: 127}: {152, 152, 152}, {X: 32, Y: 42}: {32, 32, 32}},
		mean:   [3]float64{129.06, 129.06, 129.06}, pixelRoom: 1, avgRoom: 0.3},
	{path: "photos/cat.png", sw: 451, sh: 300, w: 160, h: 106, output: "thumbnails/acme/cat-160.png", format: "png",
		pixels: map[image.Point][3]int{{X: 0, Y: 0}: {145, 122, 107}, {X: 80, Y: 53}: {185, 143, 116}, {X: 159, Y: 105}: {166, 141, 132}, {X: 40, Y: 35}: {190, 147, 113}},
		mean:   [3]float64{147.67, 111.44, 86.8}, pixelRoom: 1, avgRoom: 0.3},
	{path: "photos/retina.jpg", sw: 1411, sh: 1411, w: 160, h: 160, output: "thumbnails/acme/retina-160.jpg", format: "jpeg",
		pixels: map[image.Point][3]int{{X: 0, Y: 0}: {0, 0, 0}, {X: 80, Y: 80}: {182, 41, 21}, {X: 40, Y: 53}: {229, 104, 78}},
		mean:   [3]float64{159.43, 63.55, 46.12}, pixelRoom: 12, avgRoom: 1},
	{path: "photos/rocket.jpg", sw: 640, sh: 427, w: 160, h: 107, output: "thumbnails/acme/rocket-160.jpg", format: "jpeg",
		pixels: map[image.Point][3]int{{X: 0, Y: 0}: {18, 34, 60}, {X: 40, Y: 35}: {45, 64, 101}},
		mean:   [3]float64{52.27, 61.29, 82.27}, pixelRoom: 12, avgRoom: 1},
	{path: "photos/frame-progressive.jpeg", sw: 150, sh: 103, w: 150, h: 103, output: "thumbnails/acme/frame-progressive-160.jpg", format: "jpeg",
		mean: [3]float64{144.76, 94.55, 70.34}, avgRoom: 1},
}

func TestThumbnailOfRealPhotographs(t *testing.T) {
	for _, p := range photos {
		t.Run(p.path, func(t *testing.T) {
			ts, root := tasks(t, demodata.Files)
			got, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: p.path, Max: p.max})
			if err != nil {
				t.Fatal(err)
			}
			written, err := root.ReadFile(p.output)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(written)
			want := demo.ThumbnailResult{Output: p.output, Format: p.format, Width: p.w, Height: p.h, SourceWidth: p.sw, SourceHeight: p.sh,
				Bytes: len(written), SHA256: hex.EncodeToString(sum[:])}
			if got != want {
				t.Errorf("result\n got %+v\nwant %+v", got, want)
			}
			m, format, err := image.Decode(bytes.NewReader(written))
			if err != nil || format != p.format || m.Bounds().Dx() != p.w || m.Bounds().Dy() != p.h {
				t.Fatalf("the written file is %s %v, %v", format, m.Bounds(), err)
			}
			for at, want := range p.pixels {
				if got := rgb(m.At(at.X, at.Y)); !near(got, want, p.pixelRoom) {
					t.Errorf("pixel %v is %v, want %v within %v", at, got, want, p.pixelRoom)
				}
			}
			for c, mean := range means(m) {
				if diff := mean - p.mean[c]; diff > p.avgRoom || diff < -p.avgRoom {
					t.Errorf("channel %d has mean %.2f, the photograph %.2f", c, mean, p.mean[c])
				}
			}
		})
	}
}

func rgb(c color.Color) [3]int {
	r, g, b, _ := c.RGBA()
	return [3]int{int(r >> 8), int(g >> 8), int(b >> 8)}
}

func near(a, b [3]int, room float64) bool {
	for i := range a {
		if d := float64(a[i] - b[i]); d > room || d < -room {
			return false
		}
	}
	return true
}

func means(m image.Image) [3]float64 {
	var sum [3]float64
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			for c, v := range rgb(m.At(x, y)) {
				sum[c] += float64(v)
			}
		}
	}
	n := float64(m.Bounds().Dx() * m.Bounds().Dy())
	return [3]float64{sum[0] / n, sum[1] / n, sum[2] / n}
}

// The same job again, also from another attempt, writes the same bytes, and no part file stays.
func TestThumbnailTwice(t *testing.T) {
	ts, root := tasks(t, demodata.Files)
	first, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: "photos/rocket.jpg"})
	if err != nil {
		t.Fatal(err)
	}
	again := call()
	again.Number = 2
	second, err := ts.Thumbnail(t.Context(), again, demo.ThumbnailArgs{Path: "photos/rocket.jpg"})
	if err != nil || first != second {
		t.Fatalf("second run: %+v, %v; first: %+v", second, err, first)
	}
	entries, err := fs.ReadDir(root.FS(), "thumbnails/acme")
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v: want the thumbnail alone", entries, err)
	}
}

// A full or broken output is no fault of the job: it may be retried.
func TestThumbnailOutputBlocked(t *testing.T) {
	ts, root := tasks(t, demodata.Files)
	if err := root.WriteFile("thumbnails", []byte("a file where a folder belongs"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: "photos/cat.png"})
	if err == nil || permanent(err) {
		t.Fatalf("error %v: want one that may be retried", err)
	}
}

func TestThumbnailOfHostileInput(t *testing.T) {
	whole, err := demodata.Files.ReadFile("photos/rocket.jpg")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{
		"bomb.png":   {Data: pngHeader(60_000, 60_000)},
		"over.png":   {Data: pngHeader(1<<31-1, 1<<31-1)},
		"header.jpg": {Data: whole[:300]},
		"empty.jpg":  {},
		"text.png":   {Data: []byte("a text with another name")},
		"moving.gif": {Data: []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")},
	}
	for n := range 8 { // cut anywhere, a photograph is damaged, never half a thumbnail
		files[fmt.Sprintf("cut-%d.jpg", n)] = &fstest.MapFile{Data: whole[:len(whole)*(n+1)/10]}
	}
	for name := range files {
		t.Run(name, func(t *testing.T) {
			ts, root := tasks(t, files)
			_, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: name})
			wantPermanent(t, err, name)
			if _, err := root.Stat("thumbnails"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("output was written: %v", err)
			}
		})
	}
	for _, limit := range []int{-1, 2049} {
		ts, _ := tasks(t, demodata.Files)
		_, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: "photos/cat.png", Max: limit})
		wantPermanent(t, err, "outside 1 to 2048")
	}
}

// pngHeader returns a PNG that claims a size and holds no pixel.
func pngHeader(w, h uint32) []byte {
	ihdr := append([]byte("IHDR"), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)...)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	return binary.BigEndian.AppendUint32(append(out, ihdr...), crc32.ChecksumIEEE(ihdr))
}

// An output name made from hostile org and job names stays below the root.
func TestThumbnailStaysBelowOutput(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/out", 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	ts := demo.New(demo.Config{Input: demodata.Files, Output: root})
	c := call()
	c.Org, c.ID = "../../evil", "../../../evil"
	if got, err := ts.Thumbnail(t.Context(), c, demo.ThumbnailArgs{Path: "photos/cat.png"}); err == nil {
		t.Errorf("written: %+v", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the output root: %v, %v", entries, err)
	}
}

// Against the plainest possible average, on sizes that do not divide: exact to rounding.
func TestScaleEqualsPlainAverage(t *testing.T) {
	data, err := demodata.Files.ReadFile("photos/cat.png")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	src := image.NewRGBA(image.Rect(0, 0, 37, 23))
	draw.Draw(src, src.Rect, whole, image.Pt(200, 100), draw.Src)
	var buf bytes.Buffer
	if err := png.Encode(&buf, src); err != nil {
		t.Fatal(err)
	}
	ts, root := tasks(t, fstest.MapFS{"cut.png": {Data: buf.Bytes()}})
	got, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: "cut.png", Max: 10})
	if err != nil || got.Width != 10 || got.Height != 6 {
		t.Fatalf("%+v, %v", got, err)
	}
	written, err := root.ReadFile(got.Output)
	if err != nil {
		t.Fatal(err)
	}
	thumb, err := png.Decode(bytes.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	for y := range got.Height {
		for x := range got.Width {
			if have, want := rgb(thumb.At(x, y)), plainAverage(src, x, y, got.Width, got.Height); !near(have, want, 0) {
				t.Errorf("pixel %d,%d is %v, want %v", x, y, have, want)
			}
		}
	}
}

// plainAverage enlarges src w times across and h times down, without saying so, and averages the block of target pixel (x, y).
func plainAverage(src *image.RGBA, x, y, w, h int) [3]int {
	sw, sh := src.Rect.Dx(), src.Rect.Dy()
	var sum [3]int
	for v := y * sh; v < (y+1)*sh; v++ {
		for u := x * sw; u < (x+1)*sw; u++ {
			for c, value := range rgb(src.At(u/w, v/h)) {
				sum[c] += value
			}
		}
	}
	for c := range sum {
		sum[c] = (sum[c] + sw*sh/2) / (sw * sh)
	}
	return sum
}

// With go test -fuzz, give -fuzzminimizetime 5x: the minimizer otherwise takes a minute for each new picture.
func FuzzThumbnail(f *testing.F) {
	for _, name := range []string{"photos/frame-progressive.jpeg", "broken/rocket-truncated.jpg"} {
		data, err := demodata.Files.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 4096)])
	}
	var small bytes.Buffer
	if err := jpeg.Encode(&small, image.NewGray(image.Rect(0, 0, 3, 200)), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(small.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		ts, root := tasks(t, fstest.MapFS{"in": {Data: data}})
		got, err := ts.Thumbnail(t.Context(), call(), demo.ThumbnailArgs{Path: "in"})
		if err != nil {
			wantPermanent(t, err)
			return
		}
		if got.Width < 1 || got.Height < 1 || got.Width > 160 || got.Height > 160 {
			t.Errorf("size %d x %d", got.Width, got.Height)
		}
		if _, err := root.Stat(got.Output); err != nil {
			t.Error(err)
		}
	})
}
