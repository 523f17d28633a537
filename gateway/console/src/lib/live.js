// The live feed of the org that is looked at: one stream for all tabs that look at it. Events are handed on ten times a
// second at most, the latest of each job; a tab that nobody sees follows nothing, and goes on where it was when it is seen.
import { signal, effect } from "@preact/signals";
import { pause } from "./api.js";
import { follow, messageOf } from "./feed.js";
import { org, me } from "./store.js";
import { share } from "./tabs.js";
import { toLogin, url } from "./router.js";

// link is how the feed does: off, connecting, live, lost, refused, limited.
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
const hiddenMS = 20_000;
const refusedMS = 30_000;
const waitMaxMS = 120_000; // however long the server asks us to wait
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

let current = null; // {org, abort, anew: nothing was followed before}

function stop() {
  current?.abort.abort();
  current = null;
}

// lead reads the feed for all tabs, and begins again when it breaks off, until it is ended or nobody is logged in.
async function lead(mine, signal, tell) {
  const is = (state) => { link.value = state; tell(standing()); };
  const gap = () => { resync(); tell({ ...standing(), gap: true }); };
  let read = 0; // when the pages were last read anew without a feed
  for (let n = 0; !signal.aborted; n++) {
    let waitMS = 0;
    try {
      const from = seq;
      await follow(mine.org, from, signal, (parts) => {
        n = 0;
        const lost = link.value === "lost" || link.value === "limited";
        const after = seq || messageOf(parts[0] ?? "").id;
        heard.value = Date.now();
        take(mine, parts, after);
        tell({ parts, after, heard: heard.value });
        if (lost && !from) gap(); // what happened meanwhile is not told again
        if (link.value !== "live") is("live");
      });
    } catch (e) {
      if (signal.aborted) return;
      if (e.status === 401) { link.value = "off"; toLogin(); return; }
      if (e.status === 410) { seq = 0; gap(); }
      if (e.status === 429 || e.status === 503) waitMS = Math.min(e.waitMS, waitMaxMS);
      if (e.status === 403 || e.status === 429) { // who may not follow is shown what is read now and then
        is(e.status === 403 ? "refused" : "limited");
        waitMS ||= refusedMS;
        if (Date.now() - read >= refusedMS) { read = Date.now(); gap(); }
      }
    }
    if (signal.aborted) return;
    if (!waitMS) waitMS = backoffMS[Math.min(n, backoffMS.length - 1)] * 0.75;
    if (link.value !== "refused" && link.value !== "limited") is("lost");
    await pause(waitMS * (1 + Math.random() / 2), signal).catch(() => {}); // not all at once, and never too early
  }
}

// standing is what a tab is told that comes to those that are led.
const standing = () => ({ link: link.peek(), seq, heard: heard.peek() });

// hear takes what the leading tab tells. Positions show whether this one heard all of it: where it did not, what is shown is
// read anew, as behind every gap.
function hear(mine, m, asked) {
  if (current !== mine) return;
  heard.value = m.heard;
  if (m.parts) {
    if (seq && m.after > seq) { seq = m.after; resync(); }
    take(mine, m.parts, m.after);
    link.value = "live";
    return;
  }
  if (m.gap || (m.seq && seq && (m.seq > seq || (asked && m.seq < seq)))) { seq = m.seq; resync(); }
  link.value = m.link;
  if (m.link === "live") start(mine, m.seq);
}

// start notes from where on the feed is followed.
function start(mine, at) {
  seq ||= at;
  if (mine.anew && began.value.of !== mine && seq) began.value = { seq, at: Date.now(), of: mine };
}

// take hands on messages of the feed that come behind the position `after`.
function take(mine, parts, after) {
  seq ||= after;
  for (const p of parts) message(p);
  start(mine, seq);
}

function message(text) {
  const { id, event, data } = messageOf(text);
  if (event === "reset") {
    if (id) seq = id; // also where it is lower: another ledger, or one that was restored
    return resync();
  }
  if (event === "error") return; // the stream ends, and lead asks again
  if (data && id && id <= seq) return; // told before, by the tab that led
  if (id) seq = Math.max(seq, id);
  if (data) add(JSON.parse(data));
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
  const mine = (current = { org: o, abort: new AbortController(), anew: !seq });
  if (link.peek() !== "lost") link.value = "connecting";
  share(`jobledger 1 ${url("")} ${o} ${me.peek().principal}`, mine.abort.signal, {
    lead: (signal, tell) => lead(mine, signal, tell), hear: (m, asked) => hear(mine, m, asked), state: standing,
  });
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
