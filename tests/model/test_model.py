"""Random schedules of streams, consumers, seals, corrections and crashes in several zones, against the naive model."""
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
import settings
from conftest import COUNTED
from harness.zone_hours import HOUR_MS, ms_of
from schedule import Schedule

# The instant that the schedule goes across (UTC): the clock changes, or a month ends. It begins six hours before.
STARTS = {
    "berlin spring": ("Europe/Berlin", "2024-03-31T01:00"),
    "berlin autumn": ("Europe/Berlin", "2024-10-27T01:00"),
    "st_johns spring": ("America/St_Johns", "2024-03-10T05:30"),
    "st_johns autumn": ("America/St_Johns", "2024-11-03T04:30"),
    "lord_howe spring": ("Australia/Lord_Howe", "2024-10-05T15:30"),
    "lord_howe autumn": ("Australia/Lord_Howe", "2024-04-06T15:00"),
    "kathmandu": ("Asia/Kathmandu", "2024-02-29T18:15"),
    "kolkata": ("Asia/Kolkata", "2024-04-30T18:30"),
    "utc": ("UTC", "2024-01-01T00:00"),
}
TOTAL = Counter()


@pytest.mark.parametrize("turn", range(settings.ROUNDS))
@pytest.mark.parametrize("name", STARTS)
def test_schedule(name, turn, database, steps_log):
    zone, across = STARTS[name]
    seed = settings.SEED + 1000 * turn + list(STARTS).index(name)
    begin = ms_of(datetime.fromisoformat(across).replace(tzinfo=timezone.utc)) - 6 * HOUR_MS
    schedule = Schedule(seed, database, zone, begin, steps_log.append)
    schedule.run(settings.STEPS)
    assert schedule.now > begin + 7 * HOUR_MS, "too few steps to get across"
    span = timedelta(milliseconds=schedule.now - begin)
    COUNTED.append(f"{name}, seed {seed}: {schedule.compare.checks} comparisons, {schedule.compare.lists} lists, {schedule.compare.sealed_rows} sealed rows, {span} of stream time, "
                   f"{sum(row.books['counted'] + row.books['late'] for row in schedule.model.rows.values())} records, "
                   f"{dict(schedule.sqlstates)}")
    for part in (schedule.done, schedule.sqlstates, schedule.model.seen):
        TOTAL.update(part)


def test_everything_happened():
    """After the schedules: what a run without would not have shown anything about."""
    missing = [what for what in (
        "TK001", "TK002", "22003", "22023", "restart", "answer_lost", "never_committed", "start_backfill", "add_partition", "crash",
        "left its session open", "reset back", "reset forward", "hold", "advanced by the clock", "frontier moved", "late for an open hour",
        "late for a sealed hour", "late for a sealed day", "open hour corrected", "sealed hour corrected", "rows rolled up", "rolled up to the end") if not TOTAL[what]]
    COUNTED.append(f"all schedules: {dict(TOTAL)}")
    assert not missing, f"never happened: {missing}"
