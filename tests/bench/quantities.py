"""Numbers as options have them: 2000000, 200k, 2M. Needs nothing but Python."""

import argparse
import re

UNITS = {"": 1, "k": 1000, "m": 1_000_000}


def count(text):
    match = re.fullmatch(r"(\d+)([km]?)", text.strip().lower())
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: a number like 2000000, 200k or 2M")
    return int(match[1]) * UNITS[match[2]]


def counts(text):
    return [count(part) for part in text.split(",") if part]
