// Something that asks for a place in the panes, such as where a pasted object goes: until it is given, or Escape is pressed.

/** @import { App } from "../app.js" */
/** @import { Point } from "../model/types.js" */

/**
 * @typedef {object} Asking
 * @property {string} words what the page says meanwhile
 * @property {(place: Point) => void} [over] the pointer is over a pixel, or in the margin around the picture
 * @property {() => void} [out] the pointer left the panes
 * @property {(place: Point) => boolean} take a pixel was chosen; whether that was all
 * @property {() => void} [end] it is over, chosen or not
 */

/** @type {(() => void)|null} what ends the present one */
let ending = null;

/** Ask for a place. @param {App} app @param {Asking} asking */
export function pointing(app, { words, over, out, take, end }) {
  ending?.();
  const listening = new AbortController();
  const panes = document.getElementById("panes") ?? document.body;
  const note = Object.assign(document.createElement("p"), { className: "asking", textContent: `${words} Esc ends this.` });
  note.setAttribute("role", "status");
  panes.append(note);
  ending = () => {
    ending = null;
    listening.abort();
    note.remove();
    end?.();
  };
  const finish = ending;
  /** @param {PointerEvent} event */
  const inside = (event) => event.target instanceof Element && event.target.closest(".pane") !== null;
  /** @param {string} kind @param {(event: any) => void} act */
  const on = (kind, act) => addEventListener(kind, act, { capture: true, signal: listening.signal });
  let down = false;
  on("pointermove", (event) => {
    if (!inside(event)) return out?.();
    event.stopImmediatePropagation();
    over?.(app.view.toPixel(event));
  });
  on("pointerdown", (event) => {
    if (!inside(event) || event.button > 0) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    down = true;
    over?.(app.view.toPixel(event));
  });
  on("pointerup", (event) => {
    if (!down) return;
    event.stopImmediatePropagation();
    down = false;
    if (take(app.view.toPixel(event))) finish();
  });
  on("keydown", (event) => {
    const { width, height } = app.document;
    if (event.key === "Escape") finish();
    else if (event.key === "Enter") take({ x: width >> 1, y: Math.round(0.75 * height) }) && finish();
    else return;
    event.stopImmediatePropagation();
    event.preventDefault();
  });
}
