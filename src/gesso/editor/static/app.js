// What is open, what is selected and which tool is held: the one object that tools, panes and panels share.

import { Refusal } from "./model/document.js";
import { History } from "./model/history.js";

/** @import { Class, Document, Model, Obj } from "./model/types.js" */

/**
 * The tool in hand. `size` is the diameter of brush, eraser and line in pixels; `classIndex` the material (classes.length for
 * ignored); `newObject` whether the next stroke of a countable class begins an object; `fill` what the bucket fills; `gap` the
 * widest opening, in pixels, that it does not leak through; `pressure` whether a pen's pressure sets the size.
 * @typedef {{name: string, size: number, classIndex: number, newObject: boolean, fill: "contiguous"|"class"|"object",
 *   gap: number, pressure: boolean}} Tool
 */
/**
 * What was rendered last: of which document, by which request, as the very bytes that came.
 * @typedef {{bitmap: ImageBitmap, bytes: Uint8Array, request: number, document: Document}} Picture
 */
/**
 * What a message asks the person to do, as a button.
 * @typedef {{label: string, run: () => void}} Action
 */
/**
 * The panes: `toPixel` gives the pixel under a pointer (it may lie outside of the picture), `fit` shows all of it, `overlay`
 * lays a bitmap of the document's size over the photograph (null takes it away), `pointer` is where the pointer is.
 * @typedef {{toPixel: (event: {clientX: number, clientY: number}) => {x: number, y: number}, fit: () => void,
 *   overlay: (bitmap: CanvasImageSource|null) => void, zoomBy: (factor: number) => void, toggle: (what: string) => void}} View
 */
/**
 * Event names and what their listeners are handed:
 * "document" (what: string): the recorded document is another one; "preview": an unrecorded one is shown, or no longer;
 * "selection", "tool", "picture"; "kept": another picture of the photograph that is kept; "connection" (state: "open"|"lost"|"none"); "message" ({text, kind, action, actions});
 * "command" (name): someone pressed a key or button for what a panel does: "help", "save", "open", "faithfulness", "latency",
 * "random"; the palette's are "search", "material-before" and "material-1" to "material-18".
 * @typedef {"document"|"preview"|"selection"|"tool"|"picture"|"kept"|"connection"|"message"|"command"} EventName
 */

/** What there is before something was opened. @type {Tool} */
const FIRST_TOOL = {
  name: "brush", size: 32, classIndex: 0, newObject: false, fill: "contiguous", gap: 0, pressure: false,
};

export const SIZES = { least: 1, most: 512 };

export class App {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();
  /** @type {History} */
  #history;
  /** @type {Document|null} */
  #preview = null;
  #size = { width: 0, height: 0 };

  /**
   * @param {Model} model
   * @param {Document} document what is shown until something is opened
   */
  constructor(model, document) {
    this.model = model;
    this.#history = new History(document);
    this.#size = { width: document.width, height: document.height };
    /** Whether nothing was opened or painted yet. */
    this.empty = true;
    /** Keys of the selected objects. @type {Set<number>} */
    this.selection = new Set();
    /** The pixel that was last clicked with the select tool: where a region of the ground is meant. @type {{x: number, y: number}|null} */
    this.place = null;
    /** @type {Tool} */
    this.tool = { ...FIRST_TOOL };
    /** @type {Picture|null} */
    this.picture = null;
    /** Milliseconds that the pointer handlers took, the last 5000. @type {number[]} */
    this.timings = [];
    /** Set by keepPhotograph. @type {import("./net/keeping.js").Keeping|null} */
    this.keeping = null;
    /** Set by mountView. @type {import("./tools/pointers.js").Pointers|null} */
    this.pointers = null;
    /** Set by mountView. @type {View} */
    this.view = { toPixel: () => ({ x: -1, y: -1 }), fit() {}, overlay() {}, zoomBy() {}, toggle() {} };
  }

  /** The recorded document. */
  get document() {
    return this.#history.current;
  }

  /** What is seen: the unrecorded document of a stroke that is being drawn, or the recorded one. */
  get shown() {
    return this.#preview ?? this.#history.current;
  }

  /** What is seen as the photograph, the lowest first: what the model made, or what was put into the photograph that is kept. */
  get pictures() {
    return this.keeping?.pictures ?? (this.picture ? [this.picture.bitmap] : []);
  }

  get history() {
    return this.#history;
  }

