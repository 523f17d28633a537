// The address bar as a signal. Every path is relative to <base>, so that the console works below any prefix.
import { signal } from "@preact/signals";

const root = new URL(document.baseURI);

function read() {
  const path = "/" + location.pathname.slice(root.pathname.length).replace(/\/+$/, "");
  return { path, query: new URLSearchParams(location.search) };
}

// loc is where we are: {path, query}; path begins with "/" and has no prefix.
export const loc = signal(read());
addEventListener("popstate", () => (loc.value = read()));

// url is the address of a path of the console, or of the API.
export const url = (path) => root.pathname + path.replace(/^\//, "");

// go moves to a path; with replace the way back does not come here.
export function go(path, { replace = false, keepScroll = false } = {}) {
  const to = url(path);
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  loc.value = read();
  if (!keepScroll && !replace) scrollTo(0, 0);
}

// toLogin asks who looks, and comes back to where we are, with its filter.
export function toLogin() {
  const { path, query } = loc.peek();
  if (path === "/login") return;
  const text = query.toString();
  go("/login?to=" + encodeURIComponent(path + (text ? "?" + text : "")), { replace: true });
}

// setQuery changes parameters of the address: an empty value takes one away.
export function setQuery(changes, { push = false } = {}) {
  const q = new URLSearchParams(location.search);
  for (const [k, v] of Object.entries(changes)) v === "" || v == null ? q.delete(k) : q.set(k, v);
  const text = q.toString();
  const to = location.pathname + (text ? "?" + text : "");
  if (to === location.pathname + location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", to);
  loc.value = read();
}

// Links of ours are followed without loading the page anew.
addEventListener("click", (e) => {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  const a = e.target.closest?.("a[href]");
  if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin) return;
  if (!a.pathname.startsWith(root.pathname) || /^\/(v1|assets|metrics)\b/.test("/" + a.pathname.slice(root.pathname.length))) return;
  e.preventDefault();
  go(a.pathname.slice(root.pathname.length - 1) + a.search);
});
