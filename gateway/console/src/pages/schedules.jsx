// Schedules: when each ticks, in plain words, what it made last, and all that can be done to it.
import { useState } from "preact/hooks";
import { get, part, post, request, del } from "../lib/api.js";
import { at, goTo, may, org, toast } from "../lib/store.js";
import { count, stamp } from "../lib/time.js";
import { field, plain, pretty, tree } from "../lib/json.js";
import { cronWords, words } from "../lib/cron.js";
import { useQuery } from "../lib/query.js";
import { ask } from "../ui/ask.jsx";
import { Badge, Button, Card, Dialog, Empty, Facts, Field, Link, Page, Shown, Time } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";
import { Json } from "../ui/json.jsx";
import { Table } from "../ui/table.jsx";

const everyMS = 5000;
const nextCount = 5;
const moved = (b) => b.jobs.size > 0;
const path = (name, rest = "") => `orgs/${org.value}/schedules/${part(name)}${rest}`;

export function Schedules({ name }) { return name ? <One key={name} name={name} /> : <All />; }

function All() {
  const o = org.value;
  const [form, setForm] = useState(false);
  const q = useQuery((signal) => get(`orgs/${o}/schedules`, { signal }), [o], { key: o, when: moved, everyMS });
  return (
    <Page title="Schedules" sub={`Jobs of ${o} that come by themselves`} actions={may("schedules.edit") && <Button icon="plus" kind="primary" onClick={() => setForm(true)}>New schedule</Button>}>
      <Card flush>
        <Shown q={q} rows={4} what="The schedules">{(list) => list.items.length
          ? <Table label="Schedules" rows={list.items} id={(s) => s.name} open={(s) => goTo("schedules/" + part(s.name))} columns={columns} />
          : <Empty title="No schedule yet" command={`jobledger --org ${o} schedule add nightly report '{}' --cron "0 3 * * *"`}>A schedule submits a job at each of its ticks:</Empty>}
        </Shown>
      </Card>
      {form && <Form onClose={(saved) => { setForm(false); if (saved) { q.reload(); goTo("schedules/" + part(saved.name)); } }} />}
    </Page>
  );
}

function Standing({ s }) {
  if (s.paused) return <Badge kind="warn" icon="pause">paused</Badge>;
  if (s.parked) return <Badge kind="warn" icon="pause" title="The organization is suspended">parked</Badge>;
  if (s.waits) return <Badge kind="info" icon="running" title="Its last job has not ended: until then ticks pass">waits</Badge>;
  return s.next_at ? <Badge kind="good" icon="check">on</Badge> : <Badge>over</Badge>;
}

const columns = [
  { key: "name", title: "Schedule", phone: "main", cell: (s) => <><Link to={at("schedules/" + part(s.name))}>{s.name}</Link>{s.description && <div class="faint cut">{s.description}</div>}</> },
  { key: "state", title: "State", cell: (s) => <Standing s={s} /> },
  { key: "when", title: "When", phone: "main", cell: (s) => (s.at ? <>once, <Time at={s.at} abs /></> : words(s)) },
  { key: "type", title: "Type", phone: "hide", cell: (s) => <Link to={at("types/" + part(s.type))}>{s.type}</Link> },
  { key: "next", title: "Next", cell: (s) => (s.next_at ? <><span class="phone-word">next </span><Time at={s.next_at} /></> : <span class="faint">none</span>) },
  { key: "last", title: "Last", phone: "hide", cell: (s) => (s.last_job ? <Link to={at("jobs/" + part(s.last_job))}><Time at={s.last_at} /></Link> : <span class="faint">never</span>) },
];

const missedWords = { once: "made up once", skip: "passed over", all: "made up, each" };
const overlapWords = { skip: "the tick passes", allow: "both run", replace: "the running one is canceled" };

