"""Leases for jobs: who may work on what, and until when."""

import time

LEASE = 60.0  # seconds


def take(jobs: dict[int, float], now: float | None = None) -> int | None:
    """Takes the first job whose lease has run out; its number, or None."""
    now = time.time() if now is None else now
    for number, until in sorted(jobs.items()):
        if until <= now:
            jobs[number] = now + LEASE
            return number
    return None
