// The view's controls in the header: panes or wipe, boundaries, outlines, opacity, zoom, times.

import { iconButton, make } from "./dom.js";
import { ICONS } from "./icons.js";

/** @import { App } from "../app.js" */
/** @import { View } from "./view.js" */

/** @param {HTMLElement|null} container @param {App} app @param {View} view */
export function mountControls(container, app, view) {
  if (!container) return;
  const panes = iconButton("Two panes", ICONS.panes, () => view.set({ wipe: false }));
  const wipe = iconButton("Before and after, with a wipe", ICONS.wipe, () => view.set({ wipe: true }), "W");
  const boundaries = iconButton("Show boundaries", ICONS.boundaries, () => view.toggle("boundaries"), "'");
  const outlines = iconButton("Outline what is selected", ICONS.outlines, () => view.toggle("outlines"), "\\");
  const times = iconButton("Times of the last photographs", ICONS.times, () => app.emit("command", "latency"), "T");
  const opacity = make("input", {
    type: "range", min: "0", max: "1", step: "0.05", value: "1", id: "opacity", "aria-label": "Opacity of the layout",
  });
  opacity.title = "Opacity of the layout over the photograph";
  opacity.addEventListener("input", () => view.set({ opacity: opacity.valueAsNumber }));
  const out = iconButton("Zoom out", ICONS.minus, () => view.zoomBy(1 / 1.5), "-");
  const into = iconButton("Zoom in", ICONS.plus, () => view.zoomBy(1.5), "+");
  const fit = iconButton("Show all of the picture", ICONS.fit, () => view.fit(), "0");
  container.append(
    make("span", { className: "segments" }, panes, wipe),
    make("span", { className: "segments" }, boundaries, outlines),
    make("label", { className: "opacity" }, "Opacity", opacity),
    make("span", { className: "zoom" }, out, into, fit),
    times,
  );
  const show = () => {
    panes.setAttribute("aria-pressed", String(!view.settings.wipe));
    wipe.setAttribute("aria-pressed", String(view.settings.wipe));
    boundaries.setAttribute("aria-pressed", String(view.settings.boundaries));
    outlines.setAttribute("aria-pressed", String(view.settings.outlines));
  };
  view.watch(show);
  show();
}
