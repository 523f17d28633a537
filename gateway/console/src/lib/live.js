// The live feed: one stream of server-sent events a tab, of the org that is looked at. Events are handed on ten times a
// second at most, the latest of each job; a tab that nobody sees holds no stream, and goes on where it was when it is seen.
import { signal, effect } from "@preact/signals";
import { org, me } from "./store.js";
import { toLogin, url } from "./router.js";

// link is how the feed does: off, connecting, live, lost, refused.
export const link = signal("off");
// heard is when the server was last heard of, in ms; what is shown is at most that old.
export const heard = signal(Date.now());
// paused: the reader wants what he sees to stay.
export const paused = signal(false);
// behind is how many events came while it was paused.
export const behind = signal(0);
// seq is the last position; a read with min_seq of it has seen all that the feed told.
export let seq = 0;

// began is where and when the feed began to be followed without a gap: {seq, at}. What was read before it may be older.
export const began = signal({ seq: 0, at: 0 });

const mergeMS = 100;
const silentMS = 40_000; // the server sends a ping every 15 s
const hiddenMS = 20_000;
const refusedMS = 30_000;
const backoffMS = [500, 1000, 2000, 4000, 8000];

const listeners = new Set();
// listen calls f with {jobs: Map of id to its latest event, holds, all, reset} until the function it returns is called.
export function listen(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

let batch = null;
let timer = 0;
function add(ev) {
  batch ??= { jobs: new Map(), progress: new Map(), holds: [], events: [], reset: false, n: 0 };
  if (ev.push === "reset") batch.reset = true;
  else if (ev.push === "hold_changed") batch.holds.push(ev);
  else if (ev.push === "job_progress") batch.progress.set(ev.id, ev);
  else if (ev.id) batch.jobs.set(ev.id, ev);
  if (ev.push !== "job_progress") {
    batch.n++;
    if (batch.events.length < 1000) batch.events.push(ev);
  }
  if (!timer) timer = setTimeout(flush, mergeMS);
}
function flush() {
  timer = 0;
  if (!batch) return;
  if (paused.value) {
    behind.value = batch.n;
    batch.progress.clear();
    if (batch.jobs.size > 5000 || batch.holds.length > 1000) batch = { jobs: new Map(), progress: new Map(), holds: [], events: [], reset: true, n: batch.n }; // bounded: read anew
    return;
  }
  const b = batch;
  batch = null;
  for (const f of listeners) {
    try { f(b); } catch (e) { console.error(e); } // one page's mistake stops no other
  }
}
export function setPaused(on) {
  paused.value = on;
  if (!on) {
    behind.value = 0;
    flush();
  }
}

// resync has every page read anew what it shows.
function resync() {
  add({ push: "reset" });
}

let current = null; // {org, abort}

function stop() {
  current?.abort.abort();
  current = null;
}

async function run(mine) {
  for (let n = 0; current === mine; n++) {
    try {
      await follow(mine, () => (n = 0));
    } catch (e) {
      if (current !== mine) return;
      if (e.status === 410) { seq = 0; resync(); }
      else if (e.status === 401) { link.value = "off"; toLogin(); return; }
      else if (e.status === 403) { // who may not follow is shown what is read now and then
        link.value = "refused";
        resync();
        await new Promise((ok) => setTimeout(ok, refusedMS));
        continue;
      }
    }
    if (current !== mine) return;
    link.value = "lost";
    await new Promise((ok) => setTimeout(ok, backoffMS[Math.min(n, backoffMS.length - 1)] * (0.75 + Math.random() / 2)));
  }
}

async function follow(mine, up) {
  const headers = { Accept: "text/event-stream" };
  if (seq) headers["Last-Event-ID"] = String(seq);
  const abort = new AbortController();
  const end = () => abort.abort();
  mine.abort.signal.addEventListener("abort", end);
  let quiet = setTimeout(end, silentMS);
  try {
    const r = await fetch(url("v1/orgs/" + mine.org + "/events"), { headers, signal: abort.signal, credentials: "same-origin" });
    if (!r.ok) throw Object.assign(new Error("the feed answered " + r.status), { status: r.status });
    const from = seq;
    const reader = r.body.getReader();
    const text = new TextDecoder();
    let buf = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || current !== mine) return;
      heard.value = Date.now();
      clearTimeout(quiet);
      quiet = setTimeout(end, silentMS);
      if (link.value !== "live") {
        up();
        if (link.value === "lost" && !from) resync(); // what happened meanwhile is not told again
        link.value = "live";
      }
      buf += text.decode(value, { stream: true });
      const parts = buf.split("\n\n");
      buf = parts.pop();
      for (const p of parts) message(p);
      if (!from && began.value.of !== mine && seq) began.value = { seq, at: Date.now(), of: mine };
    }
  } finally {
    clearTimeout(quiet);
    mine.abort.signal.removeEventListener("abort", end);
  }
}

function message(text) {
  let data = "", id = "", event = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("data: ")) data += line.slice(6);
    else if (line.startsWith("id: ")) id = line.slice(4);
    else if (line.startsWith("event: ")) event = line.slice(7);
  }
  if (id) seq = Math.max(seq, Number(id));
  if (event === "reset") {
    if (id) seq = Number(id); // also where it is lower: another ledger, or one that was restored
    return resync();
  }
  if (event === "error") return; // the stream ends, and run asks again
  if (!data) return;
  add(JSON.parse(data));
}

let hidden = 0;
function visible() {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(() => { stop(); link.value = "off"; }, hiddenMS);
  else if (!current) begin();
}
document.addEventListener("visibilitychange", visible);
addEventListener("online", () => { if (link.value === "lost") begin(); });
// A page that is left may be kept for the way back: its stream would keep one of the few connections of a browser.
addEventListener("pagehide", () => { stop(); link.value = "off"; });
addEventListener("pageshow", (e) => { if (e.persisted) visible(); });

function begin() {
  stop();
  const o = org.peek();
  if (!o || !me.peek()) return;
  current = { org: o, abort: new AbortController() };
  if (link.peek() !== "lost") link.value = "connecting";
  run(current);
}

// Another org, another feed, from now on. Positions are of the ledger, but what a page shows is read anew anyway.
let fed = "";
effect(() => {
  const o = org.value + "|" + (me.value?.principal ?? "");
  if (!org.value || !me.value) { // nobody looks, or at nothing: who comes next begins anew
    fed = "";
    stop();
    link.value = "off";
    return;
  }
  if (o === fed) return;
  fed = o;
  seq = 0;
  batch = null;
  link.value = "connecting";
  setTimeout(begin, 0);
});
