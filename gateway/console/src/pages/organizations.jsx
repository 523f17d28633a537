// Organizations: the share and the limits of each, what it used, and stopping one.
import { get, part, patch, post } from "../lib/api.js";
import { at, goTo, mayAll, org, toast } from "../lib/store.js";
import { bytes, count, percent, span, stamp } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { ask } from "../ui/ask.jsx";
import { Badge, Bar, Button, Card, Empty, Facts, Link, Page, Shown, State, Time } from "../ui/kit.jsx";
import { Table } from "../ui/table.jsx";
import { changed, inputs, limit, rate } from "../ui/settings.jsx";

const everyMS = 5000;
const moved = (b) => b.jobs.size > 0;

export function Organizations({ name }) { return name ? <One key={name} name={name} /> : <All />; }

const Standing = ({ o }) => (o.state === "active" ? <Badge kind="good">active</Badge> : <Badge kind={o.state === "deleted" ? "bad" : "warn"} icon={o.state === "deleted" ? "close" : "pause"}>{o.state}</Badge>);

function All() {
  const q = useQuery((signal) => get("orgs", { signal, query: { all: true } }), [], { when: moved, everyMS });
  return (
    <Page title="Organizations" sub="Each has its share of every queue; any that was not set has the defaults" actions={mayAll("orgs.edit") && <Button icon="plus" onClick={() => add(q.reload)}>New organization</Button>}>
      <Card flush>
        <Shown q={q} rows={4} what="The organizations">{(list) => list.items.length
          ? <Table label="Organizations" rows={list.items} id={(o) => o.name} open={(o) => goTo("organizations/" + part(o.name))} columns={columns(list.items.reduce((n, o) => n + (o.state === "active" ? o.weight : 0), 0))} />
          : <Empty title="No organization yet" command={'jobledger org add acme --weight 3 --max-running 50 --reason "plan business"'}>An organization is there with its first job, at weight 1. <Link to={at("organizations/" + part(org.value))}>{org.value}</Link> is one. To give one a share and limits:</Empty>}
        </Shown>
      </Card>
    </Page>
  );
}

const columns = (sum) => [
  { key: "name", title: "Organization", phone: "main", cell: (o) => <><Link to={at("organizations/" + part(o.name))}>{o.name}</Link>{o.display_name && <div class="faint">{o.display_name}</div>}</> },
  { key: "state", title: "State", cell: (o) => <Standing o={o} /> },
  { key: "share", title: "Share", cell: (o) => <div class="slots"><Bar percent={sum && o.state === "active" ? Math.round((100 * o.weight) / sum) : 0} label="Share" /><span class="num" title={`Of the turns, where all of these have work`}>{o.state === "active" ? percent(o.weight / sum) : "–"}</span></div> },
  { key: "weight", title: "Weight", num: true, phone: "hide", cell: (o) => o.weight },
  { key: "running", title: "May run", num: true, phone: "hide", cell: (o) => limit(o.max_running) },
  { key: "waiting", title: "May wait", num: true, phone: "hide", cell: (o) => limit(o.max_waiting) },
  { key: "jobs", title: "Waiting", num: true, phone: "hide", cell: (o) => (o.counts ? count(o.counts.submitted + o.counts.queued + o.counts.retrying) : "–") },
  { key: "now", title: "Running", num: true, phone: "hide", cell: (o) => (o.counts ? count(o.counts.running) : "–") },
  { key: "dead", title: "Dead letters", num: true, phone: "side", cell: (o) => (o.counts?.dead_letters_open ? <Link to={at("dead-letters", o.name)} class="bad-link" aria-label={`${count(o.counts.dead_letters_open)} dead letters of ${o.name} are open`}>{count(o.counts.dead_letters_open)}<span class="phone-word"> dead letters</span></Link> : o.counts ? 0 : "–") },
  { key: "set", title: "Set", phone: "hide", cell: (o) => (o.updated_at ? <><Time at={o.updated_at} /> <span class="faint">{o.updated_by}</span></> : "–") },
];

const fields = [
  { name: "display_name", label: "Name for people", kind: "text" },
  { name: "weight", label: "Weight", kind: "number", placeholder: "1", help: "Its share of the turns of every queue, beside the others'" },
  { name: "max_running", label: "Jobs that may run at once", kind: "number", placeholder: "the default" },
  { name: "max_waiting", label: "Jobs that may wait", kind: "number", help: "Over it submits are refused" },
  { name: "submit_rate", label: "Submits", kind: "rate", placeholder: "no limit", help: "Such as 100/1m" },
  { name: "start_rate", label: "Starts", kind: "rate", placeholder: "no limit" },
  { name: "retention_days", label: "Days that history is kept", kind: "number", placeholder: "as the type or the cell" },
];

