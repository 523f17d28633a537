// The small pieces that every page is made of.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon } from "./icons.jsx";
import { now, ago, stamp } from "../lib/time.js";
import { url } from "../lib/router.js";
import { toast } from "../lib/store.js";

const words = (s) => String(s).replaceAll("_", " ");

// State is a job's state: shape, word, colour.
export const State = ({ state, flags }) => (
  <span class={"state s-" + state}>
    <Icon name={state} size={14} />
    {words(state)}
    {flags?.includes("cancel_requested") && <span class="faint">, stopping</span>}
  </span>
);

// Badge is a short mark; kind: plain, good, warn, bad, info.
export const Badge = ({ kind = "plain", icon, children, title }) => (
  <span class={"badge b-" + kind} title={title}>{icon && <Icon name={icon} size={12} />}{children}</span>
);

// Reason says in words why a job is where it is.
export const reasonText = (r) => (r ? words(r) : "");

// Link is a link inside the console: to is a path of lib/router.js.
export const Link = ({ to, children, ...rest }) => <a href={url(to)} {...rest}>{children}</a>;

// Time is a moment: relative in lists, absolute with abs; the other is the tooltip.
export function Time({ at, abs, ms }) {
  if (!at) return <span class="faint">–</span>;
  return abs ? <time datetime={at} title={ago(at)}>{stamp(at, { ms })}</time> : <time datetime={at} title={stamp(at)}>{ago(at, now.value)}</time>;
}

export function Button({ kind = "", icon, children, busy, class: c = "", ...rest }) {
  return (
    <button type="button" class={"btn " + kind + " " + c} aria-busy={busy ? "true" : undefined} {...rest} disabled={busy || rest.disabled}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

// IconButton has no text, so it needs a label.
export const IconButton = ({ icon, label, class: c = "", ...rest }) => (
  <button type="button" class={"icon-btn " + c} aria-label={label} title={label} {...rest}><Icon name={icon} /></button>
);

// Page is the frame of a page. sub stands below the title, actions beside it.
export function Page({ title, sub, actions, children, heading }) {
  useEffect(() => { document.title = title + " · jobledger"; }, [title]);
  return (
    <div class="page">
      <header class="page-head">
        <div class="page-title"><h1>{heading ?? title}</h1>{sub && <div class="sub">{sub}</div>}</div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export const Card = ({ title, actions, children, class: c = "", flush }) => (
  <section class={"card " + c}>
    {title && <header class="card-head"><h2>{title}</h2>{actions && <div class="actions">{actions}</div>}</header>}
    <div class={flush ? "card-flush" : "card-body"}>{children}</div>
  </section>
);

// Loading keeps the place of what comes, so that nothing jumps.
export const Loading = ({ rows = 3 }) => (
  <div class="skeleton" role="status" aria-label="Loading">{Array.from({ length: rows }, (_, i) => <div key={i} />)}</div>
);

// Empty says that there is nothing, and what to do next; command is a line for the terminal.
export const Empty = ({ title, children, command }) => (
  <div class="empty">
    <p class="empty-title">{title}</p>
    {children && <p>{children}</p>}
    {command && <Command text={command} />}
  </div>
);

export const Command = ({ text }) => <code class="command"><span>$ {text}</span><Copy text={text} /></code>;

// Failed shows an error with what helps to find it. A right that is missing is named.
export function Failed({ error, retry, what = "This" }) {
  const denied = error.status === 403;
  return (
    <div class="failed" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{denied ? "Not allowed" : what + " could not be read"}</strong>
        <p>{error.message}{denied && error.details?.action ? ` (missing: ${error.details.action})` : ""}</p>
        <p class="faint">{error.code}{error.requestID && <> · request <code>{error.requestID}</code> <Copy text={error.requestID} /></>}</p>
      </div>
      {retry && !denied && <Button onClick={() => retry()}>Try again</Button>}
    </div>
  );
}

// Shown is what a query gives: its error, its loading state, or its data. What was shown stays while it is read again.
export function Shown({ q, rows, what, children }) {
  if (q.error && !q.data) return <Failed error={q.error} retry={q.reload} what={what} />;
  if (!q.data) return <Loading rows={rows} />;
  return <>{q.error && <Failed error={q.error} retry={q.reload} what={what} />}{children(q.data)}</>;
}

// Copy copies a text.
export function Copy({ text, label = "Copy" }) {
  const [done, set] = useState(false);
  const click = async (e) => {
    e.preventDefault();
    e.stopPropagation();
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      set(true);
      setTimeout(() => set(false), 1200);
    } catch {
      toast("The browser does not let this page write to the clipboard.", { kind: "bad" });
    }
  };
  return <button type="button" class="copy" onClick={click} aria-label={label} title={label}><Icon name={done ? "check" : "copy"} size={14} /></button>;
}

// Field is a labelled input; help stands below, error in its place.
export function Field({ label, help, error, children }) {
  const id = useId();
  const child = Array.isArray(children) ? children[0] : children;
  if (child?.props && typeof child.type === "string") child.props.id ??= id;
  return (
    <div class={"field" + (error ? " wrong" : "")}>
      <label for={child?.props?.id ?? id}>{label}</label>
      {children}
      {(error || help) && <p class={error ? "wrong-text" : "help"} role={error ? "alert" : undefined}>{error || help}</p>}
    </div>
  );
}

// Dialog is modal. Escape and the backdrop call onClose.
export function Dialog({ title, onClose, children, wide, footer, onSubmit }) {
  const ref = useRef();
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    ref.current.querySelector("[autofocus]")?.focus();
    return () => before?.focus?.();
  }, []);
  const body = <><div class="dialog-body">{children}</div>{footer && <footer class="dialog-foot">{footer}</footer>}</>;
  return (
    <dialog ref={ref} class={wide ? "wide" : ""} aria-labelledby={id} onCancel={(e) => { e.preventDefault(); onClose(); }}
      onMouseDown={(e) => { if (e.target === ref.current) onClose(); }}>
      <div class="dialog-in">
        <header class="dialog-head"><h2 id={id}>{title}</h2><IconButton icon="close" label="Close" onClick={onClose} /></header>
        {onSubmit ? <form onSubmit={(e) => { e.preventDefault(); onSubmit(e); }}>{body}</form> : body}
      </div>
    </dialog>
  );
}

// Facts is a list of names and values; one without value is left out.
export const Facts = ({ of }) => (
  <dl class="facts">{of.filter(([, v]) => v != null && v !== "" && v !== false).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
);

// Bar is a share of something, 0 to 100.
export const Bar = ({ percent, label }) => (
  <div class="bar" role="progressbar" aria-valuenow={percent} aria-valuemin="0" aria-valuemax="100" aria-label={label}>
    <svg width="100%" height="6" preserveAspectRatio="none" viewBox="0 0 100 6" aria-hidden="true"><rect width="100" height="6" class="bar-bg" /><rect width={Math.max(0, Math.min(100, percent))} height="6" class="bar-fg" /></svg>
  </div>
);
