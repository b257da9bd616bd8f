"""The tables of the test: columns, keys, and where their values come from.

Every shape has one score, so few distinct scores that ties abound, and more rows in its first groups than k asks for, so
that entries are evicted. The index's order is total up to rows that print alike: the expected list is unique.
"""
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    values: tuple = ()  # of a group: the most crowded first
    descending: bool = False
    make: object = None  # of a tie-breaker: number -> value

    @property
    def placeholder(self):
        return f"%s::{self.type.split(' COLLATE')[0]}"

    @property
    def order(self):
        return f"{self.name} DESC" if self.descending else self.name

    @property
    def reverse_order(self):
        return self.name if self.descending else f"{self.name} DESC"


@dataclass(frozen=True)
class Score:
    type: str
    start: object  # rng -> value
    step: str  # SQL to add to a score; %s: an integer
    name: str = "score"
    descending: bool = True
    placeholder = Column.placeholder
    order = Column.order
    reverse_order = Column.reverse_order


@dataclass(frozen=True)
class Shape:
    name: str
    groups: tuple
    score: Score
    ties: tuple
    key: tuple = ()  # columns of the primary key; none: rows may be duplicates
    k: int = None  # None: the option is not given
    ids: int = 1200  # how many different rows a group can have
    options: str = ""
    external: tuple = ()  # columns stored out of line when they are long
    extra: tuple = field(default=(Column("note", "int"),))

    @property
    def columns(self):
        return (*self.groups, self.score, *self.ties)

    @property
    def id(self):
        return self.ties[-1]

    @property
    def index(self):
        return f"{self.name}_top"

    def create_table(self):
        columns = [f"{c.name} {c.type}" for c in (*self.columns, *self.extra)]
        if self.key:
            columns.append(f"PRIMARY KEY ({', '.join(self.key)})")
        external = "".join(f"; ALTER TABLE {self.name} ALTER {name} SET STORAGE EXTERNAL" for name in self.external)
        return f"CREATE TABLE {self.name} ({', '.join(columns)}) {self.options}{external}"

    def create_index(self, method, name=None, concurrently=False):
        columns = ", ".join(c.order for c in self.columns)
        option = f" WITH (k = {self.k})" if method == "topk" and self.k else ""
        manner = "CONCURRENTLY " if concurrently else ""
        return f"CREATE INDEX {manner}{name or self.index} ON {self.name} USING {method} ({columns}){option}"

    def some_group(self, rng):
        return [skewed(rng, c.values) for c in self.groups]

    def some_id(self, rng):
        return [c.make(skewed_number(rng, self.ids) if rng.random() < 0.5 else rng.randrange(self.ids)) for c in self.ties]

    def some_row(self, rng):
        """Values of all columns of the index."""
        score = None if rng.random() < 0.01 else self.score.start(rng)
        return [*self.some_group(rng), score, *self.some_id(rng)]


def skewed_number(rng, count):
    return int(count * rng.random() ** 3)


def skewed(rng, values):
    return values[skewed_number(rng, len(values))]


def small(rng):
    """Mostly ties, a few far above."""
    return rng.randrange(8) if rng.random() < 0.6 else rng.randrange(100) if rng.random() < 0.9 else rng.randrange(100_000)


def numeric(rng):
    return Decimal(rng.choice(["0", "0.0", "-1.5", "NaN", "1e30", "Infinity"])) if rng.random() < 0.05 else Decimal(small(rng)) / 8


def double(rng):
    return float(rng.choice(["0", "-0", "nan", "inf", "-inf", "1e300"])) if rng.random() < 0.05 else small(rng) / 8


EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


def moment(rng):
    return rng.choice(["infinity", "-infinity"]) if rng.random() < 0.02 else EPOCH + timedelta(seconds=small(rng))


BIGINT = Score("bigint", small, "%s::bigint")
INT = Score("int", small, "%s::int")
TEXT_C = 'text COLLATE "C"'
VIDEO = Column("id", TEXT_C, make="vid_{}".format)
NUMBER = Column("id", "int", make=int)


def long_id(number):
    return "common/" * 15 + f"{number * 7919 % 10007:05d}" + "x" * 90


def huge_id(number):
    """Every third is too long for the table's page, and half of those begin alike."""
    return f"{number:05d}" if number % 3 else "same" * 40 * (number % 2) + f"{number:05d}" * 700


SHAPES = (
    Shape("hours", (Column("g", "int", (1, 2, 3, 4, 5, 6)),), BIGINT, (VIDEO,), ("g", "id"), 3, options="WITH (fillfactor = 70)"),
    Shape("whole", (), BIGINT, (VIDEO,), ("id",), 5, ids=3000),
    Shape("pairs", (Column("a", "int", (1, None, 2)), Column("b", TEXT_C, ("x", "", None, "y" * 100))), INT, (VIDEO,), (), 2),
    Shape("downward", (Column("g", "bigint", (1, -(2 ** 60), 3)),), INT, (Column("id", "bigint", make=int, descending=True),),
          ("g", "id"), 1, options="WITH (fillfactor = 50)"),
    Shape("decimals", (Column("g", TEXT_C, ("a", "b", "c" * 3000)),), Score("numeric", numeric, "%s::numeric / 8"), (VIDEO,),
          ("id", "g"), 20),
    Shape("doubles", (Column("g", "smallint", (1, 2, 3, 4)),), Score("float8", double, "%s::float8 / 8"), (VIDEO,), ("g", "id"), 4),
    Shape("moments", (Column("g", "date", (date(2026, 1, 1), date(1, 1, 1), None)),),
          Score("timestamptz", moment, "%s * interval '1 second'"), (NUMBER,), (), 10),
    Shape("keyless", (Column("g", "int", (1, 2)),), Score("smallint", lambda rng: rng.randrange(6), "mod(%s, 3)::smallint"),
          (Column("place", "int", make=lambda n: n % 10, descending=True), Column("id", "int", make=lambda n: n % 97)), (), 2),
    Shape("wide", (Column("g", "int", (1, 2, 3)),), BIGINT, (VIDEO,), ("id", "g"), None, ids=2500),
    Shape("long_ids", (Column("g", "int", (1, 2, 3)),), Score("bigint", lambda rng: rng.randrange(3), "%s::bigint"),
          (Column("id", TEXT_C, make=long_id),), ("g", "id"), 3, ids=600),
    Shape("words", (Column("g", 'text COLLATE "und-x-icu"', ("ä", "A", "a")),), BIGINT,
          (Column("id", 'text COLLATE "und-x-icu"', make=lambda n: ("e", "é", "E", "É")[n % 4] + str(n)),), ("g", "id"), 7, ids=800),
    Shape("outside", (Column("g", "int", (1, 2)),), BIGINT, (Column("id", TEXT_C, make=huge_id),), (), 4, ids=300, external=("id",)),
)
