// What the page has to say: short notes that go away, errors that stay until read, and whether the server is there.

import { liveOf } from "../net/live.js";
import { button, iconButton, make } from "./elements.js";

/** @import { Action, App } from "../app.js" */

const STAY = 6000; // ms that a note is shown, and a little more for every word
const PER_WORD = 250;
const MOST = 4;

/** @param {HTMLElement} container @param {App} app */
export function mountMessages(container, app) {
  const banner = lostBanner(app);
  const notes = make("div", { class: "notes", role: "status", "aria-live": "polite" });
  const errors = make("div", { class: "notes", role: "alert" });
  container.append(banner, errors, notes);
  app.on("message", ({ text, kind, action, actions }) => {
    const list = kind === "error" ? errors : notes;
    for (const same of list.children) if (same.querySelector(".text")?.textContent === text) same.remove();
    list.append(toast(text, kind, action, actions));
    while (list.childElementCount > MOST) list.firstElementChild?.remove();
  });
}

/** @param {string} text @param {"info"|"error"} kind @param {Action} [action] @param {Action[]} [actions] */
function toast(text, kind, action, actions = []) {
  const made = make("div", { class: `toast ${kind}` }, make("span", { class: "text" }, text));
  const close = () => made.remove();
  if (action) {
    const { label, run } = action;
    made.append(button(label, () => { close(); run(); }, { class: "small" }));
  }
  made.append(...actions.map(({ label, run }) => button(label, run, { class: "small" })));
  made.append(iconButton("close", "Close this message", close));
  if (kind !== "error") leaveLater(made, action ? 4 * STAY : STAY + PER_WORD * text.split(" ").length, close);
  return made;
}

/** Close after a while in which nobody points at it. @param {HTMLElement} element @param {number} milliseconds @param {() => void} close */
function leaveLater(element, milliseconds, close) {
  let timer = setTimeout(close, milliseconds);
  const stay = () => clearTimeout(timer);
  const go = () => {
    clearTimeout(timer);
    timer = setTimeout(close, milliseconds / 2);
  };
  for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, stay);
  for (const event of ["pointerleave", "focusout"]) element.addEventListener(event, go);
}

/** Shown while the server is away. @param {App} app */
function lostBanner(app) {
  const text = make("span", { class: "text" });
  const banner = make("div", { class: "toast error banner", role: "alert" }, text,
    button("Try now", () => liveOf(app)?.retry(), { class: "small" }));
  banner.hidden = true;
  app.on("connection", (state) => {
    banner.hidden = state !== "lost";
    text.textContent = state === "lost"
      ? "The server is gone. Keep painting: everything is kept here, and the photograph follows when it is back." : "";
  });
  return banner;
}
