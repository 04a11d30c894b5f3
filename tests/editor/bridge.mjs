// What Python compares with: reads jobs as JSON from the standard input, answers each.
// Arrays are base64 of their bytes, little-endian.

import { buffer } from "node:stream/consumers";

import { findObject, flatten, fromWire, Refusal, toWire } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { tight } from "../../src/gesso/editor/static/model/masks.js";
import * as png from "../../src/gesso/editor/static/model/png.js";
import { polygon } from "../../src/gesso/editor/static/model/raster.js";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

/** Python's names of edits; objects are [class, id]. */
const EDITS = {
  move_object: (d, find, { key, dx, dy, scale }) => edits.moveObject(d, find(key), dx, dy, scale),
  relabel_object: (d, find, { key, class: its }) => edits.relabel(d, find(key), its).document,
  duplicate_object: (d, find, { key, dx, dy }) => edits.duplicate(d, find(key), dx, dy).document,
  reorder_object: (d, find, { key, to }) => edits.reorder(d, find(key), to),
  merge_objects: (d, find, { keys }) => edits.merge(d, keys.map(find)),
  split_object: (d, find, { key }) => edits.split(d, find(key)).document,
  remove_object: (d, find, { key }) => edits.remove(d, find(key)),
  lift_region: (d, find, { x, y }) => edits.lift(d, x, y).document,
  add_object: (d, find, { mask, class: its }) => {
    const shape = tight(bytes(mask), d.width, d.height);
    return edits.pasteMask(d, shape, its, shape.x + Math.floor(shape.width / 2), shape.y + shape.height).document;
  },
  paste_object: (d, find, { key, at }) => {
    const { mask, class: its } = findObject(d, find(key));
    return edits.pasteMask(d, mask, its, ...at).document;
  },
};

function state(document) {
  const { label, instance } = flatten(document);
  const { ground } = document;
  return {
    label: text(label),
    instance: text(instance),
    ground: text(ground.label),
    objects: document.objects.map((object) => [object.class, object.id, object.writtenId]),
    used: [...document.usedIds].sort((one, other) => one - other),
  };
}

async function edited({ wire, classes, edits: wanted }) {
  let document = await fromWire(wire, classes);
  const states = [state(document)];
  for (const [name, how] of wanted) {
    const find = ([its, id]) => document.objects.find((object) => object.class === its && object.id === id)?.key ?? -1;
    try {
      document = EDITS[name](document, find, how);
      states.push(state(document));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      states.push({ refused: error.message });
    }
  }
  return { states, wire: await toWire(document) };
}

const JOBS = {
  polygon: ({ points, width, height }) => {
    const mask = polygon(points.map(([x, y]) => ({ x, y })), width, height);
    const whole = new Uint8Array(width * height);
    mask?.bits.forEach((bit, cell) => {
      whole[(mask.y + Math.floor(cell / mask.width)) * width + mask.x + (cell % mask.width)] = bit;
    });
    return text(whole);
  },
  read: async ({ file }) => {
    const { width, height, channels, depth, data } = await png.decode(bytes(file));
    return { width, height, channels, depth, data: text(data) };
  },
  write: async ({ kind, width, height, values }) => {
    const raw = bytes(values);
    const array = { encodeGray16: Uint16Array, encodeRGBA32: Int32Array }[kind] ?? Uint8Array;
    return text(await png[kind](new array(raw.buffer, raw.byteOffset, raw.byteLength / array.BYTES_PER_ELEMENT), width, height));
  },
  edits: edited,
};

const jobs = JSON.parse((await buffer(process.stdin)).toString());
const answers = [];
for (const { job, ...how } of jobs) answers.push(await JOBS[job](how));
process.stdout.write(JSON.stringify(answers));
