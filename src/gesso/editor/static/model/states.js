// Documents to return to, in little room: one of them whole, of the others only what differs from the one before.

/** @import {Document} from "./types.js" */

import { History } from "./history.js";

export class States {
  /** @type {History|null} */
  #history = null;
  #forgotten = 0;

  /** Keep a document; the number to get it by. @param {Document} document */
  keep(document) {
    const copy = { ...document }; // what was worked out for the document itself, as its pixels, is not kept with it
    if (!this.#history) {
      this.#history = new History(copy);
      return 0;
    }
    const last = this.#history.goTo(this.#history.length);
    this.#history.record(last, copy, "");
    return this.#forgotten + this.#history.length;
  }

  /** A document that was kept, as a new one. @param {number} number @returns {Document} */
  get(number) {
    if (!this.#history) throw new Error("No document was kept.");
    return { ...this.#history.goTo(number - this.#forgotten) };
  }

  /** Forget what was kept before a document. @param {number} number its */
  forgetBefore(number) {
    if (!this.#history) return;
    this.#history.goTo(this.#history.length);
    this.#history.forgetBefore(number - this.#forgotten);
    this.#forgotten = number;
  }

  /** About how much memory the differences take. */
  get bytes() {
    return this.#history?.bytes ?? 0;
  }
}
