// Edits: who owns a pixel, which ids are given, what stays as it was.

import assert from "node:assert/strict";
import { test } from "node:test";

import { changedRect, emptyDocument, flatten, flattenRect, objectAt } from "../../src/gesso/editor/static/model/document.js";
import * as edits from "../../src/gesso/editor/static/model/edits.js";
import { disc, rectangle } from "../../src/gesso/editor/static/model/raster.js";
import * as support from "./support.mjs";

const { anyDocument, anyEdit, anyMask, cells, CLASSES, forSeeds, plainlyFlat } = support;
const { CAR, HOUSE, IGNORED, PERSON, ROAD, SKY, TREE } = support;

const box = (x, y, width, height) => rectangle({ x, y }, { x: x + width - 1, y: y + height - 1 });
const clipped = (mask, { width, height }) => {
  const inside = [...cells(mask)].map((name) => name.split(",").map(Number));
  return inside.filter(([x, y]) => x >= 0 && y >= 0 && x < width && y < height);
};

/** A house behind a car, on a road beneath the sky. */
function street() {
  let document = edits.paint(emptyDocument(20, 12, CLASSES, SKY), box(0, 8, 20, 4), ROAD).document;
  const house = edits.paint(document, box(4, 2, 10, 8), HOUSE);
  const car = edits.paint(house.document, box(8, 7, 6, 4), CAR);
  return { document: car.document, house: house.key, car: car.key };
}

test("flattening equals a plain painter, whole, in parts, and without an object", () => {
  forSeeds(200, (chance) => {
    const document = anyDocument(chance);
    const flat = flatten(document);
    assert.deepEqual(flat, plainlyFlat(document));
    const key = document.objects.length ? chance.of(document.objects).key : 0;
    assert.deepEqual(flatten(document, key), plainlyFlat(document, key));
    const rect = { x: chance.whole(-3, 9), y: chance.whole(-3, 9), width: chance.whole(0, 20), height: chance.whole(0, 20) };
    const other = { label: flat.label.map(() => 9), instance: flat.instance.map(() => 9), top: flat.top.map(() => 9) };
    flattenRect(other, document, rect);
    for (let place = 0; place < flat.label.length; place += 1) {
      const [x, y] = [place % document.width, Math.floor(place / document.width)];
      const inside = x >= rect.x && y >= rect.y && x < rect.x + rect.width && y < rect.y + rect.height;
      assert.equal(other.label[place], inside ? flat.label[place] : 9);
      assert.equal(other.top[place], inside ? flat.top[place] : 9);
    }
  });
});

test("bringing the changed rectangle up to date is as good as flattening anew", () => {
  forSeeds(200, (chance) => {
    let document = anyDocument(chance);
    const flat = flatten(document);
    for (let n = 0; n < 8; n += 1) {
      const after = anyEdit(chance, document);
      const rect = changedRect(document, after);
      if (rect) flattenRect(flat, after, rect);
      document = after;
      assert.deepEqual(flat, flatten(document));
    }
    assert.equal(changedRect(document, document), null);
  });
});

test("the object at a pixel is the one that is seen", () => {
  forSeeds(60, (chance) => {
    const document = anyDocument(chance);
    const { top } = flatten(document);
    top.forEach((key, place) => {
      const seen = objectAt(document, place % document.width, Math.floor(place / document.width));
      assert.equal(seen?.key ?? 0, key);
    });
    assert.equal(objectAt(document, -1, 0), null);
  });
});

test("documents are values: no edit changes the one it was given", () => {
  forSeeds(150, (chance) => {
    const document = anyDocument(chance);
    const before = structuredClone(document);
    for (let n = 0; n < 6; n += 1) anyEdit(chance, document);
    assert.deepEqual(document, before);
  });
});

test("ids are never given twice, things are written as themselves, added stuff as its region", () => {
  forSeeds(150, (chance) => {
    let document = anyDocument(chance);
    const given = new Map(document.objects.map((object) => [object.id, object.key]));
    for (let n = 0; n < 25; n += 1) {
      const ids = new Set(document.objects.map((object) => object.id));
      const after = anyEdit(chance, document);
      const now = after.objects.map((object) => object.id);
      assert.equal(new Set(now).size, now.length);
      assert.equal(new Set(after.objects.map((object) => object.key)).size, now.length);
      for (const object of after.objects) {
        if (CLASSES[object.class]?.thing) assert.equal(object.writtenId, object.id);
        assert.ok(after.usedIds.has(object.id));
        if (!ids.has(object.id)) {
          assert.ok(!given.has(object.id) && !document.usedIds.has(object.id), "a new id was never given before");
          assert.ok(object.id > object.class * 1000);
          given.set(object.id, object.key);
        }
      }
      assert.ok([...document.usedIds].every((id) => after.usedIds.has(id)), "no id is forgotten");
      document = after;
    }
  });
});

