// PNG files: exact both ways; what other programs write is read with every filter.

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import * as png from "../../src/gesso/editor/static/model/png.js";
import { chunk, SIGNATURE } from "../../src/gesso/editor/static/model/png_chunks.js";
import { Chance } from "./support.mjs";

const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** A file with a filter of its own in each line, as other programs write them. */
function written(chance, { width, height, depth, type }) {
  const stride = Math.ceil((width * CHANNELS[type] * depth) / 8);
  const step = Math.max(1, (CHANNELS[type] * depth) / 8);
  const most = chance.of([255, 3]); // of few values many are equally near to what a filter guesses
  const lines = Array.from({ length: height }, () => Uint8Array.from({ length: stride }, () => chance.whole(0, most)));
  const filtered = lines.flatMap((line, row) => {
    const filter = chance.whole(0, 4);
    const above = lines[row - 1] ?? new Uint8Array(stride);
    const coded = line.map((value, n) => {
      const [a, b, c] = [line[n - step] ?? 0, above[n], n < step ? 0 : above[n - step]];
      const paeth = [a, b, c].reduce((one, other) => (Math.abs(a + b - c - other) < Math.abs(a + b - c - one) ? other : one));
      return value - [0, a, b, (a + b) >> 1, paeth][filter];
    });
    return [filter, ...coded];
  });
  const packed = deflateSync(Uint8Array.from(filtered));
  const header = Uint8Array.of(0, 0, 0, width, 0, 0, 0, height, depth, type, 0, 0, 0);
  const half = packed.length >> 1; // data may come in several parts, with others between
  const parts = [
    chunk("IHDR", header), chunk("tEXt", Uint8Array.of(97, 0, 98)), chunk("IDAT", packed.subarray(0, half)),
    chunk("IDAT", packed.subarray(half)), chunk("IEND", new Uint8Array(0)),
  ];
  return { file: Uint8Array.from([...SIGNATURE, ...parts.flatMap((part) => [...part])]), lines };
}

test("every filter, depth and number of channels is read", async () => {
  for (let seed = 0; seed < 60; seed += 1) {
    const chance = new Chance(seed);
    const type = chance.of([0, 2, 4, 6]);
    const shape = { width: chance.whole(1, 20), height: chance.whole(1, 20), depth: chance.of([8, 16]), type };
    const { file, lines } = written(chance, shape);
    const picture = await png.decode(file);
    const bytes = lines.flatMap((line) => [...line]);
    const samples = shape.depth === 8 ? bytes : bytes.flatMap((byte, n) => (n % 2 ? [bytes[n - 1] * 256 + byte] : []));
    assert.deepEqual([picture.width, picture.height, picture.channels, picture.depth], [shape.width, shape.height, CHANNELS[type], shape.depth]);
    assert.deepEqual([...picture.data], samples);
  }
});

test("gray of 1, 2 and 4 bits is read, as masks come in", async () => {
  for (let seed = 0; seed < 30; seed += 1) {
    const chance = new Chance(seed);
    const depth = chance.of([1, 2, 4]);
    const shape = { width: chance.whole(1, 20), height: chance.whole(1, 9), depth, type: 0 };
    const { file, lines } = written(chance, shape);
    const bits = lines.map((line) => [...line].map((byte) => byte.toString(2).padStart(8, "0")).join(""));
    const expected = bits.flatMap((row) => Array.from({ length: shape.width }, (_, n) => parseInt(row.slice(n * depth, (n + 1) * depth), 2)));
    assert.deepEqual([...(await png.decode(file)).data], expected);
  }
});

test("what is written is read again, to the last bit", async () => {
  for (let seed = 0; seed < 25; seed += 1) {
    const chance = new Chance(seed);
    const [width, height] = [chance.whole(1, 40), chance.whole(1, 40)];
    const some = (array, count, least, most) => array.from({ length: width * height * count }, () => chance.whole(least, most));
    const [gray, deep, rgb] = [some(Uint8Array, 1, 0, 255), some(Uint16Array, 1, 0, 65535), some(Uint8Array, 3, 0, 255)];
    const ids = some(Int32Array, 1, -(2 ** 31), 2 ** 31 - 1);
    assert.deepEqual((await png.decode(await png.encodeGray8(gray, width, height))).data, gray);
    assert.deepEqual((await png.decode(await png.encodeGray16(deep, width, height))).data, deep);
    assert.deepEqual((await png.decode(await png.encodeRGB(rgb, width, height))).data, rgb);
    assert.deepEqual(png.int32(await png.decode(await png.encodeRGBA32(ids, width, height))), ids);
    const bytes = await png.encodeGray8(gray, width, height);
    assert.deepEqual(png.fromBase64(png.toBase64(bytes)), bytes);
  }
});

test("a label map takes 8 bits where they are enough", async () => {
  for (const [largest, depth] of [[255, 8], [256, 16]]) {
    const picture = await png.decode(await png.encodeLabel(Uint16Array.of(0, 3, largest, 1), 2, 2));
    assert.equal(picture.depth, depth);
    assert.deepEqual([...picture.data], [0, 3, largest, 1]);
  }
});

test("long data is written in one piece: a map of a million ids", async () => {
  const ids = Int32Array.from({ length: 1024 * 1024 }, (_, n) => Math.imul(n, 0x9e3779b1));
  assert.deepEqual(png.int32(await png.decode(await png.encodeRGBA32(ids, 1024, 1024))), ids);
  const text = png.toBase64(new Uint8Array(ids.buffer));
  assert.deepEqual(png.fromBase64(text), new Uint8Array(ids.buffer));
});

test("damaged files say so", async () => {
  const file = await png.encodeGray16(Uint16Array.from({ length: 400 }, (_, n) => n * 7), 20, 20);
  const flipped = file.slice();
  flipped[60] ^= 4;
  const bomb = Uint8Array.from([...SIGNATURE, ...chunk("IHDR", Uint8Array.of(0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 0)),
    ...chunk("IDAT", deflateSync(new Uint8Array(1_000_000))), ...chunk("IEND", new Uint8Array(0))]);
  const palette = Uint8Array.from([...SIGNATURE, ...chunk("IHDR", Uint8Array.of(0, 0, 0, 2, 0, 0, 0, 2, 8, 3, 0, 0, 0)),
    ...chunk("IEND", new Uint8Array(0))]);
  const cases = [
    [Uint8Array.of(1, 2, 3), /no PNG/], [file.subarray(0, 50), /ends too early/], [flipped, /checksum/], [bomb, /more data/],
    [palette, /gray, RGB and RGBA/], [SIGNATURE, /ends too early/],
  ];
  for (const [bytes, message] of cases) await assert.rejects(png.decode(bytes), message);
  assert.throws(() => png.int32({ width: 1, height: 1, channels: 3, depth: 8, data: new Uint8Array(3) }), /gray or RGBA/);
  await assert.rejects(png.encodeGray8(new Uint8Array(5), 2, 2), /no picture of 2 x 2/);
});

test("every damaged byte is noticed, or the picture is the same", async () => {
  const values = Uint8Array.from({ length: 64 }, (_, n) => n);
  const file = await png.encodeGray8(values, 8, 8);
  for (let place = 0; place < file.length; place += 1) {
    const damaged = file.slice();
    damaged[place] ^= 0x11;
    await assert.rejects(png.decode(damaged), Error, `byte ${place}`);
  }
});
