// What all pages share: who looks, at which org, and how.
import { signal, computed, effect } from "@preact/signals";
import { loc, go } from "./router.js";

// keep is a signal that survives a reload, in this browser.
export function keep(name, first) {
  let was = null;
  try { was = JSON.parse(localStorage.getItem("jobledger." + name)); } catch { /* none, or not ours */ }
  const s = signal(was ?? first);
  effect(() => {
    const v = JSON.stringify(s.value);
    try { localStorage.setItem("jobledger." + name, v); } catch { /* a private window: it lasts as long as the tab */ }
  });
  return s;
}

// me is GET /v1/me: {principal, org, role, orgs, rights, login, csrf_token, environment, version}; null until it is known.
export const me = signal(null);

// org is the one that the address names.
export const org = computed(() => loc.value.path.match(/^\/o\/([^/]+)/)?.[1] ?? "");
// lastOrg is where this browser begins.
export const lastOrg = keep("org", "");
effect(() => { if (org.value) lastOrg.value = org.value; });

// at is the path of a page of the org.
export const at = (page = "", o = org.value) => "/o/" + o + (page ? "/" + page : "");
export const goTo = (page, opt) => go(at(page), opt);

// may says whether an action would be allowed: what is refused is not offered. The server decides.
export const may = (action) => !me.value?.rights || me.value.rights.includes(action);
// mayWhole says it of all of the org: a right to one's own jobs does not reach so far.
export const mayWhole = (action) => may(action) && /^(org|all)$/.test(me.value?.reach?.[action] ?? "all");
// mayAll says it of what belongs to the whole cell, which a right to one org does not reach.
export const mayAll = (action) => may(action) && (me.value?.reach?.[action] ?? "all") === "all";

// theme is auto, light or dark.
export const theme = keep("theme", "auto");
effect(() => { document.documentElement.dataset.theme = theme.value; });
export const dark = signal(false);
const media = matchMedia("(prefers-color-scheme: dark)");
const shade = () => (dark.value = theme.value === "dark" || (theme.value === "auto" && media.matches));
media.addEventListener("change", shade);
effect(shade);

// utc shows times of UTC, else of this machine.
export const utc = keep("utc", false);

// toasts are short messages at the edge: {id, text, kind, detail}.
export const toasts = signal([]);
let toastID = 0;
export function toast(text, { kind = "ok", detail = "", forMS = 6000 } = {}) {
  const t = { id: ++toastID, text, kind, detail };
  toasts.value = [...toasts.value.slice(-3), t];
  if (kind !== "bad") setTimeout(() => dismiss(t.id), forMS);
}
export const dismiss = (id) => (toasts.value = toasts.value.filter((t) => t.id !== id));
