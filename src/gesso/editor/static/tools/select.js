// Select, move and scale objects. A drag on the ground moves the view.

import { moveObject } from "../model/edits.js";
import { objectAt } from "../model/document.js";
import { moving, namesOf } from "../panels/object_edits.js";
import { outlineOf, trace } from "../view/outlines.js";
import { Previews, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { App } from "../app.js" */
/** @import { Document, Obj, Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

const REACH = 11; // screen pixels around a handle that count as the handle
const STILL = 3; // screen pixels that a click may wander

/**
 * A drag; `drops` is the key of an object that was selected before, and is no longer when the pointer is lifted where it went down.
 * @typedef {{kind: "move"|"scale"|"pan", from: Point, moved: boolean, drops: number|null, edit: (document: Document) => Document}} Drag
 */

export class Select extends Tool {
  /** @type {Drag|null} */
  #drag = null;
  /** @type {Obj|null} */
  #under = null;
  /** Whether a click adds to what is selected, as with Shift: for fingers. */
  several = false;

  /** @param {App} app @param {View} view */
  constructor(app, view) {
    super(app, view);
    this.cursor = "default";
    this.previews = new Previews(app);
  }

  tip() {
    if (this.several) return "Click objects to select them, and again to leave them out";
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
      const more = at.shift || at.ctrl || this.several;
      const { selection } = app;
      const had = selection.has(hit.key);
      if (!had) app.select(more ? [...selection, hit.key] : [hit.key]);
      this.#begin("move", at, more && had ? hit.key : null);
    }
  }

  /** @param {Drag["kind"]} kind @param {At} at @param {number|null} [drops] */
  #begin(kind, at, drops = null) {
    this.#drag = { kind, from: at.point, moved: false, drops, edit: (document) => document };
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
    return moving(this.app, Math.round(across), Math.round(down));
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
    if (drag.moved && drag.kind !== "pan") app.apply(`${drag.kind === "move" ? "Move" : "Scale"} ${namesOf(app, app.selected)}`, drag.edit);
    else if (drag.drops !== null) app.select([...app.selection].filter((key) => key !== drag.drops));
    else if (drag.kind === "pan" && !drag.moved) app.select([]);
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

/** The select tool of an app, once it has panes. @param {App} app @returns {Select|null} */
export function selectOf({ pointers }) {
  const tool = pointers?.tools.select;
  return tool instanceof Select ? tool : null;
}

/** Let clicks add to what is selected, or no longer. @param {App} app */
export function toggleSeveral(app) {
  const tool = selectOf(app);
  if (!tool) return;
  tool.several = !tool.several;
  app.emit("tool");
}
