// The status line: where the pointer is, what is there, what is held, how large the picture is seen.

import { css, make } from "./dom.js";

/** @import { App } from "../app.js" */
/** @import { Rendered } from "../net/live.js" */
/** @import { View } from "./view.js" */

/** @param {HTMLElement|null} container @param {App} app @param {View} view */
export function mountStatus(container, app, view) {
  if (!container) return;
  const where = make("span", { className: "where" });
  const dot = make("i", { className: "dot", hidden: true });
  const name = make("span");
  const tip = make("span", { className: "muted tip" });
  const size = make("span", { className: "size" });
  container.append(where, make("span", { className: "what" }, dot, name), tip, size);
  let waiting = false;
  const show = () => {
    waiting = false;
    const found = under(app, view);
    say(where, found ? `${found.x}, ${found.y}` : "");
    dot.hidden = !found;
    if (found) dot.style.backgroundColor = css(found.colour);
    say(name, found?.text ?? "");
    say(tip, app.pointers?.tool.tip() ?? "");
    const { width, height } = app.shown;
    const { off } = /** @type {Rendered} */ (app.picture ?? {});
    const near = typeof off === "number" ? `nearly right (about ${off.toFixed(1)} of 255 off), exact one follows · ` : "";
    say(size, `${near}${width} × ${height} · ${Math.round(100 * view.viewport.scale)} %`);
  };
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(show);
  };
  view.watch(soon);
  for (const event of /** @type {const} */ (["document", "preview", "selection", "tool", "picture"])) app.on(event, soon);
  addEventListener("pointermove", soon, { passive: true });
  soon();
}

/** Writing the same text again would make the browser lay out the page. @param {HTMLElement} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What is under the pointer; null outside of the picture. @param {App} app @param {View} view */
function under(app, view) {
  if (!view.pointer) return null;
  const [x, y] = [Math.floor(view.pointer.x), Math.floor(view.pointer.y)];
  const { width, height } = app.shown;
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const { label, top } = view.seen;
  const { name, colour } = app.classOf(label[y * width + x]);
  const object = app.shown.objects.find(({ key }) => key === top[y * width + x]);
  const marks = object ? ` ${object.id}${object.locked ? ", locked" : ""}` : "";
  return { x, y, colour, text: `${name}${marks}` };
}
