// The overview: what is wrong first, then how much waits, runs and fails, then how it went.
import { useMemo, useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { at, may, org } from "../lib/store.js";
import { count, jobsN, coarse, percent, span, ago, now } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { go } from "../lib/router.js";
import { Badge, Card, Empty, Link, Page, Shown } from "../ui/kit.jsx";
import { Chart } from "../ui/chart.jsx";
import { Icon } from "../ui/icons.jsx";
import { Table } from "../ui/table.jsx";

const everyMS = 3000;
const pollMS = 15_000; // that the last worker has gone, or that a view lags, comes with no event
// What makes a figure a problem.
const failingRate = 0.2;
const failingFrom = 5; // attempts
const lagMS = 5000;

// waitingNow are the jobs that could run: not those that are to start later, nor those that wait for others.
const waitingNow = "state:submitted,queued -reason:scheduled,waiting_on_parent";

const jobs = (b) => b.jobs.size > 0;

export function Overview({ counts }) {
  const o = org.value;
  const stats = useQuery((signal) => get(`orgs/${o}/stats`, { signal }), [o], { key: o, when: jobs, everyMS });
  const queues = useQuery((signal) => get("queues", { signal, query: { org: o } }), [o], { key: o, when: (b) => jobs(b) || b.holds.length > 0, everyMS, pollMS, skip: !may("settings.read") });
  const holds = useQuery((signal) => get(`orgs/${o}/holds`, { signal }), [o], { key: o, when: (b) => b.holds.length > 0 });
  const info = useQuery((signal) => get("info", { signal }), [o], { key: o, when: jobs, everyMS: 10_000, pollMS, skip: !may("metrics.read") });
  const types = useQuery((signal) => get("types", { signal, query: { org: o } }), [o], { key: o, when: (b) => b.holds.length > 0, everyMS: 10_000 });
  const oldest = useQuery((signal) => get(`orgs/${o}/jobs`, { signal, query: { q: waitingNow, sort: "submitted:asc", limit: 1 } }), [o], { key: o, when: jobs, everyMS });
  const [range, setRange] = useState("minutes");
  const total = counts.data?.total;
  return (
    <Page title="Overview" sub={total == null ? `The ledger of ${o}` : <>{jobsN(total)} in the ledger of {o}</>}>
      <Problems stats={stats.data} queues={queues.data} holds={holds.data} info={info.data} types={types.data} counts={counts.data} />
      <Stats counts={counts.data} stats={stats.data} queues={queues.data} oldest={oldest.data} />
      {total === 0
        ? <Card><Empty title="No job yet" command={`jobledger --org ${o} job submit echo '{"name":"Ada"}'`}>Submit one on the <Link to={at("jobs") + "?new=1"}>Jobs page</Link>, or from a terminal:</Empty></Card>
        : <>
          <div class="tabs range" role="group" aria-label="Time range">
            {[["minutes", "Last hour"], ["hours", "Last days"], ["days", "Last months"]].map(([k, l]) => <button type="button" key={k} aria-pressed={range === k} onClick={() => setRange(k)}>{l}</button>)}
          </div>
          <Charts stats={stats} range={range} />
          <ByType stats={stats} />
        </>}
    </Page>
  );
}

// Stats is the row of figures.
function Stats({ counts, stats, queues, oldest }) {
  const by = Object.fromEntries((counts?.items ?? []).map((i) => [i.key, i.count]));
  const waiting = (by.submitted ?? 0) + (by.queued ?? 0) + (by.retrying ?? 0);
  const first = oldest?.items[0];
  const hour = stats?.items.reduce((s, t) => ({ failed: s.failed + t.failures["1h"].failed, ended: s.ended + t.failures["1h"].ended }), { failed: 0, ended: 0 });
  const cells = [
    ["Waiting", counts && count(waiting), `${count(by.queued ?? 0)} queued, ${count(by.retrying ?? 0)} retrying`, "jobs?q=" + encodeURIComponent("state:submitted,queued,retrying")],
    ["Running", counts && count(by.running ?? 0), queues ? `${count(queues.items.reduce((n, q) => n + (q.slots ?? 0), 0))} slots` : "", "jobs?q=state%3Arunning"],
    ["Oldest waiting", oldest && (first ? coarse((now.value - Date.parse(first.submitted_at)) / 1000) : "–"), first ? first.type : "nothing waits", first ? "jobs/" + part(first.id) : "jobs?q=" + encodeURIComponent(waitingNow)],
    ["Failed, 1 h", stats && count(hour.failed), hour?.ended ? `of ${count(hour.ended)} attempts` : "no attempt ended", "dead-letters", hour?.failed > 0],
    ["Dead letters", counts && count(counts.dead_letters_open), "open", "dead-letters", counts?.dead_letters_open > 0],
  ];
  return (
    <div class="stats">
      {cells.map(([label, value, sub, to, bad]) => (
        <Link key={label} to={at(to)} class={"stat" + (bad ? " stat-bad" : "")}>
          <span class="stat-label">{label}</span>
          <span class="stat-value">{value ?? <span class="stat-wait" />}</span>
          <span class="stat-sub">{value ? sub : "\u00a0"}</span>
        </Link>
      ))}
    </div>
  );
}

// problems are what is not as it should be, the worst first: {kind, text, why, to}.
function problems({ stats, queues, holds, info, types }) {
  const all = [];
  for (const q of queues?.items ?? []) {
    const waits = q.queued + (q.waiting ?? 0);
    if (waits > 0 && q.workers === 0) all.push({ kind: "bad", text: `Nobody works on queue ${q.name}`, why: `${jobsN(waits)} ${waits === 1 ? "waits" : "wait"}; start a worker: jobledger worker run TYPE --queue ${q.name}`, to: "jobs?q=" + encodeURIComponent(`queue:${q.name} state:submitted,queued`) });
  }
  for (const t of stats?.items ?? []) {
    const f = t.failures["1h"];
    if (f.ended >= failingFrom && f.rate > failingRate) all.push({ kind: "bad", text: `${t.type} fails: ${percent(f.rate)} of its attempts in the last hour`, why: `${count(f.failed)} of ${count(f.ended)}, ${count(f.dead_lettered)} dead-lettered`, to: "jobs?q=" + encodeURIComponent(`type:${t.type} error:*`) });
  }
  for (const h of holds?.items ?? []) all.push({ kind: "warn", text: "Paused: " + (Object.entries(h.scope).map(([k, v]) => k + " " + v).join(", ") || "everything"), why: [h.reason, h.updated_by && "by " + h.updated_by, h.until && "until " + ago(h.until)].filter(Boolean).join(" · "), to: "queues" });
  for (const t of types?.items ?? []) {
    if (!t.enabled) all.push({ kind: "warn", text: `Type ${t.name} is disabled`, why: "New jobs of it are refused", to: "types" });
    if (t.breaker?.state && t.breaker.state !== "closed") all.push({ kind: "bad", text: `The breaker of ${t.name} is ${t.breaker.state.replace("_", " ")}`, why: "It failed too often", to: "types" });
  }
  if (info) {
    for (const p of info.projections ?? []) if (p.lag_ms > lagMS) all.push({ kind: "warn", text: `The view ${p.name} lags ${span(p.lag_ms / 1000)} behind the ledger`, why: `${count(p.lag_events)} events` });
    if (!info.dispatcher_leader) all.push({ kind: "bad", text: "No dispatcher leads: no job starts", why: "jobledger check all" });
    if (info.storage && info.storage.state !== "ok") all.push({ kind: "bad", text: `Storage: ${info.storage.state}`, why: "Submits may be refused" });
    if (info.quarantined > 0) all.push({ kind: "bad", text: `${count(info.quarantined)} events cannot be read`, why: "They are quarantined: jobledger check ledger" });
  }
  return all.sort((a, b) => (a.kind === b.kind ? 0 : a.kind === "bad" ? -1 : 1));
}

function Problems(of) {
  const list = useMemo(() => problems(of), [of.stats, of.queues, of.holds, of.info, of.types]);
  if (!list.length) return null;
  return (
    <section class="card problems" aria-label="What is not as it should be">
      <ul>
        {list.slice(0, 12).map((p) => (
          <li key={p.text} class={"p-" + p.kind}>
            <Icon name={p.kind === "bad" ? "warn" : "pause"} />
            <div>{p.to ? <Link to={at(p.to)}>{p.text}</Link> : <strong>{p.text}</strong>}<p class="faint">{p.why}</p></div>
          </li>
        ))}
      </ul>
    </section>
  );
}

const units = { minutes: "a minute", hours: "an hour", days: "a day" };
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

function Charts({ stats, range }) {
  const all = stats.data?.[range];
  // The newest point is not over: at its beginning it would look like a fall.
  const points = useMemo(() => (all?.slice(0, -1).some((p) => p.submitted || p.ended) ? all.slice(0, -1) : all), [all]);
  const times = useMemo(() => points?.map((p) => Date.parse(p.time) / 1000) ?? [], [points]);
  const of = (name) => points?.map((p) => p[name]) ?? [];
  const [ended, failed, submitted, waiting, most] = useMemo(() => ["completed", "failed", "submitted", "waiting", "waiting_max"].map(of), [points]);
  return (
    <div class="grid-2">
      <Card title={"Throughput, " + units[range]}>
        <Shown q={stats} rows={6} what="The figures">{() => (
          <Chart whole times={times} label="Throughput" format={(v) => compact.format(v)} empty="Nothing happened in this time" series={[
            { label: "completed", color: "--good", values: ended, fill: true }, { label: "submitted", color: "--info", values: submitted, dash: [4, 3] }, { label: "failed attempts", color: "--bad", values: failed }]} />
        )}</Shown>
      </Card>
      <Card title={"Waiting jobs, at the end of " + units[range]}>
        <Shown q={stats} rows={6} what="The figures">{() => (
          <Chart whole times={times} label="Waiting jobs" format={(v) => compact.format(v)} empty="No job waited in this time" series={[{ label: "waiting", color: "--violet", values: waiting, fill: true }, { label: "at most", color: "--faint", values: most, dash: [4, 3] }]} />
        )}</Shown>
      </Card>
    </div>
  );
}

const ms = (v) => (v == null ? <span class="faint">–</span> : span(v / 1000));

function ByType({ stats }) {
  const columns = [
    { key: "type", title: "Type", phone: "main", cell: (t) => <strong class="break">{t.type}</strong> },
    { key: "ended", title: "Attempts 1 h", num: true, phone: "side", cell: (t) => count(t.failures["1h"].ended) },
    { key: "rate", title: "Failed 24 h", num: true, phone: "side", cell: (t) => (t.failure_rate == null ? <span class="faint">–</span> : t.failure_rate > failingRate ? <Badge kind="bad" icon="warn">{percent(t.failure_rate)}</Badge> : percent(t.failure_rate)) },
    { key: "wait", title: "Wait p95", num: true, phone: "hide", cell: (t) => ms(t.wait.p95_ms) },
    { key: "p50", title: "Run p50", num: true, phone: "hide", cell: (t) => ms(t.p50_ms) },
    { key: "p95", title: "Run p95", num: true, phone: "side", cell: (t) => ms(t.p95_ms) },
    { key: "p99", title: "Run p99", num: true, phone: "hide", cell: (t) => ms(t.p99_ms) },
    { key: "total", title: "Submit to end p95", num: true, phone: "hide", cell: (t) => ms(t.total.p95_ms) },
  ];
  return (
    <Card title="By type, last hour" flush>
      <Shown q={stats} rows={4} what="The figures by type">{(d) => (
        d.items.length
          ? <Table label="By type" columns={columns} rows={d.items} id={(t) => t.type} open={(t) => go(at("jobs") + "?q=" + encodeURIComponent("type:" + t.type))} />
          : <Empty title="No type has jobs yet" />
      )}</Shown>
    </Card>
  );
}
