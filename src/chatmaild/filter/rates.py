"""How fast each sender may send."""

from chatmaild import cellrate

SWEEP_ABOVE = 10_000
"""Senders remembered before those that are idle again are forgotten."""


class Rates:
    """For each sender the theoretical arrival time of their next message (see `cellrate`).

    One per process. Whoever has threads must not call it from two of them at a time.
    """

    def __init__(self) -> None:
        self._arrivals: dict[str, float] = {}
        self._sweep_at = SWEEP_ABOVE

    def allow(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """Whether `sender` may send a message at `now` (seconds of a clock that never goes back).

        A refused message does not count.
        """
        arrival = cellrate.next_arrival(self._arrivals.get(sender, now), now, 60 / per_minute,
                                        burst)
        if arrival is None:
            return False
        self._arrivals[sender] = arrival
        if len(self._arrivals) > self._sweep_at:
            self._sweep(now)
        return True

    def _sweep(self, now: float) -> None:
        """Forget senders whose time has passed: to us they are like new."""
        self._arrivals = {sender: arrival for sender, arrival in self._arrivals.items()
                          if arrival > now}
        self._sweep_at = max(SWEEP_ABOVE, 2 * len(self._arrivals))

    def __len__(self) -> int:
        return len(self._arrivals)
