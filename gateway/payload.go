package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Headers of args that do not fit into one request. They are sent in parts first (verb upload), and the submit that
// follows, with an empty body, or the resubmit, names them.
const (
	HeaderUploadAfter = "Jobledger-Upload-After" // of a part: the cursor that the part before was answered with
	HeaderArgsUpload  = "Jobledger-Args-Upload"  // of the submit: the id of the upload
	HeaderArgsBytes   = "Jobledger-Args-Bytes"
	HeaderArgsSHA256  = "Jobledger-Args-Sha256" // in hex
)

const (
	// PartMax is the greatest part of an upload in bytes, and the greatest page of a payload.
	PartMax = 512 << 10
	// followMax is the greatest payload kept by reference that a record or result holds all the same.
	followMax = 512 << 10
	// largeMax is how many submits with args over the inline limit are worked on at once: each may hold three
	// times schemas.PayloadMax.
	largeMax = 4
)

// PayloadOf names a payload.
const (
	PayloadArgs   = "args"
	PayloadResult = "result"
)

// UploadReply says how the next part goes on.
type UploadReply struct {
	Cursor string `json:"cursor"`
}

// PayloadRequest asks for a page of a job's args or result, wherever they are kept. The zero cursor asks for the first.
type PayloadRequest struct {
	Of     string `json:"of"` // PayloadArgs or PayloadResult
	Cursor string `json:"cursor,omitempty"`
	// Unmasked is UnmaskReply.EventID: the args come as they were submitted. Empty: with what is redacted masked.
	Unmasked schemas.EventID `json:"unmasked,omitempty"`
}

// PayloadPage is a stretch of a payload; all of them one after the other are the payload, byte for byte.
type PayloadPage struct {
	ID     schemas.JobID `json:"id"`
	Bytes  int64         `json:"bytes"`  // of the whole
	SHA256 string        `json:"sha256"` // of the whole, in hex
	Data   []byte        `json:"data"`   // base64
	Next   *string       `json:"next"`
}