test("an added piece of stuff carries the id of its class's region", () => {
  const base = edits.paint(emptyDocument(9, 9, CLASSES, SKY), box(0, 5, 9, 4), TREE).document;
  const ground = { label: base.ground.label, instance: base.ground.instance.map((id) => (id === TREE ? 77 : id)) };
  const { document } = edits.pasteMask({ ...base, ground }, box(0, 0, 2, 2), TREE, 4, 3);
  assert.equal(document.objects[0].writtenId, 77);
  assert.equal(document.objects[0].id, TREE * 1000 + 1);
  const painted = edits.paint(document, box(0, 0, 3, 1), TREE).document;
  assert.equal(painted.ground.instance[0], 77);
  const alone = edits.pasteMask(emptyDocument(9, 9, CLASSES, SKY), box(0, 0, 2, 2), ROAD, 4, 3).document;
  assert.equal(alone.objects[0].writtenId, ROAD);
});

test("painted is seen: every pixel of the paint that no locked object kept", () => {
  forSeeds(400, (chance) => {
    const document = anyDocument(chance);
    const [before, mask, its] = [flatten(document), anyMask(chance, document.width, document.height), chance.whole(0, IGNORED)];
    const owner = document.objects.length ? chance.of(document.objects) : null;
    const into = chance.of([null, "new", owner?.key ?? null]);
    const painted = chance.sometimes() && owner ? owner.class : its;
    const { document: after, key } = edits.paint(document, mask, painted, { into });
    const flat = flatten(after);
    const touched = new Set(clipped(mask, document).map(([x, y]) => y * document.width + x));
    const locked = (top) => document.objects.find((object) => object.key === top)?.locked;
    for (let place = 0; place < flat.label.length; place += 1) {
      const same = flat.label[place] === before.label[place] && flat.top[place] === before.top[place];
      const [x, y] = [place % document.width, Math.floor(place / document.width)];
      if (!touched.has(place) || locked(before.top[place])) assert.ok(same, `${x},${y} changed`);
      else if (!same || !document.objects.some((o) => o.locked && !o.hidden && cells(o.mask).has(`${x},${y}`))) {
        assert.equal(flat.label[place], painted);
        assert.equal(flat.top[place], key ?? 0);
      }
    }
  });
});

test("locked and hidden objects are untouched by paint, eraser and bucket", () => {
  forSeeds(300, (chance) => {
    const document = anyDocument(chance);
    const mask = anyMask(chance, document.width, document.height);
    const [x, y] = [chance.whole(0, document.width - 1), chance.whole(0, document.height - 1)];
    const after = chance.of([
      () => edits.paint(document, mask, chance.whole(0, IGNORED), { into: chance.of([null, "new"]) }).document,
      () => edits.erase(document, mask),
      () => edits.fill(document, x, y, chance.whole(0, IGNORED), { reach: chance.of(["contiguous", "class"]) }).document,
    ])();
    const [was, is] = [flatten(document), flatten(after)];
    for (const object of document.objects.filter((o) => o.locked || o.hidden)) {
      assert.ok(after.objects.includes(object));
      if (object.locked) was.top.forEach((key, place) => key === object.key && assert.equal(is.top[place], key));
    }
  });
});

test("locked objects refuse to be moved, relabelled, removed, reordered, merged and split", () => {
  const { document, car, house } = street();
  const locked = edits.setLocked(document, car, true);
  const tried = [
    () => edits.moveObject(locked, car, 1, 0), () => edits.relabel(locked, car, PERSON), () => edits.remove(locked, car),
    () => edits.reorder(locked, car, "back"), () => edits.merge(locked, [house, car]), () => edits.split(locked, car),
  ];
  for (const edit of tried) assert.throws(edit, /The car 4001 is locked; unlock it first\./);
  assert.equal(edits.duplicate(locked, car, 1, 0).document.objects.length, 3);
  assert.equal(edits.setLocked(locked, car, false).objects[1].locked, false);
});

