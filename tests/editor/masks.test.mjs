// Sets of pixels, against sets of names of pixels.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as masks from "../../src/gesso/editor/static/model/masks.js";
import { anyMask, cells, forSeeds } from "./support.mjs";

const near = (name) => {
  const [x, y] = name.split(",").map(Number);
  return [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [x + dx, y + dy, dx, dy]));
};

/** Every mask is tight: each outer row and column holds a pixel. */
function checkTight(mask) {
  const [xs, ys] = [0, 1].map((n) => [...cells(mask)].map((name) => Number(name.split(",")[n])));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const box = { x: left, y: top, width: Math.max(...xs) - left + 1, height: Math.max(...ys) - top + 1 };
  assert.deepEqual(masks.box(mask), box);
  assert.equal(mask.bits.length, box.width * box.height);
}

test("union, subtraction and intersection are those of sets", () => {
  forSeeds(200, (chance) => {
    const [one, other, third] = [0, 1, 2].map(() => anyMask(chance, 20, 16));
    const [a, b] = [cells(one), cells(other)];
    const results = [
      [masks.union([one, other, third]), new Set([...a, ...b, ...cells(third)])],
      [masks.subtract(one, other), new Set([...a].filter((name) => !b.has(name)))],
      [masks.intersect(one, other), new Set([...a].filter((name) => b.has(name)))],
    ];
    for (const [mask, expected] of results) {
      assert.deepEqual(cells(mask), expected);
      if (expected.size) checkTight(mask);
      else assert.equal(mask, null);
    }
    assert.equal(masks.meets(one, other), [...a].some((name) => b.has(name)));
    assert.equal(masks.pixels(one), a.size);
    const [x, y] = [chance.whole(-5, 25), chance.whole(-5, 25)];
    assert.equal(masks.holds(one, x, y), a.has(`${x},${y}`));
    const inside = [...a].filter((name) => near(name)[4][0] >= 0 && near(name)[4][1] >= 0);
    const clipped = masks.clipped(one, 10, 9);
    assert.deepEqual(cells(clipped), new Set(inside.filter((name) => near(name)[4][0] < 10 && near(name)[4][1] < 9)));
  });
});

test("moving shifts every pixel and copies none", () => {
  forSeeds(20, (chance) => {
    const mask = anyMask(chance, 20, 16);
    const moved = masks.moved(mask, 3, -7);
    const shifted = [...cells(mask)].map((name) => near(name)[4]).map(([x, y]) => `${x + 3},${y - 7}`);
    assert.deepEqual(cells(moved), new Set(shifted));
    assert.equal(moved.bits, mask.bits);
  });
});

test("scaling by a whole number repeats every pixel, about the foot", () => {
  forSeeds(60, (chance) => {
    const mask = anyMask(chance, 12, 12);
    const times = chance.whole(1, 4);
    const big = masks.scaled(mask, times);
    const left = mask.x + Math.floor((mask.width - mask.width * times) / 2);
    const expected = [...cells(mask)].flatMap((name) => {
      const [x, y] = name.split(",").map(Number);
      const [column, row] = [left + (x - mask.x) * times, mask.y + mask.height - (mask.y + mask.height - y) * times];
      return Array.from({ length: times ** 2 }, (_, n) => `${column + (n % times)},${row + Math.floor(n / times)}`);
    });
    assert.deepEqual(cells(big), new Set(expected));
    assert.deepEqual(masks.scaled(big, 1 / times).bits, mask.bits);
  });
});

test("sides round as Python's do: halves to the even number", () => {
  const whole = (width, height) => ({ x: 0, y: 0, width, height, bits: new Uint8Array(width * height).fill(1) });
  const sides = [1, 3, 5, 7, 9].map((side) => masks.scaled(whole(side, 1), 0.5).width);
  assert.deepEqual(sides, [1, 2, 2, 4, 4]);
  assert.equal(masks.scaled(whole(4, 4), 0.01).width, 1);
});

