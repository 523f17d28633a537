// Tokens: who gets in, as what, and shutting one out. A secret is shown once.
import { useState } from "preact/hooks";
import { del, get, part, post } from "../lib/api.js";
import { mayAll, org, toast } from "../lib/store.js";
import { useQuery } from "../lib/query.js";
import { now } from "../lib/time.js";
import { ask } from "../ui/ask.jsx";
import { Badge, Button, Card, Copy, Dialog, Empty, Page, Shown, Time } from "../ui/kit.jsx";
import { Icon } from "../ui/icons.jsx";
import { Table } from "../ui/table.jsx";

// soonMS before its end a token is marked.
const soonMS = 7 * 86_400_000;

export function Tokens() {
  const o = org.value;
  const [made, setMade] = useState(null);
  const q = useQuery((signal) => get(`orgs/${o}/tokens`, { signal }), [o], { key: o });
  return (
    <Page title="Tokens" sub={`Who may call for ${o}`} actions={mayAll("tokens.edit") && <Button icon="plus" kind="primary" onClick={async () => { const t = await add(o); if (t) { setMade(t); q.reload(); } }}>New token</Button>}>
      <Card flush>
        <Shown q={q} rows={4} what="The tokens">{(list) => list.items.length
          ? <Table label="Tokens" rows={[...list.items].reverse().sort((a, b) => over(a) - over(b))} id={(t) => t.id} columns={columns(q.reload)} mark={(t) => (over(t) ? "gone" : "")} />
          : <Empty title="No token yet" command={`jobledger org token add ${o} ci --role operator --expires 90d --reason "deploys"`}>Beyond this machine each call needs one, which says who acts and what he may do:</Empty>}
        </Shown>
      </Card>
      {made && <Secret token={made} onClose={() => setMade(null)} />}
    </Page>
  );
}

const ended = (t) => t.expires_at && Date.parse(t.expires_at) <= now.value;
const over = (t) => t.revoked || !!ended(t);

function Standing({ t }) {
  if (t.revoked) return <Badge kind="bad" icon="close">revoked</Badge>;
  if (ended(t)) return <Badge icon="close">expired</Badge>;
  if (t.expires_at && Date.parse(t.expires_at) - now.value < soonMS) return <Badge kind="warn" icon="warn">ends soon</Badge>;
  return <Badge kind="good" icon="check">good</Badge>;
}

const columns = (done) => [
  { key: "name", title: "Token", phone: "main", cell: (t) => <>{t.name}<div class="faint mono">{t.id}</div></> },
  { key: "state", title: "State", cell: (t) => <Standing t={t} /> },
  { key: "role", title: "Role", cell: (t) => t.role },
  { key: "acts", title: "Acts as", phone: "hide", cell: (t) => t.acts_as },
  { key: "permissions", title: "Permissions", phone: "hide", cell: (t) => t.permissions?.join(", ") || <span class="faint">–</span> },
  { key: "expires", title: "Ends", cell: (t) => (t.expires_at ? <><span class="phone-word">ends </span><Time at={t.expires_at} /></> : <span class="faint">never ends</span>) },
  { key: "set", title: "Last change", phone: "hide", cell: (t) => <><Time at={t.updated_at} /> <span class="faint">{t.updated_by}{t.reason ? ": " + t.reason : ""}</span></> },
  ...(mayAll("tokens.edit") ? [{ key: "act", title: "", cell: (t) => (over(t) ? null : <Button class="small" onClick={() => revoke(t, done)}>Revoke</Button>) }] : []),
];

const roles = [["member", "member: submits, and sees its own jobs"], ["operator", "operator: all jobs of the organization"], ["auditor", "auditor: reads everything of it, changes nothing"],
  ["publisher", "publisher: submits for named principals"], ["worker", "worker: runs jobs"], ["admin", "admin: the whole cell, every organization"]];
const ages = [["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "never"]];

const add = (o) => ask({
  title: "New token for " + o, verb: "Make the token",
  fields: [
    { name: "title", label: "Name", required: true, placeholder: "ci" }, { name: "role", label: "Role", kind: "select", options: roles, value: "operator" },
    { name: "actor", label: "Acts as", placeholder: "user:ada", help: "As events name it; empty: api_key and the name" },
    { name: "permissions", label: "Permissions of a member", placeholder: "fax.send", help: "Names of permissions that types ask for, with blanks between" },
    { name: "days", label: "Ends after", kind: "select", options: ages, value: "90" },
  ],
  work: (v) => post(`orgs/${o}/tokens`, {
    title: v.title.trim(), role: v.role, reason: v.reason, ...(v.actor.trim() && { actor: v.actor.trim() }), ...(v.permissions.trim() && { permissions: v.permissions.trim().split(/[\s,]+/) }),
    ...(v.days && { expires_at: new Date(Date.now() + Number(v.days) * 86_400_000).toISOString() }),
  }),
});

async function revoke(t, done) {
  const r = await ask({ title: "Revoke " + t.name, verb: "Revoke for good", danger: true, text: `Within two seconds it opens nothing any more, and its streams end. It acts as ${t.acts_as}.`, work: (v) => del("tokens/" + part(t.id), { query: { reason: v.reason } }) });
  if (r) { toast(`${t.name} is revoked.`); done(); }
}

function Secret({ token, onClose }) {
  return (
    <Dialog title="The token is made" onClose={onClose} footer={<Button kind="primary" onClick={onClose}>I have kept it</Button>}>
      <p><Icon name="warn" /> This is shown once, and stored nowhere: copy it now.</p>
      <code class="command secret"><span>{token.secret}</span><Copy text={token.secret} label="Copy the secret" /></code>
      <p class="faint">{token.name} acts as {token.acts_as}, role {token.role}.</p>
    </Dialog>
  );
}
