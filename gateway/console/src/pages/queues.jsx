// Queues: what waits, who works on it, and its limits, which are changed while it runs.
import { get, part } from "../lib/api.js";
import { at, goTo, mayAll, org } from "../lib/store.js";
import { coarse, count } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { canHold, pause } from "../lib/holds.js";
import { Badge, Bar, Button, Card, Empty, Facts, Link, Page, Shown, Time } from "../ui/kit.jsx";
import { Chart } from "../ui/chart.jsx";
import { Holds } from "../ui/holds.jsx";
import { Icon } from "../ui/icons.jsx";
import { Table } from "../ui/table.jsx";
import { edit, limit, rate } from "../ui/settings.jsx";

const everyMS = 3000;
const listMS = 5000;
const pollMS = 15_000; // workers come and go without an event
// detailMax is how many queues of a list, of those in which jobs of the org wait, are asked for the age of the oldest: a list does not tell it.
const detailMax = 10;
const moved = (b) => b.jobs.size > 0 || b.holds.length > 0;

export function Queues({ name }) { return name ? <One name={name} /> : <All />; }

async function readAll(o, signal) {
  const list = await get("queues", { signal, query: { org: o } });
  const asked = list.items.filter((q) => q.of_org.waiting + q.of_org.queued > 0).slice(0, detailMax);
  await Promise.all(asked.map(async (q) => { q.oldest_age_s = (await get("queues/" + part(q.name), { signal, query: { org: o } }).catch(() => null))?.oldest_age_s ?? null; }));
  return list;
}

function All() {
  const o = org.value;
  const q = useQuery((signal) => readAll(o, signal), [o], { key: o, when: moved, everyMS: listMS, pollMS });
  return (
    <Page title="Queues" sub="What waits for a worker, and how much of it may run at once">
      <Card flush>
        <Shown q={q} rows={4} what="The queues">{(list) => list.items.length
          ? <Table label="Queues" rows={list.items} id={(r) => r.name} open={(r) => goTo("queues/" + part(r.name))} columns={columns} />
          : <Empty title="No queue yet" command={'jobledger queue add mail --max-running 20 --reason "a class of its own"'}>A queue is there with its first job, or before it, with limits:</Empty>}
        </Shown>
      </Card>
    </Page>
  );
}

const waits = (q) => q.waiting + q.queued;

const columns = [
  { key: "name", title: "Queue", phone: "main", cell: (q) => <Link to={at("queues/" + part(q.name))}>{q.name}</Link> },
  { key: "state", title: "State", cell: (q) => <Standing q={q} /> },
  { key: "waits", title: "Waiting", num: true, cell: (q) => <Said of="waiting">{count(waits(q))}</Said> },
  { key: "oldest", title: "Oldest", num: true, phone: "hide", cell: (q) => (q.oldest_age_s == null ? <span class="faint">–</span> : coarse(q.oldest_age_s)) },
  { key: "running", title: "Running", num: true, cell: (q) => <Said of="running">{count(q.running)}</Said> },
  { key: "slots", title: "Slots in use", phone: "hide", cell: (q) => <Slots q={q} /> },
  { key: "limit", title: "May run", num: true, phone: "hide", cell: (q) => limit(q.limits.max_running) },
  { key: "per_org", title: "For each org", num: true, phone: "hide", cell: (q) => limit(q.limits.max_running_per_org) },
];

// Said adds, on a narrow screen, which has no heads of columns, what a number is of.
const Said = ({ of, children }) => <>{children}<span class="phone-word"> {of}</span></>;

function Standing({ q }) {
  if (q.paused) return <Badge kind="warn" icon="pause">paused</Badge>;
  if (!q.workers && waits(q) > 0) return <Badge kind="bad" icon="warn" title="No worker serves this queue">no worker</Badge>;
  return q.workers ? <Badge kind="good">served</Badge> : <Badge>idle</Badge>;
}

function Slots({ q }) {
  if (!q.slots) return <span class="faint">no worker</span>;
  return <div class="slots"><Bar percent={Math.round((100 * q.busy) / q.slots)} label="Slots in use" /><span class="num">{q.busy} of {q.slots}</span></div>;
}

