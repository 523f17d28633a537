// Parents and children of a job, as they move: what it waits for, what waits for it, and so on downwards.
import { useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { at } from "../lib/store.js";
import { useQuery } from "../lib/query.js";
import { useLiveRows } from "../lib/rows.js";
import { Card, IconButton, Link, reasonText } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";

const childrenMax = 20; // of one job on the page
const deepest = 8; // generations that are opened below one another

// useChildren are those of a job, and whether there are more. They are read again when one comes, and move by themselves.
function useChildren(o, id, skip) {
  const known = (b) => [...b.jobs.values()].some((e) => e.event === "submitted" || e.event === "retried");
  const q = useQuery((signal, min_seq) => get(`orgs/${o}/jobs/${part(id)}/children`, { signal, query: { limit: childrenMax, min_seq } }), [o, id], { key: o + id, when: known, everyMS: 2500, skip });
  return { rows: useLiveRows(q.data?.items) ?? [], more: !!q.data?.next, read: !!q.data };
}

// Family shows them, if there are any.
export function Family({ j, o }) {
  const from = j.correlation_id && j.correlation_id !== j.id && j.correlation_id;
  const below = useChildren(o, j.id);
  if (!j.parents.length && !below.rows.length && !from) return null;
  return (
    <Card title="Parents and children">
      <ul class="family">
        {from && <li><Icon name="link" size={14} /><span class="faint">first of the chain</span><Link to={at("jobs/" + part(from))}><code>{from}</code></Link></li>}
        {j.parents.map((p) => <li key={p.id}><Icon name={p.state || "submitted"} size={14} /><Link to={at("jobs/" + part(p.id))}><code>{p.id}</code></Link><span class="faint">{p.state ? reasonText(p.state) : "unknown"}{p.on_failure && p.on_failure !== "fail" ? `, if it fails: ${p.on_failure}` : ""}</span></li>)}
        <li class="family-me"><Icon name={j.state} size={14} /><strong>this job</strong><span class="faint">{reasonText(j.state)}</span></li>
      </ul>
      {below.rows.length > 0 && <Below o={o} id={j.id} below={below} depth={1} />}
    </Card>
  );
}

function Below({ o, id, below, depth }) {
  const done = below.rows.filter((r) => r.state === "completed").length;
  return (
    <ul class="family family-below" aria-label="Children">
      {below.rows.map((c) => <Child key={c.id} c={c} o={o} depth={depth} />)}
      <li class="faint">{below.more ? <Link class="in-text" to={at("jobs") + "?q=" + encodeURIComponent("parent:" + id)}>All of them, in Jobs</Link> : `${done} of ${below.rows.length} completed`}</li>
    </ul>
  );
}

function Child({ c, o, depth }) {
  const [open, setOpen] = useState(false);
  const below = useChildren(o, c.id, !open);
  return (
    <li class={"family-child" + (open ? " open" : "")}>
      {depth < deepest && <IconButton icon={open ? "down" : "chevron"} label={open ? "Fold up" : "What waits for " + c.type} class="small" aria-expanded={open} onClick={() => setOpen(!open)} />}
      <Icon name={c.state} size={14} /><Link to={at("jobs/" + part(c.id))}>{c.type}</Link><span class="faint">{reasonText(c.state)}</span>
      {open && (below.rows.length ? <Below o={o} id={c.id} below={below} depth={depth + 1} /> : below.read && <p class="faint">Nothing waits for it.</p>)}
    </li>
  );
}
