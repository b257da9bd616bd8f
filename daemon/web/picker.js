// The way to past windows and back. Steps go by the bounds the server told, so that they are right in every counter's time zone.

import { windowOf } from "./address.js";
import { middle } from "./words.js";

const HOUR = 3_600_000;
const pad = (number) => String(number).padStart(2, "0");

/// The value of an input of this kind for the list's window.
function inputValue(kind, list) {
  if (kind === "datetime-local") {
    const last = new Date(list.windowEnd.getTime() - HOUR);
    return `${last.getFullYear()}-${pad(last.getMonth() + 1)}-${pad(last.getDate())}T${pad(last.getHours())}:${pad(last.getMinutes())}`;
  }
  return middle(list).toISOString().slice(0, kind === "date" ? 10 : 7);
}

/// A time in the window that the input names. Noon UTC is on the same day in every zone but the outermost, and the middle of a
/// month in the month.
function instantOf(kind, value) {
  const text = { "datetime-local": value, date: `${value}T12:00:00Z`, month: `${value}-15T12:00:00Z` }[kind];
  const instant = new Date(text);
  return Number.isNaN(instant.getTime()) ? null : instant;
}

export class Picker {
  constructor(form, choose) {
    Object.assign(this, { form, choose, list: null, shown: null });
    const { earlier, later, when } = form.elements;
    const back = form.elements["back-to-live"];
    Object.assign(this, { earlier, later, when, back });
    earlier.addEventListener("click", () => this.step(-1));
    later.addEventListener("click", () => this.step(1));
    back.addEventListener("click", () => {
      choose(null);
      this.when.focus(); // the button goes
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
  }

  show(shown, list) {
    const kind = windowOf(shown.window).picker;
    const another = shown !== this.shown;
    Object.assign(this, { shown, list, kind });
    this.form.classList.toggle("unavailable", !kind);
    this.back.hidden = !shown.at;
    const now = Date.now();
    this.earlier.disabled = !list?.windowStart;
    this.later.disabled = !shown.at || !list?.windowEnd || list.windowEnd.getTime() > now;
    if (!kind) return;
    document.getElementById("when-label").textContent = { date: "Day", month: "Month", "datetime-local": "Hour" }[kind];
    this.when.type = kind;
    // Not while it is being filled in
    if (list?.windowEnd && (another || !this.filled) && document.activeElement !== this.when) {
      this.when.value = inputValue(kind, list);
      this.filled = true;
    }
    if (!list) this.filled = false;
  }

  step(direction) {
    // For 'the last 24 hours' a step is an hour: the window ends with the hour of `at`.
    const hours = this.kind === "datetime-local";
    const { windowStart, windowEnd } = this.list;
    if (direction < 0) this.choose(new Date(hours ? windowEnd.getTime() - HOUR - 1 : windowStart.getTime() - 1));
    else this.choose(windowEnd);
  }

  submit() {
    const instant = this.kind && instantOf(this.kind, this.when.value);
    if (instant) this.choose(instant);
  }
}