test("painting stuff writes the ground and takes the pixels from the objects before it", () => {
  const { document, house, car } = street();
  const { document: after, key } = edits.paint(document, box(8, 7, 6, 4), TREE);
  assert.equal(key, null);
  assert.deepEqual(after.objects.map((object) => object.key), [house], "nothing was left of the car");
  assert.equal(flatten(after).label[8 * 20 + 9], TREE);
  assert.equal(flatten(edits.remove(after, house)).label[8 * 20 + 9], TREE);
  assert.ok(after.usedIds.has(document.objects.find((object) => object.key === car).id));
});

test("objects keep the pixels that a new object hides, and give up those that one behind them is painted into", () => {
  const { document, house, car } = street();
  const over = edits.paint(document, box(0, 0, 20, 12), PERSON);
  assert.deepEqual(over.document.objects.map((object) => object.mask), [...document.objects.map((o) => o.mask), box(0, 0, 20, 12)]);
  assert.deepEqual(flatten(edits.remove(over.document, over.key)), flatten(document));
  const { document: after, key } = edits.paint(document, box(8, 7, 3, 4), HOUSE, { into: house });
  assert.equal(key, house);
  assert.deepEqual(after.objects.find((object) => object.key === car).mask, box(11, 7, 3, 4));
  assert.equal(after.objects.find((object) => object.key === house).id, document.objects[0].id);
});

test("without an object of its class to extend, a thing is a new object", () => {
  const { document, house, car } = street();
  for (const into of [null, "new", house, 999]) {
    const { document: after, key } = edits.paint(document, box(1, 1, 2, 2), CAR, { into });
    assert.equal(after.objects.length, 3);
    assert.equal(after.objects[2].key, key);
  }
  for (const change of [edits.setLocked, edits.setHidden]) {
    assert.equal(edits.paint(change(document, car, true), box(1, 1, 2, 2), CAR, { into: car }).document.objects.length, 3);
  }
  assert.equal(edits.paint(document, box(50, 1, 2, 2), CAR).document, document, "outside of the picture nothing is painted");
  assert.equal(edits.paint(document, box(9, 8, 2, 2), CAR, { into: car }).document, document, "it is there already");
  assert.equal(edits.paint(document, box(0, 0, 2, 2), SKY).document, document);
});

test("the eraser takes what is seen of objects, and one layer of it", () => {
  const { document, house, car } = street();
  const once = edits.erase(document, box(8, 7, 6, 4));
  assert.deepEqual(once.objects.map((object) => object.key), [house]);
  assert.deepEqual(cells(once.objects[0].mask), cells(document.objects[0].mask), "the house behind the car is whole");
  assert.equal(once.ground, document.ground, "the ground beside the car stays");
  const kept = edits.erase(edits.setLocked(document, car, true), box(8, 7, 6, 4));
  assert.ok(kept.objects.some((object) => object.key === car));
});

test("of the ground the eraser takes the class that most pixels are of, and the nearest other one comes", () => {
  const base = emptyDocument(20, 12, CLASSES, SKY);
  const road = edits.paint(base, box(0, 6, 20, 6), ROAD).document;
  const pond = edits.paint(road, box(5, 2, 6, 3), TREE).document;
  assert.deepEqual(edits.erase(pond, box(4, 2, 8, 3)).ground.label, road.ground.label);
  assert.deepEqual(edits.erase(pond, box(4, 1, 8, 5), { of: TREE }).ground.label, road.ground.label);
  assert.deepEqual(edits.erase(base, box(4, 1, 8, 5)).ground, base.ground, "where there is one class only, it stays");
});

test("erased ground comes from the nearest pixels of another class", () => {
  forSeeds(80, (chance) => {
    const document = { ...anyDocument(chance, { width: 26, height: 24 }), objects: [] };
    const { label } = document.ground;
    const mask = anyMask(chance, 26, 24);
    const inside = clipped(mask, document).map(([x, y]) => y * 26 + x);
    if (!inside.length) return;
    const counts = new Map();
    for (const place of inside) counts.set(label[place], (counts.get(label[place]) ?? 0) + 1);
    const of = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one))[0];
    const gone = new Set(inside.filter((place) => label[place] === of));
    const after = edits.erase(document, mask);
    const sources = [...label.keys()].filter((place) => label[place] !== of && label[place] !== IGNORED);
    if (!sources.length) return;
    const far = (one, other) => ((one % 26) - (other % 26)) ** 2 + (Math.floor(one / 26) - Math.floor(other / 26)) ** 2;
    for (let place = 0; place < label.length; place += 1) {
      if (!gone.has(place)) {
        assert.equal(after.ground.label[place], label[place]);
        continue;
      }
      const nearest = Math.min(...sources.map((source) => far(source, place)));
      const allowed = new Set(sources.filter((source) => far(source, place) === nearest).map((source) => label[source]));
      assert.ok(allowed.has(after.ground.label[place]));
    }
  });
});

