// Both panes: what is drawn when, and where pointers are. Drawing happens once per frame, however much changed.

import { Pointers } from "../tools/pointers.js";
import { mountControls } from "./controls.js";
import { flat, LayoutBitmap } from "./layout_bitmap.js";
import { boundaries, handles, outlineOf, trace } from "./outlines.js";
import { Pane } from "./pane.js";
import { mountStatus } from "./status.js";
import { arrangement, Viewport } from "./viewport.js";
import { Divider } from "./wipe.js";

/** @import { App } from "../app.js" */
/** @import { Document, Flat, Point, Rect } from "../model/types.js" */

/** How the panes look; changed by View.set. */
const SETTINGS = { wipe: false, boundaries: false, opacity: 1, outlines: true };
/** @typedef {typeof SETTINGS} Settings */

const STROKE = 0.5; // opacity of the layout over the photograph as it was, while a stroke is drawn

/** Build the panes within a container. @param {HTMLElement} container @param {App} app */
export function mountView(container, app) {
  const view = new View(container, app);
  app.view = view;
  mountControls(document.getElementById("view-controls"), app, view);
  mountStatus(document.getElementById("status"), app, view);
  app.pointers = new Pointers(app, view);
  view.fit();
}

export class View {
  /** @type {CanvasImageSource|null} */
  #overlay = null;
  #frame = 0;
  /** What has to be drawn with the next frame: the colours of the layout, what the panes show of it, and of the photograph. */
  #stale = { colours: true, layout: true, photo: true };
  /** @type {{document: Document, path: Path2D}|null} */
  #boundaries = null;
  /** What a stroke that is being drawn shows, instead of the document. @type {Flat|null} */
  #live = null;
  /** @type {Set<() => void>} */
  #watchers = new Set();

  /** @param {HTMLElement} container @param {App} app */
  constructor(container, app) {
    this.app = app;
    this.container = container;
    this.settings = { ...SETTINGS };
    this.viewport = new Viewport();
    this.layout = new Pane(/** @type {HTMLElement} */ (container.querySelector("#layout-pane")), "Layout");
    this.photo = new Pane(/** @type {HTMLElement} */ (container.querySelector("#photo-pane")), "Photograph");
    this.bitmap = new LayoutBitmap(app.model.classes);
    this.divider = new Divider(this.layout, () => this.refresh());
    /** Where the pointer is, in pixels of the picture; null outside of the panes. @type {Point|null} */
    this.pointer = null;
    new ResizeObserver(() => this.#measure()).observe(container);
    app.on("document", () => this.show());
    app.on("preview", () => this.show());
    app.on("picture", () => this.refresh());
    app.on("kept", () => this.#changed());
    app.on("selection", () => this.refresh("over"));
    app.on("tool", () => this.refresh("over"));
    this.show();
  }

  get panes() {
    return this.settings.wipe ? [this.layout] : [this.layout, this.photo];
  }

  /** @param {Partial<Settings>} changes */
  set(changes) {
    Object.assign(this.settings, changes);
    this.container.classList.toggle("wipe", this.settings.wipe);
    this.divider.show(this.settings.wipe);
    this.#measure();
    this.#changed();
  }

  /** Switch one of the settings. @param {string} what "wipe", "boundaries" or "outlines" */
  toggle(what) {
    if (what === "wipe" || what === "boundaries" || what === "outlines") this.set({ [what]: !this.settings[what] });
  }

  /** @param {() => void} watcher called when zoom or settings change */
  watch(watcher) {
    this.#watchers.add(watcher);
  }

  #changed() {
    this.#caption();
    for (const watcher of this.#watchers) watcher();
    this.refresh();
  }

  // ---------------------------------------------------------------------------------------------------------- where

  /** The pane that a pointer is over. @param {Event} event */
  paneOf(event) {
    return event.target instanceof Node && this.photo.element.contains(event.target) ? this.photo : this.layout;
  }

  /** A point of the picture, with fractions. @param {MouseEvent} event @param {Pane} [pane] @returns {Point} */
  toPoint(event, pane = this.paneOf(event)) {
    return this.viewport.toPicture(pane.place(event), pane);
  }

  /** The pixel under a pointer; it may lie outside of the picture. @param {any} event a pointer or mouse event over a pane */
  toPixel(event) {
    this.paneOf(event).locate();
    const { x, y } = this.toPoint(event);
    return { x: Math.floor(x), y: Math.floor(y) };
  }

  /** One screen pixel in pixels of the picture. */
  get pixel() {
    return 1 / this.viewport.scale;
  }

  fit() {
    this.#arrange();
    this.viewport.fit(this.app.shown, this.layout);
    this.#changed();
  }

  /** @param {number} factor @param {Point} [place] in the pane; its middle by default */
  zoomBy(factor, place = { x: this.layout.width / 2, y: this.layout.height / 2 }, pane = this.layout) {
    this.viewport.zoom(factor, place, pane);
    this.#changed();
  }

  /** One pixel of the picture as so many of the screen. @param {number} scale */
  zoomTo(scale) {
    this.zoomBy(scale / this.viewport.scale);
  }

  /** @param {number} dx @param {number} dy in screen pixels */
  panBy(dx, dy) {
    this.viewport.pan(dx, dy);
    this.#changed();
  }

  #measure() {
    this.#arrange();
    this.viewport.resize(this.layout);
    this.#changed();
  }

  /** Side by side or one above the other, as the picture is seen larger. */
  #arrange() {
    const { clientWidth: width, clientHeight: height, classList } = this.container;
    const best = arrangement(this.app.shown, { width, height });
    for (const name of ["columns", "rows"]) classList.toggle(name, !this.settings.wipe && best === name);
    for (const pane of this.panes) pane.measure();
  }

