// The third reader: the page's own modules, run over stored vectors by Node or by a browser.
//
// What the page does not have, the local keyring, is here: its wraps are Cobblestone messages as well.

/** Return the outcome of each vector: what it gives, or the class of the error. */
export async function readAll(vectors, modules) {
  const outcomes = {};
  for (const [name, vector] of Object.entries(vectors)) {
    outcomes[name] = await READERS[vector.kind](vector, modules).catch((error) => ({ error: error.part ? `NotOpened:${error.part}` : error.name, text: error.message }));
  }
  return outcomes;
}

const READERS = { seal: readSeal, wrap: readWrap, pull: readPull };
const WRAP_PREFIX = new TextEncoder().encode("secure_xcom/local-wrap/1\0");
const WRAP = /^local:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{139}=)$/;
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const refused = (name) => Object.assign(new Error(name), { name });

async function digest(bytes) {
  return { plaintext_bytes: bytes.length, plaintext_sha256: hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))) };
}

async function readSeal({ data_key: key, head, context, message }, { cobblestone, reading }) {
  const canonical = reading.canonical(head);
  if (new TextDecoder().decode(canonical) !== context) return { error: "another canonical form" };
  return digest(await cobblestone.open(unhex(key), canonical, reading.fromBase64(message, "the message")));
}

async function unwrap({ cobblestone, reading }, keyring, wrapped, context) {
  const [, version, text] = WRAP.exec(wrapped) ?? [];
  if (!version) throw refused("UnwrapRefused");
  const wrappingKey = keyring.versions[version]?.key;
  if (!wrappingKey) throw refused("KeyVersionUnknown");
  const canonical = reading.canonical(context);
  const bound = new Uint8Array([...WRAP_PREFIX, ...canonical]);
  const opened = cobblestone.open(reading.fromBase64(wrappingKey, "a key"), bound, reading.fromBase64(text, "a wrap"));
  return opened.catch(() => {
    throw refused("UnwrapRefused");
  });
}

async function readWrap({ keyring, wrapped, context }, modules) {
  return { data_key: hex(await unwrap(modules, keyring, wrapped, context)) };
}

// The page gets from the service what a row and a store hold, and the wraps of allowed keys only.
async function readPull({ row, asked, keyrings, objects, max_bytes: maxBytes }, modules) {
  const { head, keys, seal } = row;
  modules.reading.checkHead(head, asked, Date.parse("2026-11-22T11:00:00Z"));
  const payload = row.payload ?? objects[head.object];
  const context = Object.fromEntries(["compartment", "dag_id", "task_id", "run_id", "map_index"].map((name) => [name, head[name]]));
  let failure = refused("ContextRefused");
  for (const { uri, wrapped } of keys.filter(({ uri }) => uri in keyrings)) {
    const key = await unwrap(modules, keyrings[uri], wrapped, context).catch((error) => ((failure = error), null));
    if (key) {
      const plaintext = await modules.reading.openPayload({ head, seal, payload }, key);
      const bytes = modules.shown.decompressed(plaintext, head.compression, maxBytes);
      return head.codec === "json" ? { json: modules.json.toJson(modules.json.parseJson(bytes)) } : { bytes: modules.reading.toBase64(bytes) };
    }
  }
  throw failure;
}
