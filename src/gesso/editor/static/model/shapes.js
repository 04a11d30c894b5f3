// Sets of pixels as shapes: their connected parts, their outlines, and growing and shrinking them by a disc.

/** @import {Mask, Point} from "./types.js" */

import { halfWidths } from "./raster.js";
import { tight } from "./masks.js";

/**
 * Its connected parts, the largest first, of equals in reading order.
 * @param {Mask} mask @param {4 | 8} [neighbours] 8: pixels that touch at a corner belong together @returns {Mask[]}
 */
export function components(mask, neighbours = 8) {
  const parts = [];
  const waiting = mask.bits.slice();
  const stack = new Int32Array(waiting.length);
  for (let start = waiting.indexOf(1); start >= 0; start = waiting.indexOf(1, start + 1)) {
    const count = collect(waiting, mask, start, neighbours, stack);
    parts.push(cutOut(mask, stack.slice(0, count)));
  }
  return parts.sort((one, other) => other.count - one.count).map((part) => part.mask);
}

/**
 * Take the part around a cell out of `waiting`; its cells are the first ones of `found`, as many as returned.
 * @param {Uint8Array} waiting @param {Mask} size @param {number} start @param {4 | 8} neighbours @param {Int32Array} found
 */
function collect(waiting, { width, height }, start, neighbours, found) {
  let count = 1;
  found[0] = start;
  waiting[start] = 0;
  for (let next = 0; next < count; next += 1) {
    const x = found[next] % width;
    const y = (found[next] - x) / width;
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row += 1) {
      for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column += 1) {
        const cell = row * width + column;
        if (!waiting[cell] || (neighbours === 4 && row !== y && column !== x)) continue;
        waiting[cell] = 0;
        found[count] = cell;
        count += 1;
      }
    }
  }
  return count;
}

/** @param {Mask} mask @param {Int32Array} cells at least one */
function cutOut(mask, cells) {
  let [left, top, right, bottom] = [mask.width, mask.height, 0, 0];
  for (const cell of cells) {
    const x = cell % mask.width;
    const y = (cell - x) / mask.width;
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y + 1);
  }
  const width = right - left;
  const bits = new Uint8Array(width * (bottom - top));
  for (const cell of cells) bits[(Math.floor(cell / mask.width) - top) * width + (cell % mask.width) - left] = 1;
  return { count: cells.length, mask: { x: mask.x + left, y: mask.y + top, width, height: bottom - top, bits } };
}

// Steps of the outline by direction: right, down, left, up. The set lies to the right of each step.
const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];

/**
 * The border between a set and what is not in it, along the edges of pixels: closed loops of corner points (the first is not
 * repeated), outer ones clockwise, those of holes counterclockwise. Pixels that touch at a corner only are apart.
 * @param {Mask} mask @returns {Point[][]}
 */
export function outline(mask) {
  const { width, height, bits } = mask;
  const at = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < width && y < height && bits[y * width + x] === 1;
  const seen = new Uint8Array(width * (height + 1)); // upper edges that a loop has gone along, to the right
  const lower = new Uint8Array(width * (height + 1)); // lower edges, gone along to the left
  const loops = [];
  for (let y = 0; y <= height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [here, above] = [at(x, y), at(x, y - 1)];
      if (here && !above && !seen[y * width + x]) loops.push(trace(mask, at, x, y, 0, seen, lower));
      if (above && !here && !lower[y * width + x]) loops.push(trace(mask, at, x + 1, y, 2, seen, lower));
    }
  }
  return loops;
}

/**
 * One loop from a corner.
 * @param {Mask} mask @param {(x: number, y: number) => boolean} at @param {number} startX @param {number} startY
 * @param {number} start direction @param {Uint8Array} seen @param {Uint8Array} lower @returns {Point[]}
 */
