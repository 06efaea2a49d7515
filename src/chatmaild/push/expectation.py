"""Decides when to look into a mailbox and when to ring, from the announcement to the last ring.

Pure: the caller looks at the disk and at the clock. Dovecot announces a message before it saves it,
so the caller looks again and again until as many messages have come as were announced. A burst of
messages rings twice: at its first message, and once more `QUIET` seconds after that.

    state     meaning                                left by                    to
    AWAITING  a message has not been seen yet        its sight, or `PATIENCE`   HELD, RINGING ...
    HELD      all are seen; one has to ring, later   the end of the quiet time  RINGING
    RINGING   it rang; nobody has confirmed          the last confirmation      QUIET, OVER
    QUIET     nothing is left to do but to be quiet  the end of the quiet time  OVER
    OVER      nothing needs to be known any more

An announcement leads from every state to AWAITING. It is safe to forget the announcements (the
files that outlive a kill) in QUIET and OVER, and the account in OVER.

Times are seconds of the caller's monotonic clock, except `since` and what is compared with it.
"""

import enum
from collections.abc import Iterable

FIRST_LOOK = 0.002
"""Seconds until a mailbox is looked at for the first time; the pauses double from then on."""

LONGEST_PAUSE = 60.0
PATIENCE = 600.0
"""Seconds to the next look at most, and that a delivery may take."""

QUIET = 1.0
"""Seconds after a ring until the next one of the same account."""

CLOSEST = 0.02
"""Seconds between looks for new arrivals of the same account. It is so short because a device that
is online may fetch and delete a message at once, and the other devices must ring all the same."""

_NEVER = float("-inf")


class State(enum.Enum):
    """See the table above."""

    AWAITING = "awaiting"
    HELD = "held"
    RINGING = "ringing"
    QUIET = "quiet"
    OVER = "over"

    @property
    def is_settled(self) -> bool:
        """Whether no ring is owed for what was announced."""
        return self in (State.QUIET, State.OVER)


class Expectation:
    """The expectation of one account. Not for several threads."""

    def __init__(self) -> None:
        self.since = float("inf")
        """Seconds since the epoch: only a message saved later was announced."""
        self._missing = 0       # messages announced and not seen
        self._seen: set[str] = set()
        self._announced = _NEVER
        self._pause = FIRST_LOOK
        self._owes_ring = False
        self._saw = _NEVER      # when a message that has to ring was last seen
        self._rang = _NEVER
        self._unconfirmed = 0   # rings

    @property
    def is_awaiting(self) -> bool:
        """Whether to look for messages: the state is AWAITING."""
        return self._missing > 0

    def state(self, now: float) -> State:
        """Return the state at the time `now`."""
        if self.is_awaiting:
            return State.AWAITING
        if self._owes_ring:
            return State.HELD
        if self._unconfirmed:
            return State.RINGING
        return State.QUIET if now < self._rang + QUIET else State.OVER

    def announced(self, since: float, now: float) -> float:
        """Count one more message, to be saved after `since`; returns when to look for it."""
        if self._missing <= 0:
            self._missing, self.since = 0, float("inf")
            self._seen.clear()
        self._missing += 1
        self.since = min(self.since, since)
        self._announced, self._pause = now, FIRST_LOOK
        return max(now + FIRST_LOOK, self._saw + CLOSEST)

    def unseen(self, names: Iterable[str]) -> set[str]:
        """Return those of the messages `names` that no earlier look has found."""
        return set(names) - self._seen

    def looked(self, fresh: set[str], has_news: bool, now: float) -> None:
        """Note that a look found the messages `fresh`; `has_news` if one of them has to ring."""
        self._seen |= fresh
        self._missing -= len(fresh)
        if now - self._announced > PATIENCE:
            self._missing = 0
        if has_news:
            self._saw, self._owes_ring = now, True

    def take_ring(self, now: float) -> bool:
        """Whether to ring now. If so, the ring counts as made, and has to be `confirmed`."""
        if not self._owes_ring or now < self._rang + QUIET:
            return False
        self._owes_ring, self._rang = False, now
        self._unconfirmed += 1
        return True

    def confirmed(self) -> None:
        """Note that one ring is safe from a kill."""
        self._unconfirmed -= 1

    def next_look(self, now: float) -> float:
        """Return when to look, and to call `take_ring`, again after a look at `now`."""
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        due, quiet_ends = now + self._pause, self._rang + QUIET
        if self._missing <= 0:
            due = max(due, quiet_ends)
        return min(due, quiet_ends) if self._owes_ring else due
