// PNG without a canvas, which would not keep ids exactly: 8 and 16 bits, gray, RGB and RGBA; read with every filter.

/** @import {Picture} from "./types.js" */

import { chunk, readChunks, SIGNATURE } from "./png_chunks.js";

export { fromBase64, toBase64 } from "./base64.js";

const GRAY = 0;
const RGB = 2;
const RGBA = 6;
/** @type {Record<number, 1 | 2 | 3 | 4>} */
const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };
const LARGEST = 2 ** 28; // bytes of a decoded picture

/**
 * @param {ArrayLike<number>} values 0..255, row by row @param {number} width @param {number} height
 * @returns {Promise<Uint8Array>} a file
 */
export function encodeGray8(values, width, height) {
  return encode(bytesOf(values), width, height, 8, GRAY);
}

/**
 * @param {ArrayLike<number>} values 0..65535, row by row @param {number} width @param {number} height
 * @returns {Promise<Uint8Array>} a file
 */
export function encodeGray16(values, width, height) {
  const bytes = new Uint8Array(2 * values.length);
  for (let place = 0; place < values.length; place += 1) {
    bytes[2 * place] = values[place] >> 8;
    bytes[2 * place + 1] = values[place];
  }
  return encode(bytes, width, height, 16, GRAY);
}

/**
 * A label map in as few bytes as it needs: 8 bits where no value is above 255, 16 otherwise.
 * @param {Uint16Array} label row by row @param {number} width @param {number} height @returns {Promise<Uint8Array>} a file
 */
export function encodeLabel(label, width, height) {
  let largest = 0;
  for (let place = 0; place < label.length; place += 1) if (label[place] > largest) largest = label[place];
  return (largest < 256 ? encodeGray8 : encodeGray16)(label, width, height);
}

/**
 * @param {ArrayLike<number>} values red, green, blue of each pixel, row by row @param {number} width @param {number} height
 * @returns {Promise<Uint8Array>} a file
 */
export function encodeRGB(values, width, height) {
  return encode(bytesOf(values), width, height, 8, RGB);
}

/**
 * Whole numbers of 32 bits as RGBA: red holds the lowest bits.
 * @param {Int32Array} values row by row @param {number} width @param {number} height @returns {Promise<Uint8Array>} a file
 */
export function encodeRGBA32(values, width, height) {
  const bytes = new Uint8Array(4 * values.length);
  for (let place = 0; place < values.length; place += 1) {
    const value = values[place];
    bytes[4 * place] = value;
    bytes[4 * place + 1] = value >> 8;
    bytes[4 * place + 2] = value >> 16;
    bytes[4 * place + 3] = value >> 24;
  }
  return encode(bytes, width, height, 8, RGBA);
}

/** The numbers that `encodeRGBA32` wrote, or gray values. @param {Picture} picture @returns {Int32Array} */
export function int32({ channels, data }) {
  if (channels === 1) return Int32Array.from(data);
  if (channels !== 4) throw new Error(`An instance map is a gray or RGBA picture; ${channels} channels came.`);
  const values = new Int32Array(data.length / 4);
  for (let place = 0; place < values.length; place += 1) {
    const at = 4 * place;
    values[place] = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24);
  }
  return values;
}

/** @param {ArrayLike<number>} values */
function bytesOf(values) {
  return values instanceof Uint8Array ? values : Uint8Array.from(values);
}

/**
 * @param {Uint8Array} bytes samples, high bytes first @param {number} width @param {number} height @param {number} depth
 * @param {number} type @returns {Promise<Uint8Array>}
 */
async function encode(bytes, width, height, depth, type) {
  const stride = width * CHANNELS[type] * (depth / 8);
  if (bytes.length !== stride * height) throw new Error(`${bytes.length} bytes are no picture of ${width} x ${height}.`);
  const lines = new Uint8Array((stride + 1) * height); // every line is led by 0: not filtered, as maps have flat regions
  for (let row = 0; row < height; row += 1) {
    lines.set(bytes.subarray(row * stride, (row + 1) * stride), row * (stride + 1) + 1);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, type, 0, 0, 0], 8);
  const body = await through(lines, new CompressionStream("deflate"));
  const parts = [SIGNATURE, chunk("IHDR", header), chunk("IDAT", body), chunk("IEND", new Uint8Array(0))];
  return joined(parts);
}

