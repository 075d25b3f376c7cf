// Cobblestone-256 of C2SP chunked-encryption, version 1 (https://c2sp.org/chunked-encryption), opened with WebCrypto.
//
// The third implementation of docs/reference/format.md, "The sealed payload". WebCrypto's own HKDF always extracts first, so
// HKDF-Expand (RFC 5869, section 2.3) is made of HMAC-SHA-512 here.

export const SALT_BYTES = 24;
export const HEADER_BYTES = 56; // The salt and the commitment of 32 bytes.
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const CHUNK_BYTES = 16384 + 16; // With the tag.
const LABEL = new TextEncoder().encode("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0");

/** A message that does not open: `part` is "commitment", "length" or "chunk". */
export class NotOpened extends Error {
  constructor(part) {
    super(`the ${part} of the message is not authentic`);
    this.part = part;
  }
}

/**
 * Return the plaintext of a whole message; nothing is given before its last chunk was found authentic.
 *
 * @param {Uint8Array} key the data key, 32 bytes
 * @param {Uint8Array} context what the message is bound to
 * @param {Uint8Array} message salt, commitment, chunks
 */
export async function open(key, context, message) {
  if (key.length !== KEY_BYTES || message.length < HEADER_BYTES + 16) throw new NotOpened("length");
  const derived = await expand(key, join(LABEL, message.subarray(0, SALT_BYTES), context), KEY_BYTES + NONCE_BYTES + 32);
  const commitment = derived.subarray(KEY_BYTES + NONCE_BYTES);
  if (!isEqual(commitment, message.subarray(SALT_BYTES, HEADER_BYTES))) throw new NotOpened("commitment");
  const aes = await crypto.subtle.importKey("raw", derived.subarray(0, KEY_BYTES), "AES-GCM", false, ["decrypt"]);
  const base = derived.slice(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
  derived.fill(0);
  const body = message.subarray(HEADER_BYTES);
  // A last chunk is always shorter than the others, so one of a full chunk is followed by one of no plaintext.
  const count = Math.floor(body.length / CHUNK_BYTES) + 1;
  if (body.length - (count - 1) * CHUNK_BYTES < 16) throw new NotOpened("length");
  const plaintext = new Uint8Array(body.length - count * 16);
  for (let number = 0, written = 0; number < count; number++) {
    const chunk = body.subarray(number * CHUNK_BYTES, (number + 1) * CHUNK_BYTES);
    const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce(base, number) }, aes, chunk).catch(() => null);
    if (!opened) throw (plaintext.fill(0), new NotOpened("chunk"));
    plaintext.set(new Uint8Array(opened), written);
    written += opened.byteLength;
  }
  return plaintext;
}

async function expand(key, info, length) {
  const hmac = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-512" }, false, ["sign"]);
  const blocks = [];
  for (let block = new Uint8Array(), counter = 1; blocks.length * 64 < length; counter++) {
    block = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, join(block, info, Uint8Array.of(counter))));
    blocks.push(block);
  }
  return join(...blocks).slice(0, length);
}

// The base nonce XOR the chunk's number, big-endian. A payload here has fewer than 2^32 chunks.
function nonce(base, number) {
  const made = base.slice();
  const view = new DataView(made.buffer);
  view.setUint32(8, (view.getUint32(8) ^ number) >>> 0);
  return made;
}

const isEqual = (left, right) => left.length === right.length && left.reduce((sum, byte, place) => sum | (byte ^ right[place]), 0) === 0;
const join = (...parts) => Uint8Array.from(parts.flatMap((part) => Array.from(part)));
