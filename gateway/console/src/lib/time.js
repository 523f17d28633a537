// Times and numbers for people. A clock ticks once a second for all that is relative.
import { signal } from "@preact/signals";
import { utc } from "./store.js";

export const now = signal(Date.now());
setInterval(() => { if (!document.hidden) now.value = Date.now(); }, 1000);
document.addEventListener("visibilitychange", () => (now.value = Date.now()));

const steps = [["d", 86400], ["h", 3600], ["m", 60]];

// span is a duration in seconds: 850 ms, 12 s, 3m 20s, 4h 5m, 12d.
export function span(s) {
  if (s == null || Number.isNaN(s)) return "–";
  if (s < 0) s = 0;
  if (s < 0.0005) return s === 0 ? "0 s" : "<1 ms";
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 10) return s.toFixed(1).replace(/\.0$/, "") + " s";
  if (s < 60) return Math.floor(s) + " s";
  for (let i = 0; i < steps.length; i++) {
    const [unit, size] = steps[i];
    if (s < size) continue;
    const n = Math.floor(s / size);
    const rest = i + 1 < steps.length ? Math.floor((s % size) / steps[i + 1][1]) : Math.floor(s % size);
    return n + unit + (rest && n < 100 ? " " + rest + (i + 1 < steps.length ? steps[i + 1][0] : "s") : "");
  }
}

// ago is a moment as seen from now: "12 s ago", "in 3m".
export function ago(iso, at = now.value) {
  if (!iso) return "–";
  const s = (at - Date.parse(iso)) / 1000;
  if (Math.abs(s) < 1) return "now";
  return s > 0 ? coarse(s) + " ago" : "in " + coarse(-s);
}

// coarse is a duration in one unit, for what changes all the time.
export function coarse(s) {
  if (s < 60) return Math.max(0, Math.floor(s)) + " s";
  const [unit, size] = steps.find(([, size]) => s >= size);
  return Math.floor(s / size) + unit;
}

const two = (n) => String(n).padStart(2, "0");

// stamp is a moment in full, with its zone; short leaves the day out if it is today.
export function stamp(iso, { short = false, ms = false } = {}) {
  if (!iso) return "–";
  const d = new Date(iso);
  const f = utc.value
    ? [d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
    : [d.getFullYear(), d.getMonth(), d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()];
  const day = `${f[0]}-${two(f[1] + 1)}-${two(f[2])}`;
  const time = `${two(f[3])}:${two(f[4])}:${two(f[5])}` + (ms ? "." + String(f[6]).padStart(3, "0") : "");
  return short ? time : `${day} ${time} ${zone(d)}`;
}

export function zone(d = new Date()) {
  if (utc.value) return "UTC";
  const m = -d.getTimezoneOffset();
  return m === 0 ? "UTC" : `UTC${m < 0 ? "-" : "+"}${two(Math.floor(Math.abs(m) / 60))}:${two(Math.abs(m) % 60)}`;
}

const numbers = new Intl.NumberFormat("en-US");
// count is a whole number with its thousands apart; nothing is ever "many".
export const count = (n) => (n == null ? "–" : numbers.format(n));
export const percent = (x) => (x == null ? "–" : (x * 100 >= 10 || x === 0 ? Math.round(x * 100) : (x * 100).toFixed(1)) + " %");
export const bytes = (n) => (n < 1024 ? n + " B" : n < 1 << 20 ? (n / 1024).toFixed(1) + " KiB" : (n / (1 << 20)).toFixed(1) + " MiB");
export const jobsN = (n) => count(n) + (n === 1 ? " job" : " jobs");
