// Edits of objects as a whole: the same as gesso.synthesis.editing.edits makes. Locked objects are refused.

/** @import {Document, Edited, Made, Mask, Obj} from "./types.js" */

import { findObject, isThing, Refusal } from "./document.js";
import { filledGround, groundRegion, withRegion } from "./ground.js";
import { clipped, components, meets, moved, scaled, union } from "./masks.js";
import { newObject, regionId, unlocked, withChanged, withObjects } from "./objects.js";

const LARGEST = 4; // times the picture: how large an object may be scaled

/**
 * A mask scaled about its foot, then moved; some of it is inside the picture.
 * @param {Document} document @param {Mask} mask @param {number} dx @param {number} dy @param {number} scale @returns {Mask}
 */
function placed(document, mask, dx, dy, scale) {
  const { width, height } = document;
  const largest = scale * Math.max(mask.width / width, mask.height / height);
  if (!(largest > 0 && largest <= LARGEST)) {
    throw new Refusal(`An object can be scaled to at most ${LARGEST} times the size of the picture, and not to nothing.`);
  }
  const smaller = scale === 1 ? mask : scaled(mask, scale);
  const there = smaller && moved(smaller, dx, dy);
  if (!there) throw new Refusal("Nothing is left of the object at that size; make it larger.");
  if (!clipped(there, width, height)) {
    throw new Refusal("The object would lie outside of the picture. Move it less far, or delete it.");
  }
  return there;
}

/**
 * Move an object, and perhaps scale it about its foot, the middle of its lower edge. What leaves the picture is kept.
 * @param {Document} document @param {number} key @param {number} dx whole pixels to the right @param {number} dy down
 * @param {number} [scale] new size over old one @returns {Document}
 */
export function moveObject(document, key, dx, dy, scale = 1) {
  const object = unlocked(document, key);
  return withChanged(document, object, { mask: placed(document, object.mask, dx, dy, scale) });
}

/**
 * Put a copy of an object right in front of it; it wears what the object wears.
 * @param {Document} document @param {number} key @param {number} [dx] whole pixels to the right @param {number} [dy] down
 * @returns {Made}
 */
export function duplicate(document, key, dx = 0, dy = 0) {
  const object = findObject(document, key);
  const made = newObject(document, object.class, placed(document, object.mask, dx, dy, 1), object.writtenId);
  const copy = { ...made, style: object.style, pinned: object.pinned };
  return { document: withObjects(document, document.objects.flatMap((o) => (o === object ? [o, copy] : [o]))), key: copy.key };
}

/** Take an object away; what is behind it is seen. @param {Document} document @param {number} key */
export function remove(document, key) {
  const gone = unlocked(document, key);
  return withObjects(document, document.objects.filter((object) => object !== gone));
}

/**
 * Change which objects an object hides: to the front or back of all, or past the next object that it overlaps.
 * @param {Document} document @param {number} key @param {"front" | "back" | "forward" | "backward"} to @returns {Document}
 */
export function reorder(document, key, to) {
  const object = unlocked(document, key);
  const now = document.objects.indexOf(object);
  const others = document.objects.filter((other) => other !== object);
  const place = { front: others.length, back: 0, forward: nextMet(document, now, 1), backward: nextMet(document, now, -1) }[to];
  return place === now ? document : withObjects(document, others.toSpliced(place, 0, object));
}

/** @param {Document} document @param {number} now @param {1 | -1} step */
function nextMet({ objects }, now, step) {
  for (let place = now + step; place >= 0 && place < objects.length; place += step) {
    if (meets(objects[now].mask, objects[place].mask)) return place;
  }
  return now;
}

/**
 * Make several objects one: the first takes the pixels of the others, and stands where the frontmost of them stood.
 * @param {Document} document @param {readonly number[]} keys @returns {Document}
 */
export function merge(document, keys) {
  const merged = [...new Set(keys)].map((key) => unlocked(document, key));
  if (merged.length < 2) throw new Refusal("Select two or more objects to make them one.");
  const whole = { ...merged[0], mask: union(merged.map((object) => object.mask)) };
  const front = Math.max(...merged.map((object) => document.objects.indexOf(object)));
  const objects = document.objects.flatMap((object, place) => {
    if (place === front) return [whole];
    return merged.includes(object) ? [] : [object];
  });
  return withObjects(document, objects);
}

