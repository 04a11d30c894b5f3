// Undo without end, in little room.

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyDocument } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { History } from "../../src/gesso/editor/static/model/history.js";
import { Painter } from "../../src/gesso/editor/static/model/painter.js";
import { anyDocument, anyEdit, CAR, Chance, CLASSES, forSeeds, ROAD, SKY } from "./support.mjs";

for (const [count, seeds] of [[20, 40], [200, 6]]) {
  test(`${count} random edits are undone to the first document and done again to the last, exactly`, () => {
    forSeeds(seeds, (chance) => {
      const history = new History(anyDocument(chance));
      const states = [structuredClone(history.current)];
      while (history.length < count) {
        const after = anyEdit(chance, history.current);
        if (after === history.current) continue;
        history.record(history.current, after, `edit ${history.length + 1}`);
        states.push(structuredClone(after));
      }
      for (let n = count - 1; n >= 0; n -= 1) assert.deepEqual(history.undo(), states[n]);
      assert.equal(history.undo(), null);
      assert.equal(history.canUndo, false);
      for (let n = 1; n <= count; n += 1) assert.deepEqual(history.redo(), states[n]);
      assert.equal(history.redo(), null);
      for (let n = 0; n < 10; n += 1) {
        const position = chance.whole(0, count);
        assert.deepEqual(history.goTo(position), states[position]);
        assert.equal(history.position, position);
        assert.deepEqual([history.undoName, history.redoName].map((name) => name && Number(name.split(" ")[1])), [
          position || null, position === count ? null : position + 1,
        ]);
      }
    });
  });
}

test("an edit after an undo forgets what was undone", () => {
  const history = new History(emptyDocument(8, 8, CLASSES, SKY));
  for (const seed of [1, 2, 3]) history.record(history.current, edits.setSeed(history.current, seed), `seed ${seed}`);
  history.undo();
  history.undo();
  history.record(history.current, edits.setSeed(history.current, 9), "seed 9");
  assert.deepEqual(history.names, ["seed 1", "seed 9"]);
  assert.equal(history.canRedo, false);
  assert.equal(history.current.styles.seed, 9);
});

test("only edits of the current document are recorded, and only states that exist are reached", () => {
  const history = new History(emptyDocument(8, 8, CLASSES, SKY));
  const other = emptyDocument(8, 8, CLASSES, SKY);
  assert.throws(() => history.record(other, edits.setSeed(other, 1), "x"), /another document/);
  for (const position of [-1, 1, 0.5]) assert.throws(() => history.goTo(position), /no state/);
});

test("another picture can be undone too", () => {
  const first = anyDocument(new Chance(3), { width: 9, height: 9 });
  const history = new History(first);
  history.record(first, anyDocument(new Chance(4), { width: 12, height: 10 }), "Open");
  history.record(history.current, edits.setSeed(history.current, 4), "Seed");
  assert.deepEqual(history.goTo(0), first);
  assert.equal(history.goTo(2).width, 12);
  assert.ok(history.bytes > 9 * 9 * 6);
});

test("what edits leave alone is shared, before and after an undo", () => {
  const first = edits.pasteMask(emptyDocument(8, 8, CLASSES, SKY), { x: 0, y: 0, width: 1, height: 1, bits: Uint8Array.of(1) }, CAR, 3, 3).document;
  const history = new History(first);
  history.record(first, edits.moveObject(first, first.objects[0].key, 1, 1), "Move");
  const back = history.undo();
  assert.equal(back.ground, first.ground);
  assert.equal(back.objects[0].mask.bits, first.objects[0].mask.bits);
});

/** A wavy stroke from one end of the picture to the other, in 60 moves. */
function wave(document, chance, how) {
  const painter = new Painter(document, { ...how, diameter: 64 });
  const phase = chance.real(0, 6);
  for (let n = 0; n <= 60; n += 1) painter.to((n / 60) * document.width, document.height * (0.5 + 0.4 * Math.sin(phase + n / 9)));
  return painter.finish();
}

test("200 strokes over 1024 x 512 take little room each", (context) => {
  const chance = new Chance(1);
  const history = new History(emptyDocument(1024, 512, CLASSES, SKY));
  let car = null;
  for (let n = 0; n < 200; n += 1) {
    const made = wave(history.current, chance, n % 2 ? { classIndex: CAR, into: car ?? "new" } : { classIndex: chance.whole(0, 2) });
    car = made.key ?? car;
    if (made.document !== history.current) history.record(history.current, made.document, "Paint");
  }
  assert.ok(history.length > 150);
  const each = history.bytes / history.length;
  context.diagnostic(`${Math.round(each)} bytes per stroke; a copy of the ground would take ${1024 * 512 * 6}`);
  assert.ok(each < 100_000, `${each} bytes`);
  const last = structuredClone(history.current);
  history.goTo(0);
  assert.deepEqual(history.current, emptyDocument(1024, 512, CLASSES, SKY));
  assert.deepEqual(history.goTo(history.length), last);
});

test("one dot takes a few hundred bytes", () => {
  const first = emptyDocument(1024, 512, CLASSES, SKY);
  const history = new History(first);
  const painter = new Painter(first, { classIndex: ROAD, diameter: 16 });
  painter.to(300, 200);
  history.record(first, painter.finish().document, "Paint");
  assert.ok(history.bytes < 1500, `${history.bytes}`);
});
