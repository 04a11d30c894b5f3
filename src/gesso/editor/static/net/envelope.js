// The frames of /api/live: length of a JSON header (uint32, little-endian), the header, then bytes. Pure.

/**
 * @param {object} header
 * @param {Uint8Array[]} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function pack(header, parts) {
  const head = new TextEncoder().encode(JSON.stringify(header));
  const length = parts.reduce((sum, part) => sum + part.length, 4 + head.length);
  const frame = new Uint8Array(length);
  new DataView(frame.buffer).setUint32(0, head.length, true);
  frame.set(head, 4);
  let at = 4 + head.length;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {{header: any, bytes: Uint8Array<ArrayBuffer>}}
 */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  if (4 + length > buffer.byteLength) throw new RangeError("a frame shorter than its header says");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, bytes: new Uint8Array(buffer, 4 + length) };
}
