// Reads {"static": folder, "vectors": {...}} from its input, and writes the outcome of each vector as JSON.

import { readAll } from "./third_reader.mjs";

let text = "";
for await (const piece of process.stdin) text += piece;
const { static: folder, vectors } = JSON.parse(text);
const modules = {};
for (const name of ["cobblestone", "reading"]) modules[name] = await import(`file://${folder}/${name}.js`);
process.stdout.write(JSON.stringify(await readAll(vectors, modules)));