test("a nearer pixel is found however far the search has to go", () => {
  forSeeds(60, (chance) => {
    let document = emptyDocument(110, 50, CLASSES, SKY);
    const specks = Array.from({ length: chance.whole(1, 5) }, () => [chance.whole(0, 109), chance.whole(0, 49), chance.of([ROAD, TREE])]);
    for (const [x, y, its] of specks) document = edits.paint(document, box(x, y, 1, 1), its).document;
    const mask = box(chance.whole(0, 60), chance.whole(0, 40), chance.whole(2, 49), chance.whole(1, 6));
    const { label } = document.ground;
    const { ground } = edits.erase(document, mask, { of: SKY });
    for (const [x, y] of clipped(mask, document).filter(([u, v]) => label[v * 110 + u] === SKY)) {
      const free = specks.filter(([u, v]) => label[v * 110 + u] !== SKY).map(([u, v]) => [(u - x) ** 2 + (v - y) ** 2, label[v * 110 + u]]);
      const nearest = Math.min(...free.map(([far]) => far));
      assert.ok(free.some(([far, its]) => far === nearest && its === ground.label[y * 110 + x]), `${x},${y}`);
    }
  });
});

test("a lifted region leaves the picture as it is, and can be taken away", () => {
  forSeeds(100, (chance) => {
    const document = anyDocument(chance, { free: true });
    const [x, y] = [chance.whole(0, document.width - 1), chance.whole(0, document.height - 1)];
    const { document: lifted, key } = edits.lift(document, x, y);
    const [before, after] = [flatten(document), flatten(lifted)];
    assert.deepEqual(after.label, before.label);
    assert.deepEqual(after.instance, before.instance);
    assert.equal(lifted.objects[0].key, key);
    const known = new Set(document.ground.label);
    if (known.size > 1) {
      const gone = edits.remove(lifted, key);
      const mask = lifted.objects[0].mask;
      assert.ok(clipped(mask, document).every(([u, v]) => known.has(gone.ground.label[v * document.width + u])));
    }
  });
});

test("nothing may uncover what nobody knows", () => {
  const document = emptyDocument(6, 5, CLASSES, ROAD);
  const { document: lifted, key } = edits.lift(document, 2, 2);
  assert.throws(() => edits.remove(lifted, key), /Nothing is known/);
  assert.throws(() => edits.moveObject(lifted, key, 2, 0), /Nothing is known/);
  assert.throws(() => edits.setHidden(lifted, key, true), /Nothing is known/);
  assert.equal(flatten(edits.relabel(lifted, key, HOUSE).document).label[0], HOUSE);
  const painted = edits.paint(lifted, box(0, 0, 2, 2), TREE).document;
  assert.equal(flatten(edits.remove(painted, key)).label[29], TREE, "what was painted is the first that is known");
});

test("relabelling keeps place, key and pixels; the id is new and the style of the old class is gone", () => {
  const { document, car, house } = street();
  const styled = edits.setPinned(edits.setStyle(document, house, 3), house, true);
  const { document: after, key } = edits.relabel(styled, house, PERSON);
  const [object] = after.objects;
  assert.deepEqual([key, object.key, object.class, object.id, object.writtenId], [house, house, PERSON, 5001, 5001]);
  assert.deepEqual([object.style, object.pinned, object.mask], [null, false, document.objects[0].mask]);
  assert.equal(edits.relabel(after, house, PERSON).document, after);
  assert.equal(after.objects[1].key, car);
  const stuff = edits.relabel(after, house, ROAD).document.objects[0];
  assert.deepEqual([stuff.id, stuff.writtenId], [1001, ROAD]);
});

test("a region of the ground is relabelled in place; as a thing it becomes an object", () => {
  const { document } = street();
  const grown = edits.relabel(document, { x: 0, y: 10 }, TREE);
  assert.equal(grown.key, null);
  assert.equal(grown.document.ground.label.filter((value) => value === TREE).length, 80);
  assert.equal(edits.relabel(document, { x: 0, y: 10 }, ROAD).document, document);
  const thing = edits.relabel(document, { x: 0, y: 10 }, HOUSE);
  assert.equal(thing.document.objects[0].key, thing.key);
  assert.equal(flatten(thing.document).label[10 * 20], HOUSE);
  assert.ok(thing.document.ground.label.every((value) => value === SKY));
  assert.throws(() => edits.relabel(document, { x: 40, y: 0 }, TREE), /no pixel|There is no/);
});

