// One job, whole: where it stands and why, what happened to it, what it was given and gave back.
import { useEffect, useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { at, may, me, org, toast } from "../lib/store.js";
import { can, cancelJob, exportJob, resolveJob, retryJob, unmaskJob } from "../lib/actions.jsx";
import { ago, bytes, count, now, span, stamp } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { listen } from "../lib/live.js";
import { useKeys } from "../lib/keys.js";
import { field, plain } from "../lib/json.js";
import { Badge, Bar, Button, Card, Copy, Empty, Facts, Failed, Link, Loading, Page, Shown, State, Time, reasonText } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";
import { Json, hasRedacted } from "../ui/json.jsx";
import { Timeline } from "../ui/timeline.jsx";
import { usePageActions } from "../ui/palette.jsx";
import { Family } from "./family.jsx";
import { RunAgain } from "./runagain.jsx";

const everyMS = 400;
const eventsMax = 200; // rows of the history on the page

export function Job({ id }) {
  const o = org.value;
  const mine = (b) => b.jobs.has(id) || !!job.data?.j.parents.some((p) => b.jobs.has(p.id));
  const path = `orgs/${o}/jobs/${part(id)}`;
  const job = useQuery((signal) => get(path, { signal, exact: true }).then((node) => ({ node, j: plain(node) })), [o, id], { key: o + id, when: mine, everyMS });
  const events = useQuery((signal) => history(path, signal), [o, id], { key: o + id, when: mine, everyMS });
  const progress = useProgress(id, job.data?.j);
  const [again, setAgain] = useState(false);
  const j = job.data?.j && { ...job.data.j, progress: progress ?? job.data.j.progress };
  const able = j ? can(j) : {};
  const after = (r) => { if (r) { job.reload(); events.reload(); } };
  const acts = {
    cancel: () => cancelJob(j).then(after), retry: () => retryJob(j).then(after), resolve: () => resolveJob(j).then(after),
  };
  useKeys({
    ...(able.cancel && { C: [acts.cancel, "cancel the job"] }),
    ...(able.retry && { R: [acts.retry, "retry the job"] }),
    ...(able.resolve && { D: [acts.resolve, "close the dead letter"] }),
    ...(able.resubmit && { e: [() => setAgain(true), "run again, edited"] }),
  });
  usePageActions([able.cancel && { title: "Cancel this job", run: acts.cancel }, able.retry && { title: "Retry this job", run: acts.retry }, able.resolve && { title: "Close this dead letter", run: acts.resolve }, able.resubmit && { title: "Run again, edited", run: () => setAgain(true) }].filter(Boolean));
  if (job.error?.status === 404) return <Page title="Job"><Empty title="There is no such job here" command={`jobledger --org ${o} job ls -n`}>No job of {o} has the id <code class="break">{id}</code>, or you may not see it. <Link to={at("jobs")}>To the jobs</Link></Empty></Page>;
  if (!j) return <Page title="Job">{job.error ? <Failed error={job.error} retry={job.reload} what="The job" /> : <Card><Loading rows={8} /></Card>}</Page>;
  const done = ["completed", "canceled", "dead_lettered"].includes(j.state);
  return (
    <Page title={j.type} heading={<span class="job-title"><Link to={at("jobs")} class="up" aria-label="To the jobs">Jobs</Link><Icon name="chevron" size={12} />{j.type}</span>}
      sub={<><code class="break">{j.id}</code> <Copy text={j.id} label="Copy the id" /></>}
      actions={<>
        {able.cancel && <Button icon="canceled" onClick={acts.cancel}>Cancel</Button>}
        {able.retry && <Button icon="retrying" onClick={acts.retry}>{j.state === "retrying" ? "Try now" : "Retry"}</Button>}
        {able.resolve && <Button icon="check" onClick={acts.resolve}>Close</Button>}
        {able.resubmit && <Button icon="plus" onClick={() => setAgain(true)}>Run again</Button>}
        <Button icon="download" kind="quiet" onClick={() => exportJob(id).catch((e) => toast("The job was not exported: " + e.message, { kind: "bad" }))}>Export</Button>
      </>}>
      <Standing j={j} />
      {!done && j.state !== "running" && <Explain path={path} id={id} j={j} />}
      <div class="job-grid">
        <div class="stack">
          <Card title="Timeline"><Shown q={events} rows={3} what="The history">{(d) => <Timeline events={d.items} job={j} />}</Shown></Card>
          <Attempts j={j} />
          <Payloads node={job.data.node} j={j} seen={events.reload} />
          <Events q={events} />
        </div>
        <Aside j={j} o={o} />
      </div>
      {again && <RunAgain j={j} args={field(job.data.node, "args")} onClose={() => setAgain(false)} />}
    </Page>
  );
}

// history reads all events, up to what a page can show; data stays as it was sent.
async function history(path, signal) {
  const items = [];
  let next = "";
  do {
    const page = await get(path + "/history", { signal, query: { cursor: next }, exact: true });
    for (const node of field(page, "items").items) items.push({ ...plain(node), node: field(node, "data") });
    next = plain(field(page, "next")) ?? "";
  } while (next && items.length < 5000);
  return { items, next };
}

// useProgress is the latest progress that the feed told of the running attempt.
function useProgress(id, j) {
  const [p, set] = useState(null);
  useEffect(() => listen((b) => {
    const ev = b.progress.get(id);
    if (ev) set({ ...ev.progress, attempt: ev.attempt });
  }), [id]);
  return p && j?.state === "running" && (p.attempt == null || p.attempt === j.attempt) ? p : null;
}

// Standing is where the job is, why, and what comes next.
function Standing({ j }) {
  const t = now.value;
  const next = j.state === "retrying" ? (j.retry_at ? `attempt ${j.attempt + 1} ${ago(j.retry_at, t)}` : "")
    : j.state === "running" ? (j.flags?.includes("cancel_requested") ? "told to stop" : j.run_timeout_s ? `may run until ${stamp(new Date(Date.parse(j.started_at) + j.run_timeout_s * 1000).toISOString(), { short: true })}` : "")
      : j.state === "submitted" && j.not_before && Date.parse(j.not_before) > t ? `starts ${ago(j.not_before, t)}` : "";
  const took = j.started_at && j.finished_at ? (Date.parse(j.finished_at) - Date.parse(j.submitted_at)) / 1000 : null;
  return (
    <section class={"standing st-" + j.state}>
      <div class="standing-top">
        <State state={j.state} />
        {j.state === "dead_lettered" && j.resolution && <Badge kind={j.resolution.state === "open" ? "bad" : "plain"}>{j.resolution.state}</Badge>}
        {j.reason && <span>{reasonText(j.reason)}</span>}
        {next && <span class="faint">{next}</span>}
        {j.finished_at && <span class="faint"><Time at={j.finished_at} />{took != null && <>, {span(took)} after it was submitted</>}</span>}
        {j.state === "running" && <span class="faint">for {span(Math.floor((t - Date.parse(j.started_at)) / 1000))} on {j.worker}</span>}
      </div>
      {j.error && j.state !== "completed" && <pre class="error-text">{j.error.message}</pre>}
      {j.error && j.state !== "completed" && <p class="faint">{[j.error.class, j.error.code, j.error.cause !== j.error.message && j.error.cause, j.error.remote_status && "status " + j.error.remote_status].filter(Boolean).join(" · ")}</p>}
      {j.cancel && <p>{j.state === "canceled" ? "Canceled" : "Asked to stop"} by {j.cancel.actor ?? "the system"}{j.cancel.reason && <>: {j.cancel.reason}</>}{j.cancel.forced && " (it did not stop in time)"}</p>}
      {j.resolution?.note && <p>{j.resolution.state} by {j.resolution.actor}: {j.resolution.note}</p>}
      {j.progress && (j.state === "running" || j.state === "retrying") && <Progress p={j.progress} />}
    </section>
  );
}

const stepIcon = { done: "check", in_progress: "running", pending: "submitted" };

function Progress({ p }) {
  return (
    <div class="progress">
      <div class="progress-top"><Bar percent={p.percent} label="Progress" /><span class="num">{p.percent} %</span></div>
      {p.message && <p class="faint" aria-live="polite">{p.message}</p>}
      {p.steps?.length > 0 && <ol class="steps">{p.steps.map((s, i) => <li key={i} class={"step-" + s.state}><Icon name={stepIcon[s.state] ?? "submitted"} size={14} /><span>{s.name}</span><span class="faint">{s.state.replace("_", " ")}</span></li>)}</ol>}
    </div>
  );
}

// Explain says why the job does not move, and when it can.
function Explain({ path, id, j }) {
  const x = useQuery((signal) => get(path + "/explain", { signal }), [path, j.state, j.seq], { key: path, when: (b) => b.jobs.has(id) || b.holds.length > 0, everyMS: 1500 });
  return (
    <Card title="Why it is where it is" actions={<Button class="small" kind="quiet" onClick={() => x.reload()}>Ask again</Button>}>
      <Shown q={x} rows={2} what="The explanation">{(d) => (
        <div class="explain">
          <p><strong>{sentence(d.next)}</strong>{d.earliest_start && <span class="faint"> {ago(d.earliest_start, now.value)}</span>}</p>
          {d.holds.length > 0 && <ul>{d.holds.map((h, i) => (
            <li key={i}><Icon name="pause" /><div><span>{h.message}</span>
              <p class="faint">{[h.value != null && h.limit != null && `${count(h.value)} of ${count(h.limit)}`, h.until && "until " + stamp(h.until), h.updated_by && `set by ${h.updated_by}${h.reason ? ": " + h.reason : ""}`].filter(Boolean).join(" · ")}</p>
              {h.fix && <code class="command"><span>$ {h.fix}</span><Copy text={h.fix} /></code>}</div></li>
          ))}</ul>}
          <p class="faint">{d.workers.serving ? `${count(d.workers.serving)} workers serve it, ${count(d.workers.free_slots)} of ${count(d.workers.slots)} slots are free` : j.state === "running" ? "" : "No worker serves it"}{d.place ? ` · ${count(d.place.ahead)}${d.place.more ? " or more" : ""} jobs like it stand before it` : ""}{d.leader || j.state === "running" ? "" : " · no leader answered: limits and pauses are not known"}</p>
        </div>
      )}</Shown>
    </Card>
  );
}
const sentence = (s) => (s ? s[0].toUpperCase() + s.slice(1) : "");

const outcomes = { completed: ["good", "check"], failed: ["bad", "dead_lettered"], timed_out: ["bad", "queued"], dead_lettered: ["bad", "dead_lettered"], canceled: ["plain", "canceled"], lost: ["warn", "warn"], released: ["plain", "retrying"] };

function Attempts({ j }) {
  const list = (j.attempts ?? []).toReversed();
  if (!list.length) return null;
  return (
    <Card title={list.length === 1 ? "1 attempt" : `${list.length} attempts`} flush>
      <ol class="attempts">
        {list.slice(0, 50).map((a) => {
          const [kind, icon] = outcomes[a.outcome] ?? ["info", "running"];
          const end = a.finished_at ? Date.parse(a.finished_at) : now.value;
          return (
            <li key={a.generation + "." + a.attempt}>
              <span class="attempt-n">{a.attempt}{a.generation > 1 && <span class="faint" title={"life " + a.generation}>·{a.generation}</span>}</span>
              <div>
                <div class="attempt-top"><Badge kind={kind} icon={icon}>{(a.outcome ?? "running").replaceAll("_", " ")}</Badge><span class="num">{span((end - Date.parse(a.started_at)) / 1000 || 0.0001)}</span><span class="faint">on {a.worker}, <Time at={a.started_at} /></span></div>
                {a.error && <pre class="error-text">{a.error.message}</pre>}
                {a.error && <p class="faint">{[a.error.class, a.error.code, a.error.cause !== a.error.message && a.error.cause].filter(Boolean).join(" · ")}</p>}
                {a.checkpoint_bytes > 0 && <p class="faint">left a checkpoint of {bytes(a.checkpoint_bytes)}</p>}
              </div>
            </li>
          );
        })}
      </ol>
    </Card>
  );
}

// Payloads shows args and result. What a schema redacts is shown to who may see it and says why, until he leaves the page: it
// stands nowhere else.
function Payloads({ node, j, seen }) {
  const [shown, setShown] = useState(null);
  const args = shown ?? field(node, "args"), result = field(node, "result");
  const unmask = () => unmaskJob(j).then((whole) => { if (whole) { setShown(whole); seen(); } });
  const kept = (ref) => ref && <p class="faint">Kept by reference, {ref.bytes != null ? bytes(ref.bytes) : ref.size != null ? bytes(ref.size) : "apart from the ledger"}: jobledger job result {j.id}</p>;
  return (
    <div class="grid-2">
      <Card title="Args" actions={shown ? <Button class="small" kind="quiet" onClick={() => setShown(null)}>Hide again</Button> : may("payloads.unmask") && hasRedacted(args) && <Button class="small" onClick={unmask}>Unmask</Button>}>{j.args_ref ? kept(j.args_ref) : <Json node={args} label="args" />}</Card>
      <Card title="Result">{j.result_ref ? kept(j.result_ref) : j.state === "completed" ? <Json node={result} label="result" /> : <p class="faint">{["canceled", "dead_lettered"].includes(j.state) ? "It ended without one." : "Not yet."}</p>}</Card>
    </div>
  );
}

function Events({ q }) {
  const [open, setOpen] = useState(new Set());
  const toggle = (seq) => { const s = new Set(open); s.has(seq) ? s.delete(seq) : s.add(seq); setOpen(s); };
  return (
    <Card title="Every event" flush>
      <Shown q={q} rows={5} what="The history">{(d) => (
        <ol class="events">
          {d.items.slice(-eventsMax).toReversed().map((e) => (
            <li key={e.seq}>
              <button type="button" class="event-row" aria-expanded={open.has(e.seq)} onClick={() => toggle(e.seq)}>
                <span class={"turn" + (open.has(e.seq) ? " open" : "")}><Icon name="chevron" size={10} /></span>
                <span class={"event-name s-" + (e.to ?? "")}>{e.event.replaceAll("_", " ")}</span>
                <span class="event-who">{e.actor ?? "the system"}{e.reason && <span class="event-why">: {reasonText(e.reason)}</span>}</span>
                <time class="faint" datetime={e.time} title={ago(e.time)}>{stamp(e.time, { ms: true })}</time>
              </button>
              {open.has(e.seq) && <div class="event-data"><p class="faint">sequence {e.seq}{e.attempt != null && ` · attempt ${e.attempt}`}{e.from && ` · ${e.from} → ${e.to}`}</p><Json node={e.node} label="event" /></div>}
            </li>
          ))}
          {d.items.length > eventsMax && <li class="faint event-more">{count(d.items.length - eventsMax)} older ones: Export has all of them</li>}
        </ol>
      )}</Shown>
    </Card>
  );
}

// Trace is the id of a trace, and leads to where the server says that traces are looked at.
function Trace({ id }) {
  const to = me.value?.trace_link;
  return to && /^https?:/.test(to) ? <a class="break" href={to.replaceAll("{trace_id}", encodeURIComponent(id))} target="_blank" rel="noreferrer">{id}</a> : <code class="break">{id}</code>;
}

function Aside({ j, o }) {
  return (
    <aside class="stack">
      <Card title="Facts">
        <Facts of={[
          ["Queue", j.queue], ["Priority", j.priority], ["Attempt", j.max_attempts ? `${j.attempt}, ${j.attempts_used} of ${j.max_attempts} used` : j.attempt], ["Time for an attempt", j.run_timeout_s && span(j.run_timeout_s)],
          ["Submitted", <Time at={j.submitted_at} abs />], ["By", j.submitted_by], ["Runs as", j.owner !== j.submitted_by && j.owner], ["Started", j.started_at && <Time at={j.started_at} abs />], ["Finished", j.finished_at && <Time at={j.finished_at} abs />],
          ["Not before", j.not_before && <Time at={j.not_before} abs />], ["Deadline", j.deadline && <Time at={j.deadline} abs />], ["Worker", j.worker], ["Key", j.key], ["Batch", j.batch && <Link to={at("jobs") + "?q=" + encodeURIComponent("batch:" + j.batch)}>{j.batch}</Link>],
          ["Trace", j.trace_id && <Trace id={j.trace_id} />], ["Life", j.generation > 1 && j.generation], ["Last sequence", j.seq],
        ]} />
        {j.tags && Object.keys(j.tags).length > 0 && <ul class="tags">{Object.entries(j.tags).map(([k, v]) => <li key={k}><Link to={at("jobs") + "?q=" + encodeURIComponent(`tag.${k}:${JSON.stringify(v)}`)}><Badge>{k}={v}</Badge></Link></li>)}</ul>}
      </Card>
      <Family j={j} o={o} />
    </aside>
  );
}
