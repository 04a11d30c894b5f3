// Flood filling: which pixels a bucket reaches.

/** @import {Document, Flat, Mask} from "./types.js" */

import { flatten } from "./document.js";
import { squares, underSquares } from "./squares.js";
import { tight } from "./masks.js";

/**
 * The pixels of one value that a pixel is connected with (4 neighbours).
 * @param {ArrayLike<number>} values row by row @param {number} width @param {number} height @param {number} x @param {number} y
 * @param {number} [gap] openings of at most so many pixels do not leak: what lies behind them is reached only where it is itself no
 *   wider than that
 * @returns {Mask | null} null where the pixel is outside of the picture
 */
export function contiguous(values, width, height, x, y, gap = 0) {
  const value = values[y * width + x];
  const region = new Uint8Array(width * height);
  for (let place = 0; place < region.length; place += 1) if (values[place] === value) region[place] = 1;
  return flood(region, width, height, x, y, gap);
}

/**
 * The part of a region around a pixel.
 * @param {Uint8Array} region 1 inside, row by row @param {number} width @param {number} height @param {number} x @param {number} y
 * @param {number} [gap] as in `contiguous` @returns {Mask | null}
 */
export function flood(region, width, height, x, y, gap = 0) {
  if (x < 0 || y < 0 || x >= width || y >= height || !region[y * width + x]) return null;
  const start = y * width + x;
  const found = gap < 1 ? connected(region, width, [start]) : behindGaps(region, width, height, start, gap);
  return tight(found, width, height);
}

/**
 * What is connected with some places of a region, line by line.
 * @param {Uint8Array} region @param {number} width @param {number[]} starts in the region @returns {Uint8Array}
 */
function connected(region, width, starts) {
  const found = new Uint8Array(region.length);
  const stack = [...starts];
  for (let place = stack.pop(); place !== undefined; place = stack.pop()) {
    if (found[place]) continue;
    const row = place - (place % width);
    let [left, right] = [place, place + 1];
    while (left > row && region[left - 1]) left -= 1;
    while (right < row + width && region[right]) right += 1;
    found.fill(1, left, right);
    for (const next of [-width, width]) {
      // one start for each line that touches this one
      for (let there = left + next; there < right + next; there += 1) {
        const begins = there === left + next || !region[there - 1];
        if (region[there] && begins && !found[there]) stack.push(there);
      }
    }
  }
  return found;
}

/**
 * The wide parts of a region are those that squares wider than the gap fit into. Filled is the wide part around the start, with
 * the narrow pixels that are nearer to it than to other wide parts; in a narrow part only that part.
 * @param {Uint8Array} region @param {number} width @param {number} height @param {number} start @param {number} gap
 */
function behindGaps(region, width, height, start, gap) {
  const side = gap + 1;
  const corners = squares(region, region, width, height, side);
  for (let place = 0; place < corners.length; place += 1) corners[place] &= region[place];
  const around = cornersAround(corners, width, height, start, side);
  const wide = underSquares(corners, width, height, side);
  if (!around.length) {
    for (let place = 0; place < wide.length; place += 1) wide[place] = region[place] & (wide[place] ^ 1);
    return connected(wide, width, [start]); // wide holds the narrow pixels now
  }
  const mine = connected(corners, width, around);
  return spread(region, width, underSquares(mine, width, height, side), wide);
}

/** Lower right corners of the squares that a place is in. @param {Uint8Array} corners @param {number} width @param {number} height
 * @param {number} start @param {number} side */
function cornersAround(corners, width, height, start, side) {
  const x = start % width;
  const y = (start - x) / width;
  const found = [];
  for (let row = y; row < Math.min(y + side, height); row += 1) {
    for (let column = x; column < Math.min(x + side, width); column += 1) {
      if (corners[row * width + column]) found.push(row * width + column);
    }
  }
  return found;
}

/**
 * Give narrow pixels to the nearest wide part, wave by wave; which of them are ours.
 * @param {Uint8Array} region @param {number} width @param {Uint8Array} mine @param {Uint8Array} wide all wide parts
 */
function spread(region, width, mine, wide) {
  const [OURS, THEIRS] = [1, 2];
  const owner = new Uint8Array(wide.length);
  for (let place = 0; place < owner.length; place += 1) if (wide[place]) owner[place] = mine[place] ? OURS : THEIRS;
  /** @type {number[]} */
  let edge = [];
  for (const side of [OURS, THEIRS]) {
    for (let place = 0; place < owner.length; place += 1) {
      if (owner[place] === side && open(region, owner, width, place)) edge.push(place);
    }
  }
  while (edge.length) {
    /** @type {number[]} */
    const reached = [];
    for (const place of edge) {
      for (const next of neighbours(place, width, region.length)) {
        if (!region[next] || owner[next]) continue;
        owner[next] = owner[place];
        reached.push(next);
      }
    }
    edge = reached;
  }
  for (let place = 0; place < owner.length; place += 1) if (owner[place] === THEIRS) owner[place] = 0;
  return owner;
}

/** Whether a place has a neighbour that nobody owns. @param {Uint8Array} region @param {Uint8Array} owner @param {number} width
 * @param {number} place */
function open(region, owner, width, place) {
  const x = place % width;
  const free = (/** @type {number} */ there) => region[there] && !owner[there];
  return (x > 0 && free(place - 1)) || (x < width - 1 && free(place + 1)) || free(place - width) || free(place + width);
}

/** @param {number} place @param {number} width @param {number} length of the picture */
function neighbours(place, width, length) {
  const x = place % width;
  const found = x > 0 ? [place - 1] : [];
  if (x < width - 1) found.push(place + 1);
  if (place >= width) found.push(place - width);
  if (place < length - width) found.push(place + width);
  return found;
}

/**
 * What is seen as one with a pixel: connected, of one class and one object or region.
 * @param {Document} document @param {number} x @param {number} y @param {number} [gap] as in `contiguous`
 * @param {Flat} [flat] the document flattened, where that is at hand @returns {Mask | null}
 */
export function sameRegion(document, x, y, gap = 0, flat = flatten(document)) {
  return flood(alike(document, flat, x, y, true), document.width, document.height, x, y, gap);
}

/**
 * All that is seen of the class at a pixel.
 * @param {Document} document @param {number} x @param {number} y @param {Flat} [flat] @returns {Mask | null}
 */
export function wholeClass(document, x, y, flat = flatten(document)) {
  return tight(alike(document, flat, x, y, false), document.width, document.height);
}

/**
 * All that is seen of the object at a pixel, or of the region of the ground.
 * @param {Document} document @param {number} x @param {number} y @param {Flat} [flat] @returns {Mask | null}
 */
export function wholeObject(document, x, y, flat = flatten(document)) {
  return tight(alike(document, flat, x, y, true), document.width, document.height);
}

/** @param {Document} document @param {Flat} flat @param {number} x @param {number} y @param {boolean} oneObject */
function alike({ width, height }, { label, instance, top }, x, y, oneObject) {
  const found = new Uint8Array(width * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return found;
  const at = y * width + x;
  for (let place = 0; place < found.length; place += 1) {
    if (label[place] !== label[at]) continue;
    if (!oneObject || (instance[place] === instance[at] && top[place] === top[at])) found[place] = 1;
  }
  return found;
}
