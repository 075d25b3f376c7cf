// The steps of docs/reference/format.md, "Reading", that are the browser's: compare the head with what was asked for, the payload
// with its seal, and open it.

import { HEADER_BYTES, NotOpened, open } from "./cobblestone.js";
import { Problem } from "./problems.js";

export const COORDINATE = ["dag_id", "run_id", "task_id", "map_index", "key"];
const REQUIRED = [...COORDINATE, "compartment", "codec", "compression", "created"];
const OPTIONAL = ["object", "expires", "readers", "exclusive", "attempt", "region", "region_index", "iteration"];
const FIELD_MAX_CHARACTERS = 4096;
const CLOCK_TOLERANCE_MS = 3600_000;
const TIME = /^\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$/;

/**
 * Check a head against the coordinate that was asked for, before anything is unwrapped.
 *
 * @param {Object} head as the service gave it
 * @param {Object} coordinate its five ids as strings, and `attempt` where one was asked for
 */
export function checkHead(head, coordinate, now = Date.now()) {
  checkForm(head);
  for (const name of COORDINATE) {
    if (head[name] !== String(coordinate[name])) {
      throw new Problem("CoordinateMismatch", `the reference is of another XCom: its ${name} is not the one that was asked for`);
    }
  }
  if (coordinate.attempt && head.attempt && head.attempt !== coordinate.attempt) {
    throw new Problem("AttemptMismatch", "the reference is of another attempt than the one that was asked for");
  }
  if (head.exclusive) throw new Problem("ClaimRefused", "the XCom is exclusive");
  if (head.readers) throw new Problem("ReferenceVersionUnknown", "the head has a restriction that this release cannot enforce");
  if (!head.expires) return;
  if (Date.parse(head.created) > now + CLOCK_TOLERANCE_MS) throw new Problem("ClockSkewed", "the XCom was pushed in this computer's future");
  if (Date.parse(head.expires) <= now) throw new Problem("ReferenceExpired", `the XCom expired at ${head.expires}`);
}

function checkForm(head) {
  const malformed = (what) => new Problem("ReferenceMalformed", `the head of the reference is invalid: ${what}`);
  if (head === null || typeof head !== "object" || Array.isArray(head)) throw malformed("it is no object");
  for (const name of REQUIRED) if (!Object.hasOwn(head, name)) throw malformed(`${name} is missing`);
  for (const [name, value] of Object.entries(head)) {
    if (![...REQUIRED, ...OPTIONAL].includes(name)) throw malformed("it has a field that this release does not know");
    if (typeof value !== "string" || !value || value.length > FIELD_MAX_CHARACTERS || !value.isWellFormed()) throw malformed(`${name} is no text of 1 to ${FIELD_MAX_CHARACTERS} characters`);
  }
  for (const name of ["created", "expires"]) if (Object.hasOwn(head, name) && !isTime(head[name])) throw malformed(`${name} is no time`);
}

// A day that there is not, such as the 30th of February, comes back as another one.
const isTime = (text) => TIME.test(text) && !Number.isNaN(Date.parse(text)) && new Date(text).toISOString().startsWith(text.slice(0, 19));

/** Return the head in canonical form (RFC 8785, for an object of strings): the context of the seal. */
export function canonical(head) {
  // JSON.stringify writes a string as RFC 8785 does, and sort() goes by UTF-16 code units.
  const members = Object.keys(head).sort().map((name) => `${JSON.stringify(name)}:${JSON.stringify(head[name])}`);
  return new TextEncoder().encode(`{${members.join(",")}}`);
}

/** Return the context of a Vault key's wrap: docs/reference/format.md, "The data key and its wraps". */
export async function vaultContext(head) {
  const parts = [head.compartment, head.dag_id, head.task_id, `${head.map_index}\n${head.run_id}`];
  const digests = parts.map((part) => crypto.subtle.digest("SHA-384", new TextEncoder().encode(part)));
  return toBase64(new Uint8Array(await new Blob(await Promise.all(digests)).arrayBuffer()));
}

/**
 * Open a sealed payload; return its plaintext, which may still be compressed.
 *
 * @param {Object} sealed `head`, `seal` (`header`, `size`) and `payload`, as the service gave them
 * @param {Uint8Array} dataKey 32 bytes
 */
export async function openPayload({ head, seal, payload }, dataKey) {
  const [message, header] = [fromBase64(payload, "the payload"), fromBase64(seal?.header, "the seal")];
  if (header.length !== HEADER_BYTES || !Number.isSafeInteger(seal.size) || seal.size < HEADER_BYTES + 16) {
    throw new Problem("ReferenceMalformed", "the seal of the reference is invalid");
  }
  if (message.length < HEADER_BYTES) throw new Problem("PayloadTruncated", `the payload ends after ${message.length} of ${seal.size} bytes`);
  if (toBase64(message.subarray(0, HEADER_BYTES)) !== toBase64(header)) {
    throw new Problem("PayloadSwapped", "the store holds another payload than the reference was made for");
  }
  try {
    const opened = await open(dataKey, canonical(head), message);
    if (message.length === seal.size) return opened;
    opened.fill(0);
  } catch (error) {
    if (!(error instanceof NotOpened)) throw error;
    if (error.part === "commitment") {
      throw new Problem("HeadTampered", "the head of the reference, or its data key, is not the one that the payload was sealed with");
    }
    if (message.length === seal.size) throw new Problem("PayloadTampered", "the payload was changed after it was sealed");
  }
  throw new Problem("PayloadTruncated", `the payload has ${message.length} bytes instead of ${seal.size}`);
}

export function toBase64(bytes) {
  let text = "";
  for (let place = 0; place < bytes.length; place += 8192) text += String.fromCharCode(...bytes.subarray(place, place + 8192));
  return btoa(text);
}

/** Return the bytes of canonical base64 (RFC 4648, section 4). */
export function fromBase64(text, what) {
  try {
    const decoded = atob(text);
    if (typeof text === "string" && text.length % 4 === 0 && btoa(decoded) === text) return Uint8Array.from(decoded, (letter) => letter.charCodeAt(0));
  } catch {
    // Told below, as any other text that is no base64 is.
  }
  throw new Problem("ReferenceMalformed", `${what} is no base64`);
}
