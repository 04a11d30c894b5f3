// What a photograph says of styles, worn by a layout.

import { setClassStyle, setStyle, setZ } from "../model/edits.js";
import { objectName } from "../model/styles.js";
import * as api from "../net/api.js";

/** @import { App } from "../app.js" */
/** @import { Document, StyleJson } from "../model/types.js" */

/**
 * A document in the styles of the photograph that belongs to it; as it is where the model reads none, or the server refuses it,
 * whose reasons "As in the photograph" tells, or is lost meanwhile.
 * @param {App} app @param {Document} document @param {Blob|null} photograph
 */
export async function asInPhotograph({ model }, document, photograph) {
  if (!photograph || !model.encoder) return document;
  try {
    return dressed(document, await api.encodeStyle({ document, model }, photograph, true));
  } catch (error) {
    if (error instanceof api.Refused || error instanceof api.Unreachable) return document;
    throw error;
  }
}

/** A document whose objects and ground wear what a style says. @param {Document} document @param {StyleJson} style */
export function dressed(document, { instances = {}, classes = {}, z }) {
  for (const object of document.objects) {
    const choice = instances[objectName(document, object)];
    if (choice !== undefined && !object.pinned) document = setStyle(document, object.key, choice);
  }
  const onGround = Object.entries(instances).map(([name, choice]) => /** @type {const} */ ([name.slice(0, name.lastIndexOf(":")), choice]));
  const stuff = new Set(document.classes.filter(({ thing }) => !thing).map(({ name }) => name));
  for (const [name, choice] of [...onGround.filter(([owner]) => stuff.has(owner)), ...Object.entries(classes)]) {
    document = setClassStyle(document, name, choice);
  }
  return z ? setZ(document, z) : document;
}
