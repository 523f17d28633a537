// Types: the policy of each kind of job, how its attempts do, and whether new ones are taken.
import { get, part, post, put } from "../lib/api.js";
import { at, goTo, mayAll, org, toast } from "../lib/store.js";
import { count, percent, span } from "../lib/time.js";
import { plain, field } from "../lib/json.js";
import { useQuery } from "../lib/query.js";
import { canHold, pause } from "../lib/holds.js";
import { ask } from "../ui/ask.jsx";
import { Badge, Button, Card, Empty, Facts, Link, Page, Shown, Time } from "../ui/kit.jsx";
import { Chart } from "../ui/chart.jsx";
import { Icon } from "../ui/icons.jsx";
import { Json } from "../ui/json.jsx";
import { Table } from "../ui/table.jsx";
import { changed, edit, inputs, limit, rate } from "../ui/settings.jsx";

const everyMS = 5000;
const failingRate = 0.2;
const moved = (b) => b.jobs.size > 0;
const ms = (v) => (v == null ? <span class="faint">–</span> : span(v / 1000));

export function Types({ name }) { return name ? <One key={name} name={name} /> : <All />; }

// readAll joins the types with how they do in the org; who may not read figures sees the types alone.
async function readAll(o, signal) {
  const [list, stats] = await Promise.all([get("types", { signal, query: { org: o } }), get(`orgs/${o}/stats`, { signal }).catch(() => ({ items: [] }))]);
  const by = Object.fromEntries(stats.items.map((s) => [s.type, s]));
  for (const t of list.items) t.stats = by[t.name] ?? null;
  return list;
}

function All() {
  const o = org.value;
  const q = useQuery((signal) => readAll(o, signal), [o], { key: o, when: moved, everyMS });
  return (
    <Page title="Types" sub={`Kinds of jobs; figures are of ${o}, times of the last hour, failures of 24 hours`}
      actions={mayAll("types.edit") && <Button icon="plus" onClick={() => add(q.reload)}>New type</Button>}>
      <Card flush>
        <Shown q={q} rows={5} what="The types">{(list) => list.items.length
          ? <Table label="Types" rows={list.items} id={(t) => t.name} open={(t) => goTo("types/" + part(t.name))} columns={columns} />
          : <Empty title="No type yet" command="jobledger type add email-send --queue mail --max-attempts 5">A job needs a type, which says how it is run:</Empty>}
        </Shown>
      </Card>
    </Page>
  );
}

const Failures = ({ rate }) => (rate == null ? <span class="faint">–</span> : rate >= failingRate ? <Badge kind="bad" icon="warn">{percent(rate)}</Badge> : percent(rate));

const Taken = ({ t }) => (t.enabled === false ? <Badge kind="warn" icon="close">disabled</Badge> : <Badge kind="good">enabled</Badge>);

const columns = [
  { key: "name", title: "Type", phone: "main", cell: (t) => <><Link to={at("types/" + part(t.name))}>{t.name}</Link>{(t.display_name || t.description) && <div class="faint cut">{t.display_name || t.description}</div>}</> },
  { key: "state", title: "State", cell: (t) => <Taken t={t} /> },
  { key: "queue", title: "Queue", phone: "hide", cell: (t) => <Link to={at("queues/" + part(t.queue))}>{t.queue}</Link> },
  { key: "p50", title: "p50", num: true, phone: "hide", cell: (t) => ms(t.stats?.p50_ms) },
  { key: "p95", title: "p95", num: true, phone: "hide", cell: (t) => ms(t.stats?.p95_ms) },
  { key: "p99", title: "p99", num: true, phone: "hide", cell: (t) => ms(t.stats?.p99_ms) },
  { key: "ended", title: "Attempts", num: true, phone: "hide", cell: (t) => (t.stats ? count(t.stats.failures["24h"].ended) : <span class="faint">–</span>) },
  { key: "failures", title: "Failed", num: true, cell: (t) => <><Failures rate={t.stats?.failure_rate} /><span class="phone-word">{t.stats?.failure_rate == null ? " no attempt" : " failed"}</span></> },
];

const fields = [
  { name: "description", label: "Description", kind: "text" },
  { name: "queue", label: "Queue", kind: "text", placeholder: "default" },
  { name: "priority", label: "Priority", kind: "select", options: [["", "as the engine"], ...["low", "normal", "high", "critical"].map((p) => [p, p])] },
  { name: "run_timeout_s", label: "An attempt may run, in seconds", kind: "decimal" },
  { name: "max_attempts", label: "Attempts at most", kind: "number", placeholder: "as the engine" },
  { name: "max_running", label: "May run at once", kind: "number" },
  { name: "max_running_per_org", label: "Of one organization", kind: "number" },
  { name: "start_rate", label: "Starts of one organization", kind: "rate", placeholder: "no limit", help: "Such as 100/1m" },
  { name: "submit_rate", label: "Submits of one organization", kind: "rate", placeholder: "no limit" },
  { name: "permission", label: "Permission that a member needs", kind: "text", placeholder: "none" },
];

async function add(done) {
  const t = await ask({
    title: "New type", verb: "Add the type", reason: "optional", fields: [{ name: "name", label: "Name", placeholder: "email-send", required: true }, ...inputs(fields, {})],
    work: async (v) => {
      if (!/^[\w-]{1,64}$/.test(v.name)) throw new Error("A name is of letters, digits, - and _.");
      const there = await get("types", { query: { org: org.value } });
      if (there.items.some((t) => t.name === v.name)) throw new Error(`There is a type ${v.name} already.`);
      return put("types/" + part(v.name), { name: v.name, ...changed(fields, {}, v), reason: v.reason || null });
    },
  });
  if (t) { toast(`Type ${t.name} is there.`); done(); }
}

