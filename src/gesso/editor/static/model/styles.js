// What the photograph wears, as the server takes it.

/** @import {Choice, Document, Model, Obj, StyleJson} from "./types.js" */

import { className } from "./document.js";

const IGNORED = "(ignored)"; // what stands for the class of ignored pixels

/** How styles name an object: "car:26001", by the id that the instance map shows. @param {Document} document @param {Obj} object */
export function objectName(document, object) {
  return `${document.classes[object.class] ? className(document, object.class) : IGNORED}:${object.writtenId}`;
}

/**
 * The style of a document: only what the model takes.
 * @param {Document} document @param {Pick<Model, "styleKind" | "styleRegions">} model
 * @returns {StyleJson | null} null for models without style, which refuse every one
 */
export function styleJson(document, { styleKind, styleRegions }) {
  const { seed, z, noise } = document.styles;
  if (styleKind === "z") return z ? { seed, z } : { seed };
  if (styleKind === "noise") return noise === null ? { seed } : { seed, noise };
  if (styleKind !== "features") return null;
  const classes = knownClasses(document);
  return styleRegions === "label" ? { seed, classes } : { seed, classes, instances: chosen(document) };
}

/** Choices for classes that the model has. @param {Document} document */
function knownClasses(document) {
  const names = new Set([...document.classes.map((its) => its.name), IGNORED]);
  return Object.fromEntries(Object.entries(document.styles.classes).filter(([name]) => names.has(name)));
}

/** Choices for objects that are shown; of several that are one region, the frontmost one's. @param {Document} document */
function chosen(document) {
  /** @type {Record<string, Choice>} */
  const instances = {};
  for (const object of document.objects) {
    if (object.style !== null && !object.hidden) instances[objectName(document, object)] = object.style;
  }
  return instances;
}

/** A seed that nobody chose. */
export function anySeed() {
  return Math.floor(Math.random() * 2 ** 31);
}

/**
 * Draw all styles anew: another seed, and nothing chosen but for pinned objects and noise.
 * @param {Document} document @param {number} [seed] @returns {Document}
 */
export function randomise(document, seed = anySeed()) {
  const objects = document.objects.map((object) => (object.pinned || object.style === null ? object : { ...object, style: null }));
  return { ...document, objects, styles: { ...document.styles, seed, classes: {}, z: null } };
}
