// JSON as the server sent it: the order of fields, numbers of any size and doubled names are kept, which JSON.parse loses.
//
// A node is {kind, from, to, text} with kind object, array, string, number, or word (true, false, null). An object has
// fields [[name, node]...], an array items; a string value. source() gives back its very bytes.

export function tree(text) {
  let i = 0;
  const blank = () => { while (i < text.length && " \t\n\r".includes(text[i])) i++; };
  const fail = () => { throw new SyntaxError(`this is no JSON, at ${i + 1}: ${text.slice(i, i + 12) || "its end"}`); };
  const string = () => {
    const from = i++;
    while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
    if (i >= text.length) fail();
    i++;
    return JSON.parse(text.slice(from, i));
  };
  const value = (depth) => {
    blank();
    if (depth > 512) fail();
    const node = { text, from: i, to: i, kind: "word" };
    const c = text[i];
    if (c === "{" || c === "[") {
      const end = c === "{" ? "}" : "]";
      const all = (node[c === "{" ? "fields" : "items"] = []);
      node.kind = c === "{" ? "object" : "array";
      i++;
      blank();
      while (text[i] !== end) {
        if (c === "{") {
          if (text[i] !== '"') fail();
          const name = string();
          blank();
          if (text[i++] !== ":") { i--; fail(); }
          all.push([name, value(depth + 1)]);
        } else all.push(value(depth + 1));
        blank();
        if (text[i] === ",") {
          i++;
          blank();
          if (text[i] === end) fail();
        } else if (text[i] !== end) fail();
      }
      i++;
    } else if (c === '"') {
      node.kind = "string";
      node.value = string();
    } else {
      const m = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)/.exec(text.slice(i, i + 4096));
      if (!m) fail();
      if (/[-\d]/.test(m[0][0])) node.kind = "number";
      i += m[0].length;
    }
    node.to = i;
    return node;
  };
  const node = value(0);
  blank();
  if (i < text.length) fail();
  return node;
}

// source is a node as it was sent.
export const source = (node) => node.text.slice(node.from, node.to);

// field is a field of an object node; the last, where there are several, as JSON.parse has it.
export const field = (node, name) => node?.fields?.findLast(([n]) => n === name)?.[1];

// plain is a node as JavaScript has it: numbers above 2^53 lose digits.
export const plain = (node) => (node ? JSON.parse(source(node)) : undefined);

// pretty writes a node over several lines, numbers and texts as they were.
export function pretty(node, indent = "") {
  const deeper = indent + "  ";
  if (node.kind === "object" && node.fields.length)
    return "{\n" + node.fields.map(([n, v]) => deeper + JSON.stringify(n) + ": " + pretty(v, deeper)).join(",\n") + "\n" + indent + "}";
  if (node.kind === "array" && node.items.length) return "[\n" + node.items.map((v) => deeper + pretty(v, deeper)).join(",\n") + "\n" + indent + "]";
  return source(node);
}
