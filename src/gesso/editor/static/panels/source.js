// The photograph that a layout came from, when there is one: styles can be taken from it.

/** @import { App } from "../app.js" */

/** @type {WeakMap<App, {photograph: Blob|null, listeners: Set<() => void>}>} */
const sources = new WeakMap();

/** @param {App} app */
function entry(app) {
  const found = sources.get(app) ?? { photograph: null, listeners: new Set() };
  sources.set(app, found);
  return found;
}

/** @param {App} app */
export const sourceOf = (app) => entry(app).photograph;

/** @param {App} app @param {Blob|null} photograph */
export function setSource(app, photograph) {
  const found = entry(app);
  found.photograph = photograph;
  for (const listener of found.listeners) listener();
}

/** @param {App} app @param {() => void} listener */
export const onSource = (app, listener) => entry(app).listeners.add(listener);
