// The orgs that may be looked at, and the switch between them.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { org, me, at, lastOrg } from "../lib/store.js";
import { go, loc } from "../lib/router.js";
import { get } from "../lib/api.js";
import { Dialog } from "./kit.jsx";
import { Icon } from "./icons.jsx";

// orgs are the names that are known: those of the caller's roles, or all that the cell knows.
export const orgs = signal([]);

export async function loadOrgs() {
  const mine = (me.value?.orgs ?? []).map((o) => o.org).filter(Boolean);
  let all = [];
  try { all = (await get("orgs", { query: { all: true } })).items.map((o) => o.name); } catch { /* not for this caller: his own remain */ }
  orgs.value = [...new Set([...mine, ...all, ...(lastOrg.value ? [lastOrg.value] : []), ...(org.value ? [org.value] : [])])].sort();
}

// OrgSwitch shows the org, and opens the choice.
export function OrgSwitch() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="org-switch" onClick={() => { setOpen(true); loadOrgs(); }} aria-haspopup="dialog" aria-label={`Org ${org.value}: choose another`}>
        <Icon name="orgs" /><span class="org-name">{org.value}</span><Icon name="down" size={12} />
      </button>
      {open && <OrgChoice onClose={() => setOpen(false)} />}
    </>
  );
}

const shownMax = 100; // names in the list

function OrgChoice({ onClose }) {
  const [text, setText] = useState("");
  useEffect(() => { loadOrgs(); }, []);
  const list = orgs.value.filter((o) => o.includes(text.trim()));
  const to = (o) => { onClose(); go(at(loc.value.path.split("/")[3] ?? "", o)); };
  return (
    <Dialog title="Organization" onClose={onClose} onSubmit={() => { const o = list.includes(text.trim()) || !list.length ? text.trim() : list[0]; if (/^[\w-]+$/.test(o)) to(o); }}>
      <input class="palette-in" autofocus value={text} onInput={(e) => setText(e.target.value)} placeholder="Name of an org" aria-label="Name of an org" />
      <ul class="palette-list">
        {list.slice(0, shownMax).map((o) => <li key={o} class={o === org.value ? "at" : ""}><button type="button" class="row-btn" onClick={() => to(o)}><Icon name="orgs" /><span>{o}</span>{o === org.value && <span class="faint">now</span>}</button></li>)}
        {list.length > shownMax && <li class="faint">{list.length - shownMax} more: type a part of the name.</li>}
        {!list.length && <li class="faint">{/^[\w-]+$/.test(text.trim()) ? <button type="button" class="row-btn" onClick={() => to(text.trim())}><Icon name="chevron" /><span>Go to {text.trim()}</span></button> : "No org is called so."}</li>}
      </ul>
    </Dialog>
  );
}
