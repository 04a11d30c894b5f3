// Line, rectangle, ellipse and lasso: drawn by dragging, seen while it is drawn, painted (Ctrl: erased) when the pointer is lifted.

import { erase, paint } from "../model/edits.js";
import { ellipse, line, polygon, rectangle } from "../model/raster.js";
import { brushCircle, outlineOf, trace } from "../view/outlines.js";
import { pick } from "./eyedropper.js";
import { naming, Previews, selecting, target, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { App } from "../app.js" */
/** @import { Document, Mask, Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

const STILL = 3; // screen pixels that a click may wander

/** @typedef {"line"|"rectangle"|"ellipse"|"lasso"} ShapeName */

const TIPS = {
  line: "Shift: at 45° · Ctrl: erase",
  rectangle: "Shift: square · Ctrl: erase",
  ellipse: "Shift: circle · Ctrl: erase",
  lasso: "Draw around an area · Ctrl: erase",
};

export class Shape extends Tool {
  /** Places since the pointer went down. @type {Point[]} */
  #points = [];
  /** @type {Mask|null} */
  #mask = null;
  /** @type {number|"new"|null} */
  #into = null;
  #erases = false;
  #moved = false;

  /** @param {App} app @param {View} view @param {ShapeName} name */
  constructor(app, view, name) {
    super(app, view);
    this.name = name;
    this.previews = new Previews(app);
  }

  tip() {
    return TIPS[this.name];
  }

  /** @param {At} at */
  down(at) {
    if (at.alt) {
      pick(this.app, this.view, at.pixel);
      return;
    }
    this.busy = true;
    this.#points = [at.point];
    this.#moved = false;
    this.#into = target(this.app, at.point);
    this.#shape(at);
  }

  /** @param {At[]} ats */
  move(ats) {
    if (!this.busy) return;
    for (const { point } of ats) this.#points.push(point);
    this.#shape(ats[ats.length - 1]);
    this.previews.want(() => this.#painted(this.app.document)?.document ?? null);
  }

  up() {
    if (!this.busy) return;
    const { app } = this;
    const made = app.attempt(() => this.#painted(app.document));
    this.#end();
    if (made) app.apply(naming(app, this.#erases), () => made.document, selecting(made));
    else app.preview(null);
  }

  cancel() {
    if (!this.busy) return;
    this.#end();
    this.app.preview(null);
  }

  #end() {
    this.previews.stop();
    this.busy = false;
    this.#mask = null;
    this.view.refresh("over");
  }

  /** @param {At} at */
  #shape(at) {
    this.#erases = at.ctrl;
    const [from, to] = [this.#points[0], at.point];
    this.#moved ||= Math.hypot(to.x - from.x, to.y - from.y) >= STILL * this.view.pixel;
    this.#mask = this.#rasterise(from, at.shift ? this.#straight(from, to) : to);
    this.view.refresh("over");
  }

  /** @param {Point} from @param {Point} to */
  #rasterise(from, to) {
    if (this.name === "line") return line(from, to, this.app.tool.size);
    if (!this.#moved) return null; // a click draws nothing
    if (this.name === "rectangle") return rectangle(from, to);
    if (this.name === "ellipse") return ellipse(from, to);
    const { width, height } = this.app.document;
    return this.#points.length > 2 ? polygon(this.#points, width, height) : null;
  }

  /** @param {Point} from @param {Point} to */
  #straight(from, to) {
    return this.name === "line" ? snapped(from, to) : square(from, to);
  }

  /** The document with the shape in it. @param {Document} document @returns {{document: Document, key: number|null}|null} */
  #painted(document) {
    if (!this.#mask) return null;
    if (this.#erases) return { document: erase(document, this.#mask), key: null };
    return paint(document, this.#mask, this.app.tool.classIndex, { into: this.#into });
  }

  /** @param {CanvasRenderingContext2D} context @param {number} pixel @param {At|null} at */
  draw(context, pixel, at) {
    if (this.#mask) trace(context, outlineOf(this.#mask), pixel, { width: 1, colour: this.#erases ? "#ff9a91" : undefined });
    if (this.name === "line" && at && !this.busy) brushCircle(context, at.point, this.app.tool.size, pixel, at.ctrl);
  }
}

/** The nearest place in one of eight directions. @param {Point} from @param {Point} to @returns {Point} */
export function snapped(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const angle = (Math.round((4 * Math.atan2(dy, dx)) / Math.PI) * Math.PI) / 4;
  const length = dx * Math.cos(angle) + dy * Math.sin(angle);
  return { x: from.x + length * Math.cos(angle), y: from.y + length * Math.sin(angle) };
}

/** The opposite corner of a square, in whole pixels of its side. @param {Point} from @param {Point} to @returns {Point} */
export function square(from, to) {
  const [x, y] = [Math.floor(from.x), Math.floor(from.y)];
  const [dx, dy] = [Math.floor(to.x) - x, Math.floor(to.y) - y];
  const side = Math.max(Math.abs(dx), Math.abs(dy));
  return { x: x + (dx < 0 ? -side : side) + 0.5, y: y + (dy < 0 ? -side : side) + 0.5 };
}
