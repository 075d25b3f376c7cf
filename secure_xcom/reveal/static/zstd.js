// Exactly one zstd frame (RFC 8878) that says what it holds, as docs/reference/format.md asks; the work is fzstd's (vendor/).

import { Problem } from "./problems.js";
import { decompress } from "./vendor/fzstd.js";

/** Return what a frame holds, at most `maxBytes`. */
export function unzstd(frame, maxBytes) {
  const invalid = () => new Problem("ValueNotDecodable", "not one whole zstd frame: no frame, another size than it says, or something after it");
  const frameShape = shape(frame);
  if (!frameShape || frameShape.end !== frame.length || frameShape.size < 1) throw invalid();
  if (frameShape.size > maxBytes) throw new Problem("ValueTooLarge", `the value has ${frameShape.size} bytes, ${maxBytes} are allowed`);
  let value;
  try {
    value = decompress(frame);
  } catch {
    throw invalid();
  }
  if (value.length !== frameShape.size || frameShape.least > frameShape.size) throw invalid();
  return value;
}

// Where the frame ends, the size that it says, and how much its blocks that need no decoding hold at least.
function shape(frame) {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  try {
    if (view.getUint32(0, true) !== 0xfd2fb528) return null;
    const descriptor = view.getUint8(4);
    const [single, checksum, dictionary] = [descriptor & 32, descriptor & 4, descriptor & 3];
    let place = 5 + (single ? 0 : 1);
    if (dictionary || descriptor & 8) return null;
    const width = descriptor >> 6;
    let size = 0;
    if (width === 0) size = single ? view.getUint8(place) : 0;
    else if (width === 1) size = view.getUint16(place, true) + 256;
    else if (width === 2) size = view.getUint32(place, true);
    else size = Number(view.getBigUint64(place, true));
    place += width === 0 ? (single ? 1 : 0) : 2 ** width;
    for (let [last, least] = [false, 0]; ; ) {
      const header = view.getUint16(place, true) | (view.getUint8(place + 2) << 16);
      const [kind, length] = [(header >> 1) & 3, header >> 3];
      last = Boolean(header & 1);
      place += 3 + (kind === 1 ? 1 : length);
      least += kind < 2 ? length : 0;
      if (last) return { end: place + (checksum ? 4 : 0), size, least };
    }
  } catch {
    return null; // A frame that ends before it is whole.
  }
}
