// Settings of the cell: changed field by field, with a reason, while they are as they were seen.
import { patch } from "../lib/api.js";
import { toast } from "../lib/store.js";
import { count, span } from "../lib/time.js";
import { ask } from "./ask.jsx";

// limit shows a number of which 0 is none.
export const limit = (n) => (n ? count(n) : <span class="faint">no limit</span>);

// rate is such as 100 in 1m; parseRate reads 100/1m.
export const rate = (r) => (r ? `${count(r.count)} in ${span(r.per_ms / 1000)}` : null);
const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const rateText = (r) => {
  if (!r) return "";
  const [unit, size] = Object.entries(units).findLast(([, ms]) => r.per_ms % ms === 0) ?? ["ms", 1];
  return `${r.count}/${r.per_ms / size}${unit}`;
};
export function parseRate(text) {
  const m = /^\s*(\d+)\s*\/\s*(\d*)\s*(ms|s|m|h|d)\s*$/.exec(text);
  if (!m) throw new Error(`"${text}" is no rate: write it as 100/1m`);
  return { count: Number(m[1]), per_ms: Number(m[2] || 1) * units[m[3]] };
}

const whole = (text, label) => {
  if (!/^\d+$/.test(text.trim())) throw new Error(`${label}: "${text}" is no whole number`);
  return Number(text);
};
const decimal = (text, label) => {
  if (!(Number(text) >= 0)) throw new Error(`${label}: "${text}" is no number`);
  return Number(text);
};

// kinds of fields: how a value is shown in an input, and read from it; an empty input is null, the default.
const kinds = {
  number: { write: (v) => (v ? String(v) : ""), read: whole },
  decimal: { write: (v) => (v == null ? "" : String(v)), read: decimal },
  rate: { write: rateText, read: parseRate },
  text: { write: (v) => v ?? "", read: (v) => v },
  select: { write: (v) => v ?? "", read: (v) => v },
  weights: {
    write: (v) => Object.entries(v ?? {}).map(([o, w]) => `${o}=${w}`).join(" "),
    read: (text) => Object.fromEntries(text.trim().split(/[\s,]+/).map((p) => {
      const m = /^([\w-]+)=(\d+)$/.exec(p);
      if (!m) throw new Error(`"${p}" is no weight: write it as acme=3`);
      return [m[1], Number(m[2])];
    })),
  },
};

// inputs are the fields of ask() for settings; changed is the merge patch of what the reader changed.
export const inputs = (fields, have) => fields.map((f) => ({ name: f.name, label: f.label, help: f.help, options: f.options, placeholder: f.placeholder ?? (f.kind === "number" ? "no limit" : ""),
  kind: f.kind === "select" ? "select" : "text", value: kinds[f.kind].write(have[f.name]) }));
export function changed(fields, have, values) {
  const set = {};
  for (const f of fields) {
    const text = String(values[f.name] ?? "");
    if (text === kinds[f.kind].write(have[f.name])) continue;
    const value = text.trim() === "" ? null : kinds[f.kind].read(text, f.label);
    if (f.kind === "weights") for (const o of Object.keys(have[f.name] ?? {})) if (value && !(o in value)) value[o] = null; // a merge patch takes away what is null
    set[f.name] = value;
  }
  return set;
}

// edit changes settings at path: have is how they stand, seq the event that set them; isNew: they were never set.
export async function edit({ title, path, have, fields, seq, isNew, text }) {
  const r = await ask({
    title, verb: "Save", text, fields: inputs(fields, have),
    work: (values) => {
      const set = changed(fields, have, values);
      if (!Object.keys(set).length) throw new Error("Nothing was changed.");
      return patch(path, { set, reason: values.reason, ...(isNew && { new: true }) }, { ifMatch: seq || undefined });
    },
  });
  if (r) toast("Saved. It acts within a second.");
  return r;
}