  /** The class of an index; ignored pixels have one too. @param {number} index @returns {Class} */
  classOf(index) {
    return this.model.classes[index]
      ?? { index: this.model.classes.length, name: "ignored", colour: [0, 0, 0], thing: false, value: -1 };
  }

  /** The selected objects, back to front. */
  get selected() {
    return this.document.objects.filter(({ key }) => this.selection.has(key));
  }

  /**
   * Edit the document: one step of undo. An edit that returns the same document is none; a Refusal is said, and changes nothing.
   * @param {string} what said in the history, as "Paint car"
   * @param {(document: Document) => Document} edit
   * @param {{select?: number[]}} [after] keys to select afterwards
   */
  apply(what, edit, { select } = {}) {
    const before = this.document;
    this.#preview = null;
    const after = this.attempt(() => edit(before)) ?? before;
    if (after === before) {
      this.emit("preview");
      return;
    }
    this.empty = false;
    this.#history.record(before, after, what);
    this.#changed(what, select);
  }

  /**
   * Do what the document may refuse; the refusal is said.
   * @template T
   * @param {() => T} act
   * @returns {T|null} null where it was refused
   */
  attempt(act) {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.say(error.message, { kind: "error" });
      return null;
    }
  }

  /** Show a document that is not recorded, while a stroke is drawn; null shows the recorded one again. @param {Document|null} document */
  preview(document) {
    if (this.#preview === document) return;
    this.#preview = document;
    this.emit("preview");
  }

  undo() {
    this.#step(this.#history.undo(), "Undo");
  }

  redo() {
    this.#step(this.#history.redo(), "Redo");
  }

  /** @param {unknown} stepped @param {string} what */
  #step(stepped, what) {
    this.#preview = null;
    if (stepped) this.#changed(what);
    else this.emit("preview");
  }

  /**
   * Open another document. With `keepHistory` this is a step that can be undone, else the history begins with it.
   * @param {Document} document
   * @param {{keepHistory?: boolean, what?: string}} [how]
   */
  replaceDocument(document, { keepHistory = false, what = "Open" } = {}) {
    if (keepHistory) {
      this.apply(what, () => document, { select: [] });
      return;
    }
    this.#preview = null;
    this.#history = new History(document);
    this.empty = false;
    this.#changed(what, []);
  }

  /** @param {string} what @param {number[]} [select] */
  #changed(what, select = [...this.selection]) {
    const there = new Set(this.document.objects.map(({ key }) => key));
    const kept = select.filter((key) => there.has(key));
    const differs = kept.length !== this.selection.size || kept.some((key) => !this.selection.has(key));
    this.selection = new Set(kept);
    const { width, height } = this.document;
    const resized = width !== this.#size.width || height !== this.#size.height;
    this.#size = { width, height };
    this.emit("document", what);
    if (resized) this.view.fit();
    if (differs) this.emit("selection");
  }

  /** @param {Iterable<number>} keys */
  select(keys) {
    this.selection = new Set(keys);
    this.emit("selection");
  }

  /** @param {Partial<Tool>} changes */
  setTool(changes) {
    const size = Math.round(Math.min(SIZES.most, Math.max(SIZES.least, changes.size ?? this.tool.size)));
    this.tool = { ...this.tool, ...changes, size };
    this.emit("tool");
  }

  /** A larger or smaller brush: by a pixel, or by a tenth where it is large. @param {number} steps */
  resizeBrush(steps) {
    const { size } = this.tool;
    this.setTool({ size: size + steps * Math.max(1, Math.round(size / 10)) });
  }

  /** @param {Picture|null} picture */
  setPicture(picture) {
    this.picture = picture;
    this.emit("picture");
  }

  /** @param {string} text @param {{kind?: "info"|"error", action?: Action, actions?: Action[]}} [how] `action` closes the message, `actions` leave it */
  say(text, { kind = "info", action, actions } = {}) {
    this.emit("message", { text, kind, action, actions });
  }

  /** @param {EventName} event @param {(detail: any) => void} listener @returns {() => void} what stops listening */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** @param {EventName} event @param {any} [detail] */
  emit(event, detail) {
    for (const listener of this.#listeners.get(event) ?? []) listener(detail);
  }

  /** Note how long a pointer handler took. @param {number} milliseconds */
  took(milliseconds) {
    this.timings.push(milliseconds);
    if (this.timings.length > 5000) this.timings.splice(0, 1000);
  }
}
