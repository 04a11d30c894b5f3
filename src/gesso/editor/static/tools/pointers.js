// Mouse, pen and fingers over the panes: who draws, who moves the view. Two fingers move and zoom; one draws.

import { TOOLS, tools } from "./list.js";

/** @import { App } from "../app.js" */
/** @import { At } from "./tool.js" */
/** @import { Pane } from "../view/pane.js" */
/** @import { Point } from "../view/viewport.js" */
/** @import { View } from "../view/view.js" */

const SIZED = new Set(TOOLS.filter(({ sized }) => sized).map(({ name }) => String(name)));
const LINE = 40; // pixels of a wheel that counts in lines

export class Pointers {
  /** Fingers that are down: where they are in their pane. @type {Map<number, Point>} */
  #fingers = new Map();
  /** The pointer that draws, or moves the view. @type {{id: number, kind: string, pans: boolean, last: Point, pane: Pane}|null} */
  #held = null;
  /** @type {At|null} */
  #at = null;
  #penDown = false;
  #name = "";
  #shown = ""; // the cursor

  /** @param {App} app @param {View} view */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    this.tools = tools(app, view);
    /** Whether the space bar is held. */
    this.space = false;
    for (const pane of [view.layout, view.photo]) this.#listen(pane);
    app.on("tool", () => this.#switched());
    app.on("document", () => this.drawing && this.tool.busy && this.#abandon()); // what is drawn is of another document
    this.#switched();
  }

  /** The tool in hand. */
  get tool() {
    return this.tools[this.app.tool.name];
  }

  #switched() {
    if (this.#name !== this.app.tool.name) this.tools[this.#name]?.cancel();
    this.#name = this.app.tool.name;
    this.#cursor();
  }

  /** @param {Pane} pane */
  #listen(pane) {
    const { element } = pane;
    /** @type {(kind: keyof HTMLElementEventMap, act: (event: any) => void, options?: AddEventListenerOptions) => void} */
    const on = (kind, act, options) => element.addEventListener(kind, act, options);
    on("pointerdown", (event) => this.#timed(() => this.#down(event, pane)));
    on("pointermove", (event) => this.#timed(() => this.#move(event, pane)));
    on("pointerup", (event) => this.#timed(() => this.#up(event, pane)));
    on("pointercancel", (event) => this.#lost(event));
    on("pointerenter", () => pane.locate());
    on("pointerleave", () => this.#leave());
    on("dblclick", () => this.tool.doubleClick());
    on("wheel", (event) => this.#wheel(event, pane), { passive: false });
    on("contextmenu", (event) => event.preventDefault());
  }

  /** @param {() => void} handle */
  #timed(handle) {
    const start = performance.now();
    const before = this.drawing;
    handle();
    if (before || this.drawing) this.app.took(performance.now() - start);
  }

  /** @param {PointerEvent} event @param {Pane} pane @returns {At} */
  #told(event, pane) {
    const point = this.view.viewport.toPicture(pane.place(event), pane);
    const pressure = event.pointerType === "pen" ? event.pressure : 1;
    return {
      point, pixel: { x: Math.floor(point.x), y: Math.floor(point.y) }, pressure,
      shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey, alt: event.altKey,
    };
  }

  /** @param {PointerEvent} event @param {Pane} pane */
  #down(event, pane) {
    pane.locate();
    if (event.pointerType === "pen") this.#dropTouches();
    if (event.pointerType === "touch") {
      if (this.#penDown) return; // a hand that rests while a pen draws
      this.#fingers.set(event.pointerId, pane.place(event));
      if (this.#fingers.size > 1) {
        this.#abandon();
        return;
      }
    }
    if (this.#held || event.button > 1) return;
    pane.element.setPointerCapture(event.pointerId);
    const pans = event.button === 1 || this.space || this.app.tool.name === "pan";
    this.#held = { id: event.pointerId, kind: event.pointerType, pans, last: pane.place(event), pane };
    this.#penDown = event.pointerType === "pen";
    if (event.button === 1) event.preventDefault(); // no automatic scrolling
    this.#see(event, pane);
    if (!pans) this.tool.down(this.#told(event, pane));
    this.#cursor();
  }

  /** @param {PointerEvent} event @param {Pane} pane */
  #move(event, pane) {
    if (this.#fingers.has(event.pointerId) && this.#fingers.size > 1) {
      this.#pinch(event, pane);
      return;
    }
    const held = this.#held;
    if (held && held.id !== event.pointerId) return;
    this.#see(event, pane);
    if (!held) {
      if (event.pointerType !== "touch") this.tool.hover(this.#told(event, pane));
      this.#cursor();
    } else if (held.pans) {
      const place = pane.place(event);
      this.view.panBy(place.x - held.last.x, place.y - held.last.y);
      held.last = place;
    } else {
      const events = event.getCoalescedEvents?.() ?? [];
      this.tool.move((events.length ? events : [event]).map((each) => this.#told(each, pane)));
    }
  }

  /** @param {PointerEvent} event @param {Pane} pane */
  #up(event, pane) {
    this.#fingers.delete(event.pointerId);
    const held = this.#held;
    if (held?.id !== event.pointerId) return;
    if (!held.pans) this.tool.up(this.#told(event, pane));
    this.#held = null;
    this.#penDown = false;
    if (event.pointerType === "touch") this.#leave();
    this.#cursor();
  }

  /** The system took the pointer away. @param {PointerEvent} event */
  #lost(event) {
    this.#fingers.delete(event.pointerId);
    if (this.#held?.id === event.pointerId) this.#abandon();
  }

  /** The hand that holds a pen may rest on the screen before the pen does. */
  #dropTouches() {
    this.#fingers.clear();
    if (this.#held?.kind === "touch") this.#abandon();
  }

  /** What was begun is forgotten. */
  #abandon() {
    if (this.drawing) this.tool.interrupt();
    this.#held = null;
    this.#penDown = false;
    this.#leave();
  }

  /** @param {PointerEvent} event @param {Pane} pane */
  #see(event, pane) {
    this.#at = this.#told(event, pane);
    this.view.pointer = this.#at.point;
    this.view.refresh("over");
  }

  #leave() {
    if (this.#held) return;
    this.#at = null;
    this.view.pointer = null;
    this.view.refresh("over");
  }

  /** Two fingers: what was between them stays between them. @param {PointerEvent} event @param {Pane} pane */
  #pinch(event, pane) {
    const [one, other] = [...this.#fingers.keys()];
    if (event.pointerId !== one && event.pointerId !== other) return;
    const before = spread(this.#fingers, one, other);
    this.#fingers.set(event.pointerId, pane.place(event));
    const after = spread(this.#fingers, one, other);
    this.view.panBy(after.middle.x - before.middle.x, after.middle.y - before.middle.y);
    this.view.zoomBy(after.distance / Math.max(before.distance, 1), after.middle, pane);
  }

  /** @param {WheelEvent} event @param {Pane} pane */
  #wheel(event, pane) {
    event.preventDefault();
    pane.locate();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
    const [across, down] = [event.deltaX * unit, event.deltaY * unit];
    if (!event.ctrlKey && !event.metaKey && SIZED.has(this.app.tool.name)) {
      if (down) this.app.resizeBrush(down < 0 ? 1 : -1);
    } else if (event.shiftKey) this.view.panBy(-across || -down, 0);
    else this.view.zoomBy(Math.exp(-down * (event.ctrlKey && Math.abs(down) < 30 ? 0.01 : 0.0018)), pane.place(event), pane);
  }

  /** A key that is meant for what the tool began. @param {string} key */
  key(key) {
    return this.tool.key(key) || (key === "Escape" && this.tool.busy && (this.#abandon(), true));
  }

  /** The keys that are held changed. @param {KeyboardEvent} event */
  modified(event) {
    this.space = event.code === "Space" ? event.type === "keydown" : this.space;
    if (this.#at) this.#at = { ...this.#at, ctrl: event.ctrlKey || event.metaKey, shift: event.shiftKey, alt: event.altKey };
    this.#cursor();
    this.view.refresh("over");
  }

  /** The window lost the keyboard: nothing is held any more. */
  released() {
    this.space = false;
    this.#cursor();
  }

  /** Whether a button is down that draws. */
  get drawing() {
    return this.#held !== null && !this.#held.pans;
  }

  #cursor() {
    const pans = this.#held ? this.#held.pans : this.space || this.app.tool.name === "pan";
    const cursor = pans ? (this.#held ? "grabbing" : "grab") : this.tool.cursor;
    if (cursor === this.#shown) return;
    this.#shown = cursor;
    for (const { over } of [this.view.layout, this.view.photo]) over.canvas.style.cursor = cursor;
  }

  /** @param {CanvasRenderingContext2D} context @param {boolean} isPhotograph */
  draw(context, isPhotograph) {
    const pans = this.#held?.pans || this.space || this.app.tool.name === "pan";
    if (!pans) this.tool.draw(context, this.view.pixel, this.#at, isPhotograph);
  }
}

/** @param {Map<number, Point>} fingers @param {number} one @param {number} other */
function spread(fingers, one, other) {
  const zero = { x: 0, y: 0 };
  const [first, second] = [fingers.get(one) ?? zero, fingers.get(other) ?? zero];
  const middle = { x: (first.x + second.x) / 2, y: (first.y + second.y) / 2 };
  return { middle, distance: Math.hypot(first.x - second.x, first.y - second.y) };
}
