// One tab speaks for all: of the tabs of a browser that ask for the same thing one leads, chosen by a lock that the browser
// gives, and tells the others what it hears. When it is closed, hidden or hangs, the next goes on. Where there are no locks
// (a page that is neither of https nor of this machine) each tab leads for itself.
import { newID } from "./api.js";

const beatMS = 15_000; // a leader says this often that it is there
const silentMS = 45_000; // one that says nothing for so long is put out
const answerMS = 10_000; // as is one that does not answer who comes

// share has one tab run lead(signal, tell) while the others hear(message, asked) what it tells; asked: it answers this tab,
// which came just now. state() is the message for who comes. It ends with signal, or when lead does.
export function share(name, signal, { lead, hear, state }) {
  if (!navigator.locks || !window.BroadcastChannel) return lead(signal, () => {});
  const channel = new BroadcastChannel(name);
  const me = newID();
  let leading = false;
  let watch = 0;
  let silence = () => {};
  const wait = (ms) => { clearTimeout(watch); watch = setTimeout(() => silence(), ms); };
  const tell = (m) => { if (!signal.aborted) channel.postMessage(m); };
  signal.addEventListener("abort", () => { clearTimeout(watch); channel.close(); }, { once: true });
  channel.onmessage = ({ data: m }) => {
    if (m.join) {
      if (leading) tell({ ...state(), to: m.join });
      return;
    }
    if (leading) return; // of one that was put out, and does not know it yet
    wait(silentMS);
    hear(m, m.to === me);
  };
  return (async () => {
    for (let steal = false; !signal.aborted; ) {
      const term = new AbortController();
      const end = () => term.abort();
      let beat = 0;
      silence = () => { steal = true; end(); };
      signal.addEventListener("abort", end, { once: true });
      if (!steal) {
        tell({ join: me });
        wait(answerMS);
      }
      try {
        await navigator.locks.request(name, steal ? { steal } : { signal: term.signal }, async () => {
          steal = false;
          if (signal.aborted) return;
          clearTimeout(watch);
          silence = () => {};
          leading = true;
          tell(state());
          beat = setInterval(() => tell(state()), beatMS);
          await lead(term.signal, tell);
        });
        return;
      } catch (e) {
        if (e.name !== "AbortError") throw e; // the lock was not given, or another took it
      } finally {
        leading = false;
        end();
        clearInterval(beat);
        signal.removeEventListener("abort", end);
      }
    }
  })();
}
