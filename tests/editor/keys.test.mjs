// What keys are called, on keyboards of several countries.

import assert from "node:assert/strict";
import { test } from "node:test";

import { KEYS, nameOf } from "../../src/gesso/editor/static/tools/keys.js";

const MANY = 40; // materials
const SEARCH = KEYS.find(({ what }) => what === "Search the materials");

/** What a key is called. @param {string} key what it gives @param {string} code where it lies @param {string} held "Shift", "Ctrl", "AltGraph" */
function named(key, code, held = "", materials = MANY) {
  return nameOf({
    key, code, shiftKey: held.includes("Shift"), ctrlKey: held.includes("Ctrl"), metaKey: false, altKey: false,
    getModifierState: (name) => held.includes(name),
  }, materials);
}

test("Shift with a digit chooses a material, whatever the keyboard gives there", () => {
  const given = {
    US: "!@#$%^&*(", German: "!\"§$%&/()", British: "!\"£$%^&*(", Swiss: "+\"*ç%&/()", Spanish: "!\"·$%&/()", Hungarian: "'\"+!%/=()",
  };
  for (const [country, keys] of Object.entries(given)) {
    for (const [place, key] of [...keys].entries()) {
      assert.equal(named(key, `Digit${place + 1}`, "Shift"), `Shift+${place + 1}`, `${country} ${place + 1}`);
    }
  }
  assert.equal(named("Dead", "Digit6", "Shift"), "Shift+6", "a circumflex that waits for its letter");
});

test("where Shift gives the digits themselves, they choose the first materials", () => {
  for (const digit of "123456789") assert.equal(named(digit, `Digit${digit}`, "Shift"), digit);
});

test("help is asked for by whatever key gives its sign", () => {
  for (const code of ["Slash", "Minus", "Digit7", "Digit6", "Comma"]) assert.equal(named("?", code, "Shift"), "?"); // US, German, Russian, ...
});

test("the search is found on every keyboard", () => {
  for (const name of [named("/", "Slash"), named("/", "NumpadDivide"), named("f", "KeyF", "Ctrl")]) assert.ok(SEARCH.keys.includes(name), name);
  assert.equal(named("/", "Digit7", "Shift", 15), "/", "no sixteenth material");
  assert.equal(named("/", "Digit7", "Shift", 16), "Shift+7");
});

test("other keys are called by what they give", () => {
  assert.equal(named("1", "Digit1"), "1");
  assert.equal(named("1", "Digit1", "Ctrl"), "Ctrl+1");
  assert.equal(named("[", "Digit8", "AltGraph"), "[");
  assert.equal(named("Z", "KeyZ", "Ctrl Shift"), "Ctrl+Shift+Z");
  assert.equal(named("B", "KeyB", "Shift"), "B");
  assert.equal(named("PageUp", "PageUp", "Shift"), "Shift+PageUp");
  assert.equal(named(")", "Digit0", "Shift"), ")");
});
