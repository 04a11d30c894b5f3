// What every tool can be told, and what tools share: which object a stroke goes into, and previews at a bearable pace.

import { Refusal } from "../model/document.js";
import { shared } from "../model/masks.js";

/** @import { App } from "../app.js" */
/** @import { Document, Mask, Obj, Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

/**
 * A pointer, as tools are told of it: `point` with fractions and `pixel` in the picture, the keys that are held, and how hard a
 * pen is pressed (1 for mouse and fingers).
 * @typedef {{point: Point, pixel: Point, shift: boolean, ctrl: boolean, alt: boolean, pressure: number}} At
 */

/** A tool that does nothing; the others say what they do instead. */
export class Tool {
  /** Whether something is begun that Escape would cancel. */
  busy = false;
  cursor = "crosshair";
  /** @param {App} app @param {View} view */
  constructor(app, view) {
    this.app = app;
    this.view = view;
  }

  /** What to do next, for the status line. @returns {string} */
  tip() {
    return "";
  }

  /** @param {At} at */
  down(at) {}

  /** @param {At[]} ats every place since the last call, the newest last */
  move(ats) {}

  /** @param {At} at */
  up(at) {}

  /** The pointer moves without a button. @param {At} at */
  hover(at) {}

  doubleClick() {}

  /** Forget what was begun. */
  cancel() {}

  /** The pointer was taken away: by a second finger, the system, or another document. */
  interrupt() {
    this.cancel();
  }

  /** Whether a key was meant for what was begun. @param {string} key @returns {boolean} */
  key(key) {
    return false;
  }

  /**
   * Draw a preview in pixels of the picture.
   * @param {CanvasRenderingContext2D} context @param {number} pixel a screen pixel @param {At|null} at the pointer, when it is over a pane
   * @param {boolean} isPhotograph whether what lies beneath should stay visible
   */
  draw(context, pixel, at, isPhotograph) {}
}

const NEAR = 6; // pixels beyond the brush within which a stroke belongs to the selected object

/**
 * Where paint of the present class goes: an object's key, "new", or null for classes that are not countable. A stroke that begins
 * at an object of its class (the selected one, if it is that near) adds to it, unless new objects are asked for.
 * @param {App} app @param {Point} point where the stroke begins @param {number} [reach] pixels around it
 * @returns {number|"new"|null}
 */
export function target(app, point, reach = 0) {
  const { classIndex, newObject } = app.tool;
  if (!app.classOf(classIndex).thing) return null;
  if (newObject) return "new";
  const fits = app.document.objects.filter((object) => object.class === classIndex && !object.locked && !object.hidden);
  const selected = fits.find(({ key, mask }) => app.selection.has(key) && near(mask, point, reach + NEAR));
  return (selected ?? fits.findLast(({ mask }) => near(mask, point, 0)))?.key ?? "new";
}

/** Whether a mask has a pixel in a square around a point. @param {Mask} mask @param {Point} point @param {number} reach */
function near(mask, point, reach) {
  const [x, y] = [Math.floor(point.x - reach), Math.floor(point.y - reach)];
  const side = 2 * Math.ceil(reach) + 1;
  const common = shared(mask, { x, y, width: side, height: side });
  if (!common) return false;
  for (let row = common.y; row < common.y + common.height; row += 1) {
    const from = (row - mask.y) * mask.width + common.x - mask.x;
    if (mask.bits.subarray(from, from + common.width).includes(1)) return true;
  }
  return false;
}

/** What the history says of paint. @param {App} app @param {boolean} erases */
export const naming = (app, erases) => (erases ? "Erase" : `Paint ${app.classOf(app.tool.classIndex).name}`);

/** Keys to select after painting: the object painted into. @param {{key: number|null}} made */
export const selecting = (made) => (made.key === null ? {} : { select: [made.key] });

const LEAST = 40; // ms between two previews

/** Shows unrecorded documents while something is drawn, so often that making them takes a quarter of the time at most. */
export class Previews {
  /** @type {(() => Document|null)|null} */
  #make = null;
  /** @type {ReturnType<typeof setTimeout>|null} */
  #timer = null;
  #earliest = 0;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
  }

  /** @param {() => Document|null} make null leaves what is shown */
  want(make) {
    this.#make = make;
    this.#timer ??= setTimeout(() => this.#run(), Math.max(0, this.#earliest - performance.now()));
  }

  /** Nothing is drawn any more. */
  stop() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#make = null;
  }

  #run() {
    this.#timer = null;
    const start = performance.now();
    const document = this.#made();
    if (document) this.app.preview(document);
    const now = performance.now();
    this.#earliest = now + Math.max(LEAST, 3 * (now - start));
  }

  /** What cannot be is not shown; it is said when the pointer is lifted. */
  #made() {
    try {
      return this.#make?.() ?? null;
    } catch (error) {
      if (error instanceof Refusal) return null;
      throw error;
    }
  }
}
