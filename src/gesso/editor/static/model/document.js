// The document: what is seen of it, and what is where.

/** @import {Class, Document, Flat, Ground, Obj, Rect} from "./types.js" */

import { box, holds, hull, shared } from "./masks.js";

export { UNKNOWN } from "./unknown.js";
export { fromWire, maskFromWire, toWire } from "./wire.js";

/** An edit that cannot be made; the message is a sentence for the user. */
export class Refusal extends Error {}

/**
 * A document of one class.
 * @param {number} width @param {number} height @param {readonly Class[]} classes @param {number} [classIndex]
 * @param {string} [name] @returns {Document}
 */
export function emptyDocument(width, height, classes, classIndex = 0, name = "") {
  const ground = {
    label: new Uint16Array(width * height).fill(classIndex),
    instance: new Int32Array(width * height).fill(classIndex),
  };
  const styles = { seed: 0, classes: {}, z: null, noise: null };
  return { width, height, classes, ground, objects: [], usedIds: new Set([classIndex]), styles, name, source: null, original: null };
}

/** The whole picture. @param {{ width: number, height: number }} document @returns {Rect} */
export function frame({ width, height }) {
  return { x: 0, y: 0, width, height };
}

/**
 * Label map, instance map and owners: the ground with the objects painted over it from back to front, hidden ones left out.
 * @param {Document} document @param {number} [except] key of an object that is left out too @returns {Flat}
 */
export function flatten(document, except = 0) {
  const { label, instance } = document.ground;
  const flat = { label: label.slice(), instance: instance.slice(), top: new Int32Array(label.length) };
  for (const object of document.objects) {
    if (!object.hidden && object.key !== except) paintOver(flat, object, document.width, frame(document));
  }
  return flat;
}

/**
 * Bring a rectangle of a flattened document up to date; it is written into.
 * @param {Flat} flat @param {Document} document @param {Rect} rect @param {number} [except] key of an object that is left out
 */
export function flattenRect(flat, document, rect, except = 0) {
  const inside = shared(rect, frame(document));
  if (!inside) return;
  const { label, instance } = document.ground;
  for (let y = inside.y; y < inside.y + inside.height; y += 1) {
    const from = y * document.width + inside.x;
    flat.label.set(label.subarray(from, from + inside.width), from);
    flat.instance.set(instance.subarray(from, from + inside.width), from);
    flat.top.fill(0, from, from + inside.width);
  }
  for (const object of document.objects) {
    if (!object.hidden && object.key !== except) paintOver(flat, object, document.width, inside);
  }
}

/** @param {Flat} flat @param {Obj} object @param {number} width of the picture @param {Rect} rect inside the picture */
function paintOver({ label, instance, top }, { mask, class: its, writtenId, key }, width, rect) {
  const { bits } = mask;
  const inside = shared(mask, rect);
  if (!inside) return;
  for (let y = inside.y; y < inside.y + inside.height; y += 1) {
    const row = (y - mask.y) * mask.width - mask.x;
    const place = y * width;
    const end = inside.x + inside.width;
    for (let x = inside.x; x < end; x += 1) {
      if (!bits[row + x]) continue;
      const start = x;
      while (x < end && bits[row + x]) x += 1; // runs are filled faster than pixels
      label.fill(its, place + start, place + x);
      instance.fill(writtenId, place + start, place + x);
      top.fill(key, place + start, place + x);
    }
  }
}

/**
 * Where two documents of one size may look different; null where they look the same. Objects are compared as a whole.
 * @param {Document} before @param {Document} after @returns {Rect | null}
 */
export function changedRect(before, after) {
  if (before.width !== after.width || before.height !== after.height) return frame(after);
  const rect = hull(changedGround(before, after), changedObjects(before.objects, after.objects));
  return rect && shared(rect, frame(after));
}

