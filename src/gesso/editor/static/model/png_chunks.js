// The chunks that a PNG file is made of.

export const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let rest = n;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? 0xedb88320 ^ (rest >>> 1) : rest >>> 1;
  return rest;
});

/** @param {Uint8Array} bytes */
function checksum(bytes) {
  let rest = 0xffffffff;
  for (let n = 0; n < bytes.length; n += 1) rest = CRC[(rest ^ bytes[n]) & 255] ^ (rest >>> 8);
  return (rest ^ 0xffffffff) >>> 0;
}

/** One chunk. @param {string} name four letters @param {Uint8Array} data */
export function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let n = 0; n < 4; n += 1) bytes[4 + n] = name.charCodeAt(n);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checksum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/**
 * What a file says of itself, and its compressed data.
 * @param {Uint8Array} bytes
 * @returns {{ header: { width: number, height: number, depth: number, type: number, interlaced: boolean }, body: Uint8Array[] }}
 */
export function readChunks(bytes) {
  if (SIGNATURE.some((byte, n) => bytes[n] !== byte)) throw new Error("This is no PNG file.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Map<string, Uint8Array[]>} */
  const found = new Map();
  for (let at = SIGNATURE.length; !found.has("IEND"); ) {
    const end = at + 12 <= bytes.length ? at + 12 + view.getUint32(at) : Infinity;
    if (end > bytes.length) throw new Error("The PNG ends too early; it is damaged.");
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (checksum(bytes.subarray(at + 4, end - 4)) !== view.getUint32(end - 4)) {
      throw new Error(`The PNG is damaged: the checksum of its part ${name} is wrong.`);
    }
    found.set(name, [...(found.get(name) ?? []), bytes.subarray(at + 8, end - 4)]);
    at = end;
  }
  const [header] = found.get("IHDR") ?? [];
  if (header?.length !== 13) throw new Error("The PNG has no header; it is damaged.");
  const size = new DataView(header.buffer, header.byteOffset, 13);
  const [width, height] = [size.getUint32(0), size.getUint32(4)];
  const [depth, type, , , interlace] = header.subarray(8);
  return { header: { width, height, depth, type, interlaced: interlace !== 0 }, body: found.get("IDAT") ?? [] };
}
