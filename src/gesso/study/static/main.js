// The page: instructions, the sitting, thanks. The participant's token is kept in this browser, so that nobody takes part twice.

import { Refused, Server } from "./server.js";
import { Sitting } from "./sitting.js";
import { Stage } from "./stage.js";
import * as words from "./words.js";

const find = (id) => document.getElementById(id);

function trouble(is) {
  find("trouble").hidden = !is;
  find("trouble").textContent = is ? words.TROUBLE : "";
}

// A page of text; resolves when its button (or Enter) is pressed.
function read({ heading, question, points, go }) {
  find("sitting").hidden = true;
  find("words").hidden = false;
  find("words").querySelector("h1").textContent = heading;
  const text = find("text");
  text.replaceChildren(Object.assign(document.createElement("p"), { textContent: question }));
  if (points.length) {
    const list = document.createElement("ul");
    list.append(...points.map((point) => Object.assign(document.createElement("li"), { textContent: point })));
    text.append(list);
  }
  const button = find("go");
  button.textContent = go;
  button.hidden = !go;
  if (go) button.focus();
  return new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
}

async function takePart(server, study) {
  const key = `gesso-study-${study.id}`;
  let token = localStorage.getItem(key);
  if (!token) {
    await read(words.instructions(study));
    token = localStorage.getItem(key) ?? (await server.enrol());
    localStorage.setItem(key, token);
  }
  try {
    await server.openTab(token);
    const { position, done } = await server.nextTrial();
    if (position && !done) await read(words.resume(study, position));
    find("words").hidden = true;
    find("sitting").hidden = false;
    await new Sitting(server, study, new Stage(study.size)).run();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) localStorage.removeItem(key);
    throw error;
  }
  await read({ ...words.THANKS, go: study.kiosk ? "Next participant" : "" });
  localStorage.removeItem(key);
}

async function begin() {
  const server = new Server(trouble);
  try {
    const study = await server.study();
    document.title = study.title;
    await takePart(server, study);
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    const elsewhere = error instanceof Refused && error.status === 423;
    await read(elsewhere ? words.ELSEWHERE : words.refused(error.message));
  }
  location.reload();
}

begin();
