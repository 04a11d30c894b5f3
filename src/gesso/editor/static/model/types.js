// What the editor works on, as types. Other files name them by `@import`.
//
// Documents, objects and masks are values: an edit makes new ones and shares what it leaves alone. Nothing is ever written into
// the arrays of one that exists. Columns are x, rows are y, both from 0; the middle of the pixel (x, y) lies at (x + 0.5, y + 0.5).

/**
 * A part of the picture, in whole pixels.
 * @typedef {{ x: number, y: number, width: number, height: number }} Rect
 */

/** A place in pixels; fractions are allowed where it is no pixel. @typedef {{ x: number, y: number }} Point */

/**
 * A set of pixels, never empty: 0 or 1 per cell of its tight box, row by row. It may lie beyond the picture.
 * @typedef {{ readonly x: number, readonly y: number, readonly width: number, readonly height: number,
 *   readonly bits: Uint8Array }} Mask
 */

/** What a class or an object wears: the number of a mode, or a vector. @typedef {number | number[]} Choice */

/**
 * What the photograph wears beyond the choices for objects; `classes` are choices by class name.
 * @typedef {{ readonly seed: number, readonly classes: Readonly<Record<string, Choice>>, readonly z: number[] | null,
 *   readonly noise: boolean | null }} Styles
 */

/**
 * One class of the model. Of things (cars) each has an id of its own; stuff (road) is one region. The index of ignored pixels is
 * the number of classes.
 * @typedef {{ index: number, name: string, colour: [number, number, number], thing: boolean, value: number }} Class
 */

/**
 * An object. `key` is unique in the session and kept by every edit; `id` was never given to another object of the document;
 * `writtenId` is what the instance map shows: `id` for things, the id of its class's region for stuff.
 * @typedef {{ readonly key: number, readonly class: number, readonly id: number, readonly writtenId: number,
 *   readonly mask: Mask, readonly locked: boolean, readonly hidden: boolean, readonly style: Choice | null,
 *   readonly pinned: boolean }} Obj
 */

/**
 * What is behind all objects, per pixel: class index (UNKNOWN of document.js everywhere where nothing is known) and region id.
 * @typedef {{ readonly label: Uint16Array, readonly instance: Int32Array }} Ground
 */

/**
 * The layout and what it wears. `objects` stand from back to front; `usedIds` are all ids ever given; `classes` are those of the
 * model, so that edits know things from stuff; `source` is the photograph that the layout came with, null where there is none;
 * `original` is the document that was found in it, before any edit, null where edits are not put into the photograph.
 * @typedef {{ readonly width: number, readonly height: number, readonly classes: readonly Class[], readonly ground: Ground,
 *   readonly objects: readonly Obj[], readonly usedIds: ReadonlySet<number>, readonly styles: Styles,
 *   readonly name: string, readonly source: Blob | null,
 *   readonly original: Document | null }} Document
 */

/**
 * What is seen, per pixel: class index, id of the instance map, and key of the object (0 where the ground is seen, -1 the object
 * that a stroke is making).
 * @typedef {{ label: Uint16Array, instance: Int32Array, top: Int32Array }} Flat
 */

/**
 * An edit that makes or names an object: the document after it, and the object's key.
 * @typedef {{ document: Document, key: number }} Made
 */

/** An edit that may make an object. @typedef {{ document: Document, key: number | null }} Edited */

/** An object on the wire; `mask` is a base64 gray PNG of 0 and 255.
 * @typedef {{ class: number, id: number, writtenId: number, x: number, y: number, width: number, height: number, mask: string,
 *   locked: boolean, hidden: boolean, style: Choice | null, pinned: boolean }} ObjWire
 */

/**
 * A document on the wire (JSON): label as base64 gray-16 PNG, instance as base64 RGBA PNG of little-endian 32-bit integers.
 * @typedef {{ version: 1, width: number, height: number, ground: { label: string, instance: string }, objects: ObjWire[],
 *   usedIds: number[], styles: { seed: number, classes: Record<string, Choice>, z: number[] | null, noise: boolean | null },
 *   name: string }} DocumentWire
 */

/**
 * GET /api/model.
 * @typedef {{ name: string, hash: string, recipe: string, classes: Class[], ignored: boolean,
 *   ignoredValue: number | null, size: [number, number],
 *   multiple: number, styleKind: "features" | "z" | "noise" | null, styleRegions: "instance" | "label" | null,
 *   modes: Record<string, number>, channels: number, encoder: boolean, segmenter: string | null,
 *   faithfulness: boolean, project: string | null, examples: number, library: number, limits: { pixels: number, bytes: number }, version: string, session: string }} Model
 */

/**
 * The style as the server takes it.
 * @typedef {{ seed: number, classes?: Record<string, Choice>, instances?: Record<string, Choice>, z?: number[],
 *   noise?: boolean }} StyleJson
 */

/**
 * A picture decoded from PNG: `data` row by row, channels together.
 * @typedef {{ width: number, height: number, channels: 1 | 2 | 3 | 4,
 *   depth: 1 | 2 | 4 | 8 | 16, data: Uint8Array | Uint16Array }} Picture */

export {};
