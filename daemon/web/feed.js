// Where lists come from: a stream of server-sent events while the present is shown, plain requests for the past.
//
// The state it reports is what the reader must know about the list on the page:
//   connecting  nothing has arrived yet          live     the list is the newest
//   lost        the server does not answer; what is shown is old
//   away        the server answers, its database does not; what is shown is old
//   past        a window of the past             refused  there is no such list; the problem says why

import { listAddress, streamAddress } from "./address.js";

const SILENCE = 20_000; // the stream has news at least this often, or is asked whether it lives
const PATIENCE = 8_000; // for a connection under way
const ANSWER = 6_000; // for a plain request
const PAUSE = 1_000; // before trying again
const UNSEALED = 5_000; // a window of the past that may still change is read again

function instant(text) {
  return text ? new Date(text) : null;
}

function listOfEvent(text) {
  const { windowStart, windowEnd, watermark, sealed, views } = JSON.parse(text);
  return { windowStart: instant(windowStart), windowEnd: instant(windowEnd), watermark: instant(watermark), sealed, revision: null, views };
}

async function listOfResponse(response) {
  const header = (name) => response.headers.get(`X-Topk-${name}`);
  return {
    windowStart: instant(header("Window-Start")),
    windowEnd: instant(header("Window-End")),
    watermark: instant(header("Watermark")),
    sealed: header("Sealed") === "true",
    revision: header("Revision"),
    views: await response.json(),
  };
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { status: response.status, detail: response.statusText };
  }
}

export class Feed {
  /// on.list(list), on.state(state, problem or null); the state comes before the list it belongs to.
  constructor(on) {
    this.on = on;
    this.shown = null;
    this.source = null;
    this.state = null;
    this.turn = 0; // what an earlier request brings is not wanted any more
    this.heard = 0;
    this.asking = false;
    setInterval(() => this.watch(), 1000);
    document.addEventListener("visibilitychange", () => this.look());
  }

  follow(shown) {
    this.stop();
    this.shown = shown;
    this.report("connecting");
    this.look();
  }

  stop() {
    this.turn += 1;
    this.asking = false;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  /// Nobody looks at a hidden page: the server need not send.
  look() {
    if (!this.shown) return;
    this.stop();
    if (document.hidden) return;
    if (this.shown.at) this.ask();
    else this.open();
  }

  report(state, problem = null) {
    this.state = state;
    this.on.state(state, problem);
  }

  again(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), milliseconds);
  }

  open() {
    const source = new EventSource(streamAddress(this.shown));
    this.source = source;
    this.heard = performance.now();
    source.addEventListener("list", (event) => {
      this.heard = performance.now();
      this.report("live");
      this.on.list(listOfEvent(event.data));
    });
    source.addEventListener("trouble", (event) => {
      this.heard = performance.now();
      this.report("away", JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      if (source !== this.source) return;
      // Closed: the answer was not a stream, and an EventSource does not tell what it was. Otherwise it connects again by itself.
      if (source.readyState === EventSource.CLOSED) this.ask();
      else if (this.state !== "away") this.report("lost");
    });
  }

  /// A connection can be dead without an error: nothing arrives, and nobody says so.
  watch() {
    if (!this.source || document.hidden || this.asking) return;
    const silent = performance.now() - this.heard;
    if (this.source.readyState === EventSource.OPEN ? silent > SILENCE : silent > PATIENCE) this.ask();
  }

  /// One plain request: the list of a past window; what is wrong with the stream; whether it still lives.
  async ask() {
    const turn = this.turn;
    const arrived = () => turn === this.turn;
    this.asking = true;
    try {
      const response = await fetch(listAddress(this.shown), { cache: "no-cache", signal: AbortSignal.timeout(ANSWER) });
      const content = await (response.ok ? listOfResponse(response) : problemOf(response));
      if (arrived()) this.answered(response, content);
    } catch {
      if (!arrived()) return;
      this.report("lost");
      this.again(PAUSE);
    } finally {
      if (arrived()) this.asking = false;
    }
  }

  answered(response, content) {
    this.heard = performance.now();
    if (!response.ok) {
      const passes = response.status >= 500;
      this.report(passes ? "away" : "refused", content);
      if (passes) this.again(1000 * (Number(response.headers.get("Retry-After")) || 1));
      return;
    }
    const live = !this.shown.at;
    this.report(live ? "live" : "past");
    this.on.list(content);
    if (live && this.source?.readyState !== EventSource.OPEN) this.again(PAUSE);
    if (!live && !content.sealed) this.again(UNSEALED);
  }
}
