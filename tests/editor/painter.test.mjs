// Strokes while they are drawn: what they show must be what the edit makes of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { flatten } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { clipped } from "../../src/gesso/editor/static/model/masks.js";
import { Painter } from "../../src/gesso/editor/static/model/painter.js";
import { stroke } from "../../src/gesso/editor/static/model/raster.js";
import { anyDocument, cells, forSeeds, IGNORED } from "./support.mjs";

function drawn(chance) {
  const document = anyDocument(chance);
  const owner = document.objects.length ? chance.of(document.objects) : null;
  const how = {
    tool: chance.of(["paint", "paint", "erase"]),
    classIndex: owner && chance.sometimes() ? owner.class : chance.whole(0, IGNORED),
    into: chance.of([null, "new", owner?.key ?? null]),
    diameter: chance.whole(1, 9),
  };
  const points = Array.from({ length: chance.whole(1, 8) }, () => {
    return { x: chance.real(-6, document.width + 6), y: chance.real(-6, document.height + 6) };
  });
  return { document, how, points, painter: new Painter(document, how) };
}

test("a stroke shows at every move what it will have made", () => {
  forSeeds(400, (chance) => {
    const { document, how, points, painter } = drawn(chance);
    points.forEach(({ x, y }, n) => {
      const before = structuredClone(painter.flat);
      const rect = painter.to(x, y);
      const { document: after, key } = painter.finish();
      const expected = flatten(after);
      // what is taken from the ground, where the eraser meets no object, is seen at the end only
      const shown = how.tool === "erase" && after.objects === document.objects ? flatten(document) : expected;
      const made = key !== null && !document.objects.some((object) => object.key === key);
      const top = made ? shown.top.map((its) => (its === key ? -1 : its)) : shown.top;
      assert.deepEqual(painter.flat, { ...shown, top }, `move ${n}`);
      for (let place = 0; place < top.length; place += 1) {
        const [column, row] = [place % document.width, Math.floor(place / document.width)];
        const inside = rect && column >= rect.x && row >= rect.y && column < rect.x + rect.width && row < rect.y + rect.height;
        if (!inside) assert.equal(painter.flat.top[place], before.top[place], "what changed is in the rectangle");
        if (!inside) assert.equal(painter.flat.label[place], before.label[place], "what changed is in the rectangle");
      }
    });
  });
});

test("the mask of a stroke is what its points cover of the picture", () => {
  forSeeds(150, (chance) => {
    const { document, how, points, painter } = drawn(chance);
    for (const { x, y } of points) painter.to(x, y);
    const whole = clipped(stroke(points, how.diameter), document.width, document.height);
    assert.deepEqual(cells(painter.mask()), cells(whole));
    const mask = painter.mask();
    const edit = how.tool === "erase" ? mask && edits.erase(document, mask) : mask && edits.paint(document, mask, how.classIndex, how).document;
    assert.deepEqual(flatten(painter.finish().document).label, flatten(edit ?? document).label);
  });
});

test("a stroke that is given up leaves no trace", () => {
  forSeeds(100, (chance) => {
    const { document, points, how } = drawn(chance);
    const flat = flatten(document);
    const painter = new Painter(document, { ...how, flat });
    assert.equal(painter.flat, flat);
    for (const { x, y } of points) painter.to(x, y);
    painter.cancel();
    assert.deepEqual(flat, flatten(document));
  });
});

test("going over the same place again adds nothing", () => {
  forSeeds(40, (chance) => {
    const { points, painter } = drawn(chance);
    for (const { x, y } of points) painter.to(x, y);
    const { x, y } = points.at(-1);
    assert.equal(painter.to(x, y), null);
  });
});

test("a pen that is pressed harder draws wider", () => {
  forSeeds(20, (chance) => {
    const { document, how } = drawn(chance);
    const painter = new Painter(document, { ...how, diameter: 1 });
    painter.to(4.5, 4.5);
    painter.to(4.5, 4.5, 5);
    assert.deepEqual(cells(painter.mask()), cells(clipped(stroke([{ x: 4.5, y: 4.5 }], 5), document.width, document.height)));
  });
});
