package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"path"
	"strings"

	"github.com/dartwing/jobledger/handlers"
)

// Limits of Thumbnail.
const (
	thumbDefault = 160      // pixels of the longer side when the caller names none
	thumbMax     = 2048     // R-315 keeps results small; so is a thumbnail
	pixelsMax    = 16 << 20 // of the source: at most 192 MiB decoded, so a small file cannot eat the machine
	thumbQuality = 85       // of JPEG
)

// ThumbnailArgs are the arguments of a thumbnail job.
type ThumbnailArgs struct {
	Path string `json:"path"`          // the photograph, JPEG or PNG
	Max  int    `json:"max,omitempty"` // pixels of the longer side, 1 to 2048; 0: 160
}

// ThumbnailResult says what was written.
type ThumbnailResult struct {
	Output       string `json:"output"` // below the output folder
	Format       string `json:"format"` // jpeg or png, as the source
	Width        int    `json:"width"`
	Height       int    `json:"height"`
	SourceWidth  int    `json:"source_width"`
	SourceHeight int    `json:"source_height"`
	Bytes        int    `json:"bytes"`
	SHA256       string `json:"sha256"` // of the written file, hex
}

// Thumbnail scales a photograph down so that its longer side is in.Max pixels, and writes it in the source's own
// format. A smaller photograph keeps its size.
func (t *Tasks) Thumbnail(ctx context.Context, a *handlers.Attempt, in ThumbnailArgs) (ThumbnailResult, error) {
	limit := in.Max
	if limit == 0 {
		limit = thumbDefault
	}
	if limit < 1 || limit > thumbMax {
		return ThumbnailResult{}, permanentf("max %d is outside 1 to %d pixels", in.Max, thumbMax)
	}
	data, err := t.read(in.Path)
	if err != nil {
		return ThumbnailResult{}, err
	}
	report(a, 10, "decoding "+in.Path)
	src, format, err := decodePhoto(ctx, in.Path, data)
	if err != nil {
		return ThumbnailResult{}, err
	}
	report(a, 40, "scaling")
	sw, sh := src.Rect.Dx(), src.Rect.Dy()
	w, h := fit(sw, sh, limit)
	dst, err := boxScale(ctx, src, w, h)
	if err != nil {
		return ThumbnailResult{}, err
	}
	encoded, ext, err := encodePhoto(dst, format)
	if err != nil {
		return ThumbnailResult{}, fmt.Errorf("thumbnail of %s: %w", in.Path, err)
	}
	report(a, 80, "writing")
	base := strings.TrimSuffix(path.Base(in.Path), path.Ext(in.Path))
	out := fmt.Sprintf("thumbnails/%s/%s-%d.%s", a.Org, base, limit, ext)
	if err := t.write(ctx, a, out, encoded); err != nil {
		return ThumbnailResult{}, err
	}
	sum := sha256.Sum256(encoded)
	return ThumbnailResult{Output: out, Format: format, Width: w, Height: h, SourceWidth: sw, SourceHeight: sh,
		Bytes: len(encoded), SHA256: hex.EncodeToString(sum[:])}, nil
}

// decodePhoto decodes a JPEG or PNG into RGBA. Anything else, a damaged file and one over pixelsMax are permanent errors.
func decodePhoto(ctx context.Context, name string, data []byte) (*image.RGBA, string, error) {
	header, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, "", permanentf("%s is no photograph in JPEG or PNG: %w", name, err)
	}
	if format != "jpeg" && format != "png" { // some other package of the program may have registered more
		return nil, "", permanentf("%s is a %s: JPEG and PNG are read", name, format)
	}
	// In int64, since a header may claim sides whose product overflows.
	if header.Width < 1 || header.Height < 1 || int64(header.Width)*int64(header.Height) > pixelsMax {
		return nil, "", permanentf("%s claims %d x %d pixels: between 1 and %d are allowed", name, header.Width, header.Height, pixelsMax)
	}
	src, _, err := image.Decode(&contextReader{ctx, bytes.NewReader(data)})
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if err != nil {
		return nil, "", permanentf("%s is damaged: %w", name, err)
	}
	rgba := image.NewRGBA(image.Rect(0, 0, src.Bounds().Dx(), src.Bounds().Dy()))
	draw.Draw(rgba, rgba.Rect, src, src.Bounds().Min, draw.Src)
	return rgba, format, nil
}

// contextReader fails when its context has ended. A small file can ask for much decoding (a progressive JPEG of many
// scans); the decoders know no context, but they must read.
type contextReader struct {
	ctx  context.Context // lives as long as one call of decodePhoto
	data io.Reader
}

// Read implements io.Reader.
func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.data.Read(p)
}

func encodePhoto(m *image.RGBA, format string) (data []byte, ext string, err error) {
	var buf bytes.Buffer
	if format == "jpeg" {
		err = jpeg.Encode(&buf, m, &jpeg.Options{Quality: thumbQuality})
		return buf.Bytes(), "jpg", err
	}
	err = png.Encode(&buf, m)
	return buf.Bytes(), "png", err
}

// write puts data at name below the output root. Dying here leaves name as it was or whole, and perhaps a part file
// that only this attempt would have written; nobody reads it.
func (t *Tasks) write(ctx context.Context, a *handlers.Attempt, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err // the attempt is over: leave the file to the one that holds the job now
	}
	if err := t.cfg.Output.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	part := fmt.Sprintf("%s.%s-%d.part", name, a.ID, a.Number)
	if err := t.cfg.Output.WriteFile(part, data, 0o644); err != nil {
		_ = t.cfg.Output.Remove(part) // a full disk keeps no half file
		return fmt.Errorf("output: %w", err)
	}
	if err := t.cfg.Output.Rename(part, name); err != nil {
		_ = t.cfg.Output.Remove(part)
		return fmt.Errorf("output: %w", err)
	}
	return nil
}
