"""How slow this machine is now, so that budgets are in its own seconds."""

import os
import time
from concurrent.futures import ProcessPoolExecutor

_STEPS = 3_000_000
_REFERENCE = 0.3
"""Seconds that the work takes on the machine the budgets were made on, with nothing else to do."""


def slowness() -> float:
    """Times that this machine, busy as it is, takes longer than the reference; at least 1.

    Takes about a second: each CPU works meanwhile, as it will for the tests.
    """
    cpus = os.cpu_count() or 1
    with ProcessPoolExecutor(cpus) as pool:
        list(pool.map(_work, [1] * cpus))       # the processes are there
        return max(1.0, max(pool.map(_work, [_STEPS] * cpus)) / _REFERENCE)


def in_time(took: float, limit: float) -> bool:
    """Whether something took less than `limit` seconds, in the time of a machine that is not busy.

    The limit is strict where there is nothing else to do, and fair where there is; the load may
    change from one moment to the next, so it is measured more than once.
    """
    return took < limit or any(took < limit * slowness() for _ in range(3))


def _work(steps: int) -> float:
    start = time.monotonic()
    total = 0
    for number in range(steps):
        total += number & 7
    return time.monotonic() - start
