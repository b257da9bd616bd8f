// Numbers, times and windows in words.

const NUMBER = new Intl.NumberFormat("en");
const PERCENT = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const ZONED_CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const ZONED_HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const SHORT_DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
// A day or month is the counter's, whatever its zone and the reader's are: it is named by its middle, in UTC.
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

export const number = (value) => NUMBER.format(value);
export const percent = (value) => PERCENT.format(value);
export const clock = (time) => CLOCK.format(time);

export function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return plural(seconds, "second");
  if (seconds < 3600) return plural(Math.floor(seconds / 60), "minute");
  if (seconds < 48 * 3600) return plural(Math.floor(seconds / 3600), "hour");
  return plural(Math.floor(seconds / 86400), "day");
}

export function ago(milliseconds) {
  return milliseconds < 1500 ? "just now" : `${duration(milliseconds)} ago`;
}

export function middle(list) {
  return new Date((list.windowStart.getTime() + list.windowEnd.getTime()) / 2);
}

/// "Thu 26 Nov 2026, 10:00 – 11:00 GMT"
function range(start, end) {
  const until = ZONED_HOUR.format(end);
  const days = [SHORT_DAY.format(start), SHORT_DAY.format(end)];
  const wholeDays = days[0] !== days[1] && end - start > 3_600_000;
  return `${days[0]}, ${HOUR.format(start)} – ${wholeDays ? `${days[1]}, ` : ""}${until}`;
}

export function windowName(window, list) {
  if (window === "all_time") return "Since counting began";
  if (!list?.windowStart || !list.windowEnd) return "";
  if (window === "day") return DAY.format(middle(list));
  if (window === "month") return MONTH.format(middle(list));
  return range(list.windowStart, list.windowEnd);
}

/// How far counting has come, and for a past window whether it can still change.
export function freshness(list, isPast, now) {
  if (!list) return "";
  if (isPast && list.sealed) {
    const revision = Number(list.revision);
    return revision > 0 ? `Final, corrected ${revision === 1 ? "once" : plural(revision, "time")}` : "Final: this window no longer changes";
  }
  if (!list.watermark) return "How far counting has come is not known yet";
  const text = `Every view before ${ZONED_CLOCK.format(list.watermark)} is counted · ${ago(now - list.watermark)}`;
  return isPast ? `Not final yet. ${text}` : text;
}
