// Blobs as bytes: a page that goes away still writes bytes into the database, but a Blob takes the browser longer than the page lives.

/** @typedef {{type: string, bytes: ArrayBuffer}} Stored */

/** @type {WeakMap<Blob, ArrayBuffer>} */
const known = new WeakMap();

/** Read a blob, so that it can be stored at any moment from then on. @template {Blob|null} T @param {T} blob @returns {Promise<T>} */
export async function readAhead(blob) {
  if (blob && !known.has(blob)) known.set(blob, await blob.arrayBuffer());
  return blob;
}

/** What to store of a blob: its bytes; itself, where they were not read yet. @param {Blob|null} blob @returns {Stored|Blob|null} */
export function stored(blob) {
  const bytes = blob && known.get(blob);
  return blob && bytes ? { type: blob.type, bytes } : blob;
}

/** The blob that was stored. @param {Stored|Blob|null} found @returns {Blob|null} */
export function restored(found) {
  return found === null || found instanceof Blob ? found : new Blob([found.bytes], { type: found.type });
}
