// Running a job again, with its args as they were or edited: a new job, linked to the old one.
import { useState } from "preact/hooks";
import { request, part } from "../lib/api.js";
import { at, org, toast } from "../lib/store.js";
import { go } from "../lib/router.js";
import { pretty, source, tree } from "../lib/json.js";
import { Button, Dialog, Field } from "../ui/kit.jsx";
import { hasRedacted } from "../ui/json.jsx";

export function RunAgain({ j, args, onClose }) {
  const before = args && !j.args_ref ? pretty(args) : "";
  const masked = hasRedacted(args);
  const [text, setText] = useState(before);
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    if (!reason.trim()) return setError({ field: "reason", message: "It stands in the history for ever: say why." });
    let raw = JSON.stringify({ reason });
    if (text !== before) {
      try {
        const edited = tree(text);
        if (masked && hasRedacted(edited)) return setError({ field: "args", message: 'Where "[redacted]" stands nobody knows what is meant: give the value. Args that are not edited are taken over whole, with what is redacted.' });
        raw = raw.slice(0, -1) + ',"args":' + source(edited) + "}";
      } catch (e) { return setError({ field: "args", message: e.message }); }
    }
    setBusy(true);
    try {
      const made = await request("POST", `orgs/${org.value}/jobs/${part(j.id)}/resubmit`, { raw });
      toast("Submitted as a new job.");
      onClose();
      go(at("jobs/" + part(made.id)));
    } catch (e) {
      setError({ field: e.details?.field ?? "args", message: e.message });
      setBusy(false);
    }
  };
  return (
    <Dialog title={"Run " + j.type + " again"} wide onClose={onClose} onSubmit={submit}
      footer={<><Button onClick={onClose}>Back</Button><button class="btn primary" disabled={busy} aria-busy={busy ? "true" : undefined}>Submit as a new job</button></>}>
      <p class="faint">Type, queue, priority, tags and owner are those of the old job, which stays as it is.</p>
      {j.args_ref ? <p>Its args are large and are taken over as they are.</p>
        : <Field label="Args" error={error && error.field !== "reason" ? error.message : ""}><textarea name="args" rows="12" spellcheck={false} value={text} onInput={(e) => setText(e.target.value)} /></Field>}
      <Field label="Reason" error={error?.field === "reason" ? error.message : ""}><input name="reason" value={reason} autofocus maxlength="500" onInput={(e) => setReason(e.target.value)} /></Field>
    </Dialog>
  );
}
