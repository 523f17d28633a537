// Tables of at most 200 rows, to be read with the keyboard: j and k move, Enter opens, x selects.
import { useRef, useState } from "preact/hooks";
import { useKeys } from "../lib/keys.js";
import { Icon } from "./icons.jsx";

export const rowsMax = 200;

// Table shows rows. columns are {key, title, cell(row), num, phone}: phone is main (its own line), side, or hide on a narrow
// screen. acts are keys for what is selected, else for the row where one is: {key: [f(rows), about]}. id(row) names a row. selected is a Set, with onSelect(Set) to change it. open(row) is where Enter and a click lead.
export function Table({ columns, rows, id, open, href, selected, onSelect, label, keys = true, mark, stale, acts }) {
  // The row that the keys mean, by its name: rows move while they are looked at. A key that comes before the next drawing
  // means what the one before it chose.
  const [, draw] = useState(0);
  const spot = useRef({ i: -1 });
  const body = useRef();
  const shown = rows.slice(0, rowsMax);
  const here = () => (spot.current.id === undefined ? -1 : shown.findIndex((r) => id(r) === spot.current.id));
  const at = here();
  const setAt = (i) => {
    spot.current = { i, id: shown[i] && id(shown[i]) };
    draw((n) => n + 1);
  };
  const move = (d) => {
    const at = here();
    const next = Math.max(0, Math.min(shown.length - 1, at < 0 && spot.current.i >= 0 ? spot.current.i : at + d)); // where a row was that has gone
    setAt(next);
    body.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  const toggle = (row, range) => {
    const next = new Set(selected);
    next.has(id(row)) ? next.delete(id(row)) : next.add(id(row));
    onSelect(next, row, range);
  };
  useKeys(keys ? {
    j: [() => move(1), "next row"],
    k: [() => move(-1), "row before"],
    ...(open && { Enter: [() => shown[here()] && open(shown[here()]), "open the row"] }),
    ...Object.fromEntries(Object.entries(acts ?? {}).map(([key, [f, about]]) => [key, [() => {
      const these = selected?.size ? shown.filter((r) => selected.has(id(r))) : shown[here()] ? [shown[here()]] : [];
      if (these.length) f(these);
    }, about]])),
    ...(onSelect && { x: [() => shown[here()] && toggle(shown[here()]), "select the row"] }),
  } : {});
  const all = selected && shown.length > 0 && shown.every((r) => selected.has(id(r)));
  return (
    <div class={"table-wrap" + (stale ? " stale" : "")}>
      <table class={"table" + (open || href ? " opens" : "")} aria-label={label}>
        <thead>
          <tr>
            {onSelect && <th class="sel"><input type="checkbox" aria-label="Select all rows of this page" checked={!!all} onChange={() => onSelect(all ? new Set() : new Set(shown.map(id)))} /></th>}
            {columns.map((c) => <th key={c.key} class={(c.num ? "num " : "") + "c-" + c.key} scope="col">{c.title}</th>)}
          </tr>
        </thead>
        <tbody ref={body}>
          {shown.map((r, i) => (
            <tr key={id(r)} class={(i === at ? "at " : "") + (selected?.has(id(r)) ? "on " : "") + (mark?.(r) ?? "")} aria-selected={selected ? selected.has(id(r)) : undefined}
              onClick={(e) => { setAt(i); if (open && !e.target.closest("a,button,input,label") && !getSelection().toString()) open(r); }}>
              {onSelect && <td class="sel"><input type="checkbox" aria-label={"Select " + id(r)} checked={selected.has(id(r))} onChange={() => toggle(r)} /></td>}
              {columns.map((c) => <td key={c.key} class={(c.num ? "num " : "") + "c-" + c.key + (c.phone ? " p-" + c.phone : "")} data-label={c.title}>{c.cell(r)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > rowsMax && <p class="note faint">The first {rowsMax} of {rows.length} are shown: Ctrl-K goes to an organization, the address to any of the others, the command line lists all.</p>}
    </div>
  );
}

// More leads to the next and the previous page of a list with a cursor.
export const Pages = ({ first, next, onFirst, onNext, text }) => (
  <nav class="pages" aria-label="Pages">
    <span class="faint">{text}</span>
    {!first && <button type="button" class="btn small" onClick={onFirst}>To the newest</button>}
    {next && <button type="button" class="btn small" onClick={onNext}>Older <Icon name="chevron" size={12} /></button>}
  </nav>
);
