package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// routes is the API (INTERFACE 3). Each is an endpoint of the NATS service under another name. takes and gives are the forms
// of the bodies, for openapi.json.
var routes = []route{
	{pattern: "POST /v1/orgs/{org}/jobs", endpoint: "submit", fill: fillSubmit, status: created, takes: submitBody{}, gives: SubmitReply{}},
	{pattern: "GET /v1/orgs/{org}/jobs", endpoint: "list", query: listNames, fill: fillList, gives: List{}, streams: listLines, media: mediaLines},
	{pattern: "GET /v1/orgs/{org}/jobs/{name}", endpoint: "get", query: []string{"wait", "at"}, fill: fillGet, gives: ledger.Record{}},
	{pattern: "GET /v1/orgs/{org}/jobs/{name}/history", endpoint: "history", query: []string{"cursor"}, fill: fillQuery, gives: History{}},
	{pattern: "GET /v1/orgs/{org}/jobs/{name}/explain", endpoint: "explain", gives: Explanation{}},
	{pattern: "GET /v1/orgs/{org}/jobs/{name}/result", endpoint: "result", query: []string{"download"}, gives: ResultReply{}, streams: resultBytes, media: mediaBytes},
	{pattern: "GET /v1/orgs/{org}/jobs/{name}/children", endpoint: "children", query: listNames, fill: fillList, gives: List{}},
	{pattern: "POST /v1/orgs/{org}/jobs/{name}/cancel", endpoint: "cancel", fill: fillIfMatch, takes: CancelRequest{}, gives: CancelReply{}},
	{pattern: "POST /v1/orgs/{org}/jobs/{name}/retry", endpoint: "retry", fill: fillIfMatch, takes: RetryRequest{}, gives: RetryReply{}},
	{pattern: "POST /v1/orgs/{org}/jobs/{name}/resolve", endpoint: "resolve", fill: fillIfMatch, takes: ResolveRequest{}, gives: ResolveReply{}},
	{pattern: "POST /v1/orgs/{org}/jobs/{name}/resubmit", endpoint: "resubmit", fill: fillKey, status: created, takes: ResubmitRequest{}, gives: ResubmitReply{}},
	{pattern: "POST /v1/orgs/{org}/jobs/{name}/unmask", endpoint: "unmask", fill: fillIfMatch, takes: UnmaskRequest{}, gives: UnmaskReply{}},
	{pattern: "POST /v1/orgs/{org}/batches", endpoint: "batch", fill: fillKey, status: created, takes: ledger.BatchSpec{}, gives: SubmitReply{}},
	{pattern: "POST /v1/orgs/{org}/submits", endpoint: "submits", fill: fillSubmits, takes: SubmitsRequest{}, gives: SubmitsReply{}},
	{pattern: "POST /v1/orgs/{org}/bulk", endpoint: "bulk", status: goesOn, takes: BulkRequest{}, gives: BulkReply{}},
	{pattern: "GET /v1/orgs/{org}/bulk/{name}", endpoint: "bulk-info", gives: BulkStatus{}},
	{pattern: "DELETE /v1/orgs/{org}/bulk/{name}", endpoint: "bulk-stop", query: []string{"reason"}, fill: fillQuery, gives: BulkStatus{}},
	{pattern: "GET /v1/orgs/{org}/counts", endpoint: "count", query: []string{"by", "q", "state", "type", "queue", "min_seq"}, fill: fillCount, gives: Count{}},
	{pattern: "GET /v1/orgs/{org}/notices", endpoint: "notices", query: []string{"owner", "unread", "limit", "cursor", "min_seq"}, fill: fillQuery, gives: Notices{}},
	{pattern: "POST /v1/orgs/{org}/notices/read", endpoint: "notices-read", takes: ReadNoticesRequest{}, gives: ReadNoticesReply{}},
	{pattern: "GET /v1/orgs/{org}/stats", endpoint: "stats", query: []string{"type", "queue"}, fill: fillStats, gives: StatsReply{}},
	{pattern: "GET /v1/orgs/{org}/usage", endpoint: "usage", query: []string{"from", "to"}, fill: fillQuery, gives: Usage{}},
	{pattern: "GET /v1/orgs/{org}/errors", endpoint: "errors", query: slices.Concat([]string{"by", "min_seq"}, filterNames), fill: fillErrors, gives: ErrorGroups{}},

	{pattern: "GET /v1/orgs/{org}/schedules", endpoint: "schedule-ls", gives: Schedules{}},
	{pattern: "GET /v1/orgs/{org}/schedules/{name}", endpoint: "schedule-info", gives: Schedule{}},
	{pattern: "PUT /v1/orgs/{org}/schedules/{name}", endpoint: "schedule-add", fill: fillIfMatch, takes: AddSchedule{}, gives: Schedule{}},
	{pattern: "DELETE /v1/orgs/{org}/schedules/{name}", endpoint: "schedule-rm", query: []string{"reason"}, fill: fillQuery, gives: Schedule{}},
	{pattern: "POST /v1/orgs/{org}/schedules/{name}/pause", endpoint: "schedule-pause", takes: ReasonRequest{}, gives: Schedule{}},
	{pattern: "POST /v1/orgs/{org}/schedules/{name}/resume", endpoint: "schedule-resume", takes: ReasonRequest{}, gives: Schedule{}},
	{pattern: "POST /v1/orgs/{org}/schedules/{name}/trigger", endpoint: "schedule-trigger", status: created, takes: ReasonRequest{}, gives: SubmitReply{}},
	{pattern: "POST /v1/orgs/{org}/schedules/{name}/backfill", endpoint: "schedule-backfill", takes: BackfillRequest{}, gives: BackfillReply{}},
	{pattern: "GET /v1/orgs/{org}/schedules/{name}/next", endpoint: "schedule-next", query: []string{"count"}, fill: fillQuery, gives: NextReply{}},

	{pattern: "GET /v1/orgs", endpoint: "org-ls", query: []string{"all"}, fill: fillQuery, gives: Orgs{}},
	{pattern: "POST /v1/orgs", endpoint: "org-set", fill: fillOrg, status: made, takes: AddOrgRequest{}, gives: Org{}},
	{pattern: "POST /v1/orgs/{org}/suspend", endpoint: "org-set", fill: fillState("state", schemas.OrgSuspended), takes: ReasonRequest{}, gives: Org{}},
	{pattern: "POST /v1/orgs/{org}/resume", endpoint: "org-set", fill: fillState("state", schemas.OrgActive), takes: ReasonRequest{}, gives: Org{}},
	{pattern: "GET /v1/orgs/{org}", endpoint: "org-info", gives: Org{}},
	{pattern: "PATCH /v1/orgs/{org}", endpoint: "org-set", fill: fillIfMatch, takes: SetRequest{}, gives: Org{}},
	{pattern: "DELETE /v1/orgs/{org}", endpoint: "org-rm", query: []string{"reason", "dry_run"}, fill: fillQuery, gives: OrgRemoval{}},
	{pattern: "GET /v1/orgs/{org}/tokens", endpoint: "token-ls", gives: Tokens{}},
	{pattern: "POST /v1/orgs/{org}/tokens", endpoint: "token-add", status: made, takes: AddTokenRequest{}, gives: NewToken{}},
	{pattern: "DELETE /v1/tokens/{name}", endpoint: "token-rm", query: []string{"reason"}, fill: fillQuery, gives: Token{}},

	{pattern: "GET /v1/queues", endpoint: "queue-ls", gives: Queues{}},
	{pattern: "GET /v1/queues/{name}", endpoint: "queue-info", gives: Queue{}},
	{pattern: "PATCH /v1/queues/{name}", endpoint: "queue-set", fill: fillIfMatch, takes: SetRequest{}, gives: Queue{}},
	{pattern: "GET /v1/types", endpoint: "type-ls", gives: Types{}},
	{pattern: "GET /v1/types/{name}", endpoint: "type-info", gives: Type{}},
	{pattern: "PUT /v1/types/{name}", endpoint: "type-add", takes: Type{}, gives: Type{}},
	{pattern: "PATCH /v1/types/{name}", endpoint: "type-set", fill: fillIfMatch, takes: SetRequest{}, gives: Type{}},
	{pattern: "POST /v1/types/{name}/enable", endpoint: "type-set", fill: fillState("enabled", true), takes: ReasonRequest{}, gives: Type{}},
	{pattern: "POST /v1/types/{name}/disable", endpoint: "type-set", fill: fillState("enabled", false), takes: ReasonRequest{}, gives: Type{}},
	{pattern: "GET /v1/orgs/{org}/holds", endpoint: "hold-ls", gives: Holds{}},
	{pattern: "POST /v1/orgs/{org}/holds", endpoint: "hold-set", fill: fillHold, takes: HoldRequest{}, gives: HoldReply{}},
	{pattern: "GET /v1/holds", endpoint: "hold-ls", gives: Holds{}},
	{pattern: "POST /v1/holds", endpoint: "hold-set", fill: fillHold, takes: HoldRequest{}, gives: HoldReply{}},
	{pattern: "GET /v1/info", endpoint: "info", gives: CellInfo{}},
	{pattern: "GET /v1/workers", endpoint: "worker-ls", gives: Workers{}},
	{pattern: "GET /v1/workers/{name}", endpoint: "worker-info", gives: Worker{}},
	{pattern: "POST /v1/workers/{name}/drain", endpoint: "worker-drain", takes: DrainWorkerRequest{}, gives: DrainWorkerReply{}},
}

