// Requests to the editor's server. Class ids and object ids travel as PNG, made without a canvas, so that they arrive exactly.

import { flat } from "../view/layout_bitmap.js";
import { encodeLabel, encodeRGBA32 } from "../model/png.js";
import { styleJson } from "../model/styles.js";

/** @import { Document, DocumentWire, Model, StyleJson } from "../model/types.js" */
/** @typedef {{label: Uint8Array, instance: Uint8Array}} Maps the layout of a document, as the server takes it: PNG files */

const ENVELOPE = 2 ** 14; // bytes of a form around its files, at most
const PATIENCE = 6000; // ms that small questions may take before the server counts as gone

/** The server answered, and refused: what it said is a sentence for people. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer. Your painting is kept here; the editor goes on as soon as the server is back.");
  }
}

/** @type {WeakMap<Document, Promise<Maps>>} */
const encoded = new WeakMap();

/**
 * The label map and the instance map that a document shows; encoded once per document.
 * @param {Document} document
 * @returns {Promise<Maps>}
 */
export function maps(document) {
  let found = encoded.get(document);
  if (!found) {
    found = encode(document);
    encoded.set(document, found);
  }
  return found;
}

/** @param {Document} document @returns {Promise<Maps>} */
async function encode(document) {
  const { width, height } = document;
  const { label, instance } = flat(document);
  const [labels, ids] = await Promise.all([encodeLabel(label, width, height), encodeRGBA32(instance, width, height)]);
  return { label: labels, instance: ids };
}

/** The same as files for forms. @param {Document} document */
async function files(document) {
  const { label, instance } = await maps(document);
  return { label: png(label), instance: png(instance) };
}

/** @param {Uint8Array} bytes */
export const png = (bytes) => new Blob([/** @type {BlobPart} */ (bytes)], { type: "image/png" });

/** What most requests say: a document, and the model that knows what its styles mean. @typedef {{document: Document, model: Model}} Scene */

/**
 * Form fields of a scene: label, instance, style and seed.
 * @param {Scene} scene
 * @returns {Promise<FormData>}
 */
export async function fields(scene) {
  const { label, instance } = await files(scene.document);
  const form = new FormData();
  form.append("label", label, "label.png");
  form.append("instance", instance, "instance.png");
  form.append("style", JSON.stringify(styleOf(scene)));
  form.append("seed", String(scene.document.styles.seed));
  return form;
}

/** @param {Scene} scene @returns {StyleJson} */
export const styleOf = ({ document, model }) => styleJson(document, model) ?? { seed: document.styles.seed };

/**
 * One request. Rejects with Refused, Unreachable, or AbortError.
 * @param {string} path below "api/"
 * @param {{form?: FormData, signal?: AbortSignal, patience?: number}} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, { form, signal, patience } = {}) {
  const limits = [signal, patience ? AbortSignal.timeout(patience) : undefined].filter((limit) => limit !== undefined);
  /** @type {Response} */
  let response;
  try {
    response = await fetch(`api/${path}`, {
      method: form ? "POST" : "GET",
      body: form,
      cache: "no-store",
      signal: limits.length ? AbortSignal.any(limits) : undefined,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  if (response.ok) return response;
  throw new Refused(response.status, await reason(response));
}

/** What a refusal says, in one sentence. @param {Response} response */
async function reason(response) {
  try {
    const { detail } = await response.json();
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail)) return detail.map(({ msg }) => msg).join("; ");
  } catch {
    // no JSON: a proxy, or a server that is not ours
  }
  return `The server refused this (${response.status} ${response.statusText}).`;
}

/** @param {string} path @param {number} [patience] */
const get = async (path, patience) => (await ask(path, { patience })).json();

/** @param {string} path @param {FormData} form @param {AbortSignal} [signal] */
const post = async (path, form, signal) => (await ask(path, { form, signal })).json();

/** @param {Record<string, Blob|string|number|undefined|null>} values */
export function formOf(values) {
  const form = new FormData();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null) continue;
    if (value instanceof File) form.append(name, value, value.name);
    else if (value instanceof Blob) form.append(name, value, `${name}.png`);
    else form.append(name, String(value));
  }
  return form;
}

/** @returns {Promise<Model>} */
export const model = () => get("model", PATIENCE);

