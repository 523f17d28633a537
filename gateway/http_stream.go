package gateway

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Answers of any length: they are written as they are read, whatever their length in bounded memory. What goes wrong behind the
// first byte is the last line, or is said by nothing but the connection, which is cut: nobody takes a part for the whole.
const (
	// exportsMax bounds how many such answers are written at once.
	exportsMax = 16
	// exportsOfOne bounds how many of them one principal has, and exportsOfOrg how many an org: who reads slowly holds his
	// places for long.
	exportsOfOne, exportsOfOrg = 4, 8
	// exportScans is how many pages of a list are read without an index: each looks at all jobs of the org.
	exportScans = 20
	// exportBuffer is how much is written at once.
	exportBuffer = 64 << 10
	mediaLines   = "application/x-ndjson"
	mediaBytes   = "application/octet-stream"
)

// streamed serves a request of a route in another form than JSON.
type streamed func(ctx context.Context, h *httpAPI, out *export, in *httpRequest) error

// accepts reports whether a request asks for a media type by name.
func accepts(r *http.Request, media string) bool {
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			if name, _, _ := strings.Cut(part, ";"); strings.EqualFold(strings.TrimSpace(name), media) {
				return true
			}
		}
	}
	return false
}

// exports counts the long answers under way, by org and by whose they are: an actor of the same name in another org is
// another.
type exports struct {
	mu  sync.Mutex
	by  map[memberKey]int
	all int
}

func (x *exports) enter(who memberKey) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	ofOrg := 0
	for k, n := range x.by {
		if k.org == who.org {
			ofOrg += n
		}
	}
	switch {
	case x.by[who] >= exportsOfOne:
		return ledger.Errorf(ledger.CodeRateLimited, "%d long answers to %s are under way here: ask again in a while", x.by[who], who.actor)
	case ofOrg >= exportsOfOrg:
		return ledger.Errorf(ledger.CodeRateLimited, "%d long answers about this org are under way here: ask again in a while", ofOrg)
	case x.all >= exportsMax:
		return ledger.Errorf(ledger.CodeRateLimited, "%d long answers are under way here: ask again in a while", x.all)
	}
	x.by[who]++
	x.all++
	return nil
}

func (x *exports) leave(who memberKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all--; x.by[who] > 1 {
		x.by[who]--
		return
	}
	delete(x.by, who)
}

// export is one long answer.
type export struct {
	ctx     context.Context // ends it
	w       http.ResponseWriter
	to      *http.ResponseController
	buf     *bufio.Writer
	begun   bool
	looked  time.Time
	allowed func() error // whether the caller may still read
}

// begin sends the headers; from here on nothing can be refused.
func (x *export) begin(media string) {
	x.begun = true
	head := x.w.Header()
	head.Set("Content-Type", media)
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Accel-Buffering", "no")
	x.w.WriteHeader(http.StatusOK)
}

// Write implements io.Writer below the buffer: a client that reads nothing for streamWrite is left, and one that may not read on
// any more as well.
func (x *export) Write(b []byte) (int, error) {
	if time.Since(x.looked) >= streamCheck {
		if err := x.allowed(); err != nil {
			return 0, err
		}
		x.looked = time.Now()
	}
	writeUntil(x.ctx, x.to)
	n, err := x.w.Write(b)
	return n, errors.Join(err, x.to.Flush())
}

// export serves a long answer: who may not have it, or asks for what is not there, gets an error as ever.
func (h *httpAPI) export(ctx context.Context, w http.ResponseWriter, in *httpRequest, allowed func() error, serve streamed) error {
	who := memberKey{org: in.org}
	if p := caller(ctx); p != nil {
		who.actor = p.Actor
	}
	if err := h.exports.enter(who); err != nil {
		return err
	}
	defer h.exports.leave(who)
	ctx, leave, err := h.g.admit(ctx, &endpoint{waits: true})
	if err != nil {
		return err
	}
	defer leave()
	x := &export{ctx: ctx, w: w, to: http.NewResponseController(w), looked: time.Now(), allowed: allowed}
	defer context.AfterFunc(ctx, func() { _ = x.to.SetWriteDeadline(time.Now()) })()
	x.buf = bufio.NewWriterSize(x, exportBuffer)
	err = serve(ctx, h, x, in)
	if err == nil {
		err = x.buf.Flush()
	}
	if err == nil || !x.begun {
		return err
	}
	if x.w.Header().Get("Content-Type") == mediaLines && ctx.Err() == nil {
		_, _ = x.buf.Write(append(errorBody(in.id, ledger.AsError(err)), '\n'))
		_ = x.buf.Flush()
	}
	h.g.log.Info("a long answer was cut off", zap.String("request_id", in.id), zap.String("org", string(in.org)), zap.Error(err))
	panic(http.ErrAbortHandler)
}

