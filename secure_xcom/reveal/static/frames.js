// Data frames and arrays as columns: Arrow by flechette (vendor/), numpy's format by hand.

import { Problem } from "./problems.js";

const ARRAY_COLUMNS = 100;

/**
 * Return `{kind, rows, columns: [{name, names, type, cell}]}`; `names` has those of fields within the column as well, and
 * `cell(row)` gives a text.
 *
 * @param {string} codec of the head: arrow-pandas, arrow-polars, arrow-table or npy
 */
export async function readFrame(codec, bytes) {
  try {
    if (codec === "npy") return readArray(bytes);
    // polars' codec has one byte before the stream: F for a frame, S for a series.
    const polars = codec === "arrow-polars";
    return await readArrow(bytes.slice(polars ? 1 : 0), polars && bytes[0] === 0x53 ? "polars Series" : codec.replace("arrow-", "") + (polars || codec === "arrow-pandas" ? " DataFrame" : ""));
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem("ValueNotDecodable", `the ${codec} value cannot be read here`);
  }
}

async function readArrow(bytes, kind) {
  await import("./vendor/flechette.js");
  const table = globalThis.fl.tableFromIPC(bytes, { useBigInt: true, useDecimalInt: false });
  const columns = table.schema.fields.map(({ name, type }, place) => {
    const column = table.getChildAt(place);
    return { name, names: namesIn(name, type), type: typeName(type), cell: (row) => cellText(column.at(row), type) };
  });
  return { kind, rows: table.numRows, columns };
}

const TYPES = {
  0: "dictionary", 1: "null", 2: "int", 3: "float", 4: "binary", 5: "utf8", 6: "bool", 7: "decimal", 8: "date", 9: "time", 10: "timestamp",
  11: "interval", 12: "list", 13: "struct", 14: "union", 15: "binary", 16: "list", 17: "map", 18: "duration", 19: "binary", 20: "utf8",
  21: "list", 22: "run-end", 23: "binary", 24: "utf8", 25: "list", 26: "list",
};
const [DATE, TIMESTAMP] = [8, 10];

// A struct's cell is one text with all of its fields.
function namesIn(name, type) {
  const inner = (type.children ?? []).flatMap((field) => namesIn(field.name, field.type));
  return [name, ...inner, ...(type.dictionary ? namesIn("", type.dictionary) : [])];
}

function typeName(type) {
  const name = TYPES[type.typeId] ?? "unknown";
  if (type.typeId === 0) return `dictionary of ${typeName(type.dictionary)}`;
  if (type.typeId === 2) return `${type.signed ? "" : "u"}int${type.bitWidth}`;
  if (type.typeId === 3) return `float${16 << type.precision}`;
  if (type.typeId === TIMESTAMP) return type.timezone ? `timestamp ${type.timezone}` : name;
  return name;
}

function cellText(value, type) {
  if (value === null || value === undefined) return "null";
  // flechette gives moments as milliseconds since 1970.
  if ((type.typeId === DATE || type.typeId === TIMESTAMP) && typeof value === "number" && Math.abs(value) <= 8.64e15) {
    const text = new Date(value).toISOString();
    return type.typeId === DATE ? text.slice(0, 10) : text.replace("T", " ").replace("Z", type.timezone ? "Z" : "");
  }
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value !== "object") return String(value);
  return JSON.stringify(value, (_, part) => (typeof part === "bigint" ? String(part) : ArrayBuffer.isView(part) ? Array.from(part, String) : part)) ?? "";
}

// NEP 1: a magic, a version, the length of a header in Python's syntax, the header, the numbers.
function readArray(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== 0x934e554d) throw new Problem("ValueNotDecodable", "the value is no numpy array");
  const long = view.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const [, shapeText = ""] = /'shape':\s*\(([^)]*)\)/.exec(header) ?? [];
  const [, dtype = "several fields"] = /'descr':\s*'([^']*)'/.exec(header) ?? [];
  const shape = shapeText.split(",").map((part) => part.trim()).filter(Boolean).map(Number);
  const kind = `numpy array (${shape.join(", ")}) of ${dtype}`;
  const item = READERS[dtype.slice(1)];
  const size = Number(dtype.slice(2));
  const count = shape.reduce((product, part) => product * part, 1);
  const fits = item && shape.length <= 2 && start + length + count * size <= bytes.length;
  if (!fits) return { kind, rows: shape[0] ?? 1, columns: [] };
  const [rows, width] = [shape[0] ?? 1, shape[1] ?? 1];
  const byColumn = header.includes("'fortran_order': True");
  const little = !dtype.startsWith(">");
  const cell = (column) => (row) => String(item(view, start + length + size * (byColumn ? column * rows + row : row * width + column), little));
  const columns = Array.from({ length: Math.min(width, ARRAY_COLUMNS) }, (_, place) => ({ name: String(place), names: [], type: dtype, cell: cell(place) }));
  return { kind, rows, columns };
}

const READERS = {
  f8: (view, place, little) => view.getFloat64(place, little), f4: (view, place, little) => view.getFloat32(place, little),
  i8: (view, place, little) => view.getBigInt64(place, little), i4: (view, place, little) => view.getInt32(place, little),
  i2: (view, place, little) => view.getInt16(place, little), i1: (view, place) => view.getInt8(place),
  u8: (view, place, little) => view.getBigUint64(place, little), u4: (view, place, little) => view.getUint32(place, little),
  u2: (view, place, little) => view.getUint16(place, little), u1: (view, place) => view.getUint8(place),
  b1: (view, place) => (view.getUint8(place) ? "True" : "False"),
};
