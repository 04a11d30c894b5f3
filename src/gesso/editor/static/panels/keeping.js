// The switch beneath the panes, for documents that came from a photograph: keep it around what was edited, or render all of it.

import { bare } from "../model/kept.js";
import { asInPhotograph } from "./dressing.js";
import { button, labelled, make, press, slider } from "./elements.js";
import { attempt } from "./opening.js";

/** @import { App } from "../app.js" */

const MOST_MARGIN = 0.25; // of the photograph's height, as the server takes it

/** @param {HTMLElement} container @param {App} app */
export function mountKeeping(container, app) {
  const { keeping } = app;
  if (!keeping) throw new Error("the photograph is kept before this panel is made");
  const keep = button("Keep my photograph", () => keeping.turn(true), {
    title: "Only what you change is put into your photograph: everything else stays its own pixels, at its own size",
  });
  const whole = button("Whole picture rendered", () => keeping.turn(false), { title: "The model's picture of the whole layout" });
  const range = { min: 0, max: MOST_MARGIN, step: 0.01, value: keeping.margin };
  const margin = slider(range, { change: (value) => keeping.widen(value) }, {
    title: "How far around a change the picture is made anew: more takes away shadows and rims that were left, less keeps more",
  });
  const right = button("The layout is right", () => takeAsFound(app), {
    title: "Take the layout as it is now for what your photograph shows: mend what was misread in it, press this, then edit",
  });
  const margins = labelled("Margin", margin);
  const hint = make("span", { class: "hint", role: "status" });
  container.append(make("span", { class: "segments" }, keep, whole), margins, right, hint);
  const show = () => {
    const { source, original } = app.document;
    const there = source !== null && original !== null;
    if (container.hidden === there) container.hidden = !there;
    press(keep, keeping.on);
    press(whole, !keeping.on);
    margins.hidden = !keeping.on;
    right.disabled = !there || keeping.state === "unchanged";
    const words = keeping.state === "refused" ? "Not possible with this edit: the whole picture is shown." : "";
    if (hint.textContent !== words) hint.textContent = words;
  };
  app.on("kept", show);
  show();
}

/** Take the layout for what the photograph shows, in the photograph's own styles. @param {App} app */
function takeAsFound(app) {
  return attempt(app, "Reading your photograph …", async () => {
    const before = app.document;
    const found = await asInPhotograph(app, before, before.source);
    if (app.document !== before) throw new Error("The layout was changed meanwhile; press it again.");
    app.apply("The layout is right", () => ({ ...found, original: bare(found) }));
    app.say("From here on, what you change is put into your photograph.");
  });
}