function One({ name }) {
  const o = org.value;
  const [form, setForm] = useState(false);
  const q = useQuery(async (signal) => {
    const [node, next] = await Promise.all([get(path(name), { signal, exact: true }), get(path(name, "/next"), { signal, query: { count: nextCount } }).catch(() => ({ ticks: [] }))]);
    return { s: plain(node), args: field(node, "args"), next: next.ticks ?? [] };
  }, [o, name], { key: o + name, when: moved, everyMS });
  const s = q.data?.s;
  const edits = may("schedules.edit");
  return (
    <Page title={"Schedule " + name} heading={name} sub={<><Link to={at("schedules")}>Schedules</Link>{s?.description && <> · {s.description}</>}</>}
      actions={s && edits && <>
        <Button icon="play" onClick={() => trigger(name)}>Run now</Button>
        <Button icon={s.paused ? "play" : "pause"} onClick={() => hold(s, q.reload)}>{s.paused ? "Resume" : "Pause"}</Button>
        {!s.at && <Button onClick={() => backfill(name)}>Backfill</Button>}
        <Button onClick={() => setForm(true)}>Edit</Button>
        <Button kind="quiet" onClick={() => remove(name)}>Remove</Button>
      </>}>
      <Shown q={q} rows={6} what="The schedule">{({ s, args, next }) => <>
        <div class="grid-2">
          <Card title="When" actions={<Standing s={s} />}>
            <p class="big">{s.at ? <>once, <Time at={s.at} abs /></> : words(s)}</p>
            <Facts of={[["Expression", s.cron && <code>{s.cron}</code>], ["Zone", s.cron && s.tz], ["A missed tick is", missedWords[s.missed] + (s.missed_max ? `, up to ${s.missed_max}` : "")],
              ["While its last job runs", overlapWords[s.overlap]], ["Spread over", s.jitter_s ? `${s.jitter_s} s` : null],
              ["Last", s.last_job && <Link to={at("jobs/" + part(s.last_job))}><Time at={s.last_at} abs /></Link>]]} />
          </Card>
          <Card title="Next ticks">
            {next.length ? <ol class="ticks">{next.map((t) => <li key={t}><Time at={t} abs /> <span class="faint"><Time at={t} /></span></li>)}</ol> : <Empty title="None" />}
            {s.paused && next.length > 0 && <p class="help">It is paused: these would be its ticks.</p>}
          </Card>
        </div>
        <div class="grid-2">
          <Card title="The job that it makes">
            <Facts of={[["Type", <Link to={at("types/" + part(s.type))}>{s.type}</Link>], ["Queue", s.queue || "as the type"], ["Priority", s.priority || "as the type"], ["Runs as", s.principal || s.updated_by],
              ["Attempts at most", s.max_attempts], ["An attempt may run", s.run_timeout_s && `${s.run_timeout_s} s`], ["Set", s.updated_at && <><Time at={s.updated_at} /> by {s.updated_by ?? "nobody named"}</>], ["Reason", s.reason]]} />
          </Card>
          <Card title="Args"><Json node={args} label="args" /></Card>
        </div>
        {form && <Form have={s} args={args} onClose={(saved) => { setForm(false); if (saved) q.reload(); }} />}
      </>}</Shown>
    </Page>
  );
}

async function trigger(name) {
  const r = await ask({ title: `Run ${name} now`, verb: "Run now", reason: "optional", text: "A job of the schedule is submitted at once. Its ticks stay as they are.", work: (v) => post(path(name, "/trigger"), { reason: v.reason }) });
  if (r) { toast("Submitted."); goTo("jobs/" + part(r.id)); }
}

async function hold(s, done) {
  const verb = s.paused ? "resume" : "pause";
  const r = await ask({ title: `${s.paused ? "Resume" : "Pause"} ${s.name}`, verb: s.paused ? "Resume" : "Pause", text: s.paused ? "It ticks again from now on; what passed meanwhile is not made up." : "Its ticks pass without a job. Jobs that it made go on.",
    work: (v) => post(path(s.name, "/" + verb), { reason: v.reason }) });
  if (r) { toast(`${s.name} is ${s.paused ? "on" : "paused"}.`); done(); }
}

