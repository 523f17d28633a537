package demo

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// The types of the demo's jobs.
const (
	TypeThumbnail   schemas.TypeName = "thumbnail"
	TypeSummarise   schemas.TypeName = "summarise-csv"
	TypeCount       schemas.TypeName = "count-text"
	TypeWebhook     schemas.TypeName = "deliver-webhook"
	TypeSample      schemas.TypeName = "sample"
	TypeEcho        schemas.TypeName = "echo"
	TypeLongRunning schemas.TypeName = "long-running"
)

// The demo's orgs: a photo shop, a research institute and a billing house.
const (
	OrgAcme    schemas.OrgID = "acme"
	OrgGlobex  schemas.OrgID = "globex"
	OrgInitech schemas.OrgID = "initech"
)

// Orgs lists the demo's orgs.
func Orgs() []schemas.OrgID { return []schemas.OrgID{OrgAcme, OrgGlobex, OrgInitech} }

// Expect says how a job of the batch must end.
type Expect struct {
	State  schemas.State
	Reason schemas.DeadReason // with dead_lettered
}

// Met reports whether a job that stands at state, for reason, has ended as expected.
func (e Expect) Met(state schemas.State, reason schemas.DeadReason) bool {
	return e.State == state && (state != schemas.StateDeadLettered || e.Reason == reason)
}

// String is "completed", or "dead_lettered (permanent_error)".
func (e Expect) String() string {
	if e.Reason == "" {
		return string(e.State)
	}
	return fmt.Sprintf("%s (%s)", e.State, e.Reason)
}

// Item is one job of the batch. It is submitted without dedup, so that the batch may be submitted again at once.
type Item struct {
	Org         schemas.OrgID
	Type        schemas.TypeName
	Title       string // what the job shows, for the table of results
	Args        json.RawMessage
	Priority    schemas.Priority // empty: the type's
	MaxAttempts int              // 0: the type's
	RunTimeout  time.Duration    // of an attempt; 0: the type's
	Delay       time.Duration    // before the first attempt
	Cancel      CancelWhen
	Expect      Expect
}

// CancelWhen says when whoever submitted a job calls it off.
type CancelWhen string

// When a job of the batch is called off; most are not.
const (
	CancelNever   CancelWhen = ""
	CancelWaiting CancelWhen = "waiting" // at once: it waits and never runs
	CancelRunning CancelWhen = "running" // once it runs
)

// CancelReason is what is told with a cancel.
const CancelReason = "called off, as asked"

// The ends that the batch's jobs are expected to come to.
var (
	completes = Expect{State: schemas.StateCompleted}
	permanent = Expect{State: schemas.StateDeadLettered, Reason: schemas.DeadPermanentError}
	exhausted = Expect{State: schemas.StateDeadLettered, Reason: schemas.DeadRetriesExhausted}
	canceled  = Expect{State: schemas.StateCanceled}
)

// Batch returns the demo's jobs in the order they are submitted: the orgs take turns, as they would in life. Some
// fail, time out or are called off on purpose.
func Batch() []Item {
	queues := [][]Item{acme(), globex(), initech()}
	var out []Item
	for i := 0; ; i++ {
		before := len(out)
		for _, q := range queues {
			if i < len(q) {
				out = append(out, q[i])
			}
		}
		if len(out) == before {
			return out
		}
	}
}

func acme() []Item {
	const org = OrgAcme
	return []Item{
		item(org, TypeThumbnail, "the cat", ThumbnailArgs{Path: "photos/cat.png"}, completes),
		item(org, TypeThumbnail, "a rocket's launch", ThumbnailArgs{Path: "photos/rocket.jpg"}, completes),
		item(org, TypeThumbnail, "a damaged photograph", ThumbnailArgs{Path: "broken/rocket-truncated.jpg"}, permanent),
		item(org, TypeThumbnail, "a retina", ThumbnailArgs{Path: "photos/retina.jpg"}, completes),
		item(org, TypeThumbnail, "a cameraman in grey", ThumbnailArgs{Path: "photos/cameraman.png"}, completes),
		item(org, TypeWebhook, "order paid", WebhookArgs{Path: "/orders", Event: "order.paid", Data: raw(`{"order":1001,"total":"49.90"}`)}, completes),
		item(org, TypeThumbnail, "a small frame keeps its size", ThumbnailArgs{Path: "photos/frame-progressive.jpeg"}, completes),
		item(org, TypeThumbnail, "a photograph that is not there", ThumbnailArgs{Path: "photos/unicorn.png"}, permanent),
		item(org, TypeWebhook, "order shipped, receiver fails once", WebhookArgs{Path: PathFlaky + "orders", Event: "order.shipped", Data: raw(`{"order":1001}`)}, completes),
		item(org, TypeThumbnail, "the cat, larger", ThumbnailArgs{Path: "photos/cat.png", Max: 320}, completes),
		item(org, TypeEcho, "hello", raw(`{"name":"Ada"}`), completes),
		item(org, TypeSample, "half a second of work", SampleArgs{Seconds: seconds(0.5)}, completes).with(schemas.PriorityHigh, 0),
		item(org, TypeThumbnail, "the retina, larger", ThumbnailArgs{Path: "photos/retina.jpg", Max: 512}, completes),
		item(org, TypeLongRunning, "ten minutes, called off while they run", LongRunningArgs{}, canceled).calledOff(CancelRunning, 0),
	}
}

