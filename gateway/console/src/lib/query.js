// Data of a page: read, shown, read again when the feed says that it changed.
import { useEffect, useRef, useState, useCallback } from "preact/hooks";
import { began, listen, seq } from "./live.js";

// useQuery reads with `read(signal, minSeq)` whenever one of deps changes, keeping what it has on the screen meanwhile.
// when(batch) says whether a batch of the feed makes it worth reading again; everyMS is the time between two such reads.
// It returns {data, error, loading, reload}; key changes forget the old data.
export function useQuery(read, deps, { when, everyMS = 1500, key = "", skip = false } = {}) {
  const [state, set] = useState({ data: null, error: null, loading: true, key });
  const latest = useRef(read);
  latest.current = read;
  const run = useRef({ abort: null, timer: 0, last: 0 });

  const follows = !!when;
  const reload = useCallback((minSeq) => {
    const r = run.current;
    r.abort?.abort();
    clearTimeout(r.timer);
    r.timer = 0;
    const abort = (r.abort = new AbortController());
    r.last = Date.now();
    set((s) => ({ ...s, loading: true }));
    return latest.current(abort.signal, minSeq || undefined).then(
      (data) => {
        if (abort.signal.aborted) return;
        r.abort = null;
        set((s) => ({ ...s, data, error: null, loading: false }));
        const from = began.peek().seq; // a view lags; what it had not seen when the feed began is not told again
        if (follows && data?.as_of_seq < from && !minSeq) reload(from);
      },
      (error) => { if (!abort.signal.aborted) { r.abort = null; set((s) => ({ ...s, error, loading: false })); } },
    );
  }, []);

  useEffect(() => {
    if (skip) return;
    set((s) => (s.key === key ? s : { data: null, error: null, loading: true, key }));
    reload();
    return () => { run.current.abort?.abort(); clearTimeout(run.current.timer); run.current.timer = 0; };
  }, [...deps, key, skip]);

  useEffect(() => {
    if (!when || skip) return;
    const start = began.subscribe((b) => { if (b.at > run.current.last && run.current.last) reload(b.seq); });
    const end = listen((batch) => {
      if (!batch.reset && !when(batch)) return;
      const r = run.current;
      if (r.timer) return;
      const later = () => {
        r.timer = 0;
        if (r.abort) r.timer = setTimeout(later, everyMS); // one at a time
        else reload(batch.reset ? 0 : seq);
      };
      r.timer = setTimeout(later, Math.max(0, r.last + everyMS - Date.now()));
    });
    return () => { start(); end(); };
  }, [skip, everyMS]);

  return { ...state, data: state.key === key ? state.data : null, reload };
}