async function remove(name) {
  const r = await ask({ title: "Remove " + name, verb: "Remove the schedule", danger: true, text: "It ticks no more. Jobs that it made stay.", work: (v) => del(path(name), { query: { reason: v.reason } }) });
  if (r) { toast(`${name} is removed.`); goTo("schedules"); }
}

// backfill counts first, then asks whether to.
async function backfill(name) {
  const local = (d) => new Date(d - new Date(d).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  const span = await ask({
    title: "Backfill " + name, verb: "Count first", reason: "none", text: "Submits the jobs of past ticks that have none. Twice is harmless: each tick has one job.",
    fields: [{ name: "from", label: "Ticks after", kind: "datetime-local", value: local(Date.now() - 86_400_000), required: true }, { name: "to", label: "Up to (empty: now)", kind: "datetime-local", value: "" }],
    work: async (v) => {
      const body = { from: new Date(v.from).toISOString(), ...(v.to && { to: new Date(v.to).toISOString() }) };
      return { body, dry: await post(path(name, "/backfill"), { ...body, dry_run: true }) };
    },
  });
  if (!span) return;
  const { ticks, submitted, duplicate } = span.dry;
  if (!submitted) return toast(ticks.length ? "Each of these ticks has its job." : "No tick lies in that time.");
  const r = await ask({
    title: "Backfill " + name, verb: `Submit ${count(submitted)} ${submitted === 1 ? "job" : "jobs"}`,
    text: <p>{count(ticks.length)} {ticks.length === 1 ? "tick" : "ticks"} from {stamp(ticks[0])} to {stamp(ticks.at(-1))}: {count(submitted)} would be submitted{duplicate ? `, ${count(duplicate)} have their job` : ""}.</p>,
    work: (v) => post(path(name, "/backfill"), { ...span.body, reason: v.reason }),
  });
  if (r) toast(`${count(r.submitted)} submitted.`);
}

const missed = [["once", "make one up"], ["skip", "pass over"], ["all", "make up each"]];
const overlap = [["skip", "let the tick pass"], ["allow", "run both"], ["replace", "cancel the running one"]];

// Form makes a schedule, or changes the one that it is given; what it does not show stays as it is.
function Form({ have, args, onClose }) {
  const [v, set] = useState(() => ({
    name: have?.name ?? "", type: have?.type ?? "", description: have?.description ?? "", kind: have?.every_s ? "every" : have?.at ? "at" : "cron",
    cron: have?.cron || "0 3 * * *", tz: have?.tz || "UTC", every: have?.every_s ? String(have.every_s) : "3600", at: have?.at ? stampInput(have.at) : "",
    missed: have?.missed ?? "once", overlap: have?.overlap ?? "skip", args: args ? pretty(args) : "{}", reason: "",
  }));
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const put = (name) => (e) => set((was) => ({ ...was, [name]: e.target.value }));
  const types = useQuery((signal) => get("types", { signal, query: { org: org.value } }), [], { skip: !may("settings.read") });
  const submit = async () => {
    try { tree(v.args); } catch (e) { return setError({ field: "args", message: e.message }); }
    if (!/^[\w-]{1,64}$/.test(v.name)) return setError({ field: "name", message: "A name is of letters, digits, - and _." });
    const when = { cron: "", tz: "", every_s: null, offset_s: null, at: null,
      ...(v.kind === "cron" ? { cron: v.cron.trim(), tz: v.tz.trim() } : v.kind === "every" ? { every_s: Number(v.every), offset_s: have?.offset_s ?? null } : { at: new Date(v.at).toISOString() }) };
    const { args: _, ...rest } = have ?? {};
    const body = JSON.stringify({ ...rest, ...when, name: v.name, type: v.type, description: v.description, missed: v.missed, missed_max: v.missed === "all" ? have?.missed_max ?? null : null, overlap: v.overlap, reason: v.reason || null, replace: !!have });
    setBusy(true);
    setError(null);
    try {
      const saved = await request("PUT", path(v.name), { raw: `${body.slice(0, -1)},"args":${v.args}}`, ifMatch: have?.seq || undefined });
      toast(have ? "Saved." : `${v.name} ticks from now on.`);
      onClose(saved);
    } catch (e) {
      setError({ field: e.details?.field, message: e.message });
      setBusy(false);
    }
  };
  const wrong = (name) => (error?.field === name ? error.message : "");
  const shown = ["name", "type", "cron", "tz", "every_s", "at", "args"];
  return (
    <Dialog wide title={have ? "Edit " + have.name : "New schedule"} onClose={() => onClose(null)} onSubmit={submit}
      footer={<><Button onClick={() => onClose(null)} disabled={busy}>Back</Button><button class="btn primary" disabled={busy} aria-busy={busy ? "true" : undefined}>{have ? "Save" : "Add the schedule"}</button></>}>
      <div class="form-2">
        <Field label="Name" error={wrong("name")}><input name="name" value={v.name} onInput={put("name")} readOnly={!!have} autofocus={!have} required placeholder="nightly-report" /></Field>
        <Field label="Type" error={wrong("type")}><input name="type" value={v.type} onInput={put("type")} required list="schedule-types" placeholder="report-build" /></Field>
      </div>
      <datalist id="schedule-types">{(types.data?.items ?? []).map((t) => <option key={t.name} value={t.name} />)}</datalist>
      <div class="tabs" role="group" aria-label="When">
        {[["cron", "By the calendar"], ["every", "In intervals"], ["at", "Once"]].map(([k, l]) => <button type="button" key={k} aria-pressed={v.kind === k} onClick={() => set((was) => ({ ...was, kind: k }))}>{l}</button>)}
      </div>
      {v.kind === "cron" && <div class="form-2">
        <Field label="Cron expression" error={wrong("cron")} help={v.cron.trim() && cronWords(v.cron)}><input name="cron" class="mono" value={v.cron} onInput={put("cron")} required /></Field>
        <Field label="Time zone" error={wrong("tz")} help="Such as Europe/Berlin"><input name="tz" value={v.tz} onInput={put("tz")} /></Field>
      </div>}
      {v.kind === "every" && <Field label="Every so many seconds" error={wrong("every_s")} help={Number(v.every) > 0 ? words({ every_s: Number(v.every) }) : ""}><input name="every" type="number" min="1" value={v.every} onInput={put("every")} required /></Field>}
      {v.kind === "at" && <Field label="At" error={wrong("at")}><input name="at" type="datetime-local" value={v.at} onInput={put("at")} required /></Field>}
      <Field label="Args" error={wrong("args")}><textarea name="args" rows="5" spellcheck={false} value={v.args} onInput={put("args")} /></Field>
      <div class="form-2">
        <Field label="A missed tick"><select name="missed" value={v.missed} onChange={put("missed")}>{missed.map(([k, l]) => <option key={k} value={k}>{l}</option>)}</select></Field>
        <Field label="While the last job runs"><select name="overlap" value={v.overlap} onChange={put("overlap")}>{overlap.map(([k, l]) => <option key={k} value={k}>{l}</option>)}</select></Field>
      </div>
      <div class="form-2">
        <Field label="Description"><input name="description" value={v.description} onInput={put("description")} /></Field>
        <Field label="Reason"><input name="reason" value={v.reason} onInput={put("reason")} maxlength="500" /></Field>
      </div>
      {error && !shown.includes(error.field) && <p class="wrong-text" role="alert"><Icon name="warn" /> {error.message}</p>}
    </Dialog>
  );
}

const stampInput = (iso) => new Date(Date.parse(iso) - new Date(iso).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
