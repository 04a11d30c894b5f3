// What differs between two documents of one size, small: areas of one value are runs, and what both share is not kept twice.

/** @import {Document, Ground, Obj} from "./types.js" */

/** The two sides of a patch. @typedef {"before" | "after"} Side */

/** An object whose mask is packed as runs; null where it has the cells of the same object on the other side.
 * @typedef {{ object: Obj, runs: Uint32Array | null }} Packed */

/**
 * What differs: runs of the ground, a stretch of the list of objects (keys of those that are on both sides), ids, and the rest.
 * @typedef {{ ground: Int32Array | null,
 *   objects: { start: number, before: (Packed | number)[], after: (Packed | number)[] } | null,
 *   ids: { before: number[], after: number[] } | null,
 *   rest: Record<Side, Pick<Document, "styles" | "name" | "classes" | "source">> }} Patch
 */

const RUN = 6; // numbers of a run of the ground: start, length, label and instance before, label and instance after
const OBJECT_BYTES = 200; // about what an object takes without its mask
const ENTRY_BYTES = 500; // about what a patch takes by itself
const NO_CELLS = new Uint8Array(0);

/** @param {Ground} before @param {Ground} after @returns {Int32Array | null} */
export function groundPatch(before, after) {
  if (before === after) return null;
  const [oldLabel, oldId, label, id] = [before.label, before.instance, after.label, after.instance];
  /** @type {number[]} */
  const runs = [];
  for (let place = 0; place < label.length; place += 1) {
    if (label[place] === oldLabel[place] && id[place] === oldId[place]) continue;
    const start = place;
    const [a, b, c, d] = [oldLabel[place], oldId[place], label[place], id[place]];
    while (oldLabel[place] === a && oldId[place] === b && label[place] === c && id[place] === d) place += 1;
    runs.push(start, place - start, a, b, c, d);
    place -= 1;
  }
  return Int32Array.from(runs);
}

/** @param {Ground} ground @param {Int32Array} runs @param {Side} side @returns {Ground} */
function groundAt(ground, runs, side) {
  const [label, instance] = [ground.label.slice(), ground.instance.slice()];
  const value = side === "before" ? 2 : 4;
  for (let run = 0; run < runs.length; run += RUN) {
    const [start, end] = [runs[run], runs[run] + runs[run + 1]];
    label.fill(runs[run + value], start, end);
    instance.fill(runs[run + value + 1], start, end);
  }
  return { label, instance };
}

/** @param {readonly Obj[]} before @param {readonly Obj[]} after @returns {Patch["objects"]} */
export function objectsPatch(before, after) {
  let start = 0;
  while (start < before.length && before[start] === after[start]) start += 1;
  let same = 0;
  const most = Math.min(before.length, after.length) - start;
  while (same < most && before[before.length - 1 - same] === after[after.length - 1 - same]) same += 1;
  const [old, now] = [before.slice(start, before.length - same), after.slice(start, after.length - same)];
  if (!old.length && !now.length) return null;
  return { start, before: old.map((object) => packed(object, now)), after: now.map((object) => packed(object, old)) };
}

/** @param {Obj} object @param {readonly Obj[]} others on the other side @returns {Packed | number} */
function packed(object, others) {
  const other = others.find(({ key }) => key === object.key);
  if (other === object) return object.key;
  const runs = other?.mask.bits === object.mask.bits ? null : runsOf(object.mask.bits);
  return { object: { ...object, mask: { ...object.mask, bits: NO_CELLS } }, runs };
}

/** @param {readonly Obj[]} objects @param {NonNullable<Patch["objects"]>} patch @param {Side} side @returns {Obj[]} */
function objectsAt(objects, patch, side) {
  const gone = patch[side === "before" ? "after" : "before"].length;
  const there = new Map(objects.slice(patch.start, patch.start + gone).map((object) => [object.key, object]));
  const come = patch[side].map((one) => {
    if (typeof one === "number") return /** @type {Obj} */ (there.get(one));
    const { object, runs } = one;
    const { width, height } = object.mask;
    const bits = runs ? bitsOf(runs, width * height) : /** @type {Obj} */ (there.get(object.key)).mask.bits;
    return { ...object, mask: { ...object.mask, bits } };
  });
  return [...objects.slice(0, patch.start), ...come, ...objects.slice(patch.start + gone)];
}

/** Lengths of runs, the first of zeros. @param {Uint8Array} bits */
export function runsOf(bits) {
  /** @type {number[]} */
  const runs = [];
  for (let at = 0, value = 0; at < bits.length; value ^= 1) {
    const next = bits.indexOf(value ^ 1, at);
    const end = next < 0 ? bits.length : next;
    runs.push(end - at);
    at = end;
  }
  return Uint32Array.from(runs);
}

/** @param {Uint32Array} runs @param {number} length */
export function bitsOf(runs, length) {
  const bits = new Uint8Array(length);
  let at = 0;
  runs.forEach((run, place) => {
    if (place % 2) bits.fill(1, at, at + run);
    at += run;
  });
  return bits;
}

/** @param {ReadonlySet<number>} before @param {ReadonlySet<number>} after @returns {Patch["ids"]} the ids that only one side has */
export function idsPatch(before, after) {
  if (before === after) return null;
  return { before: [...before].filter((id) => !after.has(id)), after: [...after].filter((id) => !before.has(id)) };
}

/** @param {ReadonlySet<number>} ids @param {NonNullable<Patch["ids"]>} patch @param {Side} side */
function idsAt(ids, patch, side) {
  const gone = new Set(patch[side === "before" ? "after" : "before"]);
  return new Set([...[...ids].filter((id) => !gone.has(id)), ...patch[side]]);
}

/**
 * The document on one side of a patch.
 * @param {Document} document the one on the other side @param {Patch} patch @param {Side} side @returns {Document}
 */
export function stepped(document, { ground, objects, ids, rest }, side) {
  return {
    ...document,
    ...rest[side],
    ground: ground ? groundAt(document.ground, ground, side) : document.ground,
    objects: objects ? objectsAt(document.objects, objects, side) : document.objects,
    usedIds: ids ? idsAt(document.usedIds, ids, side) : document.usedIds,
  };
}

/** About how much memory a patch takes. @param {Patch} patch */
export function patchBytes({ ground, objects, ids }) {
  let bytes = ENTRY_BYTES + (ground?.byteLength ?? 0) + 8 * ((ids?.before.length ?? 0) + (ids?.after.length ?? 0));
  for (const one of [...(objects?.before ?? []), ...(objects?.after ?? [])]) {
    bytes += typeof one === "number" ? 8 : OBJECT_BYTES + (one.runs?.byteLength ?? 0);
  }
  return bytes;
}
