// What can be done with the selected objects, each as one step of undo.

import { Refusal } from "../model/document.js";
import {
  duplicate, merge, moveObject, relabel, remove, reorder, setHidden, setLocked, split,
} from "../model/edits.js";

/** @import { App } from "../app.js" */
/** @import { Document, Obj } from "../model/types.js" */

/**
 * Apply an edit, or say why it is refused.
 * @param {App} app @param {string} what @param {(document: Document) => {document: Document, select?: number[]}} edit
 */
export function perform(app, what, edit) {
  /** @type {{document: Document, select?: number[]}} */
  let made;
  try {
    made = edit(app.document);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    app.say(error.message, { kind: "error" });
    return;
  }
  const { document, select } = made;
  app.apply(what, () => document, { select });
}

/**
 * One edit for each of several objects.
 * @param {App} app @param {string} what @param {(document: Document, key: number) => Document} edit @param {number[]} [keys]
 */
export function forEach(app, what, edit, keys = [...app.selection]) {
  perform(app, what, (document) => ({ document: keys.reduce(edit, document) }));
}

/** What an object is called: "car 26001". @param {App} app @param {Obj} object */
export const nameOf = (app, { class: index, id }) => `${app.classOf(index).name} ${id}`;

/** What several objects are called. @param {App} app @param {Obj[]} objects */
export const namesOf = (app, objects) => (objects.length === 1 ? nameOf(app, objects[0]) : `${objects.length} objects`);

/** @param {App} app @param {number} index of a class */
export function relabelSelected(app, index) {
  const keys = [...app.selection];
  perform(app, `Make ${namesOf(app, app.selected)} ${app.classOf(index).name}`, (document) => {
    /** @type {number[]} */
    const select = [];
    for (const key of keys) {
      const made = relabel(document, key, index);
      document = made.document;
      if (made.key !== null) select.push(made.key);
    }
    return { document, select };
  });
}

/** @param {App} app */
export const removeSelected = (app) => forEach(app, `Delete ${namesOf(app, app.selected)}`, remove);

/** @param {App} app */
export function duplicateSelected(app) {
  const shift = Math.max(4, Math.round(app.document.width / 40));
  perform(app, `Duplicate ${namesOf(app, app.selected)}`, (document) => {
    /** @type {number[]} */
    const select = [];
    for (const { key } of app.selected) {
      const made = duplicate(document, key, shift, 0);
      document = made.document;
      select.push(made.key);
    }
    return { document, select };
  });
}

/** @param {App} app @param {"front"|"back"|"forward"|"backward"} where */
export function reorderSelected(app, where) {
  const keys = app.selected.map(({ key }) => key);
  if (where === "back" || where === "forward") keys.reverse(); // so that they keep their order among themselves
  const words = { front: "to the front", back: "to the back", forward: "forward", backward: "backward" };
  forEach(app, `Bring ${namesOf(app, app.selected)} ${words[where]}`, (document, key) => reorder(document, key, where), keys);
}

/** @param {App} app */
export function mergeSelected(app) {
  const keys = app.selected.map(({ key }) => key).reverse(); // the frontmost stays
  perform(app, `Merge ${keys.length} objects`, (document) => ({ document: merge(document, keys), select: keys.slice(0, 1) }));
}

/** @param {App} app */
export function splitSelected(app) {
  const [object] = app.selected;
  perform(app, `Split ${nameOf(app, object)}`, (document) => {
    const { document: after, keys } = split(document, object.key);
    if (keys.length < 2) app.say(`${nameOf(app, object)} is in one piece: there is nothing to split.`);
    return { document: after, select: keys };
  });
}

/** @param {App} app @param {number} dx @param {number} dy in pixels */
export const moveSelected = (app, dx, dy) => forEach(app, `Move ${namesOf(app, app.selected)}`,
  (document, key) => moveObject(document, key, dx, dy));

/** The document with the selected objects scaled. @param {App} app @param {number} scale */
export const scaled = (app, scale) => [...app.selection].reduce((document, key) => moveObject(document, key, 0, 0, scale), app.document);

/** @param {App} app @param {number} scale */
export const scaleSelected = (app, scale) => forEach(app, `Scale ${namesOf(app, app.selected)}`,
  (document, key) => moveObject(document, key, 0, 0, scale));

/** @param {App} app @param {number[]} keys @param {boolean} locked */
export const lock = (app, keys, locked) => forEach(app, locked ? "Lock" : "Unlock",
  (document, key) => setLocked(document, key, locked), keys);

/** @param {App} app @param {number[]} keys @param {boolean} hidden */
export const hide = (app, keys, hidden) => forEach(app, hidden ? "Hide" : "Show",
  (document, key) => setHidden(document, key, hidden), keys);