/**
 * Make every connected part (4 neighbours) of an object one of its own; the largest keeps the key and comes first.
 * @param {Document} document @param {number} key @returns {{ document: Document, keys: number[] }}
 */
export function split(document, key) {
  const object = unlocked(document, key);
  const [first, ...others] = components(object.mask, 4);
  if (!others.length) return { document, keys: [key] };
  /** @type {Obj[]} */
  const parts = [{ ...object, mask: first }];
  const usedIds = new Set(document.usedIds);
  for (const mask of others) {
    const made = newObject({ ...document, usedIds }, object.class, mask, object.writtenId);
    usedIds.add(made.id);
    parts.push({ ...made, style: object.style, pinned: object.pinned });
  }
  const objects = document.objects.flatMap((other) => (other === object ? parts : [other]));
  return { document: withObjects(document, objects), keys: parts.map((part) => part.key) };
}

/**
 * Put an object in front of all others.
 * @param {Document} document @param {Mask} mask its place does not matter @param {number} classIndex
 * @param {number} x column of its foot, the middle of its lower edge @param {number} y row below its lowest pixels @returns {Made}
 */
export function pasteMask(document, mask, classIndex, x, y) {
  const [dx, dy] = [x - Math.floor((2 * mask.x + mask.width) / 2), y - mask.y - mask.height];
  const object = newObject(document, classIndex, placed(document, mask, dx, dy, 1));
  return { document: withObjects(document, [...document.objects, object]), key: object.key };
}

/**
 * Make a region of the ground an object, at the back of all, so that it can be moved or removed. The picture stays the same; the
 * ground beneath is filled by its surroundings.
 * @param {Document} document @param {number} x @param {number} y @returns {Made}
 */
export function lift(document, x, y) {
  const mask = groundRegion(document, x, y);
  const place = y * document.width + x;
  const [classIndex, id] = [document.ground.label[place], document.ground.instance[place]];
  const ground = filledGround(document, mask);
  const object = newObject(document, classIndex, mask, id);
  return { document: withObjects({ ...document, ground }, [object, ...document.objects]), key: object.key };
}

/**
 * Give an object, or the region of the ground at a pixel, another class. An object gets a new id with it, keeps its key, and loses
 * its style, as those of another class mean something else. A region of the ground becomes an object where the class is countable.
 * @param {Document} document @param {number | { x: number, y: number }} what key of an object, or a pixel
 * @param {number} classIndex @returns {Edited} the key of the object, null where it is the ground still
 */
export function relabel(document, what, classIndex) {
  if (typeof what === "number") return { document: relabelled(document, what, classIndex), key: what };
  const mask = groundRegion(document, what.x, what.y);
  if (document.ground.label[what.y * document.width + what.x] === classIndex) return { document, key: null };
  if (isThing(document, classIndex)) {
    const { document: lifted, key } = lift(document, what.x, what.y);
    return { document: relabelled(lifted, key, classIndex), key };
  }
  return { document: { ...document, ground: withRegion(document, mask, classIndex, regionId(document, classIndex)) }, key: null };
}

/** @param {Document} document @param {number} key @param {number} classIndex */
function relabelled(document, key, classIndex) {
  const object = unlocked(document, key);
  if (object.class === classIndex) return document;
  const { id, writtenId } = newObject(document, classIndex, object.mask);
  return withChanged(document, object, { class: classIndex, id, writtenId, style: null, pinned: false });
}

/**
 * Take ground and objects from another document of the same size, such as one that was read with another instance map; name and
 * styles stay.
 * @param {Document} document @param {Document} other @returns {Document}
 */
export function replaceInstances(document, other) {
  if (document.width !== other.width || document.height !== other.height) {
    throw new Refusal(
      `The instance map is ${other.width} x ${other.height} pixels, the layout ${document.width} x ${document.height}; ` +
        "they must be of one size.",
    );
  }
  return { ...document, ground: other.ground, objects: other.objects, usedIds: other.usedIds };
}
