// Dead letters: what jobs died of, in groups; a group is opened, retried or closed as one.
import { useState } from "preact/hooks";
import { get, part } from "../lib/api.js";
import { at, may, org } from "../lib/store.js";
import { bulk } from "../lib/bulk.jsx";
import { count, jobsN } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { go, loc, setQuery } from "../lib/router.js";
import { Bar, Button, Card, Empty, Link, Page, Shown, Time, reasonText } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";
import { Pages, Table } from "../ui/table.jsx";
import { columns } from "./jobs.jsx";

const ways = [["error", "By error"], ["type", "By type"], ["queue", "By queue"]];
const died = (b) => [...b.jobs.values()].some((e) => e.to === "dead_lettered" || e.from === "dead_lettered" || e.event === "resolved" || e.event === "ignored");

export function DeadLetters() {
  const o = org.value;
  const by = loc.value.query.get("by") ?? "error";
  const open = loc.value.query.get("group") ?? "";
  const groups = useQuery((signal, min_seq) => get(`orgs/${o}/errors`, { signal, query: { by, min_seq } }), [o, by], { key: o + by, when: died, everyMS: 2000 });
  const [progress, setProgress] = useState(null);
  const act = async (action, g) => {
    const done = await bulk(action, { ...choice(by, g), what: "in this group" }, setProgress);
    if (done) groups.reload();
  };
  const d = groups.data;
  return (
    <Page title="Dead letters" sub={d ? `${jobsN(d.total)} ${d.total === 1 ? "waits" : "wait"} for somebody to decide` : "\u00a0"}>
      <div class="tabs" role="group" aria-label="Groups">
        {ways.map(([k, l]) => <button type="button" key={k} aria-pressed={by === k} onClick={() => setQuery({ by: k === "error" ? "" : k, group: "" })}>{l}</button>)}
      </div>
      {progress && <div class="bulk" role="status"><Bar percent={(100 * (progress.done + progress.skipped + progress.failed)) / Math.max(1, progress.total)} label="Bulk operation" /><span class="num nowrap">{count(progress.done + progress.skipped + progress.failed)} of {count(progress.total)}</span>{progress.stop && <><Link class="in-text" to={at("activity")} title="It goes on without this page">Activity</Link><Button class="small" onClick={progress.stop}>Stop</Button></>}</div>}
      <Shown q={groups} rows={6} what="The dead letters">{(data) => (
        data.groups.length === 0
          ? <Card><Empty title="No open dead letter" command={`jobledger --org ${o} dlq ls --resolution all`}>What was closed is still there: <Link to={at("jobs") + "?q=" + encodeURIComponent("state:dead_lettered")}>all dead letters</Link>, or in a terminal:</Empty></Card>
          : <ul class="groups">{data.groups.map((g) => <Group key={g.key} g={g} by={by} open={open === g.key} onToggle={() => setQuery({ group: open === g.key ? "" : g.key })} act={act} />)}</ul>
      )}</Shown>
      {d?.ungrouped > 0 && <p class="faint">{count(d.ungrouped)} more are in smaller groups.</p>}
    </Page>
  );
}

// choice is what names the jobs of a group to a bulk, and to the list.
function choice(by, g) {
  return by === "error" ? { group: g.key } : { filter: filterText(by, g) };
}
const filterText = (by, g) => (by === "error" ? `group:${g.key} resolution:open` : `${by}:${g.key} state:dead_lettered resolution:open`);

function Group({ g, by, open, onToggle, act }) {
  const title = by === "error" ? g.message || g.sample_error || reasonText(g.reason) : g.key;
  return (
    <li class={"card group" + (open ? " open" : "")}>
      <div class="group-head">
        <span class="group-n num" title="dead letters">{count(g.count)}</span>
        <button type="button" class="group-open" aria-expanded={open} onClick={onToggle}>
          <span class="group-title">{title}</span>
          <span class="group-facts faint">
            {by === "error" ? <><strong>{g.type}</strong> · {reasonText(g.reason)}{g.class && ` · ${g.class}`}</> : <>latest: {g.message || reasonText(g.reason)}</>}
          </span>
          <span class="group-facts faint">first <Time at={g.first_at} />, last <Time at={g.last_at} /></span>
        </button>
        <div class="actions">
          {may("jobs.retry") && may("jobs.bulk") && <Button class="small" icon="retrying" onClick={() => act("retry", g)}>Retry</Button>}
          {may("jobs.resolve") && may("jobs.bulk") && <Button class="small" icon="check" onClick={() => act("resolve", g)}>Close</Button>}
          <button type="button" class="icon-btn" aria-label={open ? "Fold up" : "Show its jobs"} aria-expanded={open} onClick={onToggle}><span class={"turn" + (open ? " open" : "")}><Icon name="chevron" size={12} /></span></button>
        </div>
      </div>
      {open && <Members g={g} by={by} />}
    </li>
  );
}

function Members({ g, by }) {
  const o = org.value;
  const q = filterText(by, g);
  const list = useQuery((signal, min_seq) => get(`orgs/${o}/jobs`, { signal, query: { q, limit: 20, min_seq } }), [o, q], { key: o + q, when: died, everyMS: 2000 });
  return (
    <div class="group-jobs">
      {by === "error" && g.sample_error && g.sample_error !== g.message && <p class="faint group-sample">Latest: <code class="break">{g.sample_error}</code></p>}
      <Shown q={list} rows={3} what="The group">{(d) => (
        <>
          <Table label="Jobs of the group" columns={columns} rows={d.items} id={(r) => r.id} open={(r) => go(at("jobs/" + part(r.id)))} />
          {d.next && <Pages first text={`the newest ${d.items.length} of ${count(g.count)}`} />}
          <p class="group-all"><Link to={at("jobs") + "?q=" + encodeURIComponent(q)}>Open in Jobs</Link></p>
        </>
      )}</Shown>
    </div>
  );
}
