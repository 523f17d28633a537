// The jobs of the org: a filter, a page of them, and what can be done to many.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { at, may, org, toast } from "../lib/store.js";
import { can, cancelJob, retryJob } from "../lib/actions.jsx";
import { bulk } from "../lib/bulk.jsx";
import { count, jobsN, ago, now, span } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { useLiveRows } from "../lib/rows.js";
import { go, loc, setQuery } from "../lib/router.js";
import { Bar, Button, Card, Empty, Failed, Link, Loading, Page, State, Time, reasonText } from "../ui/kit.jsx";
import { Filter, termOf, withTerm } from "../ui/filter.jsx";
import { Pages, Table } from "../ui/table.jsx";
import { usePageActions } from "../ui/palette.jsx";
import { Job } from "./job.jsx";
import { NewJob } from "./newjob.jsx";

const pageRows = 50;
const quick = [["", "All"], ["submitted,queued", "Waiting"], ["running", "Running"], ["retrying", "Retrying"], ["completed", "Completed"], ["canceled", "Canceled"], ["dead_lettered", "Dead lettered"]];

export const Jobs = ({ name, counts }) => (name ? <Job id={name} key={name} /> : <List counts={counts} />);

function List({ counts }) {
  const o = org.value;
  const q = loc.value.query.get("q") ?? "";
  const cursor = loc.value.query.get("cursor") ?? "";
  const [selected, setSelected] = useState(new Set());
  const [all, setAll] = useState(false); // all that match, also those of other pages
  const [progress, setProgress] = useState(null);
  const calm = selected.size > 0 || all; // rows stay where they are while they are chosen
  const calmNow = useRef(calm);
  calmNow.current = calm;
  const list = useQuery((signal, min_seq) => get(`orgs/${o}/jobs`, { signal, query: { q, cursor, limit: pageRows, min_seq } }), [o, q, cursor], { key: o, when: (b) => !cursor && !calmNow.current && b.jobs.size > 0, everyMS: 2000 });
  const matches = useQuery((signal, min_seq) => get(`orgs/${o}/counts`, { signal, query: { q, min_seq } }), [o, q], { key: o + q, when: (b) => b.jobs.size > 0, everyMS: 5000, skip: !q });
  const rows = useLiveRows(list.data?.items);
  useEffect(() => { setSelected(new Set()); setAll(false); }, [o, q]);
  usePageActions(may("jobs.submit") ? [{ title: "New job", run: () => setQuery({ new: "1" }, { push: true }) }] : []);
  const wrong = list.error?.status === 400 ? list.error : null;
  const total = q ? matches.data?.total : counts.data?.total;
  const reread = () => { setSelected(new Set()); setAll(false); list.reload(); matches.reload?.(); counts.reload(); };
  const act = async (action, ids) => {
    const what = all ? (q ? `the filter ${q}` : "of this org") : "";
    const done = await bulk(action, all ? { filter: q || "submitted:>=2000-01-01T00:00:00Z", what } : { ids: ids ?? [...selected] }, setProgress);
    if (done) reread();
  };
  const one = (f, action) => (these) => (
    these.length > 1 || selected.size ? act(action, all ? undefined : these.map((r) => r.id))
      : can(these[0])[action] ? f(these[0]).then((r) => r && reread())
        : toast(`This job is ${reasonText(these[0].state)}: there is nothing to ${action}.`, { kind: "bad" }));
  const by = Object.fromEntries((counts.data?.items ?? []).map((i) => [i.key, i.count]));
  const state = termOf(q, "state");
  return (
    <Page title="Jobs" actions={may("jobs.submit") && <Button kind="primary" icon="plus" onClick={() => setQuery({ new: "1" }, { push: true })}>New job</Button>}>
      <Filter value={q} error={wrong} onChange={(text) => setQuery({ q: text, cursor: "" }, { push: true })} />
      <div class="tabs" role="group" aria-label="State">
        {quick.map(([value, label]) => {
          const n = value ? value.split(",").reduce((s, k) => s + (by[k] ?? 0), 0) : counts.data?.total;
          return <button type="button" key={label} aria-pressed={state === value} onClick={() => setQuery({ q: withTerm(q, "state", value), cursor: "" }, { push: true })}>{label}{n != null && <span class="tab-n">{count(n)}</span>}</button>;
        })}
      </div>
      <Card flush class="list">
        {list.error && !wrong && <Failed error={list.error} retry={list.reload} what="The list" />}
        {!rows ? (list.error ? null : <Loading rows={12} />) : rows.length ? (
          <Table label="Jobs" columns={columns} rows={rows} id={(r) => r.id} open={(r) => go(at("jobs/" + part(r.id)))} selected={selected} onSelect={(s) => { setSelected(s); setAll(false); }} stale={list.other}
            acts={{ ...(may("jobs.cancel") && { C: [one(cancelJob, "cancel"), "cancel"] }), ...(may("jobs.retry") && { R: [one(retryJob, "retry"), "retry"] }) }} />
        ) : list.data.next ? <Empty title="None on this page">The filter passes hardly any job: the search goes on.</Empty> : <NoJobs q={q} o={o} />}
        {rows && (rows.length > 0 || list.data.next) && (
          <Pages first={!cursor} next={list.data.next} onFirst={() => setQuery({ cursor: "" })} onNext={() => { setQuery({ cursor: list.data.next }, { push: true }); scrollTo(0, 0); }}
            text={total != null ? `${count(rows.length)} of ${jobsN(total)}${q ? " that match" : ""}${cursor ? ", older ones" : ", the newest first"}` : ""} />
        )}
      </Card>
      {(selected.size > 0 || progress) && <BulkBar {...{ selected, all, setAll, total, rows, progress, act }} clear={() => { setSelected(new Set()); setAll(false); }} />}
      {loc.value.query.get("new") && <NewJob type={loc.value.query.get("type") ?? ""} onClose={() => setQuery({ new: "", type: "" })} />}
    </Page>
  );
}

