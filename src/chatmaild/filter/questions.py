"""What the rules ask of the world, as values: they yield a question and are sent the answer.

    rule --question--> run --asks--> World (a disk, the DNS, a test)
    rule <--answer---- run <---------

So the rules run without a thread, a socket or a clock. The milter, the command filter-test and the
tests each bring a world of their own.
"""

import enum
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Keys = Mapping[str, tuple[bytes, ...] | None]
"""TXT records by name; None for what cannot be found out now."""

T = TypeVar("T")


class MailboxState(enum.Enum):
    """What mail to an address meets."""

    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    OPEN = "takes cleartext"
    ENFORCING = "takes encrypted mail only"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose login it is. `ended` is when an earlier account of the same address was removed, in
    seconds of the monotonic clock; None: not within `MARK_LIFETIME` of `accounts.lifecycle`.
    `per_minute` and `burst` say how fast it may send, where that is otherwise than in its domain.
    """

    state: MailboxState
    ended: float | None = None
    per_minute: int | None = None
    burst: int | None = None


class World(Protocol):
    """Who answers. Each method may block for a limited time, and raises `StoreError` (or whatever
    else) if it cannot tell."""

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""

    def may_send(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """Count a message of `sender`; False if it is one too many."""

    def keys(self, names: frozenset[str]) -> Keys:
        """The TXT records of these names."""


class Question(Protocol):
    def put_to(self, world: World) -> Any: ...


Asking = Generator[Question, Any, T]
"""A step of the rules: yields questions, is sent the answers, returns its result."""


@dataclass(frozen=True, slots=True)
class MailboxOf:
    address: str

    def put_to(self, world: World) -> MailboxState:
        return world.mailbox(self.address)


@dataclass(frozen=True, slots=True)
class AccountOf:
    address: str

    def put_to(self, world: World) -> Account:
        return world.account(self.address)


@dataclass(frozen=True, slots=True)
class LeaveToSend:
    sender: str
    now: float
    per_minute: int
    burst: int

    def put_to(self, world: World) -> bool:
        return world.may_send(self.sender, self.now, self.per_minute, self.burst)


@dataclass(frozen=True, slots=True)
class KeysAt:
    names: frozenset[str]

    def put_to(self, world: World) -> Keys:
        return world.keys(self.names)


def run(step: Asking[T], world: World) -> T:
    """The result of a step whose questions `world` answers."""
    try:
        question = next(step)
        while True:
            question = step.send(question.put_to(world))
    except StopIteration as end:
        return end.value    # type: ignore[no-any-return]  # StopIteration is not generic
