// Draws the leaders' lines as SVG: counts over time, each line named at its end. The words beside it say the same.

import { clock, number } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 12, right: 118, bottom: 26, left: 52 };
const LABEL = 16; // pixels between the names of two lines
const SHORTEST = 30_000; // what the width stands for at least, in milliseconds
const LONGEST_NAME = 13;
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

function element(tag, attributes, text) {
  const result = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) result.setAttribute(name, value);
  if (text !== undefined) result.textContent = text;
  return result;
}

/// A step of 1, 2 or 5 times a power of ten, such that about four of them make up the range; counts are whole.
function niceStep(range) {
  const rough = Math.max(1, range / 4);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function scaleOf(lines) {
  const values = lines.flatMap(({ points }) => points.map(([, views]) => views));
  const least = Math.min(...values);
  const most = Math.max(...values);
  const from = least < most * 0.6 ? 0 : least; // close to each other: the difference is what matters
  const step = niceStep(most - from);
  return { bottom: Math.floor(from / step) * step, top: Math.max(Math.ceil(most / step), Math.floor(from / step) + 1) * step, step };
}

/// Names that would lie on each other, moved apart; first to last from the top.
function placeLabels(ends, floor) {
  const labels = [...ends].sort((a, b) => a.y - b.y || a.rank - b.rank);
  labels.forEach((label, index) => {
    label.at = index ? Math.max(label.y, labels[index - 1].at + LABEL) : label.y;
  });
  for (let index = labels.length - 1, limit = floor; index >= 0; index -= 1, limit -= LABEL) {
    labels[index].at = Math.min(labels[index].at, limit);
    limit = labels[index].at;
  }
  return labels;
}

function shortened(id) {
  const letters = [...id];
  return letters.length > LONGEST_NAME ? `${letters.slice(0, LONGEST_NAME - 1).join("")}…` : id;
}

export class Chart {
  constructor(svg, words, note) {
    Object.assign(this, { svg, words, note, width: 0, height: 0, spoken: -Infinity });
    this.drawing = svg.appendChild(element("g", { "aria-hidden": "true" }));
    new ResizeObserver(() => this.draw(this.lines ?? [], this.measure)).observe(svg);
  }

  draw(lines, measure) {
    Object.assign(this, { lines, measure });
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    this.drawing.replaceChildren();
    if (!lines.length || this.width < 100) return;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const start = Math.min(...lines.map(({ points }) => points[0][0]));
    const now = lines[0].points.at(-1)[0];
    const end = Math.max(now, start + SHORTEST);
    const { bottom, top, step } = scaleOf(lines);
    const x = (time) => MARGIN.left + ((time - start) / (end - start)) * (this.width - MARGIN.left - MARGIN.right);
    const y = (views) => MARGIN.top + ((top - views) / (top - bottom)) * (this.height - MARGIN.top - MARGIN.bottom);
    this.axes({ bottom, top, step, x, y, start, now });
    this.drawLines(lines, x, y);
  }

  axes({ bottom, top, step, x, y, start, now }) {
    const right = this.width - MARGIN.right;
    for (let value = bottom; value <= top + step / 2; value += step) {
      this.drawing.append(element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
        element("text", { class: "tick", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, COMPACT.format(value)));
    }
    const foot = this.height - 6;
    this.drawing.append(element("text", { class: "tick", x: MARGIN.left, y: foot }, clock(start)));
    if (x(now) - x(start) > 130) this.drawing.append(element("text", { class: "tick", x: x(now), y: foot, "text-anchor": "end" }, clock(now)));
  }

  drawLines(lines, x, y) {
    const ends = [];
    for (const line of [...lines].reverse()) { // the leader on top
      const path = line.points.map(([time, views], index) => `${index ? "L" : "M"}${x(time).toFixed(1)} ${y(views).toFixed(1)}`).join("");
      const [time, views] = line.points.at(-1);
      this.drawing.append(element("path", { class: "line", "data-colour": line.colour, d: path }),
        element("circle", { class: "end", "data-colour": line.colour, cx: x(time), cy: y(views), r: 3.5 }));
      ends.push({ ...line, y: y(views), x: x(time) });
    }
    for (const label of placeLabels(ends, this.height - MARGIN.bottom)) {
      const text = element("text", { class: "name", "data-colour": label.colour, x: this.width - MARGIN.right + 10, y: label.at + 4 });
      text.append(element("tspan", { class: "place" }, `${label.rank} `), shortened(label.id));
      this.drawing.append(text);
    }
  }

  /// Not at every update: whoever listens to the picture's description hears it to its end.
  describe(lines, measure, now) {
    if (!lines.length || now - this.spoken < 10_000) return;
    this.spoken = now;
    const from = clock(Math.min(...lines.map(({ points }) => points[0][0])));
    const growth = lines.map(({ id, points }) => (measure === "gained"
      ? `${id} gained ${number(points.at(-1)[1])}`
      : `${id} from ${number(points[0][1])} to ${number(points.at(-1)[1])}`));
    this.words.textContent = `From ${from} to ${clock(now)}: ${growth.join("; ")}.`;
    this.note.textContent = measure === "gained" ? `Views gained since ${from}, when this page began to watch.` : `Since ${from}, when this page began to watch.`;
  }

  forget() {
    this.spoken = -Infinity;
    this.draw([], this.measure);
  }
}