// created is 201, or 200 for a submit that found its job.
func created(body []byte) int {
	var reply SubmitReply
	if json.Unmarshal(body, &reply) == nil && reply.Duplicate {
		return http.StatusOK
	}
	return http.StatusCreated
}

func made([]byte) int { return http.StatusCreated }

// goesOn is 202 for what goes on by itself.
func goesOn(body []byte) int {
	var reply BulkReply
	if json.Unmarshal(body, &reply) == nil && reply.Detached {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// submitBody is a submit over HTTP: the job's args, and what the headers of INTERFACE 4 say.
type submitBody struct {
	Type          schemas.TypeName  `json:"type"`
	Args          json.RawMessage   `json:"args"`
	Queue         string            `json:"queue"`
	Priority      string            `json:"priority"`
	NotBefore     string            `json:"not_before"` // RFC 3339, or a duration from now
	Deadline      string            `json:"deadline"`
	Parents       []string          `json:"parents"` // ids; "id;cancel" sets one's policy
	ParentsPolicy string            `json:"parents_policy"`
	ID            string            `json:"id"`
	Key           string            `json:"key"`
	Dedup         string            `json:"dedup"` // off: none
	OnDuplicate   string            `json:"on_duplicate"`
	Tags          map[string]string `json:"tags"`
	Resource      string            `json:"resource"`
	Principal     string            `json:"principal"`
	MaxAttempts   *int              `json:"max_attempts"`
	RunTimeoutS   *float64          `json:"run_timeout_s"`
	Batch         string            `json:"batch"`
	Reason        string            `json:"reason"`
}

// fillSubmit turns the body into what the NATS service takes: args as they are, the rest as headers.
func fillSubmit(in *httpRequest) error {
	b := in.taken.(*submitBody)
	if b.Type == "" {
		return badField("type", errors.New("a type is required"))
	}
	in.name = string(b.Type)
	h, err := b.headers()
	if err != nil {
		return err
	}
	in.headers = h
	in.body = b.Args
	return in.identify(b.Key)
}

// headers are what the NATS service takes beside args, but for the key.
func (b *submitBody) headers() (nats.Header, error) {
	h := nats.Header{}
	add := func(header, value string) {
		if value != "" {
			h[header] = append(h[header], value)
		}
	}
	add(HeaderQueue, b.Queue)
	add(HeaderPriority, b.Priority)
	add(HeaderNotBefore, b.NotBefore)
	add(HeaderDeadline, b.Deadline)
	add(HeaderAfterPolicy, b.ParentsPolicy)
	add(HeaderJobID, b.ID)
	add(HeaderDedup, b.Dedup)
	add(HeaderOnDuplicate, b.OnDuplicate)
	add(HeaderResource, b.Resource)
	add(HeaderPrincipal, b.Principal)
	add(HeaderBatch, b.Batch)
	add(HeaderReason, b.Reason)
	for _, p := range b.Parents {
		add(HeaderAfter, p)
	}
	for k, v := range b.Tags {
		if strings.Contains(k, "=") {
			return nil, badField("tags", fmt.Errorf("the name %q has an equals sign", k))
		}
		add(HeaderTag, k+"="+v)
	}
	if b.MaxAttempts != nil {
		add(HeaderMaxAttempts, strconv.Itoa(*b.MaxAttempts))
	}
	if b.RunTimeoutS != nil {
		add(HeaderRunTimeout, time.Duration(*b.RunTimeoutS*float64(time.Second)).String())
	}
	return h, nil
}

// fillKey is for what stores a job and has its options in headers.
func fillKey(in *httpRequest) error { return in.identify("") }

// identify takes over the caller's idempotency key, trace and identity of the request. A request id that is a UUID names
// the event, so that a repetition finds its own job.
func (in *httpRequest) identify(key string) error {
	given := in.Header.Get("Idempotency-Key")
	if given != "" && key != "" && given != key {
		return badField("key", errors.New("the body and the header Idempotency-Key name different keys"))
	}
	if key == "" {
		key = given
	}
	if key != "" {
		in.headers[HeaderKey] = []string{key}
	}
	for _, name := range []string{schemas.HeaderTraceparent, schemas.HeaderTracestate} {
		if v := in.Header.Get(name); v != "" {
			in.headers[name] = []string{v}
		}
	}
	if _, err := uuid.Parse(in.Header.Get("X-Request-Id")); err == nil {
		in.headers[HeaderRequestID] = []string{in.Header.Get("X-Request-Id")}
	}
	return nil
}

// fillIfMatch turns If-Match into if_seq: the change is made only while the thing is as the caller saw it.
func fillIfMatch(in *httpRequest) error {
	match := in.Header.Get("If-Match")
	if match == "" {
		return nil
	}
	seq, err := schemas.ParseSeq(strings.Trim(match, `"`))
	if err != nil {
		return badField("If-Match", err)
	}
	return in.addField("if_seq", seq)
}

// addField adds a field to the body, which stays as it is otherwise, byte for byte.
func (in *httpRequest) addField(name string, value any) error {
	v, err := json.Marshal(value)
	if err != nil {
		return err
	}
	body := bytes.TrimSpace(in.body)
	if len(body) == 0 {
		body = []byte("{}")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return ledger.Errorf(ledger.CodeInvalidArgument, "the body cannot be read: it is not a JSON object")
	}
	if _, twice := fields[name]; twice {
		return badField(name, errors.New("it stands in the body, too"))
	}
	comma := ","
	if len(fields) == 0 {
		comma = ""
	}
	in.body = slices.Concat([]byte(`{"`+name+`":`), v, []byte(comma), body[1:])
	return nil
}

// fillQuery puts the values of the query into the body: texts, but for what is a count or a switch.
func fillQuery(in *httpRequest) error {
	values := in.URL.Query()
	for _, name := range in.asked {
		if !values.Has(name) {
			continue
		}
		v := values.Get(name)
		var field any = v
		var err error
		switch name {
		case "count", "limit":
			field, err = strconv.Atoi(v)
		case "min_seq":
			field, err = schemas.ParseSeq(v)
		case "dry_run", "unread", "all":
			field, err = strconv.ParseBool(v)
		}
		if err != nil {
			return badField(name, fmt.Errorf("%q is none", v))
		}
		if err := in.addField(name, field); err != nil {
			return err
		}
	}
	return nil
}

// known refuses a query that says more than is read: a slip must not choose every job.
func known(values url.Values, names []string) error {
	use := ""
	if len(names) > 0 {
		use = ": use " + strings.Join(names, ", ")
	}
	for name := range values {
		if !slices.Contains(names, name) {
			return badField(name, fmt.Errorf("the query has no such parameter%s", use))
		}
	}
	return nil
}

// fillHold makes sure of the scope: that of an org's route is in the org, and what pauses everything says so, as "scope":{}.
func fillHold(in *httpRequest) error {
	var given struct{ Scope *schemas.HoldScope }
	if err := in.decode(&given); err != nil {
		return err
	}
	req := in.taken.(*HoldRequest)
	switch {
	case given.Scope == nil:
		return badField("scope", errors.New("a scope is required"))
	case in.PathValue("org") == "":
		return nil
	case req.Scope.Org == "":
		req.Scope.Org = in.org
	case req.Scope.Org != in.org:
		return badField("scope", fmt.Errorf("the path names org %s, the scope %s: what belongs to the cell is paused by /v1/holds", in.org, req.Scope.Org))
	}
	var err error
	in.body, err = json.Marshal(req)
	return err
}

// fillGet turns wait=30s into a long poll, and at into a moment of the past.
func fillGet(in *httpRequest) (err error) {
	values := in.URL.Query()
	switch {
	case values.Has("at") && values.Has("wait"):
		return badField("at", errors.New("what is past does not change: leave wait out"))
	case values.Has("at"):
		in.body, err = json.Marshal(GetRequest{At: values.Get("at")})
		return err
	case !values.Has("wait"):
		return nil
	}
	d, err := time.ParseDuration(values.Get("wait"))
	if err != nil || d <= 0 {
		return badField("wait", fmt.Errorf("%q is no time to wait: use such as 30s, at most %s", values.Get("wait"), WaitMax))
	}
	in.body, err = json.Marshal(WaitRequest{TimeoutMS: schemas.MillisOf(min(d, WaitMax))})
	return err
}

// filterNames are the filters of a query, beside q for the grammar of docs/SEARCH.md.
var filterNames = []string{"q", "state", "reason", "type", "queue", "priority", "owner", "batch", "tag", "error", "group", "resolution", "since", "until"}

// listNames are all parameters of a list.
var listNames = slices.Concat(filterNames, []string{"sort", "limit", "cursor", "min_seq"})

// filter reads the filters of a query. A value may be several, separated by commas, or the parameter repeated.
func filter(values url.Values) (f Filter, err error) {
	f = Filter{Where: values.Get("q"), State: several[schemas.State](values, "state"), Reason: several[string](values, "reason"),
		Type: several[schemas.TypeName](values, "type"), Queue: several[schemas.QueueName](values, "queue"), Priority: several[schemas.Priority](values, "priority"),
		Owner: several[string](values, "owner"), Batch: several[string](values, "batch"), Error: values.Get("error"), Group: values.Get("group"),
		Resolution: values.Get("resolution")}
	for _, tag := range values["tag"] {
		k, v, ok := strings.Cut(tag, "=")
		if !ok {
			return f, badField("tag", fmt.Errorf("%q is not name=value", tag))
		}
		if f.Tags == nil {
			f.Tags = map[string]string{}
		}
		f.Tags[k] = v
	}
	for name, to := range map[string]**time.Time{"since": &f.Since, "until": &f.Until} {
		if v := values.Get(name); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return f, badField(name, err)
			}
			*to = &t
		}
	}
	return f, nil
}