// exportOf serves a route's other form, judged as its endpoint is.
func (h *httpAPI) exportOf(ctx context.Context, ep *endpoint, w http.ResponseWriter, in *httpRequest, serve streamed) error {
	if err := in.request.check(); err != nil {
		return err
	}
	if err := h.g.authorize(ctx, ep, in.request); err != nil {
		return err
	}
	in.counted = true
	in.left.headers(w.Header().Set)
	return h.export(ctx, w, in, func() error {
		ctx, err := h.enter(in.Request)
		if err == nil {
			err = h.g.authorize(ctx, ep, in.request)
		}
		if err == nil && ep.name == "result" {
			err = h.g.withheld(ctx, in.org) // the org may have been suspended meanwhile
		}
		return err
	}, serve)
}

// listLines is the list whole, one record a line. What matches is read page by page: a job that is submitted meanwhile is not
// in it, one that moves on is told as it is then.
func listLines(in *httpRequest) streamed {
	if !accepts(in.Request, mediaLines) {
		return nil
	}
	return func(ctx context.Context, h *httpAPI, out *export, in *httpRequest) error {
		var req ListRequest
		if err := json.Unmarshal(in.body, &req); err != nil {
			return err
		}
		if in.URL.Query().Has("limit") {
			return badField("limit", errors.New("a list that is streamed has no pages: it is whole"))
		}
		if o, err := parseOrder(req.Sort); err == nil && !o.plain {
			return badField("sort", errors.New("a list that is streamed comes in the order of submission: to sort it, all of it is looked at for each page"))
		}
		req.Limit = LimitMax
		for pages := 0; ; pages++ {
			if x := h.g.cfg.Index; pages == exportScans && (x == nil || !x.Serves()) {
				return ledger.Errorf(ledger.CodeUnavailable, "so long a list is streamed from the query index, which this server does not keep, or has not folded yet: read it by pages")
			}
			var err error
			if in.body, err = json.Marshal(req); err != nil {
				return err
			}
			body, err := h.g.run(ctx, h.verbs["list"], in.request)
			if err != nil {
				return err
			}
			var page struct {
				Items []json.RawMessage
				Next  *string
			}
			if err := json.Unmarshal(body, &page); err != nil {
				return err
			}
			if !out.begun {
				out.begin(mediaLines)
			}
			for _, item := range page.Items {
				if _, err := out.buf.Write(append(item, '\n')); err != nil {
					return err
				}
			}
			if page.Next == nil {
				return nil
			}
			req.Cursor = *page.Next
		}
	}
}

// resultBytes is a result as it was written, as a file.
func resultBytes(in *httpRequest) streamed {
	if !in.URL.Query().Has("download") && !accepts(in.Request, mediaBytes) {
		return nil
	}
	return func(ctx context.Context, h *httpAPI, out *export, in *httpRequest) error {
		j, err := h.g.resultJob(ctx, in.request)
		if err != nil {
			return err
		}
		send := &checkedBytes{out: out, sum: sha256.New()}
		head := out.w.Header()
		head.Set("Content-Disposition", `attachment; filename="`+string(j.ID)+`.json"`)
		if j.ResultRef == nil {
			sum := sha256.Sum256(j.Result)
			send.begin(int64(len(j.Result)), sum[:])
			return errors.Join(send.add(j.Result), send.end(sum[:]))
		}
		want, err := hex.DecodeString(j.ResultRef.SHA256)
		if err != nil {
			return err
		}
		for next := schemas.Seq(0); ; {
			data, behind, err := h.g.l.PayloadPage(ctx, ledger.StoreResults, j, next)
			if err != nil {
				return err
			}
			if !out.begun {
				send.begin(j.ResultRef.Bytes, want)
			}
			if err := send.add(data); err != nil {
				return err
			}
			if next = behind; behind == 0 || send.read >= j.ResultRef.Bytes {
				return send.end(want)
			}
		}
	}
}

// checkedBytes sends bytes, the last ones only once all of them were held to their sum: what was damaged never arrives whole.
type checkedBytes struct {
	out  *export
	sum  hash.Hash
	held []byte
	read int64
}

func (c *checkedBytes) begin(n int64, sum []byte) {
	head := c.out.w.Header()
	head.Set("Content-Length", strconv.FormatInt(n, 10))
	head.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	c.out.begin(mediaBytes)
}

func (c *checkedBytes) add(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	_, err := c.out.buf.Write(c.held)
	c.sum.Write(data)
	c.held = append(c.held[:0], data...)
	c.read += int64(len(data))
	return err
}

