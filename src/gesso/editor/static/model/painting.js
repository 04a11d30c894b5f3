// Painting, erasing and filling.
//
// Stuff is painted onto the ground, and taken from the objects in front of it, so that the paint is seen. Things are objects: paint
// makes a new one in front of all, or extends one, and is taken from what stands in front of that one. What lies beneath stays:
// an object that is moved away later uncovers it. Locked objects are painted around; hidden ones are not touched.

/** @import {Document, Edited, Mask} from "./types.js" */

import { relabel } from "./arranging.js";
import { isThing, objectAt } from "./document.js";
import { sameRegion, wholeClass } from "./flood.js";
import { filledGround, withRegion } from "./ground.js";
import { clipped, intersect, subtract, tight, union } from "./masks.js";
import { newObject, paintable, regionId, withObjects, without } from "./objects.js";

/**
 * Where paint goes: the place of the object to extend, -1 for none (of another class, locked and hidden ones are not extended).
 * @param {Document} document @param {number | "new" | null} into @param {number} classIndex
 */
export function extendedPlace({ objects }, into, classIndex) {
  return objects.findIndex(
    ({ key, class: its, locked, hidden }) => key === into && its === classIndex && !locked && !hidden,
  );
}

/**
 * The place in the list from which on objects give way to paint (`keptAway`).
 * @param {Document} document @param {number} place of the object to extend, -1 for none @param {number} classIndex
 */
export function paintTarget(document, place, classIndex) {
  if (place >= 0) return place;
  return isThing(document, classIndex) ? document.objects.length : 0;
}

/**
 * Paint a class.
 * @param {Document} document @param {Mask} mask @param {number} classIndex
 * @param {{ into?: number | "new" | null }} [how] `into`: the object to extend. Of things, without one (or where it is of another
 *   class, locked or hidden) a new object is made; stuff goes onto the ground
 * @returns {Edited} the key of the object painted into, null for the ground; the same document where nothing changed
 */
export function paint(document, mask, classIndex, { into = null } = {}) {
  const place = extendedPlace(document, into, classIndex);
  const painted = paintable(document, mask, paintTarget(document, place, classIndex));
  if (!painted) return { document, key: place < 0 ? null : document.objects[place].key };
  if (place >= 0) return extended(document, place, painted);
  if (!isThing(document, classIndex)) return { document: onGround(document, painted, classIndex), key: null };
  const object = newObject(document, classIndex, painted);
  return { document: withObjects(document, [...document.objects, object]), key: object.key };
}

/** @param {Document} document @param {number} place @param {Mask} painted @returns {Edited} */
function extended(document, place, painted) {
  const owner = document.objects[place];
  const objects = without(document.objects, painted, place + 1);
  const grows = subtract(painted, owner.mask) !== null;
  if (grows) objects[place] = { ...owner, mask: union([owner.mask, painted]) };
  const same = !grows && objects.length === document.objects.length && objects.every((o, n) => o === document.objects[n]);
  return { document: same ? document : withObjects(document, objects), key: owner.key };
}

/** @param {Document} document @param {Mask} painted @param {number} classIndex */
function onGround(document, painted, classIndex) {
  const ground = withRegion(document, painted, classIndex, regionId(document, classIndex));
  const objects = without(document.objects, painted);
  const cut = objects.length < document.objects.length || objects.some((object, n) => object !== document.objects[n]);
  if (!cut && ground === document.ground) return document;
  return withObjects({ ...document, ground }, cut ? objects : document.objects);
}

/**
 * Take away what is seen: pixels of objects, so that what is beneath is seen; where no unlocked object is met, pixels of one class
 * of the ground, filled from the nearest other class around.
 * @param {Document} document @param {Mask} mask
 * @param {{ of?: number }} [what] `of`: class of the ground to erase; by default the one most pixels are of
 * @returns {Document} the same where nothing changed
 */
export function erase(document, mask, { of } = {}) {
  let left = clipped(mask, document.width, document.height);
  const objects = [...document.objects];
  for (let place = objects.length - 1; place >= 0 && left; place -= 1) {
    const object = objects[place];
    const met = object.hidden ? null : intersect(object.mask, left);
    if (!met) continue;
    left = subtract(left, met);
    if (object.locked) continue;
    const mask = subtract(object.mask, met);
    if (mask) objects[place] = { ...object, mask };
    else objects.splice(place, 1);
  }
  const met = objects.length < document.objects.length || objects.some((object, n) => object !== document.objects[n]);
  if (met) return withObjects(document, objects);
  const hole = left && groundOf(document, left, of);
  return hole ? { ...document, ground: filledGround(document, hole) } : document;
}

/** The pixels of one class of the ground. @param {Document} document @param {Mask} mask @param {number} [of] */
function groundOf({ ground, width }, mask, of) {
  const classes = new Int32Array(mask.bits.length).fill(-1);
  for (let cell = 0; cell < classes.length; cell += 1) {
    const row = Math.floor(cell / mask.width);
    if (mask.bits[cell]) classes[cell] = ground.label[(mask.y + row) * width + mask.x + cell - row * mask.width];
  }
  const wanted = of ?? commonest(classes);
  const bits = new Uint8Array(classes.length);
  for (let cell = 0; cell < bits.length; cell += 1) if (classes[cell] === wanted) bits[cell] = 1;
  return tight(bits, mask.width, mask.height, mask.x, mask.y);
}

/** @param {Int32Array} values -1 does not count */
function commonest(values) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const value of values) if (value >= 0) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((one, other) => (other[1] > one[1] ? other : one))[0];
}

/**
 * Pour a class over what is seen at a pixel.
 * @param {Document} document @param {number} x @param {number} y @param {number} classIndex
 * @param {{ reach?: "contiguous" | "class" | "object", gap?: number, into?: number | "new" | null }} [how] `reach`: what is
 *   connected, all of the class, or the whole object (which keeps its hidden pixels: it is relabelled); `gap`: openings of at most
 *   so many pixels do not leak; `into` as in `paint`
 * @returns {Edited}
 */
export function fill(document, x, y, classIndex, { reach = "contiguous", gap = 0, into = null } = {}) {
  if (reach === "object") return relabel(document, objectAt(document, x, y)?.key ?? { x, y }, classIndex);
  const mask = reach === "class" ? wholeClass(document, x, y) : sameRegion(document, x, y, gap);
  return mask ? paint(document, mask, classIndex, { into }) : { document, key: null };
}
