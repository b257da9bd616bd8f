"""What has happened so far, by kind. Sessions wait for each other's progress with it, never for time."""
import collections
import threading


class Progress:
    def __init__(self):
        self.changed = threading.Condition()
        self.counts = collections.Counter()
        self.ended = False  # nobody may wait any longer

    def advance(self, kind, by=1):
        with self.changed:
            self.counts[kind] += by
            self.changed.notify_all()

    def wait(self, kind, steps, limit=5):
        """Until `kind` has advanced by so many steps; gives up quietly, because the others may be waiting for us."""
        with self.changed:
            goal = self.counts[kind] + steps
            self.changed.wait_for(lambda: self.counts[kind] >= goal or self.ended, limit)

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()