func (c *checkedBytes) end(want []byte) error {
	if got := c.sum.Sum(nil); string(got) != string(want) {
		return ledger.Errorf(ledger.CodeInternal, "the stored result is not what its job says: its sum is %x", got)
	}
	_, err := c.out.buf.Write(c.held)
	return err
}

// logParams are the parameters of a replay.
var logParams = []string{"org", "from", "to", "event", "job", "type", "actor"}

// replayLog is the ledger's events between two bounds, one a line, as `log replay -j` writes them.
func (h *httpAPI) replayLog(w http.ResponseWriter, r *http.Request) error {
	org := schemas.OrgID(r.URL.Query().Get("org"))
	whole, by := false, r.Context()
	may := func() error {
		ctx, err := h.enter(r)
		if err != nil {
			return err
		}
		by = ctx
		p, asked := caller(ctx), cmp.Or(org, cellOrg)
		reach := rights.Decide(p, rights.LogRead, asked)
		if !reach.Whole() || org == "" && reach != rights.All {
			return denied(p, rights.LogRead, asked)
		}
		whole = rights.Decide(p, rights.PayloadsRead, asked) == rights.All
		return nil
	}
	if err := may(); err != nil {
		return err
	}
	q, err := replayQuery(r)
	if err != nil {
		return err
	}
	in := &httpRequest{Request: r, request: &request{org: org, id: w.Header().Get("X-Request-Id")}}
	return h.export(by, w, in, may, func(ctx context.Context, h *httpAPI, out *export, _ *httpRequest) error {
		show := replayShow{g: h.g, whole: func() bool { return whole }, withheld: map[schemas.OrgID]bool{}}
		out.w.Header().Set("Trailer", "Jobledger-Last-Seq")
		var line []byte
		last := q.Behind
		q.Progress = func(at, _ schemas.Seq) { last = max(last, at) }
		err := h.g.l.Replay(ctx, q, func(e *ledger.Entry) error {
			one, err := show.line(r.Context(), e)
			if err != nil {
				return err
			}
			if !out.begun {
				out.begin(mediaLines)
			}
			line = append(one.Append(line[:0], true), '\n')
			_, err = out.buf.Write(line)
			return err
		})
		if err != nil {
			return err
		}
		if !out.begun {
			out.begin(mediaLines)
		}
		err = out.buf.Flush()
		out.w.Header().Set("Jobledger-Last-Seq", last.String())
		return err
	})
}

// replayShow says what of each event a replay shows.
type replayShow struct {
	g     *Gateway
	whole func() bool // the caller has a right to all results

	looked   time.Time              // when what follows was begun
	withheld map[schemas.OrgID]bool // whose results are
	masks    *masks
}

func (s *replayShow) line(ctx context.Context, e *ledger.Entry) (ledger.HistoryLine, error) {
	one := ledger.LineOf(e)
	if time.Since(s.looked) >= streamCheck {
		clear(s.withheld)
		s.looked, s.masks = time.Now(), s.g.masks()
	}
	if !s.whole() && e.Org != "" {
		hide, known := s.withheld[e.Org]
		if !known {
			err := s.g.withheld(ctx, e.Org) // as for who has no right to all
			if hide = err != nil; hide && ledger.AsError(err).Code != ledger.CodeOrgSuspended {
				return one, err
			}
			s.withheld[e.Org] = hide
		}
		if hide {
			if err := withhold(&one); err != nil {
				return one, err
			}
		}
	}
	return one, s.masks.line(ctx, &one)
}

func replayQuery(r *http.Request) (q ledger.ReplayQuery, err error) {
	values := r.URL.Query()
	if err := known(values, logParams); err != nil {
		return q, err
	}
	q = ledger.ReplayQuery{Org: schemas.OrgID(values.Get("org")), Job: schemas.JobID(values.Get("job")), Type: schemas.TypeName(values.Get("type")),
		Event: schemas.EventName(values.Get("event")), Actor: values.Get("actor")}
	for name, to := range map[string]*ledger.ReplayBound{"from": &q.From, "to": &q.To} {
		v := values.Get(name)
		if v == "" {
			continue
		}
		if seq, err := schemas.ParseSeq(v); err == nil {
			to.Seq = seq
		} else if to.Time, err = time.Parse(time.RFC3339, v); err != nil {
			return q, badField(name, fmt.Errorf("%q is neither a sequence nor a time like 2026-11-23T14:00:00Z", v))
		}
	}
	if q.Org != "" {
		if err := schemas.CheckToken("org", string(q.Org)); err != nil {
			return q, badField("org", err)
		}
	}
	if q.Event != "" && !slices.Contains(slices.Concat(schemas.JobEvents(), schemas.ControlEvents()), q.Event) {
		return q, badField("event", fmt.Errorf("%q is unknown", q.Event))
	}
	return q, nil
}
