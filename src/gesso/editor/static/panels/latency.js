// Where the time goes between a stroke and its photograph: a corner of the page, shown on demand.

import { liveOf } from "../net/live.js";
import { iconButton, make } from "./elements.js";

/** @import { App } from "../app.js" */
/** @import { Rendered } from "../net/live.js" */

const MOST = 100;
const PARTS = /** @type {const} */ ([
  ["prepare", "Prepare the layout"], ["network", "Network"], ["wait", "Wait for the model"], ["decode", "Decode"],
  ["model", "Model"], ["encode", "Encode"], ["paint", "Paint"], ["total", "From edit to pixels"],
]);

/** @param {HTMLElement} container @param {App} app */
export function mountLatency(container, app) {
  const body = make("tbody");
  const count = make("caption");
  const head = make("tr", {}, ...["", "last", "p50", "p95"].map((text) => make("th", { scope: "col" }, text)));
  const box = make("div", { class: "latency", role: "region", "aria-label": "Times" },
    iconButton("close", "Close the times", () => { box.hidden = true; }),
    make("table", {}, count, make("thead", {}, head), body));
  box.hidden = true;
  container.append(box);
  /** @type {Record<string, number>[]} the last of them, in ms */
  const times = [];
  let last = 0; // request whose times were taken
  const show = () => {
    if (box.hidden) return;
    const how = liveOf(app)?.state === "post" ? ", plain requests" : "";
    count.textContent = `Milliseconds, last ${times.length} full photographs${how}`;
    body.replaceChildren(...PARTS.map(([part, words]) => row(words, times.map((one) => one[part]))));
  };
  app.on("picture", () => {
    const picture = /** @type {Rendered|null} */ (app.picture);
    if (!picture?.whole || picture.request === last) return;
    last = picture.request;
    const came = performance.now();
    painted(() => {
      const now = performance.now();
      times.push({ ...picture.milliseconds, paint: now - came, total: now - picture.began });
      if (times.length > MOST) times.shift();
      show();
    });
  });
  app.on("command", (name) => {
    if (name !== "latency") return;
    box.hidden = !box.hidden;
    show();
  });
  Object.assign(container, { times }); // for measurements
}

/** Call back once the next frame is on its way to the screen. @param {() => void} act */
function painted(act) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = act;
    channel.port2.postMessage(null);
  });
}

/** @param {string} words @param {number[]} values */
function row(words, values) {
  const known = values.filter((value) => value !== undefined);
  const sorted = [...known].sort((one, other) => one - other);
  const at = (/** @type {number} */ share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const shown = [known[known.length - 1], at(0.5), at(0.95)].map((value) => (value === undefined ? "–" : value.toFixed(value < 9.95 ? 1 : 0)));
  return make("tr", {}, make("th", { scope: "row" }, words), ...shown.map((text) => make("td", {}, text)));
}
