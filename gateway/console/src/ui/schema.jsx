// A form drawn from a JSON Schema: texts, numbers, switches, choices and lists of them; anything else is written as JSON.
// A value is the text of its input, so that a number stays as it was typed, whatever its size.
import { field, pretty, source, tree } from "../lib/json.js";
import { Field } from "./kit.jsx";

const kindOf = (s) => {
  if (s.enum) return "enum";
  const t = Array.isArray(s.type) ? s.type.find((x) => x !== "null") : s.type;
  if (t === "array" && ["string", "integer", "number"].includes(s.items?.type)) return "list";
  return ["string", "integer", "number", "boolean"].includes(t) ? t : "json";
};
const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

// formOf are the texts of the inputs: of args that are there (a tree), else of the schema's defaults.
export function formOf(schema, args) {
  const form = {};
  for (const [name, s] of Object.entries(schema.properties ?? {})) {
    const node = args ? field(args, name) : "default" in s ? tree(JSON.stringify(s.default)) : undefined;
    if (!node) { form[name] = kindOf(s) === "boolean" ? false : ""; continue; }
    switch (kindOf(s)) {
      case "boolean": form[name] = source(node) === "true"; break;
      case "string": form[name] = node.kind === "string" ? node.value : source(node); break;
      case "list": form[name] = (node.items ?? []).map((n) => (n.kind === "string" ? n.value : source(n))).join("\n"); break;
      case "enum": form[name] = source(node); break;
      case "json": form[name] = pretty(node); break;
      default: form[name] = source(node);
    }
  }
  const rest = args?.fields?.filter(([n]) => !(n in (schema.properties ?? {}))) ?? [];
  form[""] = rest.map(([n, v]) => JSON.stringify(n) + ":" + source(v)).join(","); // what the schema does not name stays
  return form;
}

// argsOf is the JSON of what was filled in; what is empty is left out.
export function argsOf(schema, form) {
  const parts = [];
  for (const [name, s] of Object.entries(schema.properties ?? {})) {
    const v = form[name];
    const must = schema.required?.includes(name);
    if (v === "" || v == null) continue; // an empty text can be given as JSON
    const of = (text, type) => (type === "string" || !number.test(text.trim()) ? JSON.stringify(text) : text.trim());
    let text;
    switch (kindOf(s)) {
      case "boolean": if (!v && !must && !("default" in s)) continue; text = String(!!v); break;
      case "string": text = JSON.stringify(v); break;
      case "list": text = "[" + v.split("\n").filter((l) => l.trim()).map((l) => of(l, s.items.type)).join(",") + "]"; break;
      case "enum": text = v; break;
      case "json": text = source(tree(v)); break;
      default: text = of(v, "number");
    }
    parts.push(JSON.stringify(name) + ":" + text);
  }
  if (form[""]) parts.push(form[""]);
  return "{" + parts.join(",") + "}";
}

// Schema shows the inputs; error.field is a JSON pointer.
export function Schema({ schema, value, onChange, error }) {
  const put = (name, v) => onChange({ ...value, [name]: v });
  return (
    <div class="fields">
      {Object.entries(schema.properties ?? {}).map(([name, s]) => {
        const kind = kindOf(s);
        const label = (s.title ?? name) + (schema.required?.includes(name) ? " *" : "");
        const wrong = error?.field && ("/" + error.field).replace(/^\/+(args\/)?/, "/").startsWith("/" + name) ? error.message : "";
        const must = !!schema.required?.includes(name);
        const on = (e) => put(name, e.target.value);
        if (kind === "boolean") return <label key={name} class="check"><input type="checkbox" name={name} checked={!!value[name]} onChange={(e) => put(name, e.target.checked)} /><span>{label}{s.description && <small>{s.description}</small>}</span></label>;
        return (
          <Field key={name} label={label} error={wrong} help={[s.description, kind === "list" && "one a line", kind === "json" && "JSON"].filter(Boolean).join("; ")}>
            {kind === "enum"
              ? <select name={name} required={must} value={value[name]} onChange={on}><option value="" />{s.enum.map((v) => <option key={JSON.stringify(v)} value={JSON.stringify(v)}>{String(v)}</option>)}</select>
              : kind === "list" || kind === "json" || s.maxLength > 200
                ? <textarea name={name} required={must} rows="3" spellcheck={false} value={value[name]} onInput={on} />
                : <input name={name} required={must} value={value[name]} inputmode={kind === "string" ? undefined : "decimal"} type={s.format === "date" ? "date" : "text"} placeholder={s.examples?.[0] != null ? String(s.examples[0]) : ""} onInput={on} />}
          </Field>
        );
      })}
    </div>
  );
}
