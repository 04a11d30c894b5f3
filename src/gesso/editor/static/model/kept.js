// What an edited document shows otherwise than the photograph that it was found in. The server's partner, which decides what is put
// into the photograph, is gesso.synthesis.retouching.matching.find_changed. Pure.

import { className } from "./document.js";

/** @import {Document, Flat, Model, Obj} from "./types.js" */
/** What of the model says how things are dressed. @typedef {Pick<Model, "styleKind" | "styleRegions">} Dressing */
/** A document, and what is seen of it at every pixel. @typedef {{ document: Document, flat: Flat }} Seen */

/** A document as the photograph's own: it came with nothing itself. @param {Document} document @returns {Document} */
export const bare = (document) => ({ ...document, source: null, original: null });

/**
 * The pixels at which another class or object is seen, one that moved, or one of other looks: 1, and 0 elsewhere; null where
 * nothing is.
 * @param {Seen} before @param {Seen} after of the same size @param {Dressing} model @returns {Uint8Array | null}
 */
export function changedCells(before, after, model) {
  const { label, instance, top } = after.flat;
  const cells = new Uint8Array(label.length);
  const [moved, looks] = [movedKeys(before.document, after.document), [before, after].map(({ document }) => looksOf(document, model))];
  let any = false;
  for (let at = 0, last = -1, same = true; at < cells.length; at += 1) {
    const was = before.flat.top[at];
    if (last < 0 || label[at] !== label[last] || top[at] !== top[last] || was !== before.flat.top[last]) {
      same = !moved.has(top[at]) && looks[0](label[at], was) === looks[1](label[at], top[at]);
      last = at;
    }
    if (same && label[at] === before.flat.label[at] && instance[at] === before.flat.instance[at]) continue;
    cells[at] = 1;
    any = true;
  }
  return any ? cells : null;
}

/** Keys of objects that are elsewhere, or of another size, than in an earlier document. @param {Document} before @param {Document} after */
function movedKeys(before, after) {
  const were = new Map(before.objects.map((object) => [nameOf(object), object.mask]));
  return new Set(after.objects.filter((object) => {
    const [was, { mask }] = [were.get(nameOf(object)), object];
    if (!was || was === mask) return false;
    const { x, y, width, height } = mask;
    const shape = was.x === x && was.y === y && was.width === width && was.height === height;
    return !shape || (was.bits !== mask.bits && was.bits.some((bit, cell) => bit !== mask.bits[cell]));
  }).map(({ key }) => key));
}

/** What stays the name of an object in projects, as keys are of a session. @param {Obj} object */
const nameOf = (object) => `${object.class}:${object.id}`;

/**
 * What is worn by what is seen: by its class, and the key of its object (0 the ground).
 * @param {Document} document @param {Dressing} model @returns {(index: number, key: number) => string}
 */
function looksOf(document, { styleKind, styleRegions }) {
  if (styleKind !== "features") return () => ""; // one style for the whole picture is no change of any thing in it
  const { classes, seed } = document.styles;
  const own = new Map(styleRegions === "label" ? [] : document.objects.map(({ key, style }) => [key, style]));
  return (index, key) => JSON.stringify(own.get(key) ?? classes[className(document, index)] ?? { seed });
}