const fields = [
  { name: "max_running", label: "Jobs that may run at once", kind: "number" },
  { name: "max_running_per_org", label: "Of one organization", kind: "number" },
  { name: "max_waiting_per_org", label: "Waiting jobs of one organization", kind: "number", help: "Over it submits are refused" },
  { name: "start_rate_per_org", label: "Starts of one organization", kind: "rate", placeholder: "no limit", help: "Such as 100/1m" },
  { name: "weights", label: "Shares that differ here", kind: "weights", placeholder: "acme=3 globex=1", help: "Weights of organizations in this queue" },
  { name: "owner", label: "Kept for one organization", kind: "text", placeholder: "all may use it" },
  { name: "description", label: "Description", kind: "text" },
];

function One({ name }) {
  const o = org.value;
  const q = useQuery((signal) => get("queues/" + part(name), { signal, query: { org: o } }), [o, name], { key: o + name, when: moved, everyMS, pollMS });
  const d = q.data;
  const change = async () => { if (await edit({ title: "Limits of " + name, path: "queues/" + part(name), have: d.limits, fields, seq: d.seq, isNew: !d.seq })) q.reload(); };
  return (
    <Page title={"Queue " + name} heading={name} sub={<><Link to={at("queues")}>Queues</Link>{d?.description && <> · {d.description}</>}</>}
      actions={d && <>
        {canHold() && <Button icon="pause" onClick={async () => (await pause({ queue: name }, "Queue " + name)) && q.reload()}>Pause</Button>}
        {mayAll("limits.edit") && <Button onClick={change}>Change limits</Button>}
      </>}>
      <Shown q={q} rows={6} what="The queue">{(d) => <>
        {d.holds.length > 0 && <Card title="It is held"><Holds holds={d.holds} what={"Queue " + name} done={() => q.reload()} /></Card>}
        <div class="grid-2">
          <Card title="Now" actions={<Standing q={d} />}>
            <Facts of={[["Waiting for a slot, time or parent", count(d.waiting)], ["Queued for a worker", count(d.queued)], ["Running", count(d.running)], ["Retrying", count(d.retrying)],
              ["Oldest of " + o, d.oldest_age_s == null ? "–" : coarse(d.oldest_age_s)], ["Workers", count(d.workers)], ["Slots", d.slots ? `${d.busy} of ${d.slots} in use` : "none"],
              [`Of ${o}`, `${count(d.of_org.waiting + d.of_org.queued)} waiting, ${count(d.of_org.running)} running`]]} />
          </Card>
          <Card title="Limits">
            <Facts of={[["May run at once", limit(d.limits.max_running)], ["Of one organization", limit(d.limits.max_running_per_org)], ["May wait, of one organization", limit(d.limits.max_waiting_per_org)],
              ["Starts of one organization", rate(d.limits.start_rate_per_org) ?? limit(0)], ["Shares that differ", Object.entries(d.limits.weights ?? {}).map(([k, v]) => `${k} ${v}`).join(", ")],
              ["Kept for", d.limits.owner], ["Set", d.updated_at && <><Time at={d.updated_at} /> by {d.updated_by ?? "nobody named"}</>], ["Reason", d.reason]]} />
          </Card>
        </div>
        <Card title={`Waiting in the last hour, of ${o}`}>
          <Chart label="Waiting jobs" times={(d.depth ?? []).map((p) => Date.parse(p.time) / 1000)} empty="Nothing waited"
            series={[{ label: "waiting", color: "--info", fill: true, values: (d.depth ?? []).map((p) => p.waiting) }, { label: "at most", color: "--faint", dash: [3, 3], values: (d.depth ?? []).map((p) => p.waiting_max) }]} format={count} />
        </Card>
        <p><Link to={at("jobs") + "?q=" + encodeURIComponent("queue:" + name)}>Jobs of this queue <Icon name="chevron" size={12} /></Link></p>
      </>}</Shown>
    </Page>
  );
}
