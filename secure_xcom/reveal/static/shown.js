// A value on the screen: as a tree, as a table, or its size; and as text for the clipboard and a file.

import { readFrame } from "./frames.js";
import { parseJson, toJson } from "./json.js";
import { sensitiveNames } from "./names.js";
import { Problem } from "./problems.js";
import { clean } from "./readable.js";
import { element, Masks, tree } from "./tree.js";
import { unzstd } from "./zstd.js";

const FRAMES = ["arrow-pandas", "arrow-polars", "arrow-table", "npy"];
const BYTES = ["bytes", "bytearray"];
const ROWS = 100;
const COLUMNS = 200;
const BYTES_SHOWN = 256;

/** Return the encoded value of an opened payload, at most `maxBytes`. */
export function decompressed(plaintext, compression, maxBytes) {
  if (plaintext.length > maxBytes) throw new Problem("ValueTooLarge", `the value has over ${maxBytes} bytes, the maximum`);
  if (compression === "none") return plaintext;
  if (compression === "zstd") return unzstd(plaintext, maxBytes);
  throw new Problem("CodecUnknown", `no compression is named ${clean(compression)}`);
}

/**
 * Return `{view, file}`: an element that shows the value, and a function that gives its file as `{name, type, parts,
 * masked, whole}`, where `masked` counts what is still masked on the screen. It is left out of the file, unless that is
 * `whole`: then the file has everything.
 *
 * @param {Uint8Array} bytes the encoded value
 * @param {Object} head of the reference
 * @param {Object} sensitive `names`, `exceptions`, `all`, as the service gave them
 * @param {Function} say tells a screen reader what changed
 */
export async function show(bytes, head, sensitive, say) {
  const name = head.key.replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 60) || "value";
  const hides = sensitiveNames(sensitive);
  const all = sensitive.all || hides(head.key, false);
  if (head.codec === "json") {
    const value = parseJson(bytes);
    const masks = new Masks(value, hides, all);
    const file = () => ({ name: `${name}.json`, type: "application/json", parts: [toJson(value, masks.isMasked)], masked: masks.count });
    return { view: tree(value, masks, `Value of ${clean(head.key)}`, say), file };
  }
  const ending = FRAMES.includes(head.codec) ? (head.codec === "npy" ? "npy" : "arrows") : "bin";
  // A frame of polars has a byte before its stream, which no other reader of Arrow knows.
  const parts = [head.codec === "arrow-polars" ? bytes.subarray(1) : bytes];
  const hidden = new Set(all ? [bytes] : []); // The whole value, or columns of it.
  const file = () => ({ name: `${name}.${ending}`, type: "application/octet-stream", parts, masked: hidden.size, whole: true });
  const made = FRAMES.includes(head.codec) ? await frameView(bytes, head, hides, hidden, say) : bytesView(bytes, head);
  const uncover = () => (hidden.delete(bytes), say("The value is shown."));
  return { view: all ? behindButton(made, uncover) : made, file };
}

function behindButton(view, uncover) {
  const button = element("button", { type: "button", class: "masked", onclick: () => (button.replaceWith(view), uncover()) }, "masked: show");
  return button;
}

function bytesView(bytes, head) {
  const size = `${bytes.length.toLocaleString("en-US")} bytes`;
  if (!BYTES.includes(head.codec)) return element("p", {}, `${size} of the codec ${clean(head.codec)}, which this page cannot read. Save them, or open the XCom with the command.`);
  const dump = Array.from(bytes.subarray(0, BYTES_SHOWN), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const more = bytes.length > BYTES_SHOWN ? ` The first ${BYTES_SHOWN} are:` : "";
  return element("div", {}, element("p", {}, `${size}.${more}`), element("p", { class: "bytes" }, dump));
}

async function frameView(bytes, head, hides, hidden, say) {
  const frame = await readFrame(head.codec, bytes);
  const columns = frame.columns.slice(0, COLUMNS);
  for (const column of columns) if (column.names.some((each) => hides(each, false))) hidden.add(column);
  const body = element("tbody");
  const line = (row) => element("tr", {}, element("th", { scope: "row" }, String(row)), ...columns.map((column) => element("td", {}, hidden.has(column) ? "***" : clean(column.cell(row)).slice(0, 1000))));
  const fill = (count) => body.replaceChildren(...Array.from({ length: count }, (_, row) => line(row)));
  let count = Math.min(ROWS, frame.rows);
  const unmask = (column, button) => {
    hidden.delete(column);
    button.remove();
    fill(count);
    say(`The column ${clean(column.name)} is shown.`);
  };
  const heading = (column) => {
    const title = element("th", { scope: "col" }, clean(column.name), element("span", { class: "type" }, ` ${clean(column.type)}`));
    if (hidden.has(column)) {
      const button = element("button", { type: "button", class: "masked", "aria-label": `${clean(column.name)} is masked: show`, onclick: () => unmask(column, button) }, "masked: show");
      title.append(" ", button);
    }
    return title;
  };
  const table = element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "row"), ...columns.map(heading))), body);
  fill(count);
  const size = `${clean(frame.kind)}: ${frame.rows.toLocaleString("en-US")} rows, ${frame.columns.length.toLocaleString("en-US")} columns`;
  const more = element("button", { type: "button", onclick: () => (fill((count = Math.min(count + ROWS, frame.rows))), (more.hidden = count >= frame.rows)) }, `Show ${ROWS} more rows`);
  more.hidden = count >= frame.rows || !columns.length;
  const label = `Rows of ${clean(head.key)}`;
  const wide = columns.length && element("div", { class: "wide", role: "region", "aria-label": label, tabindex: "0" }, table);
  return element("div", {}, element("p", {}, size), wide || "", more);
}
