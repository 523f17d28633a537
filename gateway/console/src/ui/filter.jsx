// The filter box: the grammar of docs/SEARCH.md, with completion of fields and values.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { get } from "../lib/api.js";
import { org } from "../lib/store.js";
import { count } from "../lib/time.js";
import { Icon } from "./icons.jsx";
import { IconButton } from "./kit.jsx";

export const states = ["submitted", "queued", "running", "retrying", "completed", "canceled", "dead_lettered"];
const fields = [
  ["state", "where it stands"], ["type", "its type; email-* begins with"], ["queue", ""], ["reason", "why it is where it is"], ["error", "a part of the latest error"],
  ["class", "of the latest error"], ["submitted", "<1h: in the last hour"], ["finished", "<1h: in the last hour"], ["attempt", ">2, 2..5"], ["priority", ""], ["owner", "whom it runs as"],
  ["tag.", "tag.NAME:value"], ["batch", ""], ["id", ""], ["args.", "args.user.id:4711"], ["args", "a part of any value"], ["result.", "result.PATH:value"], ["resolution", "of a dead letter"],
];
const values = {
  state: states.map((s) => [s]),
  reason: ["scheduled", "waiting_on_parent", "ready", "duplicate", "canceled", "permanent_error", "retries_exhausted", "dependency_failed", "expired", "rejected", "org_deleted", "poison"].map((s) => [s]),
  class: [["transient"], ["permanent"], ["unclassified"], ["timeout"], ["lost"]],
  priority: [["low"], ["normal"], ["high"], ["critical"]],
  resolution: [["open"], ["resolved"], ["ignored"]],
  submitted: [["<5m", "in the last 5 minutes"], ["<1h", "in the last hour"], ["<1d", "in the last day"], [">1d", "longer than a day ago"]],
  finished: [["<5m", "in the last 5 minutes"], ["<1h", "in the last hour"], ["<1d", "in the last day"], [">1d", "longer than a day ago"]],
  attempt: [[">1", "more than one"], [">=3", ""]],
};

// word is the term that the cursor is in: {from, to, text}. Quotes hold blanks together.
function word(text, at) {
  let from = 0, quoted = false;
  for (let i = 0; i < at; i++) {
    if (text[i] === "\\" && quoted) i++;
    else if (text[i] === '"') quoted = !quoted;
    else if (text[i] === " " && !quoted) from = i + 1;
  }
  let to = at;
  while (to < text.length && (quoted || text[to] !== " ")) {
    if (text[to] === '"') quoted = !quoted;
    to++;
  }
  return { from, to, text: text.slice(from, at) };
}

