// Layouts to return to: exactly, in any order, and in little room.

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyDocument } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { rectangle } from "../../src/gesso/editor/static/model/raster.js";
import { States } from "../../src/gesso/editor/static/model/states.js";
import { anyDocument, anyEdit, Chance, CLASSES, forSeeds, ROAD, SKY } from "./support.mjs";

test("every document that was kept is got back as it was, the oldest forgotten or not", () => {
  forSeeds(20, (chance) => {
    const states = new States();
    const kept = new Map();
    let document = anyDocument(chance);
    for (let n = 0; n < 30; n += 1) {
      document = chance.sometimes(0.1) ? anyDocument(chance) : anyEdit(chance, document);
      kept.set(states.keep(document), structuredClone(document));
      if (chance.sometimes(0.3)) document = states.get(chance.of([...kept.keys()]));
      if (chance.sometimes(0.1)) {
        const first = chance.of([...kept.keys()]);
        states.forgetBefore(first);
        for (const number of kept.keys()) if (number < first) kept.delete(number);
      }
    }
    for (const [number, expected] of [...kept].reverse()) assert.deepEqual(states.get(number), expected);
    for (const [number, expected] of kept) assert.deepEqual(states.get(number), expected);
  });
});

test("sixty layouts of 2048 x 1024 take less than one of them whole", () => {
  const states = new States();
  let document = emptyDocument(2048, 1024, CLASSES, SKY);
  for (let n = 0; n < 60; n += 1) {
    document = edits.paint(document, rectangle({ x: 9 * n, y: 9 * n }, { x: 9 * n + 300, y: 9 * n + 200 }), ROAD).document;
    states.keep(document);
  }
  assert.ok(states.bytes < 2048 * 1024, `${states.bytes} bytes`);
});

test("what is got back is a document of its own: nothing worked out for it stays with what is kept", () => {
  const states = new States();
  const document = anyDocument(new Chance(1));
  const number = states.keep(document);
  assert.notEqual(states.get(number), document);
  assert.notEqual(states.get(number), states.get(number));
  assert.equal(states.get(number).ground, document.ground);
});

test("the photograph that a layout came with follows undo and return", async () => {
  const [first, second] = [1, 2].map((byte) => new Blob([Uint8Array.of(byte)]));
  const states = new States();
  const document = { ...emptyDocument(8, 8, CLASSES, SKY), source: first };
  const number = states.keep(document);
  states.keep({ ...edits.setSeed(document, 3), source: second });
  assert.equal(states.get(number).source, first);
  assert.equal(states.get(number + 1).source, second);
});
