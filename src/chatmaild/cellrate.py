"""The generic cell rate algorithm (ITU-T I.371 annex A): no clock, no state, no timer.

Equivalent to a bucket of `burst` tokens that gets a new one every `interval` seconds.
"""

_ROUNDING = 1e-6
"""Fraction of an interval that may be missing, since times are floating-point numbers."""


def next_arrival(arrival: float, now: float, interval: float, burst: int) -> float | None:
    """The theoretical arrival time (TAT) behind one more event at `now`; None if it is too early.

    `arrival` is the result for the event before, or any time in the past. A refused event does
    not count: keep the old value. Times are in seconds of one clock that never goes back.
    """
    due = max(arrival, now) + interval
    return due if due - now <= interval * (burst + _ROUNDING) else None