function trace(mask, at, startX, startY, start, seen, lower) {
  const loop = [];
  let [x, y, direction] = [startX, startY, start];
  let before = -1;
  do {
    if (direction !== before) loop.push({ x: x + mask.x, y: y + mask.y });
    if (direction === 0) seen[y * mask.width + x] = 1;
    if (direction === 2) lower[y * mask.width + x - 1] = 1;
    x += STEP_X[direction];
    y += STEP_Y[direction];
    before = direction;
    direction = turn(at, x, y, direction);
  } while (x !== startX || y !== startY || direction !== start);
  if (before === start) loop.shift(); // it started in the middle of a side
  return loop;
}

/** The next direction at a corner: as far to the right as the set allows. @param {(x: number, y: number) => boolean} at
 * @param {number} x @param {number} y @param {number} direction */
function turn(at, x, y, direction) {
  const right = (direction + 1) % 4;
  // The two pixels ahead of the step, to its right and to its left.
  const ahead = [
    [at(x, y), at(x, y - 1)],
    [at(x - 1, y), at(x, y)],
    [at(x - 1, y - 1), at(x - 1, y)],
    [at(x, y - 1), at(x - 1, y - 1)],
  ][direction];
  if (!ahead[0]) return right;
  return ahead[1] ? (direction + 3) % 4 : direction;
}

/**
 * The set and all pixels within a distance of it.
 * @param {Mask} mask @param {number} radius whole pixels @returns {Mask}
 */
export function dilate(mask, radius) {
  if (radius < 1) return mask;
  const [width, height] = [mask.width + 2 * radius, mask.height + 2 * radius];
  const halves = halfWidths(2 * radius + 1);
  const bits = new Uint8Array(width * height);
  for (let row = 0; row < mask.height; row += 1) {
    for (const [from, to] of runs(mask.bits, row * mask.width, mask.width)) {
      for (let dy = -radius; dy <= radius; dy += 1) {
        const half = halves[dy + radius];
        const start = (row + dy + radius) * width + radius;
        bits.fill(1, start + from - half, start + to + half);
      }
    }
  }
  return { x: mask.x - radius, y: mask.y - radius, width, height, bits };
}

/**
 * The pixels of a set that are further than a distance from all others; null when none.
 * @param {Mask} mask @param {number} radius whole pixels @returns {Mask | null}
 */
export function erode(mask, radius) {
  if (radius < 1) return mask;
  const [width, height] = [mask.width + 2, mask.height + 2];
  const outside = new Uint8Array(width * height).fill(1);
  for (let row = 0; row < mask.height; row += 1) {
    for (let column = 0; column < mask.width; column += 1) {
      outside[(row + 1) * width + column + 1] = mask.bits[row * mask.width + column] ^ 1;
    }
  }
  const grown = dilate({ x: 0, y: 0, width, height, bits: outside }, radius);
  const bits = new Uint8Array(mask.bits.length);
  for (let row = 0; row < mask.height; row += 1) {
    const from = (row + 1 + radius) * grown.width + 1 + radius;
    for (let column = 0; column < mask.width; column += 1) bits[row * mask.width + column] = grown.bits[from + column] ^ 1;
  }
  return tight(bits, mask.width, mask.height, mask.x, mask.y);
}

/** Without what is narrower than a disc; null when nothing is left. @param {Mask} mask @param {number} radius */
export function open(mask, radius) {
  const smaller = erode(mask, radius);
  return smaller && dilate(smaller, radius);
}

/** With holes and bays closed that are narrower than a disc. @param {Mask} mask @param {number} radius @returns {Mask} */
export function close(mask, radius) {
  return erode(dilate(mask, radius), radius) ?? mask;
}

/** Runs of ones as [from, to) columns. @param {Uint8Array} bits @param {number} offset @param {number} width */
export function runs(bits, offset, width) {
  /** @type {[number, number][]} */
  const found = [];
  for (let column = 0; column < width; column += 1) {
    if (!bits[offset + column]) continue;
    const from = column;
    while (column < width && bits[offset + column]) column += 1;
    found.push([from, column]);
  }
  return found;
}
