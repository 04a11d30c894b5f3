// Two ways for layouts to reach the model: a WebSocket, and plain requests where that is missing or blocked.

import { maps, Refused, render, styleOf } from "./api.js";
import { pack, unpack } from "./envelope.js";

/** @typedef {import("./api.js").Scene} Scene */
/**
 * @typedef {object} Answer
 * @property {number} request
 * @property {number} [scale]
 * @property {Record<string, number>} [milliseconds] wait, decode, model, encode
 * @property {boolean} [dropped] a newer request overtook it
 * @property {number} [off] the picture is nearly right, by about so many levels of 255 on average, and the exact one follows
 * @property {string} [error]
 */
/** How large a picture is wanted, and whether more of the same stroke follows. @typedef {{scale: number, preview: boolean}} Size */
/**
 * @typedef {object} Transport
 * @property {"socket"|"post"} name
 * @property {number} most requests that may be under way at once
 * @property {(request: number, scene: Scene, size: Size, sent: () => void) => Promise<void>} send calls `sent` once the layout is on its way
 * @property {() => void} close
 */
/**
 * @typedef {object} Listener
 * @property {(answer: Answer, bytes: Uint8Array<ArrayBuffer>|null) => void} answered
 * @property {() => void} lost nobody is there any more; called at most once
 */

const OPENING = 4000; // ms that a WebSocket may take to open

/**
 * A WebSocket, once it is open. Rejects where there is none, or where it does not open.
 * @param {Listener} listener
 * @returns {Promise<Transport>}
 */
export async function openSocket(listener) {
  if (typeof WebSocket === "undefined") throw new Error("no WebSocket in this browser");
  const address = new URL("api/live", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  await opened(socket);
  let over = false;
  const end = () => {
    if (!over) listener.lost();
    over = true;
  };
  socket.addEventListener("close", end);
  socket.addEventListener("message", ({ data }) => {
    const { header, bytes } = unpack(data);
    listener.answered(header, bytes.length ? bytes : null);
  });
  return {
    name: "socket",
    most: 3, // one is rendered, the others wait to be overtaken
    send: async (request, scene, size, sent) => {
      const frame = await frameOf(request, scene, size);
      if (socket.readyState === WebSocket.OPEN) socket.send(frame);
      sent();
    },
    close: () => {
      over = true;
      socket.close();
    },
  };
}

/** @param {WebSocket} socket @returns {Promise<void>} */
function opened(socket) {
  return new Promise((resolve, reject) => {
    const fail = () => {
      clearTimeout(timer);
      socket.close();
      reject(new Error("the WebSocket did not open"));
    };
    const timer = setTimeout(fail, OPENING);
    socket.addEventListener("error", fail, { once: true });
    socket.addEventListener("close", fail, { once: true });
    socket.addEventListener("open", () => {
      clearTimeout(timer);
      socket.removeEventListener("error", fail);
      socket.removeEventListener("close", fail);
      resolve();
    });
  });
}

/** @param {number} request @param {Scene} scene @param {Size} size */
async function frameOf(request, scene, size) {
  const { label, instance } = await maps(scene.document);
  const parts = [label, instance];
  const { seed } = scene.document.styles;
  return pack({ request, seed, style: styleOf(scene), ...size, bytes: parts.map((part) => part.length) }, parts);
}

/**
 * Plain requests, one at a time: what is sent cannot be overtaken on the server.
 * @param {Listener} listener
 * @returns {Transport}
 */
export function posting(listener) {
  const leaving = new AbortController();
  return {
    name: "post",
    most: 1,
    send: async (request, scene, { scale }, sent) => {
      try {
        await maps(scene.document);
        sent();
        const { blob, milliseconds } = await render(scene, scale, leaving.signal);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        if (!leaving.signal.aborted) listener.answered({ request, scale, milliseconds }, bytes);
      } catch (error) {
        if (leaving.signal.aborted) return;
        if (error instanceof Refused) listener.answered({ request, error: error.message }, null);
        else {
          leaving.abort();
          listener.lost();
        }
      }
    },
    close: () => leaving.abort(),
  };
}
