// The console: the frame around the pages.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { effect } from "@preact/signals";
import "../vendor/uplot/uPlot.css";
import "./app.css";
import "./cell.css";
import { loc, go, url } from "./lib/router.js";
import { org, me, at, mayWhole, lastOrg, theme, utc, toasts, dismiss } from "./lib/store.js";
import { get, del } from "./lib/api.js";
import { link, heard, paused, behind, setPaused } from "./lib/live.js";
import { now, coarse, count } from "./lib/time.js";
import { useQuery } from "./lib/query.js";
import { Badge, Failed, IconButton, Link } from "./ui/kit.jsx";
import { Icon } from "./ui/icons.jsx";
import { Asking } from "./ui/ask.jsx";
import { OrgSwitch, loadOrgs, orgs } from "./ui/orgs.jsx";
import { Palette, Help, palette, helpOpen, useGlobalKeys } from "./ui/palette.jsx";
import { shown, pageOf } from "./pages/index.js";
import { Login } from "./pages/login.jsx";

// whoAmI asks who looks, and says whether that is known; a server that does not tell lets the pages show everything, and
// refuses what it must. What was known before, and its proof of a login, stays until there is an answer.
export async function whoAmI() {
  const of = org.peek();
  let answer = me.peek() ?? { principal: "", rights: null };
  try {
    answer = await get("me", { query: { org: of } });
  } catch (e) {
    if (e.status === 401) return false;
  }
  if (org.peek() !== of) return false; // another is looked at by now, who is asked for on his own
  me.value = answer;
  return true;
}

function App() {
  const [error, setError] = useState(null);
  const login = loc.value.path === "/login";
  const o = org.value;
  useEffect(() => {
    if (login || (!o && loc.peek().path !== "/")) return;
    (async () => {
      if (!(await whoAmI())) return;
      await loadOrgs();
      if (!org.value) go(at("", me.value.org || lastOrg.value || orgs.value[0] || "demo"), { replace: true });
    })().catch(setError);
  }, [login, o, !o && loc.value.path]);
  const unknown = !login && !!me.value && me.value.rights === null && link.value === "live";
  useEffect(() => { if (unknown) whoAmI(); }, [unknown]); // it is there again
  if (login) return <Login done={(to) => { me.value = null; go(to, { replace: true }); }} />;
  if (error) return <Failed error={error} what="The console" />;
  if (!o && loc.value.path !== "/") return <main class="login"><div class="card"><NoPage /></div></main>;
  if (!me.value || !o) return <div class="splash" role="status"><Icon name="jobs" size={28} /></div>;
  return <Frame />;
}

