// One participant's way through the trials: load, show, ask, send; the next pictures are loaded meanwhile.

import { measureFrame, pause, visible } from "./exposure.js";
import * as words from "./words.js";

const CROSS = 700; // ms that the eyes have to settle before a limited exposure
const GAP = 200; // ms between the two pictures of real-or-fake
const FEEDBACK = 1500; // ms

export class Sitting {
  constructor(server, study, stage) {
    Object.assign(this, { server, study, stage });
    this.ahead = { position: -1 };
  }

  // To the end of the study, from wherever the server says that this participant is.
  async run() {
    this.frame = await measureFrame();
    for (;;) {
      const trial = await this.server.nextTrial();
      this.stage.progress(words.progress(this.study, Math.min(trial.position, trial.total - 1)), trial.position / trial.total);
      if (trial.done) return;
      await this.ask(trial);
    }
  }

  async ask(trial) {
    const { stage, server } = this;
    stage.say("");
    await stage.place(await this.#pictures(trial.position));
    this.#loadAhead(trial);
    await visible();
    const showing = name();
    await server.show(trial.position, showing);
    const shown = await this.#show(trial);
    stage.say(this.study.question);
    const start = performance.now();
    const side = await stage.answer();
    const response = performance.now() - start;
    const ballot = { side, showing, shown_ms: shown, frame_ms: this.frame, response_ms: response };
    const { correct } = await server.vote(trial.position, ballot);
    stage.hide(["left", "right"]);
    if (correct) {
      stage.say(words.feedback(side === correct, correct), side === correct ? "right" : "wrong");
      await pause(FEEDBACK);
    }
  }

  // The measured milliseconds of each exposure; none for unlimited time.
  async #show({ exposure }) {
    const { stage, frame } = this;
    const { protocol } = this.study;
    if (protocol === "ab") {
      stage.show(["left", "right"]);
      return [];
    }
    stage.cross(true);
    await pause(CROSS);
    stage.cross(false);
    if (protocol === "timed") return [await stage.expose(["left", "right"], exposure, frame)];
    const first = await stage.expose(["left"], exposure, frame);
    await pause(GAP);
    return [first, await stage.expose(["right"], exposure, frame)];
  }

  #pictures(position) {
    return this.ahead.position === position ? this.ahead.pictures : this.#load(position);
  }

  async #load(position) {
    const [left, right] = await Promise.all(["left", "right"].map((side) => this.server.picture(position, side)));
    return { left, right };
  }

  #loadAhead({ position, total }) {
    if (position + 1 === total) return;
    const pictures = this.#load(position + 1);
    pictures.catch(() => {}); // whoever waits for them hears of it
    this.ahead = { position: position + 1, pictures };
  }
}

// 24 random hexadecimal digits; randomUUID is not there on plain http.
function name() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
