// What a screen reader is told unasked: a new window's leader, a change of the lead, and when the list has stopped being the newest.
// The list itself changes several times a second and is not read out.

const APART = 20_000; // between two changes of the lead
const SETTLED = 2_000; // a state that lasts shorter is not worth a word

const STATES = {
  live: "The list is live again.",
  lost: "The server does not answer. The list is no longer the newest. Reconnecting.",
  away: "The database is away. The list is no longer the newest.",
};

export class Announcer {
  constructor(element) {
    this.element = element;
    this.told = null; // the state last told
    this.begin();
  }

  begin() {
    this.leading = null;
    this.quietUntil = 0;
  }

  say(text) {
    this.element.textContent = text;
  }

  leader(id, views, videos, window) {
    const now = performance.now();
    if (id === this.leading || now < this.quietUntil) return;
    this.say(this.leading === null ? `${window}: ${videos}, ${id} leads with ${views} views` : `${id} has taken the lead with ${views} views`);
    this.leading = id;
    this.quietUntil = now + APART;
  }

  empty(window) {
    if (this.leading === "") return;
    this.leading = "";
    this.say(`${window}: no videos yet`);
  }

  state(state) {
    if (state === this.pending) return;
    this.pending = state;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const wasTrouble = this.told === "lost" || this.told === "away";
      if (STATES[state] && state !== this.told && (state !== "live" || wasTrouble)) this.say(STATES[state]);
      this.told = state;
    }, SETTLED);
  }
}
