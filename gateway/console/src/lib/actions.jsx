// What can be done to jobs. Each asks first, says what it did, and returns the answer or null.
import { get, post, part, request } from "./api.js";
import { field } from "./json.js";
import { org, may, toast } from "./store.js";
import { count } from "./time.js";
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

const resolveFields = [{ name: "as", label: "It is", kind: "select", value: "resolved", options: [["resolved", "resolved: dealt with"], ["ignored", "ignored: not worth treating"]] }];

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

// chunk is how many jobs one request acts upon; a bulk reaches bulkMax, the oldest first (docs/HTTP.md).
const chunk = 100;
export const bulkMax = 10_000;
const verbs = { cancel: ["Cancel", "canceled"], retry: ["Retry", "retried"], resolve: ["Close", "closed"] };

// bulk counts first what an action would reach, asks, then does it chunk by chunk; onProgress({done, failed, skipped, total,
// stop}) is called in between. filter is a text of the grammar; ids, if given, are acted upon alone.
export async function bulk(action, { ids, filter, group, what }, onProgress) {
  if (busy) {
    toast("Another operation on many jobs is under way.", { kind: "bad" });
    return null;
  }
  busy = true;
  try {
    return await bulkAlone(org.peek(), action, { ids, filter, group, what }, onProgress);
  } catch (e) {
    toast("Nothing was changed: " + e.message, { kind: "bad", detail: faultOf(e) });
    return null;
  } finally {
    busy = false;
  }
}

let busy = false;
const faultOf = (e) => [e.code, e.details?.action && "missing: " + e.details.action, e.requestID && "request " + e.requestID].filter(Boolean).join(" · ");

// bulkAlone stays in the org where it began, whatever is looked at meanwhile.
async function bulkAlone(o, action, { ids, filter, group, what }, onProgress) {
  const path = `orgs/${o}/bulk`;
  const choice = ids ? { ids } : { filter: filterOf(filter, group) };
  const dry = await dryRun(path, action, ids, choice);
  if (!dry.eligible) {
    toast(`${count(dry.matched)} ${dry.matched === 1 ? "job matches" : "jobs match"}, none of which can be ${verbs[action][1]}.`, { kind: "bad" });
    return null;
  }
  const reached = dry.ids ?? ids;
  const values = await ask({
    title: `${verbs[action][0]} ${count(reached.length)} ${reached.length === 1 ? "job" : "jobs"}`,
    text: <p>{count(dry.matched)} {dry.matched === 1 ? "job matches" : "jobs match"}{what ? " " + what : ""}, {count(dry.eligible)} can be {verbs[action][1]}{dry.eligible > reached.length ? `; this reaches the ${count(reached.length)} oldest` : ""}. Each is judged by its own state once more when its turn comes.</p>,
    verb: `${verbs[action][0]} ${count(reached.length)}`, danger: action === "cancel", reasonLabel: action === "resolve" ? "Note" : "Reason", fields: action === "resolve" ? resolveFields : [],
  });
  if (!values) return null;
  return carryOut(path, action, reached, choice.filter, values, dry.bulk_id, onProgress);
}

async function dryRun(path, action, ids, choice) {
  if (!ids) return post(path, { action, ...choice, dry_run: true });
  const sum = { matched: 0, eligible: 0, ids: [] };
  for (let i = 0; i < ids.length; i += chunk) {
    const r = await post(path, { action, ids: ids.slice(i, i + chunk), dry_run: true });
    sum.matched += r.matched;
    sum.eligible += r.eligible;
    sum.bulk_id = r.bulk_id;
    sum.ids.push(...r.items.filter((x) => x.ok).map((x) => x.id));
  }
  return sum;
}

async function carryOut(path, action, ids, filter, values, bulkID, onProgress) {
  const sum = { done: 0, skipped: 0, failed: 0, total: ids.length, stopped: false, items: [] };
  let broke = null;
  const stop = () => { sum.stopped = true; };
  const why = action === "resolve" ? { note: values.reason, as: values.as } : { reason: values.reason };
  try {
    for (let i = 0; i < ids.length && !sum.stopped; i += chunk) {
      onProgress?.({ ...sum, stop });
      const r = await post(path, { action, ids: ids.slice(i, i + chunk), ...(filter && { filter }), ...why, bulk_id: bulkID });
      sum.done += r.done;
      sum.skipped += r.skipped;
      sum.failed += r.failed;
      sum.items.push(...r.items.filter((x) => x.error));
    }
  } catch (e) {
    broke = e; // what was done before stays done, and is told
  } finally {
    onProgress?.(null);
  }
  const first = broke ? `${broke.message}. Of the ${count(Math.min(chunk, sum.total - sum.done - sum.skipped - sum.failed))} asked for last some may be ${verbs[action][1]} · ${faultOf(broke)}` : sum.items[0]?.error?.message;
  toast(`${count(sum.done)} ${verbs[action][1]}${sum.skipped ? `, ${count(sum.skipped)} had moved on` : ""}${sum.failed ? `, ${count(sum.failed)} refused` : ""}${sum.stopped || broke ? `, stopped before ${count(sum.total - sum.done - sum.skipped - sum.failed)}` : ""}.`,
    { kind: sum.failed || broke ? "bad" : "ok", detail: sum.failed || broke ? first : "" });
  return sum;
}

// filterOf is a filter of the bulk's body. The marker in state makes a server that does not know the grammar refuse it.
export const filterOf = (q, group) => ({ ...(q && { where: q, state: ["where"] }), ...(group && { group, resolution: "open" }) });

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
