// What the picture shows: the counts of the leaders since this window has been on the page, in snapshots at least a second apart.

const KEPT = 15 * 60_000;
const APART = 1_000;
const DEPTH = 20; // a video on its way to the top already has a past
export const LEADERS = 5;

export class Growth {
  constructor() {
    this.clear();
  }

  clear() {
    this.snapshots = [];
    this.colours = new Map();
    this.start = null;
  }

  add(list, now) {
    // Another window has begun: its counts start again.
    const start = list.windowStart?.getTime() ?? null;
    if (list.window !== "24 hours" && start !== this.start) this.snapshots = [];
    this.start = start;
    const counts = new Map(list.views.slice(0, DEPTH).map((video) => [video.videoId, video.views]));
    // The newest is always kept exactly; those before it, once a second.
    if (this.snapshots.length > 1 && now - this.snapshots.at(-2).time < APART) this.snapshots.pop();
    this.snapshots.push({ time: now, counts });
    while (this.snapshots.length > 2 && now - this.snapshots[0].time > KEPT) this.snapshots.shift();
    this.paint(list.views.slice(0, LEADERS).map((video) => video.videoId));
  }

  /// A leader keeps its colour for as long as it is one.
  paint(leaders) {
    for (const id of this.colours.keys()) if (!leaders.includes(id)) this.colours.delete(id);
    for (const id of leaders) {
      if (this.colours.has(id)) continue;
      const taken = new Set(this.colours.values());
      this.colours.set(id, [1, 2, 3, 4, 5].find((colour) => !taken.has(colour)));
    }
  }

  /// [{ id, rank, colour, points: [[time, views], …] }], each line up to `now`.
  lines(now, measure) {
    const last = this.snapshots.at(-1);
    if (!last) return [];
    return [...last.counts.keys()].slice(0, LEADERS).map((id, index) => {
      const points = this.snapshots.filter(({ counts }) => counts.has(id)).map(({ time, counts }) => [time, counts.get(id)]);
      points.push([now, last.counts.get(id)]);
      const base = measure === "gained" ? points[0][1] : 0;
      return { id, rank: index + 1, colour: this.colours.get(id), points: points.map(([time, views]) => [time, views - base]) };
    });
  }
}
