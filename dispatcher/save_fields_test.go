package dispatcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// savedFields says of every field that a core reaches what becomes of it in a saved fold: saved; or made again from
// what is saved, or forgotten, with the reason. A field that is not here fails the test: whoever adds one decides.
const savedFields = `
Core: times=its_user's position first dedup family schedules dissolution settings gates positionID cellStart cell ahead stray now timers
Core: pairs queues waiting tombs moved slots freeSlots=from_slots deadlines deadlineTimes=from_timers odd=from_holds active fences=from_active
Core: broken=from_gates root=of_gates retired=gates_that_nobody_names wakes=from_gates retireAt=a_look_at_once sweepAt=a_look_at_once
Core: epoch=of_an_epoch leading=of_an_epoch unsettled=of_an_epoch leadAt=of_an_epoch unsent=of_an_epoch flights=put_back flown=of_the_process notes=of_an_epoch
Core: sessions=from_active,_the_rest_is_of_beats pools=of_beats clock=of_the_process sessionsAt=of_the_process stats=of_the_process
Times: Lease=its_user's Reoffer=its_user's CancelMargin=its_user's Sweep=its_user's
pairKey: queue typ
pair: jobs=from_lanes queue typ gates=by_scope nodes=from_lanes ready=from_lanes pools=of_beats queued=from_active active=from_active
depth: lanes=from_lanes timers=from_timers dead=not_known_of_saved_tombs aged=from_lanes room=from_lanes
agedSeat: at=from_lanes lane=from_lanes
queue: name depths=from_lanes pairs=from_pairs turns now order idle weights=a_setting
turn: org key nodes=from_lanes idle jobs=from_lanes batons=made_when_somebody_looks picks last
turnKey: served order
node: pair=from_lanes turn=by_org org gates=by_scope at=made_when_somebody_looks lanes strands=from_lanes ready=from_lanes shown=from_lanes jobs=from_lanes timers=from_timers listed=from_lanes
seat: key=the_turn's node
lane: aged=from_lanes agedAt=from_lanes laneKey node strand=by_resource jobs timers=from_timers slot=from_slots listed=it_has_entries key=its_head's at=made_when_somebody_looks
laneKey: level resource batch
fifo: chunks read=what_was_taken_is_not_saved front n
strand: node resource gates=by_scope lanes at=made_when_somebody_looks key=the_turn's baton=made_when_somebody_looks
line: gate=made_when_somebody_looks pair=the_same strands=the_same holder=the_same
entry: id at
tomb: at n in=not_known_of_saved_ones
timer: due id after slot
heap[github.com/dartwing/jobledger/dispatcher.timer]: less=code items
heap[github.com/dartwing/jobledger/dispatcher.wakening]: less=code items
heap[github.com/dartwing/jobledger/dispatcher.seat]: less=code items=from_lanes
heap[*github.com/dartwing/jobledger/dispatcher.lane]: less=code items=from_lanes
heap[github.com/dartwing/jobledger/dispatcher.agedSeat]: less=code items=from_lanes
heap[*github.com/dartwing/jobledger/dispatcher.strand]: less=code items=made_when_somebody_looks
deadline: due at fired
wakening: due gate
gate: scope refs=from_who_names_it used=from_active live=from_active max=a_setting rate=a_setting full barredTo weight=a_setting owner=a_setting breaker wake
gate: nodes=made_when_somebody_looks strangers=made_when_somebody_looks lines=made_when_somebody_looks lanes=made_when_somebody_looks
scope: org queue typ resource batch
breaker: rule=a_setting spans open until probes
tally: span ended bad
settings: orgs queues types resources holds
typeRules: running runningPerOrg start breaker
dedupTables: byKey byJob=from_byKey old doomed due=made_when_it_leads
blocker: id event at windowMS inFlight state
dedupAge: until key id
parentTables: children parents ask=made_when_it_leads failing=made_when_it_leads lookups=of_an_epoch ending=of_an_epoch
parent: key edges gone=edges_of_those_who_left_are_not_saved at known asked=of_an_epoch queued=of_an_epoch
parentKey: org job generation
edge: child on
child: entry org head notBefore refs open=from_edges left failed
failure: parent of cascade
scheduleTable: missed=of_the_process byKey byJob=from_lastID early due=from_byKey fired=of_the_process
earlyTicks: byKey byJob=from_byKey
earlyTick: at job id open endAt
scheduleKey: org name
schedule: key born set was plan=from_was over last lastJob lastID open retryAt=of_an_epoch refusals=of_an_epoch wake=told_by_the_rest place=in_the_heap
dissolution: gone orgs byOrg=from_orgs active=found_by_the_sweep flying=of_an_epoch next=of_an_epoch scanning scan walked=of_the_process
dissolving: org lanes=looked_for_again
agedLane: at=looked_for_again lane=looked_for_again
active: id org job pair stake at running mute timeout grace pool=of_beats work=an_offer's offers=of_an_epoch offerAt queuedAt shelved
active: fence session named=of_beats heard=of_beats hardAt cancelAt
stake: gates=by_scope live=it_runs probe
flight: n=put_back kind=put_back held=put_back met=put_back lane=put_back job=put_back pool=put_back stake=put_back done=put_back orphan=put_back
Decision: Kind=of_an_epoch N=of_an_epoch ID=of_an_epoch At=of_an_epoch Org=of_an_epoch Job=of_an_epoch Fence=of_an_epoch Cause=of_an_epoch Of=of_an_epoch
Decision: Parent=of_an_epoch Cascade=of_an_epoch Session=of_an_epoch Work=of_an_epoch Alone=of_an_epoch By=of_an_epoch Schedule=of_an_epoch Tick=of_an_epoch
session: id heard=of_beats alive=of_beats since=of_beats pool=of_beats slots=of_beats running=from_active hung=of_beats settled=of_beats stays=of_beats
stay: stake=of_beats sure=of_beats
pool: key=of_beats queues=of_beats next=of_beats sessions=of_beats slots=of_beats busy=of_beats charged=of_beats ends=of_beats
window: span=of_beats cur=of_beats last=of_beats
leaseClock: now=of_the_process seen=of_the_process paused=of_the_process
Stats: Waiting=counted Timers=counted Parked=counted Duplicates=counted Queued=counted Running=counted InFlight=counted Tombs=counted Schedules=counted
Stats: Sessions=counted Slots=counted Busy=counted Decided=of_the_process Refused=of_the_process Failed=of_the_process Swept=of_the_process Ticks=of_the_process
`

