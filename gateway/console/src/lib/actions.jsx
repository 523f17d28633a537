// What can be done to jobs. Each asks first, says what it did, and returns the answer or null.
import { get, post, part, request } from "./api.js";
import { field } from "./json.js";
import { org, may, toast } from "./store.js";
import { ask } from "../ui/ask.jsx";

// job is where an action on a job goes: the org is the one that is shown when it is asked for.
const job = (id, verb) => `orgs/${org.peek()}/jobs/${part(id)}/${verb}`;
const finished = (s) => s === "completed" || s === "canceled" || s === "dead_lettered";

// can says which actions a job's state and the caller's rights allow.
export const can = (j) => ({
  cancel: may("jobs.cancel") && !finished(j.state) && !j.flags?.includes("cancel_requested"),
  retry: may("jobs.retry") && (j.state === "dead_lettered" || j.state === "retrying" || (j.state === "canceled" && !j.cancel?.duplicate_of)),
  resolve: may("jobs.resolve") && j.state === "dead_lettered" && j.resolution?.state === "open",
  resubmit: may("jobs.submit"),
});

export async function cancelJob(j) {
  const r = await ask({
    title: "Cancel this job", what: j, verb: "Cancel the job", danger: true,
    text: <p>{j.state === "running" ? "It runs: it is told to stop, and ends when it has." : "It will not run any more."} Its history stays.</p>,
    fields: [{ name: "cascade", label: "Cancel also all that wait for it", kind: "check", value: false }],
    work: (v) => post(job(j.id, "cancel"), { reason: v.reason, ...(v.cascade && { cascade: true }) }, { ifMatch: j.seq }),
  });
  if (r) toast(r.requested ? "Told to stop." : "Canceled.");
  return r;
}

export async function retryJob(j) {
  const r = await ask({
    title: j.state === "retrying" ? "Try again now" : "Retry this job", what: j, verb: "Retry the job",
    text: <p>{j.state === "retrying" ? "Its next attempt begins now, not after the backoff." : "It starts again under the same id, with as many attempts as at first. Its history stays."}</p>,
    fields: j.parents?.length ? [{ name: "waive", label: "Whatever becomes of its parents", kind: "check", value: false }] : [],
    work: (v) => post(job(j.id, "retry"), { reason: v.reason, ...(v.waive && { waive_parents: true }) }, { ifMatch: j.seq }),
  });
  if (r) toast("It is on its way again.");
  return r;
}

export const resolveFields = [{ name: "as", label: "It is", kind: "select", value: "resolved", options: [["resolved", "resolved: dealt with"], ["ignored", "ignored: not worth treating"]] }];

export async function resolveJob(j) {
  const r = await ask({
    title: "Close this dead letter", what: j, verb: "Close it", reasonLabel: "Note", fields: resolveFields,
    work: (v) => post(job(j.id, "resolve"), { note: v.reason, as: v.as }, { ifMatch: j.seq }),
  });
  if (r) toast("Closed.");
  return r;
}

// unmaskJob shows args with what their type redacts: it returns their node, or null. That they were seen is an event.
export async function unmaskJob(j) {
  const r = await ask({
    title: "Show what is redacted", what: j, verb: "Unmask",
    text: <p>That you saw it, and why, stands in the history of the job for ever. It is shown until you leave the page.</p>,
    work: async (v) => ({ args: field(await request("POST", job(j.id, "unmask"), { body: { reason: v.reason }, exact: true }), "args") }),
  });
  return r?.args ?? null;
}

// exportJob saves a job with its whole history, as the server told it.
export async function exportJob(id) {
  const items = [];
  const text = async (path, cursor) => (await get(path, { query: { cursor }, exact: true }));
  const record = await text(`orgs/${org.value}/jobs/${part(id)}`);
  for (let cursor = "", n = 0; n < 1000; n++) {
    const page = await text(`orgs/${org.value}/jobs/${part(id)}/history`, cursor);
    const at = page.fields.find(([n]) => n === "items")[1];
    items.push(...at.items.map((x) => x.text.slice(x.from, x.to)));
    const next = page.fields.find(([n]) => n === "next")?.[1];
    if (!next || next.kind !== "string") break;
    cursor = next.value;
  }
  save(`${id}.json`, `{"job":${record.text.trim()},"history":[\n${items.join(",\n")}\n]}\n`, "application/json");
}

// save has the browser store a file.
export function save(name, text, type) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([text], { type }));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
}
