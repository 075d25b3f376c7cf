// What a parsed value looks like to a person: its type, its text or its parts. Airflow's serialisation
// (airflow.sdk.serde) puts a class's name around everything that is no plain structure.

const [CLASSNAME, VERSION, DATA] = ["__classname__", "__version__", "__data__"];
const COLLECTIONS = ["builtins.tuple", "builtins.set", "builtins.frozenset"];
const MOMENTS = ["datetime.datetime", "pendulum.datetime.DateTime"];
const PACKED = "pandas."; // Parquet, written as hexadecimal text.

/**
 * Return `{type, text}` of a leaf or `{type, children: [[name, value]], ordered}` of a branch. `type` is the class's
 * short name where Airflow's serialisation tells one, else "".
 */
export function readable(value) {
  const wrapped = value.kind === "object" ? unwrap(value) : null;
  if (!wrapped) return plain(value, "");
  const { classname, data } = wrapped;
  const type = classname.slice(classname.lastIndexOf(".") + 1);
  if (!data) return { type, text: "" };
  if (COLLECTIONS.includes(classname)) return plain(data, type);
  if (MOMENTS.includes(classname)) return moment(data, type) ?? plain(data, type);
  if (classname === "datetime.timedelta") return { type, text: `${leafText(data)} seconds` };
  if (classname.startsWith(PACKED) && data.kind === "text") return { type: classname, text: `${data.text.length / 2} bytes of Parquet` };
  return plain(data, type);
}

/** Return the class's full name and what it holds, if Airflow's serialisation wrote this object around a value. */
export function unwrap({ entries }) {
  const fields = Object.fromEntries([CLASSNAME, VERSION, DATA].map((name) => [name, entries.find(([entry]) => entry === name)?.[1]]));
  if (fields[CLASSNAME]?.kind !== "text" || fields[VERSION]?.kind !== "number") return null;
  // A field beside those three would not be seen.
  return entries.every(([name]) => Object.hasOwn(fields, name)) ? { classname: fields[CLASSNAME].text, data: fields[DATA] } : null;
}

function plain(value, type) {
  if (value.kind === "object") return { type, children: value.entries };
  if (value.kind === "list") return { type, children: value.items.map((item, place) => [String(place), item]), ordered: true };
  return { type, text: leafText(value), kind: value.kind };
}

const leafText = (value) => value.text ?? "...";

// Seconds since 1970 and a time zone: its name, or the name with its own class around it.
function moment(data, type) {
  if (data.kind !== "object") return null;
  const part = (name) => data.entries.find(([entry]) => entry === name)?.[1];
  const seconds = Number(part("timestamp")?.text);
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return null;
  let zone = part("tz");
  if (zone?.kind === "list") zone = zone.items[0];
  const name = zone?.kind === "text" && zone.text !== "UTC" ? ` (${zone.text})` : "";
  // A Date has milliseconds; Python's microseconds are in the number's own text.
  const fraction = /\.(\d{4,})/.exec(part("timestamp").text);
  return { type, text: `${date.toISOString().replace("Z", "")}${fraction && seconds >= 0 ? fraction[1].slice(3, 6) : ""}Z${name}` };
}

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Return a text with controls, marks that turn its direction and lone surrogates shown as what they are. */
export const clean = (text) => text.replace(UNSEEN, (found) => (found === "\n" ? "\n" : `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`));
