// Workers: what each serves and runs, and taking one out.
import { get, part, post } from "../lib/api.js";
import { at, goTo, mayAll, org, toast } from "../lib/store.js";
import { ago, coarse, now } from "../lib/time.js";
import { useQuery } from "../lib/query.js";
import { ask } from "../ui/ask.jsx";
import { Badge, Bar, Button, Card, Empty, Facts, Link, Page, Shown, Time } from "../ui/kit.jsx";
import { Table } from "../ui/table.jsx";

const everyMS = 2000;
const pollMS = 10_000; // a worker that dies tells nobody
const moved = (b) => b.jobs.size > 0;

export function Workers({ name }) { return name ? <One name={name} /> : <All />; }

const kinds = { idle: ["plain", null], busy: ["good", "running"], draining: ["warn", "pause"], silent: ["bad", "warn"] };
const Standing = ({ w }) => <Badge kind={kinds[w.state]?.[0] ?? "plain"} icon={kinds[w.state]?.[1]} title={w.state === "silent" ? "It missed beats: what it runs is lost when its lease ends" : undefined}>{w.state}</Badge>;
const Slots = ({ w }) => <div class="slots"><Bar percent={w.slots ? Math.round((100 * w.busy) / w.slots) : 0} label="Slots in use" /><span class="num">{w.busy} of {w.slots}</span></div>;

async function drain(w, done) {
  const r = await ask({
    title: "Drain " + w.name, verb: "Drain", danger: true, text: `It takes nothing more, finishes the ${w.busy} that ${w.busy === 1 ? "runs" : "run"} and ends. It does not come back by itself.`,
    work: (v) => post(`workers/${part(w.id)}/drain`, { reason: v.reason }),
  });
  if (r) { toast(`${w.name} drains.`); done(); }
}

function All() {
  const o = org.value;
  const q = useQuery((signal) => get("workers", { signal, query: { org: o } }), [o], { key: o, when: moved, everyMS, pollMS });
  const items = q.data?.items ?? [];
  const total = (f) => items.reduce((n, w) => n + w[f], 0);
  return (
    <Page title="Workers" sub={q.data ? `${items.length} ${items.length === 1 ? "worker" : "workers"}, ${total("busy")} of ${total("slots")} slots in use` : "Who runs the jobs"}>
      <Card flush>
        <Shown q={q} rows={4} what="The workers">{(list) => list.items.length
          ? <Table label="Workers" rows={list.items} id={(w) => w.id} open={(w) => goTo("workers/" + part(w.id))} columns={columns(q.reload)} />
          : <Empty title="No worker is here" command="jobledger worker run echo --exec cat">Jobs wait until one comes. Any command is a worker:</Empty>}
        </Shown>
      </Card>
    </Page>
  );
}

const columns = (done) => [
  { key: "name", title: "Worker", phone: "main", cell: (w) => <><Link to={at("workers/" + part(w.id))}>{w.name}</Link><div class="faint">{w.host}</div></> },
  { key: "state", title: "State", cell: (w) => <Standing w={w} /> },
  { key: "slots", title: "Slots in use", cell: (w) => <Slots w={w} /> },
  { key: "queues", title: "Queues", phone: "hide", cell: (w) => w.queues.join(", ") },
  { key: "types", title: "Types", phone: "hide", cell: (w) => <Some of={w.types} /> },
  { key: "running", title: "Runs", phone: "hide", cell: (w) => <Runs w={w} /> },
  { key: "version", title: "Version", phone: "hide", cell: (w) => w.version ?? "–" },
  { key: "seen", title: "Heard", phone: "hide", cell: (w) => <Time at={w.seen_at} /> },
  ...(mayAll("workers.drain") ? [{ key: "act", title: "", cell: (w) => (w.state === "draining" ? null : <Button class="small" onClick={() => drain(w, done)}>Drain</Button>) }] : []),
];

const someMax = 3;
const Some = ({ of }) => <span title={of.join(", ")}>{of.slice(0, someMax).join(", ")}{of.length > someMax && <span class="faint"> and {of.length - someMax} more</span>}</span>;

const Runs = ({ w }) => (
  <>
    {w.running.slice(0, someMax).map((r) => <div key={r.org + r.id}><Link to={at("jobs/" + part(r.id), r.org)}>{r.type ?? r.id}</Link> <span class="faint">{r.since && coarse((now.value - Date.parse(r.since)) / 1000)}</span></div>)}
    {w.running.length > someMax && <span class="faint">and {w.running.length - someMax} more</span>}
    {w.running_others > 0 && <span class="faint">{w.running_others} of other organizations</span>}
    {!w.running.length && !w.running_others && <span class="faint">nothing</span>}
  </>
);

function One({ name }) {
  const o = org.value;
  const q = useQuery((signal) => get("workers/" + part(name), { signal, query: { org: o } }), [o, name], { key: o + name, when: moved, everyMS, pollMS });
  const w = q.data;
  return (
    <Page title={"Worker " + (w?.name ?? name)} heading={w?.name ?? name} sub={<Link to={at("workers")}>Workers</Link>}
      actions={w && mayAll("workers.drain") && w.state !== "draining" && <Button onClick={() => drain(w, q.reload)}>Drain</Button>}>
      <Shown q={q} rows={5} what="The worker">{(w) => <>
        <Card title="Now" actions={<Standing w={w} />}>
          <Facts of={[["Host", w.host], ["Slots", <Slots w={w} />], ["Queues", w.queues.join(", ")], ["Types", w.types.join(", ")], ["Version", w.version], ["Began", <Time at={w.started_at} abs />],
            ["Heard", ago(w.seen_at)], ["Handlers that do not return", w.hung || null], ["Id", <code>{w.id}</code>]]} />
        </Card>
        <Card title="What it runs" flush>
          {w.running.length
            ? <Table label="Running attempts" rows={w.running} id={(r) => r.org + "/" + r.id} href columns={attempts} />
            : <Empty title="Nothing" >{w.running_others > 0 ? `Its ${w.running_others} attempts are of other organizations: change to one of them to see its own.` : "It waits for a job of one of its types."}</Empty>}
        </Card>
      </>}</Shown>
    </Page>
  );
}

const attempts = [
  { key: "id", title: "Job", phone: "main", cell: (r) => <Link to={at("jobs/" + part(r.id), r.org)}>{r.id}</Link> },
  { key: "type", title: "Type", cell: (r) => r.type ?? "–" },
  { key: "org", title: "Organization", cell: (r) => r.org },
  { key: "attempt", title: "Attempt", num: true, cell: (r) => r.attempt },
  { key: "since", title: "Runs for", num: true, cell: (r) => (r.since ? coarse((now.value - Date.parse(r.since)) / 1000) : "–") },
  { key: "hung", title: "", cell: (r) => r.hung && <Badge kind="bad" icon="warn" title="The attempt has ended, its handler has not">hangs</Badge> },
];