// Why says in one line why a job is where it is, and what comes next.
export function Why({ j }) {
  if (j.state === "running" && j.progress) return <span class="why-run"><Bar percent={j.progress.percent} label="Progress" /><span class="num">{j.progress.percent} %</span>{j.progress.message && <span class="faint clip">{j.progress.message}</span>}</span>;
  if (j.state === "retrying") return <span><span class="nowrap">{j.retry_at ? "again " + ago(j.retry_at, now.value) : "again soon"}</span>{j.error && <span class="faint"> · {j.error.message}</span>}</span>;
  if (j.state === "dead_lettered") return <span>{j.resolution && j.resolution.state !== "open" && <b>{j.resolution.state} · </b>}{reasonText(j.reason)}{j.error && <span class="faint"> · {j.error.message}</span>}</span>;
  if (j.state === "completed") return <span class="faint">{j.started_at && j.finished_at && "ran " + span((Date.parse(j.finished_at) - Date.parse(j.started_at)) / 1000 || 0.0001)}</span>;
  if (j.state === "canceled") return <span class="faint">{j.cancel?.reason || reasonText(j.reason)}</span>;
  if (j.reason === "scheduled" && j.not_before) return <span>starts {ago(j.not_before, now.value)}</span>;
  return <span>{reasonText(j.reason)}</span>;
}

export const columns = [
  { key: "state", title: "State", phone: "main", cell: (j) => <State state={j.state} flags={j.flags} /> },
  { key: "type", title: "Type", phone: "side", cell: (j) => <><Link to={at("jobs/" + part(j.id))} class="type-link">{j.type}</Link><code class="id faint">{j.id.length > 13 ? "…" + j.id.slice(-8) : j.id}</code></> },
  { key: "queue", title: "Queue", phone: "hide", cell: (j) => j.queue },
  { key: "age", title: "Submitted", phone: "side", cell: (j) => <Time at={j.submitted_at} /> },
  { key: "attempt", title: "Attempt", num: true, phone: "hide", cell: (j) => <span class={j.attempt ? "" : "faint"}>{j.attempt}{j.max_attempts ? <span class="faint"> / {j.max_attempts}</span> : ""}</span> },
  { key: "why", title: "Reason", phone: "main", cell: (j) => <Why j={j} /> },
];

const NoJobs = ({ q, o }) => (q
  ? <Empty title="No job matches" command={`jobledger --org ${o} job ls --where '${q.replaceAll("'", "'\\''")}'`}>The same in a terminal:</Empty>
  : <Empty title="No job yet" command={`jobledger --org ${o} job submit echo '{"name":"Ada"}'`}>Use New job above, or a terminal:</Empty>);

function BulkBar({ selected, all, setAll, total, rows, progress, act, clear }) {
  if (progress) {
    const done = progress.done + progress.skipped + progress.failed;
    return (
      <div class="bulk" role="status">
        <Bar percent={(100 * done) / Math.max(1, progress.total)} label="Bulk operation" />
        <span class="num nowrap">{count(done)} of {count(progress.total)}</span>
        {progress.stop && <><Link class="in-text" to={at("activity")} title="It goes on without this page">Activity</Link><Button class="small" onClick={progress.stop}>Stop</Button></>}
      </div>
    );
  }
  const n = all ? total : selected.size;
  return (
    <div class="bulk" role="region" aria-label="What is selected">
      <strong class="nowrap">{n == null ? "All that match" : count(n) + " selected"}</strong>
      {!all && total > rows.length && selected.size >= rows.length && <button type="button" class="link" onClick={() => setAll(true)}>Select all {count(total)} that match</button>}
      <span class="grow" />
      {may("jobs.bulk") && may("jobs.retry") && <Button class="small" icon="retrying" onClick={() => act("retry")}>Retry</Button>}
      {may("jobs.bulk") && may("jobs.cancel") && <Button class="small" icon="canceled" onClick={() => act("cancel")}>Cancel</Button>}
      {may("jobs.bulk") && may("jobs.resolve") && <Button class="small" icon="check" onClick={() => act("resolve")}>Close</Button>}
      <Button class="small" kind="quiet" icon="close" onClick={clear}>Clear</Button>
    </div>
  );
}
