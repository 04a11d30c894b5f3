// Opening what people have. Whatever it was, the painting before it is one undo away; what cannot be opened leaves it alone.

import { changedRect, fromWire } from "../model/document.js";
import { replaceInstances } from "../model/edits.js";
import { fromBase64 } from "../model/png.js";
import * as api from "../net/api.js";
import { asInPhotograph } from "./dressing.js";

/** @import { App } from "../app.js" */
/** @import { Document } from "../model/types.js" */

export const KINDS = /** @type {const} */ ({
  photograph: { name: "photograph", accept: "image/png,image/jpeg", open: openPhotograph },
  labels: { name: "label map", accept: "image/png", open: openLabels },
  instances: { name: "instance map", accept: "image/png", open: openInstances },
  project: { name: "project", accept: ".zip,application/zip", open: openProject },
});
/** @typedef {keyof typeof KINDS} Kind */

const SEGMENTED = "photograph"; // what the server calls a layout that a segmenter found
const LONGEST_NAME = 200; // letters, as the server takes it
const SLOW = 400; // ms after which the page says that it is still at it

/** Open a file as what it is said to be. @param {App} app @param {Kind} kind @param {File} file @returns {Promise<boolean>} whether it was opened */
export function openFile(app, kind, file) {
  return attempt(app, `Opening ${file.name} …`, async () => {
    refuseLarge(app, file);
    await KINDS[kind].open(app, file);
  });
}

/** Open a file as what it seems to be. @param {App} app @param {File} file @returns {Promise<boolean>} whether it was opened */
export function openAny(app, file) {
  return attempt(app, `Opening ${file.name} …`, async () => {
    refuseLarge(app, file);
    await KINDS[await guess(file, app.model.limits.pixels)].open(app, file);
  });
}

/** @param {App} app @param {File} file */
function refuseLarge({ model }, { name, size }) {
  const { bytes } = model.limits;
  if (size <= bytes) return;
  throw new Error(`${name} has ${(size / 2 ** 20).toFixed(1)} MiB; allowed are ${(bytes / 2 ** 20).toFixed(0)} MiB. Reduce it first.`);
}

/**
 * Do something that may take a while or fail; whether it did not.
 * @param {App} app @param {string|null} words what is said when it takes a while; null where that is seen anyway
 * @param {() => Promise<void>} act
 */
