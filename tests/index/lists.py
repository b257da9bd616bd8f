"""One list asked for twice under the same snapshot: through the index, and as a sort of the heap."""
import re
from dataclasses import dataclass

# Set with every statement, so that no plan is a matter of costs
THROUGH_INDEX = ("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; "
                 "SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off; ")
THROUGH_HEAP = ("SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off; "
                "SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off; ")


@dataclass(frozen=True)
class Question:
    shape: object
    sql: str
    values: tuple
    kind: str

    def text(self, cursor):
        return cursor.mogrify(self.sql, self.values).decode()


class Mismatch(AssertionError):
    pass


def question(shape, rng, kind=None):
    """A list of random extent: mostly the top of a group."""
    kind = kind or rng.choices(["top", "all", "page", "filtered", "below", "above", "backward", "groups", "some_groups"],
                               [60, 8, 12, 5, 4, 3, 3, 3, 2])[0]
    conditions, values = [], []
    ordering = [shape.score.order, *(c.order for c in shape.ties)]
    if kind in ("groups", "some_groups"):
        ordering = [c.order for c in shape.groups] + ordering
        if kind == "some_groups" and shape.groups:
            conditions.append(f"{shape.groups[0].name} {rng.choice(['<', '<=', '=', '>=', '>'])} {shape.groups[0].placeholder}")
            values.append(rng.choice(shape.groups[0].values))
    else:
        for column, value in zip(shape.groups, shape.some_group(rng)):
            if value is None:
                conditions.append(f"{column.name} IS NULL")
            else:
                conditions.append(f"{column.name} = {column.placeholder}")
                values.append(value)
        # The planner does not take IS NULL for a constant: the order has to name the column
        ordering = [c.order for c in shape.groups] + ordering if any("NULL" in c for c in conditions) else ordering
    if kind in ("below", "above"):
        conditions.append(f"score {'<=' if kind == 'below' else '>'} {shape.score.placeholder}")
        values.append(shape.score.start(rng))
    if kind == "filtered":
        conditions.append(f"mod(coalesce(note, 0), 2) = {rng.randrange(2)}")
    if kind == "backward":
        ordering = [shape.score.reverse_order, *(c.reverse_order for c in shape.ties)]
        if any("NULL" in c for c in conditions):
            ordering = [c.reverse_order for c in shape.groups] + ordering
    limit = "" if kind == "all" else f" LIMIT {some_limit(shape, rng)}"
    if kind == "page":
        limit += f" OFFSET {rng.randrange(3 * (shape.k or 100))}"
    # Rows that agree in the columns of the index may differ in others if there is no key
    row = "t" if shape.key else f"ROW({', '.join(c.name for c in shape.columns)})"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Question(shape, f"SELECT {row}::text FROM {shape.name} t{where} ORDER BY {', '.join(ordering)}{limit}", tuple(values), kind)


def some_limit(shape, rng):
    k = shape.k or 100
    return rng.choice([1, k, rng.randint(1, k), rng.randint(1, 5 * k), rng.randint(1, 2000)])


def through_index(cursor, asked):
    cursor.execute(THROUGH_INDEX + asked.sql, asked.values)
    return [row for row, in cursor.fetchall()]


def through_heap(cursor, asked):
    cursor.execute(THROUGH_HEAP + asked.sql, asked.values)
    return [row for row, in cursor.fetchall()]


def through_cursor(cursor, asked, rng, pause):
    """The index's list, fetched in pieces."""
    cursor.execute(f"{THROUGH_INDEX} DECLARE piecewise NO SCROLL CURSOR FOR {asked.sql}", asked.values)
    rows = []
    while True:
        piece = rng.choice([1, 2, 10, 100])
        cursor.execute(f"FETCH {piece} FROM piecewise")
        fetched = [row for row, in cursor.fetchall()]
        rows += fetched
        if len(fetched) < piece:
            cursor.execute("CLOSE piecewise")
            return rows
        if rng.random() < 0.2:
            pause()


def through_prepared(cursor, asked):
    """With a generic plan, for which the limit is unknown."""
    limited = re.fullmatch(r"(.*) LIMIT (\d+)( OFFSET \d+)?", asked.sql)
    if not limited:
        return through_index(cursor, asked)
    statement, limit, offset = limited.groups()
    # A statement outlives the transaction that failed in it
    cursor.execute(f"DEALLOCATE ALL; {THROUGH_INDEX} SET LOCAL plan_cache_mode = force_generic_plan; "
                   f"PREPARE asked (bigint) AS {statement} LIMIT $1{offset or ''}; EXECUTE asked({limit})", asked.values)
    return [row for row, in cursor.fetchall()]


def plan(cursor, asked):
    cursor.execute(f"{THROUGH_INDEX} EXPLAIN (COSTS OFF) {asked.sql}", asked.values)
    return "\n".join(line for line, in cursor.fetchall())


def uses_index(cursor, asked):
    return f"using {asked.shape.index}" in plan(cursor, asked)


def first_differences(actual, expected, shown=12):
    lines = [f"{len(actual)} rows through the index, {len(expected)} through the heap"]
    missing, extra = list(set(expected) - set(actual)), list(set(actual) - set(expected))
    lines += [f"missing ({len(missing)}): {missing[:shown]}", f"not expected ({len(extra)}): {extra[:shown]}"]
    doubled = len(actual) - len(set(actual)) - (len(expected) - len(set(expected)))
    lines.append(f"doubled: {doubled}")
    for place, (one, other) in enumerate(zip(actual, expected)):
        if one != other:
            end = place + shown
            lines += [f"first difference at row {place + 1}:", f"  index {actual[place:end]}", f"  heap  {expected[place:end]}"]
            break
    return "\n".join(lines)


def explain_mismatch(cursor, asked, actual, expected, how):
    """Everything about a wrong list that can still be learned in its transaction."""
    def ask(sql):
        cursor.execute("SAVEPOINT asking")
        try:
            cursor.execute(sql)
            return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())
        except Exception as error:  # the report must not fail
            cursor.execute("ROLLBACK TO asking")
            return f"{type(error).__name__}: {error}"
    stats = f"SELECT topk.index_stats('{asked.shape.index}')"
    again = ["right" if through_index(cursor, asked) == expected else "wrong" for _ in range(2)]
    heap_again = "the same" if through_heap(cursor, asked) == expected else "another list: the snapshot is not stable"
    return "\n".join([
        f"wrong list, {asked.kind} {how}: {asked.text(cursor)}", first_differences(actual, expected),
        f"asked again: {again}; the heap: {heap_again}",
        f"isolation {ask('SHOW transaction_isolation')}, snapshot {ask('SELECT pg_current_snapshot()')}",
        f"own xid {ask('SELECT pg_current_xact_id_if_assigned()')}",
        plan(cursor, asked), f"index_stats {ask(stats)}"])


def compare(cursor, asked, rng, pause=lambda: None, how=None):
    """In the running transaction, which must keep its snapshot. Raises Mismatch; returns how many rows were compared."""
    how = how or rng.choices(["plainly", "by cursor", "prepared"], [80, 12, 8])[0]
    read = {"plainly": lambda: through_index(cursor, asked), "by cursor": lambda: through_cursor(cursor, asked, rng, pause),
            "prepared": lambda: through_prepared(cursor, asked)}[how]
    if rng.random() < 0.5:
        expected = through_heap(cursor, asked)
        actual = read()
    else:
        actual = read()
        expected = through_heap(cursor, asked)
    if actual != expected:
        raise Mismatch(explain_mismatch(cursor, asked, actual, expected, how))
    return len(expected)
