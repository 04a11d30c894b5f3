// Sets of pixels: how they are joined, moved, scaled, cut up and traced. Semantics are those of gesso.synthesis.editing.masks.

/** @import {Mask, Rect} from "./types.js" */

export { close, components, dilate, erode, open, outline } from "./shapes.js";

/**
 * The set of the cells that are not 0, whose first lies at (x, y); null when there is none.
 * @param {Uint8Array} bits @param {number} width of the cells @param {number} height @param {number} [x] @param {number} [y]
 * @returns {Mask | null}
 */
export function tight(bits, width, height, x = 0, y = 0) {
  const first = bits.indexOf(1);
  if (first < 0) return null;
  const top = Math.floor(first / width);
  const bottom = Math.floor(bits.lastIndexOf(1) / width) + 1;
  let left = width;
  let right = 0;
  for (let row = top; row < bottom; row += 1) {
    const from = row * width;
    for (let column = 0; column < left; column += 1) if (bits[from + column]) left = column;
    for (let column = width - 1; column >= right; column -= 1) if (bits[from + column]) right = column + 1;
  }
  if (left === 0 && top === 0 && right === width && bottom === height) return { x, y, width, height, bits };
  const cells = new Uint8Array((right - left) * (bottom - top));
  for (let row = top; row < bottom; row += 1) {
    cells.set(bits.subarray(row * width + left, row * width + right), (row - top) * (right - left));
  }
  return { x: x + left, y: y + top, width: right - left, height: bottom - top, bits: cells };
}

/** How many pixels are in the set. @param {Mask} mask */
export function pixels(mask) {
  let count = 0;
  for (let cell = 0; cell < mask.bits.length; cell += 1) count += mask.bits[cell];
  return count;
}

/** The box alone. @param {Rect} mask @returns {Rect} */
export function box({ x, y, width, height }) {
  return { x, y, width, height };
}

/** What two rectangles share; null when nothing. @param {Rect} one @param {Rect} other @returns {Rect | null} */
export function shared(one, other) {
  const x = Math.max(one.x, other.x);
  const y = Math.max(one.y, other.y);
  const width = Math.min(one.x + one.width, other.x + other.width) - x;
  const height = Math.min(one.y + one.height, other.y + other.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}

/**
 * The smallest rectangle around two, either of which may be missing.
 * @param {Rect | null} one @param {Rect | null} other @returns {Rect | null}
 */
export function hull(one, other) {
  if (!one || !other) return one ?? other;
  const x = Math.min(one.x, other.x);
  const y = Math.min(one.y, other.y);
  const right = Math.max(one.x + one.width, other.x + other.width);
  const bottom = Math.max(one.y + one.height, other.y + other.height);
  return { x, y, width: right - x, height: bottom - y };
}

/** Whether a pixel is in the set. @param {Mask} mask @param {number} x @param {number} y */
export function holds(mask, x, y) {
  const column = x - mask.x;
  const row = y - mask.y;
  const inside = column >= 0 && row >= 0 && column < mask.width && row < mask.height;
  return inside && mask.bits[row * mask.width + column] === 1;
}

/** Whether two sets share a pixel. @param {Mask} one @param {Mask} other */
export function meets(one, other) {
  const common = shared(one, other);
  if (!common) return false;
  for (let y = common.y; y < common.y + common.height; y += 1) {
    let mine = (y - one.y) * one.width + common.x - one.x;
    let theirs = (y - other.y) * other.width + common.x - other.x;
    for (let count = 0; count < common.width; count += 1) {
      if (one.bits[mine] & other.bits[theirs]) return true;
      mine += 1;
      theirs += 1;
    }
  }
  return false;
}

/**
 * The cells of a set within a rectangle, 0 where the set has none.
 * @param {Mask} mask @param {Rect} rect @returns {Uint8Array} of the rectangle's size
 */
export function cellsIn(mask, rect) {
  const cells = new Uint8Array(rect.width * rect.height);
  const common = shared(mask, rect);
  if (!common) return cells;
  for (let y = common.y; y < common.y + common.height; y += 1) {
    const from = (y - mask.y) * mask.width + common.x - mask.x;
    cells.set(mask.bits.subarray(from, from + common.width), (y - rect.y) * rect.width + common.x - rect.x);
  }
  return cells;
}

/** What lies inside a picture; null when nothing. @param {Mask} mask @param {number} width @param {number} height */
export function clipped(mask, width, height) {
  const common = shared(mask, { x: 0, y: 0, width, height });
  if (!common) return null;
  if (common.width === mask.width && common.height === mask.height) return mask;
  return tight(cellsIn(mask, common), common.width, common.height, common.x, common.y);
}

/** All pixels of several sets. @param {readonly Mask[]} masks at least one @returns {Mask} */
export function union(masks) {
  if (masks.length === 1) return masks[0];
  let whole = box(masks[0]);
  for (const mask of masks) whole = hull(whole, box(mask)) ?? whole;
  const bits = cellsIn(masks[0], whole);
  for (const mask of masks.slice(1)) {
    for (let row = 0; row < mask.height; row += 1) {
      const to = (row + mask.y - whole.y) * whole.width + mask.x - whole.x;
      const from = row * mask.width;
      for (let column = 0; column < mask.width; column += 1) bits[to + column] |= mask.bits[from + column];
    }
  }
  return { ...whole, bits };
}

/** The pixels of one set that are not in another; null when none; the set itself when all. @param {Mask} mask @param {Mask} gone */
export function subtract(mask, gone) {
  if (!meets(mask, gone)) return mask;
  const minus = cellsIn(gone, mask);
  const bits = mask.bits.slice();
  for (let cell = 0; cell < bits.length; cell += 1) bits[cell] &= minus[cell] ^ 1;
  return tight(bits, mask.width, mask.height, mask.x, mask.y);
}

/** The pixels that both sets have; null when none. @param {Mask} one @param {Mask} other @returns {Mask | null} */
export function intersect(one, other) {
  const common = shared(one, other);
  if (!common) return null;
  const bits = cellsIn(one, common);
  const theirs = cellsIn(other, common);
  for (let cell = 0; cell < bits.length; cell += 1) bits[cell] &= theirs[cell];
  return tight(bits, common.width, common.height, common.x, common.y);
}

/** Shifted to the right and down; its cells are shared. @param {Mask} mask @param {number} dx @param {number} dy @returns {Mask} */
export function moved(mask, dx, dy) {
  return { ...mask, x: mask.x + dx, y: mask.y + dy };
}

/** As Python rounds: halves to the even number. @param {number} value */
function rounded(value) {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

/**
 * Scaled by the nearest neighbour about its foot, the middle of its lower edge; null when nothing is left.
 * @param {Mask} mask @param {number} scale new size over old one @returns {Mask | null}
 */
export function scaled(mask, scale) {
  const width = Math.max(1, rounded(mask.width * scale));
  const height = Math.max(1, rounded(mask.height * scale));
  const bits = new Uint8Array(width * height);
  const columns = Array.from({ length: width }, (_, n) => Math.floor(((2 * n + 1) * mask.width) / (2 * width)));
  for (let row = 0; row < height; row += 1) {
    const from = Math.floor(((2 * row + 1) * mask.height) / (2 * height)) * mask.width;
    for (let column = 0; column < width; column += 1) bits[row * width + column] = mask.bits[from + columns[column]];
  }
  return tight(bits, width, height, mask.x + Math.floor((mask.width - width) / 2), mask.y + mask.height - height);
}