// TestNoFieldOfTheFoldIsForgotten: of every field of a core, and of all that it reaches in this package, it is known
// whether a saved fold holds it.
func TestNoFieldOfTheFoldIsForgotten(t *testing.T) {
	known := make(map[string]map[string]bool)
	for line := range strings.Lines(strings.TrimSpace(savedFields)) {
		of, fields, _ := strings.Cut(line, ":")
		if known[of] == nil {
			known[of] = make(map[string]bool)
		}
		for _, f := range strings.Fields(fields) {
			f, _, _ = strings.Cut(f, "=")
			known[of][f] = true
		}
	}
	fields := make(map[string][]string)
	reach(reflect.TypeFor[Core](), fields)
	for of, names := range fields {
		for _, f := range names {
			if !known[of][f] {
				t.Errorf("%s.%s: say in savedFields whether a saved fold holds it; if it does, save it (save_image.go, save.go, save_load.go) and raise SavedForm", of, f)
			}
			delete(known[of], f)
		}
	}
	for of, left := range known {
		for _, f := range slices.Sorted(maps.Keys(left)) {
			t.Errorf("%s.%s is in savedFields and in no core", of, f)
		}
	}
}

// reach lists the fields of a type of this package, and of those that it reaches.
func reach(t reflect.Type, fields map[string][]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		reach(t.Elem(), fields)
	case reflect.Map:
		reach(t.Key(), fields)
		reach(t.Elem(), fields)
	case reflect.Struct:
		if t.PkgPath() != reflect.TypeFor[Core]().PkgPath() || fields[t.Name()] != nil || t == reflect.TypeFor[time.Time]() {
			return
		}
		fields[t.Name()] = []string{}
		for i := range t.NumField() {
			fields[t.Name()] = append(fields[t.Name()], t.Field(i).Name)
			reach(t.Field(i).Type, fields)
		}
	}
}

// TestSavedFormIsKnown holds the form of saved folds against what is kept of it: whoever changes it raises SavedForm.
func TestSavedFormIsKnown(t *testing.T) {
	golden(t, fmt.Sprintf("../testdata/dispatcher/saved/form-%d.fold", SavedForm))
}

// golden folds events that are kept, and compares the saved fold with the kept one. With -update it writes one for a
// form that has none.
func golden(t *testing.T, file string) {
	t.Helper()
	c := NewCore(DefaultTimes())
	for _, e := range keptEvents(t) {
		c.Apply(e)
		c.Decide(e.Time, 0, 0)
	}
	saved := bytesOf(c)
	got := saved[len(savedMagic)+2+len(schemas.Fingerprint()) : len(saved)-4] // the tables alone: events may gain fields
	want, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && *update:
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatalf("%v: -update writes one for a form that has none", err)
	case !bytes.Equal(got, want):
		t.Fatalf("the fold of the same events is saved in other bytes than form %d was: raise SavedForm, and write its file with -update", SavedForm)
	}
	loaded, err := LoadCore(bytes.NewReader(saved), DefaultTimes())
	if err != nil || !bytes.Equal(bytesOf(loaded), saved) {
		t.Errorf("what is kept of form %d is loaded as another fold (%v)", SavedForm, err)
	}
}

// keptEvent is an event of testdata/dispatcher/saved/events.jsonl.
type keptEvent struct {
	Seq     schemas.Seq `json:"seq"`
	Time    time.Time   `json:"time"`
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header"`
	Body    string      `json:"body"`
}

const keptEventsFile = "../testdata/dispatcher/saved/events.jsonl"

func keptEvents(t *testing.T) (out []*schemas.Event) {
	t.Helper()
	raw, err := os.ReadFile(keptEventsFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var k keptEvent
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatal(err)
		}
		e, err := schemas.Decode(k.Subject, k.Header, []byte(k.Body), k.Seq, k.Time)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}
