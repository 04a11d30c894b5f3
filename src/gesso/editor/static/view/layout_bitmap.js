// The layout as a picture in class colours, one pixel per pixel: hard-edged, and quick to change in places.

import { flatten } from "../model/document.js";

/** @import { Class, Document, Flat, Rect } from "../model/types.js" */

const STRIPE = 0xff4a4444; // of ignored pixels; bytes as alpha, blue, green, red
const GROUND = 0xff1c1919;

/** @type {WeakMap<Document, Flat>} */
const flats = new WeakMap();

/** What is seen of a document at every pixel; worked out once, and not to be written into. @param {Document} document @returns {Flat} */
export function flat(document) {
  let found = flats.get(document);
  if (!found) {
    found = flatten(document);
    flats.set(document, found);
  }
  return found;
}

/**
 * Like `flat`, but to be written into: it is not handed out for this document any more, until `giveBack`.
 * @param {Document} document
 */
export function borrow(document) {
  const found = flat(document);
  flats.delete(document);
  return found;
}

/** What was borrowed shows this document now. @param {Document} document @param {Flat} found */
export function giveBack(document, found) {
  flats.set(document, found);
}

export class LayoutBitmap {
  /** @param {Class[]} classes */
  constructor(classes) {
    this.canvas = document.createElement("canvas");
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("This browser gives no canvas.");
    this.context = context;
    this.colours = Uint32Array.from(classes, ({ colour: [red, green, blue] }) => 0xff000000 + (blue << 16) + (green << 8) + red);
    this.pixels = context.createImageData(1, 1);
    this.words = new Uint32Array(this.pixels.data.buffer);
  }

  /** Draw all of a layout. @param {Flat} seen @param {number} width @param {number} height */
  show(seen, width, height) {
    if (this.canvas.width !== width || this.canvas.height !== height || this.words.length !== width * height) {
      Object.assign(this.canvas, { width, height });
      this.pixels = this.context.createImageData(width, height);
      this.words = new Uint32Array(this.pixels.data.buffer);
    }
    this.update(seen, { x: 0, y: 0, width, height });
  }

  /** Draw a part of it that changed. @param {Flat} seen @param {Rect} rect */
  update({ label }, rect) {
    const { words, colours, canvas } = this;
    const [left, top] = [Math.max(0, rect.x), Math.max(0, rect.y)];
    const [right, bottom] = [Math.min(canvas.width, rect.x + rect.width), Math.min(canvas.height, rect.y + rect.height)];
    if (left >= right || top >= bottom) return;
    for (let y = top; y < bottom; y += 1) {
      const row = y * canvas.width;
      for (let x = left; x < right; x += 1) {
        const index = label[row + x];
        words[row + x] = index < colours.length ? colours[index] : stripe(x, y);
      }
    }
    this.context.putImageData(this.pixels, 0, 0, left, top, right - left, bottom - top);
  }
}

/** @param {number} x @param {number} y */
const stripe = (x, y) => ((x + y) & 4 ? STRIPE : GROUND);