func several[T ~string](values url.Values, name string) (all []T) {
	for _, v := range values[name] {
		for one := range strings.SplitSeq(v, ",") {
			if one != "" {
				all = append(all, T(one))
			}
		}
	}
	return all
}

// fillList turns the query into a ListRequest.
func fillList(in *httpRequest) error {
	values := in.URL.Query()
	f, err := filter(values)
	if err != nil {
		return err
	}
	req := ListRequest{Filter: f.sent(), Sort: values.Get("sort"), Limit: LimitDefault, Cursor: values.Get("cursor")}
	if v := values.Get("limit"); v != "" {
		if req.Limit, err = strconv.Atoi(v); err != nil {
			return badField("limit", err)
		}
	}
	if req.MinSeq, err = minSeq(values); err != nil {
		return err
	}
	in.body, err = json.Marshal(req)
	return err
}

func minSeq(values url.Values) (schemas.Seq, error) {
	v := values.Get("min_seq")
	if v == "" {
		return 0, nil
	}
	seq, err := schemas.ParseSeq(v)
	if err != nil {
		return 0, badField("min_seq", err)
	}
	return seq, nil
}

// fillCount turns the query into a CountRequest.
func fillCount(in *httpRequest) error {
	values := in.URL.Query()
	req := CountRequest{By: values.Get("by"), Where: values.Get("q"), State: several[schemas.State](values, "state"),
		Type: several[schemas.TypeName](values, "type"), Queue: several[schemas.QueueName](values, "queue")}
	var err error
	if req.MinSeq, err = minSeq(values); err != nil {
		return err
	}
	in.body, err = json.Marshal(req)
	return err
}

// fillStats turns the query into a StatsRequest.
func fillStats(in *httpRequest) (err error) {
	values := in.URL.Query()
	in.body, err = json.Marshal(StatsRequest{Type: several[schemas.TypeName](values, "type"), Queue: several[schemas.QueueName](values, "queue")})
	return err
}

// fillErrors turns the query into an ErrorsRequest.
func fillErrors(in *httpRequest) error {
	values := in.URL.Query()
	f, err := filter(values)
	if err != nil {
		return err
	}
	req := ErrorsRequest{By: values.Get("by"), Filter: f.sent()}
	if req.MinSeq, err = minSeq(values); err != nil {
		return err
	}
	in.body, err = json.Marshal(req)
	return err
}
