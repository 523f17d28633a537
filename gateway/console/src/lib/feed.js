// One stream of server-sent events. It is read with fetch: EventSource tells neither why it was refused nor until when.
import { retryAfterMS } from "./api.js";
import { url } from "./router.js";

const silentMS = 40_000; // the server sends a ping every 15 s

// follow reads the feed of an org behind the position `from` (0: from now on), and hands whole messages to hear, as texts, until
// the stream ends. A refusal throws with its status, and waitMS where the server says when to come again.
export async function follow(org, from, signal, hear) {
  const headers = { Accept: "text/event-stream" };
  if (from) headers["Last-Event-ID"] = String(from);
  const abort = new AbortController();
  const end = () => abort.abort();
  signal.addEventListener("abort", end);
  let quiet = setTimeout(end, silentMS);
  try {
    const r = await fetch(url("v1/orgs/" + org + "/events"), { headers, signal: abort.signal, credentials: "same-origin" });
    if (!r.ok) throw Object.assign(new Error("the feed answered " + r.status), { status: r.status, waitMS: retryAfterMS(r) });
    const reader = r.body.getReader();
    const text = new TextDecoder();
    let buf = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      clearTimeout(quiet);
      quiet = setTimeout(end, silentMS);
      const parts = (buf + text.decode(value, { stream: true })).split("\n\n");
      buf = parts.pop();
      hear(parts);
    }
  } finally {
    clearTimeout(quiet);
    end(); // also where it is left before its end
    signal.removeEventListener("abort", end);
  }
}

// messageOf is what a message says: {id, event, data}, of which any may be empty.
export function messageOf(text) {
  const m = { id: 0, event: "", data: "" };
  for (const line of text.split("\n")) {
    if (line.startsWith("data: ")) m.data += line.slice(6);
    else if (line.startsWith("id: ")) m.id = Number(line.slice(4));
    else if (line.startsWith("event: ")) m.event = line.slice(7);
  }
  return m;
}