/** @param {readonly Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Everything that comes out of a (de)compressor, at most so many bytes.
 * @param {Uint8Array} bytes @param {CompressionStream | DecompressionStream} transformer @param {number} [most]
 */
async function through(bytes, transformer, most = Infinity) {
  const writer = transformer.writable.getWriter();
  const written = writer.write(/** @type {Uint8Array<ArrayBuffer>} */ (bytes)).then(() => writer.close());
  written.catch(() => {}); // the reader below meets the same error
  const parts = [];
  let length = 0;
  for (const reader = transformer.readable.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return joined(parts);
    parts.push(value);
    length += value.length;
    if (length > most) throw new Error("The PNG holds more data than its header says; it is damaged.");
  }
}

/**
 * Read a PNG exactly.
 * @param {Uint8Array} bytes a file: gray (with alpha), RGB or RGBA, not interlaced
 * @returns {Promise<Picture>} samples of 1, 2 and 4 bits are as they are: 0..1, 0..3, 0..15
 */
export async function decode(bytes) {
  const { header, body } = readChunks(bytes);
  const { width, height, depth, type, interlaced } = header;
  const channels = CHANNELS[type];
  if (!channels || interlaced || ![1, 2, 4, 8, 16].includes(depth) || (depth < 8 && type !== GRAY)) {
    throw new Error("Only gray, RGB and RGBA PNG files that are not interlaced can be read here; save it as one of these.");
  }
  const stride = Math.ceil((width * channels * depth) / 8);
  const length = (stride + 1) * height;
  if (length > LARGEST) throw new Error(`The PNG is too large: ${width} x ${height}.`);
  const lines = await through(joined(body), new DecompressionStream("deflate"), length);
  if (lines.length < length) throw new Error("The PNG ends too early; it is damaged.");
  const samples = unfiltered(lines, stride, height, Math.max(1, (channels * depth) / 8));
  const shape = { width, height, channels, depth: /** @type {Picture["depth"]} */ (depth) };
  return { ...shape, data: valuesOf(samples, width * channels, height, depth) };
}

/**
 * Undo the filters of all lines.
 * @param {Uint8Array} lines each led by its filter @param {number} stride bytes of a line @param {number} height
 * @param {number} step bytes from one pixel to the next @returns {Uint8Array}
 */
function unfiltered(lines, stride, height, step) {
  const out = new Uint8Array(stride * height);
  for (let row = 0; row < height; row += 1) {
    const from = row * (stride + 1);
    const to = row * stride;
    const filter = lines[from];
    if (filter > 4) throw new Error("The PNG has an unknown filter; it is damaged.");
    if (filter === 0) {
      out.set(lines.subarray(from + 1, from + 1 + stride), to);
      continue;
    }
    for (let n = 0; n < stride; n += 1) {
      const left = n >= step ? out[to + n - step] : 0;
      const above = row ? out[to + n - stride] : 0;
      const corner = row && n >= step ? out[to + n - stride - step] : 0;
      out[to + n] = lines[from + 1 + n] + predicted(filter, left, above, corner);
    }
  }
  return out;
}

/** @param {number} filter @param {number} left @param {number} above @param {number} corner */
function predicted(filter, left, above, corner) {
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const guess = left + above - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/** @param {Uint8Array} bytes @param {number} count samples of a line @param {number} height @param {number} depth */
function valuesOf(bytes, count, height, depth) {
  if (depth === 8) return bytes;
  const values = new (depth === 16 ? Uint16Array : Uint8Array)(count * height);
  if (depth === 16) {
    for (let place = 0; place < values.length; place += 1) values[place] = (bytes[2 * place] << 8) | bytes[2 * place + 1];
    return values;
  }
  const stride = Math.ceil((count * depth) / 8);
  for (let place = 0; place < values.length; place += 1) {
    const bit = (place % count) * depth;
    const byte = bytes[Math.floor(place / count) * stride + (bit >> 3)];
    values[place] = (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
  }
  return values;
}
