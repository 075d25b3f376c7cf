// Reads {"static": folder, "vectors": {...}, "sensitive": {...}, "names": [...], "copied": [...]} from its input, and
// writes as JSON the outcome of each vector, of each name whether it is sensitive (for a text, and for a number), and of
// each JSON text what the page copies before anything in it was shown.

import { readAll } from "./third_reader.mjs";

let text = "";
for await (const piece of process.stdin) text += piece;
const { static: folder, vectors = {}, sensitive, names = [], copied = [] } = JSON.parse(text);
const modules = {};
for (const name of ["cobblestone", "reading", "shown", "json", "names", "tree"]) modules[name] = await import(`file://${folder}/${name}.js`);
const hides = modules.names.sensitiveNames(sensitive ?? {});
const judged = names.map((name) => [hides(name, false), hides(name, true)]);
const copies = copied.map((json) => {
  const value = modules.json.parseJson(new TextEncoder().encode(json));
  return modules.json.toJson(value, new modules.tree.Masks(value, hides, false).isMasked);
});
process.stdout.write(JSON.stringify({ outcomes: await readAll(vectors, modules), names: judged, copies }));
