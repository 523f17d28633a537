// The keyboard. A key is bound while what it belongs to is on the screen; the newest binding wins. None acts while a text
// is typed, or a dialog is open, unless it says so.
import { useLayoutEffect, useRef } from "preact/hooks";

const bound = []; // {keys, about, group}

const typing = (t) => t.isContentEditable || /^(input|textarea|select)$/i.test(t.tagName) && !/^(checkbox|radio|button)$/.test(t.type);

addEventListener("keydown", (e) => {
  if (e.isComposing || e.defaultPrevented) return;
  const name = (e.ctrlKey || e.metaKey ? "Ctrl-" : "") + e.key;
  if (e.altKey) return;
  const modal = document.querySelector("dialog[open]");
  if (name !== "Ctrl-k" && (modal || typing(e.target))) return;
  if (name === "Enter" && e.target.closest?.("a,button,summary")) return;
  for (let i = bound.length - 1; i >= 0; i--) {
    const b = bound[i].current[name];
    if (!b) continue;
    e.preventDefault();
    b[0](e);
    return;
  }
});

// useKeys binds {key: [f, what it does]} while the component is there.
export function useKeys(keys) {
  const ref = useRef(keys);
  ref.current = keys;
  useLayoutEffect(() => { // with what is seen: a key that comes right behind it counts
    bound.push(ref);
    return () => bound.splice(bound.indexOf(ref), 1);
  }, []);
}

// help lists what is bound now, for the help page.
export const help = () => bound.map((b) => Object.entries(b.current).filter(([, v]) => v && v[1]).map(([k, v]) => [k, v[1]])).filter((g) => g.length);
