"""Decides when to send a notification again, and how many may be under way while the gateway fails.

Reads no clock and no random number: `now` (seconds since the epoch) and `spread` (a random number
in [0, 1)) are arguments.
"""

LIFETIME = 5 * 3600.0
"""Seconds after the newest message for which a notification is worth sending."""

FIRST_DELAY = 2.0
LONGEST_DELAY = 600.0
"""Seconds before a notification is tried again: doubled with each failure up to the longest."""

FAILURES_TO_OPEN = 5
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 120.0
"""Seconds without any request after `FAILURES_TO_OPEN` failures in a row; doubled likewise."""


def _grown(first: float, longest: float, times: int, spread: float) -> float:
    """Return an exponential back-off in seconds.

    Half of it is random, so that requests that failed together spread out.
    """
    return min(first * 2.0 ** min(times - 1, 30), longest) * (0.5 + spread / 2)


def delay(failures: int, spread: float) -> float:
    """Return the seconds until the next try after `failures` failures (at least one)."""
    return _grown(FIRST_DELAY, LONGEST_DELAY, failures, spread)


class Breaker:
    """Limits the requests under way: none while the gateway is down, few when it returns.

    Closed, up to `limit` requests run. `FAILURES_TO_OPEN` failures in a row open it: nothing is
    sent for a pause that grows from one opening to the next. Then a single request probes; each
    success allows one more at a time (which doubles them with each round trip) up to `limit`.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._window = limit
        self._failures = 0
        self._openings = 0
        self._open_until = 0.0

    def allowance(self, now: float, under_way: int) -> int:
        """Return how many requests may be started now, while `under_way` have not ended."""
        return 0 if self.is_open(now) else max(0, min(self._window, self.limit) - under_way)

    def is_open(self, now: float) -> bool:
        """Whether nothing may be sent now."""
        # A clock that was set back must not keep the breaker open for ever.
        return self._open_until - LONGEST_PAUSE <= now < self._open_until

    def reopens(self, now: float) -> float | None:
        """Return when the pause ends; None if there is none."""
        return self._open_until if self.is_open(now) else None

    def success(self) -> None:
        """Count an answer of the gateway, whatever it says about this one token."""
        self._failures = 0
        self._openings = 0
        self._window = min(self._window + 1, self.limit)

    def failure(self, now: float, spread: float, retry_after: float = 0.0) -> None:
        """Count a failure: no answer, or one that says the gateway is ill.

        `retry_after` is the pause in seconds that the gateway asked for.
        """
        if self.is_open(now):
            return  # begun before the pause: says nothing new
        self._failures += 1
        probing = self._openings > 0
        if not (probing or retry_after or self._failures >= FAILURES_TO_OPEN):
            return
        self._openings += 1
        pause = _grown(FIRST_PAUSE, LONGEST_PAUSE, self._openings, spread)
        self._open_until = now + min(max(pause, retry_after), LONGEST_PAUSE)
        self._window = 1
