"""How fast one sender may send: the generic cell rate algorithm.

Each sender has one number, the theoretical arrival time (TAT) of his next message at a steady
pace; `burst` messages may come ahead of it. Equivalent to a bucket of `burst` tokens filled at
`per_minute`, without a timer to fill it.
"""

import threading

SWEEP_ABOVE = 10_000
"""Senders remembered before those that are idle again are forgotten."""


class Rates:
    """One per process; used by all milter threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._arrival: dict[str, float] = {}
        self._sweep_at = SWEEP_ABOVE

    def allow(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """Whether `sender` may send a message at `now` (seconds of a clock that never goes back).

        A refused message does not count.
        """
        interval = 60 / per_minute
        with self._lock:
            arrival = max(self._arrival.get(sender, now), now)
            if arrival - now > interval * (burst - 1) + 1e-9:
                return False
            self._arrival[sender] = arrival + interval
            if len(self._arrival) > self._sweep_at:
                self._sweep(now)
            return True

    def _sweep(self, now: float) -> None:
        """Forget senders whose time has passed: to us they are like new."""
        self._arrival = {s: arrival for s, arrival in self._arrival.items() if arrival > now}
        self._sweep_at = max(SWEEP_ABOVE, 2 * len(self._arrival))

    def __len__(self) -> int:
        return len(self._arrival)