async function add(done) {
  const o = await ask({
    title: "New organization", verb: "Add it", fields: [{ name: "name", label: "Name", required: true, placeholder: "acme" }, ...inputs(fields, {})],
    work: (v) => post("orgs", { name: v.name.trim(), set: changed(fields, {}, v), reason: v.reason }),
  });
  if (o) { toast(`${o.name} is there.`); done(); }
}

async function change(o, done) {
  const r = await ask({
    title: "Share and limits of " + o.name, verb: "Save", fields: inputs(fields, o),
    work: (v) => {
      const set = changed(fields, o, v);
      if (!Object.keys(set).length) throw new Error("Nothing was changed.");
      return patch("orgs/" + part(o.name), { set, reason: v.reason, ...(!o.seq && { new: true }) }, { ifMatch: o.seq || undefined });
    },
  });
  if (r) { toast("Saved. It acts within a second."); done(); }
}

async function toggle(o, done) {
  const on = o.state === "suspended";
  const r = await ask({
    title: (on ? "Resume " : "Suspend ") + o.name, verb: on ? "Resume" : "Suspend", danger: !on,
    text: on ? "Its jobs start again, and its results are shown." : "Its jobs that run end as ever. Those that wait, and those that are submitted, keep their place and do not start; its results are withheld. Nothing is lost.",
    work: (v) => post(`orgs/${part(o.name)}/${on ? "resume" : "suspend"}`, { reason: v.reason }),
  });
  if (r) { toast(`${o.name} is ${on ? "active" : "suspended"}.`); done(); }
}

function One({ name }) {
  const q = useQuery((signal) => get("orgs/" + part(name), { signal }), [name], { key: name, when: moved, everyMS });
  const usage = useQuery((signal) => get(`orgs/${part(name)}/usage`, { signal }), [name], { key: name, when: moved, everyMS: 10_000 });
  const o = q.data;
  return (
    <Page title={"Organization " + name} heading={name} sub={<><Link to={at("organizations")}>Organizations</Link>{o?.display_name && <> · {o.display_name}</>}</>}
      actions={o && <>
        {mayAll("orgs.edit") && o.state !== "deleted" && <Button icon={o.state === "suspended" ? "play" : "pause"} onClick={() => toggle(o, q.reload)}>{o.state === "suspended" ? "Resume" : "Suspend"}</Button>}
        {mayAll("orgs.edit") && o.state !== "deleted" && <Button onClick={() => change(o, q.reload)}>Change share and limits</Button>}
      </>}>
      <Shown q={q} rows={6} what="The organization">{(o) => <>
        <div class="grid-2">
          <Card title="Share and limits" actions={<Standing o={o} />}>
            <Facts of={[["Weight", o.weight], ["May run at once", limit(o.max_running)], ["May wait", limit(o.max_waiting)], ["Submits", rate(o.submit_rate) ?? limit(0)], ["Starts", rate(o.start_rate) ?? limit(0)],
              ["History is kept", o.retention_days ? `${o.retention_days} days` : "as the type or the cell"], ["Set", o.updated_at && <><Time at={o.updated_at} /> by {o.updated_by ?? "nobody named"}</>], ["Reason", o.reason]]} />
          </Card>
          <Card title="Jobs"><Counts of={o.counts ?? {}} /></Card>
        </div>
        <Card title="Used this month">
          <Shown q={usage} rows={2} what="The usage">{(u) => <Facts of={[["Submitted", count(u.submitted)], ["Completed", count(u.completed)], ["Attempts", count(u.attempts)], ["Run time", span(u.run_seconds)],
            ["Args", bytes(u.bytes_in)], ["Results", bytes(u.bytes_out)], ["From", stamp(u.from)], ["Partial", u.partial && "some of it was not counted"]]} />}</Shown>
        </Card>
        <p><Link to={at("tokens", name)}>Its tokens</Link> · <Link to={at("schedules", name)}>Its schedules</Link> · <Link to={at("jobs", name)}>Its jobs</Link></p>
      </>}</Shown>
    </Page>
  );
}

const states = ["submitted", "queued", "running", "retrying", "completed", "canceled", "dead_lettered"];
const Counts = ({ of }) => <dl class="facts">{states.map((s) => <div key={s}><dt><State state={s} /></dt><dd class="num">{count(of[s] ?? 0)}</dd></div>)}</dl>;
