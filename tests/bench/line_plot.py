"""A plot as SVG, on logarithmic axes: what README.md shows of a benchmark. No library draws it: it is a few lines and words."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 30, 50
COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#8d6a9f")
TICKS = (1, 2, 5)


class Axis:
    """Values to pixels; the ends are ticks around the values."""

    def __init__(self, values, start, end):
        ticks = [step * 10 ** power for power in range(-1, 10) for step in TICKS]
        self.low = max(tick for tick in ticks if tick <= min(values))
        self.high = min(tick for tick in ticks if tick >= max(values) and tick > self.low)
        self.ticks = [tick for tick in ticks if self.low <= tick <= self.high]
        self.start, self.end = start, end

    def at(self, value):
        value = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * math.log(value / self.low) / math.log(self.high / self.low)


def text(x, y, words, anchor="start", colour="#333"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def line_plot(title, x_name, y_name, series, bar=None):
    """series: {name: [(x, y)]}, drawn in pairs of one colour: the second of a pair is dashed. bar: a y to be stayed below."""
    points = [point for line in series.values() for point in line]
    x = Axis([a for a, _ in points], LEFT, WIDTH - RIGHT)
    y = Axis([b for _, b in points] + ([bar] if bar else []), HEIGHT - BOTTOM, TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', text(LEFT, 18, title)]
    for tick in x.ticks:
        out += [f'<path d="M{x.at(tick):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>', text(x.at(tick), HEIGHT - BOTTOM + 16, f"{tick:,g}", "middle")]
    for tick in y.ticks:
        out += [f'<path d="M{LEFT} {y.at(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>', text(LEFT - 6, y.at(tick) + 4, f"{tick:,g}", "end")]
    if bar:
        out.append(f'<path d="M{LEFT} {y.at(bar):.1f}H{WIDTH - RIGHT}" stroke="#333" stroke-width="1.5"/>')
    for number, (name, line) in enumerate(series.items()):
        colour, dash = COLOURS[number // 2 % len(COLOURS)], ' stroke-dasharray="6 4"' if number % 2 else ""
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in line]
        at = TOP + 14 + 18 * number
        out += [f'<path d="M{WIDTH - RIGHT + 12} {at - 4}h24" stroke="{colour}" stroke-width="2"{dash}/>', text(WIDTH - RIGHT + 42, at, name)]
    out += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, "middle"), text(LEFT, HEIGHT - 12, y_name, "end"), "</svg>"]
    return "\n".join(out) + "\n"
