// The empty state: go on with a draft, or start from an example layout.

import { fromWire } from "../model/document.js";
import * as api from "../net/api.js";
import { autosaveOf } from "../net/autosave.js";
import { restored } from "../net/blobs.js";
import { asInPhotograph } from "./dressing.js";
import { button, iconButton, make } from "./elements.js";
import { chooseFile } from "./file_choice.js";
import { attempt, openAny, show, showProject } from "./opening.js";

/** @import { App } from "../app.js" */
/** @import { Draft } from "../net/drafts.js" */
/** @typedef {{number: number, name: string, thumbnail: string, width: number, height: number, fault: string | null}} Example */

const DRAFTS = 3;

/** @type {WeakMap<App, () => void>} */
const openers = new WeakMap();

/** Show the examples again. @param {App} app */
export const showExamples = (app) => openers.get(app)?.();

/** @param {HTMLElement} container @param {App} app */
export function mountExamples(container, app) {
  const drafts = make("div", { class: "cards" });
  const grid = make("div", { class: "cards" });
  const waiting = make("p", { class: "hint", role: "status" }, "Loading examples …");
  const close = iconButton("close", "Close", () => { card.hidden = true; });
  const examplesHead = make("h3", {}, "Start from a layout");
  const draftsHead = make("h3", {}, "Continue where you left off");
  const card = make("section", { class: "start", "aria-label": "Start" },
    make("header", { class: "panel-head" }, make("h2", {}, "What will you paint?"), close),
    draftsHead, drafts, examplesHead, waiting, grid,
    make("div", { class: "row" },
      button("Open a file …", () => chooseFile("image/png,image/jpeg,.zip", async (file) => {
        if (await openAny(app, file)) card.hidden = true;
      })),
      button("Begin with an empty layout", () => { card.hidden = true; })));
  container.append(card);
  card.hidden = true;
  let asked = false;
  const open = () => {
    card.hidden = false;
    if (asked) return;
    asked = true;
    waiting.hidden = false;
    fill();
  };
  const fill = () => attempt(app, null, async () => {
    const found = await api.examples();
    grid.replaceChildren(...found.map((/** @type {Example} */ one) => exampleCard(one, () => startFrom(app, one.number, one.name))));
  }).then((worked) => {
    waiting.hidden = true;
    if (!worked) asked = false;
  });
  openers.set(app, open);
  app.on("document", () => { card.hidden = true; });
  const offerDrafts = async () => {
    const found = (await autosaveOf(app).found).slice(0, DRAFTS);
    draftsHead.hidden = drafts.hidden = found.length === 0;
    drafts.replaceChildren(...found.map((draft) => draftCard(app, draft)));
  };
  draftsHead.hidden = drafts.hidden = true;
  offerDrafts();
  begin(app, open);
}

/** What the page shows first: the project that it was started with, or the examples. @param {App} app @param {() => void} open */
async function begin(app, open) {
  const { project } = app.model;
  if (!project) return open();
  const opened = await attempt(app, `Opening ${project} …`, async () => {
    await showProject(app, await api.firstProject(), `Open ${project}`);
  });
  if (!opened) open();
}

/** @param {App} app @param {number} number @param {string} name */
function startFrom(app, number, name) {
  return attempt(app, `Opening ${name} …`, async () => {
    const wire = await api.example(number);
    const photograph = wire.photograph ? await api.examplePhotograph(number) : null;
    const document = await fromWire(wire, app.model.classes);
    show(app, await asInPhotograph(app, document, photograph), `Open ${name}`, photograph);
  });
}

/** @param {Example} example @param {() => void} start */
function exampleCard({ name, thumbnail, width, height, fault }, start) {
  if (fault) {
    return make("button", { type: "button", class: "card", disabled: true }, make("span", {}, name), make("span", { class: "hint" }, fault));
  }
  const picture = make("img", { src: thumbnail, alt: "", width, height });
  return make("button", { type: "button", class: "card", on: { click: start } }, picture, make("span", {}, name));
}

/** @param {App} app @param {Draft} draft */
function draftCard(app, draft) {
  const picture = make("img", { alt: "" });
  const thumbnail = restored(draft.thumbnail);
  if (thumbnail) {
    const address = URL.createObjectURL(thumbnail);
    picture.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    picture.src = address;
  }
  const other = draft.hash === app.model.hash ? "" : ", with another model";
  const words = `${draft.name || "A painting"}, ${ago(draft.saved)}${other}`;
  return make("button", { type: "button", class: "card draft", on: { click: () => attempt(app, "Opening …", () => autosaveOf(app).resume(draft)) } },
    picture, make("span", {}, words));
}

/** How long ago, in words. @param {number} time in ms */
function ago(time) {
  const minutes = Math.round((Date.now() - time) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.round(hours / 24)} days ago`;
}
