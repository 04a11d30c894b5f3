// Autosave: what is painted goes into the browser's database, each tab under its own key, and is offered at the next start.

import { fromWire, toWire } from "../model/document.js";
import { thumbnailBlob } from "../panels/pictures.js";
import { readAhead, restored, stored } from "./blobs.js";
import { Drafts } from "./drafts.js";

/** @import { App } from "../app.js" */
/** @import { Draft } from "./drafts.js" */

const REST = 300; // ms after the last change
const THUMBNAIL = 192; // pixels of the longer side
const LONGEST = 5000; // ms that changes may wait while they go on
const AGAIN = 2000; // ms after which a draft that could not be written is tried again, the first time
const LONGEST_AGAIN = 60_000;

/** @type {WeakMap<App, Autosave>} */
const savers = new WeakMap();

/** What keeps the drafts of a page. @param {App} app @returns {Autosave} */
export function autosaveOf(app) {
  const saver = savers.get(app) ?? new Autosave(app);
  savers.set(app, saver);
  return saver;
}

/** Keep drafts of what is painted. @param {App} app */
export const keepAutosave = (app) => autosaveOf(app).start();

export class Autosave {
  /** This page's own draft: a new name at every start, so that two tabs never write the same one. */
  #key = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  #drafts = new Drafts();
  #dirty = false;
  #writing = 0; // drafts that the database has not said to have
  #since = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #failures = 0; // since a draft was last written
  /** @type {Blob|null} */
  #thumbnail = null;
  /** What this page went on with. @type {Draft|null} */
  #resumed = null;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** Drafts of earlier visits, newest first; empty where the browser keeps none. @type {Promise<Draft[]>} */
    this.found = this.#find();
  }

  start() {
    const { app } = this;
    app.on("document", () => this.#changed());
    app.on("picture", () => this.#picture());
    addEventListener("pagehide", () => this.flush(true));
    document.addEventListener("visibilitychange", () => document.hidden && this.flush(true));
  }

  async #find() {
    const { hash, classes } = this.app.model;
    try {
      await this.#drafts.open();
      await this.#drafts.prune();
      return await this.#drafts.fitting(hash, classes);
    } catch {
      this.#failures += 1; // and that was said
      this.app.say("This browser keeps no drafts (a private window, or storage is blocked): save the project before you leave.");
      return [];
    }
  }

  /** Go on with a draft. Its objects get keys of this session. @param {Draft} draft */
  async resume(draft) {
    const { source = null, original: found = null } = draft.document; // drafts of earlier versions have none
    const document = await fromWire(await toWire({ ...draft.document, source: null }), this.app.model.classes);
    const original = found && await fromWire(await toWire(found), this.app.model.classes);
    this.app.replaceDocument({ ...document, source: restored(source), original }, { keepHistory: !this.app.empty, what: "Continue" });
    this.#resumed = draft;
    this.app.say("Continued where you left off.");
  }

  #changed() {
    if (this.app.empty) return;
    const now = performance.now();
    void readAhead(this.app.document.source);
    if (!this.#dirty) this.#since = now;
    this.#dirty = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), Math.max(0, Math.min(REST, this.#since + LONGEST - now)));
  }

  async #picture() {
    if (this.app.picture?.document !== this.app.document || this.app.empty) return;
    const first = this.#thumbnail === null;
    this.#thumbnail = await readAhead(await thumbnailBlob(this.app, THUMBNAIL));
    if (first) this.#changed(); // the draft was written without one
  }

  /** Write now what is not written yet. @param {boolean} leaving Whether the page may go away before a photograph is stored as a Blob */
  async flush(leaving = false) {
    clearTimeout(this.#timer);
    if (!this.#dirty && !(leaving && this.#writing)) return;
    this.#dirty = false;
    this.#writing += 1;
    const { document, model } = this.app;
    const { hash, classes } = model;
    try {
      const key = `${hash}:${this.#key}`;
      if (!this.#drafts.isOpen) await this.#drafts.open();
      await this.#drafts.save({
        key, version: 1, hash, classes, saved: Date.now(), name: document.name, thumbnail: stored(this.#thumbnail),
        document: leaving ? { ...document, source: stored(document.source) } : document,
      });
      this.#worked();
      await this.#replaced();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#writing -= 1;
    }
  }

  /** What was gone on with is now in this page's draft; unless its own page still writes it. */
  async #replaced() {
    const old = this.#resumed;
    this.#resumed = null;
    if (old && (await this.#drafts.get(old.key))?.saved === old.saved) await this.#drafts.remove(old.key);
  }

  #worked() {
    if (this.#failures) this.app.say("Drafts of this painting are kept again.");
    this.#failures = 0;
  }

  /** Say once that a draft could not be written, and try again, ever more rarely. @param {unknown} error */
  #failed(error) {
    const full = error instanceof DOMException && error.name === "QuotaExceededError";
    const why = full ? "the browser's storage is full" : error instanceof Error && error.message ? error.message : String(error);
    if (!this.#failures) {
      this.app.say(`The draft of this painting could not be written (${why}). It is tried again; until then save the project.`, { kind: "error" });
    }
    this.#drafts.close();
    this.#dirty = true;
    this.#since = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), Math.min(LONGEST_AGAIN, AGAIN * 2 ** this.#failures));
    this.#failures += 1;
  }
}
