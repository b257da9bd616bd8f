"""The hours, days and months of a time zone, found naively: minute by minute, with Python's zoneinfo.

The sentences it follows: hours start where the local clock shows :00:00, and at every change of the clock by other than
whole hours; a day starts with the first hour of its local date, a month with its first day. Instants are milliseconds
since 1970. Offsets of whole minutes only, which all zones have had since 1972.
"""
import functools
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant(ms):
    return EPOCH + timedelta(milliseconds=ms)


def ms_of(when):
    return (when - EPOCH) // timedelta(milliseconds=1)


class ZoneHours:
    def __init__(self, name):
        self.zone = ZoneInfo(name)
        self.found = {}  # minute → (start, end) of its hour
        self.day_start = functools.lru_cache(None)(self._day_start)
        self.month_start = functools.lru_cache(None)(self._month_start)

    def local(self, ms):
        return instant(ms).astimezone(self.zone)

    def _begins_hour(self, minute_ms):
        here = self.local(minute_ms)
        change = here.utcoffset() - self.local(minute_ms - MINUTE_MS).utcoffset()
        return here.minute == 0 or change % timedelta(hours=1) != timedelta(0)

    def hour_of(self, ms):
        """(start, end) of the hour that contains the instant."""
        minute = ms // MINUTE_MS
        if minute not in self.found:
            start, end = self._hour(minute)
            self.found.update(dict.fromkeys(range(start // MINUTE_MS, end // MINUTE_MS), (start, end)))
        return self.found[minute]

    def _hour(self, minute):
        start, end = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
        while not self._begins_hour(start):
            start -= MINUTE_MS
        while not self._begins_hour(end):
            end += MINUTE_MS
        return start, end

    def _day_start(self, hour_start):
        """The first hour of the local date in which this hour starts."""
        date = self.local(hour_start).date()
        while True:
            before = self.hour_of(hour_start - 1)[0]
            if self.local(before).date() != date:
                return hour_start
            hour_start = before

    def _month_start(self, day_start):
        """The first hour of the first day of the month in which this day starts."""
        month = self.local(day_start).month
        while True:
            before = self.day_start(self.hour_of(day_start - 1)[0])
            if self.local(before).month != month:
                return day_start
            day_start = before

    def day_end(self, day_start):
        end = day_start
        while self.day_start(end) == day_start:
            end = self.hour_of(end)[1]
        return end

    def month_end(self, month_start):
        end = month_start
        while self.month_start(self.day_start(end)) == month_start:
            end = self.day_end(self.day_start(end))
        return end
