// Documents as they travel: JSON with PNG files in base64. The server's partner is gesso.editor.wire.

/** @import {Class, Document, DocumentWire, Mask, Obj, ObjWire, Picture} from "./types.js" */

import { fromBase64, toBase64 } from "./base64.js";
import { freshKey } from "./keys.js";
import { tight } from "./masks.js";
import { decode, encodeGray16, encodeGray8, encodeRGBA32, int32 } from "./png.js";
import { UNKNOWN } from "./unknown.js";

/**
 * A PNG of one channel, or of four that are one number.
 * @param {string} text base64 @param {{ width: number, height: number }} size that it must have @returns {Promise<Picture>}
 */
async function picture(text, size) {
  const found = await decode(fromBase64(text));
  if (found.width !== size.width || found.height !== size.height) {
    const [is, should] = [found, size].map(({ width, height }) => `${width} x ${height}`);
    throw new Error(`A map of the document is ${is} pixels where ${should} are needed.`);
  }
  return found;
}

/**
 * A mask alone, as the library sends it.
 * @param {Pick<ObjWire, "x" | "y" | "width" | "height" | "mask">} wire @returns {Promise<Mask>}
 */
export async function maskFromWire(wire) {
  const { data } = await picture(wire.mask, wire);
  const bits = new Uint8Array(data.length);
  for (let cell = 0; cell < bits.length; cell += 1) if (data[cell]) bits[cell] = 1;
  const mask = tight(bits, wire.width, wire.height, wire.x, wire.y);
  if (!mask) throw new Error("A mask of the document holds no pixel.");
  return mask;
}

/** Masks and grounds that did not change since are not encoded again. @type {WeakMap<object, Promise<any>>} */
const encoded = new WeakMap();

/**
 * What is made of a value that never changes: once.
 * @template {object} T, R
 * @param {T} value @param {(value: T) => Promise<R>} make @returns {Promise<R>}
 */
function once(value, make) {
  const found = encoded.get(value) ?? make(value);
  encoded.set(value, found);
  return found;
}

/** @param {Mask} mask */
async function maskToWire({ x, y, width, height, bits }) {
  const cells = bits.slice();
  for (let cell = 0; cell < cells.length; cell += 1) cells[cell] *= 255;
  return { x, y, width, height, mask: toBase64(await encodeGray8(cells, width, height)) };
}

/**
 * A document from its JSON. Its objects get new keys; the photograph that it came with is not in the JSON.
 * @param {DocumentWire} wire @param {readonly Class[]} classes of the model @returns {Promise<Document>}
 */
export async function fromWire(wire, classes) {
  if (wire.version !== 1) throw new Error(`The document is of version ${wire.version}; this page reads version 1.`);
  const [label, instance] = await Promise.all([picture(wire.ground.label, wire), picture(wire.ground.instance, wire)]);
  const masks = await Promise.all(wire.objects.map(maskFromWire));
  const objects = wire.objects.map(({ class: its, id, writtenId, locked, hidden, style, pinned }, place) => {
    return { key: freshKey(), class: its, id, writtenId, mask: masks[place], locked, hidden, style, pinned };
  });
  const ground = { label: Uint16Array.from(label.data), instance: int32(instance) };
  const { width, height, usedIds, styles, name } = wire;
  return { width, height, classes, ground, objects, usedIds: new Set(usedIds), styles, name, source: null, original: null };
}

/**
 * A document as JSON. Where nothing is known of the ground the wire says the first class that is not countable.
 * @param {Document} document @returns {Promise<DocumentWire>}
 */
export async function toWire(document) {
  const { width, height, styles, name } = document;
  const ground = await once(document.ground, async () => {
    const { label, instance } = knownGround(document);
    const files = await Promise.all([encodeGray16(label, width, height), encodeRGBA32(instance, width, height)]);
    return files.map(toBase64);
  });
  return {
    version: 1,
    width,
    height,
    ground: { label: ground[0], instance: ground[1] },
    objects: await Promise.all(document.objects.map(objectToWire)),
    usedIds: [...document.usedIds],
    styles: { ...styles, classes: { ...styles.classes } },
    name,
  };
}

/** @param {Document} document */
function knownGround({ ground, classes }) {
  if (ground.label[0] !== UNKNOWN) return ground; // everywhere or nowhere
  const stuff = classes.findIndex((its) => !its.thing);
  const known = stuff < 0 ? classes.length : stuff;
  return { label: ground.label.map(() => known), instance: ground.instance.map(() => known) };
}

/** @param {Obj} object @returns {Promise<ObjWire>} */
async function objectToWire({ class: its, id, writtenId, mask, locked, hidden, style, pinned }) {
  return { class: its, id, writtenId, ...(await once(mask, maskToWire)), locked, hidden, style, pinned };
}
