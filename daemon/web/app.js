// The live page: puts address, feed, list and picture together.

import { LENGTHS, WINDOWS, pageAddress, readAddress, windowOf } from "./address.js";
import { Announcer } from "./announcer.js";
import { Chart } from "./chart.js";
import { Feed } from "./feed.js";
import { Growth } from "./growth.js";
import { ListView } from "./list_view.js";
import { Picker } from "./picker.js";
import { Tabs } from "./tabs.js";
import { ago, freshness, number, plural, windowName } from "./words.js";

const byId = (id) => document.getElementById(id);
const growth = new Growth();
const table = new ListView(byId("rows"));
const chart = new Chart(byId("chart"), byId("chart-words"), byId("chart-note"));
const announcer = new Announcer(byId("announcer"));
const feed = new Feed({ list: showList, state: showState });
const tabs = new Tabs(byId("tabs"), byId("panel"), WINDOWS, (window) => go({ window, at: null }));
const picker = new Picker(byId("picker"), (at) => go({ at }));

let shown = readAddress(location.search);
let list = null;
let listAt = 0; // when it arrived
let state = "connecting";
let problem = null;
let clockAhead = 0; // of ours to the server's

const STATES = {
  connecting: () => "Connecting",
  live: () => "Live",
  lost: () => (list ? `Reconnecting · list of ${ago(Date.now() - listAt)}` : "Cannot reach the server"),
  away: () => (list ? `Database away · list of ${ago(Date.now() - listAt)}` : "Database away"),
  past: () => (list?.sealed ? "Past window" : "Past window, still open"),
  refused: () => "No such list",
};

function measure() {
  return document.querySelector("input[name=measure]:checked").value;
}

function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/// Shows another window, list length or time, and makes the address say so.
function go(change) {
  shown = { ...shown, ...change };
  history.pushState(null, "", pageAddress(shown));
  begin();
}

function begin() {
  list = null;
  growth.clear();
  table.clear();
  chart.forget();
  announcer.begin();
  tabs.select(shown.window);
  picker.show(shown, null);
  fillLengths();
  byId("counter").textContent = shown.counter ?? "";
  byId("counter").hidden = !shown.counter;
  byId("growth").hidden = Boolean(shown.at);
  byId("nothing").hidden = true;
  document.querySelector(".columns").classList.toggle("alone", Boolean(shown.at));
  feed.follow(shown);
  tick();
}

function fillLengths() {
  const lengths = [...new Set([...LENGTHS, shown.k])].sort((a, b) => a - b);
  byId("length").replaceChildren(...lengths.map((k) => new Option(`top ${k}`, k, false, k === shown.k)));
}

function showList(next) {
  const followed = Boolean(list);
  if (followed && list.windowStart?.getTime() !== next.windowStart?.getTime()) table.clear();
  list = { ...next, window: shown.window };
  listAt = Date.now();
  growth.add(list, listAt);
  table.show(list.views, shown.at ? new Map() : growth.colours);
  picker.show(shown, list);
  const nothing = list.views.length === 0;
  byId("nothing").hidden = !nothing;
  setText("nothing", shown.at ? "Nothing was viewed in this window." : "Nothing has been viewed in this window yet.");
  byId("growth").classList.toggle("empty", nothing);
  setText("caption", `The ${plural(list.views.length, "most viewed video")}, ${windowOf(shown.window).label.toLowerCase()}, ${windowName(shown.window, list)}`);
  const leader = list.views[0];
  document.title = leader ? `${leader.videoId} leads · Most viewed` : "Most viewed";
  if (leader) announcer.leader(leader.videoId, number(leader.views), plural(list.views.length, "video"), windowOf(shown.window).label);
  else announcer.empty(windowOf(shown.window).label);
  tick();
}

function showState(next, nextProblem) {
  state = next;
  problem = nextProblem;
  document.body.dataset.state = state;
  const notice = byId("notice");
  notice.hidden = state !== "refused";
  // An alert speaks when its text changes.
  setText("notice", state === "refused" ? [problem.detail, problem.hint].filter(Boolean).join(". ") : "");
  announcer.state(state);
  tick();
}

/// What changes with the clock alone.
function tick() {
  setText("state-text", STATES[state]());
  setText("window-name", (state === "refused" ? "" : windowName(shown.window, list)) || windowOf(shown.window).label);
  setText("freshness", state === "refused" ? "" : freshness(list, Boolean(shown.at), Date.now() - clockAhead));
  if (shown.at || !list) return;
  // While the server is away nothing is known: the lines end at the last list.
  const now = state === "live" ? Date.now() : listAt;
  const lines = growth.lines(now, measure());
  chart.draw(lines, measure());
  chart.describe(lines, measure(), now);
}

/// The age of what is counted is measured by the server's clock: a reader's own may be minutes off.
async function compareClocks() {
  try {
    const response = await fetch("healthz", { cache: "no-store" });
    const date = Date.parse(response.headers.get("Date"));
    const ahead = Date.now() - (date + 500);
    if (Math.abs(ahead) > 2000) clockAhead = ahead;
  } catch {
    // without it, the reader's clock has to do
  }
}

byId("length").addEventListener("change", (event) => go({ k: Number(event.target.value) }));
byId("growth").addEventListener("change", () => {
  chart.spoken = -Infinity;
  tick();
});
window.addEventListener("popstate", () => {
  shown = readAddress(location.search);
  begin();
});
setInterval(tick, 1000);
compareClocks();
begin();
