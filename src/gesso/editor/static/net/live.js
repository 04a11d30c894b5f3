// Keeps the photograph like the layout: sends what was painted, shows what comes back, newest first, and survives a lost server.

import { changedRect } from "../model/document.js";
import { model as askModel, Refused, styleOf } from "./api.js";
import { backoff, Pace } from "./pace.js";
import { openSocket, posting } from "./transports.js";

/** @import { App } from "../app.js" */
/** @import { Document, Model } from "../model/types.js" */
/** @import { Answer, Listener, Transport } from "./transports.js" */

/**
 * What was wanted: `preview` while a stroke is drawn, `whole` in full, which is also for a pointer that rests. `began` is when
 * (performance.now()).
 * @typedef {{document: Document, preview: boolean, whole: boolean, began: number}} Want
 */
/** `taken` is when it began to be prepared, `sent` when it was on its way. @typedef {Want & {scale: number, taken: number, sent: number}} Pending */
/**
 * A rendered picture and how long it took, in ms: from what happened in the page to pixels that can be drawn. `whole` is one in
 * full that is exact; `off` says how far one is from it, in levels of 255, that came before.
 * @typedef {import("../app.js").Picture & {scale: number, whole: boolean, off: number|null, began: number, milliseconds: Record<string, number>}} Rendered
 */

const REST = 220; // ms without a new preview after which a resting pointer gets the full picture
const PATIENCE = 12_000; // ms after which an answer that does not come makes us ask whether anyone is there

/** @type {WeakMap<App, Live>} */
const lives = new WeakMap();

/** Connect the page with the server. @param {App} app @returns {Live} */
export function connectLive(app) {
  const live = new Live(app);
  lives.set(app, live);
  live.start();
  return live;
}

/** The connection of a page, once there is one. @param {App} app */
export const liveOf = (app) => lives.get(app);