const plain = /^[\w.*:<>=@/+-]+$/;
export const quote = (v) => (plain.test(v) && !/[*]/.test(v) ? v : '"' + v.replace(/["\\]/g, "\\$&") + '"');

// suggestions for what stands before the cursor; learnt are values read from the server.
function suggestions(w, learnt) {
  const minus = w.text.startsWith("-") ? "-" : "";
  const term = w.text.slice(minus.length);
  const colon = term.indexOf(":");
  if (colon < 0) return fields.filter(([f]) => f.startsWith(term) && f !== term).map(([f, about]) => ({ insert: minus + f + (f.endsWith(".") ? "" : ":"), show: f + (f.endsWith(".") ? "…" : ""), about }));
  const field = term.slice(0, colon);
  const given = term.slice(colon + 1);
  const comma = given.lastIndexOf(",") + 1;
  const part = given.slice(comma).replace(/^"/, "");
  const all = learnt[field] ?? values[field] ?? [];
  const used = given.slice(0, comma).split(",");
  return all.filter(([v]) => v.toLowerCase().includes(part.toLowerCase()) && v !== part && !used.includes(v))
    .map(([v, about]) => ({ insert: minus + field + ":" + given.slice(0, comma) + (field === "submitted" || field === "finished" || field === "attempt" ? v : quote(v)), show: v, about, whole: true }));
}

// Filter is the box. value is the text that holds; onChange(text) is called on Enter, and when typing rests.
export function Filter({ value, onChange, error }) {
  const [text, setText] = useState(value);
  const [open, setOpen] = useState(false);
  const [n, setN] = useState(-1);
  const [at, setAt] = useState(value.length);
  const [learnt, setLearnt] = useState({});
  const input = useRef();
  const id = useId();
  const typing = useRef(0);
  const told = useRef(value);
  const tell = (t) => { clearTimeout(typing.current); told.current = t.trim(); onChange(told.current); };
  // The address tells back what was typed, which may go on by then: only what came from elsewhere takes its place.
  useEffect(() => {
    if (value === told.current) return;
    clearTimeout(typing.current);
    told.current = value;
    setText(value);
    setAt(value.length);
  }, [value]);
  useEffect(() => () => clearTimeout(typing.current), []);
  const learn = async () => {
    if (learnt.org === org.value) return;
    const next = { org: org.value };
    setLearnt(next);
    await Promise.all(["type", "queue"].map(async (by) => {
      try { next[by] = (await get(`orgs/${org.value}/counts`, { query: { by } })).items.map((i) => [i.key, count(i.count)]); } catch { /* then without */ }
    }));
    setLearnt({ ...next });
  };
  const w = word(text, at);
  const list = open ? suggestions(w, learnt).slice(0, 12) : [];
  const apply = (t) => { setOpen(false); setN(-1); tell(t); };
  const put = (t, cursor) => { setText(t); setAt(cursor); setN(-1); };
  const accept = (s) => {
    const tail = text.slice(w.to);
    const t = text.slice(0, w.from) + s.insert + (s.whole && !tail ? " " : "") + tail;
    const cursor = w.from + s.insert.length + (s.whole && !tail ? 1 : 0);
    input.current.value = t; // at once, so that what is typed next goes behind it
    input.current.focus();
    input.current.setSelectionRange(cursor, cursor);
    put(t, cursor);
    clearTimeout(typing.current);
    if (s.whole) tell(t);
  };
  const key = (e) => {
    const d = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (d && (list.length || d === 1)) {
      e.preventDefault();
      if (!list.length) return setOpen(true);
      setN((n + d + list.length + (n < 0 && d < 0 ? 1 : 0)) % list.length);
    } else if ((e.key === "Enter" || (e.key === "Tab" && n >= 0)) && list[n]) { e.preventDefault(); accept(list[n]); }
    else if (e.key === "Enter") { e.preventDefault(); apply(text); }
    else if (e.key === "Escape") { e.preventDefault(); open && list.length ? setOpen(false) : input.current.blur(); }
  };
  const typed = (e) => {
    const t = e.target.value;
    put(t, e.target.selectionStart ?? t.length);
    setOpen(true);
    clearTimeout(typing.current);
    // What is being typed is asked for when it may be whole: a term without its value would be an error.
    if (/^$|\S:\S+\s$/.test(t)) typing.current = setTimeout(() => tell(t), 250);
  };
  return (
    <div class="filter">
      <div class={"filter-box" + (error ? " wrong" : "")}>
        <Icon name="search" />
        <input ref={input} data-filter value={text} spellcheck={false} autocomplete="off" autocapitalize="off" placeholder="state:running type:email-* error:&quot;connection refused&quot;" aria-label="Filter"
          role="combobox" aria-expanded={list.length > 0} aria-controls={id} aria-activedescendant={n >= 0 ? id + n : undefined} aria-invalid={error ? "true" : undefined}
          onFocus={() => { learn(); setOpen(true); }} onBlur={() => setTimeout(() => setOpen(false), 120)} onInput={typed} onKeyDown={key} onClick={(e) => setAt(e.target.selectionStart)} />
        {text && <IconButton icon="close" label="Clear the filter" onClick={() => { put("", 0); apply(""); }} />}
      </div>
      {list.length > 0 && (
        <ul class="completions" id={id} role="listbox">
          {list.map((s, i) => <li key={s.show} id={id + i} role="option" aria-selected={i === n} class={i === n ? "at" : ""} onMouseDown={(e) => { e.preventDefault(); accept(s); }}><span>{s.show}</span><span class="faint">{s.about}</span></li>)}
        </ul>
      )}
      {error && <p class="wrong-text" role="alert">{error.message.replace(/^where: /, "")}</p>}
    </div>
  );
}

// terms splits a filter, so that one field can be changed and the others stay.
function terms(q) {
  const all = [];
  for (let i = 0; i < q.length;) {
    while (q[i] === " ") i++;
    if (i >= q.length) break;
    const w = word(q, i + 1);
    all.push(q.slice(i, w.to));
    i = w.to;
  }
  return all;
}
export const termOf = (q, field) => terms(q).find((t) => t.startsWith(field + ":"))?.slice(field.length + 1) ?? "";
export const withTerm = (q, field, value) => [...terms(q).filter((t) => !t.startsWith(field + ":")), ...(value ? [field + ":" + value] : [])].join(" ");
