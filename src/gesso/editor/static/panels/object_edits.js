// What can be done with the selected objects, each as one step of undo: what keys, buttons and the select tool all do.

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

/** What becomes of the order, around the name of what it becomes of. @type {Record<"front"|"back"|"forward"|"backward", [string, string]>} */
const ORDERS = {
  front: ["Bring", "to the front"], back: ["Send", "to the back"], forward: ["Bring", "forward"], backward: ["Send", "backward"],
};

/** The selected objects keep their order among themselves. @param {App} app @param {keyof typeof ORDERS} where */
export function reorderSelected(app, where) {
  const keys = app.selected.map(({ key }) => key);
  const [verb, there] = ORDERS[where];
  const turns = where === "back" || where === "forward" ? keys.toReversed() : keys;
  forEach(app, `${verb} ${namesOf(app, app.selected)} ${there}`, (document, key) => {
    const moved = reorder(document, key, where);
    const order = moved.objects.map((object) => object.key).filter((other) => keys.includes(other));
    // one that is at the front already is not overtaken by the others
    return where === "front" || where === "back" || order.every((other, place) => other === keys[place]) ? moved : document;
  }, turns);
}

/** The frontmost takes in the others; what that does to their classes is said. @param {App} app */
export function mergeSelected(app) {
  const objects = app.selected.toReversed();
  const keys = objects.map(({ key }) => key);
  const classes = new Set(objects.map((object) => object.class));
  perform(app, `Merge ${keys.length} objects`, (document) => {
    const merged = merge(document, keys);
    if (classes.size > 1) {
      const names = [...classes].map((index) => app.classOf(index).name);
      app.say(`Objects of several materials (${names.join(", ")}) were merged: all of it is ${nameOf(app, objects[0])} now.`);
    }
    return { document: merged, select: keys.slice(0, 1) };
  });
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

/** Keys of the selected objects that can be moved: all but the locked ones, which are refused where there are no others. @param {App} app */
function movable({ selected }) {
  const free = selected.filter(({ locked }) => !locked);
  return (free.length ? free : selected).map(({ key }) => key);
}

/** The edit that moves what is selected. @param {App} app @param {number} dx @param {number} dy in pixels */
export function moving(app, dx, dy) {
  const keys = movable(app);
  return (/** @type {Document} */ document) =>
    dx || dy ? keys.reduce((moved, key) => moveObject(moved, key, dx, dy), document) : document;
}

/** @param {App} app @param {number} dx @param {number} dy in pixels */
export const moveSelected = (app, dx, dy) => app.apply(`Move ${namesOf(app, app.selected)}`, moving(app, dx, dy));

/** The document with the selected objects scaled. @param {App} app @param {number} scale */
export const scaled = (app, scale) => movable(app).reduce((document, key) => moveObject(document, key, 0, 0, scale), app.document);

/** @param {App} app @param {number} scale */
export const scaleSelected = (app, scale) => app.apply(`Scale ${namesOf(app, app.selected)}`, () => scaled(app, scale));

/** Lock what is selected, or unlock it where all of it is locked. @param {App} app */
export const lockSelected = (app) => lock(app, [...app.selection], app.selected.some(({ locked }) => !locked));

/** @param {App} app @param {number[]} keys @param {boolean} locked */
export const lock = (app, keys, locked) => forEach(app, locked ? "Lock" : "Unlock",
  (document, key) => setLocked(document, key, locked), keys);

/** @param {App} app @param {number[]} keys @param {boolean} hidden */
export const hide = (app, keys, hidden) => forEach(app, hidden ? "Hide" : "Show",
  (document, key) => setHidden(document, key, hidden), keys);
