// Brush and eraser: a round brush of whole pixels. The stroke is seen at once, and recorded when the pointer is lifted.

import { flattenRect } from "../model/document.js";
import { erase } from "../model/edits.js";
import { Painter } from "../model/painter.js";
import { borrow, giveBack } from "../view/layout_bitmap.js";
import { brushCircle } from "../view/outlines.js";
import { pick } from "./eyedropper.js";
import { naming, Previews, selecting, target, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { App } from "../app.js" */
/** @import { Document, Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

const SOFTEST = 0.15; // of the size, at the least pressure

export class Brush extends Tool {
  /** @type {Painter|null} */
  #painter = null;
  /** Where the last stroke ended; Shift draws a straight line from there. @type {Point|null} */
  #last = null;
  #erases = false;
  /** The class that is erased from the ground: where the stroke began. @type {number|undefined} */
  #of = undefined;

  /** @param {App} app @param {View} view @param {boolean} [eraser] */
  constructor(app, view, eraser = false) {
    super(app, view);
    this.eraser = eraser;
    this.previews = new Previews(app);
    this.cursor = "none";
    app.on("document", (what) => {
      if (what === "Open") this.#last = null;
    });
  }

  tip() {
    return this.eraser ? "Shift: straight line · Ctrl: paint" : "Shift: straight line · Ctrl: erase · Alt: pick";
  }

  /** @param {At} at */
  down(at) {
    if (at.alt) {
      pick(this.app, this.view, at.pixel);
      return;
    }
    const { app, view } = this;
    this.#erases = this.eraser !== at.ctrl;
    const { classIndex, size } = app.tool;
    const into = this.#erases ? null : target(app, at.point, size / 2);
    app.preview(null);
    const tool = this.#erases ? "erase" : "paint";
    this.#of = groundAt(app.document, at.pixel);
    this.#painter = new Painter(app.document, { tool, classIndex, into, diameter: size, flat: borrow(app.document) });
    this.busy = true;
    view.live(this.#painter.flat);
    if (at.shift && this.#last) this.#to({ ...at, point: this.#last });
    this.#to(at);
  }

  /** @param {At} at */
  #to(at) {
    const { size, pressure } = this.app.tool;
    const share = pressure ? SOFTEST + (1 - SOFTEST) * at.pressure : 1;
    const rect = this.#painter?.to(at.point.x, at.point.y, Math.max(1, Math.round(size * share)));
    if (rect) this.view.changed(rect);
    this.#last = at.point;
  }

  /** @param {At[]} ats */
  move(ats) {
    const painter = this.#painter;
    if (!painter) return;
    for (const at of ats) this.#to(at);
    this.previews.want(() => this.#soFar(painter));
  }

  /** The document with the stroke in it, and what was painted into. @param {Painter} painter */
  #finished(painter) {
    const mask = this.#erases && painter.mask();
    if (!mask) return painter.finish();
    return { document: erase(painter.document, mask, { of: this.#of }), key: null };
  }

  /** The document with the stroke as it is. What fills erased ground is known only now: it is shown too. @param {Painter} painter */
  #soFar(painter) {
    const { document } = this.#finished(painter);
    if (this.#erases && painter.rect && document !== painter.document) {
      flattenRect(painter.flat, document, painter.rect);
      this.view.changed(painter.rect);
    }
    return document;
  }

  up() {
    const painter = this.#end();
    if (!painter) return;
    const made = this.app.attempt(() => this.#finished(painter));
    if (!made) {
      this.#putBack(painter);
      return;
    }
    if (!this.#erases) giveBack(made.document, named(painter, made.key));
    this.app.apply(naming(this.app, this.#erases), () => made.document, selecting(made));
  }

  cancel() {
    const painter = this.#end();
    if (painter) this.#putBack(painter);
  }

  /** @param {Painter} painter */
  #putBack(painter) {
    painter.cancel();
    giveBack(painter.document, painter.flat);
    this.app.preview(null);
    this.view.show();
  }

  #end() {
    const painter = this.#painter;
    this.previews.stop();
    this.#painter = null;
    this.busy = false;
    this.view.live(null);
    return painter;
  }

  /** @param {CanvasRenderingContext2D} context @param {number} pixel @param {At|null} at */
  draw(context, pixel, at) {
    if (!at) return;
    const { size } = this.app.tool;
    const erases = this.busy ? this.#erases : this.eraser !== at.ctrl;
    // the circle lies where the brush will: centred on a pixel, or on a corner where the size is even
    const snap = (/** @type {number} */ place) => (size % 2 ? Math.floor(place) + 0.5 : Math.round(place));
    brushCircle(context, { x: snap(at.point.x), y: snap(at.point.y) }, size, pixel, erases);
  }
}

/** What the stroke shows, with the key of the object that it made. @param {Painter} painter @param {number|null} key */
function named({ flat, rect, document }, key) {
  if (!rect || key === null) return flat;
  for (let y = rect.y; y < rect.y + rect.height; y += 1) {
    const from = y * document.width;
    for (let at = from + rect.x; at < from + rect.x + rect.width; at += 1) if (flat.top[at] < 0) flat.top[at] = key;
  }
  return flat;
}

/** The class of the ground at a pixel; undefined outside of the picture. @param {Document} document @param {Point} pixel */
function groundAt({ ground, width, height }, { x, y }) {
  return x >= 0 && y >= 0 && x < width && y < height ? ground.label[y * width + x] : undefined;
}