/** @param {readonly Obj[]} before @param {readonly Obj[]} after */
function changedObjects(before, after) {
  /** @type {Rect | null} */
  let rect = null;
  if (before === after) return rect;
  const [old, now] = [new Map(before.map((o) => [o.key, o])), new Map(after.map((o) => [o.key, o]))];
  for (const object of [...before, ...after]) {
    const [one, other] = [old.get(object.key), now.get(object.key)];
    if (!one || !other || !looksAlike(one, other)) rect = hull(rect, box(object.mask));
  }
  // Of those in both, the ones that another stands in a new order to.
  const [stayed, stays] = [before.filter((o) => now.has(o.key)), after.filter((o) => old.has(o.key))];
  const first = stays.findIndex((object, place) => object.key !== stayed[place].key);
  if (first < 0) return rect;
  const last = stays.findLastIndex((object, place) => object.key !== stayed[place].key);
  return stays.slice(first, last + 1).reduce((whole, object) => hull(whole, box(object.mask)), rect);
}

/** @param {Obj} one @param {Obj} other */
function looksAlike(one, other) {
  if (one === other) return true;
  const same = one.class === other.class && one.writtenId === other.writtenId && one.hidden === other.hidden;
  const { mask } = one;
  return same && mask.bits === other.mask.bits && mask.x === other.mask.x && mask.y === other.mask.y;
}

/** @param {Document} before @param {Document} after @returns {Rect | null} */
function changedGround(before, after) {
  const { width } = after;
  const rows = differingRows(before.ground, after.ground, width);
  if (!rows) return null;
  const [top, bottom] = rows;
  let [left, right] = [width, 0];
  for (let y = top; y < bottom; y += 1) {
    const row = y * width;
    for (let x = 0; x < left; x += 1) if (differs(before.ground, after.ground, row + x)) left = x;
    for (let x = width - 1; x >= right; x -= 1) if (differs(before.ground, after.ground, row + x)) right = x + 1;
  }
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/**
 * First row that differs and the one after the last; null where none does.
 * @param {Ground} one @param {Ground} other @param {number} width @returns {[number, number] | null}
 */
function differingRows(one, other, width) {
  if (one === other) return null;
  const spans = [differing(one.label, other.label), differing(one.instance, other.instance)].filter((span) => span !== null);
  if (!spans.length) return null;
  const [first, last] = [Math.min(...spans.map(([from]) => from)), Math.max(...spans.map(([, to]) => to))];
  return [Math.floor(first / width), Math.floor(last / width) + 1];
}

/**
 * The first and the last place where two arrays differ; null where they are equal.
 * @template {Uint16Array | Int32Array} T
 * @param {T} one @param {T} other @returns {[number, number] | null}
 */
function differing(one, other) {
  let first = 0;
  while (first < one.length && one[first] === other[first]) first += 1;
  if (first === one.length) return null;
  let last = one.length - 1;
  while (one[last] === other[last]) last -= 1;
  return [first, last];
}

/** @param {Ground} one @param {Ground} other @param {number} place */
function differs(one, other, place) {
  return one.label[place] !== other.label[place] || one.instance[place] !== other.instance[place];
}

/**
 * The object that is seen at a pixel; null where the ground is, or outside of the picture.
 * @param {Document} document @param {number} x @param {number} y @returns {Obj | null}
 */
export function objectAt(document, x, y) {
  if (!shared(frame(document), { x, y, width: 1, height: 1 })) return null;
  return document.objects.findLast((object) => !object.hidden && holds(object.mask, x, y)) ?? null;
}

/**
 * The object with a key.
 * @param {Document} document @param {number} key @returns {Obj}
 */
export function findObject(document, key) {
  const found = document.objects.find((object) => object.key === key);
  if (!found) throw new Refusal("That object is no longer in the layout; select another.");
  return found;
}

/** Whether objects of a class have ids of their own. @param {Document} document @param {number} classIndex */
export function isThing(document, classIndex) {
  return document.classes[classIndex]?.thing ?? false;
}

/** Name of a class, "ignored" for pixels without one. @param {Document} document @param {number} classIndex */
export function className(document, classIndex) {
  return document.classes[classIndex]?.name ?? "ignored";
}
