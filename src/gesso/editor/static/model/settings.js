// Edits that leave the layout as it is: what is worn, locked, hidden, pinned, and the name.

/** @import {Choice, Document, Obj, Styles} from "./types.js" */

import { findObject } from "./document.js";
import { withChanged } from "./objects.js";

/** @param {Document} document @param {number} key @param {Partial<Obj>} changes */
function changed(document, key, changes) {
  const object = findObject(document, key);
  return alike(object, changes) ? document : withChanged(document, object, changes);
}

/**
 * Whether something has these values already: setting them again is no edit.
 * @template T @param {T} now @param {Partial<T>} changes
 */
function alike(now, changes) {
  const names = /** @type {(keyof T)[]} */ (Object.keys(changes));
  return names.every((name) => JSON.stringify(now[name]) === JSON.stringify(changes[name]));
}

/**
 * What an object wears; null leaves it to its class and to chance.
 * @param {Document} document @param {number} key @param {Choice | null} choice
 */
export function setStyle(document, key, choice) {
  return changed(document, key, { style: choice });
}

/** A locked object keeps its pixels, whatever is painted. @param {Document} document @param {number} key @param {boolean} locked */
export function setLocked(document, key, locked) {
  return changed(document, key, { locked });
}

/**
 * A hidden object is not in the layout that is rendered.
 * @param {Document} document @param {number} key @param {boolean} hidden
 */
export function setHidden(document, key, hidden) {
  return changed(document, key, { hidden });
}

/**
 * A pinned object keeps its style when all are drawn anew.
 * @param {Document} document @param {number} key @param {boolean} pinned
 */
export function setPinned(document, key, pinned) {
  return changed(document, key, { pinned });
}

/** @param {Document} document @param {Partial<Styles>} changes @returns {Document} */
function restyled(document, changes) {
  return alike(document.styles, changes) ? document : { ...document, styles: { ...document.styles, ...changes } };
}

/** The seed of all that is drawn by chance. @param {Document} document @param {number} seed a whole number from 0 */
export function setSeed(document, seed) {
  return restyled(document, { seed });
}

/**
 * What all objects of a class wear that have no choice of their own; null leaves it to chance.
 * @param {Document} document @param {string} name @param {Choice | null} choice
 */
export function setClassStyle(document, name, choice) {
  const { [name]: now = null, ...others } = document.styles.classes;
  if (JSON.stringify(now) === JSON.stringify(choice)) return document;
  return restyled(document, { classes: choice === null ? others : { ...others, [name]: choice } });
}

/** The latent vector of the whole picture; null draws it from the seed. @param {Document} document @param {number[] | null} z */
export function setZ(document, z) {
  return restyled(document, { z });
}

/** Whether there is noise; null is as the model was published. @param {Document} document @param {boolean | null} noise */
export function setNoise(document, noise) {
  return restyled(document, { noise });
}

/** @param {Document} document @param {string} name @returns {Document} */
export function setName(document, name) {
  return name === document.name ? document : { ...document, name };
}
