// A new job. Where its type has a schema of args, the form is drawn from it; JSON can be written in any case.
import { useEffect, useState } from "preact/hooks";
import { get, part, request } from "../lib/api.js";
import { at, org, toast } from "../lib/store.js";
import { go } from "../lib/router.js";
import { tree, pretty, source } from "../lib/json.js";
import { Button, Dialog, Field } from "../ui/kit.jsx";
import { Schema, argsOf, formOf } from "../ui/schema.jsx";

export function NewJob({ onClose, type: first }) {
  const [types, setTypes] = useState([]);
  const [type, setType] = useState(first);
  const [schema, setSchema] = useState(null);
  const [asJSON, setAsJSON] = useState(true);
  const [text, setText] = useState("{}");
  const [form, setForm] = useState({});
  const [opt, setOpt] = useState({});
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => { get("types", { query: { org: org.value } }).then((r) => setTypes(r.items), () => {}); }, []);
  useEffect(() => {
    setSchema(null);
    if (!types.some((t) => t.name === type)) return;
    let gone = false;
    get("types/" + part(type), { query: { org: org.value } }).then((t) => {
      if (gone) return;
      const s = t.schema;
      setSchema(s);
      setAsJSON(!(s && s.properties));
      if (s?.properties) setForm(formOf(s));
    }, () => {});
    return () => { gone = true; };
  }, [type, types]);
  const args = () => (asJSON ? text : argsOf(schema, form));
  const toggle = () => {
    if (asJSON) {
      try { setForm(formOf(schema, tree(text))); } catch (e) { return setError({ field: "args", message: e.message }); }
    } else setText(pretty(tree(argsOf(schema, form))));
    setError(null);
    setAsJSON(!asJSON);
  };
  const submit = async () => {
    setError(null);
    let body;
    try {
      body = bodyOf(type, args(), opt);
    } catch (e) {
      return setError({ field: "args", message: e.message });
    }
    setBusy(true);
    try {
      const made = await request("POST", `orgs/${org.value}/jobs`, { raw: body, retry: true });
      toast(made.duplicate ? "The same job is there already." : "Submitted.");
      go(at("jobs/" + part(made.id)));
    } catch (e) {
      setError({ field: e.details.field, message: e.message });
      setBusy(false);
    }
  };
  const put = (k) => (e) => setOpt({ ...opt, [k]: e.target.value });
  const known = types.find((t) => t.name === type);
  const about = known?.description;
  return (
    <Dialog title="New job" wide onClose={onClose} onSubmit={submit}
      footer={<><Button onClick={onClose}>Back</Button><button class="btn primary" disabled={busy || !type} aria-busy={busy ? "true" : undefined}>Submit</button></>}>
      <Field label="Type" help={about} error={error && /^type/.test(error.field ?? "") ? error.message : ""}>
        <input name="type" list="job-types" value={type} autofocus required autocomplete="off" onInput={(e) => setType(e.target.value.trim())} />
        <datalist id="job-types">{types.map((t) => <option key={t.name} value={t.name}>{t.description}</option>)}</datalist>
      </Field>
      {schema?.properties && <div class="args-head"><strong>Args</strong><button type="button" class="link" onClick={toggle}>{asJSON ? "as a form" : "as JSON"}</button></div>}
      {asJSON
        ? <Field label="Args as JSON" error={error && !/^type/.test(error.field ?? "") ? error.message : ""}><textarea name="args" rows="8" spellcheck={false} value={text} onInput={(e) => setText(e.target.value)} /></Field>
        : <Schema schema={schema} value={form} onChange={setForm} error={error} />}
      <details class="more">
        <summary>When, where and how often</summary>
        <div class="fields">
          <Field label="Queue"><input name="queue" placeholder={known?.queue ?? "as the type says"} value={opt.queue ?? ""} onInput={put("queue")} /></Field>
          <Field label="Priority"><select name="priority" value={opt.priority ?? ""} onChange={put("priority")}><option value="">{known ? `${known.priority} (as the type says)` : "as the type says"}</option>{["low", "normal", "high", "critical"].map((p) => <option key={p}>{p}</option>)}</select></Field>
          <Field label="Not before" help="1h, or a time such as 2026-11-30T08:00:00Z"><input name="not_before" value={opt.not_before ?? ""} onInput={put("not_before")} /></Field>
          <Field label="Deadline" help="The latest start"><input name="deadline" value={opt.deadline ?? ""} onInput={put("deadline")} /></Field>
          <Field label="Attempts at most"><input name="max_attempts" type="number" min="1" placeholder={known?.max_attempts} value={opt.max_attempts ?? ""} onInput={put("max_attempts")} /></Field>
          <Field label="Idempotency key" help="The same key and args: the same job"><input name="key" value={opt.key ?? ""} onInput={put("key")} /></Field>
          <Field label="Parents" help="Ids, with blanks between"><input name="parents" value={opt.parents ?? ""} onInput={put("parents")} /></Field>
          <Field label="Tags" help="env=prod shop=7"><input name="tags" value={opt.tags ?? ""} onInput={put("tags")} /></Field>
        </div>
      </details>
      {error && !asJSON && !/^type/.test(error.field ?? "") && <p class="wrong-text" role="alert">{error.message}</p>}
    </Dialog>
  );
}

// bodyOf writes the request; args stay as they were written, byte for byte.
function bodyOf(type, args, o) {
  const words = (s) => (s ?? "").split(/[\s,]+/).filter(Boolean);
  const body = { type };
  for (const k of ["queue", "priority", "not_before", "deadline", "key"]) if (o[k]?.trim()) body[k] = o[k].trim();
  if (o.max_attempts) body.max_attempts = Number(o.max_attempts);
  if (words(o.parents).length) body.parents = words(o.parents);
  const tags = words(o.tags).map((t) => t.split(/=(.*)/s));
  if (tags.length) body.tags = Object.fromEntries(tags.map(([k, v]) => [k, v ?? ""]));
  const text = JSON.stringify(body);
  return text.slice(0, -1) + `,"args":${source(tree(args.trim() || "{}"))}}`;
}
