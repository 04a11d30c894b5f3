// What a pointer move costs. Limits are far above what was measured (see the diagnostics), so that a busy machine does not fail.

import assert from "node:assert/strict";
import { test } from "node:test";

import { changedRect, emptyDocument, flatten, flattenRect } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { Painter } from "../../src/gesso/editor/static/model/painter.js";
import { ellipse } from "../../src/gesso/editor/static/model/raster.js";
import { CAR, Chance, CLASSES, HOUSE, PERSON, ROAD, SKY } from "./support.mjs";

/** A picture with 40 objects, three of them locked. */
function crowd(width, height) {
  const chance = new Chance(11);
  let document = emptyDocument(width, height, CLASSES, SKY);
  for (let n = 0; n < 40; n += 1) {
    const [x, y, size] = [chance.real(0, width), chance.real(0, height), chance.real(height / 20, height / 3)];
    const made = edits.paint(document, ellipse({ x, y }, { x: x + size, y: y + size }), chance.of([HOUSE, CAR, PERSON]));
    document = made.key && n % 15 === 3 ? edits.setLocked(made.document, made.key, true) : made.document;
  }
  return document;
}

const quantile = (times, part) => times.toSorted((one, other) => one - other)[Math.floor(part * (times.length - 1))];

function timed(times, act) {
  const start = performance.now();
  const result = act();
  times.push(performance.now() - start);
  return result;
}

for (const tool of ["paint", "erase"]) {
  test(`a pointer move of a 64 px brush (${tool}) at 1024 x 512 is far below 8 ms`, (context) => {
    const document = crowd(1024, 512);
    const chance = new Chance(2);
    const [starts, moves, ends] = [[], [], []];
    for (let n = 0; n < 12; n += 1) {
      const painter = timed(starts, () => new Painter(document, { tool, classIndex: n % 2 ? ROAD : CAR, diameter: 64 }));
      let [x, y] = [chance.real(0, 1024), chance.real(0, 512)];
      for (let move = 0; move < 40; move += 1) {
        [x, y] = [x + chance.real(-60, 60), y + chance.real(-60, 60)];
        timed(moves, () => painter.to(x, y));
      }
      timed(ends, () => painter.finish());
    }
    const say = (name, times) => `${name} p50 ${quantile(times, 0.5).toFixed(3)} ms, p95 ${quantile(times, 0.95).toFixed(3)} ms`;
    context.diagnostic([say("down", starts), say("move", moves), say("up", ends)].join("; "));
    assert.ok(quantile(moves, 0.95) < 8);
    assert.ok(quantile(starts, 0.5) < 500 && quantile(ends, 0.5) < 500);
  });
}

test("flattening 2048 x 1024, and a part of it", (context) => {
  const document = crowd(2048, 1024);
  const [whole, parts, changes] = [[], [], []];
  const flat = flatten(document);
  const moved = edits.moveObject(document, document.objects.find((object) => !object.locked).key, 5, 3);
  const painted = edits.paint(document, ellipse({ x: 900, y: 500 }, { x: 990, y: 560 }), ROAD).document;
  for (let n = 0; n < 15; n += 1) {
    timed(whole, () => flatten(document));
    timed(parts, () => flattenRect(flat, document, { x: 700, y: 300, width: 128, height: 128 }));
    timed(changes, () => [changedRect(document, moved), changedRect(document, painted)]);
  }
  const say = (name, times) => `${name} ${quantile(times, 0.5).toFixed(2)} ms`;
  context.diagnostic([say("whole", whole), say("128 x 128", parts), say("two changed rectangles", changes)].join("; "));
  assert.ok(quantile(whole, 0.5) < 1000);
  assert.ok(quantile(parts, 0.5) < 50);
});