function Frame() {
  const [nav, setNav] = useState(false);
  useGlobalKeys();
  const path = loc.value.path;
  useEffect(() => setNav(false), [path]);
  const [, , , name = "", ...rest] = path.split("/");
  const page = pageOf(name);
  const View = page?.view;
  const figures = mayWhole("metrics.read");
  useEffect(() => { if (page?.path === "" && !figures) go(at("jobs"), { replace: true }); }, [page, figures]); // who has no overview begins with his jobs
  const lost = link.value === "lost";
  const counts = useQuery((signal, min_seq) => get(`orgs/${org.value}/counts`, { signal, query: { min_seq } }), [org.value], { key: org.value, when: (b) => b.jobs.size > 0, everyMS: 3000, skip: !figures });
  return (
    <div class={"frame" + (nav ? " nav-open" : "") + (lost ? " is-lost" : "")}>
      <a class="skip" href={url(path) + "#main"} onClick={(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>To the content</a>
      <Top onNav={() => setNav(!nav)} nav={nav} />
      <nav class="side" aria-label="Pages" id="side">
        {["", "Cell"].filter((group) => shown().some((p) => (p.group ?? "") === group)).map((group) => (
          <div key={group} class="side-group">
            {group && <p class="side-title">{group}</p>}
            {shown().filter((p) => (p.group ?? "") === group).map((p) => (
              <Link key={p.path} to={at(p.path)} class={"side-link" + (page === p ? " here" : "")} aria-current={page === p ? "page" : undefined}>
                <Icon name={p.icon} /><span>{p.title}</span>
                {p.path === "dead-letters" && counts.data?.dead_letters_open > 0 && <span class="side-count" title="open dead letters">{count(counts.data.dead_letters_open)}</span>}
              </Link>
            ))}
          </div>
        ))}
        <Foot />
      </nav>
      <div class="shade" onClick={() => setNav(false)} />
      <main id="main" tabindex="-1">
        {lost && <Lost />}
        {View ? <View key={page.path + org.value} name={nameOf(rest.join("/"))} counts={counts} /> : <NoPage />}
      </main>
      <Toasts />
      <Asking />
      {palette.value && <Palette />}
      {helpOpen.value && <Help />}
    </div>
  );
}

// nameOf is a name as a path has it; one that was written by hand may be no path.
function nameOf(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function Top({ onNav, nav }) {
  return (
    <header class="top">
      <IconButton icon="menu" label="Pages" class="nav-btn" onClick={onNav} aria-expanded={nav} aria-controls="side" />
      <Link to={at()} class="brand" aria-label="jobledger"><Icon name="jobs" /><span>jobledger</span></Link>
      {me.value.environment && <Badge kind={/prod/i.test(me.value.environment) ? "bad" : "info"} title="What this installation is called">{me.value.environment}</Badge>}
      <OrgSwitch />
      <span class="grow" />
      <button type="button" class="go-to" onClick={() => (palette.value = true)} aria-label="Go to… Ctrl K: a page, a job, an organization"><Icon name="search" /><span>Go to…</span><kbd>Ctrl K</kbd></button>
      <LiveButton />
    </header>
  );
}

const linkWords = { live: "Live", connecting: "Connecting", lost: "Connection lost", off: "Not following", refused: "Not allowed to follow", limited: "Too many streams" };

function LiveButton() {
  const p = paused.value;
  const n = behind.value;
  const word = p ? (n ? `Paused · ${count(n)} new` : "Paused") : linkWords[link.value];
  return (
    <button type="button" class={"live l-" + (p ? "paused" : link.value)} onClick={() => setPaused(!p)} aria-pressed={p} title={p ? "Go on with live updates" : "Pause live updates"}>
      <Icon name={p ? "play" : "pause"} size={14} /><span class="dot" aria-hidden="true" /><span aria-live="polite">{word}</span>
    </button>
  );
}

function Foot() {
  const next = { auto: "light", light: "dark", dark: "auto" }[theme.value];
  return (
    <div class="side-foot">
      <button type="button" class="side-link" onClick={() => (theme.value = next)} title={`Change to ${next === "auto" ? "that of the system" : next}`}><Icon name={{ auto: "auto", light: "sun", dark: "moon" }[theme.value]} /><span>Theme: {theme.value === "auto" ? "as the system" : theme.value}</span></button>
      <button type="button" class="side-link" onClick={() => (utc.value = !utc.value)}><Icon name="queued" /><span>Times: {utc.value ? "UTC" : "local"}</span></button>
      <button type="button" class="side-link" onClick={() => (helpOpen.value = true)}><Icon name="search" /><span>Keyboard</span><kbd>?</kbd></button>
      {me.value.principal && <div class="who" title={me.value.role}><Icon name="user" /><span>{me.value.principal}</span>{me.value.login === "cookie" && <Logout />}</div>}
      {me.value.version && <p class="faint version">{me.value.version}</p>}
    </div>
  );
}

function Logout() {
  const out = async () => {
    await del("login").catch(() => {});
    me.value = null;
    go("/login");
  };
  return <button type="button" class="link" onClick={out}>Log out</button>;
}

// Lost says that what is shown grows old.
function Lost() {
  return (
    <div class="banner" role="status">
      <Icon name="warn" />
      <span>The connection is lost. What you see is {coarse((now.value - heard.value) / 1000)} old; it goes on by itself where it stopped.</span>
    </div>
  );
}

function NoPage() {
  useEffect(() => { document.title = "No such page · jobledger"; }, []);
  return <div class="page"><h1>There is no such page</h1><p><Link to={org.value ? at() : "/"}>To the overview</Link></p></div>;
}

const Toasts = () => (
  <div class="toasts" aria-live="polite">
    {toasts.value.map((t) => (
      <div key={t.id} class={"toast t-" + t.kind}><Icon name={t.kind === "bad" ? "warn" : "check"} /><div><p>{t.text}</p>{t.detail && <p class="faint">{t.detail}</p>}</div><IconButton icon="close" label="Dismiss" onClick={() => dismiss(t.id)} /></div>
    ))}
  </div>
);

effect(() => { document.body.classList.toggle("lost", link.value === "lost"); });
render(<App />, document.getElementById("app"));
