// What is done to many jobs: counted, asked about, and done by the servers.
import { del, get, part, pause, post, request } from "./api.js";
import { resolveFields } from "./actions.jsx";
import { org, toast } from "./store.js";
import { count } from "./time.js";
import { ask } from "../ui/ask.jsx";

// chunk is how many jobs one request acts upon, more are a job of the servers, which goes on without this page; a bulk reaches
// the 10,000 oldest (docs/HTTP.md).
const chunk = 100;
const lookMS = 1000; // between two looks at how far one is
export const verbs = { cancel: ["Cancel", "canceled"], retry: ["Retry", "retried"], resolve: ["Close", "closed"] };

// bulk counts first what an action would reach, asks, then has it done; onProgress({done, failed, skipped, total, stop}) is
// called meanwhile. filter is a text of the grammar; ids, if given, are acted upon alone.
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
  const why = action === "resolve" ? { note: values.reason, as: values.as } : { reason: values.reason };
  const body = { action, ids, ...(filter && { filter }), ...why, bulk_id: bulkID };
  let sum = { done: 0, skipped: 0, failed: 0, jobs: ids.length };
  let broke = null, stopped = false, message = "";
  try {
    onProgress?.({ ...sum, total: ids.length });
    if (ids.length <= chunk) {
      sum = { ...(await post(path, body)), jobs: ids.length };
      message = sum.items.find((x) => x.error)?.error.message;
    } else {
      await request("POST", path, { body: { ...body, detach: true }, retry: true }); // its id makes it be begun once
      sum = await followed(path, bulkID, ids.length, onProgress);
      stopped = sum.state !== "completed";
      message = sum.errors.find((x) => x.message)?.message;
    }
  } catch (e) {
    broke = e; // what was done before stays done, and is told
  } finally {
    onProgress?.(null);
  }
  const first = broke ? `${broke.message}. Some may be ${verbs[action][1]} · ${faultOf(broke)}` : message;
  const left = sum.jobs - sum.done - sum.skipped - sum.failed;
  toast(`${count(sum.done)} ${verbs[action][1]}${sum.skipped ? `, ${count(sum.skipped)} had moved on` : ""}${sum.failed ? `, ${count(sum.failed)} refused` : ""}${stopped || broke ? `, stopped before ${count(left)}` : ""}.`,
    { kind: sum.failed || broke ? "bad" : "ok", detail: sum.failed || broke ? first : "" });
  return sum;
}

// followed looks on until a bulk has ended, also while the server is away, and returns how it did.
async function followed(path, id, total, onProgress) {
  for (;;) {
    let s = null;
    try { s = await get(path + "/" + part(id)); } catch (e) { if (e.status && e.status !== 503 && e.status !== 429) throw e; }
    if (s) {
      if (ended(s)) return s;
      onProgress?.({ ...s, total, stop: () => stopBulk(path, s) });
    }
    await pause(lookMS);
  }
}

export const ended = (s) => ["completed", "canceled", "dead_lettered"].includes(s.state);

// stopBulk stops one between two jobs; path is that of its org's bulks.
export const stopBulk = (path, s) => ask({
  title: `Stop: ${verbs[s.action]?.[0].toLowerCase() ?? s.action} ${count(s.jobs)} jobs`, verb: "Stop it", danger: true,
  text: "It stops between two jobs. What is done is done; the rest stays as it is.",
  work: (v) => del(path + "/" + part(s.bulk_id), { query: { reason: v.reason } }),
});

// filterOf is a filter of the bulk's body. The marker in state makes a server that does not know the grammar refuse it.
export const filterOf = (q, group) => ({ ...(q && { where: q, state: ["where"] }), ...(group && { group, resolution: "open" }) });
