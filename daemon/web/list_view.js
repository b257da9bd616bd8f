// The table. One row a video, kept as long as it is in the list, so that a reader's place and the browser's selection survive an
// update; rows slide to their new places, where the reader does not mind motion. Ids are strangers' text: textContent only.

import { number, percent, plural } from "./words.js";

const MARKED = 4_000; // how long an update's movement stays to be seen

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

class Row {
  constructor(id) {
    this.id = id;
    this.views = null;
    this.rank = null;
    this.movedUntil = 0;
    this.parts = {
      rank: make("td", "rank"),
      arrow: make("span", "arrow"),
      moved: make("span", "unseen"),
      name: make("span", "name", id),
      fill: make("span", "fill"),
      share: make("span", "share"),
      views: make("span", "count"),
      gain: make("span", "gain"),
    };
    const { rank, arrow, moved, name, fill, share, views, gain } = this.parts;
    name.title = id;
    arrow.setAttribute("aria-hidden", "true");
    gain.setAttribute("aria-hidden", "true");
    const track = make("span", "track", fill);
    track.setAttribute("aria-hidden", "true");
    const video = make("th", "video", name, make("span", "measure-line", track, share));
    video.scope = "row";
    this.element = make("tr", "", rank, make("td", "movement", arrow, moved), video, make("td", "views", views, gain));
  }

  /// `before`: the rank in the list before this one, null if it was not there, undefined if there was no list before.
  update(rank, views, before, now) {
    const { parts } = this;
    const gained = this.views === null ? 0 : views - this.views;
    if (before !== undefined && before !== rank) this.mark(before === null ? "new" : before - rank, now);
    this.rank = rank;
    this.views = views;
    set(parts.rank, String(rank));
    set(parts.views, number(views));
    if (gained > 0) {
      set(parts.gain, `+${number(gained)}`);
      this.gainUntil = now + MARKED;
    }
    this.settle(now);
  }

  mark(movement, now) {
    const { arrow, moved } = this.parts;
    this.movedUntil = now + MARKED;
    const up = movement > 0;
    this.element.dataset.movement = movement === "new" ? "new" : up ? "up" : "down";
    set(arrow, movement === "new" ? "new" : `${up ? "▲" : "▼"}${Math.abs(movement)}`);
    set(moved, movement === "new" ? "new in the list" : `${up ? "up" : "down"} ${plural(Math.abs(movement), "place")}`);
  }

  settle(now) {
    if (now >= this.movedUntil && this.element.dataset.movement !== "none") {
      this.element.dataset.movement = "none";
      set(this.parts.arrow, "–");
      set(this.parts.moved, "unchanged");
    }
    if (now >= (this.gainUntil ?? 0)) set(this.parts.gain, "");
  }

  measure(share, ofLeader, colour) {
    const { fill, share: text } = this.parts;
    fill.style.width = `${(100 * ofLeader).toFixed(2)}%`;
    set(text, percent(share));
    this.element.dataset.colour = colour ?? "";
  }
}

export class ListView {
  constructor(body) {
    this.body = body;
    this.rows = new Map();
    this.fresh = true;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    setInterval(() => this.settle(), 500);
  }

  /// The next list is another one: what it has in common with this one is no movement.
  clear() {
    this.rows.clear();
    this.body.replaceChildren();
    this.fresh = true;
  }

  settle() {
    const now = performance.now();
    for (const row of this.rows.values()) row.settle(now);
  }

  show(views, colours) {
    const now = performance.now();
    const places = this.places();
    const sum = views.reduce((total, video) => total + video.views, 0);
    const kept = new Map();
    views.forEach((video, index) => {
      const known = this.rows.get(video.videoId);
      const row = known ?? new Row(video.videoId);
      row.update(index + 1, video.views, this.fresh ? undefined : known ? known.rank : null, now);
      row.measure(video.views / sum, video.views / views[0].views, colours.get(video.videoId));
      kept.set(video.videoId, row);
    });
    this.arrange(kept);
    this.rows = kept;
    this.fresh = false;
    this.slide(places);
  }

  /// Moves only what is not in place: a row that stays keeps focus and selection.
  arrange(kept) {
    for (const [id, row] of this.rows) if (!kept.has(id)) row.element.remove();
    let next = this.body.firstElementChild;
    for (const row of kept.values()) {
      if (row.element === next) next = next.nextElementSibling;
      else this.body.insertBefore(row.element, next);
    }
  }

  places() {
    return this.calm.matches ? new Map() : new Map([...this.rows].map(([id, row]) => [id, row.element.offsetTop]));
  }

  slide(places) {
    for (const [id, row] of this.rows) {
      const distance = (places.get(id) ?? row.element.offsetTop) - row.element.offsetTop;
      if (distance) row.element.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], { duration: 350, easing: "ease-out" });
    }
  }
}
