// Undo and redo without end: of each edit only the difference is kept, as runs of pixels of the ground and of the masks that it
// changed. Everything else is shared with the document as it is.

/** @import {Document} from "./types.js" */
/** @import {Patch} from "./patches.js" */

import { groundPatch, idsPatch, objectsPatch, patchBytes, stepped } from "./patches.js";

/**
 * One edit. Where the size of the picture changed, both documents are kept whole.
 * @typedef {{ what: string, patch: Patch | null, whole: { before: Document, after: Document } | null, bytes: number }} Entry
 */

export class History {
  /** @type {Entry[]} */
  #entries = [];
  #position = 0;

  /** @param {Document} document the first one */
  constructor(document) {
    /** The document as it is. */
    this.current = document;
  }

  /**
   * After an edit; what was undone is forgotten.
   * @param {Document} before the current document @param {Document} after @param {string} what was done, as shown to people
   */
  record(before, after, what) {
    if (before !== this.current) throw new Error("An edit of another document than the current one cannot be recorded.");
    this.#entries.length = this.#position;
    this.#entries.push(entryOf(before, after, what));
    this.#position += 1;
    this.current = after;
  }

  /** One edit back: the document then, null where there is none. */
  undo() {
    return this.canUndo ? this.goTo(this.#position - 1) : null;
  }

  /** One edit on again: the document then, null where none was undone. */
  redo() {
    return this.canRedo ? this.goTo(this.#position + 1) : null;
  }

  /**
   * To the state after so many edits.
   * @param {number} position 0 for the first document @returns {Document}
   */
  goTo(position) {
    if (!Number.isInteger(position) || position < 0 || position > this.length) {
      throw new Error(`The history has ${this.length} edits; there is no state after ${position}.`);
    }
    for (; this.#position > position; this.#position -= 1) this.current = back(this.current, this.#entries[this.#position - 1]);
    for (; this.#position < position; this.#position += 1) this.current = forth(this.current, this.#entries[this.#position]);
    return this.current;
  }

  /**
   * Forget how the document came to be up to a state: that one is the first to go back to.
   * @param {number} position not beyond the present one
   */
  forgetBefore(position) {
    if (position > this.#position) throw new Error("The state that the history shall begin with is not reached yet.");
    this.#entries.splice(0, position);
    this.#position -= position;
  }

  get canUndo() {
    return this.#position > 0;
  }

  get canRedo() {
    return this.#position < this.length;
  }

  /** What the next undo takes back; null where there is none. */
  get undoName() {
    return this.#entries[this.#position - 1]?.what ?? null;
  }

  /** What the next redo does again; null where there is none. */
  get redoName() {
    return this.#entries[this.#position]?.what ?? null;
  }

  /** How many edits led to the current document. */
  get position() {
    return this.#position;
  }

  /** How many edits are kept, undone ones too. */
  get length() {
    return this.#entries.length;
  }

  /** What was done, the oldest first. */
  get names() {
    return this.#entries.map((entry) => entry.what);
  }

  /** About how much memory all edits take, beyond the current document. */
  get bytes() {
    return this.#entries.reduce((sum, entry) => sum + entry.bytes, 0);
  }
}

/** @param {Document} before @param {Document} after @param {string} what @returns {Entry} */
function entryOf(before, after, what) {
  if (before.width !== after.width || before.height !== after.height) {
    const bytes = [before, after].reduce((sum, { ground }) => sum + ground.label.byteLength + ground.instance.byteLength, 0);
    return { what, patch: null, whole: { before: { ...before }, after: { ...after } }, bytes }; // copies: nothing worked out for them stays
  }
  const patch = {
    ground: groundPatch(before.ground, after.ground),
    objects: objectsPatch(before.objects, after.objects),
    ids: idsPatch(before.usedIds, after.usedIds),
    rest: { before: restOf(before), after: restOf(after) },
  };
  return { what, patch, whole: null, bytes: patchBytes(patch) };
}

/** @param {Document} document */
function restOf({ styles, name, classes, source, original }) {
  return { styles, name, classes, source, original };
}

/** @param {Document} after @param {Entry} entry @returns {Document} */
function back(after, { patch, whole }) {
  return patch ? stepped(after, patch, "before") : /** @type {Document} */ (whole?.before);
}

/** @param {Document} before @param {Entry} entry @returns {Document} */
function forth(before, { patch, whole }) {
  return patch ? stepped(before, patch, "after") : /** @type {Document} */ (whole?.after);
}
