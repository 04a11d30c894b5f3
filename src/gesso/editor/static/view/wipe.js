// The line between before and after: what is left of it shows the layout (or the photograph as it was), what is right of it the photograph.

/** @import { Pane } from "./pane.js" */

export class Divider {
  /** @param {Pane} pane @param {() => void} changed */
  constructor(pane, changed) {
    this.pane = pane;
    this.changed = changed;
    this.share = 0.5;
    this.after = Object.assign(document.createElement("p"), { className: "caption end", textContent: "Photograph", hidden: true });
    this.element = Object.assign(document.createElement("button"), { type: "button", className: "divider", hidden: true });
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", "Between layout and photograph");
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", "100");
    pane.element.append(this.element, this.after);
    this.element.addEventListener("pointerdown", (event) => this.#drag(event));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.move(this.share);
  }

  /** The divider's column in the pane. */
  get position() {
    return this.share * this.pane.width;
  }

  /** What is right of it. @param {string} words */
  say(words) {
    if (this.after.textContent !== words) this.after.textContent = words;
  }

  /** @param {boolean} is */
  show(is) {
    this.element.hidden = !is;
    this.after.hidden = !is;
  }

  /** @param {number} share 0 shows the photograph alone, 1 the layout */
  move(share) {
    this.share = Math.min(1, Math.max(0, share));
    this.element.style.left = `${100 * this.share}%`;
    this.element.setAttribute("aria-valuenow", String(Math.round(100 * this.share)));
    this.element.setAttribute("aria-valuetext", `${Math.round(100 * this.share)} % layout`);
    this.changed();
  }

  /** @param {PointerEvent} down */
  #drag(down) {
    down.stopPropagation();
    this.element.setPointerCapture(down.pointerId);
    const follow = (/** @type {PointerEvent} */ event) => this.move(this.pane.place(event).x / this.pane.width);
    const listening = new AbortController();
    this.element.addEventListener("pointermove", follow, { signal: listening.signal });
    for (const end of ["pointerup", "pointercancel"]) {
      this.element.addEventListener(end, () => listening.abort(), { once: true });
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(this.share + steps[/** @type {keyof typeof steps} */ (event.key)]);
  }
}
