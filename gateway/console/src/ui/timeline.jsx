// How a job spent its life: one stretch for each state it was in, as wide as it was long.
import { now, span, stamp } from "../lib/time.js";

const finished = (s) => s === "completed" || s === "canceled" || s === "dead_lettered";
const kinds = { submitted: "waited", queued: "waited", running: "ran", retrying: "backoff" };
const words = { waited: "waited", ran: "ran", backoff: "backed off", ended: "ended" };
// widthMin is the width of a stretch that is too short to be seen, as a share of the whole.
const widthMin = 0.012;

export function stretches(events, until) {
  const all = [];
  let last = null;
  for (const e of events) {
    if (!e.to) continue;
    const t = Date.parse(e.time);
    if (last) last.end = t;
    last = { state: e.to, kind: finished(e.to) ? "ended" : kinds[e.to] ?? "waited", start: t, end: t, attempt: e.attempt };
    const before = all.at(-1);
    if (before && before.kind === last.kind && last.kind !== "ran") { last = before; last.state = e.to; } else all.push(last);
  }
  if (last && !finished(last.state)) last.end = Math.max(last.end, until);
  return all;
}

export function Timeline({ events, job }) {
  const list = stretches(events, now.value).filter((s) => s.kind !== "ended");
  const total = list.reduce((n, s) => n + (s.end - s.start), 0) || 1;
  const sum = (kind) => list.filter((s) => s.kind === kind).reduce((n, s) => n + (s.end - s.start), 0) / 1000;
  if (!list.length) return <p class="faint">Nothing yet.</p>;
  return (
    <div class="timeline">
      <div class="tl-bar" role="img" aria-label={`waited ${span(sum("waited"))}, ran ${span(sum("ran"))}, backed off ${span(sum("backoff"))}`}>
        {list.slice(-120).map((s, i) => (
          <span key={i} class={"tl tl-" + s.kind} style={{ flexGrow: Math.max((s.end - s.start) / total, widthMin) }} title={`${words[s.kind]} ${span((s.end - s.start) / 1000)}${s.attempt ? `, attempt ${s.attempt}` : ""}, from ${stamp(new Date(s.start).toISOString())}`} />
        ))}
      </div>
      <div class="tl-ends faint"><span>{stamp(new Date(list[0].start).toISOString())}</span><span>{job.finished_at ? stamp(job.finished_at, { short: true }) : "now"}</span></div>
      <ul class="tl-key">
        {["waited", "ran", "backoff"].filter((k) => list.some((s) => s.kind === k)).map((k) => <li key={k}><span class={"tl-dot tl-" + k} />{words[k]} <strong class="num">{sum(k) ? span(sum(k)) : "<1 ms"}</strong></li>)}
      </ul>
    </div>
  );
}
