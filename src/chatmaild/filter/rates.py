"""Limits how fast each sender may send."""

from chatmaild import cellrate

SWEEP_ABOVE = 10_000
"""Senders that are remembered before idle ones are forgotten."""


class Rates:
    """For each sender the theoretical arrival time of their next message (see `cellrate`).

    One per process; two threads must not call it at the same time.
    """

    def __init__(self) -> None:
        self._arrivals: dict[str, float] = {}
        self._sweep_at = SWEEP_ABOVE

    def allow(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """Count a message of `sender` at `now`, in seconds of a clock that never goes back.

        False if it is one too many; then it does not count. `burst` messages may come at once.
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
        """Forget senders whose time has passed: they are like new ones."""
        self._arrivals = {sender: arrival for sender, arrival in self._arrivals.items()
                          if arrival > now}
        self._sweep_at = max(SWEEP_ABOVE, 2 * len(self._arrivals))

    def __len__(self) -> int:
        return len(self._arrivals)
