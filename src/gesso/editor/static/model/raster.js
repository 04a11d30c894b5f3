// Shapes as sets of pixels, hard-edged. A pixel belongs to a polygon or an ellipse when its middle does.
// Shapes may lie beyond the picture; `masks.clipped` cuts them.

/** @import {Mask, Point} from "./types.js" */

import { tight } from "./masks.js";

/**
 * How far each row of a disc reaches: a disc of odd diameter covers the columns c - half .. c + half of its middle pixel c, one of
 * even diameter c - half .. c + half - 1 around the corner c. Row by row from the top.
 * @param {number} diameter whole pixels, at least 1 @returns {Int32Array}
 */
export function halfWidths(diameter) {
  const halves = new Int32Array(diameter);
  const odd = diameter % 2;
  const radius = diameter / 2;
  for (let row = 0; row < diameter; row += 1) {
    const dy = row + 0.5 - radius;
    const reach = Math.sqrt(radius * radius - dy * dy);
    // columns whose middles lie within reach of the disc's middle
    halves[row] = odd ? Math.floor(reach) : Math.floor(reach + 0.5);
  }
  return halves;
}

/** The pixel, or the corner for even diameters, at which a disc is centred. @param {number} place @param {number} diameter */
function snapped(place, diameter) {
  return diameter % 2 ? Math.floor(place) : Math.round(place);
}

/**
 * What a round brush covers on a straight way, row by row.
 * @typedef {{ top: number, lefts: Int32Array, rights: Int32Array }} Spans  rights are exclusive; a row is empty where left >= right
 */

/**
 * The discs at every pixel of a straight line from one place to another, as one span per row (without gaps, as the places follow
 * one another).
 * @param {Point} from @param {Point} to @param {number} diameter whole pixels @returns {Spans}
 */
export function segment(from, to, diameter) {
  const [x0, y0, x1, y1] = [from.x, from.y, to.x, to.y].map((place) => snapped(place, diameter));
  const before = Math.floor(diameter / 2); // rows above the centre
  const halves = halfWidths(diameter);
  const top = Math.min(y0, y1) - before;
  const rows = Math.abs(y1 - y0) + diameter;
  const lefts = new Int32Array(rows).fill(2 ** 30);
  const rights = new Int32Array(rows).fill(-(2 ** 30));
  const odd = diameter % 2;
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0));
  for (let step = 0; step <= steps; step += 1) {
    const x = steps ? Math.round(x0 + ((x1 - x0) * step) / steps) : x0;
    const y = steps ? Math.round(y0 + ((y1 - y0) * step) / steps) : y0;
    const first = y - before - top;
    for (let row = 0; row < diameter; row += 1) {
      const half = halves[row];
      if (x - half < lefts[first + row]) lefts[first + row] = x - half;
      if (x + half + odd > rights[first + row]) rights[first + row] = x + half + odd;
    }
  }
  return { top, lefts, rights };
}

/** @param {Spans} spans @returns {Mask | null} */
function maskOf({ top, lefts, rights }) {
  const left = lefts.reduce((one, other) => Math.min(one, other));
  const width = rights.reduce((one, other) => Math.max(one, other)) - left;
  const bits = new Uint8Array(width * lefts.length);
  for (let row = 0; row < lefts.length; row += 1) {
    if (lefts[row] < rights[row]) bits.fill(1, row * width + lefts[row] - left, row * width + rights[row] - left);
  }
  return tight(bits, width, lefts.length, left, top);
}

/** A round brush at one place. @param {number} x @param {number} y @param {number} diameter whole pixels */
export function disc(x, y, diameter) {
  return /** @type {Mask} */ (maskOf(segment({ x, y }, { x, y }, diameter)));
}

/** A straight line with round ends. @param {Point} from @param {Point} to @param {number} diameter whole pixels */
export function line(from, to, diameter) {
  return /** @type {Mask} */ (maskOf(segment(from, to, diameter)));
}

/**
 * A round brush along a way.
 * @param {readonly Point[]} points at least one @param {number} diameter whole pixels @returns {Mask}
 */
export function stroke(points, diameter) {
  const ways = points.map((point, place) => segment(points[Math.max(place - 1, 0)], point, diameter));
  const top = Math.min(...ways.map((way) => way.top));
  const bottom = Math.max(...ways.map((way) => way.top + way.lefts.length));
  const left = Math.min(...ways.map((way) => Math.min(...way.lefts)));
  const width = Math.max(...ways.map((way) => Math.max(...way.rights))) - left;
  const bits = new Uint8Array(width * (bottom - top));
  for (const way of ways) {
    way.lefts.forEach((start, row) => {
      const offset = (row + way.top - top) * width - left;
      if (start < way.rights[row]) bits.fill(1, offset + start, offset + way.rights[row]);
    });
  }
  return /** @type {Mask} */ (tight(bits, width, bottom - top, left, top));
}