export const examples = () => get("examples");
/** The project that the server was started with. */
export const firstProject = () => get("project");
/** @param {number} number */
export const example = (number) => get(`examples/${number}`);
/** @param {number} number */
export const examplePhotograph = async (number) => (await ask(`examples/${number}/photograph`)).blob();

/** Objects to paste that were found so far, and whether that is all. */
export async function library() {
  const response = await ask("library");
  return { items: await response.json(), ready: response.headers.get("X-Gesso-Ready") !== "false" };
}
/** @param {number} number */
export const libraryItem = (number) => get(`library/${number}`);

/**
 * The photograph of a scene.
 * @param {Scene} scene @param {number} scale @param {AbortSignal} [signal]
 * @returns {Promise<{blob: Blob, milliseconds: Record<string, number>}>}
 */
export async function render(scene, scale, signal) {
  const form = await fields(scene);
  form.append("scale", String(scale));
  const response = await ask("render", { form, signal });
  const milliseconds = JSON.parse(response.headers.get("X-Gesso-Milliseconds") ?? "{}");
  return { blob: await response.blob(), milliseconds };
}

/**
 * An object, or a whole class, wearing one mode; cropped to it.
 * @param {Scene} scene @param {{class: string, id?: number, mode: number, scale: number}} what @param {AbortSignal} [signal]
 */
export async function mode(scene, what, signal) {
  const form = await fields(scene);
  for (const [name, value] of Object.entries(what)) if (value !== undefined) form.append(name, String(value));
  return (await ask("mode", { form, signal })).blob();
}

/** What everything wears. @param {Scene} scene */
export const wornStyles = async (scene) => post("styles", await fields(scene));

/**
 * What the encoder sees in a photograph, as Style JSON.
 * @param {Scene} scene @param {Blob} photograph @param {boolean} [belongs] whether the layout is known to be its
 */
export async function encodeStyle(scene, photograph, belongs = false) {
  const { label, instance } = await files(scene.document);
  return post("encode", formOf({ photograph, label, instance, belongs: String(belongs) }));
}

/**
 * Between two styles: 0 is the first, 1 the second.
 * @param {Scene} scene @param {object} first @param {object} second @param {number} t @param {AbortSignal} [signal]
 */
export async function interpolate(scene, first, second, t, signal) {
  const { label, instance } = await files(scene.document);
  const [one, other] = [JSON.stringify(first), JSON.stringify(second)];
  return post("interpolate", formOf({ first: one, second: other, t, label, instance }), signal);
}

/** @param {Scene} scene @param {AbortSignal} [signal] */
export const disagreement = async (scene, signal) => post("disagreement", await fields(scene), signal);

/** @param {File} file @param {boolean} nearest take the nearest class even where most colours are unknown */
export const openLabels = (file, nearest) => post("open/labels", formOf({ file, nearest: String(nearest) }));
/** @param {File} file @param {Document} document */
export const openInstances = async (file, document) => post("open/instances", formOf({ file, label: (await files(document)).label }));
/** @param {File} file */
export const openPhotograph = (file) => post("open/photograph", formOf({ file }));
/** @param {File} file */
export const openProject = (file) => post("project/open", formOf({ file }));

/** A file, as text fields of forms are limited. @param {DocumentWire} wire */
export const jsonFile = (wire) => new File([JSON.stringify(wire)], "document.json", { type: "application/json" });

/**
 * A project, and the names of what it lacks, as it would be too large to open again. What is too large to be sent lacks already here:
 * first the photograph, which can be made again, then what the layout came with.
 * @param {{document: DocumentWire, opened: DocumentWire|null}} wires as `toWire` writes them: of what is painted, and of what it came with
 * @param {{photograph: Blob|null, source: Blob|null}} pictures @param {number} most bytes of a request
 */
export async function saveProject({ document, opened }, { photograph, source }, most) {
  /** @type {Record<string, Blob|null>} */
  const parts = { document: jsonFile(document), opened: opened && jsonFile(opened), photograph, source };
  const missing = ["photograph", "source"].filter((name) => {
    const size = Object.values(parts).reduce((sum, part) => sum + (part?.size ?? 0), ENVELOPE);
    if (size <= most || !parts[name]) return false;
    delete parts[name];
    return true;
  });
  const response = await ask("project/save", { form: formOf(parts) });
  const told = response.headers.get("X-Gesso-Left-Out")?.split(", ") ?? [];
  return { blob: await response.blob(), leftOut: [...told, ...missing.map((name) => `${name}.png`)] };
}
