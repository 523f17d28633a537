// Data of a page: read, shown, read again when the feed says that it changed.
import { useEffect, useRef, useState, useCallback } from "preact/hooks";
import { began, link, listen, paused, seq } from "./live.js";

// useQuery reads with `read(signal, minSeq)` whenever one of deps changes, keeping what it has on the screen meanwhile.
// when(batch) says whether a batch of the feed makes it worth reading again; everyMS is the time between two such reads.
// pollMS has it read again by itself, also while nothing moves: for what changes without an event, as a worker that dies.
// It returns {data, error, loading, reload, other}; key changes forget the old data; other: the data is not of these deps.
export function useQuery(read, deps, { when, everyMS = 1500, pollMS = 0, key = "", skip = false } = {}) {
  const [state, set] = useState({ data: null, error: null, loading: true, key, of: "" });
  const of = JSON.stringify(deps);
  const now = useRef(); // what the effects ask, which were made with the first values
  now.current = { of, when, error: state.error };
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
    const { of } = now.current;
    const told = seq;
    return latest.current(abort.signal, minSeq || undefined).then(
      (data) => {
        if (abort.signal.aborted) return;
        r.abort = null;
        set((s) => ({ ...s, data, error: null, loading: false, of }));
        const from = Math.max(began.peek().seq, told); // a view lags; what the feed told before the question is not told again
        if (follows && data?.as_of_seq < from && !minSeq) reload(from);
      },
      (error) => { if (!abort.signal.aborted) { r.abort = null; set((s) => ({ ...s, error, loading: false })); } },
    );
  }, []);

  useEffect(() => {
    if (skip) return;
    set((s) => (s.key === key ? s : { data: null, error: null, loading: true, key, of: "" }));
    reload();
    return () => { run.current.abort?.abort(); clearTimeout(run.current.timer); run.current.timer = 0; };
  }, [...deps, key, skip]);

  useEffect(() => {
    if (!when || skip) return;
    const start = began.subscribe((b) => { if (b.at > run.current.last && run.current.last) reload(b.seq); });
    const end = listen((batch) => {
      if (!batch.reset && !now.current.when?.(batch)) return;
      const r = run.current;
      if (r.timer) return;
      const later = () => {
        r.timer = 0;
        if (r.abort) r.timer = setTimeout(later, everyMS); // one at a time
        else reload(batch.reset ? 0 : seq);
      };
      r.timer = setTimeout(later, Math.max(0, r.last + everyMS - Date.now()));
    });
    let was = link.peek();
    const back = link.subscribe((is) => { // what could not be read while the server was gone
      if (is === "live" && was !== is && now.current.error && run.current.last) reload();
      was = is;
    });
    return () => { start(); end(); back(); };
  }, [skip, everyMS, !when]);

  useEffect(() => {
    if (!pollMS || skip) return;
    const t = setInterval(() => {
      if (!document.hidden && !paused.peek() && !run.current.abort && Date.now() - run.current.last >= pollMS / 2) reload();
    }, pollMS);
    return () => clearInterval(t);
  }, [pollMS, skip]);

  return { ...state, data: state.key === key ? state.data : null, other: state.data != null && state.of !== of, reload };
}
