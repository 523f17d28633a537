// Reading the ledger itself: one event a line.
import { ApiError } from "./api.js";
import { toLogin, url } from "./router.js";

// readLog returns the events of GET /v1/log; query is {org, from, ...}.
export async function readLog(query, signal) {
  const q = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== "" && v != null));
  const r = await fetch(url("v1/log?" + q), { signal, credentials: "same-origin", headers: { Accept: "application/x-ndjson" } });
  const text = await r.text();
  if (!r.ok) {
    let e;
    if (r.status === 401) toLogin();
    try { e = JSON.parse(text).error; } catch { /* a proxy between us */ }
    throw new ApiError(r.status, e, r.headers.get("X-Request-Id") || "");
  }
  return text.split("\n").filter(Boolean).map((l) => JSON.parse(l));
}
