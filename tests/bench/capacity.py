#!/usr/bin/python3
"""How many distinct videos a number of events has: what a flush costs PostgreSQL, and the capacity formula of README.md.

    capacity.py --rate 200k --videos 10M --zipf 1.0 --flush-interval 0.5 --row-us 5 --roll-up-us 6
"""

import argparse
import math

from quantities import count

EXACT_RANKS = 10_000
HOUR, DAY = 3600, 86400
RATIO = 1.002  # of two neighbouring groups of ranks beyond


def groups(videos):
    """(middle rank, number of ranks): each of the first ranks for itself, then groups that grow."""
    rank = 1
    while rank <= videos:
        width = 1 if rank <= EXACT_RANKS else max(1, int(rank * (RATIO - 1)))
        width = min(width, videos - rank + 1)
        yield rank + (width - 1) / 2, width
        rank += width


def distinct(events, videos, zipf):
    """Expected distinct videos of so many independent draws: the sum over videos of 1 - (1 - p)^events."""
    weights = [(middle ** -zipf, width) for middle, width in groups(videos)]
    total = sum(weight * width for weight, width in weights)
    return sum(width * -math.expm1(events * math.log1p(-weight / total)) if weight < total else width for weight, width in weights)


def cpu_seconds_a_million(rate, videos, zipf, flush_interval, row_us, roll_up_us):
    """Of PostgreSQL: (live rows, roll-up); rows a flush. An hour's rows go to the day, a day's to month and all time."""
    rows = distinct(rate * flush_interval, videos, zipf)
    hour, day = (distinct(rate * seconds, videos, zipf) for seconds in (HOUR, DAY))
    return rows / (rate * flush_interval) * row_us, (hour / (rate * HOUR) + 2 * day / (rate * DAY)) * roll_up_us, rows


def main():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--rate", type=count, default="200k", help="events a second")
    made.add_argument("--videos", type=count, default="10M")
    made.add_argument("--zipf", type=float, default=1.0)
    made.add_argument("--flush-interval", type=float, default=0.5, help="seconds; what a flush takes if that is longer")
    made.add_argument("--row-us", type=float, default=5.0, help="CPU microseconds of PostgreSQL a row of a flush, WAL and checkpoints included")
    made.add_argument("--roll-up-us", type=float, default=6.0, help="and of a row that is rolled up")
    args = made.parse_args()
    live, rolled, rows = cpu_seconds_a_million(args.rate, args.videos, args.zipf, args.flush_interval, args.row_us, args.roll_up_us)
    print(f"{rows:,.0f} rows a flush, {rows / args.flush_interval:,.0f} a second; PostgreSQL {live:.2f} + {rolled:.2f} CPU s a million events, "
          f"{(live + rolled) * args.rate / 1e6:.2f} of a core at {args.rate:,} events/s")


if __name__ == "__main__":
    main()
