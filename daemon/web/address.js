// What is shown, as the page's address says it: ?window=…&at=…&k=…&counter=…. The same names as the API's parameters.

// `picker`: the kind of input that names one of these windows; none: there is only one
export const WINDOWS = [
  { id: "hour", label: "Hour", picker: "datetime-local" },
  { id: "day", label: "Day", picker: "date" },
  { id: "month", label: "Month", picker: "month" },
  { id: "all_time", label: "All time", picker: null },
  { id: "24 hours", label: "Last 24 hours", picker: "datetime-local" },
];
export const LENGTHS = [10, 25, 50, 100];

export function windowOf(id) {
  return WINDOWS.find((window) => window.id === id);
}

function readK(text) {
  const k = Number(text);
  return Number.isInteger(k) && k >= 1 && k <= 1000 ? k : LENGTHS[0];
}

function readAt(text, window) {
  // A '+' of a zone arrives as a space.
  const at = text && windowOf(window).picker ? new Date(text.replace(/ (\d\d:\d\d)$/, "+$1")) : null;
  return at && !Number.isNaN(at.getTime()) ? at : null;
}

/// { window, k, at: a Date or null for live, counter: a name or null for the server's default }
export function readAddress(search) {
  const parameters = new URLSearchParams(search);
  const window = windowOf(parameters.get("window"))?.id ?? WINDOWS[0].id;
  return {
    window,
    k: readK(parameters.get("k") ?? LENGTHS[0]),
    at: readAt(parameters.get("at"), window),
    counter: parameters.get("counter") || null,
  };
}

function parameters({ window, k, at, counter }) {
  const result = new URLSearchParams({ window, k });
  if (at) result.set("at", at.toISOString().replace(".000Z", "Z"));
  if (counter) result.set("counter", counter);
  return result;
}

export function pageAddress(shown) {
  return `?${parameters(shown)}`;
}

export function listAddress(shown) {
  return `views/top-k?${parameters(shown)}`;
}

export function streamAddress(shown) {
  return `views/top-k/stream?${parameters({ ...shown, at: null })}`;
}
