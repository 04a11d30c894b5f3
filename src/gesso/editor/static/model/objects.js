// What edits of objects are made of: new ids, lists of objects, and taking pixels away from what is in front.

/** @import {Document, Mask, Obj} from "./types.js" */

import { className, findObject, flatten, isThing, Refusal, UNKNOWN } from "./document.js";
import { freshKey } from "./keys.js";
import { clipped, subtract, tight } from "./masks.js";

/**
 * The id that a class that is not countable has in this layout; its index where it does not occur.
 * @param {Document} document @param {number} classIndex @returns {number}
 */
export function regionId(document, classIndex) {
  const place = document.ground.label.indexOf(classIndex);
  if (place >= 0) return document.ground.instance[place];
  return document.objects.find((object) => object.class === classIndex)?.writtenId ?? classIndex;
}

/** The id that the next object of a class gets. @param {Document} document @param {number} classIndex */
export function freshId(document, classIndex) {
  let id = classIndex * 1000 + 1;
  while (document.usedIds.has(id)) id += 1;
  return id;
}

/**
 * An object with an id that this document never had.
 * @param {Document} document @param {number} classIndex @param {Mask} mask
 * @param {number} [region] what the instance map shows where the class is not countable; its region's id by default
 * @returns {Obj}
 */
export function newObject(document, classIndex, mask, region) {
  const id = freshId(document, classIndex);
  const writtenId = isThing(document, classIndex) ? id : (region ?? regionId(document, classIndex));
  const plain = { locked: false, hidden: false, style: null, pinned: false };
  return { key: freshKey(), class: classIndex, id, writtenId, mask, ...plain };
}

/**
 * The same ground under other objects.
 * @param {Document} document @param {readonly Obj[]} objects @returns {Document}
 */
export function withObjects(document, objects) {
  const fresh = objects.filter((object) => !document.usedIds.has(object.id)).map((object) => object.id);
  const usedIds = fresh.length ? new Set([...document.usedIds, ...fresh]) : document.usedIds;
  const after = { ...document, objects, usedIds };
  if (document.ground.label[0] === UNKNOWN && flatten(after).label.includes(UNKNOWN)) {
    throw new Refusal(
      "Nothing is known of what would be uncovered: the object at the back fills the whole picture. Relabel it, or put an " +
        "object of another class behind it.",
    );
  }
  return after;
}

/** @param {Document} document @param {Obj} object @param {Partial<Obj>} changes */
export function withChanged(document, object, changes) {
  const changed = { ...object, ...changes };
  return withObjects(document, document.objects.map((other) => (other === object ? changed : other)));
}

/** An object that may be changed. @param {Document} document @param {number} key @returns {Obj} */
export function unlocked(document, key) {
  const object = findObject(document, key);
  if (object.locked) throw new Refusal(`The ${nameOf(document, object)} is locked; unlock it first.`);
  return object;
}

/** As "car 26001". @param {Document} document @param {Obj} object */
function nameOf(document, object) {
  return `${className(document, object.class)} ${object.id}`;
}

/**
 * Take pixels from the unlocked objects that are seen and stand at or in front of a place; what has none left goes.
 * @param {readonly Obj[]} objects @param {Mask} mask @param {number} [from] place in the list @returns {Obj[]}
 */
export function without(objects, mask, from = 0) {
  return objects.flatMap((object, place) => {
    if (place < from || object.locked || object.hidden) return [object];
    const rest = subtract(object.mask, mask);
    if (rest === object.mask) return [object];
    return rest ? [{ ...object, mask: rest }] : [];
  });
}

/**
 * Where locked objects keep paint away: where one would be covered that is seen, or where one in front would hide the paint.
 * @param {Document} document @param {number} target place in the list that is painted at: unlocked objects from there on give way
 * @returns {Uint8Array | null} not 0 for pixels of the picture that must stay; null where nothing is locked
 */
export function keptAway(document, target) {
  const { width, height, objects } = document;
  if (!objects.some((object) => object.locked && !object.hidden)) return null;
  const kept = new Uint8Array(width * height);
  objects.forEach(({ mask, locked, hidden }, place) => {
    if (hidden) return;
    const value = locked ? (place < target ? 1 : 2) : 0; // 2: nothing in front of it helps
    for (let y = Math.max(mask.y, 0); y < Math.min(mask.y + mask.height, height); y += 1) {
      for (let x = Math.max(mask.x, 0); x < Math.min(mask.x + mask.width, width); x += 1) {
        const there = y * width + x;
        if (mask.bits[(y - mask.y) * mask.width + x - mask.x] && kept[there] < 2) kept[there] = value;
      }
    }
  });
  return kept;
}

/**
 * The pixels of a mask that may be painted; null when none.
 * @param {Document} document @param {Mask} mask @param {number} target as in `keptAway` @returns {Mask | null}
 */
export function paintable(document, mask, target) {
  const inside = clipped(mask, document.width, document.height);
  const kept = inside && keptAway(document, target);
  if (!inside || !kept) return inside;
  const bits = inside.bits.slice();
  for (let cell = 0; cell < bits.length; cell += 1) {
    const y = Math.floor(cell / inside.width);
    if (kept[(inside.y + y) * document.width + inside.x + cell - y * inside.width]) bits[cell] = 0;
  }
  return tight(bits, inside.width, inside.height, inside.x, inside.y);
}
