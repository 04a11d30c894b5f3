// Documents as JSON, and the style that goes to the server.

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyDocument, fromWire, toWire, UNKNOWN } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { rectangle } from "../../src/gesso/editor/static/model/raster.js";
import { randomise, styleJson } from "../../src/gesso/editor/static/model/styles.js";
import { anyDocument, anyEdit, CAR, Chance, CLASSES, IGNORED, ROAD, TREE } from "./support.mjs";

const FEATURES = { styleKind: "features", styleRegions: "instance" };

/** All but the keys, which are new at every opening. */
function unkeyed(document) {
  return { ...document, objects: document.objects.map((object) => ({ ...object, key: 0 })) };
}

test("a document is the same after it has travelled", async () => {
  for (let seed = 0; seed < 40; seed += 1) {
    const chance = new Chance(seed);
    let document = anyDocument(chance);
    for (let n = 0; n < 10; n += 1) document = anyEdit(chance, document);
    const back = await fromWire(JSON.parse(JSON.stringify(await toWire(document))), CLASSES);
    const ground = document.ground.label[0] === UNKNOWN ? emptyDocument(document.width, document.height, CLASSES).ground : document.ground;
    assert.deepEqual(unkeyed(back), unkeyed({ ...document, ground }));
    const keys = new Set([...document.objects, ...back.objects].map((object) => object.key));
    assert.equal(keys.size, 2 * document.objects.length, "keys are those of one session");
  }
});

test("ids may be any whole number of 32 bits", async () => {
  const plain = emptyDocument(2, 2, CLASSES, ROAD);
  const document = { ...plain, ground: { ...plain.ground, instance: Int32Array.of(-1, 2 ** 31 - 1, -(2 ** 31), 70000) } };
  assert.deepEqual((await fromWire(await toWire(document), CLASSES)).ground.instance, document.ground.instance);
});

test("where nothing is known of the ground the first stuff travels", async () => {
  const { document } = edits.lift(emptyDocument(3, 2, CLASSES, TREE), 0, 0);
  const back = await fromWire(await toWire(document), CLASSES);
  assert.deepEqual([...back.ground.label, ...back.ground.instance], Array(12).fill(0));
  assert.equal(back.objects[0].class, TREE);
});

test("what is no document of this kind is refused", async () => {
  const wire = await toWire(edits.pasteMask(emptyDocument(4, 4, CLASSES, ROAD), rectangle({ x: 0, y: 0 }, { x: 1, y: 1 }), CAR, 2, 3).document);
  const [object] = wire.objects;
  const empty = await toWire({ ...emptyDocument(2, 2, CLASSES, ROAD), objects: [] });
  const cases = [
    [{ ...wire, version: 2 }, /version 2/], [{ ...wire, width: 5 }, /4 x 4 where 5 x 4|4 x 4 pixels where 5 x 4/],
    [{ ...wire, objects: [{ ...object, mask: empty.ground.label, width: 2, height: 2 }] }, null],
    [{ ...wire, objects: [{ ...object, width: 3 }] }, /2 x 2 pixels where 3 x 2/],
  ];
  for (const [broken, message] of cases) {
    if (message) await assert.rejects(fromWire(broken, CLASSES), message);
    else assert.equal((await fromWire(broken, CLASSES)).objects[0].mask.bits.length, 4);
  }
});

/** Two cars and a tree, of which one car and the tree are dressed. */
function dressed() {
  let document = emptyDocument(9, 9, CLASSES, ROAD);
  const keys = [];
  for (const [its, x] of [[CAR, 2], [CAR, 5], [TREE, 7], [TREE, 3]]) {
    const made = edits.pasteMask(document, rectangle({ x: 0, y: 0 }, { x: 1, y: 1 }), its, x, 5);
    document = made.document;
    keys.push(made.key);
  }
  document = edits.setStyle(edits.setStyle(document, keys[0], 4), keys[2], [0.25, 0.5]);
  document = edits.setClassStyle(edits.setClassStyle(document, "sky", 1), "(ignored)", 0);
  return { document: edits.setSeed(edits.setClassStyle(document, "marble", 3), 7), keys };
}

test("the style says what the model takes, by the names of its objects", () => {
  const { document, keys } = dressed();
  const classes = { sky: 1, "(ignored)": 0 };
  const instances = { "car:4001": 4, [`tree:${TREE}`]: [0.25, 0.5] };
  assert.deepEqual(styleJson(document, FEATURES), { seed: 7, classes, instances });
  assert.deepEqual(styleJson(document, { styleKind: "features", styleRegions: "label" }), { seed: 7, classes });
  assert.deepEqual(styleJson(edits.setHidden(document, keys[0], true), FEATURES).instances, { [`tree:${TREE}`]: [0.25, 0.5] });
  const later = edits.setStyle(document, keys[3], 2);
  assert.equal(styleJson(later, FEATURES).instances[`tree:${TREE}`], 2, "of one region the frontmost object's");
  assert.equal(styleJson(document, { styleKind: null, styleRegions: null }), null);
});

test("what is chosen for a class can be left to chance again", () => {
  const { document } = dressed();
  assert.deepEqual(edits.setClassStyle(document, "sky", null).styles.classes, { "(ignored)": 0, marble: 3 });
  assert.deepEqual(document.styles.classes, { sky: 1, "(ignored)": 0, marble: 3 });
});

test("z and noise are said where they were chosen", () => {
  const { document } = dressed();
  const [z, noise] = [{ styleKind: "z", styleRegions: null }, { styleKind: "noise", styleRegions: null }];
  assert.deepEqual(styleJson(document, z), { seed: 7 });
  assert.deepEqual(styleJson(edits.setZ(document, [1, 2]), z), { seed: 7, z: [1, 2] });
  assert.deepEqual(styleJson(document, noise), { seed: 7 });
  assert.deepEqual(styleJson(edits.setNoise(document, false), noise), { seed: 7, noise: false });
});

test("a lifted region of ignored pixels has a name too", () => {
  const { document, key } = edits.lift(edits.paint(emptyDocument(6, 6, CLASSES, ROAD), rectangle({ x: 1, y: 1 }, { x: 2, y: 2 }), IGNORED).document, 1, 1);
  assert.deepEqual(styleJson(edits.setStyle(document, key, 1), FEATURES).instances, { [`(ignored):${IGNORED}`]: 1 });
});

test("drawing anew keeps what is pinned", () => {
  const { document, keys } = dressed();
  const after = randomise(edits.setZ(edits.setPinned(document, keys[0], true), [3]), 99);
  assert.deepEqual(after.objects.map((object) => object.style), [4, null, null, null]);
  assert.deepEqual(after.styles, { seed: 99, classes: {}, z: null, noise: null });
  assert.equal(after.ground, document.ground);
  assert.notEqual(randomise(document).styles.seed, randomise(document).styles.seed);
});