/** The pixels of two opposite corners, and the first and last row and column between them. @param {Point} from @param {Point} to */
function corners(from, to) {
  const [x0, y0, x1, y1] = [from.x, from.y, to.x, to.y].map(Math.floor);
  const [x, y] = [Math.min(x0, x1), Math.min(y0, y1)];
  return { x, y, width: Math.abs(x1 - x0) + 1, height: Math.abs(y1 - y0) + 1 };
}

/** The rectangle between the pixels of two corners, both of them in it. @param {Point} from @param {Point} to @returns {Mask} */
export function rectangle(from, to) {
  const rect = corners(from, to);
  return { ...rect, bits: new Uint8Array(rect.width * rect.height).fill(1) };
}

/**
 * The ellipse that touches the sides of that rectangle from within; its middle rows and columns are there even where it is so
 * narrow that its ends hold no middle of a pixel.
 * @param {Point} from @param {Point} to @returns {Mask}
 */
export function ellipse(from, to) {
  const { x, y, width, height } = corners(from, to);
  const bits = new Uint8Array(width * height);
  for (let row = 0; row < height; row += 1) {
    const dy = (2 * row + 1 - height) / height;
    const reach = Math.abs(2 * row + 1 - height) < 2 ? width / 2 : (width / 2) * Math.sqrt(1 - dy * dy);
    const first = Math.min(Math.ceil(width / 2 - reach - 0.5), Math.floor((width - 1) / 2));
    bits.fill(1, row * width + first, (row + 1) * width - first);
  }
  return { x, y, width, height, bits };
}

const NEAR = 1e-6; // of a pixel: closer than this a crossing is compared exactly
const SAME = 1e-12; // of a pixel: closer than this a corner lies on a middle

/**
 * The inside of a polygon by the even-odd rule, with the pixels whose middles lie on its edges: what
 * skimage.draw.polygon(rows - 0.5, columns - 0.5) covers.
 * @param {readonly Point[]} points the last is joined to the first @param {number} [width] of the picture, whose borders cut it
 * @param {number} [height] @returns {Mask | null} null where no middle is inside
 */
export function polygon(points, width = Infinity, height = Infinity) {
  const top = Math.max(Math.floor(Math.min(...points.map((point) => point.y))) - 1, 0);
  const bottom = Math.min(Math.ceil(Math.max(...points.map((point) => point.y))) + 1, height);
  const left = Math.max(Math.floor(Math.min(...points.map((point) => point.x))) - 1, 0);
  const columns = Math.min(Math.ceil(Math.max(...points.map((point) => point.x))) + 1, width) - left;
  if (bottom <= top || columns <= 0) return null;
  const bits = new Uint8Array(columns * (bottom - top));
  const flips = { right: new Uint8Array(columns + 1), left: new Uint8Array(columns + 1) };
  for (let row = top; row < bottom; row += 1) {
    flips.right.fill(0);
    flips.left.fill(0);
    points.forEach((point, place) => cross(points.at(place - 1) ?? point, point, row + 0.5, left, columns, flips));
    let insideLeft = 0;
    let insideRight = flips.right.reduce((one, other) => one ^ other);
    for (let column = 0; column < columns; column += 1) {
      insideLeft ^= flips.left[column];
      insideRight ^= flips.right[column];
      bits[(row - top) * columns + column] = insideLeft | insideRight;
    }
  }
  for (const { x, y } of points) {
    const [column, row] = [Math.round(x - 0.5), Math.round(y - 0.5)];
    const on = Math.abs(x - 0.5 - column) < SAME && Math.abs(y - 0.5 - row) < SAME;
    const inside = column >= left && column < left + columns && row >= top && row < bottom;
    if (on && inside) bits[(row - top) * columns + column - left] = 1;
  }
  return tight(bits, columns, bottom - top, left, top);
}

/**
 * Count one edge on the line through a row's middles. Edges are half-open, downwards for the crossings to the right of a pixel and
 * upwards for those to its left: only on an edge do the two counts differ.
 * @param {Point} from @param {Point} to @param {number} y @param {number} left @param {number} columns
 * @param {{ right: Uint8Array, left: Uint8Array }} flips
 */
function cross(from, to, y, left, columns, flips) {
  const [above, below] = [from.y - y, to.y - y];
  const [toRight, toLeft] = [above > 0 !== below > 0, above < 0 !== below < 0];
  if (!toRight && !toLeft) return;
  const column = from.x + (above * (to.x - from.x)) / (above - below) - left - 0.5; // of the crossing, in middles of pixels
  let [exclusive, inclusive] = [Math.ceil(column), Math.floor(column) + 1];
  const nearest = Math.round(column);
  if (Math.abs(column - nearest) < NEAR) {
    const x = nearest + left + 0.5;
    const side = ((to.x - x) * above - (from.x - x) * below) / (above - below);
    [exclusive, inclusive] = [nearest + (side > 0 ? 1 : 0), nearest + (side < 0 ? 0 : 1)];
  }
  if (toRight) flips.right[Math.min(Math.max(exclusive, 0), columns)] ^= 1;
  if (toLeft) flips.left[Math.min(Math.max(inclusive, 0), columns)] ^= 1;
}
