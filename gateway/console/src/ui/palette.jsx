// The palette (Ctrl-K): go to a page, a job by its id, an org, or do something. And the help of the keyboard.
import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { at, org, me, theme, utc } from "../lib/store.js";
import { go, loc } from "../lib/router.js";
import { get, part } from "../lib/api.js";
import { help, useKeys } from "../lib/keys.js";
import { Dialog } from "./kit.jsx";
import { Icon } from "./icons.jsx";
import { shown } from "../pages/index.js";
import { orgs } from "./orgs.jsx";

export const palette = signal(false);
export const helpOpen = signal(false);

// actions of the page that is open: [{title, run}].
export const pageActions = signal([]);
export function usePageActions(list) {
  useEffect(() => { pageActions.value = list; return () => { pageActions.value = []; }; }, [JSON.stringify(list.map((a) => a.title))]);
}

function entries() {
  return [
    ...pageActions.value.map((a) => ({ title: a.title, kind: "action", icon: "play", run: a.run })),
    ...shown().map((p) => ({ title: p.title, kind: "page", icon: p.icon, run: () => go(at(p.path)) })),
    ...orgs.value.filter((o) => o !== org.value).map((o) => ({ title: "Org " + o, kind: "org", icon: "orgs", run: () => go(at(loc.value.path.split("/")[3] ?? "", o)) })),
    { title: "Theme: light", kind: "view", icon: "sun", run: () => (theme.value = "light") },
    { title: "Theme: dark", kind: "view", icon: "moon", run: () => (theme.value = "dark") },
    { title: "Theme: as the system", kind: "view", icon: "auto", run: () => (theme.value = "auto") },
    { title: utc.value ? "Times of this machine" : "Times of UTC", kind: "view", icon: "queued", run: () => (utc.value = !utc.value) },
    { title: "Keyboard", kind: "help", icon: "search", run: () => (helpOpen.value = true) },
  ];
}

export function Palette() {
  const [text, setText] = useState("");
  const [n, setN] = useState(0);
  const [found, setFound] = useState(null);
  const list = useRef();
  const word = text.trim().toLowerCase();
  const close = () => { palette.value = false; };
  const all = useMemo(entries, []);
  const items = all.filter((e) => word.split(/\s+/).every((w) => (e.title + " " + e.kind).toLowerCase().includes(w)));
  if (/^[\w-]{3,}$/.test(text.trim())) {
    const id = text.trim();
    const one = { title: (found?.id === id ? `${found.type} ${id}` : "Job " + id), kind: found?.id === id ? found.state : "job by id", icon: found?.id === id ? found.state : "jobs", run: () => go(at("jobs/" + part(id))) };
    found?.id === id || /\d/.test(id) ? items.unshift(one) : items.push(one); // a word is rather the name of a page
  }
  if (text.includes(":")) items.unshift({ title: "Jobs with " + text, kind: "filter", icon: "search", run: () => go(at("jobs") + "?q=" + encodeURIComponent(text)) });
  useEffect(() => {
    setN(0);
    setFound(null);
    if (!/^[\w-]{8,}$/.test(text.trim())) return;
    const abort = new AbortController();
    const t = setTimeout(() => get(`orgs/${org.value}/jobs/${part(text.trim())}`, { signal: abort.signal }).then(setFound, () => {}), 150);
    return () => { clearTimeout(t); abort.abort(); };
  }, [text]);
  const run = (e) => { close(); e?.run(); };
  const key = (e) => {
    const d = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (d) {
      e.preventDefault();
      const next = (n + d + items.length) % Math.max(1, items.length);
      setN(next);
      list.current?.children[next]?.scrollIntoView({ block: "nearest" });
    } else if (e.key === "Enter") { e.preventDefault(); run(items[n]); }
  };
  return (
    <Dialog title="Go to" onClose={close}>
      <input class="palette-in" autofocus placeholder="A page, an id of a job, a filter, an org" aria-label="Go to" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant={"pal-" + n}
        value={text} onInput={(e) => setText(e.target.value)} onKeyDown={key} />
      <ul class="palette-list" id="palette-list" role="listbox" ref={list}>
        {items.slice(0, 60).map((e, i) => (
          <li key={e.title} id={"pal-" + i} role="option" aria-selected={i === n} class={i === n ? "at" : ""} onMouseMove={() => setN(i)} onClick={() => run(e)}>
            <Icon name={e.icon} /><span>{e.title}</span><span class="faint">{e.kind}</span>
          </li>
        ))}
        {!items.length && <li class="faint">Nothing is called so.</li>}
      </ul>
    </Dialog>
  );
}

export function Help() {
  const groups = help();
  const seen = new Set();
  return (
    <Dialog title="Keyboard" onClose={() => (helpOpen.value = false)}>
      <table class="keys"><tbody>
        {groups.flat().filter(([k]) => !seen.has(k) && seen.add(k)).map(([k, about]) => <tr key={k}><th scope="row">{k.split("-").map((x) => <kbd key={x}>{x}</kbd>)}</th><td>{about}</td></tr>)}
      </tbody></table>
      <p class="faint">Capital letters change something, and ask first.</p>
    </Dialog>
  );
}

// useGlobalKeys are the keys that work on every page.
export function useGlobalKeys() {
  useKeys({
    "Ctrl-k": [() => { helpOpen.value = false; palette.value = !palette.value; }, "go to anything"],
    "/": [() => document.querySelector("[data-filter]")?.focus(), "to the filter"],
    "?": [() => (helpOpen.value = true), "this help"],
  });
}
