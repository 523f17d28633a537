// Activity: who did what, as it happens: people and keys first, all of the ledger if asked; and batches under way.
import { useEffect, useMemo, useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { ended, stopBulk, verbs } from "../lib/bulk.jsx";
import { readLog } from "../lib/lines.js";
import { listen } from "../lib/live.js";
import { loc, setQuery } from "../lib/router.js";
import { at, may, mayAll, org } from "../lib/store.js";
import { count, span } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { Badge, Bar, Button, Card, Empty, Link, Page, Shown, State, Time } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";
import { Table, rowsMax } from "../ui/table.jsx";

// backSeqs is how far back the page looks at first; keptMax is how many events it holds.
const backSeqs = 5000;
const keptMax = 2000;
const batchType = "_batch";
const bulkType = "_bulk";
const bulksMax = 5; // that are shown, the newest
// idMax is how long an id may be that is shown whole: those of people are short, those of the ledger are told apart by their beginning.
const idMax = 28;

const person = (actor) => !!actor && !/^(system|worker):/.test(actor);
const human = (s) => s.replaceAll("_", " ");

export function Activity() {
  const o = org.value;
  const query = loc.value.query;
  const who = query.get("who") ?? "people";
  const actor = query.get("actor") ?? "";
  const cell = query.get("in") === "cell" && mayAll("log.read");
  const reads = may("log.read");
  const past = useQuery(async (signal) => {
    if (!reads) return { events: [], from: 0 };
    const end = (await get(`orgs/${o}/counts`, { signal })).as_of_seq;
    const from = Math.max(1, end - backSeqs);
    return { events: (await readLog({ org: cell ? "" : o, from }, signal)).slice(-keptMax), from };
  }, [o, cell], { key: o + cell, when: () => false }); // read anew where the feed has a gap
  const fresh = useFresh(o);
  const events = useMemo(() => merge(past.data?.events ?? [], fresh), [past.data, fresh]);
  const actors = useMemo(() => [...new Set(events.map((e) => e.actor).filter(person))].sort(), [events]);
  const shown = useMemo(() => grouped(events.filter((e) => (actor ? e.actor === actor : who === "all" || person(e.actor)))), [events, who, actor]);
  return (
    <Page title="Activity" sub={cell ? "Of the whole cell" : `Of ${o}`}>
      <Bulks o={o} />
      <Batches o={o} />
      <Card flush title="Who did what" actions={<>
        <div class="tabs" role="group" aria-label="Whose">
          {[["people", "People and keys"], ["all", "Everything"]].map(([k, l]) => <button type="button" key={k} aria-pressed={!actor && who === k} onClick={() => setQuery({ who: k === "people" ? "" : k, actor: "" })}>{l}</button>)}
        </div>
        {actors.length > 0 && <select aria-label="Actor" value={actor} onChange={(e) => setQuery({ actor: e.target.value })} class="short"><option value="">Any actor</option>{actors.map((a) => <option key={a} value={a}>{a}</option>)}</select>}
        {mayAll("log.read") && <select aria-label="Where" value={cell ? "cell" : ""} onChange={(e) => setQuery({ in: e.target.value })} class="short"><option value="">{o}</option><option value="cell">the whole cell</option></select>}
      </>}>
        <Shown q={past} rows={8} what="The ledger">{(p) => <>
          {!reads && <p class="note">You see what happens from now on: what was before is for auditors and admins (log.read).</p>}
          {shown.length
            ? <Table label="Activity" rows={shown} id={(e) => e.seq} columns={columns} />
            : <Empty title={actor ? `Nothing by ${actor}` : who === "people" ? "Nobody did anything lately" : "Nothing happened lately"} command={`jobledger --org ${o} log replay --from 1d`}>What is done appears here by itself. All of the past:</Empty>}
          {shown.length > 0 && p.from > 1 && <p class="note faint">Back to event {count(p.from)}; what was before: jobledger log replay.</p>}
        </>}</Shown>
      </Card>
      <Checked />
    </Page>
  );
}

// useFresh holds what the feed told since the page is open, the newest last.
function useFresh(o) {
  const [fresh, set] = useState([]);
  useEffect(() => {
    set([]);
    return listen((b) => {
      const add = b.events.filter((e) => e.seq);
      if (add.length) set((was) => [...was, ...add].slice(-keptMax));
    });
  }, [o]);
  return fresh;
}

function merge(past, fresh) {
  const last = past.at(-1)?.seq ?? 0;
  return [...past, ...fresh.filter((e) => e.seq > last)].slice(-keptMax).reverse();
}

// grouped makes one row of what one actor did with one reason to many jobs, one after the other: a bulk.
function grouped(events) {
  const rows = [];
  for (const e of events) {
    const before = rows.at(-1);
    if (before && person(e.actor) && before.actor === e.actor && before.event === e.event && before.reason === e.reason && before.org === e.org && !!e.id && !!before.id) {
      before.n++;
      continue;
    }
    if (rows.length === rowsMax) break;
    rows.push({ ...e, n: 1 });
  }
  return rows;
}

const columns = [
  { key: "time", title: "When", cell: (e) => <Time at={e.time} /> },
  { key: "actor", title: "Who", phone: "main", cell: (e) => (e.actor ? <button type="button" class="link" onClick={() => setQuery({ actor: e.actor })}>{e.actor}</button> : <span class="faint">nobody named</span>) },
  { key: "event", title: "Did", cell: (e) => <Done e={e} /> },
  { key: "what", title: "To what", phone: "main", cell: (e) => <What e={e} /> },
  { key: "reason", title: "Why", phone: "main", cell: (e) => <span class="break">{e.reason ?? ""}</span> },
  { key: "seq", title: "Event", num: true, phone: "hide", cell: (e) => <span class="faint">{count(e.seq)}</span> },
];

const icons = { completed: "completed", canceled: "canceled", dead_lettered: "dead_lettered", running: "running", queued: "queued", submitted: "submitted", failed: "warn" };

function Done({ e }) {
  if (icons[e.event]) return <State state={e.event === "failed" ? "retrying" : e.event} />;
  return <span>{human(e.event)}</span>;
}

// What names the thing that an event is about: a job, or what a setting is of.
function What({ e }) {
  if (e.id && e.n > 1) return <><Badge kind="info">{count(e.n)} jobs</Badge> <span class="faint">the last: </span><Link class="in-text" to={at("jobs/" + part(e.id), e.org)}>{e.type ?? e.id}</Link></>;
  if (e.id) return <><Link class="in-text" to={at("jobs/" + part(e.id), e.org)}>{e.type ?? e.id}</Link> <span class="faint mono">{e.id.length > idMax ? e.id.slice(0, 8) : e.id}</span></>;
  const s = e.data?.settings ?? e.hold;
  const name = s?.title ?? s?.name ?? (s?.scope && Object.entries(s.scope).map(([k, v]) => `${k} ${v}`).join(", ")) ?? e.type;
  return name ? <span>{name}</span> : <span class="faint">{e.scope ?? "the cell"}</span>;
}

// Bulks are the latest operations on many jobs, those under way among them, whoever began them and from where.
function Bulks({ o }) {
  const q = useQuery((signal, min_seq) => get(`orgs/${o}/jobs`, { signal, query: { type: bulkType, limit: bulksMax, min_seq } }), [o], { key: o, when: (b) => [...b.jobs.values()].some((e) => e.type === bulkType), everyMS: 1000 });
  const items = q.data?.items ?? [];
  if (!items.length) return null;
  return <Card title="Bulk operations"><ul class="notes">{items.map((j) => <Bulk key={j.id} o={o} id={j.id} />)}</ul></Card>;
}

function Bulk({ o, id }) {
  const path = `orgs/${o}/bulk`;
  const q = useQuery((signal) => get(path + "/" + part(id), { signal }), [o, id], { key: o + id, when: (b) => b.jobs.has(id) || b.progress.has(id), everyMS: 500 });
  const s = q.data;
  if (!s) return null;
  const done = s.done + s.skipped + s.failed;
  return (
    <li>
      <Icon name="jobs" />
      <div>
        <Link to={at("jobs/" + part(id), o)}>{verbs[s.action]?.[0] ?? s.action} {count(s.jobs)} jobs</Link> <span class="faint">by {s.actor ?? "nobody named"}, <Time at={s.submitted_at} />{s.reason && ": " + s.reason}</span>
        {!ended(s) && <Bar percent={s.jobs ? Math.round((100 * done) / s.jobs) : 0} label="Bulk operation" />}
        <p class="faint num">{count(s.done)} {verbs[s.action]?.[1] ?? "done"}{s.skipped > 0 && `, ${count(s.skipped)} had moved on`}{s.failed > 0 && `, ${count(s.failed)} refused`}{s.left > 0 && `, ${count(s.left)} left`}</p>
      </div>
      <State state={s.state} flags={s.stopping ? ["cancel_requested"] : []} />
      {!ended(s) && !s.stopping && may("jobs.bulk") && <Button class="small" onClick={() => stopBulk(path, s).then((r) => r && q.reload())}>Stop</Button>}
    </li>
  );
}

function Batches({ o }) {
  const q = useQuery((signal, min_seq) => get(`orgs/${o}/jobs`, { signal, query: { type: batchType, state: "submitted,queued,running,retrying", limit: 10, min_seq } }), [o], { key: o, when: (b) => b.jobs.size > 0, everyMS: 2000 });
  const items = q.data?.items ?? [];
  if (!items.length) return null;
  return (
    <Card title="Batches under way">
      <ul class="notes">{items.map((j) => (
        <li key={j.id}>
          <Icon name="jobs" />
          <div><Link to={at("jobs/" + part(j.id))}>{j.id}</Link> <span class="faint">by {j.submitted_by}, <Time at={j.submitted_at} /></span>{j.progress && <><Bar percent={j.progress.percent ?? 0} label="Progress" /><p class="faint">{j.progress.message}</p></>}</div>
          <State state={j.state} flags={j.flags} />
        </li>
      ))}</ul>
    </Card>
  );
}

// Checked is what the latest check of the whole ledger found.
function Checked() {
  const q = useQuery((signal) => get("info", { signal }), [], { when: (b) => b.reset, pollMS: 60_000, skip: !may("metrics.read") });
  const v = q.data?.verified;
  if (!q.data) return null;
  if (!v) return <Card title="Last check of the ledger"><Empty title="No check was noted yet" command="jobledger log verify">It proves the ledger and every view of it, beside a running system:</Empty></Card>;
  const found = Object.entries(v.problems);
  return (
    <Card title="Last check of the ledger">
      <p class="checked">{v.ok ? <Badge kind="good" icon="check">nothing is wrong</Badge> : <Badge kind="bad" icon="warn">{count(found.reduce((n, [, of]) => n + of, 0))} problems</Badge>}
        <span>{count(v.events)} events of {count(v.jobs)} jobs, up to event {count(v.last_seq)}{v.full ? ", every byte" : ""}{v.limits ? ", with limits" : ""}</span>
        <span class="faint">by {v.actor || "nobody named"}, <Time at={v.at} />, in {span(v.duration_ms / 1000 || 0.0001)}</span></p>
      {found.length > 0 && <p class="faint">{found.map(([kind, n]) => `${human(kind)} ${count(n)}`).join(" · ")}: jobledger log verify tells where.</p>}
    </Card>
  );
}
