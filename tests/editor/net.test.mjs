// What of the page's talk with the server is pure: frames, and how large previews are.

import assert from "node:assert/strict";
import { test } from "node:test";

import { sameClasses } from "../../src/gesso/editor/static/net/classes.js";
import { pack, unpack } from "../../src/gesso/editor/static/net/envelope.js";
import { backoff, Pace, SCALES } from "../../src/gesso/editor/static/net/pace.js";

test("a frame is unpacked as it was packed", () => {
  const header = { request: 7, style: { seed: 1, classes: { "Straße ✓": 2 } }, bytes: [3, 2] };
  const frame = pack(header, [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5)]);
  const found = unpack(frame.buffer);
  assert.deepEqual(found.header, header);
  assert.deepEqual([...found.bytes], [1, 2, 3, 4, 5]);
});

test("a frame that is shorter than it says is refused", () => {
  const frame = pack({ request: 1 }, []);
  assert.throws(() => unpack(frame.slice(0, frame.length - 2).buffer), /shorter/);
});

test("previews are as large as four of them per second allow", () => {
  const pace = new Pace();
  assert.equal(pace.scale(), 0.5, "nothing is known yet");
  for (const [full, expected] of [[60, 1], [190, 1], [500, 0.5], [1200, 0.25], [3900, 0.125], [60_000, 0.125]]) {
    const steady = new Pace();
    for (let count = 0; count < 20; count += 1) steady.note(1, full);
    assert.equal(steady.scale(), expected, `${full} ms`);
  }
});

test("a machine that becomes fast again is noticed from small previews", () => {
  const pace = new Pace();
  for (let count = 0; count < 20; count += 1) pace.note(1, 3000);
  assert.equal(pace.scale(), 0.125);
  for (let count = 0; count < 20; count += 1) pace.note(0.125, 8);
  assert.equal(pace.scale(), 1);
  assert.ok(SCALES.includes(pace.scale()));
});

test("attempts to reconnect become rarer, but not without end", () => {
  const waits = Array.from({ length: 20 }, (_, attempt) => backoff(attempt));
  assert.equal(waits[0], 250);
  assert.deepEqual(waits, [...waits].sort((one, other) => one - other));
  assert.equal(waits[19], 5000);
});

test("models mean the same when classes have the same names in the same order", () => {
  const classes = [{ name: "road", thing: false }, { name: "car", thing: true }];
  assert.ok(sameClasses(classes, structuredClone(classes)));
  assert.ok(!sameClasses(classes, [...classes].reverse()));
  assert.ok(!sameClasses(classes, classes.slice(1)));
});