for (const neighbours of [4, 8]) {
  test(`connected parts (${neighbours} neighbours) are closed, apart, and sorted by size`, () => {
    forSeeds(100, (chance) => {
      const mask = anyMask(chance, 16, 16);
      const parts = masks.components(mask, neighbours);
      const owner = new Map(parts.flatMap((part, n) => [...cells(part)].map((name) => [name, n])));
      assert.deepEqual(new Set(owner.keys()), cells(mask));
      assert.equal(owner.size, parts.reduce((sum, part) => sum + masks.pixels(part), 0));
      parts.forEach(checkTight);
      parts.forEach((part, n) => assert.ok(!n || masks.pixels(part) <= masks.pixels(parts[n - 1])));
      for (const [name, part] of owner) {
        for (const [x, y, dx, dy] of near(name)) {
          if (neighbours === 4 && dx && dy) continue;
          assert.equal(owner.get(`${x},${y}`) ?? part, part, "neighbours are of one part");
        }
      }
      for (const part of parts) assert.equal(masks.components(part, neighbours).length, 1);
    });
  });
}

test("a part of thousands of specks is found in no time", () => {
  const bits = Uint8Array.from({ length: 512 * 512 }, (_, n) => (n % 2 && (n >> 9) % 2 ? 1 : 0));
  const start = performance.now();
  assert.equal(masks.components(masks.tight(bits, 512, 512)).length, 256 * 256);
  assert.ok(performance.now() - start < 3000);
});

test("an outline encloses the set: its area, its sides, each edge once", () => {
  forSeeds(120, (chance) => {
    const mask = anyMask(chance, 14, 14);
    const loops = masks.outline(mask);
    const set = cells(mask);
    const edges = new Set();
    let area = 0;
    for (const loop of loops) {
      loop.forEach((from, n) => {
        const to = loop[(n + 1) % loop.length];
        assert.ok((from.x === to.x) !== (from.y === to.y), "steps go along one axis");
        area += from.x * to.y - to.x * from.y;
        const [dx, dy] = [Math.sign(to.x - from.x), Math.sign(to.y - from.y)];
        for (let { x, y } = from; x !== to.x || y !== to.y; x += dx, y += dy) {
          const edge = `${Math.min(x, x + dx)},${Math.min(y, y + dy)},${dx ? "across" : "down"}`;
          assert.ok(!edges.has(edge), "no edge twice");
          edges.add(edge);
        }
        const [before, after] = [loop.at(n - 1), to];
        assert.ok((before.x === from.x) !== (from.x === after.x), "only corners are points");
      });
    }
    assert.equal(area / 2, set.size);
    const expected = new Set();
    for (const name of set) {
      const [x, y] = name.split(",").map(Number);
      if (!set.has(`${x},${y - 1}`)) expected.add(`${x},${y},across`);
      if (!set.has(`${x},${y + 1}`)) expected.add(`${x},${y + 1},across`);
      if (!set.has(`${x - 1},${y}`)) expected.add(`${x},${y},down`);
      if (!set.has(`${x + 1},${y}`)) expected.add(`${x + 1},${y},down`);
    }
    assert.deepEqual(edges, expected);
  });
});

test("growing and shrinking by a disc", () => {
  forSeeds(60, (chance) => {
    const mask = anyMask(chance, 16, 16);
    const radius = chance.whole(1, 4);
    const reach = [];
    const within = (radius + 0.5) ** 2; // the disc of 2 * radius + 1 pixels
    for (let dy = -radius; dy <= radius; dy += 1) {
      for (let dx = -radius; dx <= radius; dx += 1) if (dx * dx + dy * dy <= within) reach.push([dx, dy]);
    }
    const around = (name) => reach.map(([dx, dy]) => `${near(name)[4][0] + dx},${near(name)[4][1] + dy}`);
    const set = cells(mask);
    const grown = masks.dilate(mask, radius);
    assert.deepEqual(cells(grown), new Set([...set].flatMap(around)));
    checkTight(grown);
    assert.deepEqual(cells(masks.erode(mask, radius)), new Set([...set].filter((name) => around(name).every((n) => set.has(n)))));
    const [closed, opened] = [cells(masks.close(mask, radius)), cells(masks.open(mask, radius))];
    assert.ok([...set].every((name) => closed.has(name)));
    assert.ok([...opened].every((name) => set.has(name)));
  });
});
