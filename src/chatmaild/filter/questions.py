"""The questions that the rules ask, as values: a rule yields a question and is sent the answer.

    rule --question--> run --asks--> World (a disk, the DNS, a test)
    rule <--answer---- run <---------

So the rules need no thread, socket or clock. The milter, the command filter-test and the tests each
bring a world of their own.
"""

import enum
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

Keys = Mapping[str, tuple[bytes, ...] | None]
"""TXT records by name; None where the DNS gave no answer."""

T = TypeVar("T")


class MailboxState(enum.Enum):
    """Whether an address takes mail, and which."""

    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    OPEN = "takes cleartext"
    ENFORCING = "takes encrypted mail only"


class Account(NamedTuple):
    """The account behind a login.

    `ended` is when an earlier account with the same address was removed, in seconds of the
    monotonic clock; None if none was within `accounts.endings.LIFETIME`. `per_minute` and
    `burst` are its own limits on sending; None for those of its domain.
    """

    state: MailboxState
    ended: float | None = None
    per_minute: int | None = None
    burst: int | None = None


class World(Protocol):
    """Answers the questions. Each method may block for a limited time. Those about accounts raise
    `StoreError` if they cannot tell."""

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""

    def may_send(self, sender: str, now: float, per_minute: int, burst: int) -> bool:
        """Count a message of `sender` at `now` (seconds of the monotonic clock); False if it is
        one too many."""

    def keys(self, names: frozenset[str]) -> Keys:
        """The TXT records at these names."""


class Question(Protocol):
    """One question, of which each class below is a kind."""

    def put_to(self, world: World) -> Any:
        """Ask `world`, and return its answer."""


Asking = Generator[Question, Any, T]
"""A step of the rules: it yields questions, is sent the answers, and returns its result."""


@dataclass(frozen=True, slots=True)
class MailboxOf:
    """The state of the mailbox that mail to `address` is delivered to."""

    address: str

    def put_to(self, world: World) -> MailboxState:
        """See `World.mailbox`."""
        return world.mailbox(self.address)


@dataclass(frozen=True, slots=True)
class AccountOf:
    """The account that logs in as `address`."""

    address: str

    def put_to(self, world: World) -> Account:
        """See `World.account`."""
        return world.account(self.address)


@dataclass(frozen=True, slots=True)
class LeaveToSend:
    """Whether `sender` may send a message at `now`; the fields are those of `Rates.allow`."""

    sender: str
    now: float
    per_minute: int
    burst: int

    def put_to(self, world: World) -> bool:
        """See `World.may_send`."""
        return world.may_send(self.sender, self.now, self.per_minute, self.burst)


@dataclass(frozen=True, slots=True)
class KeysAt:
    """The TXT records at `names`."""

    names: frozenset[str]

    def put_to(self, world: World) -> Keys:
        """See `World.keys`."""
        return world.keys(self.names)


def run(step: Asking[T], world: World) -> T:
    """Run a step, let `world` answer its questions, and return its result."""
    try:
        question = next(step)
        while True:
            question = step.send(question.put_to(world))
    except StopIteration as end:
        return end.value    # type: ignore[no-any-return]  # StopIteration is not generic
