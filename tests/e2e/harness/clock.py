"""The machine's clock and the hours that it is in."""
from datetime import datetime, timedelta, timezone

from harness.wait import wait_until

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def now():
    return datetime.now(timezone.utc)


def hour_of(instant):
    return instant.replace(minute=0, second=0, microsecond=0)


def running_hour(room=60):
    """The start of the running hour; where less than `room` seconds of it are left, of the next one, once that runs."""
    at = now()
    if hour_of(at + timedelta(seconds=room)) != hour_of(at):
        wait_until(lambda: hour_of(now()) != hour_of(at), room + 5, "the next hour", every=0.1)
    return hour_of(now())
