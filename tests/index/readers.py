"""Readers: transactions that hold one snapshot while others write, and compare lists in it."""
import lists


class Reader:
    """One session. `hold`: for whose progress and how much of it a transaction waits between its lists."""

    def __init__(self, session, storm, rng, hold, serializable=True):
        self.session, self.storm, self.rng, self.hold = session, storm, rng, hold
        self.cursor = session.cursor()
        self.isolations = ["REPEATABLE READ"] * 4 + ["SERIALIZABLE"] * serializable

    def pause(self):
        kind, steps = self.hold
        if steps and not self.storm.is_behind:
            self.storm.progress.wait(kind, self.rng.randint(1, steps))

    def transact(self):
        rng = self.rng
        self.session.execute(f"BEGIN ISOLATION LEVEL {rng.choice(self.isolations)}{rng.choice(['', ' READ ONLY'])}")
        self.cursor.execute("SELECT pg_current_snapshot()")
        # Before the first list no lock is held: whatever rebuilds the index can do so under this snapshot
        self.pause()
        favourite = self.storm.some_shape(rng)
        for _ in range(rng.randint(1, 5)):
            shape = favourite if rng.random() < 0.7 else self.storm.some_shape(rng)
            asked = lists.question(shape, rng)
            rows = lists.compare(self.cursor, asked, rng, self.pause)
            self.storm.count_list(asked, rows)
            if rng.random() < 0.05:
                used = lists.uses_index(self.cursor, asked)
                self.storm.progress.advance(("plan with the index: " if used else "plan without the index: ") + asked.kind)
            if rng.random() < 0.5:
                self.pause()
        self.session.execute(rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        self.storm.progress.advance("reader")
