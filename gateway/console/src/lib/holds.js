// Pausing and resuming a queue or a type: a hold on it, in one org or in all.
import { post } from "./api.js";
import { may, mayAll, org, toast } from "./store.js";
import { ask } from "../ui/ask.jsx";

// canHold says whether the caller may pause anything of this kind.
export const canHold = () => may("holds.org") || mayAll("holds.platform");

const spans = [["", "until somebody resumes it"], ["15m", "for 15 minutes"], ["1h", "for an hour"], ["1d", "for a day"]];
const ms = { "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000 };
const lay = (scope, rest) => post(scope.org ? `orgs/${scope.org}/holds` : "holds", { scope, ...rest });

// pause asks where and for how long; scope is {queue} or {type}.
export async function pause(scope, what) {
  const everywhere = mayAll("holds.platform");
  const where = [...(everywhere ? [["all", "in all organizations"]] : []), ["org", `in ${org.value} alone`]];
  const r = await ask({
    title: `Pause ${what}`, verb: "Pause",
    text: "Jobs keep their place; those that run go on to their end. New ones are taken.",
    fields: [{ name: "where", label: "Where", kind: "select", options: where, value: where[0][0] }, { name: "span", label: "How long", kind: "select", options: spans, value: "" }],
    work: (v) => lay({ ...scope, ...(v.where === "org" && { org: org.value }) },
      { on: true, reason: v.reason, ...(v.span && { until: new Date(Date.now() + ms[v.span]).toISOString() }) }),
  });
  if (r) toast(`${what} is paused.`);
  return r;
}

// resume lifts one hold.
export async function resume(hold, what) {
  const r = await ask({ title: `Resume ${what}`, verb: "Resume", text: hold.reason && `It was paused by ${hold.updated_by ?? "somebody"}: ${hold.reason}`,
    work: (v) => lay(hold.scope, { on: false, reason: v.reason }) });
  if (r) toast(`${what} goes on.`);
  return r;
}

// holdText says what a hold stands on.
export const holdText = (s) => Object.entries(s).map(([k, v]) => `${k} ${v}`).join(", ") || "everything";
