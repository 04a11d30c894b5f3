// Drafts in the browser's own database: what was painted, per tab of this browser, so that a closed window loses nothing.

import { sameClasses } from "./classes.js";

/** @import { Class, Document } from "../model/types.js" */
/** @import { Stored } from "./blobs.js" */
/**
 * A painting as it was left. The document is stored as it is, typed arrays and all, but for its photograph.
 * @typedef {{key: string, version: 1, hash: string, classes: Class[], saved: number, name: string, thumbnail: Stored|Blob|null,
 *   document: Omit<Document, "source"> & {source: Stored|Blob|null}}} Draft
 */

const DATABASE = "gesso-editor";
const STORE = "drafts";
const KEPT = 12; // of all models, the newest

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("the drafts are open elsewhere"));
  });
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class Drafts {
  /** @type {IDBDatabase|null} */
  #database = null;

  /** Whether drafts can be written at once. */
  get isOpen() {
    return this.#database !== null;
  }

  /** Open the database; rejects where the browser keeps none (a private window, blocked storage). */
  async open() {
    const database = await open();
    database.onclose = () => this.close();
    this.#database = database;
    return this;
  }

  /** Let go of the database, which may have failed: who writes next opens it anew. */
  close() {
    this.#database?.close();
    this.#database = null;
  }

  /** @param {IDBTransactionMode} mode */
  #store(mode) {
    if (!this.#database) throw new Error("the drafts are not open");
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }

  /** Write a draft; committed at once, so that it also is when the page goes away before it hears of it. @param {Draft} draft */
  save(draft) {
    const store = this.#store("readwrite");
    const written = answer(store.put(draft));
    store.transaction.commit();
    return written;
  }

  /** @param {string} key @returns {Promise<Draft|undefined>} */
  get(key) {
    return answer(this.#store("readonly").get(key));
  }

  /** @param {string} key */
  remove(key) {
    return answer(this.#store("readwrite").delete(key));
  }

  /**
   * Drafts that fit a model, newest first: of the model itself, then of others with the very same classes.
   * @param {string} hash @param {Class[]} classes
   * @returns {Promise<Draft[]>}
   */
  async fitting(hash, classes) {
    /** @type {Draft[]} */
    const all = await answer(this.#store("readonly").getAll());
    const fits = all.filter((draft) => draft.version === 1 && (draft.hash === hash || sameClasses(draft.classes, classes)));
    return fits.sort((one, other) => Number(other.hash === hash) - Number(one.hash === hash) || other.saved - one.saved);
  }

  /** Forget all but the newest drafts. */
  async prune() {
    /** @type {Draft[]} */
    const all = await answer(this.#store("readonly").getAll());
    const old = all.sort((one, other) => other.saved - one.saved).slice(KEPT);
    for (const { key } of old) await this.remove(key);
  }
}
