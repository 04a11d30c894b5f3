// Buckets, against the plainest flood fill.

import assert from "node:assert/strict";
import { test } from "node:test";

import { flatten } from "../../src/gesso/editor/static/model/document.js";
import { contiguous, sameRegion, wholeClass, wholeObject } from "../../src/gesso/editor/static/model/flood.js";
import { anyDocument, cells, Chance, forSeeds } from "./support.mjs";

function plainFlood(alike, width, height, x, y) {
  const found = new Set([`${x},${y}`]);
  for (const name of found) {
    const [column, row] = name.split(",").map(Number);
    for (const [nextX, nextY] of [[column + 1, row], [column - 1, row], [column, row + 1], [column, row - 1]]) {
      const inside = nextX >= 0 && nextY >= 0 && nextX < width && nextY < height;
      if (inside && alike(nextX, nextY)) found.add(`${nextX},${nextY}`);
    }
  }
  return found;
}

test("contiguous filling equals a plain flood fill", () => {
  forSeeds(300, (chance) => {
    const [width, height] = [chance.whole(1, 24), chance.whole(1, 24)];
    const values = Uint16Array.from({ length: width * height }, () => chance.of([5, 5, 5, 900]));
    const [x, y] = [chance.whole(0, width - 1), chance.whole(0, height - 1)];
    const alike = (column, row) => values[row * width + column] === values[y * width + x];
    assert.deepEqual(cells(contiguous(values, width, height, x, y)), plainFlood(alike, width, height, x, y));
  });
});

test("outside of the picture there is nothing to fill", () => {
  for (const [x, y] of [[-1, 0], [4, 0], [0, -1], [0, 3]]) assert.equal(contiguous(new Uint8Array(12), 4, 3, x, y), null);
});

/** Two rooms with a wall between, some pixels thick, in which there is an opening. */
function rooms(chance, opening) {
  const [width, height] = [chance.whole(30, 44), chance.whole(20, 30)];
  const values = new Uint8Array(width * height);
  const [wall, thick] = [chance.whole(12, 15), chance.whole(1, 4)];
  const top = chance.whole(0, height - opening);
  for (let y = 0; y < height; y += 1) {
    for (let x = wall; x < wall + thick; x += 1) if (y < top || y >= top + opening) values[y * width + x] = 1;
  }
  return { values, width, height, wall, beyond: wall + thick };
}

test("openings up to the gap do not leak, wider ones do; the room is full to its corners", () => {
  forSeeds(200, (chance) => {
    const [opening, gap] = [chance.whole(1, 7), chance.whole(0, 7)];
    const { values, width, height, wall, beyond } = rooms(chance, opening);
    const filled = cells(contiguous(values, width, height, chance.whole(0, wall - 1), chance.whole(0, height - 1), gap));
    const columns = [...filled].map((name) => Number(name.split(",")[0]));
    assert.equal(Math.max(...columns) >= beyond, opening > gap, `opening ${opening}, gap ${gap}`);
    assert.equal(columns.filter((x) => x < wall).length, wall * height);
  });
});

test("with a gap, what is filled is part of the plain filling and holds the pixel", () => {
  forSeeds(200, (chance) => {
    const [width, height] = [chance.whole(3, 24), chance.whole(3, 24)];
    const values = Uint8Array.from({ length: width * height }, () => (chance.sometimes(0.85) ? 0 : 1));
    const [x, y] = [chance.whole(0, width - 1), chance.whole(0, height - 1)];
    const plain = cells(contiguous(values, width, height, x, y));
    const filled = cells(contiguous(values, width, height, x, y, chance.whole(1, 5)));
    assert.ok(filled.has(`${x},${y}`));
    assert.ok([...filled].every((name) => plain.has(name)));
  });
});

test("a thin pole is filled whole, and the square behind a crack is not", () => {
  const rows = ["aaaaaaaaaaa", "a.........a", "a.........a", "a.........a", "aaaaa.aaaaa", ".....p.....", ".....p.....", ".....p....."];
  const values = rows.join("").split("").map((letter) => (letter === "a" ? 1 : letter === "." ? 0 : 2));
  assert.deepEqual(cells(contiguous(values, 11, 8, 5, 7, 2)), new Set(["5,5", "5,6", "5,7"]));
  const open = Uint8Array.from(values, (value) => (value === 1 ? 1 : 0));
  const filled = cells(contiguous(open, 11, 8, 2, 2, 1));
  assert.ok(filled.has("9,3") && !filled.has("5,6"));
});

test("the whole class, the whole object, and what is one region", () => {
  forSeeds(100, (chance) => {
    const document = anyDocument(chance);
    const { width, height } = document;
    const flat = flatten(document);
    const [x, y] = [chance.whole(0, width - 1), chance.whole(0, height - 1)];
    const names = (alike) => {
      const found = new Set();
      for (let n = 0; n < width * height; n += 1) if (alike(n, y * width + x)) found.add(`${n % width},${Math.floor(n / width)}`);
      return found;
    };
    const sameClass = (a, b) => flat.label[a] === flat.label[b];
    const sameObject = (a, b) => sameClass(a, b) && flat.instance[a] === flat.instance[b] && flat.top[a] === flat.top[b];
    assert.deepEqual(cells(wholeClass(document, x, y)), names(sameClass));
    assert.deepEqual(cells(wholeObject(document, x, y)), names(sameObject));
    const connected = plainFlood((column, row) => sameObject(row * width + column, y * width + x), width, height, x, y);
    assert.deepEqual(cells(sameRegion(document, x, y)), connected);
  });
});

test("nothing is filled outside of the picture", () => {
  const document = anyDocument(new Chance(4));
  for (const reach of [wholeClass, wholeObject, sameRegion]) assert.equal(reach(document, -1, 2), null);
});
