"""The database against the model: every table, every view, lists of random windows, and the audit."""
import random
from collections import defaultdict

from naive import BOOKS, NEVER

INFINITE = float("inf")


def same(what, expected, found):
    if expected == found:
        return
    if isinstance(expected, dict):
        expected, found = set(expected.items()), set(found.items())
    if isinstance(expected, set):
        raise AssertionError(f"{what}: only in the model {sorted(expected - found, key=repr)[:8]}, "
                             f"only in the database {sorted(found - expected, key=repr)[:8]}")
    raise AssertionError(f"{what}: the model has {expected}, the database {found}")


class Comparison:
    def __init__(self, model, query, counter):
        self.model, self.query, self.counter = model, query, counter
        self.lists = self.checks = self.sealed_rows = 0
        self.sealed, self.sealed_through, self.corrected = {}, NEVER, set()

    def tables(self):
        """Everything that is stored."""
        model, query, name = self.model, self.query, self.counter
        hours = {(hour, video): views for hour, video, views in query(f"SELECT model_ms(window_start), video_id, views FROM {name}_hour")}
        self.sealed_hours(hours)
        same("hour table", model.in_time, hours)
        same("late views", {key: tuple(sums) for key, sums in model.late.items()},
             {(hour, video): (views, records) for hour, video, views, records in
              query("SELECT model_ms(hour_start), video_id, views, records FROM topk.late_views WHERE counter = %s", name)})
        same("late additions", dict(model.late_in),
             {(span, NEVER if start is None else start, video): views for span, start, video, views in
              query(f"SELECT span, model_ms(window_start), video_id, views FROM {name}_late")})
        same("dead letters", model.dead,
             set(query('SELECT topic, partition, "offset", epoch FROM topk.dead_letter WHERE counter = %s', name)))
        same("progress", {key: (row.start, row.next, row.epoch, row.member, row.watermark, row.clock_advanced, *row.books.values())
                          for key, row in model.rows.items()},
             {(topic, partition): (start, next_offset, epoch, member, NEVER if mark is None else mark, *rest)
              for topic, partition, start, next_offset, epoch, member, mark, *rest in
              query(f"SELECT topic, partition, start_offset, next_offset, epoch, member, model_ms(watermark), clock_advanced_at IS NOT NULL, "
                    f"{', '.join(BOOKS)} FROM topk.kafka_progress WHERE counter = %s", name)})
        same("progress history", {(*key, start, next_offset, to, *books.values()) for key, start, next_offset, books, to in model.history},
             set(query(f"SELECT topic, partition, start_offset, next_offset, reset_to, {', '.join(BOOKS)} FROM topk.progress_history "
                       "WHERE counter = %s", name)))
        self.frontier()
        self.windows()
        self.checks += 1

    def sealed_hours(self, hours):
        """What was sealed at the last comparison holds the same now, but for corrections; asks the model for nothing."""
        def through(frontier):
            return {key: views for key, views in hours.items() if self.model.hours.hour_of(key[0])[1] <= frontier and key not in self.corrected}
        same("hours sealed before", {key: views for key, views in self.sealed.items() if key not in self.corrected}, through(self.sealed_through))
        self.corrected = set()
        (frontier,), = self.query("SELECT model_ms(sealed_through) FROM topk.counter WHERE name = %s", self.counter)
        self.sealed_through = NEVER if frontier is None else frontier
        self.sealed = through(self.sealed_through)
        self.sealed_rows += len(self.sealed)

    def frontier(self):
        model, query, name = self.model, self.query, self.counter
        (sealed_through, held), = query("SELECT model_ms(sealed_through), seal_held_at IS NOT NULL FROM topk.counter WHERE name = %s", name)
        same("frontier", (model.frontier, model.held), (NEVER if sealed_through is None else sealed_through, held))
        same("holds", sorted(model.holds), sorted(query("SELECT reason, resumed_at IS NOT NULL FROM topk.seal_hold WHERE counter = %s", name)))

    def windows(self):
        model, query, name = self.model, self.query, self.counter
        rows = query("SELECT span, model_ms(window_start), model_ms(window_end), window_end, sealed, rolled_up, revision "
                     "FROM topk.time_window WHERE counter = %s", name)
        same("windows", model.all_windows(),
             {(span, NEVER if start is None else start): (INFINITE if end is None else end, sealed, revision)
              for span, start, end, _, sealed, _, revision in rows})
        assert len(rows) == len(model.all_windows()), "a window twice"
        assert not any(rolled_up and not sealed for _, _, _, _, sealed, rolled_up, _ in rows), "rolled up before it was sealed"
        same("corrections", sorted(model.corrections),
             sorted(query("SELECT model_ms(hour_start), video_id, delta, views_after FROM topk.correction WHERE counter = %s", name)))

    def rolled_up(self):
        """After a roll-up to the end: all that is sealed, and the roll-ups hold no more and no less."""
        model, name = self.model, self.counter
        rows = self.query("SELECT span, model_ms(window_start), sealed, rolled_up FROM topk.time_window WHERE counter = %s", name)
        same("windows rolled up", {row[:2] for row in rows if row[2]}, {row[:2] for row in rows if row[3]})
        days = {start for span, start, _, rolled_up in rows if span == "day" and rolled_up}
        expected = {span: defaultdict(int) for span in ("day", "month", "all_time")}
        for (hour, video), views in model.in_time.items():
            windows = model.windows_of(hour)
            if model.sealed(model.hours.hour_of(hour)[1]):
                expected["day"][windows["day"][0], video] += views
            if windows["day"][0] in days:
                expected["month"][windows["month"][0], video] += views
                expected["all_time"][NEVER, video] += views
        for span, sums in expected.items():
            same(f"roll-up of the {span}", dict(sums), {(NEVER if start is None else start, video): views for start, video, views in
                                                        self.query(f"SELECT model_ms(window_start), video_id, views FROM {name}_{span}_rollup")})

    def audit(self):
        rows = self.query("SELECT check_name, subject, expected, found, ok, detail FROM topk.audit(%s)", self.counter)
        assert rows and all(row[4] for row in rows), f"the audit finds: {[row for row in rows if not row[4]][:5]}"

    def status(self, has_owner):
        """All schedules are of years ago, so every partition holds the seal back; the status says of each why. has_owner: (topic,
        partition) → whether the session that claimed it is open."""
        rows = self.query("SELECT topic, partition, model_ms(watermark), holds_seal_back, model_ms(sealed_through), watermark_age IS NULL "
                          "FROM topk.status(%s)", self.counter)
        same("partitions of the status", set(self.model.rows), {row[:2] for row in rows})
        for topic, partition, watermark, why, sealed_through, ageless in rows:
            row = self.model.rows[topic, partition]
            same("frontier in the status", self.model.frontier, NEVER if sealed_through is None else sealed_through)
            same("watermark in the status", (row.watermark, row.watermark == NEVER), (NEVER if watermark is None else watermark, ageless))
            assert ("sealing held by the operator" in why) == self.model.held, why
            if row.epoch == 0:
                reason = "never claimed"
            elif not has_owner[topic, partition]:
                reason = "no owner"
            else:
                reason = "neither a record read nor silent" if row.watermark == NEVER else "reading behind"
            assert why.startswith(reason), f"{topic} [{partition}] holds the seal back: the model says {reason}, the status {why}"

    def random_lists(self, rng: random.Random, count):
        """Lists of all spans at random instants near what is stored."""
        hours = sorted({hour for hour, _ in self.model.in_time} | {hour for hour, _ in self.model.late})
        for _ in range(count if hours else 0):
            at, k = rng.choice(hours) + rng.randrange(-3_600_000, 7_200_000), rng.choice([1, 3, 10, 1000])
            for span in ("hour", "day", "month", "all_time"):
                self._list(span, self.model.sums(span, at), k, at)
            hours_back = rng.choice([1, 2, 24, 36])
            self._list(f"{hours_back} hours", self.model.trailing(hours_back, at), k, at)

    def _list(self, span, sums, k, at):
        found = self.query("SELECT rank, video_id, views FROM topk(%s, %s, timestamptz 'epoch' + %s * interval '1 ms', %s) ORDER BY rank",
                           span, k, at, self.counter)
        same(f"topk('{span}', {k}) at {at}", self.model.ranked(sums, k), found)
        self.lists += 1

    def views(self):
        """The views <counter>_day, _month, _all_time hold what their lists are of."""
        for span in ("day", "month", "all_time"):
            expected = defaultdict(int)
            for (hour, video), views in self.model.in_time.items():
                expected[self.model.windows_of(hour)[span][0], video] += views
            for (of, start, video), views in self.model.late_in.items():
                if of == span:
                    expected[start, video] += views
            same(f"view of the {span}", dict(expected),
                 {(NEVER if start is None else start, video): views for start, video, views in
                  self.query(f"SELECT model_ms(window_start), video_id, views FROM {self.counter}_{span}")})
