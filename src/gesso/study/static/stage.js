// The two places for pictures, and the answers below them.

import { expose, nextFrame } from "./exposure.js";

const find = (id) => document.getElementById(id);
const SIDES = ["left", "right"];
const KEYS = { ArrowLeft: "left", ArrowRight: "right" };

export class Stage {
  constructor([height, width]) {
    this.canvases = Object.fromEntries(SIDES.map((side) => [side, find(side)]));
    for (const canvas of Object.values(this.canvases)) Object.assign(canvas, { width, height });
    this.buttons = [...document.querySelectorAll("#answers button")];
    this.#answerable(false);
  }

  progress(words, share) {
    find("count").textContent = words;
    find("progress").value = share;
  }

  say(words, kind = "") {
    find("question").textContent = words;
    find("question").className = kind;
  }

  // Draw both pictures where nobody sees them yet, and let the screen have them.
  async place(pictures) {
    this.hide(SIDES);
    for (const side of SIDES) {
      this.canvases[side].getContext("2d").drawImage(pictures[side], 0, 0);
      pictures[side].close();
    }
    await nextFrame();
    await nextFrame();
  }

  cross(shown) {
    find("stage").classList.toggle("waiting", shown);
  }

  show(sides) {
    for (const side of sides) this.canvases[side].classList.add("shown");
  }

  hide(sides) {
    for (const side of sides) this.canvases[side].classList.remove("shown");
  }

  expose(sides, seconds, frame) {
    return expose(() => this.show(sides), () => this.hide(sides), seconds, frame);
  }

  // "left" or "right", by arrow key, button or, where pictures can be seen, a click on one.
  answer() {
    this.#answerable(true);
    return new Promise((resolve) => {
      const listening = new AbortController();
      const take = (side) => {
        listening.abort();
        this.#answerable(false);
        resolve(side);
      };
      const on = (target, kind, act) => target.addEventListener(kind, act, { signal: listening.signal });
      on(document, "keydown", (event) => {
        if (!(event.key in KEYS) || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        take(KEYS[event.key]);
      });
      for (const button of this.buttons) on(button, "click", () => take(button.dataset.side));
      for (const side of SIDES) {
        on(this.canvases[side], "click", (event) => event.target.classList.contains("shown") && take(side));
      }
    });
  }

  #answerable(can) {
    for (const button of this.buttons) button.disabled = !can;
    find("answers").style.visibility = can ? "visible" : "hidden";
  }
}
