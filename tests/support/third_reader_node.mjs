// Reads {"static": folder, "vectors": {...}, "sensitive": {...}, "names": [...]} from its input, and writes as JSON the
// outcome of each vector, and of each name whether it is sensitive: for a text, and for a number.

import { readAll } from "./third_reader.mjs";

let text = "";
for await (const piece of process.stdin) text += piece;
const { static: folder, vectors = {}, sensitive, names = [] } = JSON.parse(text);
const modules = {};
for (const name of ["cobblestone", "reading", "shown", "json", "names"]) modules[name] = await import(`file://${folder}/${name}.js`);
const hides = modules.names.sensitiveNames(sensitive ?? {});
const judged = names.map((name) => [hides(name, false), hides(name, true)]);
process.stdout.write(JSON.stringify({ outcomes: await readAll(vectors, modules), names: judged }));