// upload stores one part of args for a submit to come. An empty part ends the upload: what was stored is removed.
// That is the caller's to say, for only he knows that he will not repeat the submit.
func (g *Gateway) upload(ctx context.Context, r *request) ([]byte, error) {
	staged, err := stagedOf(r.org, r.name)
	if err != nil {
		return nil, err
	}
	var after schemas.Seq
	if v := options(r.headers).one(HeaderUploadAfter); v != "" {
		if after, err = schemas.ParseSeq(v); err != nil || after == 0 {
			return nil, badHeader(HeaderUploadAfter, fmt.Errorf("%q is no cursor of an upload", v))
		}
	}
	if len(r.body) > PartMax {
		return nil, badField("part", fmt.Errorf("it is %d bytes: give at most %d", len(r.body), PartMax))
	}
	if len(r.body) == 0 {
		err = g.l.Unstage(ctx, staged)
	} else {
		after, err = g.l.Stage(ctx, staged, after, r.body)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(UploadReply{Cursor: after.String()})
}

func stagedOf(org schemas.OrgID, id string) (*ledger.Staged, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != id {
		return nil, badHeader(HeaderArgsUpload, fmt.Errorf("%q is no UUID", id))
	}
	return &ledger.Staged{Org: org, ID: parsed}, nil
}

// args returns the args of a request that submits: those given in it, or what was uploaded before. leave is to be
// called when the submit has ended. Uploaded parts stay: the request may be repeated.
func (g *Gateway) args(ctx context.Context, r *request, given json.RawMessage) (args json.RawMessage, leave func(), err error) {
	h := options(r.headers)
	id := h.one(HeaderArgsUpload)
	if id == "" && len(given) <= schemas.ArgsMax {
		return given, func() {}, nil
	}
	if leave, err = g.enterLarge(ctx); err != nil || id == "" {
		return given, leave, err
	}
	staged, err := stagedOf(r.org, id)
	if err == nil && len(given) > 0 {
		err = badHeader(HeaderArgsUpload, errors.New("the args are given twice: uploaded and in the request"))
	}
	if err == nil {
		staged.SHA256 = h.one(HeaderArgsSHA256)
		if staged.Bytes, err = strconv.ParseInt(h.one(HeaderArgsBytes), 10, 64); err != nil {
			err = badHeader(HeaderArgsBytes, fmt.Errorf("%q is no number", h.one(HeaderArgsBytes)))
		}
	}
	if err == nil {
		args, err = g.l.StagedArgs(ctx, staged)
	}
	return args, leave, err
}

// enterLarge waits for a place among the requests that hold a large payload.
func (g *Gateway) enterLarge(ctx context.Context) (leave func(), err error) {
	select {
	case g.large <- struct{}{}:
		return func() { <-g.large }, nil
	case <-ctx.Done():
		return func() {}, &ledger.Error{Code: ledger.CodeUnavailable, Message: "other large submits take all the room", Cause: ctx.Err(),
			Details: map[string]any{ledger.DetailReason: ledger.ReasonPayloadNotStored}}
	}
}

// payload answers a page of a job's args or result. Pages of what stands in an event are cut by offset, those of
// an object are its chunks; the cursor is both.
func (g *Gateway) payload(ctx context.Context, r *request) ([]byte, error) {
	var req PayloadRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Of != PayloadArgs && req.Of != PayloadResult {
		return nil, badField("of", fmt.Errorf("%q is unknown: use %s or %s", req.Of, PayloadArgs, PayloadResult))
	}
	at, err := parsePayloadCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	if req.Of == PayloadArgs {
		if req.Unmasked == "" {
			args, masked, leave, err := g.maskedArgs(ctx, h.Job)
			defer leave()
			if err != nil {
				return nil, err
			}
			if masked {
				return json.Marshal(inlinePage(h.Job.ID, args, at))
			}
		} else if err := g.openedBy(ctx, h.Job, req.Unmasked); err != nil {
			return nil, err
		}
	}
	page, err := g.payloadPage(ctx, h.Job, req.Of, at)
	if err != nil {
		return nil, err
	}
	return json.Marshal(page)
}

// inlinePage is a page of a payload that is at hand.
func inlinePage(id schemas.JobID, payload []byte, at payloadCursor) *PayloadPage {
	sum := sha256.Sum256(payload)
	size := int64(len(payload))
	begin := min(at.offset, size)
	end := min(begin+PartMax, size)
	page := &PayloadPage{ID: id, Bytes: size, SHA256: hex.EncodeToString(sum[:]), Data: payload[begin:end]}
	if end < size {
		next := payloadCursor{offset: end}.String()
		page.Next = &next
	}
	return page
}

func (g *Gateway) payloadPage(ctx context.Context, j *ledger.Job, of string, at payloadCursor) (*PayloadPage, error) {
	store, inline, ref := ledger.StoreArgs, j.Spec.Args, j.Spec.ArgsRef
	if of == PayloadResult {
		if err := errors.Join(hasResult(j), g.withheld(ctx, j.Org)); err != nil {
			return nil, err
		}
		store, inline, ref = ledger.StoreResults, j.Result, j.ResultRef
	}
	if ref == nil {
		return inlinePage(j.ID, inline, at), nil
	}
	data, behind, err := g.l.PayloadPage(ctx, store, j, at.seq)
	if err != nil {
		return nil, err
	}
	page := &PayloadPage{ID: j.ID, Bytes: ref.Bytes, SHA256: ref.SHA256, Data: data}
	at.seq = behind
	if at.offset += int64(len(page.Data)); at.offset < page.Bytes && len(page.Data) > 0 {
		next := at.String()
		page.Next = &next
	}
	return page, nil
}

// payloadCursor is where a page begins.
type payloadCursor struct {
	seq    schemas.Seq // in the object store
	offset int64       // in the payload
}

func (c payloadCursor) String() string { return fmt.Sprintf("%d.%d", c.seq, c.offset) }

func parsePayloadCursor(s string) (c payloadCursor, err error) {
	if s == "" {
		return c, nil
	}
	seq, offset, _ := strings.Cut(s, ".")
	if c.seq, err = schemas.ParseSeq(seq); err == nil {
		c.offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if err != nil || c.offset < 0 {
		return c, badField("cursor", fmt.Errorf("%q is no cursor of a payload", s))
	}
	return c, nil
}

// follow puts a result that is kept by reference into the record, if it is small enough for a reply. Where it
// cannot be read the record holds its reference alone: that is still true.
func (g *Gateway) follow(ctx context.Context, j *ledger.Job) json.RawMessage {
	if j.ResultRef == nil || j.ResultRef.Bytes > followMax {
		return nil
	}
	result, err := g.l.Result(ctx, j)
	if err != nil {
		g.log.Warn("a result cannot be read", zap.String("org", string(j.Org)), zap.String("job", string(j.ID)), zap.Error(err))
		return nil
	}
	return result
}
