// Requests to the study's server. What got lost on the way is sent again until it is acknowledged; every request may be repeated.

const LONGEST_WAIT = 5000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Server {
  // `onTrouble(true)` while requests fail, `onTrouble(false)` once one succeeds again.
  constructor(onTrouble = () => {}) {
    this.onTrouble = onTrouble;
    this.token = "";
    this.tab = "";
  }

  study() {
    return this.#json("GET", "api/study");
  }

  async enrol() {
    return (await this.#json("POST", "api/participants")).token;
  }

  async openTab(token) {
    this.token = token;
    this.tab = (await this.#json("POST", "api/tabs")).tab;
  }

  nextTrial() {
    return this.#json("GET", "api/trials");
  }

  show(position, showing) {
    return this.#json("POST", `api/trials/${position}/showings`, { showing });
  }

  vote(position, ballot) {
    return this.#json("POST", `api/trials/${position}/vote`, ballot);
  }

  // One picture, decoded: nothing is left to do when it is to be seen.
  async picture(position, side) {
    const response = await this.#send("GET", `api/trials/${position}/${side}`);
    return createImageBitmap(await response.blob());
  }

  async #json(method, path, body) {
    return (await this.#send(method, path, body)).json();
  }

  async #send(method, path, body) {
    for (let wait = 250; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      const response = await this.#once(method, path, body);
      if (response) {
        this.onTrouble(false);
        return response;
      }
      this.onTrouble(true);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  // The response, or null where it is worth trying again.
  async #once(method, path, body) {
    const headers = { "X-Participant": this.token, "X-Tab": this.tab };
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
      if (response.ok) return response;
      if (response.status >= 500) return null;
      const { detail } = await response.json();
      throw new Refused(response.status, typeof detail === "string" ? detail : "The server did not understand the page.");
    } catch (error) {
      if (error instanceof Refused) throw error;
      return null;
    }
  }
}
