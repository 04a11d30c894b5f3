// Models with features: each object wears a mode of its class, or a vector of its own.

import { setPinned, setStyle } from "../model/edits.js";
import { objectAt } from "../model/document.js";
import { objectName } from "../model/styles.js";
import * as api from "../net/api.js";
import { dressed } from "./dressing.js";
import { button, drawn, labelled, make, press } from "./elements.js";
import { nameOf, namesOf, perform } from "./object_edits.js";
import { pointing } from "./pointing.js";
import { seedRow } from "./seed.js";
import { sees, Strip } from "./style_strip.js";
import { chosen, choose, targetOf } from "./style_target.js";

/** @import { App } from "../app.js" */
/** @import { Choice, Document, Obj } from "../model/types.js" */
/** @import { Target } from "./style_target.js" */

/** @param {HTMLElement} container @param {App} app */
export function mountModes(container, app) {
  const title = make("h3");
  const classes = make("select", {}, ...app.model.classes.filter(({ name }) => app.model.modes[name])
    .map(({ index, name }) => make("option", { value: index }, name)));
  const chooser = labelled("All of", classes);
  const strip = new Strip(app);
  const note = make("p", { class: "hint" });
  const [actions, refresh] = objectActions(app);
  container.append(title, chooser, strip.element, note, actions, seedRow(app, "Randomise all"), fromPhotograph(app));

  const show = () => {
    const target = targetOf(app, Number(classes.value));
    const count = app.model.modes[target.name] ?? 0;
    title.textContent = target.objects.length ? `${namesOf(app, target.objects)} wears` : "";
    title.hidden = !target.objects.length;
    chooser.hidden = target.objects.length > 0 || classes.length === 0;
    if (!chooser.hidden) classes.value = String(target.index);
    strip.element.hidden = target.mixed || count === 0 || app.empty;
    note.textContent = noteOn(app, target, count);
    note.hidden = !note.textContent;
    if (!strip.element.hidden) strip.show(target);
    refresh(target);
  };
  let waiting = false;
  const soon = () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; show(); });
    waiting = true;
  };
  classes.addEventListener("change", () => { app.select([]); soon(); });
  app.on("tool", () => {
    const held = app.classOf(app.tool.classIndex).name;
    if (!app.selection.size && app.model.modes[held] && classes.value !== String(app.tool.classIndex)) {
      classes.value = String(app.tool.classIndex);
      soon();
    }
  });
  app.on("document", soon);
  app.on("selection", soon);
  app.on("connection", soon);
  soon();
}

/** @param {App} app @param {Target} target @param {number} count */
function noteOn(app, target, count) {
  if (app.empty) return "Styles are chosen here once there is a layout: for an object that you select, or for all of a material.";
  if (target.mixed) return "Objects of several materials are selected; select some of one to choose their style.";
  if (!count) return `The model file holds no styles to choose from for ${target.name}: it wears what chance gives it.`;
  if (!sees(app.document, target)) {
    return target.objects.length ? "It cannot be seen: it is hidden, or covered by others." : `There is no ${target.name} in the layout yet.`;
  }
  const choice = chosen(app, target);
  if (choice === undefined) return "These objects wear different styles.";
  const who = target.objects.length > 1 ? "They wear" : target.objects.length ? "It wears" : `All of ${target.name} wears`;
  if (Array.isArray(choice)) return `${who} a style of its own (pinned, copied, or from a photograph).`;
  return "";
}

/** Copy and pin, for selected objects. @param {App} app @returns {[HTMLElement, (target: Target) => void]} */
function objectActions(app) {
  /** @type {Target} */
  let target = { index: 0, name: "", objects: [], mixed: false };
  const toAll = button("", () => copyToClass(app, target.objects[0]), { class: "small" });
  const toSome = button("Copy to …", () => copyByClicks(app, target.objects[0]), { class: "small", title: "Copy this style to objects that you click" });
  const pin = make("button", { type: "button", class: "small", title: "A pinned object keeps its style when all are drawn anew", on: { click: () => togglePin(app, target.objects) } },
    drawn("pin"), "Pin");
  const row = make("div", { class: "row" }, pin, toSome, toAll);
  return [row, (next) => {
    target = next;
    row.hidden = !target.objects.length;
    toSome.disabled = toAll.disabled = target.objects.length !== 1;
    toAll.textContent = `To every ${target.name}`;
    press(pin, target.objects.length > 0 && target.objects.every(({ pinned }) => pinned));
  }];
}

/** What objects wear now, chance resolved. @param {App} app @param {Obj[]} objects @returns {Promise<(Choice|null)[]>} */
async function worn(app, objects) {
  if (objects.every(({ style }) => style !== null)) return objects.map(({ style }) => style);
  const { document } = app;
  const { instances = {} } = await api.wornStyles({ document, model: app.model });
  return objects.map((object) => object.style ?? instances[objectName(document, object)] ?? null);
}

/** Do something with what objects wear; say what went wrong. @param {App} app @param {Obj[]} objects @param {(worn: (Choice|null)[]) => void} act */
async function withWorn(app, objects, act) {
  try {
    act(await worn(app, objects));
  } catch (error) {
    app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
  }
}

/** @param {App} app @param {Obj[]} objects */
function togglePin(app, objects) {
  if (objects.every(({ pinned }) => pinned)) {
    perform(app, "Unpin", (document) => ({ document: objects.reduce((made, { key }) => setPinned(made, key, false), document) }));
    return;
  }
  withWorn(app, objects, (styles) => perform(app, `Pin ${namesOf(app, objects)}`, (document) => ({
    document: objects.reduce((made, { key }, place) => setPinned(setStyle(made, key, styles[place]), key, true), document),
  })));
}

/** @param {App} app @param {Obj} from */
function copyToClass(app, from) {
  withWorn(app, [from], ([style]) => {
    const others = app.document.objects.filter((object) => object.class === from.class && !object.pinned);
    perform(app, `Copy the style of ${nameOf(app, from)} to all`, (document) => ({
      document: others.reduce((made, { key }) => setStyle(made, key, style), document),
    }));
  });
}

/** @param {App} app @param {Obj} from */
function copyByClicks(app, from) {
  withWorn(app, [from], ([style]) => pointing(app, {
    words: `Click what should wear the style of ${nameOf(app, from)}.`,
    take: ({ x, y }) => {
      const object = objectAt(app.document, x, y);
      if (object?.class !== from.class) app.say(`Styles are shared among objects of one material: click a ${app.classOf(from.class).name}.`);
      else choose(app, { index: from.class, name: "", objects: [object], mixed: false }, style, "a copied style");
      return false;
    },
  }));
}

/** A button that dresses the layout as the photograph that it came with. @param {App} app */
function fromPhotograph(app) {
  const dress = button("As in the photograph", async () => {
    const { source } = app.document;
    if (!source) return;
    const scene = { document: app.document, model: app.model };
    try {
      const style = await api.encodeStyle(scene, source, true);
      perform(app, "Styles of the photograph", (document) => ({ document: dressed(document, style) }));
    } catch (error) {
      app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
    }
  }, { class: "small", title: "Take the style of everything from the photograph that was opened" });
  const show = () => {
    dress.hidden = !app.model.encoder || !app.document.source;
  };
  app.on("document", show);
  show();
  return dress;
}
