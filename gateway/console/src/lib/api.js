// Requests to /v1. An error of the API is an ApiError with its code and the id of the request.
import { me, org } from "./store.js";
import { toLogin, url } from "./router.js";
import { tree } from "./json.js";

export class ApiError extends Error {
  constructor(status, e = {}, requestID = "") {
    super(e.message || (status ? `the server answered ${status}` : "the server cannot be reached"));
    this.status = status;
    this.code = e.code || (status ? "http_" + status : "unreachable");
    this.details = e.details || {};
    this.requestID = e.request_id || requestID;
  }
}

// Only what changes nothing is tried again by itself, and a change whose request id names its event (docs/HTTP.md).
const triesMax = 3;
const waitMS = (n, response) => Math.min(5000, retryAfterMS(response) || 300 * 2 ** n);
// retryAfterMS is how long a response asks its client to wait; 0 where it says nothing.
export function retryAfterMS(response) {
  const text = response?.headers.get("Retry-After");
  if (!text) return 0;
  return Math.max(0, /^\d+$/.test(text) ? text * 1000 : Date.parse(text) - Date.now() || 0);
}
// pause waits, or throws when signal ends it.
export const pause = (ms, signal) =>
  new Promise((ok, no) => {
    const t = setTimeout(ok, ms);
    signal?.addEventListener("abort", () => { clearTimeout(t); no(signal.reason); }, { once: true });
  });

// request does one request. ifMatch is the sequence at which the thing was seen; exact keeps numbers as they were sent, as
// a tree of lib/json.js in place of values.
export async function request(method, path, { body, raw, query, ifMatch, signal, exact = false, retry = method === "GET" } = {}) {
  const q = query ? new URLSearchParams(Object.entries(query).flatMap(([k, v]) => (v === "" || v == null ? [] : [].concat(v).map((one) => [k, one])))).toString() : "";
  const headers = { Accept: "application/json" };
  if (method !== "GET") {
    headers["X-Request-Id"] = newID();
    if (me.value?.csrf_token) headers["X-CSRF-Token"] = me.value.csrf_token;
  }
  if (ifMatch) headers["If-Match"] = `"${ifMatch}"`;
  const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  if (sent !== undefined) headers["Content-Type"] = "application/json";
  for (let n = 0; ; n++) {
    let response;
    try {
      response = await fetch(url("v1/" + path) + (q ? "?" + q : ""), { method, headers, body: sent, signal, credentials: "same-origin" });
    } catch (e) {
      if (e.name === "AbortError" || signal?.aborted) throw e;
      if (retry && n + 1 < triesMax) { await pause(waitMS(n), signal); continue; }
      throw new ApiError(0, {}, headers["X-Request-Id"]);
    }
    if (retry && response.status === 503 && n + 1 < triesMax) { await pause(waitMS(n, response), signal); continue; }
    const text = await response.text();
    if (!response.ok) {
      let e;
      try { e = JSON.parse(text).error; } catch { /* a proxy between us */ }
      if (response.status === 401) toLogin();
      if (response.status === 403 && method !== "GET") lookAgain();
      throw new ApiError(response.status, e, response.headers.get("X-Request-Id") || "");
    }
    if (exact) return tree(text);
    return text ? JSON.parse(text) : null;
  }
}

// lookAgain asks anew who looks, after a change was refused: another tab may have logged in as somebody else, or the role
// has changed. The reader repeats what he did, if he still may.
function lookAgain() {
  const of = org.peek();
  get("me", { query: { org: of } }).then((answer) => { if (me.peek() && org.peek() === of) me.value = answer; }, () => {});
}

// newID names a request; a UUID names also the event that it causes. randomUUID is there on https and loopback alone.
export function newID() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6] & 15) | 64;
  b[8] = (b[8] & 63) | 128;
  const x = [...b].map((v) => v.toString(16).padStart(2, "0")).join("");
  return [x.slice(0, 8), x.slice(8, 12), x.slice(12, 16), x.slice(16, 20), x.slice(20)].join("-");
}

export const get = (path, opt) => request("GET", path, opt);
export const post = (path, body = {}, opt) => request("POST", path, { body, ...opt });
export const patch = (path, body, opt) => request("PATCH", path, { body, ...opt });
export const put = (path, body, opt) => request("PUT", path, { body, ...opt });
export const del = (path, opt) => request("DELETE", path, opt);

// part makes a piece of a path of a name.
export const part = encodeURIComponent;