test("a bucket over an object relabels it with what is hidden of it", () => {
  const { document, house, car } = street();
  const { document: after, key } = edits.fill(document, 5, 3, TREE, { reach: "object" });
  assert.equal(key, house);
  assert.deepEqual(after.objects[0].mask, document.objects[0].mask);
  assert.equal(edits.fill(document, 0, 0, ROAD, { reach: "object" }).document.ground.label[0], ROAD);
  const all = edits.fill(document, 9, 8, PERSON, { reach: "class" });
  assert.deepEqual(cells(all.document.objects[2].mask), cells(document.objects.find((o) => o.key === car).mask));
  assert.equal(edits.fill(document, -1, 0, ROAD).document, document);
});

test("copies wear what the original wears, and are not locked with it", () => {
  const { document, car } = street();
  const dressed = edits.setLocked(edits.setStyle(document, car, [0.5]), car, true);
  const { document: after, key } = edits.duplicate(dressed, car, -3, 0);
  const copy = after.objects.find((object) => object.key === key);
  assert.deepEqual([copy.style, copy.locked, copy.id], [[0.5], false, 4002]);
  assert.equal(after.objects.indexOf(copy), after.objects.findIndex((object) => object.key === car) + 1);
});

test("what leaves the picture is there again when it comes back; all of it may not leave", () => {
  const { document, car } = street();
  const back = edits.moveObject(edits.moveObject(document, car, 9, 0), car, -9, 0);
  assert.deepEqual(flatten(back), flatten(document));
  assert.throws(() => edits.moveObject(document, car, 40, 0), /outside of the picture/);
  assert.throws(() => edits.moveObject(document, car, 0, 0, 90), /4 times/);
  assert.throws(() => edits.moveObject(document, car, 0, 0, 0), /4 times/);
  assert.throws(() => edits.moveObject(document, 12345, 1, 0), /no longer in the layout/);
});

test("splitting and merging give the same pixels back; one object cannot be merged", () => {
  const { document, car } = street();
  const cut = edits.erase(document, box(10, 7, 2, 4));
  const { document: parts, keys } = edits.split(cut, car);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], car);
  assert.equal(new Set(parts.objects.map((object) => object.id)).size, 3);
  const whole = edits.merge(parts, keys);
  assert.deepEqual(flatten(whole), flatten(cut));
  assert.throws(() => edits.merge(whole, [car, car]), /two or more/);
  assert.deepEqual(edits.split(whole, whole.objects[0].key).keys, [whole.objects[0].key]);
});

test("an instance map of another picture is refused; of this one it brings its objects, and styles stay", () => {
  const { document } = street();
  const other = edits.setSeed(emptyDocument(20, 12, CLASSES, ROAD, "other"), 5);
  const after = edits.replaceInstances(edits.setName(edits.setZ(document, [1]), "mine"), other);
  assert.deepEqual([after.ground, after.objects, after.name, after.styles.z], [other.ground, [], "mine", [1]]);
  assert.throws(() => edits.replaceInstances(document, emptyDocument(4, 4, CLASSES)), /4 x 4 pixels, the layout 20 x 12/);
});

test("a hole in an object shows what is behind it", () => {
  const { document, house } = street();
  const after = edits.erase(document, disc(6, 4, 1));
  assert.equal(flatten(after).label[4 * 20 + 6], SKY);
  assert.equal(flatten(after).top[4 * 20 + 5], house);
});

test("setting what is set already is no edit", () => {
  const { document, car } = street();
  const set = [
    (now) => edits.setStyle(now, car, [0.5, -1]),
    (now) => edits.setPinned(now, car, true),
    (now) => edits.setLocked(now, car, true),
    (now) => edits.setHidden(now, car, true),
    (now) => edits.setSeed(now, 7),
    (now) => edits.setClassStyle(now, "road", 2),
    (now) => edits.setClassStyle(now, "car", 1),
    (now) => edits.setZ(now, [1, 2]),
    (now) => edits.setNoise(now, false),
    (now) => edits.setName(now, "a street"),
  ];
  for (const edit of set) assert.notEqual(edit(document), document);
  const all = set.reduce((now, edit) => edit(now), document);
  for (const edit of set) assert.equal(edit(all), all);
  assert.equal(edits.setClassStyle(document, "road", null), document);
});
