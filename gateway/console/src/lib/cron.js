// What a schedule means, in plain words.
import { span } from "./time.js";

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const short = (names) => Object.fromEntries(names.map((n, i) => [n.slice(0, 3).toUpperCase(), i]));
const dayNames = short(days), monthNames = short(months);
const two = (n) => String(n).padStart(2, "0");
const named = { "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *" };

const list = (all) => (all.length < 2 ? all.join("") : all.slice(0, -1).join(", ") + " and " + all.at(-1));

// part reads one field: {every: n} for a step over all, {all: true}, or {values: [...]}, {range: [a, b]}; null: it is of no kind that has words.
function part(text, names = {}, max) {
  if (text === "*" || text === "?") return { all: true };
  const step = /^\*\/(\d+)$/.exec(text);
  if (step) return { every: Number(step[1]) };
  const value = (v) => names[v.toUpperCase()] ?? (/^\d+$/.test(v) && Number(v) <= max ? Number(v) : NaN);
  const range = /^(\w+)-(\w+)$/.exec(text);
  if (range) return [1, 2].some((i) => Number.isNaN(value(range[i]))) ? null : { range: [value(range[1]), value(range[2])] };
  const values = text.split(",").map(value);
  return values.some(Number.isNaN) ? null : { values };
}

const said = (p, name) => (p.range ? `${name(p.range[0])} to ${name(p.range[1])}` : list(p.values.map(name)));
const nth = (n) => n + (n % 10 === 1 && n !== 11 ? "st" : n % 10 === 2 && n !== 12 ? "nd" : n % 10 === 3 && n !== 13 ? "rd" : "th");

// cronWords says a cron expression in words; what has no plain ones stays as it is.
export function cronWords(expression) {
  const text = (named[expression.trim()] ?? expression).trim().split(/\s+/);
  if (text.length !== 5) return `by ${expression}`;
  const [m, h, dom, mon, dow] = [part(text[0], {}, 59), part(text[1], {}, 23), part(text[2], {}, 31), part(text[3], Object.fromEntries(Object.entries(monthNames).map(([k, v]) => [k, v + 1])), 12), part(text[4], dayNames, 7)];
  if (![m, h, dom, mon, dow].every(Boolean) || mon.every || dom.every || dow.every || m.range) return `by ${expression}`;
  const time = clock(m, h);
  if (!time) return `by ${expression}`;
  const often = m.every || m.all || h.all || h.every;
  let day = often ? "" : "every day ";
  if (!dow.all) day = `every ${said(dow, (d) => days[d % 7])} `;
  if (dow.range?.[0] === 1 && dow.range[1] === 5) day = "every weekday ";
  if (!dom.all) day = (dow.all ? "" : day.trimEnd() + " or ") + `on the ${said(dom, nth)} of ${mon.all ? "every month" : said(mon, (n) => months[n - 1])} `;
  else if (!mon.all) day = (day || "every day ") + `in ${said(mon, (n) => months[n - 1])} `;
  return often ? `${time}${day ? ", " + day.trim() : ""}` : `${day}${time}`;
}

function clock(m, h) {
  if (m.every) return `every ${m.every} minutes` + (h.all ? "" : ` from ${hours(h)}`);
  if (m.all) return "every minute" + (h.all ? "" : ` from ${hours(h)}`);
  if (h.all) return m.values.length === 1 && m.values[0] === 0 ? "every hour" : `every hour at ${list(m.values.map((v) => ":" + two(v)))}`;
  if (h.every) return `every ${h.every} hours at ${list(m.values.map((v) => ":" + two(v)))}`;
  if (h.range) return m.values.length === 1 ? `at :${two(m.values[0])} from ${two(h.range[0])}:00 to ${two(h.range[1])}:59` : null;
  return "at " + list(h.values.flatMap((x) => m.values.map((y) => `${two(x)}:${two(y)}`)));
}
const hours = (h) => (h.range ? `${two(h.range[0])}:00 to ${two(h.range[1])}:59` : h.every ? `every ${h.every}th hour` : list(h.values.map((v) => `${two(v)}:00 to ${two(v)}:59`)));

// words says when a schedule ticks.
export function words(s) {
  if (s.cron) return cronWords(s.cron) + (s.tz && s.tz !== "UTC" ? `, ${s.tz}` : ", UTC");
  if (s.every_s) return `every ${span(s.every_s)}` + (s.offset_s ? `, ${span(s.offset_s)} later` : "");
  if (s.at) return "once";
  return "–";
}
