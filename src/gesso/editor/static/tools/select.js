// Select, move and scale objects. A drag on the ground moves the view.

import { moveObject } from "../model/edits.js";
import { objectAt } from "../model/document.js";
import { outlineOf, trace } from "../view/outlines.js";
import { Previews, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { App } from "../app.js" */
/** @import { Document, Obj, Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

const REACH = 11; // screen pixels around a handle that count as the handle
const STILL = 3; // screen pixels that a click may wander

/** @typedef {{kind: "move"|"scale"|"pan"|"none", from: Point, moved: boolean, edit: (document: Document) => Document}} Drag */

export class Select extends Tool {
  /** @type {Drag|null} */
  #drag = null;
  /** @type {Obj|null} */
  #under = null;

  /** @param {App} app @param {View} view */
  constructor(app, view) {
    super(app, view);
    this.cursor = "default";
    this.previews = new Previews(app);
  }

  tip() {
    return this.app.selection.size ? "Drag: move · corners: scale · arrows: nudge" : "Click an object · Shift: several";
  }

  /** @param {At} at */
  down(at) {
    const { app } = this;
    const scaled = this.#handle(at.point);
    const hit = objectAt(app.document, at.pixel.x, at.pixel.y);
    app.place = at.pixel;
    if (scaled) this.#begin("scale", at);
    else if (!hit) this.#begin("pan", at);
    else {
      this.#choose(hit.key, at.shift || at.ctrl);
      this.#begin("move", at);
    }
  }

  /** @param {number} key @param {boolean} more */
  #choose(key, more) {
    const { selection } = this.app;
    if (!more) {
      if (!selection.has(key)) this.app.select([key]);
    } else this.app.select(selection.has(key) ? [...selection].filter((other) => other !== key) : [...selection, key]);
  }

  /** @param {Drag["kind"]} kind @param {At} at */
  #begin(kind, at) {
    this.#drag = { kind, from: at.point, moved: false, edit: (document) => document };
    this.busy = true;
  }

  /** @param {At[]} ats */
  move(ats) {
    const drag = this.#drag;
    const at = ats[ats.length - 1];
    if (!drag) return;
    const [dx, dy] = [at.point.x - drag.from.x, at.point.y - drag.from.y];
    if (!drag.moved && Math.hypot(dx, dy) < STILL * this.view.pixel) return;
    drag.moved = true;
    if (drag.kind === "pan") {
      this.view.panBy(dx / this.view.pixel, dy / this.view.pixel);
      return;
    }
    drag.edit = drag.kind === "move" ? this.#moving(dx, dy, at.shift) : this.#scaling(drag.from, at.point);
    this.previews.want(() => drag.edit(this.app.document));
  }

  /** @param {number} dx @param {number} dy @param {boolean} straight @returns {(document: Document) => Document} */
  #moving(dx, dy, straight) {
    const [across, down] = straight ? (Math.abs(dx) > Math.abs(dy) ? [dx, 0] : [0, dy]) : [dx, dy];
    return nudge(this.app, Math.round(across), Math.round(down));
  }

  /** The foot of the object stays; its corner follows the pointer. @param {Point} from @param {Point} to */
  #scaling(from, to) {
    const [object] = this.app.selected;
    const { x, y, width, height } = object.mask;
    const foot = { x: x + width / 2, y: y + height };
    const size = (/** @type {Point} */ point) => Math.hypot(point.x - foot.x, point.y - foot.y);
    const scale = Math.max(size(to) / Math.max(size(from), 1), 1 / Math.max(width, height));
    return (/** @type {Document} */ document) => moveObject(document, object.key, 0, 0, scale);
  }

  up() {
    const drag = this.#end();
    if (!drag) return;
    const { app } = this;
    if (drag.moved && (drag.kind === "move" || drag.kind === "scale")) {
      app.apply(`${drag.kind === "move" ? "Move" : "Scale"} ${said(app)}`, drag.edit);
    } else if (drag.kind === "pan" && !drag.moved) app.select([]);
  }

  cancel() {
    if (this.#end()) this.app.preview(null);
  }

  /** @param {string} key */
  key(key) {
    if (key !== "Escape" || !this.busy) return false;
    this.cancel();
    return true;
  }

  #end() {
    const drag = this.#drag;
    this.previews.stop();
    this.#drag = null;
    this.busy = false;
    return drag;
  }

  /** @param {At} at */
  hover(at) {
    const under = objectAt(this.app.document, at.pixel.x, at.pixel.y);
    const cursor = this.#handle(at.point) ? "nwse-resize" : under ? "move" : "default";
    if (under !== this.#under || cursor !== this.cursor) this.view.refresh("over");
    this.#under = under;
    this.cursor = cursor;
  }

  /** Whether a point is at a corner of the one selected object. @param {Point} point */
  #handle(point) {
    const selected = this.app.selected;
    if (selected.length !== 1 || selected[0].locked) return false;
    const { x, y, width, height } = selected[0].mask;
    const near = REACH * this.view.pixel;
    // of small objects the middle is left for moving them
    const inside = Math.min(near, width / 4, height / 4);
    const at = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
      (value > low - near && value < low + inside) || (value > high - inside && value < high + near);
    return at(point.x, x, x + width) && at(point.y, y, y + height);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} pixel */
  draw(context, pixel) {
    const under = this.#under;
    if (!under || this.busy || this.app.selection.has(under.key)) return;
    trace(context, outlineOf(under.mask), pixel, { width: 1, dash: [3, 3] });
  }
}

/** What is selected, in words. @param {App} app */
export function said(app) {
  const { selected } = app;
  return selected.length === 1 ? app.classOf(selected[0].class).name : `${selected.length} objects`;
}

/** An edit that moves what is selected and not locked. @param {App} app @param {number} dx @param {number} dy */
export function nudge(app, dx, dy) {
  const keys = app.selected.filter(({ locked }) => !locked).map(({ key }) => key);
  return (/** @type {Document} */ document) =>
    dx || dy ? keys.reduce((moved, key) => moveObject(moved, key, dx, dy), document) : document;
}
