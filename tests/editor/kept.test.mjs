// What an edited document shows otherwise than the photograph that it was found in.

import assert from "node:assert/strict";
import { test } from "node:test";

import { flatten } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { History } from "../../src/gesso/editor/static/model/history.js";
import { bare, changedCells } from "../../src/gesso/editor/static/model/kept.js";
import { fromWire, toWire } from "../../src/gesso/editor/static/model/wire.js";
import { emptyDocument } from "../../src/gesso/editor/static/model/document.js";
import { anyDocument, anyEdit, CAR, CLASSES, forSeeds, ROAD, SKY } from "./support.mjs";

const FEATURES = { styleKind: "features", styleRegions: "instance" };
const seen = (document) => ({ document, flat: flatten(document) });
const cells = (before, after, model = FEATURES) => changedCells(seen(before), seen(after), model);
const square = (x, y, side) => ({ x, y, width: side, height: side, bits: new Uint8Array(side * side).fill(1) });
const street = () => edits.paint(emptyDocument(16, 8, CLASSES, SKY), square(2, 2, 4), CAR, { into: "new" });
const count = (found) => found?.reduce((sum, cell) => sum + cell, 0) ?? 0;

test("a document that looks the same has no changed cells, also after it was written and read", async () => {
  const { document, key } = street();
  assert.equal(cells(document, document), null);
  assert.equal(cells(document, edits.setLocked(document, key, true)), null);
  assert.equal(cells(document, await fromWire(await toWire(document), CLASSES)), null);
});

test("a car that is removed or hidden changes its pixels, one that moves where it was and is, also where both overlap", () => {
  const { document, key } = street();
  for (const without of [edits.remove(document, key), edits.setHidden(document, key, true)]) {
    const found = cells(document, without);
    assert.equal(count(found), 16);
    assert.equal(found[2 * 16 + 2], 1);
  }
  assert.equal(count(cells(document, edits.moveObject(document, key, 2, 0))), 24);
});

test("other looks change what wears them, and nothing else", () => {
  const { document, key } = street();
  const car = edits.setStyle(document, key, [0.5]);
  assert.equal(count(cells(document, car)), 16);
  assert.equal(count(cells(document, edits.setClassStyle(document, "sky", 1))), 16 * 8 - 16);
  assert.equal(count(cells(document, edits.setSeed(document, 9))), 16 * 8, "what is left to chance");
  assert.equal(count(cells(car, edits.setSeed(car, 9))), 16 * 8 - 16, "but not what was chosen");
  assert.equal(cells(document, car, { styleKind: "features", styleRegions: "label" }), null, "a style per class");
  assert.equal(cells(document, edits.setSeed(document, 9), { styleKind: "z", styleRegions: null }), null, "one for all");
});

test("what was edited and undone is not changed, and edits change what differs in the maps at the least", () => {
  forSeeds(60, (chance) => {
    const history = new History(anyDocument(chance));
    const first = history.current;
    for (let n = 0; n < 4; n += 1) {
      const after = anyEdit(chance, history.current);
      if (after !== history.current && after.width === first.width && after.height === first.height) history.record(history.current, after, "");
    }
    const [before, now, found] = [flatten(first), flatten(history.current), cells(first, history.current)];
    before.label.forEach((index, at) => {
      if (index !== now.label[at] || before.instance[at] !== now.instance[at]) assert.equal(found?.[at], 1);
    });
    assert.equal(cells(first, history.goTo(0)), null);
  });
});

test("the photograph and what was found in it come and go with undo", () => {
  const document = emptyDocument(8, 8, CLASSES, SKY);
  const opened = { ...emptyDocument(8, 8, CLASSES, ROAD), source: new Blob(["photograph"]) };
  const kept = { ...opened, original: bare(opened) };
  assert.deepEqual([kept.original.source, kept.original.original], [null, null]);
  const history = new History(document);
  history.record(document, kept, "Open");
  history.record(kept, edits.setSeed(kept, 3), "seed");
  assert.equal(history.undo().original, kept.original);
  assert.equal(history.undo().original, null);
  assert.equal(history.goTo(2).original, kept.original);
  assert.equal(history.current.source, opened.source);
});
