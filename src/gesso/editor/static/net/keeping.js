// Keeps the photograph that was opened: only what was edited is put into it, by the server, and shown instead of the whole picture
// that the model makes. Until that comes, and while somebody paints, both are laid over each other here, roughly.

import { changedCells } from "../model/kept.js";
import { toWire } from "../model/document.js";
import { flat } from "../view/layout_bitmap.js";
import { ask, formOf, jsonFile, Refused, styleOf } from "./api.js";

/** @import { App, Picture } from "../app.js" */
/** @import { Document } from "../model/types.js" */

/** The photograph with what was edited, as it came; `touched` is the share of its pixels that may differ from the original. @typedef {{blob: Blob, touched: number}} Made */
/** The same, decoded, and of which document. @typedef {Made & {bitmap: ImageBitmap, document: Document, margin: number}} Composed */
/**
 * "off": the whole picture is rendered; "unchanged": nothing was edited; "coming": what was is being put in; "kept": it is;
 * "refused": it cannot be, and why was said; "lost": the server is away.
 * @typedef {"off"|"unchanged"|"coming"|"kept"|"refused"|"lost"} State
 */

const CALM = 120; // ms without a change before the server is asked
const MARGIN = 0.06; // of the photograph's height, as the server has it where nothing is said
const GONE = 404; // the server does not hold the photograph: it was restarted, or others came since
const LARGEST = 2 ** 22; // pixels of the original as it is shown

/** A document that came from a photograph. @typedef {Document & {source: Blob, original: Document}} Kept */

/** @type {Record<State, string>} */
const WORDS = {
  off: "Whole picture rendered",
  unchanged: "Your photograph",
  coming: "Your photograph, your changes roughly: the exact picture follows",
  kept: "Your photograph with your changes",
  refused: "Whole picture rendered",
  lost: "Your photograph, your changes roughly: the server is away",
};

/** Let a page keep photographs. @param {App} app */
export function keepPhotograph(app) {
  const keeping = new Keeping(app);
  app.keeping = keeping;
  keeping.start();
}