export class Live {
  /** @type {Transport|null} */
  #transport = null;
  /** @type {Map<number, Pending>} what was sent and not answered */
  #pending = new Map();
  /** @type {Want|null} */
  #want = null;
  #request = 0; // the last one sent
  #shown = 0; // the newest one whose answer was shown
  #sending = false;
  #attempts = 0; // in vain, since the server was last there
  #connecting = 0; // which attempt is the present one: others that succeed late are closed
  #saidPosting = false;
  #complaint = ""; // what the server last refused to render
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #rest;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.pace = new Pace();
    this.session = app.model.session;
    /** Whether the server can be reached, and how. @type {"connecting"|"socket"|"post"|"lost"} */
    this.state = "connecting";
  }

  start() {
    this.app.on("document", () => this.#wants(this.app.document, false));
    this.app.on("preview", () => this.#previewed());
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
    setInterval(() => this.#watch(), PATIENCE / 4);
    this.#wants(this.app.document, false);
    this.#connect(false);
  }

  /** Whether what is seen is the photograph of the present document, in full. */
  get settled() {
    const picture = /** @type {Rendered|null} */ (this.app.picture);
    return picture?.document === this.app.document && picture.whole && this.#want === null;
  }

  /** Whether what was sent last is not seen yet: under way, or its answer is being decoded. */
  get #coming() {
    return this.#request > this.#shown;
  }

  /** Try again now, where the server is not there. */
  retry() {
    if (this.state !== "lost") return;
    clearTimeout(this.#retry);
    this.#connect(true);
  }

  #previewed() {
    clearTimeout(this.#rest);
    const { shown, document } = this.app;
    if (shown === document) {
      const stroke = this.#want?.preview || this.#coming; // given up: what comes of it must not be seen last
      if (stroke || this.app.picture?.document !== document) this.#wants(document, false);
      return;
    }
    this.#wants(shown, true);
    this.#rest = setTimeout(() => this.#wants(shown, true, true), REST);
  }

  /** @param {Document} document @param {boolean} preview @param {boolean} [whole] */
  #wants(document, preview, whole = !preview) {
    if (!preview) clearTimeout(this.#rest);
    if (whole && this.#isSeen(document)) return;
    this.#want = { document, preview, whole, began: performance.now() };
    this.#pump();
  }

  /**
   * Whether the photograph that is seen is this document's already, as after an object was locked.
   * @param {Document} document
   */
  #isSeen(document) {
    const { picture, model } = this.app;
    if (!picture || this.#want || this.#coming || !(/** @type {Rendered} */ (picture).whole)) return false;
    const [before, after] = [picture.document, document].map((one) => JSON.stringify(styleOf({ document: one, model })));
    if (before !== after || changedRect(picture.document, document)) return false;
    this.app.setPicture({ ...picture, document });
    return true;
  }

  /** Whether it is the turn of what is wanted. Previews wait for the one before; for them the server gives up what is whole. */
  get #turn() {
    if (!this.#want || !this.#transport || this.#pending.size >= this.#transport.most) return false;
    return this.#want.whole || ![...this.#pending.values()].some((one) => !one.whole);
  }

  /** Send what is wanted, if there is a way and it is its turn. */
  async #pump() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.#turn) {
        await (this.#want?.preview ? new Promise((resolve) => setTimeout(resolve)) : null); // whoever paints goes on first
        const want = this.#want;
        if (!want || !this.#transport) break;
        this.#want = null;
        await this.#send(want, this.#transport);
      }
    } finally {
      this.#sending = false;
    }
  }

  /** @param {Want} want @param {Transport} transport */
  async #send(want, transport) {
    const request = ++this.#request;
    const scale = want.whole ? 1 : this.pace.scale();
    const taken = performance.now();
    /** @type {Pending} */
    const pending = { ...want, scale, taken, sent: taken };
    this.#pending.set(request, pending);
    const size = { scale, preview: want.preview };
    const sending = transport.send(request, { document: want.document, model: this.app.model }, size, () => {
      pending.sent = performance.now();
    });
    if (transport.name === "socket") await sending; // the other one ends with its answer
  }

  /** @param {Answer} answer @param {Uint8Array<ArrayBuffer>|null} bytes */
  #answered(answer, bytes) {
    const pending = this.#pending.get(answer.request);
    if (!pending) return;
    if (answer.off === undefined) this.#pending.delete(answer.request); // else the exact one follows
    if (answer.error) this.#complain(answer.error, answer.request);
    else if (bytes) {
      const now = performance.now();
      if (answer.off === undefined) this.pace.note(pending.scale, now - pending.taken);
      this.#complaint = "";
      this.#show(answer, pending, bytes, now - pending.sent);
    }
    this.#pump();
  }

  /** @param {Answer} answer @param {Pending} pending @param {Uint8Array<ArrayBuffer>} bytes @param {number} trip */
  async #show({ request, milliseconds = {}, off }, { document, scale, began, sent }, bytes, trip) {
    const exact = off === undefined;
    const isOld = () => (exact ? request < this.#shown : request <= this.#shown);
    if (isOld()) return; // a newer one is on the screen
    const bitmap = await createImageBitmap(new Blob([bytes]));
    if (isOld()) return bitmap.close();
    if (exact) this.#shown = request;
    const server = ["wait", "decode", "model", "encode"].reduce((sum, part) => sum + (milliseconds[part] ?? 0), 0);
    const times = { ...milliseconds, prepare: sent - began, network: Math.max(0, trip - server) };
    /** @type {Rendered} */
    const picture = { bitmap, bytes, request, document, scale, whole: exact && scale === 1, off: off ?? null, began, milliseconds: times };
    const before = this.app.picture?.bitmap;
    this.app.setPicture(picture);
    before?.close();
  }

  /** Say once why something is not rendered. @param {string} sentence @param {number} request */
  #complain(sentence, request) {
    const outdated = this.#want !== null || request < this.#request;
    if (outdated || sentence === this.#complaint) return;
    this.#complaint = sentence;
    this.app.say(sentence, { kind: "error" });
  }

  // ------------------------------------------------------------------------------------------------- the connection

  /** @param {boolean} ask whether to ask first who is there */
  async #connect(ask) {
    if (this.#transport) return;
    const back = this.state === "lost";
    const id = ++this.#connecting;
    try {
      const news = ask ? this.#meet(await askModel()) : null;
      /** @type {Listener} */
      const listener = { answered: (answer, bytes) => this.#answered(answer, bytes), lost: () => this.#lost() };
      const transport = await openSocket(listener).catch(() => this.#fallBack(listener));
      if (id !== this.#connecting) return transport.close();
      this.#opened(transport);
      if (news) this.app.say(news.text, news);
      else if (back) this.app.say("The server is back. Nothing was lost.");
    } catch (error) {
      if (id === this.#connecting) this.#failed(error);
    }
  }

  /** Plain requests, if somebody answers them. @param {Listener} listener */
  async #fallBack(listener) {
    await askModel();
    if (!this.#saidPosting) {
      this.app.say("The browser cannot open a WebSocket to the editor (something blocks it), so plain requests are used: "
        + "everything works, previews while painting are a little slower.");
    }
    this.#saidPosting = true;
    return posting(listener);
  }

  /** @param {Transport} transport */
  #opened(transport) {
    this.#transport = transport;
    this.#attempts = 0;
    this.#to(transport.name);
    this.#want ??= { document: this.app.shown, preview: false, whole: true, began: performance.now() };
    this.#pump();
  }

  #lost() {
    this.#transport?.close();
    this.#transport = null;
    this.#pending.clear();
    this.#want = { document: this.app.shown, preview: false, whole: true, began: performance.now() };
    this.#failed(null);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof Refused && error.message !== this.#complaint) {
      this.#complaint = error.message;
      this.app.say(error.message, { kind: "error" });
    }
    this.#to("lost");
    this.#retry = setTimeout(() => this.#connect(true), backoff(this.#attempts++));
  }

  /**
   * Who is there after we were away: the same server, the same model? What is to be said of it, if anything.
   * @param {Model} model
   * @returns {{text: string, kind: "info"|"error", action?: import("../app.js").Action}|null}
   */
  #meet(model) {
    const mine = this.app.model;
    if (model.session === this.session) return null;
    this.session = model.session;
    if (model.hash === mine.hash) return { text: "The server was restarted. Nothing was lost.", kind: "info" };
    const same = JSON.stringify(model.classes) === JSON.stringify(mine.classes);
    const text = `The server now runs another model, ${model.name}${same ? "" : ", which knows other classes"}. `
      + "Your painting is kept in this browser. Load the page again to work with that model.";
    return { text, kind: "error", action: { label: "Load the page again", run: () => location.reload() } };
  }

  /** Ask whether anyone is there when an answer does not come: a dead line does not always close. */
  async #watch() {
    const oldest = Math.min(...[...this.#pending.values()].map(({ sent }) => sent));
    if (performance.now() - oldest < PATIENCE || !this.#transport) return;
    const transport = this.#transport;
    const there = await askModel().then(() => true, (error) => error instanceof Refused);
    if (!there && transport === this.#transport) this.#lost();
  }

  /** @param {Live["state"]} state */
  #to(state) {
    if (state === this.state) return;
    this.state = state;
    this.app.emit("connection", state === "lost" ? "lost" : "open");
  }
}
