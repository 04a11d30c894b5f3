// A polygon, corner by corner: Enter, a double click or a click on the first corner closes it.

import { erase, paint } from "../model/edits.js";
import { polygon } from "../model/raster.js";
import { pathOf, trace } from "../view/outlines.js";
import { pick } from "./eyedropper.js";
import { snapped } from "./shapes.js";
import { naming, selecting, target, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { Point } from "../model/types.js" */

const PAUSE = 800; // ms after a click closed it, in which the second of a double click begins no other
const NEAR = 10; // screen pixels within which a click means a corner that is there

export class Polygon extends Tool {
  /** @type {Point[]} */
  #corners = [];
  /** @type {Point|null} */
  #next = null;
  #erases = false;
  #added = false; // whether the pointer that is down added a corner
  #closed = -PAUSE; // when a click closed the last one
  /** @type {number|"new"|null} */
  #into = null;

  tip() {
    const places = this.#corners.length;
    if (!places) return "Click the corners · Ctrl: erase";
    return places < 3 ? "Shift: at 45° · Esc: cancel" : "Enter or double click: close · Backspace: remove the last corner";
  }

  get corners() {
    return this.#corners.length;
  }

  /** @param {At} at */
  down(at) {
    if (at.alt && !this.busy) {
      pick(this.app, this.view, at.pixel);
      return;
    }
    const place = this.#place(at);
    const first = this.#corners[0];
    if (this.#corners.length > 2 && this.#close(first, place)) {
      this.finish();
      this.#closed = performance.now();
      return;
    }
    if (!first) {
      this.#erases = at.ctrl;
      this.#into = target(this.app, place);
    }
    const last = this.#corners[this.#corners.length - 1];
    this.#added = !last || !this.#close(last, place, 2); // the second click of a double one adds no corner
    if (this.#added) this.#corners.push(place);
    this.#next = place;
    this.#changed();
  }

  /** @param {At} at */
  hover(at) {
    if (!this.busy) return;
    this.#next = this.#place(at);
    this.view.refresh("over");
  }

  /** @param {At[]} ats */
  move(ats) {
    this.hover(ats[ats.length - 1]);
  }

  doubleClick() {
    if (this.#corners.length > 2) this.finish();
    else if (this.#corners.length === 1 && performance.now() - this.#closed < PAUSE) this.cancel(); // it closed with its first click
  }

  interrupt() {
    if (this.#added) this.removeLast();
    this.#added = false;
  }

  /** @param {string} key */
  key(key) {
    if (!this.busy) return false;
    if (key === "Enter") this.finish();
    else if (key === "Escape") this.cancel();
    else if (key === "Backspace" || key === "Delete") this.removeLast();
    else return false;
    return true;
  }

  removeLast() {
    this.#corners.pop();
    this.#changed();
  }

  finish() {
    const { app } = this;
    const [corners, erases, into] = [this.#corners, this.#erases, this.#into];
    const { width, height } = app.document;
    const mask = corners.length > 2 ? polygon(corners, width, height) : null;
    this.cancel();
    if (!mask) return;
    const made = app.attempt(() =>
      erases ? { document: erase(app.document, mask), key: null } : paint(app.document, mask, app.tool.classIndex, { into }));
    if (made) app.apply(naming(app, erases), () => made.document, selecting(made));
  }

  cancel() {
    if (!this.#corners.length) return;
    this.#corners = [];
    this.#changed();
  }

  #changed() {
    this.busy = this.#corners.length > 0;
    this.app.emit("tool");
  }

  /** @param {At} at */
  #place(at) {
    const last = this.#corners[this.#corners.length - 1];
    return at.shift && last ? snapped(last, at.point) : at.point;
  }

  /** @param {Point} one @param {Point} other @param {number} [distance] screen pixels */
  #close(one, other, distance = NEAR) {
    return Math.hypot(one.x - other.x, one.y - other.y) <= distance * this.view.pixel;
  }

  /** @param {CanvasRenderingContext2D} context @param {number} pixel @param {unknown} at @param {boolean} isPhotograph */
  draw(context, pixel, at, isPhotograph) {
    if (!this.busy) return;
    const [red, green, blue] = this.app.classOf(this.app.tool.classIndex).colour;
    const points = this.#next ? [...this.#corners, this.#next] : this.#corners;
    context.fillStyle = this.#erases ? "rgb(255 120 108 / .35)" : `rgb(${red} ${green} ${blue} / .55)`;
    if (!isPhotograph) context.fill(pathOf([points], true), "evenodd");
    trace(context, pathOf([points], false), pixel, { colour: this.#erases ? "#ff9a91" : undefined });
    for (const [place, { x, y }] of this.#corners.entries()) {
      const dot = new Path2D();
      dot.arc(x, y, (place ? 3 : 5) * pixel, 0, 2 * Math.PI);
      trace(context, dot, pixel, { width: 1 });
      context.fillStyle = place ? "#fff" : "#e5b86b";
      context.fill(dot);
    }
  }
}
