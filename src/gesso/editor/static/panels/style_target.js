// What a choice of style is for: the selected objects, or a whole class.

import { setClassStyle, setStyle } from "../model/edits.js";
import { forEach, namesOf, perform } from "./object_edits.js";

/** @import { App } from "../app.js" */
/** @import { Choice, Obj } from "../model/types.js" */
/**
 * Objects of one class, or the class itself (no objects). `mixed`: objects of several classes are selected.
 * @typedef {{index: number, name: string, objects: Obj[], mixed: boolean}} Target
 */

/**
 * What the style panel is about.
 * @param {App} app @param {number} otherwise the class where nothing is selected
 * @returns {Target}
 */
export function targetOf(app, otherwise) {
  const objects = app.selected;
  const indices = new Set(objects.map((object) => object.class));
  const index = objects.length ? objects[0].class : otherwise;
  const whole = objects.length === 0 || app.model.styleRegions === "label";
  return { index, name: app.classOf(index).name, objects: whole ? [] : objects, mixed: indices.size > 1 };
}

/** What is chosen for a target; undefined where its objects differ, null where nothing is. @param {App} app @param {Target} target */
export function chosen(app, { objects, name }) {
  if (!objects.length) return app.document.styles.classes[name] ?? null;
  const [first, ...others] = objects.map(({ style }) => JSON.stringify(style));
  return others.every((style) => style === first) ? objects[0].style : undefined;
}

/** @param {App} app @param {Target} target @param {Choice|null} choice @param {string} words */
export function choose(app, target, choice, words) {
  if (target.objects.length) {
    const keys = target.objects.map(({ key }) => key);
    forEach(app, `${namesOf(app, target.objects)}: ${words}`, (document, key) => setStyle(document, key, choice), keys);
  } else {
    perform(app, `All of ${target.name}: ${words}`, (document) => ({ document: setClassStyle(document, target.name, choice) }));
  }
}