async function toggle(t, done) {
  const on = t.enabled === false;
  const r = await ask({
    title: (on ? "Enable " : "Disable ") + t.name, verb: on ? "Enable" : "Disable", danger: !on,
    text: on ? "New jobs of this type are taken again." : "New jobs of this type are refused. Those that were accepted run to their end.",
    work: (v) => post(`types/${part(t.name)}/${on ? "enable" : "disable"}`, { reason: v.reason }, { ifMatch: t.seq }),
  });
  if (r) { toast(`${t.name} is ${on ? "enabled" : "disabled"}.`); done(); }
}

function One({ name }) {
  const o = org.value;
  const q = useQuery(async (signal) => {
    const node = await get("types/" + part(name), { signal, query: { org: o }, exact: true });
    return { t: plain(node), schema: field(node, "schema") };
  }, [o, name], { key: o + name, when: moved, everyMS });
  const series = useQuery((signal) => get(`orgs/${o}/stats`, { signal, query: { type: name } }), [o, name], { key: o + name, when: moved, everyMS });
  const t = q.data?.t;
  return (
    <Page title={"Type " + name} heading={name} sub={<><Link to={at("types")}>Types</Link>{t?.description && <> · {t.description}</>}</>}
      actions={t && <>
        {canHold() && <Button icon="pause" onClick={async () => (await pause({ type: name }, "Type " + name)) && q.reload()}>Pause</Button>}
        {mayAll("types.edit") && <Button onClick={() => toggle(t, q.reload)}>{t.enabled === false ? "Enable" : "Disable"}</Button>}
        {mayAll("types.edit") && <Button onClick={async () => (await edit({ title: "Policy of " + name, path: "types/" + part(name), have: t, fields, seq: t.seq })) && q.reload()}>Change policy</Button>}
      </>}>
      <Shown q={q} rows={6} what="The type">{({ t, schema }) => <>
        <div class="grid-2">
          <Card title={`How it does in ${o}`}><Figures s={t.stats} /></Card>
          <Card title="Policy" actions={<Taken t={t} />}><Policy t={t} /></Card>
        </div>
        <Card title="Attempts in the last hour">
          <Chart label="Attempts" times={(series.data?.minutes ?? []).map((p) => Date.parse(p.time) / 1000)} empty="No attempt ended" format={count}
            series={[{ label: "ended", color: "--good", fill: true, values: (series.data?.minutes ?? []).map((p) => p.ended) }, { label: "failed", color: "--bad", values: (series.data?.minutes ?? []).map((p) => p.failed) }]} />
        </Card>
        <Card title="Schema of the args">
          {schema?.kind === "object" ? <Json node={schema} label="schema" /> : <Empty title="No schema: any JSON is taken" command={`jobledger type schema ${name} --set schema.json --reason "args are checked"`} />}
        </Card>
        <p><Link to={at("jobs") + "?q=" + encodeURIComponent("type:" + name)}>Jobs of this type <Icon name="chevron" size={12} /></Link></p>
      </>}</Shown>
    </Page>
  );
}

function Figures({ s }) {
  if (!s) return <Empty title="Nothing ended lately" />;
  const row = (label, d) => <tr key={label}><th scope="row">{label}</th><td>{ms(d.p50_ms)}</td><td>{ms(d.p95_ms)}</td><td>{ms(d.p99_ms)}</td><td>{count(d.samples)}</td></tr>;
  return <>
    <table class="figures">
      <thead><tr><th scope="col">Last hour</th><th scope="col">p50</th><th scope="col">p95</th><th scope="col">p99</th><th scope="col">of</th></tr></thead>
      <tbody>{row("Wait", s.wait)}{row("Run", s)}{row("Total", s.total)}</tbody>
    </table>
    <table class="figures">
      <thead><tr><th scope="col">Failures</th><th scope="col">rate</th><th scope="col">failed</th><th scope="col">attempts</th><th scope="col">dead</th></tr></thead>
      <tbody>{[["1h", "1 hour"], ["24h", "24 hours"], ["30d", "30 days"]].map(([k, l]) => { const f = s.failures[k]; return <tr key={k}><th scope="row">{l}</th><td><Failures rate={f.rate} /></td><td>{count(f.failed)}</td><td>{count(f.ended)}</td><td>{count(f.dead_lettered)}</td></tr>; })}</tbody>
    </table>
  </>;
}

function Policy({ t }) {
  const b = t.backoff;
  return <Facts of={[
    ["Queue", <Link to={at("queues/" + part(t.queue))}>{t.queue}</Link>], ["Priority", t.priority], ["An attempt may run", span(t.run_timeout_s)], ["Attempts at most", t.max_attempts],
    ["Wait before a retry", b && (b.list_s ? b.list_s.map(span).join(", ") : `${span(b.base_s)}, then × ${b.factor}, at most ${span(b.cap_s)}`)],
    ["The same work twice", t.dedup === "off" ? "runs twice" : `${t.dedup.replace("_", " ")}, within ${span(t.dedup_window_s)}`],
    ["May run at once", limit(t.max_running)], ["Of one organization", limit(t.max_running_per_org)], ["Starts", rate(t.start_rate)], ["Submits", rate(t.submit_rate)],
    ["Breaker", t.breaker && "opens when too many fail"], ["Permission", t.permission], ["Closed to", t.disabled_orgs?.join(", ")], ["History is kept", t.retention_days ? `${t.retention_days} days` : null],
    ["Set", t.updated_at && <><Time at={t.updated_at} /> by {t.updated_by ?? "nobody named"}</>], ["Reason", t.reason],
  ]} />;
}