  // ------------------------------------------------------------------------------------------------------- what is seen

  /** What is seen at every pixel now, the stroke that is being drawn included. @returns {Flat} */
  get seen() {
    return this.#live ?? flat(this.app.shown);
  }

  /**
   * A stroke begins (what it changes is written into `seen`) or is over (null: `show` or a new document follows).
   * @param {Flat|null} seen
   */
  live(seen) {
    this.#live = seen;
  }

  /** A part of what the stroke shows changed. @param {Rect} rect */
  changed(rect) {
    if (this.#live) this.bitmap.update(this.#live, rect);
    this.refresh("layout");
  }

  /** Lay a bitmap over the photograph. @param {CanvasImageSource|null} bitmap */
  overlay(bitmap) {
    this.#overlay = bitmap;
    this.refresh();
  }

  /** Draw the layout anew. */
  show() {
    this.#stale.colours = true;
    this.refresh("layout");
  }

  /** Draw with the next frame. @param {"all"|"layout"|"over"} [what] "over": only what lies above the pictures */
  refresh(what = "all") {
    if (what !== "over") this.#stale.layout = true;
    if (what === "all") this.#stale.photo = true;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.draw();
    });
  }

  /** Draw what changed, now. */
  draw() {
    if (this.#stale.colours && !this.#live) this.bitmap.show(flat(this.app.shown), this.app.shown.width, this.app.shown.height);
    for (const pane of this.panes) {
      if (pane === this.layout ? this.#stale.layout : this.#stale.photo) this.#drawBase(pane);
      this.#drawOver(pane);
    }
    this.#stale = { colours: this.#stale.colours && this.#live !== null, layout: false, photo: false };
  }

  /** What the wipe compares with instead of the layout: the photograph as it was, where it is kept. */
  get before() {
    return this.settings.wipe ? this.app.keeping?.before ?? null : null;
  }

  /** Say what the panes show. */
  #caption() {
    const words = this.app.keeping?.words ?? "Photograph";
    this.photo.say(words);
    this.divider.say(words);
    this.layout.say(this.before ? "Your photograph as it was" : "Layout");
  }

  /** @param {Pane} pane */
  #drawBase(pane) {
    const { settings, viewport, before, app: { pictures } } = this;
    pane.begin(pane.base, viewport);
    const isLayout = pane === this.layout;
    const photograph = (from = 0) => pictures.forEach((picture) => pane.draw(picture, viewport, { smooth: true, from }));
    if (!isLayout || settings.opacity < 1) photograph();
    if (isLayout) {
      if (before) pane.draw(before, viewport, { smooth: true });
      if (!before || this.#live) pane.draw(this.bitmap.canvas, viewport, { alpha: before ? STROKE : settings.opacity });
      if (settings.boundaries) this.#drawBoundaries(pane.base);
    }
    if (isLayout && settings.wipe) photograph(this.divider.position);
    if (this.#overlay && (!isLayout || settings.wipe)) {
      pane.draw(this.#overlay, viewport, { from: isLayout ? this.divider.position : 0 });
    }
  }

  /** @param {Pane} pane */
  #drawOver(pane) {
    const context = pane.over;
    pane.begin(context, this.viewport);
    const shown = this.app.shown.objects.filter(({ key }) => this.app.selection.has(key));
    if (this.settings.outlines) for (const { mask } of shown) trace(context, outlineOf(mask), this.pixel);
    if (this.app.tool.name === "select" && shown.length === 1 && !shown[0].locked) handles(context, shown[0].mask, this.pixel);
    this.app.pointers?.draw(context, pane === this.photo);
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawBoundaries(context) {
    const { shown } = this.app;
    if (this.#live && !this.#boundaries) return;
    if (!this.#live && this.#boundaries?.document !== shown) {
      this.#boundaries = { document: shown, path: boundaries(flat(shown), shown) };
    }
    if (!this.#boundaries) return;
    context.strokeStyle = "rgba(0, 0, 0, .75)";
    context.lineWidth = this.pixel;
    context.stroke(this.#boundaries.path);
  }
}
