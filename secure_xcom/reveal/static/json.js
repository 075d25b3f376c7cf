// JSON as Python's `json` module reads it: NaN and infinities, integers of any length, lone surrogates, members in
// their order and under any name. Numbers stay the text that they are, so that none is rounded.

import { Problem } from "./problems.js";

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const CONTROL = /[\u0000-\u001f]/;
const SPACE = /[ \t\n\r]*/y;
const WORDS = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
const ESCAPES = { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", '"': '"', "\\": "\\", "/": "/" };
const DEPTH_MAX = 1000;

/**
 * Return a value: `{kind: "object", entries: [[name, value]]}`, `{kind: "list", items}`, `{kind: "text", text}`,
 * `{kind: "number", text}` or `{kind: "word", text}` for null, true, false, NaN and the infinities.
 */
export function parseJson(bytes) {
  const text = decodeText(bytes);
  let place = 0;
  const fail = (what) => new Problem("ValueNotDecodable", `the value is no JSON: ${what} at character ${place}`);
  const take = (pattern) => {
    pattern.lastIndex = place;
    const found = pattern.exec(text);
    if (found) place = pattern.lastIndex;
    return found;
  };
  const next = () => (take(SPACE), text[place]);
  const expect = (letter) => {
    if (next() !== letter) throw fail(`no ${letter}`);
    place += 1;
  };
  // Searched for and not matched: a pattern with a choice for each character needs stack for each, in a text of megabytes.
  const endOfString = () => {
    for (let end = text.indexOf('"', place + 1); end > 0; end = text.indexOf('"', end + 1)) {
      let escapes = 0;
      while (text[end - 1 - escapes] === "\\") escapes += 1;
      if (escapes % 2 === 0) return end;
    }
    throw fail("no text");
  };
  const string = () => {
    if (next() !== '"') throw fail("no text");
    const end = endOfString();
    const raw = text.slice(place + 1, end);
    if (CONTROL.test(raw)) throw fail("no text");
    place = end + 1;
    return raw.includes("\\") ? raw.replace(/\\(u([0-9a-fA-F]{4})|[^])/g, (_, letter, code) => {
      const plain = code ? String.fromCharCode(parseInt(code, 16)) : ESCAPES[letter];
      if (plain === undefined) throw fail("an unknown escape");
      return plain;
    }) : raw;
  };
  const sequence = (end, member) => {
    place += 1;
    const members = [];
    if (next() === end) return (place += 1), members;
    for (;;) {
      members.push(member());
      if (next() === end) return (place += 1), members;
      expect(",");
    }
  };
  const value = (depth) => {
    if (depth > DEPTH_MAX) throw fail("over 1000 levels");
    const letter = next();
    if (letter === "{") {
      const entries = sequence("}", () => {
        const name = string();
        expect(":");
        return [name, value(depth + 1)];
      });
      // As in Python, the last of several members of one name counts.
      return { kind: "object", entries: [...new Map(entries)] };
    }
    if (letter === "[") return { kind: "list", items: sequence("]", () => value(depth + 1)) };
    if (letter === '"') return { kind: "text", text: string() };
    const word = WORDS.find((name) => text.startsWith(name, place));
    if (word) return (place += word.length), { kind: "word", text: word };
    const number = take(NUMBER);
    if (!number) throw fail(letter === undefined ? "it ends" : "an unknown word");
    return { kind: "number", text: number[0] };
  };
  const parsed = value(0);
  if (next() !== undefined) throw fail("something after the value");
  return parsed;
}

/** Return a value as JSON text again, its numbers as they were; `mask` gives a text for what is not to be shown. */
export function toJson(value, mask = () => false, indent = "") {
  if (mask(value)) return '"***"';
  const inner = `${indent}  `;
  const block = (open, parts, close) => (parts.length ? `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}` : open + close);
  if (value.kind === "object") return block("{", value.entries.map(([name, child]) => `${JSON.stringify(name)}: ${toJson(child, mask, inner)}`), "}");
  if (value.kind === "list") return block("[", value.items.map((child) => toJson(child, mask, inner)), "]");
  return value.kind === "text" ? JSON.stringify(value.text) : value.text;
}

// UTF-8, in which a lone surrogate may stand as three bytes (Python's "surrogatepass").
function decodeText(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return decodeByHand(bytes);
  }
}

function decodeByHand(bytes) {
  const fail = () => new Problem("ValueNotDecodable", "the value is no UTF-8");
  const LEAST = [0, 0, 0x80, 0x800, 0x10000];
  const parts = [];
  for (let place = 0; place < bytes.length; ) {
    const first = bytes[place];
    const width = first < 0x80 ? 1 : first >> 5 === 6 ? 2 : first >> 4 === 14 ? 3 : first >> 3 === 30 ? 4 : 0;
    if (!width || place + width > bytes.length) throw fail();
    let code = width === 1 ? first : first & (0xff >> (width + 1));
    for (let more = 1; more < width; more++) {
      if (bytes[place + more] >> 6 !== 2) throw fail();
      code = (code << 6) | (bytes[place + more] & 63);
    }
    if (code < LEAST[width] || code > 0x10ffff) throw fail();
    parts.push(String.fromCodePoint(code));
    place += width;
  }
  return parts.join("");
}
