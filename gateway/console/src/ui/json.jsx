// A JSON value as a tree: folded where it is long, every number as the server sent it, every text as text.
import { useState } from "preact/hooks";
import { source, pretty } from "../lib/json.js";
import { Copy } from "./kit.jsx";
import { Icon } from "./icons.jsx";

const openTo = 2; // levels that are open at first
const itemsMax = 100; // of an array or object, until asked for more
const textMax = 400; // letters of a text, until asked for more
const isRedacted = (n) => n.kind === "string" && n.value === "[redacted]";

// hasRedacted says whether anything in a node is the mask of what a schema redacts.
export const hasRedacted = (n) => !!n && (isRedacted(n) || (n.fields?.some(([, v]) => hasRedacted(v)) ?? n.items?.some(hasRedacted) ?? false));

// Json shows a node of lib/json.js.
export function Json({ node, label = "JSON" }) {
  if (!node) return <span class="faint">nothing</span>;
  const folds = node.kind === "object" || node.kind === "array";
  return (
    <div class="json" aria-label={label}>
      <div class="json-tools"><Copy text={() => pretty(node)} label={"Copy " + label} /></div>
      {folds ? <Branch node={node} depth={0} /> : <Leaf node={node} />}
    </div>
  );
}

function Branch({ node, depth, name }) {
  const all = node.fields ?? node.items.map((v, i) => [i, v]);
  const [open, setOpen] = useState(depth < openTo && all.length <= itemsMax);
  const [max, setMax] = useState(itemsMax);
  const brackets = node.kind === "object" ? "{}" : "[]";
  if (!all.length) return <div class="json-row">{name}<span class="j-p">{brackets}</span></div>;
  return (
    <div>
      <button type="button" class="json-row json-fold" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class={"turn" + (open ? " open" : "")}><Icon name="chevron" size={10} /></span>
        {name}<span class="j-p">{brackets[0]}</span>
        {!open && <span class="faint"> {all.length} {node.kind === "object" ? (all.length === 1 ? "field" : "fields") : all.length === 1 ? "item" : "items"} <span class="j-p">{brackets[1]}</span></span>}
      </button>
      {open && (
        <div class="json-in">
          {all.slice(0, max).map(([k, v], i) => {
            const label = <span class={typeof k === "number" ? "j-i" : "j-k"}>{k}<span class="j-p">: </span></span>;
            return v.fields || v.items ? <Branch key={i} node={v} depth={depth + 1} name={label} /> : <div key={i} class="json-row">{label}<Leaf node={v} /></div>;
          })}
          {all.length > max && <button type="button" class="link" onClick={() => setMax(max + 10 * itemsMax)}>{all.length - max} more</button>}
        </div>
      )}
    </div>
  );
}

function Leaf({ node }) {
  const [whole, setWhole] = useState(false);
  if (isRedacted(node)) return <span class="j-redacted" title="The type's schema marks this field x-redact">redacted</span>;
  if (node.kind !== "string") return <span class={node.kind === "number" ? "j-n" : "j-w"}>{source(node)}</span>;
  const text = JSON.stringify(node.value);
  if (whole || text.length <= textMax) return <span class="j-s">{text}</span>;
  return <span class="j-s">{text.slice(0, textMax)}… <button type="button" class="link" onClick={() => setWhole(true)}>all {text.length} letters</button></span>;
}
