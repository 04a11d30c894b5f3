// Small pictures of large ones, layouts in their colours, and files to keep.

import { flat } from "../view/layout_bitmap.js";

/** @import { App } from "../app.js" */
/** @import { Document, Mask } from "../model/types.js" */

/** @param {number} width @param {number} height */
export function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** @param {HTMLCanvasElement|OffscreenCanvas} canvas @returns {CanvasRenderingContext2D} */
function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * A picture, reduced so that its longer side has at most `most` pixels.
 * @param {CanvasImageSource & {width: number, height: number}} source @param {number} most
 */
export function reduced(source, most) {
  const share = Math.min(1, most / Math.max(source.width, source.height));
  const canvas = canvasOf(Math.max(1, Math.round(share * source.width)), Math.max(1, Math.round(share * source.height)));
  const drawing = context(canvas);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** What the photograph pane shows, small. @param {App} app @param {number} most pixels of the longer side */
export function seenSmall({ shown: { width, height }, pictures }, most) {
  const share = Math.min(1, most / Math.max(width, height));
  const canvas = canvasOf(Math.max(1, Math.round(share * width)), Math.max(1, Math.round(share * height)));
  const drawing = context(canvas);
  drawing.imageSmoothingQuality = "high";
  for (const picture of pictures) drawing.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The same as a JPEG. @param {App} app @param {number} most @returns {Promise<Blob|null>} */
export function thumbnailBlob(app, most) {
  return new Promise((resolve) => seenSmall(app, most).toBlob(resolve, "image/jpeg", 0.85));
}

/** What the layout looks like in the colours of its classes, RGBA per pixel. @param {Document} document */
export function colours(document) {
  const { label } = flat(document);
  const palette = new Uint32Array(65536); // ignored and unknown stay black
  for (const { index, colour } of document.classes) palette[index] = rgba(colour);
  const black = rgba([0, 0, 0]);
  return new Uint8ClampedArray(Uint32Array.from(label, (value) => palette[value] || black).buffer);
}

/** One pixel in the byte order of this machine. @param {readonly number[]} colour */
function rgba([red, green, blue]) {
  return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
}

/** The layout drawn small. @param {Document} document @param {number} most */
export function layoutThumbnail(document, most) {
  const { width, height } = document;
  const canvas = canvasOf(width, height);
  context(canvas).putImageData(new ImageData(colours(document), width, height), 0, 0);
  return reduced(canvas, most);
}

/** A mask drawn in one colour. @param {Mask} mask @param {readonly number[]} colour */
export function maskPicture({ width, height, bits }, colour) {
  const [on, canvas] = [rgba(colour), canvasOf(width, height)];
  const data = new Uint8ClampedArray(Uint32Array.from(bits, (bit) => (bit ? on : 0)).buffer);
  context(canvas).putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}

/** Hand a file to the browser's downloads. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** What a file may be called, from what a document is. @param {string} name @param {string} ending */
export const fileName = (name, ending) => `${name.replace(/\.[a-z]{2,4}$/i, "").replace(/[^\p{L}\p{N}_ -]+/gu, "-").trim() || "gesso"}${ending}`;