func globex() []Item {
	const org = OrgGlobex
	return []Item{
		item(org, TypeSummarise, "penguins", SummariseArgs{Path: "tables/penguins.csv"}, completes),
		item(org, TypeSample, "fails once, then succeeds", SampleArgs{Seconds: seconds(0.3), FailFirst: 1}, completes),
		item(org, TypeCount, "Newton's Opticks", CountArgs{Path: "texts/newton-opticks.txt"}, completes),
		item(org, TypeSummarise, "a ragged table", SummariseArgs{Path: "broken/penguins-ragged.csv"}, permanent),
		item(org, TypeSummarise, "penguins as recorded", SummariseArgs{Path: "tables/penguins_raw.csv"}, completes),
		item(org, TypeLongRunning, "thirty ticks", LongRunningArgs{Ticks: 30, TickSeconds: seconds(0.1)}, completes),
		item(org, TypeCount, "country codes", CountArgs{Path: "texts/iso3166.tab"}, completes),
		item(org, TypeSample, "fails for good", SampleArgs{Seconds: seconds(0.2), PermanentPercent: percentMax}, permanent),
		item(org, TypeCount, "time zones", CountArgs{Path: "texts/zone1970.tab", Top: 5}, completes),
		item(org, TypeSummarise, "Seattle's weather", SummariseArgs{Path: "tables/seattle-weather.csv"}, completes),
		item(org, TypeWebhook, "study published, receiver busy once", WebhookArgs{Path: PathBusy + "studies", Event: "study.published", Data: raw(`{"study":"PAL0708"}`)}, completes),
		item(org, TypeCount, "leap seconds", CountArgs{Path: "texts/leap-seconds.list"}, completes),
		item(org, TypeEcho, "numbers above 2^53 survive", raw(`{"n":9007199254740993}`), completes),
		item(org, TypeSample, "too slow once, then in time", SampleArgs{Seconds: seconds(0.2), HangFirst: 1}, completes).timedOut(2),
	}
}

func initech() []Item {
	const org = OrgInitech
	return []Item{
		item(org, TypeWebhook, "invoice created", WebhookArgs{Path: "/invoices", Event: "invoice.created", Data: raw(`{"invoice":"2026-0001"}`)}, completes),
		item(org, TypeCount, "a path that leaves the folder", CountArgs{Path: "../../etc/passwd"}, permanent),
		item(org, TypeSample, "never succeeds", SampleArgs{Seconds: seconds(0.2), TransientPercent: percentMax}, exhausted).with("", 2),
		item(org, TypeWebhook, "invoice sent, receiver fails once", WebhookArgs{Path: PathFlaky + "invoices", Event: "invoice.sent", Data: raw(`{"invoice":"2026-0001"}`)}, completes),
		item(org, TypeEcho, "an urgent echo", raw(`{"urgent":true}`), completes).with(schemas.PriorityCritical, 0),
		item(org, TypeWebhook, "reminder, receiver is gone", WebhookArgs{Path: PathGone + "reminders", Event: "invoice.reminder"}, permanent),
		item(org, TypeSummarise, "weather for the forecast", SummariseArgs{Path: "tables/seattle-weather.csv"}, completes),
		item(org, TypeThumbnail, "portrait for the badge", ThumbnailArgs{Path: "photos/cameraman.png", Max: 64}, completes),
		item(org, TypeCount, "an empty text", CountArgs{Path: "broken/empty.txt"}, completes),
		item(org, TypeSample, "two seconds of work, low priority", SampleArgs{Seconds: seconds(2)}, completes).with(schemas.PriorityLow, 0),
		item(org, TypeWebhook, "invoice paid", WebhookArgs{Path: "/invoices", Event: "invoice.paid", Data: raw(`{"invoice":"2026-0001"}`)}, completes),
		item(org, TypeLongRunning, "twenty ticks", LongRunningArgs{Ticks: 20, TickSeconds: seconds(0.1)}, completes),
		item(org, TypeEcho, "good bye", raw(`{"text":"Grüße, 再见"}`), completes),
		item(org, TypeSample, "never in time", SampleArgs{HangFirst: 1}, exhausted).timedOut(1),
		item(org, TypeEcho, "due tomorrow, called off today", raw(`{"text":"not any more"}`), canceled).calledOff(CancelWaiting, 24*time.Hour),
	}
}

func item(org schemas.OrgID, name schemas.TypeName, title string, args any, expect Expect) Item {
	body, ok := args.(json.RawMessage)
	if !ok {
		var err error
		if body, err = json.Marshal(args); err != nil {
			panic(fmt.Sprintf("demo batch, %q: %v", title, err)) // a literal of this file: a programmer's error
		}
	}
	return Item{Org: org, Type: name, Title: title, Args: body, Expect: expect}
}

func (i Item) with(p schemas.Priority, maxAttempts int) Item {
	i.Priority, i.MaxAttempts = p, maxAttempts
	return i
}

// demoTimeout is the shortest that a type may have.
const demoTimeout = time.Second

func (i Item) timedOut(maxAttempts int) Item {
	i.RunTimeout, i.MaxAttempts = demoTimeout, maxAttempts
	return i
}

func (i Item) calledOff(when CancelWhen, delay time.Duration) Item {
	i.Cancel, i.Delay = when, delay
	return i
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func seconds(s float64) *float64 { return &s }
