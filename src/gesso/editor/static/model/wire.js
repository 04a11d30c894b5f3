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
  return { width, height, classes, ground, objects, usedIds: new Set(usedIds), styles, name, source: null };
}

/**
 * A document as JSON. Where nothing is known of the ground the wire says the first class that is not countable.
 * @param {Document} document @returns {Promise<DocumentWire>}
 */
export async function toWire(document) {
  const { width, height, styles, name } = document;
  const { label, instance } = knownGround(document);
  const [labelFile, instanceFile] = await Promise.all([
    encodeGray16(label, width, height),
    encodeRGBA32(instance, width, height),
  ]);
  return {
    version: 1,
    width,
    height,
    ground: { label: toBase64(labelFile), instance: toBase64(instanceFile) },
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
  return { class: its, id, writtenId, ...(await maskToWire(mask)), locked, hidden, style, pinned };
}