export class Keeping {
  /** Whether that is wanted; of documents that came from a photograph. */
  on = true;
  margin = MARGIN;
  /** @type {State} */
  state = "off";
  /** What the server made last. @type {Composed|null} */
  #composed = null;
  /** What the server calls the photographs that it holds, by their documents before any edit. @type {WeakMap<Document, Promise<string>>} */
  #names = new WeakMap();
  /** @type {WeakMap<Blob, Promise<ImageBitmap>>} */
  #decoded = new WeakMap();
  /** The original as it is shown. @type {{source: Blob, bitmap: ImageBitmap}|null} */
  #original = null;
  /** What was laid over the original roughly; no canvas where nothing. @type {{picture: Picture, original: Document, canvas: OffscreenCanvas|null}|null} */
  #rough = null;
  #asking = new AbortController();
  #complaint = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
  }

  start() {
    this.app.on("document", () => this.#follow());
    this.app.on("connection", (/** @type {string} */ state) => state === "open" && this.state === "lost" && this.#follow());
  }

  /** Whether the photograph is kept that the document came from. */
  get active() {
    const { source, original } = this.app.document;
    return this.on && source !== null && original !== null;
  }

  /** The photograph with what was edited, as far as it is that of the present document. */
  get composed() {
    return this.active && this.#composed?.document === this.app.document ? this.#composed : null;
  }

  /** The photograph as it was; null where none is kept, or it is not decoded yet. */
  get before() {
    return this.active && this.#original?.source === this.app.document.source ? this.#original.bitmap : null;
  }

  /** What is shown instead of the model's picture, the lowest first; null where that is shown itself. @returns {(ImageBitmap|OffscreenCanvas)[]|null} */
  get pictures() {
    const { before, app: { document, shown, picture } } = this;
    if (!before || this.state === "refused") return null;
    const made = this.#composed;
    if (made && (shown === document ? made.document === document : made.document === picture?.document)) return [made.bitmap];
    if (!picture || (shown === document && this.state === "unchanged")) return [before];
    if (made?.document === picture.document) return [made.bitmap];
    const canvas = this.#laidOver(picture);
    return canvas ? [before, canvas] : [before];
  }

  /** What the photograph pane shows, in words; null where that goes without saying. */
  get words() {
    const { source, original } = this.app.document;
    return source && original ? WORDS[this.state] : null;
  }

  /** @param {boolean} on */
  turn(on) {
    if (this.on === on) return;
    this.on = on;
    this.#follow();
  }

  /** By how much what changed is grown. @param {number} margin a part of the photograph's height */
  widen(margin) {
    this.margin = margin;
    this.#follow();
  }

  /** The photograph with what was edited, at its own size and with its record. @returns {Promise<Made>} */
  saved() {
    return this.#ask(this.app.document, false);
  }

  // ------------------------------------------------------------------------------------------------------- following

  #follow() {
    const { document } = this.app;
    this.#asking.abort();
    clearTimeout(this.#timer);
    if (!this.active) {
      this.#forget();
      return this.#to("off");
    }
    const { source, original } = /** @type {Kept} */ (document);
    this.#decode(source);
    this.#hold(original, source).catch(() => {}); // before anything is edited; what is wrong is said then
    if (!this.#cells(document)) return this.#to("unchanged");
    if (this.#looksAsMade(document)) return this.#to("kept");
    this.#timer = setTimeout(() => this.#compose(document), CALM);
    this.#to("coming");
  }

  /** Whether the document looks as the one that was composed, as after an object was locked; then it is this one's. @param {Document} document */
  #looksAsMade(document) {
    const made = this.#composed;
    if (!made || made.margin !== this.margin || made.document.original !== document.original) return false;
    const [one, other] = [made.document, document].map((its) => JSON.stringify(styleOf({ document: its, model: this.app.model })));
    const seen = { document: made.document, flat: flat(made.document) };
    if (one !== other || changedCells(seen, { document, flat: flat(document) }, this.app.model)) return false;
    this.#composed = { ...made, document };
    return true;
  }

  /** @param {Document} document */
  async #compose(document) {
    const { signal } = (this.#asking = new AbortController());
    const { margin } = this;
    try {
      const made = await this.#ask(document, true, signal);
      const bitmap = await createImageBitmap(made.blob, { colorSpaceConversion: "none" });
      if (signal.aborted) return bitmap.close();
      this.#forget();
      this.#complaint = "";
      this.#composed = { ...made, bitmap, document, margin };
      this.#to("kept");
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof Refused) || error.status === 503) return this.#to("lost"); // tried again once the server is back
    if (error.message !== this.#complaint) this.app.say(error.message, { kind: "error" });
    this.#complaint = error.message;
    this.#to("refused");
  }

  #forget() {
    this.#composed?.bitmap.close();
    this.#composed = null;
  }

  /** @param {State} state */
  #to(state) {
    this.state = state;
    this.app.emit("kept");
  }

  // --------------------------------------------------------------------------------------------------------- the server

  /**
   * Ask for the photograph with what was edited; the photograph is sent first, where the server does not hold it.
   * @param {Document} document @param {boolean} shown whether it is only to be looked at @param {AbortSignal} [signal] @returns {Promise<Made>}
   */
  async #ask(document, shown, signal) {
    const { source, original } = /** @type {Kept} */ (document);
    const style = JSON.stringify(styleOf({ document, model: this.app.model }));
    const fields = { document: jsonFile(await toWire(document)), style, margin: this.margin, shown: String(shown) };
    for (let again = true; ; again = false) {
      const name = await this.#hold(original, source);
      signal?.throwIfAborted();
      try {
        const response = await ask("retouch", { form: formOf({ original: name, ...fields }), signal });
        const { touched } = JSON.parse(response.headers.get("X-Gesso-Retouched") ?? "{}");
        return { blob: await response.blob(), touched };
      } catch (error) {
        if (!again || !(error instanceof Refused && error.status === GONE)) throw error;
        this.#names.delete(original);
      }
    }
  }

  /** What the server calls a photograph; it is sent where it was not yet. @param {Document} original @param {Blob} source */
  #hold(original, source) {
    const found = this.#names.get(original) ?? this.#send(original, source);
    this.#names.set(original, found);
    found.catch(() => this.#names.delete(original));
    return found;
  }

  /** @param {Document} original @param {Blob} source @returns {Promise<string>} */
  async #send(original, source) {
    const style = JSON.stringify(styleOf({ document: original, model: this.app.model }));
    const form = formOf({ photograph: source, document: jsonFile(await toWire(original)), style });
    return (await (await ask("retouch/original", { form })).json()).original;
  }

  // ------------------------------------------------------------------------------------------------------------ roughly

  /** @param {Blob} source */
  async #decode(source) {
    if (this.#original?.source === source) return;
    const found = this.#decoded.get(source) ?? decoded(source);
    this.#decoded.set(source, found);
    const bitmap = await found.catch(() => null);
    if (!bitmap || this.app.document.source !== source) return; // the server says what is wrong with it
    this.#original = { source, bitmap };
    this.app.emit("kept");
  }

  /** Where a document shows something else than the photograph. @param {Document} document */
  #cells(document) {
    const original = this.app.document.original;
    if (!original || original.width !== document.width || original.height !== document.height) return null;
    return changedCells({ document: original, flat: flat(original) }, { document, flat: flat(document) }, this.app.model);
  }

  /** The parts of the model's picture that were edited; null where none was. @param {Picture} picture */
  #laidOver(picture) {
    const original = /** @type {Document} */ (this.app.document.original);
    if (this.#rough?.picture !== picture || this.#rough.original !== original) {
      const cells = this.#cells(picture.document);
      this.#rough = { picture, original, canvas: cells && cutOut(picture, cells) };
    }
    return this.#rough.canvas;
  }
}

/** A photograph, upright, in the very numbers of its file as far as it is not reduced. @param {Blob} source */
async function decoded(source) {
  const whole = await createImageBitmap(source, { colorSpaceConversion: "none" });
  const share = Math.sqrt(LARGEST / (whole.width * whole.height));
  if (share >= 1) return whole;
  const resizeWidth = Math.round(share * whole.width);
  const small = await createImageBitmap(whole, { resizeWidth, resizeQuality: "high" });
  whole.close();
  return small;
}

/** The part of a picture at some pixels of its layout. @param {Picture} picture @param {Uint8Array} cells */
function cutOut({ bitmap, document: { width, height } }, cells) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const words = Uint32Array.from(cells, (cell) => (cell ? 0xffffffff : 0));
  context.putImageData(new ImageData(new Uint8ClampedArray(words.buffer), width, height), 0, 0);
  context.globalCompositeOperation = "source-in";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

