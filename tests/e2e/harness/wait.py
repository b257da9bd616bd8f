"""Polling with a limit: the only way a test waits for something."""
import time


def wait_until(condition, limit, what, every=0.05):
    """Returns the first truthy value of condition(); fails after `limit` seconds, naming `what` (a text, or what makes it then) and the last value."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:g} s: {what() if callable(what) else what}" + ("" if value in (None, False) else f" (last: {value!r})"))
        time.sleep(every)
