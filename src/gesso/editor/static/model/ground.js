// The ground: writing regions into it, and filling a hole with what surrounds it, as gesso.synthesis.editing.peeling does.

/** @import {Document, Ground, Mask, Rect} from "./types.js" */

import { frame, Refusal, UNKNOWN } from "./document.js";
import { flood } from "./flood.js";
import { shared } from "./masks.js";
import { nearestSources } from "./nearest.js";
import { squares, underSquares } from "./squares.js";

const FIRST_MARGIN = 16; // pixels around a hole that are searched at first
const FAR = 2 ** 20;
const THIN = 30; // a region is thin where no square fits into it whose side is this part of the picture's smaller side

/**
 * The ground with one class and id in a set of pixels; the same where it has them already. Where nothing was known of the ground,
 * it is all of that class then.
 * @param {Document} document @param {Mask} mask inside the picture @param {number} classIndex @param {number} id @returns {Ground}
 */
export function withRegion({ ground, width }, mask, classIndex, id) {
  const [label, instance] = [ground.label.slice(), ground.instance.slice()];
  let changed = label[0] === UNKNOWN;
  if (changed) {
    label.fill(classIndex);
    instance.fill(id);
  }
  for (let row = 0; row < mask.height; row += 1) {
    const to = (mask.y + row) * width + mask.x;
    const from = row * mask.width;
    for (let column = 0; column < mask.width; column += 1) {
      if (!mask.bits[from + column]) continue;
      changed ||= label[to + column] !== classIndex || instance[to + column] !== id;
      label[to + column] = classIndex;
      instance[to + column] = id;
    }
  }
  return changed ? { label, instance } : ground;
}

/**
 * The region of the ground at a pixel: the connected part (4 neighbours) of its class and id, with what objects hide of it.
 * @param {Document} document @param {number} x @param {number} y @returns {Mask}
 */
export function groundRegion({ ground, width, height }, x, y) {
  const { label, instance } = ground;
  const place = y * width + x;
  if (label[place] === UNKNOWN) throw new Refusal("Nothing is known of the ground: an object fills the whole picture.");
  const region = new Uint8Array(label.length);
  for (let other = 0; other < region.length; other += 1) {
    if (label[other] === label[place] && instance[other] === instance[place]) region[other] = 1;
  }
  const mask = flood(region, width, height, x, y);
  if (!mask) throw new Refusal(`There is no pixel x = ${x}, y = ${y}; the picture is ${width} wide and ${height} high.`);
  return mask;
}

/**
 * The ground with a hole filled from its nearest surroundings: other classes but no ignored pixels, nothing thin (a lamp post does
 * not become what is behind a house). Where there is none of these, the next best. Where the hole is the whole picture nothing is
 * known of the ground.
 * @param {Document} document @param {Mask} hole pixels of one class, inside the picture @returns {Ground}
 */
export function filledGround(document, hole) {
  const { width, height, ground } = document;
  const ignored = document.classes.length;
  const inHole = new Uint8Array(width * height);
  for (let row = 0; row < hole.height; row += 1) {
    const from = row * hole.width;
    inHole.set(hole.bits.subarray(from, from + hole.width), (hole.y + row) * width + hole.x);
  }
  const gone = ground.label[inHole.indexOf(1)];
  const solid = solidPart(document);
  const { label } = ground;
  const behind = (/** @type {number} */ place) => label[place] !== ignored && label[place] !== gone;
  /** @type {((place: number) => boolean)[]} */
  const choices = [(n) => solid[n] === 1 && behind(n), behind, (n) => label[n] !== ignored, () => true];
  for (const choice of choices) {
    const filled = filledFrom(document, hole, inHole, (place) => !inHole[place] && choice(place));
    if (filled) return filled;
  }
  return { label: new Uint16Array(label.length).fill(UNKNOWN), instance: new Int32Array(label.length).fill(ignored) };
}

/**
 * Filled from the nearest allowed pixels; null where the picture has none. The search is confined to a margin around the hole, and
 * widened until nothing outside could be nearer.
 * @param {Document} document @param {Mask} hole @param {Uint8Array} inHole @param {(place: number) => boolean} allowed
 * @returns {Ground | null}
 */
function filledFrom(document, hole, inHole, allowed) {
  const whole = frame(document);
  for (let margin = FIRST_MARGIN; ; margin *= 4) {
    const { x, y, width, height } = hole;
    const around = { x: x - margin, y: y - margin, width: width + 2 * margin, height: height + 2 * margin };
    const window = /** @type {Rect} */ (shared(around, whole));
    const everything = window.width === whole.width && window.height === whole.height;
    const from = nearestSources(window, whole.width, allowed);
    if (from && (everything || nothingNearer(window, whole, inHole, from))) return copied(document, window, inHole, from);
    if (everything) return null;
  }
}

/**
 * Whether no pixel outside of a window can be nearer to the hole than what was found.
 * @param {Rect} window @param {Rect} whole @param {Uint8Array} inHole @param {Int32Array} from
 */
function nothingNearer(window, whole, inHole, from) {
  for (let row = 0; row < window.height; row += 1) {
    const down = reach(row, window.y, window.height, whole.height);
    for (let column = 0; column < window.width; column += 1) {
      if (!inHole[(window.y + row) * whole.width + window.x + column]) continue;
      const source = from[row * window.width + column];
      const dy = Math.floor(source / whole.width) - window.y - row;
      const dx = (source % whole.width) - window.x - column;
      const near = Math.min(down, reach(column, window.x, window.width, whole.width));
      if (dx * dx + dy * dy > near * near) return false;
    }
  }
  return true;
}

/** How far the first row (or column) outside of a window is; very far at the picture's border. @param {number} place
 * @param {number} start @param {number} length @param {number} end */
function reach(place, start, length, end) {
  return Math.min(start > 0 ? place + 1 : FAR, start + length < end ? length - place : FAR);
}

/** @param {Document} document @param {Rect} window @param {Uint8Array} inHole @param {Int32Array} from @returns {Ground} */
function copied({ width, ground }, window, inHole, from) {
  const [label, instance] = [ground.label.slice(), ground.instance.slice()];
  for (let row = 0; row < window.height; row += 1) {
    for (let column = 0; column < window.width; column += 1) {
      const place = (window.y + row) * width + window.x + column;
      if (!inHole[place]) continue;
      const source = from[row * window.width + column];
      label[place] = ground.label[source];
      instance[place] = ground.instance[source];
    }
  }
  return { label, instance };
}

/** Where a region of the ground is not thin. @param {Document} document @returns {Uint8Array} */
function solidPart({ ground, width, height }) {
  const { label, instance } = ground;
  const side = Math.floor(Math.min(width, height) / THIN);
  if (side < 2) return new Uint8Array(width * height).fill(1);
  return underSquares(squares(label, instance, width, height, side), width, height, side);
}
