// Rows of jobs that move while they are looked at.
import { useEffect, useRef, useState } from "preact/hooks";
import { listen } from "./live.js";

// useLiveRows lays what the feed tells over the rows that were read, until they are read again.
export function useLiveRows(items) {
  const [, draw] = useState(0);
  const over = useRef(new Map());
  const shown = useRef(new Set());
  useEffect(() => { over.current.clear(); shown.current = new Set(items?.map((r) => r.id)); }, [items]);
  useEffect(() => listen((b) => {
    let hit = false;
    for (const [id, ev] of b.jobs) if (shown.current.has(id)) {
      const was = over.current.get(id) ?? {};
      over.current.set(id, { ...was, seq: ev.seq, state: ev.to ?? was.state, reason: ev.reason, retry_at: ev.retry_at, ...(ev.attempt != null && { attempt: ev.attempt }), ...(ev.to === "running" && { started_at: ev.time }), ...(["completed", "canceled", "dead_lettered"].includes(ev.to) && { finished_at: ev.time }), ...(ev.error && { error: ev.error }) });
      hit = true;
    }
    for (const [id, ev] of b.progress) if (shown.current.has(id)) { over.current.set(id, { ...over.current.get(id), progress: ev.progress }); hit = true; }
    if (hit) draw((n) => n + 1);
  }), []);
  return items?.map((r) => {
    const o = over.current.get(r.id);
    if (!o || (o.seq && o.seq < r.seq)) return r;
    return { ...r, ...Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)) };
  });
}
