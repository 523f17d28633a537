// Asking before something is changed: what, how many, and why.
import { effect, signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { loc } from "../lib/router.js";
import { Button, Dialog, Field } from "./kit.jsx";

const asking = signal(null);

// ask shows a dialog and returns {reason, ...values} or null. reason: "required", "optional" or none; fields are further
// inputs: {name, label, kind: select|check|text, options, value, help}. work(values), if given, is done while the dialog is open;
// what it throws is shown there, and what it returns is the answer. what is the job that is meant, which is named: a list moves.
export const ask = (what) => new Promise((done) => { asking.value = { ...what, done: (v) => { asking.value = null; done(v); } }; });

// Who leaves the page has not confirmed: the question was of what that page showed.
let asked = loc.peek().path;
effect(() => {
  const { path } = loc.value;
  if (path !== asked) asking.peek()?.done(null);
  asked = path;
});

export function Asking() {
  const a = asking.value;
  return a && <Ask key={a} {...a} />;
}

function Ask({ title, what, text, verb = "Confirm", danger, reason = "required", reasonLabel = "Reason", fields = [], work, done }) {
  const [values, set] = useState(() => Object.fromEntries([["reason", ""], ...fields.map((f) => [f.name, f.value ?? ""])]));
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const put = (name, v) => set((was) => ({ ...was, [name]: v }));
  const submit = async () => {
    if (reason === "required" && !values.reason.trim()) return setError({ field: "reason", message: "It stands in the history for ever: say why." });
    if (!work) return done(values);
    setBusy(true);
    try {
      done((await work(values)) ?? values);
    } catch (e) {
      setError({ message: e.message, code: [e.code, e.details?.action && "missing: " + e.details.action].filter(Boolean).join(", ") });
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={() => !busy && done(null)} onSubmit={submit}
      footer={<><Button onClick={() => done(null)} disabled={busy}>Back</Button><button class={"btn " + (danger ? "danger" : "primary")} aria-busy={busy ? "true" : undefined} disabled={busy}>{verb}</button></>}>
      {what && <p><strong class="break">{what.type}</strong> <code class="break faint">{what.id}</code></p>}
      {text && <div class="ask-text">{text}</div>}
      {fields.map((f) => (
        f.kind === "check"
          ? <label key={f.name} class="check"><input type="checkbox" name={f.name} checked={!!values[f.name]} onChange={(e) => put(f.name, e.target.checked)} /> <span>{f.label}{f.help && <small>{f.help}</small>}</span></label>
          : <Field key={f.name} label={f.label} help={f.help}>
              {f.kind === "select"
                ? <select name={f.name} value={values[f.name]} onChange={(e) => put(f.name, e.target.value)}>{f.options.map(([v, l]) => <option key={v} value={v}>{l}</option>)}</select>
                : <input type={f.kind || "text"} name={f.name} value={values[f.name]} placeholder={f.placeholder} required={f.required} onInput={(e) => put(f.name, e.target.value)} />}
            </Field>
      ))}
      {reason !== "none" && (
        <Field label={reasonLabel + (reason === "optional" ? " (if you like)" : "")} error={error?.field === "reason" ? error.message : ""}>
          <input name="reason" value={values.reason} autofocus maxlength="500" onInput={(e) => put("reason", e.target.value)} />
        </Field>
      )}
      {error && !error.field && <p class="wrong-text" role="alert">{error.message} {error.code && <span class="faint">[{error.code}]</span>}</p>}
    </Dialog>
  );
}
