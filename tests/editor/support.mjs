// What the tests share: a seeded source of chance, small random documents, and the plainest possible painter to compare with.

import assert from "node:assert/strict";

import { emptyDocument } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { tight } from "../../src/gesso/editor/static/model/masks.js";

/** Sky, road and trees are stuff; houses, cars and people are things. */
export const CLASSES = ["sky", "road", "tree", "house", "car", "person"].map((name, index) => {
  return { index, name, colour: [index * 40, 255 - index * 40, 99], thing: index > 2, value: index + 7 };
});
export const [SKY, ROAD, TREE, HOUSE, CAR, PERSON] = CLASSES.map((its) => its.index);
export const IGNORED = CLASSES.length;

/** Marsaglia's xorshift, seeded: what fails can be run again. */
export class Chance {
  constructor(seed) {
    this.state = Math.imul(seed + 1, 0x9e3779b1) || 1;
    for (let n = 0; n < 8; n += 1) this.next();
  }

  /** In [0, 1). */
  next() {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) / 2 ** 32;
  }

  /** A whole number from `least` to `most`. */
  whole(least, most) {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  real(least, most) {
    return least + this.next() * (most - least);
  }

  of(items) {
    return items[this.whole(0, items.length - 1)];
  }

  sometimes(probability = 0.5) {
    return this.next() < probability;
  }
}

/** Run a check for many seeds; the seed that failed is named. */
export function forSeeds(count, check) {
  for (let seed = 0; seed < count; seed += 1) {
    try {
      check(new Chance(seed), seed);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
}

/** A blob, perhaps with holes, perhaps beyond a picture of that size. */
export function anyMask(chance, width, height, beyond = true) {
  const edge = beyond ? 4 : 0;
  const [w, h] = [chance.whole(1, Math.ceil(width / 2)), chance.whole(1, Math.ceil(height / 2))];
  const density = chance.of([0.3, 0.7, 1]);
  const bits = Uint8Array.from({ length: w * h }, () => (chance.sometimes(density) ? 1 : 0));
  bits[chance.whole(0, bits.length - 1)] = 1;
  const x = chance.whole(-edge, width - w + edge);
  return tight(bits, w, h, x, chance.whole(-edge, height - h + edge));
}

/** A ground of a few regions under up to six objects, some locked, some hidden. */
export function anyDocument(chance, { width = chance.whole(8, 28), height = chance.whole(8, 24), free = false } = {}) {
  let document = emptyDocument(width, height, CLASSES, SKY, "a street");
  for (let n = chance.whole(1, 3); n; n -= 1) {
    document = edits.paint(document, anyMask(chance, width, height), chance.of([ROAD, TREE, IGNORED])).document;
  }
  for (let n = chance.whole(0, 6); n; n -= 1) {
    const mask = anyMask(chance, width, height);
    const foot = [mask.x + (mask.width >> 1), mask.y + mask.height];
    try {
      document = edits.pasteMask(document, mask, chance.of([HOUSE, CAR, CAR, PERSON, TREE]), ...foot).document;
    } catch (error) {
      refused(error);
    }
  }
  for (const { key } of free ? [] : document.objects) {
    if (chance.sometimes(0.2)) document = edits.setLocked(document, key, true);
    if (chance.sometimes(0.2)) document = edits.setHidden(document, key, true);
  }
  return document;
}

/** Go on where an edit was refused for a reason that people are told; every other error is one. */
export function refused(error) {
  if (error.constructor.name !== "Refusal") throw error;
  assert.match(error.message, /^[A-Z].*\.$/, "a refusal is a sentence");
}

/** The set of "x,y" of a mask. */
export function cells(mask) {
  const found = new Set();
  mask?.bits.forEach((bit, cell) => {
    if (bit) found.add(`${mask.x + (cell % mask.width)},${mask.y + Math.floor(cell / mask.width)}`);
  });
  return found;
}

/** What is seen at a pixel, asked of one object after the other. */
export function seenAt(document, x, y, except = 0) {
  for (const object of [...document.objects].reverse()) {
    if (!object.hidden && object.key !== except && cells(object.mask).has(`${x},${y}`)) return object;
  }
  return null;
}

/** A document flattened pixel by pixel. */
export function plainlyFlat(document, except = 0) {
  const { width, height, ground } = document;
  const flat = { label: ground.label.slice(), instance: ground.instance.slice(), top: new Int32Array(width * height) };
  const sets = document.objects.filter((o) => !o.hidden && o.key !== except).map((o) => [o, cells(o.mask)]);
  for (let place = 0; place < width * height; place += 1) {
    const name = `${place % width},${Math.floor(place / width)}`;
    const seen = sets.findLast(([, set]) => set.has(name))?.[0];
    if (!seen) continue;
    [flat.label[place], flat.instance[place], flat.top[place]] = [seen.class, seen.writtenId, seen.key];
  }
  return flat;
}

/** One random edit of any kind; the same document where it is refused. */
export function anyEdit(chance, document) {
  const { width, height } = document;
  const key = document.objects.length ? chance.of(document.objects).key : -1;
  const [x, y] = [chance.whole(0, width - 1), chance.whole(0, height - 1)];
  const its = () => chance.whole(0, IGNORED);
  const mask = () => anyMask(chance, width, height);
  const shift = () => chance.whole(-6, 6);
  const kinds = [
    () => edits.paint(document, mask(), its(), { into: chance.of([null, "new", key]) }).document,
    () => edits.paint(document, mask(), document.objects.find((o) => o.key === key)?.class ?? CAR, { into: key }).document,
    () => edits.erase(document, mask()),
    () => edits.fill(document, x, y, its(), { reach: chance.of(["contiguous", "class", "object"]), gap: chance.whole(0, 2) }).document,
    () => edits.moveObject(document, key, shift(), shift(), chance.of([1, 1, 0.5, 1.7])),
    () => edits.duplicate(document, key, shift(), shift()).document,
    () => edits.remove(document, key),
    () => edits.relabel(document, chance.of([key, { x, y }]), chance.whole(0, CLASSES.length - 1)).document,
    () => edits.reorder(document, key, chance.of(["front", "back", "forward", "backward"])),
    () => edits.merge(document, [key, ...document.objects.slice(0, 2).map((o) => o.key)]),
    () => edits.split(document, key).document,
    () => edits.pasteMask(document, mask(), chance.of([TREE, CAR, HOUSE]), x, y + 1).document,
    () => edits.lift(document, x, y).document,
    () => edits.setStyle(document, key, chance.of([null, 3, [0.5, -0.25]])),
    () => edits.setLocked(document, key, chance.sometimes(0.3)),
    () => edits.setHidden(document, key, chance.sometimes(0.3)),
    () => edits.setPinned(document, key, chance.sometimes()),
    () => edits.setSeed(document, chance.whole(0, 99)),
    () => edits.setClassStyle(document, chance.of(CLASSES).name, chance.of([null, 2])),
    () => edits.setZ(document, chance.of([null, [0.1, 0.2]])),
    () => edits.setNoise(document, chance.of([null, true])),
  ];
  try {
    return chance.of(kinds)();
  } catch (error) {
    refused(error);
    return document;
  }
}
