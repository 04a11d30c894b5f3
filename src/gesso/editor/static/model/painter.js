// A stroke while it is drawn: what a pointer move adds is found and shown without touching the rest of the picture.

/** @import {Document, Edited, Flat, Mask, Obj, Point, Rect} from "./types.js" */

import { flatten, flattenRect, isThing } from "./document.js";
import { hull, holds, tight } from "./masks.js";
import { freshId, keptAway, regionId } from "./objects.js";
import { erase, extendedPlace, paint, paintTarget } from "./painting.js";
import { segment } from "./raster.js";

const MAKING = -1; // the key, in a Flat, of an object that the stroke is making

/**
 * A brush or eraser from pointer-down to pointer-up. `flat` shows the document with the stroke so far, as `flatten(finish())` does,
 * but for one thing: what an eraser takes from the ground is seen when the stroke is finished, as its filling depends on all of it.
 */
export class Painter {
  /** @type {Point | null} */
  #last = null;
  #covered;
  #show;

  /**
   * @param {Document} document
   * @param {{ tool?: "paint" | "erase", classIndex?: number, into?: number | "new" | null, diameter: number, flat?: Flat }} how
   *   `into` as in `paint`; `flat`: the document flattened, which is written into; made anew by default
   */
  constructor(document, { tool = "paint", classIndex = 0, into = null, diameter, flat = flatten(document) }) {
    this.document = document;
    this.flat = flat;
    this.diameter = diameter;
    /** All that was touched. @type {Rect | null} */
    this.rect = null;
    this.#covered = new Uint8Array(document.width * document.height);
    this.#show = tool === "erase" ? erasing(document, flat) : painting(document, flat, classIndex, into);
    this.edit = (/** @type {Mask} */ mask) =>
      tool === "erase" ? { document: erase(document, mask), key: null } : paint(document, mask, classIndex, { into });
  }

  /**
   * Draw on to a place, from the last one.
   * @param {number} x @param {number} y @param {number} [diameter] here, as of a pen that is pressed
   * @returns {Rect | null} where `flat` may have changed; null where nothing was added
   */
  to(x, y, diameter = this.diameter) {
    const here = { x, y };
    const { top, lefts, rights } = segment(this.#last ?? here, here, diameter);
    this.#last = here;
    const { width, height } = this.document;
    let [left, upper, right, lower] = [width, height, 0, 0];
    for (let row = Math.max(0, -top); row < Math.min(lefts.length, height - top); row += 1) {
      const offset = (top + row) * width;
      const end = Math.min(rights[row], width);
      for (let column = Math.max(lefts[row], 0); column < end; column += 1) {
        if (this.#covered[offset + column]) continue;
        this.#covered[offset + column] = 1;
        this.#show(offset + column);
        if (column < left) left = column;
        if (column >= right) right = column + 1;
        if (top + row < upper) upper = top + row;
        lower = top + row + 1;
      }
    }
    if (right <= left) return null;
    const added = { x: left, y: upper, width: right - left, height: lower - upper };
    this.rect = hull(this.rect, added);
    return added;
  }

  /** The stroke so far; null while it is outside of the picture. @returns {Mask | null} */
  mask() {
    if (!this.rect) return null;
    const { x, y, width, height } = this.rect;
    const bits = new Uint8Array(width * height);
    for (let row = 0; row < height; row += 1) {
      const from = (y + row) * this.document.width + x;
      bits.set(this.#covered.subarray(from, from + width), row * width);
    }
    return tight(bits, width, height, x, y);
  }

  /**
   * The document with the stroke so far, and the key of the object painted into; the same document where nothing changed.
   * @returns {Edited}
   */
  finish() {
    const mask = this.mask();
    return mask ? this.edit(mask) : { document: this.document, key: null };
  }

  /** Give up: `flat` shows the document as it was. */
  cancel() {
    if (this.rect) flattenRect(this.flat, this.document, this.rect);
  }
}

/** What shows one more painted pixel. @param {Document} document @param {Flat} flat @param {number} classIndex
 * @param {number | "new" | null} into */
function painting(document, { label, instance, top }, classIndex, into) {
  const place = extendedPlace(document, into, classIndex);
  const kept = keptAway(document, paintTarget(document, place, classIndex));
  const thing = isThing(document, classIndex);
  const owner = place < 0 ? null : document.objects[place];
  const id = owner?.writtenId ?? (thing ? freshId(document, classIndex) : regionId(document, classIndex));
  const key = owner?.key ?? (thing ? MAKING : 0);
  return (/** @type {number} */ pixel) => {
    if (kept?.[pixel]) return;
    label[pixel] = classIndex;
    instance[pixel] = id;
    top[pixel] = key;
  };
}

/** What shows one more erased pixel. @param {Document} document @param {Flat} flat */
function erasing({ objects, ground, width }, { label, instance, top }) {
  const places = new Map(objects.map((object, place) => [object.key, place]));
  return (/** @type {number} */ pixel) => {
    const seen = places.get(top[pixel]);
    if (seen === undefined || objects[seen].locked) return;
    const x = pixel % width;
    const beneath = below(objects, seen, x, (pixel - x) / width);
    label[pixel] = beneath ? beneath.class : ground.label[pixel];
    instance[pixel] = beneath ? beneath.writtenId : ground.instance[pixel];
    top[pixel] = beneath ? beneath.key : 0;
  };
}

/**
 * The next object beneath one at a pixel.
 * @param {readonly Obj[]} objects @param {number} seen @param {number} x @param {number} y
 */
function below(objects, seen, x, y) {
  for (let place = seen - 1; place >= 0; place -= 1) {
    if (!objects[place].hidden && holds(objects[place].mask, x, y)) return objects[place];
  }
  return null;
}