export async function attempt(app, words, act) {
  const timer = setTimeout(() => words && app.say(words), SLOW);
  try {
    await act();
    return true;
  } catch (error) {
    app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Show an opened document.
 * @param {App} app @param {Document} document @param {string} what @param {Blob|null} [photograph] that it came with
 * @param {Document|null} [original] what was found in that before any edit, where edits are put into it
 */
export function show(app, document, what, photograph = null, original = null) {
  app.replaceDocument({ ...document, source: photograph, original }, { keepHistory: !app.empty, what });
}

/** A picture of a data URL. @param {string} url */
export function blobOf(url) {
  const bytes = /** @type {BlobPart} */ (fromBase64(url.slice(url.indexOf(",") + 1)));
  return new Blob([bytes], { type: url.slice("data:".length, url.indexOf(";")) });
}

/** @param {App} app @param {File} file */
async function openPhotograph(app, file) {
  const copy = new Blob([await file.arrayBuffer()], { type: file.type }); // the file itself may change, or go
  const { document, photograph, fault } = await api.openPhotograph(file);
  if (!document) {
    throw new Error(`No layout is known for ${file.name}: it is none of the dataset's photographs, and no segmenter was given. `
      + "Start with gesso edit MODEL --segmenter FILE, or open a label map.");
  }
  const source = fault ? blobOf(photograph) : copy;
  const name = document.name === SEGMENTED ? file.name.replace(/\.[a-z]{2,4}$/i, "").slice(0, LONGEST_NAME) : document.name;
  const found = await asInPhotograph(app, await fromWire({ ...document, name }, app.model.classes), source);
  show(app, found, `Open ${file.name}`, source, fault ? null : found);
  if (fault) app.say(fault, { kind: "error" });
}

/** @param {App} app @param {File} file */
async function openLabels(app, file) {
  try {
    await showLabels(app, file, false);
  } catch (error) {
    if (!(error instanceof api.Refused && error.message.includes("nearest=true"))) throw error;
    const text = error.message.replace(/, or send nearest=true.*$/, ", or take the nearest class everywhere.");
    const run = () => attempt(app, `Opening ${file.name} …`, () => showLabels(app, file, true));
    app.say(text, { kind: "error", action: { label: "Take the nearest", run } });
  }
}

/** @param {App} app @param {File} file @param {boolean} nearest */
async function showLabels(app, file, nearest) {
  const opened = await api.openLabels(file, nearest);
  show(app, await fromWire(opened, app.model.classes), `Open ${file.name}`);
  const { sentence, unknown = [] } = opened.report ?? {};
  if (sentence) app.say(sentence, { kind: unknown.length ? "error" : "info" });
}

/** @param {App} app @param {File} file */
async function openInstances(app, file) {
  const before = app.document;
  const other = await fromWire(await api.openInstances(file, before), app.model.classes);
  if (app.document !== before) throw new Error("The layout was changed meanwhile; open the instance map again.");
  const untouched = before.original && !changedRect(before.original, before);
  const { original } = before;
  app.apply(`Objects of ${file.name}`, (document) => {
    const after = replaceInstances(document, other);
    return untouched ? { ...after, original: original && replaceInstances(original, other) } : after;
  }, { select: [] });
  app.say(`The layout now has the ${other.objects.length} objects of ${file.name}.`);
}

/** @param {App} app @param {File} file */
async function openProject(app, file) {
  await showProject(app, await api.openProject(file), `Open ${file.name}`);
}

/**
 * @param {App} app
 * @param {{document: any, source: string|null, opened: any, sentence: string, sameModel: boolean}} project @param {string} what
 */
export async function showProject(app, { document, source, opened, sentence, sameModel }, what) {
  const original = opened ? await fromWire(opened, app.model.classes) : null;
  show(app, await fromWire(document, app.model.classes), what, source ? blobOf(source) : null, original);
  if (sentence) app.say(sentence, { kind: sameModel ? "info" : "error" });
}

/**
 * What a dropped file probably is. Only pictures that may be layouts are looked into: a few bytes can say that they are huge.
 * @param {File} file @param {number} most pixels of a layout @returns {Promise<Kind>}
 */
async function guess(file, most) {
  const head = new Uint8Array(await file.slice(0, 33).arrayBuffer());
  if (head[0] === 0x50 && head[1] === 0x4b) return "project";
  const png = head[0] === 0x89 && head[1] === 0x50;
  if (!png) return "photograph";
  const colourType = head[25];
  if (colourType === 0 || colourType === 3) return "labels"; // gray, or with a palette
  const view = new DataView(head.buffer);
  const small = head.length === 33 && view.getUint32(16) * view.getUint32(20) <= most;
  return small && (await fewColours(file)) ? "labels" : "photograph"; // of what is too large the server says so
}

const MOST_COLOURS = 260; // of a label map in colours
const LOOKED_AT = 256; // pixels of a side: cut out of the middle, not reduced, which would mix colours

/** Whether a picture has only flat colours, as maps have. @param {File} file */
async function fewColours(file) {
  try {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.min(LOOKED_AT, side));
    const context = new OffscreenCanvas(width, height).getContext("2d");
    if (!context) return false;
    context.drawImage(bitmap, (bitmap.width - width) >> 1, (bitmap.height - height) >> 1, width, height, 0, 0, width, height);
    const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
    return new Set(pixels).size <= Math.min(MOST_COLOURS, (width * height) / 8);
  } catch {
    return false;
  }
}
