// Shapes as pixels, against definitions that are too slow to use.

import assert from "node:assert/strict";
import { test } from "node:test";

import { disc, ellipse, line, polygon, rectangle, stroke } from "../../src/gesso/editor/static/model/raster.js";
import { cells, forSeeds } from "./support.mjs";

/** Middles within the radius of the disc's middle: that of a pixel where the diameter is odd, a corner where it is even. */
function plainDisc(x, y, diameter) {
  const [cx, cy] = diameter % 2 ? [Math.floor(x) + 0.5, Math.floor(y) + 0.5] : [Math.round(x), Math.round(y)];
  const found = new Set();
  for (let row = Math.floor(cy) - diameter; row <= cy + diameter; row += 1) {
    for (let column = Math.floor(cx) - diameter; column <= cx + diameter; column += 1) {
      if ((column + 0.5 - cx) ** 2 + (row + 0.5 - cy) ** 2 <= diameter ** 2 / 4) found.add(`${column},${row}`);
    }
  }
  return found;
}

/** Even-odd: how many edges a ray to the right of the pixel's middle crosses. */
function plainlyInside(points, x, y) {
  let inside = false;
  points.forEach((to, place) => {
    const from = points.at(place - 1);
    if (from.y > y === to.y > y) return;
    if (from.x + ((y - from.y) * (to.x - from.x)) / (to.y - from.y) > x) inside = !inside;
  });
  return inside;
}

test("a disc holds the middles within its radius", () => {
  forSeeds(150, (chance) => {
    const [x, y, diameter] = [chance.real(-9, 40), chance.real(-9, 40), chance.whole(1, 40)];
    assert.deepEqual(cells(disc(x, y, diameter)), plainDisc(x, y, diameter));
  });
});

test("a brush of one pixel covers the pixel that it is in", () => {
  forSeeds(40, (chance) => {
    const [x, y] = [chance.real(-5, 5), chance.real(-5, 5)];
    assert.deepEqual([...cells(disc(x, y, 1))], [`${Math.floor(x)},${Math.floor(y)}`]);
  });
});

test("a line is the discs at one pixel after the other", () => {
  forSeeds(100, (chance) => {
    const diameter = chance.whole(1, 12);
    const place = diameter % 2 ? 0.5 : 0;
    const ends = [0, 1].map(() => ({ x: chance.whole(0, 30) + place, y: chance.whole(0, 30) + place }));
    const [from, to] = ends;
    const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
    const discs = new Set();
    for (let step = 0; step <= steps; step += 1) {
      const x = Math.round(from.x - place + ((to.x - from.x) * step) / steps) + place;
      const y = Math.round(from.y - place + ((to.y - from.y) * step) / steps) + place;
      for (const name of plainDisc(x, y, diameter)) discs.add(name);
    }
    assert.deepEqual(cells(line(from, to, diameter)), discs);
  });
});

test("the thinnest line has no gaps and no corners", () => {
  forSeeds(60, (chance) => {
    const [from, to] = [0, 1].map(() => ({ x: chance.real(0, 50), y: chance.real(0, 50) }));
    const whole = [from, to].map(({ x, y }) => [Math.floor(x), Math.floor(y)]);
    const longer = Math.max(Math.abs(whole[0][0] - whole[1][0]), Math.abs(whole[0][1] - whole[1][1]));
    const found = cells(line(from, to, 1));
    assert.equal(found.size, longer + 1);
    assert.ok(found.has(whole[0].join()) && found.has(whole[1].join()));
  });
});

test("a stroke is all of its lines", () => {
  forSeeds(50, (chance) => {
    const points = Array.from({ length: chance.whole(1, 6) }, () => ({ x: chance.real(-5, 40), y: chance.real(-5, 40) }));
    const diameter = chance.whole(1, 9);
    const all = new Set(points.flatMap((point, n) => [...cells(line(points[Math.max(n - 1, 0)], point, diameter))]));
    assert.deepEqual(cells(stroke(points, diameter)), all);
  });
});

test("a rectangle holds both corners, whichever come first; its ellipse touches all sides and is symmetric", () => {
  forSeeds(80, (chance) => {
    const [from, to] = [0, 1].map(() => ({ x: chance.real(-9, 30), y: chance.real(-9, 30) }));
    const [xs, ys] = [[from.x, to.x].map(Math.floor).sort((a, b) => a - b), [from.y, to.y].map(Math.floor).sort((a, b) => a - b)];
    const whole = rectangle(from, to);
    assert.deepEqual([whole.x, whole.y, whole.width, whole.height], [xs[0], ys[0], xs[1] - xs[0] + 1, ys[1] - ys[0] + 1]);
    assert.ok(whole.bits.every((bit) => bit === 1));
    const round = ellipse(to, from);
    assert.deepEqual([round.x, round.y, round.width, round.height], [whole.x, whole.y, whole.width, whole.height]);
    assert.deepEqual(round.bits, round.bits.toReversed());
    for (let row = 0; row < round.height; row += 1) {
      for (let column = 0; column < round.width; column += 1) {
        const far = ((2 * column + 1) / round.width - 1) ** 2 + ((2 * row + 1) / round.height - 1) ** 2;
        const middle = [[column, round.width], [row, round.height]].some(([n, side]) => Math.abs(2 * n + 1 - side) < 2);
        if (Math.abs(far - 1) < 1e-9) continue;
        assert.equal(round.bits[row * round.width + column], middle || far < 1 ? 1 : 0, `${row} ${column}`);
      }
    }
  });
});

test("a polygon holds the middles that are inside by the even-odd rule", () => {
  forSeeds(300, (chance) => {
    const [width, height] = [chance.whole(1, 40), chance.whole(1, 40)];
    const points = Array.from({ length: chance.whole(3, 9) }, () => {
      return { x: chance.real(-10, width + 10), y: chance.real(-10, height + 10) };
    });
    const expected = new Set();
    for (let place = 0; place < width * height; place += 1) {
      const [x, y] = [place % width, Math.floor(place / width)];
      if (plainlyInside(points, x + 0.5, y + 0.5)) expected.add(`${x},${y}`);
    }
    assert.deepEqual(cells(polygon(points, width, height)), expected);
  });
});

test("a polygon along the edges of pixels is what they enclose; one through their middles has these too", () => {
  const square = (from, to) => [[from, from], [to, from], [to, to], [from, to]].map(([x, y]) => ({ x, y }));
  assert.deepEqual(cells(polygon(square(1, 4), 9, 9)), cells(rectangle({ x: 1, y: 1 }, { x: 3, y: 3 })));
  assert.deepEqual(cells(polygon(square(1.5, 4.5), 9, 9)), cells(rectangle({ x: 1, y: 1 }, { x: 4, y: 4 })));
  assert.equal(polygon(square(20, 30), 9, 9), null);
});
