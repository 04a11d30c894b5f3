// What is drawn above the panes: outlines of objects, boundaries between regions, and the preview of a tool.

import { outline } from "../model/shapes.js";

/** @import { Document, Flat, Mask, Point, Rect } from "../model/types.js" */

const LIGHT = "rgba(255, 255, 255, .95)";
const DARK = "rgba(0, 0, 0, .7)";
const RED = "rgba(255, 120, 108, .98)";

/** @type {WeakMap<Mask, Path2D>} */
const paths = new WeakMap();

/** The outline of a mask in pixels of the picture; traced once. @param {Mask} mask */
export function outlineOf(mask) {
  let path = paths.get(mask);
  if (!path) {
    path = pathOf(outline(mask), true);
    paths.set(mask, path);
  }
  return path;
}

/** @param {readonly (readonly Point[])[]} lines @param {boolean} closed */
export function pathOf(lines, closed) {
  const path = new Path2D();
  for (const points of lines) {
    points.forEach(({ x, y }, place) => (place ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (closed) path.closePath();
  }
  return path;
}

/**
 * A line that is seen on every ground: light within dark. The context is in pixels of the picture.
 * @param {CanvasRenderingContext2D} context @param {Path2D} path @param {number} pixel one screen pixel in pixels of the picture
 * @param {{width?: number, dash?: number[], colour?: string}} [how] in screen pixels
 */
export function trace(context, path, pixel, { width = 1.5, dash = [], colour = LIGHT } = {}) {
  context.lineJoin = "round";
  context.setLineDash([]);
  context.strokeStyle = DARK;
  context.lineWidth = (width + 2) * pixel;
  context.stroke(path);
  context.setLineDash(dash.map((length) => length * pixel));
  context.strokeStyle = colour;
  context.lineWidth = width * pixel;
  context.stroke(path);
  context.setLineDash([]);
}

/**
 * The circle of a brush, red when it erases; a cross marks its middle when it is large.
 * @param {CanvasRenderingContext2D} context @param {Point} at @param {number} diameter @param {number} pixel @param {boolean} erases
 */
export function brushCircle(context, { x, y }, diameter, pixel, erases) {
  const path = new Path2D();
  path.arc(x, y, Math.max(diameter / 2, 1.5 * pixel), 0, 2 * Math.PI);
  trace(context, path, pixel, { colour: erases ? RED : LIGHT });
}

/** The four handles of a box, in screen pixels wide. @param {CanvasRenderingContext2D} context @param {Rect} box @param {number} pixel */
export function handles(context, { x, y, width, height }, pixel) {
  const frame = new Path2D();
  frame.rect(x, y, width, height);
  trace(context, frame, pixel, { width: 1, dash: [4, 4] });
  for (const [left, top] of [[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) {
    const path = new Path2D();
    path.rect(left - 4 * pixel, top - 4 * pixel, 8 * pixel, 8 * pixel);
    trace(context, path, pixel, { width: 1 });
    context.fillStyle = "#fff";
    context.fill(path);
  }
}

/** Lines between neighbouring pixels of different class or id. @param {Flat} flat @param {Document} document */
export function boundaries({ label, instance }, { width, height }) {
  const path = new Path2D();
  const differ = (/** @type {number} */ one, /** @type {number} */ other) =>
    label[one] !== label[other] || instance[one] !== instance[other];
  for (let y = 0; y < height; y += 1) {
    for (let x = 1, at = y * width + 1; x < width; x += 1, at += 1) {
      if (!differ(at, at - 1) || (y > 0 && differ(at - width, at - width - 1))) continue; // not where a line begins
      let end = y + 1;
      while (end < height && differ(end * width + x, end * width + x - 1)) end += 1;
      path.moveTo(x, y);
      path.lineTo(x, end);
    }
  }
  for (let y = 1; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!differ(y * width + x, (y - 1) * width + x)) continue;
      const start = x;
      while (x + 1 < width && differ(y * width + x + 1, (y - 1) * width + x + 1)) x += 1;
      path.moveTo(start, y);
      path.lineTo(x + 1, y);
    }
  }
  return path;
}
